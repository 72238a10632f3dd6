"""Partitions: several sources read as one, by turns, by weights, or one after the other.

The batches of partitions A (5), B (2) and C (3) by turns:      A0 B0 C0 | A1 B1 | C1 A2 | C2 | A3 A4
                                                                each | ends a phase or a cycle of one

A phase ends where a partition does. Within it a cycle of turns is repeated, so where a position belongs is arithmetic.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import gcd, lcm
from typing import Any, NamedTuple

import numpy as np

from procession.order.batches import Batches
from procession.partitions import Until

MOST_TURNS = 1024  # in a cycle: what finer weights are rounded to


class Phase(NamedTuple):
    """Positions in which the same partitions take turns."""

    start: int
    base: dict[int, int]  # for each partition that takes turns, its batches before it
    cycle: tuple[int, ...]  # which partition has which turn
    ranks: tuple[int, ...]  # for each turn how many the same partition had before it in the cycle
    quotas: dict[int, int]  # turns of each partition in a cycle

    def find(self, position: int) -> tuple[int, int]:
        """The partition at a position, and which of its batches it is."""
        cycles, turn = divmod(position - self.start, len(self.cycle))
        part = self.cycle[turn]
        return part, self.base[part] + cycles * self.quotas[part] + self.ranks[turn]

    def used(self, steps: int) -> dict[int, int]:
        """Batches of each of its partitions before and in so many positions of it."""
        cycles, turn = divmod(steps, len(self.cycle))
        counts = {part: before + cycles * self.quotas[part] for part, before in self.base.items()}
        for part in self.cycle[:turn]:
            counts[part] += 1
        return counts

    def lasts(self, lengths: Sequence[int | None]) -> int | None:
        """Positions from its start to where a partition ends, that one included; None: none does."""
        ends: dict[tuple[int, int], int] = {}  # partition and rank of its last batch → whole cycles before that
        for part, before in self.base.items():
            if (length := lengths[part]) is not None:
                cycles, rank = divmod(length - before - 1, self.quotas[part])
                ends[part, rank] = cycles
        turns = enumerate(zip(self.cycle, self.ranks, strict=True))
        return min((ends[last] * len(self.cycle) + turn + 1 for turn, last in turns if last in ends), default=None)


@dataclass(frozen=True)
class Interleaved:
    """The batches of several sources in one epoch."""

    parts: tuple[Batches, ...]
    weights: tuple[float, ...] | None  # None: one partition after the other
    until: Until  # "all" have been read; the "first" has; or so many batches, partitions beginning again as they end

    @property
    def seed(self) -> int:
        """See `Plan.seed`."""
        return self.parts[0].seed

    @property
    def epoch(self) -> int:
        """See `Plan.epoch`."""
        return self.parts[0].epoch

    @property
    def batch_size(self) -> int | None:
        """See `Plan.batch_size`."""
        return self.parts[0].batch_size

    @property
    def drop_remainder(self) -> bool:
        """See `Plan.drop_remainder`."""
        return self.parts[0].drop_remainder

    @property
    def positions(self) -> int | None:
        """Batches in the epoch; None: endless."""
        return self._course[1]

    def items(self, position: int) -> Sequence[int]:
        """Items of all partitions have numbers of their own: index * partitions + partition."""
        part, again, number = self._find(position)
        count, found = len(self.parts), self._pass(part, again).items(number)
        if isinstance(found, range):
            return range(found.start * count + part, found.stop * count + part, found.step * count)
        return [index * count + part for index in found]

    def locator(self) -> Callable[[int], Sequence[int]]:
        """See `Plan.locator`."""
        return self.items

    @cached_property
    def repeats(self) -> bool:
        """See `Plan.repeats`."""
        return isinstance(self.until, int) or any(part.repeats for part in self.parts)

    def turns(self, position: int) -> Sequence[int]:
        """See `Plan.turns`; each pass over a partition gives its items another turn."""
        part, again, number = self._find(position)
        turns = self._pass(part, again).turns(number)
        return turns if again == 0 else [turn + (again << 48) for turn in turns]

    def part(self, position: int) -> int | None:
        """See `Plan.part`."""
        return self._find(position)[0]

    def describe(self) -> str:
        """See `Batches.describe`."""
        how = f"{self.parts[0].describe()}, {len(self.parts)} partitions"
        if self.weights is None:
            return f"{how} in sequence"
        shown = zlib.crc32(repr(self.weights).encode())
        return f"{how} by turns (weights crc {shown:08x}) until {self.until}"

    def lengths(self) -> int | str | None:
        """See `Batches.lengths`."""
        lengths = [part.length for part in self.parts]
        shown = str(lengths)
        return (
            shown if len(shown) < 100 else f"{sum(n or 0 for n in lengths)} items, crc {zlib.crc32(shown.encode()):08x}"
        )

    def name(self, item: int) -> str:
        """See `Plan.name`."""
        index, part = divmod(item, len(self.parts))
        return f"source[{part}][{index}]"

    def __reduce__(self) -> Any:
        return Interleaved, (self.parts, self.weights, self.until)  # the course can be found again

    @cached_property
    def _course(self) -> tuple[tuple[Phase, ...], int | None]:
        return course(self._lengths, self.weights, self.until)

    @cached_property
    def _lengths(self) -> tuple[int | None, ...]:
        return tuple(part.positions for part in self.parts)

    def _find(self, position: int) -> tuple[int, int, int]:
        """The partition at a position, the pass over it, and which batch of that."""
        phases, _ = self._course
        phase = phases[bisect_right(phases, position, key=lambda phase: phase.start) - 1]
        part, number = phase.find(position)
        length = self._lengths[part]
        return (part, 0, number) if length is None else (part, *divmod(number, length))

    def _pass(self, part: int, again: int) -> Batches:
        """The batches of a partition in a pass over it; each has an order of its own."""
        batches = self.parts[part]
        return batches if again == 0 else batches._replace(seed=batches.seed + (again << 160))


@lru_cache(maxsize=8)
def course(
    lengths: tuple[int | None, ...], weights: tuple[float, ...] | None, until: Until
) -> tuple[tuple[Phase, ...], int | None]:
    """The phases of an epoch, and how many positions it has (None: endless)."""
    count = len(lengths)
    whole = turns_of(weights) if weights else (1,) * count
    phases: list[Phase] = []
    left = [part for part, length in enumerate(lengths) if length != 0]
    start, done, last = 0, dict.fromkeys(left, 0), count - 1
    while left and not (phases and until == "first"):
        active = left[:1]
        if weights is not None:  # who would be next goes on
            active = [*left[(at := bisect_right(left, last)) :], *left[:at]]
        phase = Phase(start, {part: done[part] for part in active}, *cycle_of(active, whole))
        phases.append(phase)
        steps = phase.lasts(lengths)
        if isinstance(until, int) or steps is None:
            return tuple(phases), until if isinstance(until, int) else None
        done |= phase.used(steps)
        start, last = start + steps, phase.find(start + steps - 1)[0]
        left.remove(last)  # only one ends at a time
    return tuple(phases), start


def turns_of(weights: tuple[float, ...]) -> tuple[int, ...]:
    """Weights as whole numbers of turns in a cycle, at least 1 each; exact where that takes few, else to 0.1 %."""
    weights = tuple(weight / max(weights) for weight in weights)  # so that their sum is finite
    total = sum(weights)
    shares = [Fraction(weight / total).limit_denominator(MOST_TURNS) for weight in weights]
    scale = lcm(*(share.denominator for share in shares))
    exact = [int(share * scale) for share in shares]
    if all(exact) and sum(exact) <= MOST_TURNS:
        common = gcd(*exact)
        return tuple(turns // common for turns in exact)
    return tuple(max(1, round(MOST_TURNS * weight / total)) for weight in weights)


def cycle_of(active: list[int], turns: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], dict[int, int]]:
    """The turns of a cycle, evenly spread (smooth weighted round-robin), with ranks and quotas."""
    common = gcd(*(turns[part] for part in active))
    quotas = {part: turns[part] // common for part in active}
    total = sum(quotas.values())
    if total == len(active):
        return tuple(active), (0,) * total, quotas
    shares = np.array([*quotas.values()])
    credit = np.zeros_like(shares)
    seen = dict.fromkeys(active, 0)
    cycle, ranks = [], []
    for _ in range(total):
        credit += shares
        at = credit.argmax()  # the first of equals
        credit[at] -= total
        cycle.append(chosen := active[at])
        ranks.append(seen[chosen])
        seen[chosen] += 1
    return tuple(cycle), tuple(ranks), quotas
