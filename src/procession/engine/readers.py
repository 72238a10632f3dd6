"""What a process waits on: descriptors, each with what to do when there is something to read on it."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Readers(Generic[T]):
    """An epoll, and a reader for each descriptor in it."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._readers: dict[int, Callable[[], T]] = {}  # by descriptor

    def listen(self, descriptor: int, reader: Callable[[], T]) -> None:
        """Call `reader`, a function of this descriptor's own, whenever there is something to read."""
        self._readers[descriptor] = reader
        self._poll.register(descriptor, select.EPOLLIN)

    def silence(self, descriptor: int) -> None:
        """No longer listen to a descriptor, which is about to be closed. May be called twice."""
        if self._readers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def wait(self, timeout: float | None) -> list[T]:
        """Block until there is something to read, for at most `timeout` seconds; return what the readers made of it."""
        ready = [(descriptor, self._readers.get(descriptor)) for descriptor, _ in self._poll.poll(timeout)]
        # What comes first may close what comes later, and open another under its number, which is not ready.
        return [
            reader() for descriptor, reader in ready if reader is not None and self._readers.get(descriptor) is reader
        ]

    def close(self) -> None:
        """Stop waiting, for good."""
        self._poll.close()
