"""What is left of an epoch of which some batches have been delivered."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple


class Rest(NamedTuple):
    """The positions from `first` on, but for those that were delivered before their turn."""

    first: int = 0
    # Invariant: sorted, each above `first`. Empty where batches are delivered in order.
    early: tuple[int, ...] = ()

    @staticmethod
    def after(first: int, delivered: Iterable[int]) -> Rest:
        """What is left after all below `first`, and those `delivered` besides."""
        early = sorted(delivered)
        kept = 0
        while kept < len(early) and early[kept] == first:
            first, kept = first + 1, kept + 1
        return Rest(first, tuple(early[kept:]))

    def count(self, positions: int) -> int:
        """How many are left of an epoch of so many."""
        return positions - self.first - len(self.early)

    def position(self, number: int) -> int:
        """The position of number `number` of those left."""
        if not self.early:
            return self.first + number
        before = bisect_right(range(len(self.early)), number, key=lambda k: self.early[k] - self.first - k)
        return self.first + number + before
