"""What the training process knows and holds of each worker, and of the source that it sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from procession.capture.pickling import Payload
from procession.engine.arena import Slot
from procession.engine.channel import Channel, Closed
from procession.engine.ports import Assignment
from procession.engine.shutdown import kill
from procession.engine.stacks import StackPipe
from procession.engine.wire import Layout
from procession.order.plan import Plan


class Remote:
    """A worker as the driver knows it."""

    def __init__(self, name: int, place: int, channel: Channel, stack: StackPipe) -> None:
        self.name = name  # its own for ever
        self.place = place  # 0, 1, …: what `worker_info` and messages call it by; it may have had it from another
        self.channel = channel
        self.stack = stack
        self.pid: int | None = None  # known once it runs, with the next
        self.watch: int | None = None  # a pidfd
        self.plan: Plan | None = None  # the last one it was told
        self.layout: Layout | None = None  # the last one it sent
        # Invariant: a task, and the slot lent with it, is here until its result is read or the worker is reaped.
        self.tasks: dict[int, tuple[Assignment, Slot]] = {}  # by ticket
        self.kept: list[Slot] = []  # slots in which its source holds arrays
        self.closed = False  # its end of the channel is gone, its exit has not been told yet
        self.heard: float | None = None  # when it answered last, or was given something after that
        self.memory: int | None = None  # bytes of its own, at its last report of it
        self.overdue: str | None = None  # it is being ended for taking too long: its stack by then

    def slots(self) -> list[Slot]:
        """The slots that nobody else may use while it lives."""
        return [*self.kept, *(slot for _, slot in self.tasks.values())]

    def send(self, message: Any, descriptors: Sequence[int] = ()) -> None:
        """Send a message; if it is gone, the template tells, with the reason.

        One that has not read for so long that there is no room is stuck: it is ended, and replaced as any other.
        """
        try:
            self.channel.send(message, descriptors, wait=self.watch is None)
        except Closed:
            pass
        except OSError:
            if self.watch is None:
                raise
            kill(self.watch)

    def close(self) -> None:
        """Let go of it: if it runs, and is idle, it leaves by itself."""
        self.channel.close()
        self.stack.close()
        if self.watch is not None:
            os.close(self.watch)
            self.watch = None


class Sent(NamedTuple):
    """The source as it travelled; kept so that another template can be given it."""

    payload: Payload
    descriptors: list[int]
