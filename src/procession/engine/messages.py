"""Every message between training process, template and workers."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from procession.capture.pickling import Payload
from procession.capture.state import Name
from procession.engine.wire import Layout
from procession.errors import PackedError
from procession.order.plan import Plan

# Make the batch at one position of the present epoch and write it to the slot: ticket, position, items to leave out,
# offset and capacity of the slot. A ticket counts the tasks of a loader's life: a late answer cannot be taken for
# another's. Plain, as a result is on its way: named tuples take four times as long to pickle.
Task: TypeAlias = tuple[int, int, tuple[int, ...], int, int]


class Result(NamedTuple):
    """One finished task."""

    ticket: int
    layout: Layout | None  # None: as in the message before
    rest: tuple[int, ...]  # sizes of what is pickled
    nbytes: int
    in_segment: bool  # larger than its slot: in a segment, whose descriptor came with the message
    seconds: float  # spent in the source and in writing
    reasons: tuple[str, ...]  # why leaves had to be pickled
    failures: tuple[tuple[int, PackedError], ...] = ()  # instead: the items for which the source raised, and what
    left: int = 0  # how many of the batch's items are good, if some failed
    placed: int = 0  # bytes that were made in the slot, and so not copied
    kept: bool = False  # the source holds arrays in the slot, which must not be lent again while the worker lives


# training process → worker


class Work(NamedTuple):
    """Tasks for one worker, in order."""

    tasks: tuple[Task, ...]
    plan: Plan | None  # what they and all after them belong to; None: as before


class Refresh(NamedTuple):
    """Changes to the source; the descriptors of the payload come along. Also to the template, for workers to come."""

    payload: Payload
    names: tuple[Name, ...]  # the attributes that are changed or removed


# worker → training process


class Results(NamedTuple):
    """Finished tasks, in the order they were given: `Result`s as plain tuples."""

    results: tuple[tuple[Any, ...], ...]
    memory: int | None  # bytes of memory that the worker has for itself; None: not looked at since the last report


# training process → template


class Attach(NamedTuple):
    """A loader's control channel, whose end comes along."""


class Preload(NamedTuple):
    """Import modules before any loader comes, seeing these variables besides those of the environment."""

    modules: tuple[str, ...]
    environment: dict[str, str]


class Finish(NamedTuple):
    """End all workers and yourself. (A template whose bootstrap channel is only closed ends with its last loader.)"""


class Surroundings(NamedTuple):
    """What a process sees around it: workers see what the training process saw when the source was sent."""

    environment: dict[str, str]
    path: tuple[str, ...]
    directory: str | None  # None: it has been removed
    arguments: tuple[str, ...]  # sys.argv
    cores: tuple[int, ...]  # that it may run on; () where the system does not say


class Load(NamedTuple):
    """The source of a loader: rebuild it now, or leave it to each worker (`late`)."""

    payload: Payload
    surroundings: Surroundings
    late: bool
    modules: tuple[str, ...]  # to import first


class Fork(NamedTuple):
    """Start a worker; its channel, the arena and the end of a pipe for its stack come along."""

    name: int
    place: int
    workers: int
    collects: bool  # see `Maker`


# template → training process


class Preloaded(NamedTuple):
    """The modules have been imported. `threads`: what they started that does not survive a fork."""

    threads: tuple[str, ...]


class Loaded(NamedTuple):
    """The source has been rebuilt; or not to be forked, for what it has started or opened meanwhile."""

    threads: tuple[str, ...]  # that do not survive a fork
    files: tuple[str, ...]  # whose offsets a fork would share
    imported: bool  # it was not importing that did so


class LoadFailed(NamedTuple):
    """The source could not be rebuilt."""

    error: PackedError


class NotForked(NamedTuple):
    """A worker could not be started."""

    name: int
    number: int  # errno


class Forked(NamedTuple):
    """A worker runs; a pidfd of it comes along."""

    name: int
    pid: int


class Exited(NamedTuple):
    """A worker is gone."""

    name: int
    status: int  # exit code, or the negative number of the signal


Message = Any  # what a channel gives; receivers match on the classes above
