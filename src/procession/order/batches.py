"""The batches of one source in one epoch: which items each of them holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from procession.order.sampler import Draw, Indices, InOrder, Sampler
from procession.order.sharding import WHOLE, Shard

BLOCK = 1024  # items drawn at a time: 0.1 µs an index so, 100 µs for one alone


class Batches(NamedTuple):
    """An item is what `source[i]` gives: a batch if `batch_size` is None, else a sample."""

    length: int | None  # items in the source; None: endless, and then in order
    batch_size: int | None = None
    drop_remainder: bool = False
    sampler: Sampler = InOrder()
    seed: int = 0
    epoch: int = 0
    shard: Shard = WHOLE

    @property
    def share(self) -> int | None:
        """Items of the epoch that are this shard's."""
        return None if self.length is None else self.shard.share(self.sampler.count(self.length))

    @property
    def positions(self) -> int | None:
        """Batches in the epoch; None: endless."""
        share = self.share
        if share is None or self.batch_size is None:
            return share
        whole, rest = divmod(share, self.batch_size)
        return whole + (1 if rest and not self.drop_remainder else 0)

    def items(self, position: int) -> Sequence[int]:
        """The indices of the source that make the batch at `position`."""
        start, stop = self._span(position)
        if self.length is None or isinstance(self.sampler, InOrder):
            if self.shard.count == 1:
                return range(start, stop)
            return _plain(joined([*self.shard.places(start, stop, self.length)]))
        blocks = [_block(self, number) for number in range(start // BLOCK, (stop - 1) // BLOCK + 1)]
        drawn = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        first = start // BLOCK * BLOCK
        return _plain(drawn[start - first : stop - first])

    def locator(self) -> Callable[[int], Sequence[int]]:
        """See `Plan.locator`: what does not depend on the position is worked out once."""
        size, share = self.batch_size or 1, self.share
        plain = self.shard.count == 1 and (self.length is None or isinstance(self.sampler, InOrder))

        def items(position: int) -> Sequence[int]:
            start = position * size
            if plain and (share is None or start + size <= share):
                return range(start, start + size)
            return self.items(position)

        return items

    @property
    def repeats(self) -> bool:
        """See `Plan.repeats`."""
        return self.sampler.repeats

    def turns(self, position: int) -> Sequence[int]:
        """For each item of a batch which of its turns this is, where it may come more than once; else 0.

        Turns are told apart by where in the epoch they come, so they are the same whatever the number of shards.
        """
        start, stop = self._span(position)
        if self.length is None or not self.sampler.repeats:
            return [0] * (stop - start)
        return [
            place + 1 for places in self.shard.places(start, stop, self.sampler.count(self.length)) for place in places
        ]

    def part(self, position: int) -> int | None:
        """There is one source, and it is in no parts."""
        return None

    def describe(self) -> str:
        """What the order is, in a few words."""
        return self.sampler.describe()

    def lengths(self) -> int | str | None:
        """What there is, in a few words at most."""
        return self.length

    def name(self, item: int) -> str:
        """What the user calls an item."""
        return f"source[{item}]"

    def _span(self, position: int) -> tuple[int, int]:
        size = self.batch_size or 1
        start, share = position * size, self.share
        stop = start + size if share is None else min(start + size, share)
        if start >= stop:
            raise IndexError(f"position {position} is beyond the {self.positions} of the epoch")
        return start, stop


@lru_cache(maxsize=256)  # 2 MiB: the tasks of a worker come from one block after another of each of its partitions
def _block(batches: Batches, number: int) -> Indices:
    length, share = batches.length, batches.share
    assert length is not None and share is not None
    stop = min((number + 1) * BLOCK, share)
    draw = Draw(length, batches.seed, batches.epoch)
    places = batches.shard.places(number * BLOCK, stop, batches.sampler.count(length))
    drawn = joined([batches.sampler.pick(part, draw) for part in places])
    if isinstance(drawn, np.ndarray):
        drawn.flags.writeable = False
    return drawn


def _plain(indices: Indices) -> Sequence[int]:
    """Indices as sources expect them: integers of Python, not of numpy."""
    return indices if isinstance(indices, range) else indices.tolist()


def joined(parts: list[Indices]) -> Indices:
    """Several runs of indices as one."""
    return parts[0] if len(parts) == 1 else np.concatenate([np.asarray(part, np.int64) for part in parts])
