"""The lock that users see: a mutex in shared memory that travels with a source."""

from __future__ import annotations

from typing import Any

from procession.capture.mutex import EXIT, ROOM, Guarded, Mutex, new_segment
from procession.capture.segments import Segment


class Lock(Guarded):
    """A lock that works across worker processes, threads and the training process.

    For what only one may do at a time: writing to a file, to a `share(..., writable=True)` array, asking a service.
    Keep it as an attribute of the source; all workers then have the same one. If its holder dies, by kill -9 too, the
    lock is released, and the next one gets it: what it protects may then be half done.

    It is used like `threading.Lock`, in a `with` block or by `acquire` and `release`, but for this: the thread that
    acquired it is the one that releases it, and a thread that holds it and waits for it again gets a RuntimeError
    instead of waiting for ever. So it is not re-entrant. Where a lock decides who comes first, a batch may depend on
    timing, and a run is then not the same with another number of workers, nor when it is resumed.

    It can be sent in a source, in no other way; a copy (`copy.deepcopy`) is the same lock. A source may have up to 248
    locks, counters, dictionaries and `share` calls together.

    Example:
        >>> import pathlib, tempfile
        >>> import procession
        >>> class Noted:
        ...     def __init__(self, path):
        ...         self.path, self.lock = path, procession.Lock()
        ...     def __len__(self):
        ...         return 20
        ...     def __getitem__(self, i):
        ...         with self.lock, open(self.path, "a") as file:
        ...             file.write(f"{i} ")
        ...             file.write("done\\n")
        ...         return i
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "log")
        ...     with procession.Loader(Noted(path), workers=2) as loader:
        ...         _ = list(loader)
        ...     sorted(path.read_text().splitlines()) == sorted(f"{i} done" for i in range(20))
        True
    """

    def __init__(self) -> None:
        self._open(new_segment(ROOM, "lock"))

    def _open(self, segment: Segment, *_: Any) -> None:
        self._segment = segment
        self._mutex = Mutex(segment)
        self._as_parameter_ = segment.address  # for `EXIT`

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; wait for it unless `blocking` is False.

        Args:
            blocking: False: take it at once or not at all.
            timeout: seconds to wait at most; -1: as long as it takes.

        Returns:
            True; False if another one holds it (with `blocking=False`, this thread too), or did until the timeout.

        Raises:
            RuntimeError: this thread holds it.
            ValueError: a timeout that is negative, or that comes with `blocking=False`.
        """
        if timeout != -1 and (timeout < 0 or not blocking):
            raise ValueError(
                f"acquire(blocking={blocking}, timeout={timeout}): a timeout is the seconds to wait at most, 0 or "
                "more, and only with blocking=True; leave it out to wait as long as it takes"
            )
        return self._mutex.acquire((None if timeout == -1 else timeout) if blocking else 0)

    def release(self) -> None:
        """Let another one have the lock.

        Raises:
            RuntimeError: this thread does not hold it.
        """
        self._mutex.release()

    def locked(self) -> bool:
        """Return whether anybody holds the lock at this moment."""
        return self._mutex.holder() != 0

    def __enter__(self) -> bool:
        return self._mutex.acquire()

    __exit__ = EXIT

    def __repr__(self) -> str:
        holder = self._mutex.holder()
        return f"<procession.Lock, {f'held by thread {holder}' if holder else 'not held'}>"
