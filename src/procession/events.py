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


class Failure(NamedTuple):
    """What was raised for one item."""

    item: int  # index in the source; the first of the batch's where no single one is at fault
    error: BaseException


class Failed(NamedTuple):
    """A task's batch could not be made: the source raised."""

    worker: int
    ticket: int
    failures: tuple[Failure, ...]  # at least one
    left: int  # items of the batch that are good; 0: there is no batch without these


class Died(NamedTuple):
    """A worker is gone, and with it the tasks it had."""

    worker: int
    ticket: int | None  # the task it had in hand
    item: int  # the item it had in hand
    left: int  # items of that batch besides it
    describe: Callable[[], BaseException]  # the error that says who died of what


class NotStarted(NamedTuple):
    """A worker could not be started."""

    worker: int
    error: BaseException


class Outgrown(NamedTuple):
    """A worker has more memory of its own than it may have."""

    worker: int


class TemplateDied(NamedTuple):
    """What workers are started from is gone, and they with it, by no fault of their tasks."""

    loaded: bool  # it had the source: it did not die of loading it
    describe: Callable[[], BaseException]


class Held(NamedTuple):
    """A worker has been at `ticket` for a while: what it did before, of the same message, it has not told yet."""

    worker: int
    ticket: int


class Lost(NamedTuple):
    """All workers are gone, and none can be had in this epoch."""

    error: BaseException


Event = Done | Held | Failed | Died | NotStarted | Outgrown | TemplateDied | Lost
