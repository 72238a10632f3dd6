"""Partitions: a source cut into parts, or several sources, each read by one worker at a time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from procession import sources, tree
from procession.errors import ConfigError, SourceTypeError

Until: TypeAlias = int | Literal["all", "first"]
Rows: TypeAlias = range | np.ndarray[Any, np.dtype[np.int64]]


class Partitions(Sequence[Any]):
    """Several sources that a `Loader` reads as one, each owned by exactly one worker at a time.

    So what a source keeps on itself while it makes its batches (an open file, a position, a cache) is touched by nobody
    else, and it is asked for its batches in order. A worker that dies is replaced by one that has a fresh copy of its
    sources (threads have none: they share the objects), and goes on with the batch after the last that was delivered.
    Parts of one object (see `partition`) share what that keeps on itself, in each worker.

    Args:
        sources: what a `Loader` takes as a source, each; all of batches, or all of samples (with `batch_size`).
        interleave: "turns": a batch of each in turn, those that have ended left out; "sequence": one source after the
            other; or a weight above 0 for each: out of a cycle of turns (about 1,024 at most) it gets its share, evenly
            spread, and at least one turn.
        until: when an epoch ends: "all" have been read to their end; the "first" has; or an int: after so many batches,
            for which sources begin again, in another order if shuffled, as often as needed.

    Raises:
        ConfigError: there is no source, or weights or `until` are unusable (a ValueError).

    Example:
        >>> import procession
        >>> letters, digits = list("abcde"), [1, 2]
        >>> both = procession.Partitions([letters, digits], interleave=[2, 1], until="first")
        >>> with procession.Loader(both, workers=2) as loader:
        ...     list(loader)
        ['a', 1, 'b', 'c', 2]
    """

    def __init__(
        self,
        sources: Sequence[Any],
        *,
        interleave: Literal["turns", "sequence"] | Sequence[float] = "turns",
        until: Until = "all",
    ) -> None:
        self._sources = tuple(sources)
        if not self._sources:
            raise ConfigError("there are no partitions: Partitions([...]) needs at least one source")
        self.weights = _weights(interleave, len(self._sources))
        self.until = _until(until, in_sequence=self.weights is None)

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, part: Any) -> Any:
        return self._sources[part]

    def __repr__(self) -> str:
        return f"Partitions({len(self)} sources)"


class View:
    """Some items of a source, in an order of its own; the source is not copied."""

    def __init__(self, source: Any, rows: Rows) -> None:
        if isinstance(source, View):  # what is viewed is always the user's own object, which may have hooks
            outer = source.rows if isinstance(rows, range) else np.asarray(source.rows, np.int64)
            source, rows = source.source, _cut(outer, rows)
        self.source: Any = source
        self.rows: Rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.source[int(self.rows[index])]


class Parts:
    """What workers have of partitions. Item `index * len(sources) + part` is `sources[part][index]`."""

    def __init__(self, sources: tuple[Any, ...]) -> None:
        self.sources = sources

    def __getitem__(self, item: int) -> Any:
        index, part = divmod(item, len(self.sources))
        return self.sources[part][index]

    def located(self, items: Any) -> tuple[Any, Any]:
        """The source that `items` are of, all of one, and their indices there."""
        count = len(self.sources)
        part = int(items[0]) % count
        if isinstance(items, range):
            return self.sources[part], range(items.start // count, items.stop // count, items.step // count)
        return self.sources[part], [item // count for item in items]


def is_partitions(source: Any) -> bool:
    """Whether a source is several: `Partitions`, or a list of objects that can be sources, and no data.

    Raises:
        SourceTypeError: it is a list of both.
    """
    if not isinstance(source, list):
        return isinstance(source, Partitions)
    several = [_is_source(one) for one in source]
    if any(several) and not all(several):
        yes, no = several.index(True), several.index(False)
        raise SourceTypeError(
            f"the source is a list in which source[{yes}] ({type(source[yes]).__name__}) could be a source by itself, "
            f"and source[{no}] ({type(source[no]).__name__}) is data. If each is a source, write "
            "procession.Partitions([...]); if each is a batch or sample, wrap the list in a class with __len__ and "
            "__getitem__"
        )
    return bool(source) and all(several)


def opened(source: Any, batch_size: int | None) -> Any:
    """What workers index of a source: as `sources.check`, and `Parts` for partitions.

    Raises:
        SourceTypeError: it cannot be read.
        EmptySourceError: there is nothing in it.
    """
    if not is_partitions(source):
        return sources.check(source, batch_size)
    found = []
    for part, one in enumerate(source):
        with about_partition(part, len(source)):
            if isinstance(one, Partitions):
                raise SourceTypeError(
                    "a partition is itself Partitions, which have no batches or samples of their own. Put all sources "
                    "side by side: procession.Partitions([*one, *other])"
                )
            found.append(sources.check(one, batch_size))
    return Parts(tuple(found))


@contextlib.contextmanager
def about_partition(part: int, count: int) -> Iterator[None]:
    """Say on an exception which partition it is about."""
    try:
        yield
    except Exception as error:
        error.add_note(f"procession: this is partition {part} of {count}, source[{part}]")
        raise


def members(indexed: Any) -> list[Any]:
    """The objects of the user's that a source consists of, each once; the same in every process that has a copy."""
    parts = indexed.sources if isinstance(indexed, Parts) else (indexed,)
    found = (part.source if isinstance(part, View) else part for part in parts)
    return list({id(one): one for one in found}.values())


