"""What an executor reports: the only input of delivery besides the consumer's wish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Done(NamedTuple):
    """A task's batch is ready."""

    worker: int
    ticket: int
    batch: Any  # a Parked: where it lies; opened when it is delivered
    seconds: float


class Failed(NamedTuple):
    """The source raised for a task."""

    worker: int
    ticket: int
    error: BaseException


class Died(NamedTuple):
    """A worker is gone, and with it the tasks it had."""

    worker: int
    ticket: int | None  # the task it had in hand
    describe: Callable[[int | None], BaseException]  # from the step it was working on to the error that names it


class Lost(NamedTuple):
    """All workers are gone, and none can be had in this epoch."""

    error: BaseException


Event = Done | Failed | Died | Lost
