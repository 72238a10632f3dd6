"""What the training process waits on: channels, each with what to do when there is something to read on it."""

from __future__ import annotations

import select
from collections.abc import Callable

from procession.engine.channel import Channel
from procession.engine.waker import Waker
from procession.events import Event


class Readers:
    """An epoll of channels, and the waker."""

    def __init__(self, waker: Waker) -> None:
        self._poll = select.epoll()
        self._poll.register(waker, select.EPOLLIN)
        self._readers: dict[int, Callable[[], list[Event]]] = {}  # by descriptor

    def listen(self, channel: Channel, reader: Callable[[], list[Event]]) -> None:
        """Call `reader` whenever there is something to read."""
        self._readers[channel.fileno()] = reader
        self._poll.register(channel.fileno(), select.EPOLLIN)

    def silence(self, channel: Channel) -> None:
        """No longer listen to a channel, which is about to be closed. May be called twice."""
        if self._readers.pop(channel.fileno(), None) is not None:
            self._poll.unregister(channel.fileno())

    def wait(self, timeout: float | None) -> list[Event]:
        """Block until something has been read, or until woken."""
        events: list[Event] = []
        for descriptor, _ in self._poll.poll(timeout):
            reader = self._readers.get(descriptor)
            if reader is not None:  # None: the waker, or closed by what came before it in this round
                events.extend(reader())
        return events

    def close(self) -> None:
        """Stop waiting, for good."""
        self._poll.close()
