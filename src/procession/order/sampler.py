"""What decides which item of a source comes at which place of an epoch; the simplest one, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Indices: TypeAlias = range | npt.NDArray[np.int64]


class Draw(NamedTuple):
    """Which epoch of which source is drawn for."""

    length: int  # items in the source
    seed: int
    epoch: int


class Sampler(Protocol):
    """The order of an epoch as a function of (length, seed, epoch): small, immutable, picklable.

    A place counts the items of an epoch over all shards, from 0.
    """

    @property
    def repeats(self) -> bool:
        """Whether an item may come more than once in an epoch."""
        ...

    def count(self, length: int) -> int:
        """How many places an epoch has."""
        ...

    def pick(self, places: range, draw: Draw) -> Indices:
        """The items at `places`, all of which lie in [0, count); the same in every process, for ever."""
        ...

    def describe(self) -> str:
        """What it is, in a few words; two that draw different orders are described differently."""
        ...


@dataclass(frozen=True, slots=True)
class InOrder:
    """Each item once, as the source has them."""

    repeats = False

    def count(self, length: int) -> int:
        """See `Sampler.count`."""
        return length

    def pick(self, places: range, draw: Draw) -> Indices:
        """See `Sampler.pick`."""
        return places

    def describe(self) -> str:
        """See `Sampler.describe`."""
        return "in order"
