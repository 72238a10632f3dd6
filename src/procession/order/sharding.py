"""Which places of an epoch's order fall to one of several processes that read it together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from procession.errors import ConfigError

Uneven = Literal["pad", "drop"]
UNEVEN: tuple[Uneven, ...] = ("pad", "drop")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` processes that read an epoch together, each its own part of it.

    Its places of the epoch's order are index, index + count, index + 2 * count, ...: step for step the processes
    together read what one alone would, in the same order whatever their number. All have equally many items, since
    training in step waits for ever for the process that has one more. Of `Partitions`, each is cut so.

    Args:
        index: which of the processes this is, counted from 0.
        count: how many there are.
        uneven: what happens where `count` does not divide the number of items: "pad" gives every process as many as
            the fullest has, for which the first places come once more at the end; "drop" leaves out the last places,
            fewer than `count`.

    Raises:
        ConfigError: a value is of the wrong type or out of range (a ValueError).

    Example:
        >>> from procession.order.sharding import Shard
        >>> [[list(places) for places in Shard(index, 3).places(0, 4, total=10)] for index in range(3)]
        [[[0, 3, 6, 9]], [[1, 4, 7], [0]], [[2, 5, 8], [1]]]
        >>> [Shard(index, 3, uneven="drop").share(10) for index in range(3)]
        [3, 3, 3]
    """

    index: int
    count: int
    uneven: Uneven = "pad"

    def __post_init__(self) -> None:
        count = _whole("count", self.count, "how many processes read together")
        index = _whole("index", self.index, "which of them this is, counted from 0")
        if count < 1:
            raise ConfigError(f"count must be at least 1 (one process alone is Shard(0, 1)); got {count}")
        if not 0 <= index < count:
            hint = f"; the last of {count} is Shard({count - 1}, {count})" if index == count else ""
            raise ConfigError(f"index must be from 0 to {count - 1}, as processes count from 0; got {index}{hint}")
        if self.uneven not in UNEVEN:
            raise ConfigError(f"uneven must be one of {', '.join(map(repr, UNEVEN))}; got {self.uneven!r}")
        object.__setattr__(self, "index", index)  # numpy's integers, too, become plain ones
        object.__setattr__(self, "count", count)

    def share(self, total: int) -> int:
        """How many of `total` items are this shard's: as many as any other's."""
        return -(-total // self.count) if self.uneven == "pad" else total // self.count

    def places(self, start: int, stop: int, total: int | None) -> list[range]:
        """The places in the epoch's order of the shard's own places [start, stop), those past its share left out.

        Args:
            start: the first of the shard's own places, counted from 0.
            stop: the one after the last.
            total: how many items the epoch has over all shards; None: it is endless.

        Returns:
            Ranges that follow one another, none of them empty; more than one where the shard was padded.
        """
        if total is not None:
            stop = min(stop, self.share(total))
        if start >= stop:
            return []
        first, last = self.index + start * self.count, self.index + (stop - 1) * self.count
        if total is None or last < total:
            return [range(first, last + 1, self.count)]
        # A share is short of the items by less than one step, so that only its last place can lie past them.
        before = [range(first, last - self.count + 1, self.count)] if stop - start > 1 else []
        again = last % total
        return [*before, range(again, again + 1)]

    def describe(self) -> str:
        """What it is, in a few words; two that read different places are described differently."""
        if self.count == 1:
            return "the whole"
        return f"{self.index} of {self.count}, {'padded' if self.uneven == 'pad' else 'the rest dropped'}"


def _whole(name: str, value: Any, meaning: str) -> int:
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise ConfigError(
            f"{name} must be an int ({meaning}); got {value!r} of type {type(value).__name__}. "
            "Write Shard(index, count), for the first of four processes Shard(0, 4)"
        )
    return int(value.__index__())


WHOLE = Shard(0, 1)
