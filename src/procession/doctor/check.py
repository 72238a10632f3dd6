"""What a check is: observations, made in processes that may die of them, and a judgement on what they saw.

observations (of all checks, each made once)          judgements (pure)
┌────────────────────────────────────────┐
│ worker: Patient ──observe──► what it saw │──► Results ──┐
│ one process for each, with a time limit │              ├──► judge(Chart, Results) ──► findings
└────────────────────────────────────────┘     Chart ────┘
                                  (the source, read but not run)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from procession import sources, tree
from procession.doctor.code.reading import Reading, read
from procession.doctor.findings import Code, Finding
from procession.engine.generators import Generators
from procession.engine.hooks import Hooks
from procession.engine.own_generators import OwnGenerators
from procession.errors import ConfigError
from procession.flows import Flow
from procession.order.randomness import Place, here, left
from procession.sources import Arrays

if TYPE_CHECKING:
    from procession.doctor.seen.probe import Probed


MOST_ITEMS = 16  # of a source that are asked for


class Patient:
    """A source in a process of its own, where its code may be run."""

    def __init__(self, source: Any, sample: tuple[int, ...], seed: int) -> None:
        self.source = source
        self.sample = sample  # indices to ask for, in order
        self.seed = seed

    @cached_property
    def begun(self) -> bool:
        """Whether its epoch has begun: in training that is so before any item is asked for."""
        if isinstance(self.source, Flow):  # begun where it was sent from
            return True
        try:
            Hooks(self.source, self.seed).begin()
        except Exception:  # for the check of the hooks to tell
            return False
        return True

    @cached_property
    def generators(self) -> Generators:
        """Those that a worker would seed."""
        return Generators(self.source, own=OwnGenerators(self.source))

    def item(self, index: int, epoch: int = 0) -> Any:
        """What a worker makes of an index, with all generators seeded as it would."""
        self.begun  # noqa: B018 - called once
        place = Place(self.seed, epoch, index, 0)
        token = here(place)
        self.generators.seed(place)
        try:
            return self.asked(index)
        finally:
            left(token)

    def asked(self, index: int) -> Any:
        """What an index gives, with the generators as they are."""
        if isinstance(self.source, Arrays):
            return tree.map_leaves(lambda array: array[index], self.source.arrays)
        return self.source[index]


Observation = Callable[[Patient], Any]  # returns plain values; raises what it could not bear


class Failed(NamedTuple):
    """An observation that could not be made."""

    error: BaseException  # a WorkerDiedError or StalledError, or what it raised itself


class Results:
    """What the observations saw, and how long each took; trials count as observations."""

    def __init__(self, seen: dict[Any, Any], seconds: dict[Any, float]) -> None:
        self._seen = seen
        self._seconds = seconds

    def of(self, observation: Any) -> Any:
        """What an observation saw; None if it could not be made, or was not."""
        seen = self._seen.get(observation)
        return None if isinstance(seen, Failed) else seen

    def failed(self, observation: Any) -> Failed | None:
        """Why it could not be made; None if it was, or was not tried."""
        seen = self._seen.get(observation)
        return seen if isinstance(seen, Failed) else None

    def made(self, observation: Any) -> bool:
        """Whether it was tried."""
        return observation in self._seen

    def add(self, observation: Any, value: Any, seconds: float) -> None:
        """Note what an observation saw."""
        self._seen[observation], self._seconds[observation] = value, seconds

    def seconds(self, observation: Any) -> float:
        """How long it took; 0 if it was not made."""
        return self._seconds.get(observation, 0.0)


@dataclass
class Chart:
    """All that is known of a source without running its `__getitem__`; lives in the process that diagnoses."""

    given: Any  # all that is sent to the workers
    source: Any  # as workers index it; of several partitions the first
    batch_size: int | None
    length: int | None  # None: endless
    sample: tuple[int, ...] = ()  # items that can be made, for observations to ask for
    probes: dict[int, Probed] = field(default_factory=dict)  # what came of the first items, each in its own process
    lost: dict[int, BaseException] = field(default_factory=dict)  # those that ended it, or did not return
    seed: int = 0
    limit: float = 30.0  # seconds for one observation
    start_limit: float = 60.0  # seconds for importing what the source needs, and unpickling it
    files: tuple[str, ...] = ()  # of the user's, besides that of its class: where it is trained with, perhaps
    figures: dict[str, Any] = field(default_factory=dict)  # what checks have measured, for the reader
    profile: tuple[tuple[str, str, float], ...] = ()

    @cached_property
    def candidates(self) -> tuple[int, ...]:
        """Indices to ask for."""
        return candidates(self.length)

    @cached_property
    def item_code(self) -> list[Reading]:
        """`__getitem__` and the functions of the user's that it calls, as they are written."""
        return [] if isinstance(self.source, Arrays) else read(self.source, ("__getitem__",))

    @cached_property
    def hook_code(self) -> list[Reading]:
        """The epoch hooks and what they call."""
        return read(self.source, sources.hooks(self.source))


class Check(NamedTuple):
    """One question about a source."""

    name: str
    asks: str
    codes: tuple[Code, ...]
    observations: tuple[Observation, ...]  # made side by side with those of others
    judge: Callable[[Chart, Results], Iterable[Finding]]
    alone: tuple[Observation, ...] = ()  # made one after the other, with nothing beside: they measure
    trials: tuple[Callable[[Chart], Any], ...] = ()  # made by the diagnosing process, each with workers of its own


def check_options(batch_size: int | None, limit: float) -> None:
    """Check what a diagnosis is asked for.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """
    if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
        raise ConfigError(f"batch_size must be None (items are batches) or an int of at least 1; got {batch_size!r}")
    if not 0 < limit < math.inf:
        raise ConfigError(f"limit must be a number of seconds above 0; got {limit!r}")


def each_once(observations: Iterable[Observation]) -> list[Observation]:
    """Those that several checks ask for are made once."""
    return list(dict.fromkeys(observations))


def candidates(length: int | None) -> tuple[int, ...]:
    """Indices of a source to ask for, in this order as far as there is time: both ends first, then evenly between."""
    if length is None or length <= MOST_ITEMS:
        return tuple(range(MOST_ITEMS if length is None else length))
    between = [length * k // MOST_ITEMS for k in (8, 4, 12, 2, 6, 10, 14, 1, 3, 5, 7, 9, 11, 13, 15)]
    return tuple(dict.fromkeys((0, length - 1, 1, length - 2, *between)))[:MOST_ITEMS]
