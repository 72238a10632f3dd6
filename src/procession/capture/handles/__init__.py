"""How handles and locks travel: what each kind is made anew from, in each worker or where the source is rebuilt.

    reduced(value) ──► files, mappings, threads: registered when this package is imported
                  └──► kinds.LIBRARIES: the others, when a source first holds something of their library

A reducer raises `Refusal` for what cannot be made anew, and says what to write instead.
"""

from procession.capture.handles import files, mappings, threads

__all__ = ["files", "mappings", "threads"]
