"""Who may use a stream: one thread at a time, of the process that made it, until it is closed."""

from __future__ import annotations

import os
import threading

from procession.errors import LoaderClosedError


class Door:
    """Lets one thread in at a time; nobody after the end, nor from a forked child: what is inside is not its own."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a hook may use the loader too
        self.closed = False
        self._owner = os.getpid()

    def check(self) -> None:
        """Raise LoaderClosedError if the stream is not, or no longer, to be used here."""
        if os.getpid() != self._owner:
            raise LoaderClosedError(
                f"this loader belongs to process {self._owner}, from which process {os.getpid()} was forked: its "
                "workers answer that process alone. Make a new Loader of the source in here"
            )
        if self.closed:
            raise LoaderClosedError("the loader has been closed; make a new Loader to read the source again")

    def __enter__(self) -> None:
        self.check()  # first: in a forked child the lock may be held by a thread that does not exist there
        self.lock.acquire()
        if self.closed:
            self.lock.release()
            self.check()

    def __exit__(self, *_: object) -> None:
        self.lock.release()
