"""What delivery hears besides an executor's events, and what it has done: its whole language, as plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from procession.events import Done

MOST_SPAN = 2048  # from the first batch that is missing to the last given out: what a saved state has to tell of


class Began(NamedTuple):
    """A new epoch of `steps` tasks (None: endless); what is left of the one before is stale.

    Tasks at or beyond step `ahead` are not submitted before the consumer asks for them: the source may change there.
    At most `span` lie between the first that the consumer has not got and the last that is given out. `part` tells
    which partition a step is of; all of one are given to one worker, in order. None: to whom is free.
    """

    steps: int | None
    ahead: int | None = None
    part: Callable[[int], int | None] | None = None
    span: int = MOST_SPAN


class Wanted(NamedTuple):
    """The consumer asks for the next batch. Not asked again before it is answered."""


class Joined(NamedTuple):
    """A worker can take tasks."""

    worker: int


class Submit(NamedTuple):
    worker: int
    tickets: tuple[int, ...]


class Raise(NamedTuple):
    ticket: int
    error: BaseException


class End(NamedTuple):
    pass


class Discard(NamedTuple):
    batch: Any


class Skip(NamedTuple):
    """An item is left out of its batch, or, where nothing is left of that, the batch out of the epoch."""

    ticket: int
    item: int
    error: BaseException


class Replace(NamedTuple):
    """Start another in the place of a worker that has died, or that has nothing in hand and is let go."""

    worker: int
    dead: bool


class Reload(NamedTuple):
    """Start a template again, and all its workers."""


Action = Submit | Done | Raise | End | Discard | Skip | Replace | Reload  # Done: the consumer gets its batch


class Refused(NamedTuple):
    """The outcome of a task that has failed for good."""

    error: BaseException


class Skipped(NamedTuple):
    """The outcome of a task of which nothing is left."""
