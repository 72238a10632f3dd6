"""What an executor is to the stream: the one port behind which serial, threads and processes stand."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from procession.engine.wire import Layout
from procession.events import Event
from procession.order.plan import Plan


class Parked(NamedTuple):
    """A batch in memory that nobody has opened yet."""

    layout: Layout
    rest: tuple[int, ...]
    nbytes: int
    memory: Any  # a Slot of the arena, or the buffer of a one-off segment
    reasons: tuple[str, ...]
    placed: int = 0  # bytes that were not copied


class Assignment(NamedTuple):
    """A task as an executor is given it: make the batch at `position`, but for the items in `without`."""

    ticket: int
    position: int
    without: tuple[int, ...]


class InHand(NamedTuple):
    """What a worker is at."""

    worker: int
    who: str  # for messages: "worker 1 (pid 4711)"
    ticket: int
    item: int  # index in the source; -1: the batch as such
    since: float  # of time.monotonic


class Executor(Protocol):
    """Runs tasks. Calls come from one thread at a time, in this order: begin, submit and wait, …, begin, …, close."""

    def begin(self, plan: Plan, source: Any, workers: int) -> list[int]:
        """Prepare an epoch with `workers` workers; return the names of those that joined since the last call.

        A name is a number by which a worker is spoken of here; no two workers of an executor have the same, ever.

        `source` is the user's object as it is now; what has changed on it since the last epoch must reach the workers
        before their next task. What cannot be started shows as events of `wait`, not here.

        Raises:
            CaptureError: something in the source cannot travel to where it is needed.
        """
        ...

    def submit(self, worker: int, assignments: list[Assignment]) -> None:
        """Give tasks to a worker."""
        ...

    def wait(self, timeout: float | None) -> list[Event]:
        """Block until something happened, at most `timeout` seconds; empty if woken, or with nothing to wait for."""
        ...

    def replace(self, worker: int) -> list[int]:
        """Start another in the place of a worker that was reported as `Died`, or that has nothing to do.

        It takes tasks at once. Returns its name, or nothing where none can be had.
        """
        ...

    def reload(self) -> list[int]:
        """After `TemplateDied`: start all workers anew; return their names."""
        ...

    def in_hand(self) -> list[InHand]:
        """What each worker is at, for those that are at something."""
        ...

    def stack(self, worker: int) -> str:
        """The Python stack of a worker as it is now; empty if it cannot be had."""
        ...

    def end_overdue(self, worker: int) -> None:
        """End a worker that takes too long; `wait` tells its death."""
        ...

    def open(self, parked: Parked) -> Any:
        """The batch; its memory is the consumer's until the last of its arrays is dropped."""
        ...

    def discard(self, parked: Parked) -> None:
        """Take back the memory of a batch that nobody wants."""
        ...

    def close(self) -> None:
        """End all workers and give back all memory but what the consumer holds. May be called twice."""
        ...

    def facts(self) -> dict[str, Any]:
        """What is known about the workers, for the statistics."""
        ...
