"""Orders that draw items unevenly: by weight, or by class."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from procession.errors import ConfigError
from procession.order.sampler import Draw
from procession.order.shuffle import I64, Key, drawn, exponentials, fractions, numbered, windowed

_WEIGHTED = int.from_bytes(b"weighted", "big")
_TURNS = int.from_bytes(b"in turns", "big")
_MEMBERS = int.from_bytes(b"members.", "big")


class _Drawn(ABC):
    """What the samplers have in common that hold something about every item."""

    _what: str  # that is

    def __init__(self, held: npt.NDArray[Any], count: Any, replacement: Any, most: int, most_is: str) -> None:
        held.flags.writeable = False
        self._held = held
        self._replacement = bool(replacement)
        self._count = (held.size if replacement else most) if count is None else _count(count)
        if not replacement and self._count > most:
            raise ConfigError(
                f"count={self._count:,} is more than {most_is}, and without replacement each comes at most once; "
                f"write count={most} or less, or replacement=True"
            )
        self._orders: dict[Draw, I64] = {}  # of the two latest epochs: the end of one and the next one's beginning

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._held, self._count, self._replacement)

    @property
    def repeats(self) -> bool:
        """See `Sampler.repeats`."""
        return self._replacement

    def count(self, length: int) -> int:
        """See `Sampler.count`; raises ConfigError where the source has another length."""
        if length != self._held.size:
            name, what = type(self).__name__, self._what
            raise ConfigError(
                f"{name} was given {self._held.size:,} {what}s and the source has {length:,} items: each source[i] "
                f"needs one; write {name}({what}s) with len({what}s) == len(source)"
            )
        return self._count

    def _order(self, draw: Draw) -> I64:
        order = self._orders.get(draw)
        if order is None:
            order = self._make_order(draw)
            order.flags.writeable = False
            # A new dict, not a change of this one: other threads may be reading it.
            self._orders = {**dict([*self._orders.items()][-1:]), draw: order}
        return order

    @abstractmethod
    def _make_order(self, draw: Draw) -> I64:
        """The order of a whole epoch without replacement."""

    def _described(self, what: str, content: bytes) -> str:
        how = "with" if self._replacement else "without"
        return f"{type(self).__name__}({what}, crc {zlib.crc32(content):08x}, {how} replacement, count {self._count:,})"


class Weighted(_Drawn):
    """Items drawn at random, each in proportion to its weight.

    With replacement, every place of the epoch is an independent draw. Without, the items come as if drawn one after the
    other, each from those that are left (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir");
    then 8 bytes an item are kept for the order of an epoch. An item of weight 0 never comes.

    Args:
        weights: a weight for each item of the source: a list or 1-D array, shape (len(source),), of ints or floats that
            are finite and at least 0, not all 0. They need not sum to 1. Copied, as float64.
        count: items of an epoch, an int of at least 1; None: as many as there are weights, or without replacement as
            there are weights above 0, which is then also the most there can be.
        replacement: whether an item may come more than once in an epoch.

    Raises:
        ConfigError: one of these has a value that cannot be used (a ValueError).

    Example:
        >>> from procession.order.sampler import Draw
        >>> Weighted([1, 0, 8, 1], count=10).pick(range(10), Draw(length=4, seed=0, epoch=0)).tolist()
        [0, 2, 2, 2, 2, 2, 0, 2, 2, 2]
    """

    _what = "weight"

    def __init__(self, weights: npt.ArrayLike, count: int | None = None, replacement: bool = True) -> None:
        held = _weights(weights)
        positive = np.flatnonzero(held)
        most_is = f"the {positive.size:,} items with a weight above 0"
        super().__init__(held, count, replacement, positive.size, most_is)
        # Divided, so that the sum is finite. cumsum adds one after the other; sum would do as the vector unit likes.
        self._ends = np.cumsum(held / held.max()) if replacement else None

    def pick(self, places: range, draw: Draw) -> I64:
        """See `Sampler.pick`."""
        if self._ends is None:
            return self._order(draw)[numbered(places)]
        at = fractions(numbered(places), Key(_WEIGHTED, draw.seed, draw.epoch)) * self._ends[-1]
        # An item of weight 0 ends where the one before it does, and `at` is below the last end, as that is at least 1.
        items: I64 = np.searchsorted(self._ends, at, side="right")
        return items

    def _make_order(self, draw: Draw) -> I64:
        items = np.flatnonzero(self._held)
        waits = exponentials(items, Key(_WEIGHTED, draw.seed, draw.epoch))
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # weights near 0: these come last
            keys = waits / (self._held[items] / self._held.max())
        return items[np.argsort(keys, kind="stable")[: self._count]]

    def describe(self) -> str:
        """See `Sampler.describe`."""
        return self._described(f"{self._held.size:,} weights", self._held.tobytes())


class Balanced(_Drawn):
    """Items of all classes in equal numbers: of K classes, each comes once in every K consecutive places.

    Places are counted from the start of the epoch in runs of K; within a run the classes come in shuffled order. With
    replacement, each is represented by a member drawn independently. Without, the members of each class come in
    shuffled order, each at most once; the epoch then ends, unless `count` ends it sooner, with the smallest class:
    larger ones are under-sampled, and show other members in each epoch. 8 bytes an item are kept for that order.

    Args:
        labels: the class of each item of the source: a list or 1-D array, shape (len(source),), of ints, bools or
            strings. Copied.
        count: items of an epoch, an int of at least 1; None: as many as there are labels, or without replacement K
            times the size of the smallest class, which is then also the most there can be.
        replacement: whether an item may come more than once in an epoch.

    Raises:
        ConfigError: one of these has a value that cannot be used (a ValueError).

    Example:
        >>> from procession.order.sampler import Draw
        >>> labels = ["cat", "cat", "cat", "cat", "dog", "cat"]
        >>> Balanced(labels).pick(range(6), Draw(length=6, seed=0, epoch=0)).tolist()
        [4, 5, 5, 4, 4, 1]
        >>> Balanced(labels, replacement=False).count(6)
        2
    """

    _what = "label"

    def __init__(self, labels: npt.ArrayLike, count: int | None = None, replacement: bool = True) -> None:
        names, codes, sizes = np.unique(_labels(labels), return_inverse=True, return_counts=True)
        least, smallest = int(sizes.min()), names.tolist()[sizes.argmin()]
        most_is = f"{names.size:,} classes times the {least:,} members of the smallest, {smallest!r}"
        # The codes stand for the labels, as they are in the same order; those of 16 bits are sorted by radix.
        held = codes.astype(np.min_scalar_type(names.size - 1))
        super().__init__(held, count, replacement, names.size * least, most_is)
        self._sizes = sizes.astype(np.uint64)
        self._starts = np.cumsum(sizes) - sizes
        self._members = np.argsort(held, kind="stable") if replacement else None  # class by class

    def pick(self, places: range, draw: Draw) -> I64:
        """See `Sampler.pick`."""
        numbers, classes = numbered(places), self._sizes.size
        runs = range(-(-self._count // classes) * classes)
        turns = windowed(numbers, classes, runs, Key(_TURNS, draw.seed, draw.epoch)) % classes
        if self._members is None:
            members, which = self._order(draw), numbers // classes
        else:
            bits = drawn(numbers, Key(_MEMBERS, draw.seed, draw.epoch))
            members, which = self._members, (bits % self._sizes[turns]).astype(np.int64)
        items: I64 = members[self._starts[turns] + which]
        return items

    def _make_order(self, draw: Draw) -> I64:
        keys = drawn(np.arange(self._held.size), Key(_MEMBERS, draw.seed, draw.epoch))
        shuffled: I64 = np.argsort(keys, kind="stable")
        return shuffled[np.argsort(self._held[shuffled], kind="stable")]

    def describe(self) -> str:
        """See `Sampler.describe`."""
        return self._described(f"{self._held.size:,} labels of {self._sizes.size:,} classes", self._held.tobytes())


def _weights(weights: Any) -> npt.NDArray[np.float64]:
    array = one_axis("weights", weights)
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"weights must be numbers, got dtype {array.dtype}; write numpy.asarray(weights, float)")
    array = array.astype(np.float64)  # a copy
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if wrong.size:
        raise ConfigError(
            f"weights[{wrong[0]}] is {array[wrong[0]]}: a weight says how often an item comes in proportion to the "
            "others, so it must be finite and at least 0; write 0 for an item that is not to come"
        )
    if not array.any():
        raise ConfigError(f"all {array.size:,} weights are 0, so there is nothing to draw; write 1 for some of them")
    return array


def _labels(labels: Any) -> npt.NDArray[Any]:
    array = one_axis("labels", labels)
    if array.dtype.kind == "O":
        kind: type = str if isinstance(array[0], str) else Integral
        wrong = next((place for place, label in enumerate(array) if not isinstance(label, kind)), None)
        if wrong is None:
            return array
        raise ConfigError(
            f"labels must be all ints or all strings; labels[{wrong}] is {array[wrong]!r} of type "
            f"{type(array[wrong]).__name__} and labels[0] is {array[0]!r}; write [str(label) for label in labels]"
        )
    if array.dtype.kind not in "biuSUT":
        raise ConfigError(f"labels must be ints or strings, got dtype {array.dtype}; write labels.astype(int)")
    return array


def one_axis(name: str, value: Any) -> npt.NDArray[Any]:
    """`value` as an array with one axis and something in it; raises ConfigError, which calls it `name`."""
    try:
        array = np.asarray(value)
    except Exception as why:  # rows of unequal lengths, or an object that does not want to be an array
        raise ConfigError(f"{name} must be a 1-D array or list, got {type(value).__name__}: {why}") from why
    if array.ndim != 1:
        got = f"an array of shape {array.shape}" if array.ndim else f"{value!r:.80} of type {type(value).__name__}"
        raise ConfigError(f"{name} must be a 1-D array or list, got {got}; write a list with one entry for each item")
    if not array.size:
        raise ConfigError(f"{name} is empty: there is nothing to draw; write one entry for each item")
    return array


def _count(count: Any) -> int:
    if isinstance(count, bool) or not hasattr(type(count), "__index__") or count.__index__() < 1:
        raise ConfigError(
            f"count must be an int of at least 1, or None for the default; got {count!r} of type "
            f"{type(count).__name__}; write count=1000 for epochs of 1000 items"
        )
    return int(count.__index__())
