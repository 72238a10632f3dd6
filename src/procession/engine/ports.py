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


class Executor(Protocol):
    """Runs tasks. Calls come from one thread at a time, in this order: begin, submit and wait, …, begin, …, close."""

    def begin(self, plan: Plan, source: Any, workers: int) -> list[int]:
        """Prepare an epoch with `workers` workers; return the numbers of those that joined since the last call.

        `source` is the user's object as it is now; what has changed on it since the last epoch must reach the workers
        before their next task. What cannot be started shows as events of `wait`, not here.

        Raises:
            CaptureError: something in the source cannot travel to where it is needed.
        """
        ...

    def submit(self, worker: int, tasks: list[tuple[int, int]]) -> None:
        """Give (ticket, position) pairs to a worker."""
        ...

    def wait(self, timeout: float | None) -> list[Event]:
        """Block until something happened, at most `timeout` seconds; empty if woken, or with nothing to wait for."""
        ...

    def restart(self, worker: int) -> None:
        """Replace a worker that was reported as `Died`; it takes tasks at once."""
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
