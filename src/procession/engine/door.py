"""Who may use a stream: one thread at a time, of the process that made it, until it is closed."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

from procession.errors import LoaderClosedError


class Door:
    """Lets one thread in at a time; nobody after the end, nor from a forked child: what is inside is not its own."""

    def __init__(self, end: Callable[[], None]) -> None:
        """`end`: a method, called once the last one has left, if it has been closed meanwhile; may be called twice."""
        self.closed = False
        self._lock = threading.RLock()  # a hook may use the loader too
        # Both written by the thread that has the lock.
        self._inside: int | None = None  # the thread that is in
        self._depth = 0  # how often it has come in
        # Weak: what is dropped, source and all, is to go at once, and not with the next collection of garbage.
        self._end = weakref.WeakMethod(end)
        self._owner = os.getpid()

    def end(self) -> None:
        """Now that it is closed, end what is inside; if this thread is in, once it leaves.

        A hook closes its loader so, or a signal's handler, between any two lines of what is done inside.
        """
        if self._inside != threading.get_ident():
            with self._lock:
                self._end_it()

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
        self._lock.acquire()
        self._depth += 1
        self._inside = threading.get_ident()
        if self.closed:
            self.__exit__()
            self.check()

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        try:
            if self._depth == 0:
                self._inside = None
                if self.closed:
                    self._end_it()
        finally:
            self._lock.release()

    def _end_it(self) -> None:
        end = self._end()
        if end is not None:
            end()
