"""The plan of one epoch: how many positions it has, and which items each of them holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from procession.order.shuffle import permutation


class Plan(NamedTuple):
    """What one epoch delivers; small, immutable, and the same in every process.

    An item is what `source[i]` gives: a batch if `batch_size` is None, else a sample.
    """

    length: int | None  # items in the source; None: endless
    batch_size: int | None
    drop_remainder: bool
    shuffle: bool
    seed: int
    epoch: int
    probes: tuple[int, ...] = ()  # positions made once more, before the epoch's own, for a look at them
    first: int = 0  # the position to begin with: those before it have been delivered

    @property
    def positions(self) -> int | None:
        """Batches in the epoch, without the probes; None: endless."""
        if self.length is None or self.batch_size is None:
            return self.length
        whole, rest = divmod(self.length, self.batch_size)
        return whole + (1 if rest and not self.drop_remainder else 0)

    @property
    def steps(self) -> int | None:
        """Tasks to do: the probes, then the positions from `first` on."""
        positions = self.positions
        return None if positions is None else len(self.probes) + positions - self.first

    def position(self, step: int) -> int:
        """Which position the task number `step` is for."""
        return self.probes[step] if step < len(self.probes) else self.first + step - len(self.probes)

    def items(self, position: int) -> Sequence[int]:
        """The indices of the source that make the batch at `position`."""
        size = self.batch_size or 1
        span = range(position * size, (position + 1) * size)
        if self.length is None:
            return span
        span = span[: max(0, self.length - span.start)]
        if not self.shuffle:
            return span
        order: list[int] = permutation(self.length, self.seed, self.epoch)[span.start : span.stop].tolist()
        return order
