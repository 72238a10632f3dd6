"""What the driver knows of each worker, and of the source that it sent."""

from __future__ import annotations

from typing import NamedTuple

from procession.capture.pickling import Payload
from procession.engine.channel import Channel
from procession.engine.messages import Task
from procession.engine.wire import Layout
from procession.order.plan import Plan


class Remote:
    """A worker as the driver knows it."""

    def __init__(self, number: int, channel: Channel) -> None:
        self.number = number
        self.channel = channel
        self.pid: int | None = None  # known once it runs
        self.plan: Plan | None = None  # the last one it was told
        self.layout: Layout | None = None  # the last one it sent
        # Invariant: a task, and the slot lent with it, is here until its result is read or the worker is reaped.
        self.tasks: dict[int, Task] = {}  # by ticket
        self.closed = False  # its end of the channel is gone, its exit has not been told yet


class Sent(NamedTuple):
    """The source as it travelled; kept so that another template can be given it."""

    payload: Payload
    descriptor: int