def with_member(indexed: Any, number: int, member: Any) -> Any:
    """The source with another object in the place of one of its `members`."""
    old = members(indexed)[number]

    def exchanged(part: Any) -> Any:
        if isinstance(part, View) and part.source is old:
            return View(member, part.rows)
        return member if part is old else part

    return Parts(tuple(map(exchanged, indexed.sources))) if isinstance(indexed, Parts) else exchanged(indexed)


def partition(
    source: Any,
    n: int,
    by: Literal["contiguous", "strided"] | Sequence[Any] | np.ndarray[Any, Any] = "contiguous",
) -> Partitions:
    """Cut a source into `n` partitions, without copying it.

    Args:
        source: a tree of arrays with a common first axis, or anything with `len()` and `[i]`. Its epoch hooks are
            called once an epoch, not once a partition.
        n: how many.
        by: "contiguous": sizes as even as can be, as `numpy.array_split`; "strided": item i goes to partition i % n;
            or a key for each item: items of one key stay together, in order; the k-th new key goes to partition k % n.

    Returns:
        `Partitions`: a sequence of `n` trees of views of the arrays (copies, where cut by key), or of views of the
        source. A `Loader` reads them by turns, each by one worker.

    Raises:
        ConfigError: `n` is not an int from 1 to the number of items, or the keys are not one for each (a ValueError).
        SourceTypeError: the source has no length.

    Example:
        >>> import numpy as np
        >>> import procession
        >>> parts = procession.partition({"x": np.arange(5)}, 2)
        >>> [part["x"].tolist() for part in parts]
        [[0, 1, 2], [3, 4]]
    """
    indexed = sources.check(source, 1)
    length = sources.length(indexed)
    if length is None:
        raise SourceTypeError("the source is endless (its num_batches is None): it cannot be cut into partitions")
    count = _whole(n)
    if count is None or not 1 <= count <= length:
        raise ConfigError(f"n must be an int from 1 to {length}, the number of items of the source; got {n!r}")
    rows = _rows(length, count, by)
    if isinstance(indexed, sources.Arrays):
        return Partitions([tree.map_leaves(partial(_cut, rows=part), indexed.arrays) for part in rows])
    return Partitions([View(indexed, part) for part in rows])


def _rows(length: int, n: int, by: Any) -> list[Rows]:
    if isinstance(by, str):
        if by == "strided":
            return [range(part, length, n) for part in range(n)]
        if by == "contiguous":
            whole, more = divmod(length, n)
            ends = [whole * k + min(k, more) for k in range(n + 1)]
            return [range(start, stop) for start, stop in pairwise(ends)]
        raise ConfigError(f"by must be 'contiguous', 'strided' or a key for each item; got {by!r}")
    if not hasattr(by, "__len__"):
        raise ConfigError(f"by must be 'contiguous', 'strided' or a sequence of a key for each item; got {by!r}")
    if len(by) != length:
        raise ConfigError(f"by has {len(by)} keys, but the source has {length} items: it must hold one for each")
    numbers: dict[Any, int] = {}
    parts: list[list[int]] = [[] for _ in range(n)]
    for row, key in enumerate(by.tolist() if isinstance(by, np.ndarray) else by):
        if not isinstance(key, Hashable):
            raise ConfigError(f"by[{row}] is a {type(key).__name__}, which cannot be a key; use a number, str or tuple")
        parts[numbers.setdefault(key, len(numbers)) % n].append(row)
    if len(numbers) < n:
        raise ConfigError(f"by has only {len(numbers)} different keys, which cannot fill n={n} partitions")
    return [np.array(part, np.int64) for part in parts]


def _cut(array: Any, rows: Rows) -> Any:
    """The rows of an array, or of a range; where they are a range, a view."""
    return array[slice(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows]


def _is_source(value: Any) -> bool:
    kind = type(value)
    if isinstance(value, (View, Partitions)):
        return True
    data = isinstance(value, (str, bytes, bytearray, memoryview, Sequence, Mapping, AbstractSet, np.generic))
    if data or hasattr(kind, "__array__") or hasattr(kind, "tocsr"):
        return False
    return hasattr(kind, "__getitem__") and (hasattr(kind, "__len__") or hasattr(kind, "num_batches"))


def _weights(interleave: Any, count: int) -> tuple[float, ...] | None:
    if isinstance(interleave, str):
        if interleave not in ("turns", "sequence"):
            raise ConfigError(f"interleave must be 'turns', 'sequence' or a weight for each source; got {interleave!r}")
        return (1.0,) * count if interleave == "turns" else None
    try:
        weights = tuple(float(weight) for weight in interleave)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"interleave must be 'turns', 'sequence' or a weight for each source; got {interleave!r}"
        ) from error
    if len(weights) != count:
        raise ConfigError(f"interleave has {len(weights)} weights for {count} sources: it must hold one for each")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ConfigError(
            f"interleave has weights {list(weights)}: each must be above 0. Leave out a source of weight 0"
        )
    return weights


def _until(until: Any, *, in_sequence: bool) -> Until:
    if (number := _whole(until)) is not None:
        until = number
    if (number is None or number < 1) and until not in ("all", "first"):
        raise ConfigError(f"until must be 'all', 'first' or a number of batches of at least 1; got {until!r}")
    if in_sequence and until != "all":
        raise ConfigError(f"until={until!r} needs sources that take turns; with interleave='sequence' it is 'all'")
    result: Until = until
    return result


def _whole(value: Any) -> int | None:
    """An int, of numpy too, as one of Python; None: it is something else."""
    return None if isinstance(value, bool) or not hasattr(type(value), "__index__") else int(value.__index__())
