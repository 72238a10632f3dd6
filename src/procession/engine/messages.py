"""Every message between training process, template and workers. Named tuples: they pickle small and fast."""

from __future__ import annotations

from typing import Any, NamedTuple

from procession.capture.pickling import Payload
from procession.engine.wire import Layout
from procession.errors import PackedError
from procession.order.plan import Plan


class Task(NamedTuple):
    """Make the batch at one position of the present epoch and write it to the slot."""

    ticket: int  # counts the tasks of a loader's life: a late answer cannot be taken for another's
    position: int
    offset: int
    capacity: int


class Result(NamedTuple):
    """One finished task."""

    ticket: int
    layout: Layout | None  # None: as in the message before
    rest: tuple[int, ...]  # sizes of what is pickled
    nbytes: int
    in_segment: bool  # larger than its slot: in a segment, whose descriptor came with the message
    seconds: float  # spent in the source and in writing
    reasons: tuple[str, ...]  # why leaves had to be pickled
    error: PackedError | None = None  # what the source raised instead


# training process → worker


class Work(NamedTuple):
    """Tasks for one worker, in order."""

    tasks: tuple[Task, ...]
    plan: Plan | None  # what they and all after them belong to; None: as before


class Refresh(NamedTuple):
    """Changes to the source; the descriptor of the payload comes along. Also to the template, for workers to come."""

    payload: Payload


# worker → training process


class Results(NamedTuple):
    """Finished tasks, in the order they were given."""

    results: tuple[Result, ...]


# training process → template


class Attach(NamedTuple):
    """A loader's control channel, whose end comes along."""


class Finish(NamedTuple):
    """End all workers and yourself. (A template whose bootstrap channel is only closed ends with its last loader.)"""


class Surroundings(NamedTuple):
    """What a process sees around it: workers see what the training process saw when the source was sent."""

    environment: dict[str, str]
    path: tuple[str, ...]
    directory: str | None  # None: it has been removed
    arguments: tuple[str, ...]  # sys.argv


class Load(NamedTuple):
    """The source of a loader: rebuild it now, or leave it to each worker (`late`)."""

    payload: Payload
    surroundings: Surroundings
    late: bool


class Fork(NamedTuple):
    """Start a worker; its channel and the arena come along."""

    worker: int
    workers: int


class Kill(NamedTuple):
    """End one worker now."""

    worker: int


# template → training process


class Loaded(NamedTuple):
    """The source has been rebuilt. `threads`: what it started that does not survive a fork."""

    threads: tuple[str, ...]


class LoadFailed(NamedTuple):
    """The source could not be rebuilt."""

    error: PackedError


class Forked(NamedTuple):
    """A worker runs."""

    worker: int
    pid: int


class Exited(NamedTuple):
    """A worker is gone."""

    worker: int
    pid: int
    status: int  # exit code, or the negative number of the signal


Message = Any  # what a channel gives; receivers match on the classes above
