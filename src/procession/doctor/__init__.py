"""The doctor: what in a source cannot run in parallel, where, why, and what to write instead.

Chart (the source, read but not run) ─────────────────────────┐
Ward (observations, in processes that may die of them) ──► Results ──► checks ──► Diagnosis ──► text, page, JSON
"""

from __future__ import annotations

from typing import Any

from procession.doctor.findings import Diagnosis

__all__ = ["Diagnosis", "diagnose"]


def diagnose(source: Any, *, batch_size: int | None = None, limit: float = 30.0) -> Diagnosis:
    """Look for what is wrong with a source, and what to write instead; what `procession doctor` prints.

    The source is read, captured as for training, and run only in worker processes, which may crash or hang: that is a
    finding too. In this process its `len()`, and what pickling calls, are all that runs.

    Args:
        source: what `Loader` takes.
        batch_size: as for `Loader`: None: `source[i]` is a batch; an int: it is one sample.
        limit: seconds that one observation may take before its process is ended.

    Returns:
        A `Diagnosis`: findings, the gravest first, each with a code (`docs/errors`), where it is, what was seen, why it
        matters and what to write; what was measured; and what was not looked at. `print` it.

    Example:
        >>> import procession
        >>> class Squares:
        ...     def __init__(self):
        ...         self.lines = (line for line in ["a", "b"])
        ...     def __len__(self):
        ...         return 2
        ...     def __getitem__(self, i):
        ...         return next(self.lines)
        >>> diagnosis = procession.diagnose(Squares())
        >>> diagnosis.findings[0].code, diagnosis.findings[0].where[0].attribute
        ('PRC101', 'source.lines')
    """
    from procession.doctor.examine import examine

    return examine(source, batch_size=batch_size, limit=limit)
