"""From a source, as it is now, and what was asked for to the order of an epoch."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from procession import sources, tree
from procession.config import Config
from procession.errors import ConfigError, EmptySourceError
from procession.flows import Flow
from procession.order.batches import Batches
from procession.order.given import given
from procession.order.interleave import Interleaved
from procession.order.sampler import InOrder, Sampler
from procession.order.shuffle import Shuffled
from procession.order.state import Setup
from procession.partitions import Partitions, Parts, View, about_partition

LOOKED_AT = 64  # rows of an array that its fingerprint is taken from


def arranged(source: Any, indexed: Any, config: Config, sampler: Sampler, epoch: int) -> Batches | Interleaved:
    """The order of `epoch`.

    Raises:
        EmptySourceError: there is nothing to deliver.
        ConfigError: the sampler does not fit the source.
    """
    if not isinstance(indexed, Parts):
        return _batches(indexed, config, sampler, epoch, 0)
    parts = []
    for part, one in enumerate(indexed.sources):
        with about_partition(part, len(indexed.sources)):
            parts.append(_batches(one, config, sampler, epoch, part))
    how = source if isinstance(source, Partitions) else Partitions(source)
    return Interleaved(tuple(parts), how.weights, how.until)


def _batches(source: Any, config: Config, sampler: Sampler, epoch: int, part: int) -> Batches:
    length = sources.length(source)
    chosen = InOrder() if length is None else sampler  # an endless source has no order to change, as Keras says too
    seed = config.seed + (part << 128)  # partitions of one length have orders of their own
    batches = Batches(length, config.batch_size, config.drop_remainder, chosen, seed, epoch, config.shard)
    if batches.positions == 0:
        if config.shard.count > 1:
            raise EmptySourceError(
                f"the {length} items of the source leave none for a shard, {config.shard.describe()}: use fewer "
                "shards, or Shard(..., uneven='pad')"
            )
        sources.check_positions(0, length, config.batch_size)
    return batches


class Samplers:
    """Which order each epoch has, from what the loader and `fit` were told."""

    def __init__(self, config: Config) -> None:
        self._wish = config.shuffle
        self._own: tuple[int, int, Sampler] | None = None  # of which epoch and length, and what the user's object said

    def sampler(self, asked: bool, epoch: int, indexed: Any) -> Sampler:
        """The sampler of an epoch; `asked`: whether to shuffle, where the loader itself was not told.

        Raises:
            ConfigError: the user's own order names what is not there.
        """
        wish: Any = asked if self._wish is None else self._wish
        if isinstance(wish, bool):
            return Shuffled() if wish else InOrder()
        if not hasattr(wish, "indices"):
            chosen: Sampler = wish
            return chosen
        length = None if isinstance(indexed, Parts) else sources.length(indexed)
        if length is None:
            raise ConfigError("an order of your own (an object with `indices`) needs one source that has an end")
        if self._own is None or self._own[:2] != (epoch, length):
            self._own = (epoch, length, given(wish, epoch, length))
        return self._own[2]


def setup_of(order: Batches | Interleaved, config: Config, indexed: Any) -> Setup:
    """What decides the stream that an order is of."""
    return Setup(
        seed=config.seed,
        length=order.lengths(),
        batch_size=config.batch_size,
        drop_remainder=config.drop_remainder,
        order=order.describe(),
        shard=(config.shard.index, config.shard.count, config.shard.uneven),
        source=fingerprint(indexed),
    )


def fingerprint(indexed: Any) -> str:
    """What tells sources apart without asking them for anything: their classes; of arrays, some rows too."""
    if isinstance(indexed, Parts):
        own = "; ".join(map(fingerprint, indexed.sources))
        return f"{len(indexed.sources)} partitions, crc {zlib.crc32(own.encode()):08x}"
    if isinstance(indexed, View):
        rows = indexed.rows
        seen = repr(rows) if isinstance(rows, range) else repr((len(rows), _some(rows).tolist()))
        return f"{fingerprint(indexed.source)}, rows crc {zlib.crc32(seen.encode()):08x}"
    if isinstance(indexed, Flow):
        return fingerprint(indexed.iterator)
    if not isinstance(indexed, sources.Arrays):
        return ascii(f"{type(indexed).__module__}.{type(indexed).__qualname__}")[1:-1][-200:]  # JSON would spell it out
    crc = 0
    for array in tree.leaves(indexed.arrays):
        seen = _some(array)
        data = repr(seen.tolist()).encode() if seen.dtype.hasobject else np.ascontiguousarray(seen).tobytes()
        crc = zlib.crc32(f"{array.dtype}{array.shape[1:]}".encode() + data, crc)
    return f"arrays, crc {crc:08x}"


def _some(array: Any) -> Any:
    return array[np.linspace(0, len(array) - 1, min(LOOKED_AT, len(array))).astype(int)]
