"""The plan of one epoch: how many positions it has, which items each of them holds, and which are still to come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from procession.order.batches import Batches
from procession.order.interleave import Interleaved
from procession.order.rest import Rest


class Plan(NamedTuple):
    """What one epoch delivers; small, immutable, and the same in every process."""

    order: Batches | Interleaved
    probes: tuple[int, ...] = ()  # positions made once more, before the epoch's own, for a look at them
    rest: Rest = Rest()

    @property
    def seed(self) -> int:
        """What all random numbers of the epoch come from, beside `epoch`."""
        return self.order.seed

    @property
    def epoch(self) -> int:
        """Which epoch it is."""
        return self.order.epoch

    @property
    def batch_size(self) -> int | None:
        """How many items make a batch; None: an item is one."""
        return self.order.batch_size

    @property
    def drop_remainder(self) -> bool:
        """Whether all batches have one size."""
        return self.order.drop_remainder

    @property
    def positions(self) -> int | None:
        """Batches in the epoch, without the probes; None: endless."""
        return self.order.positions

    @property
    def steps(self) -> int | None:
        """Tasks to do: the probes, then the positions that are left."""
        positions = self.positions
        return None if positions is None else len(self.probes) + self.rest.count(positions)

    def after(self, passed: int, early: Sequence[int]) -> Rest:
        """What is left when the steps below `passed`, and the `early` ones, are done."""
        probes, rest = len(self.probes), self.rest
        first = rest.position(max(0, passed - probes))
        own = (self.position(step) for step in early if step >= probes)
        return Rest.after(first, [*(position for position in rest.early if position >= first), *own])

    @property
    def parts(self) -> int:
        """How many partitions there are; 0 if the source is whole."""
        return len(self.order.parts) if isinstance(self.order, Interleaved) else 0

    def position(self, step: int) -> int:
        """Which position the task number `step` is for."""
        probes = self.probes
        return probes[step] if step < len(probes) else self.rest.position(step - len(probes))

    def positions_of(self, steps: Iterable[int]) -> list[int]:
        """The same for several."""
        if self.probes or self.rest.early:
            return [self.position(step) for step in steps]
        first = self.rest.first
        return [first + step for step in steps]

    def items(self, position: int) -> Sequence[int]:
        """The items that make the batch at `position`: indices of the source, or of partitions as `name` says."""
        return self.order.items(position)

    def locator(self) -> Callable[[int], Sequence[int]]:
        """`items`, for many positions."""
        return self.order.locator()

    @property
    def repeats(self) -> bool:
        """Whether an item may come more than once."""
        return self.order.repeats

    def turns(self, position: int) -> Sequence[int]:
        """For each of these items which time it comes in this epoch; 0 where it comes once."""
        return self.order.turns(position)

    def part(self, position: int) -> int | None:
        """Which partition the batch at `position` is of; None: the source is not partitioned."""
        return self.order.part(position)

    def name(self, item: int) -> str:
        """What the user calls an item."""
        return self.order.name(item)
