"""Shuffled orders of an epoch: keyed permutations that need no table, and the random numbers that samplers share.

Whatever is drawn here is the same in every process and with every version of numpy. By NEP 19 that holds for
`SeedSequence` and for the raw output of a bit generator; it does not hold for the methods of `Generator`
(`permutation`, `random`, `choice`), whose streams may change from one version to the next. So keys are raw output or
integer hashes, and the rest is sorting and integer arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from procession.errors import ConfigError
from procession.order.sampler import Draw

I64: TypeAlias = npt.NDArray[np.int64]
U64: TypeAlias = npt.NDArray[np.uint64]
F64: TypeAlias = npt.NDArray[np.float64]

MOST_IN_TABLE = 1 << 16  # indices of a permutation that is made by sorting; 512 KiB, 5 ms
MOST_AT_ONCE = 256  # indices of a window up to which all the windows of a block are sorted in one go
# An even number. With 4 rounds, pairs of places that have a digit in common are spaced unevenly, as the tests see in
# one order of 70,000 items; with 5, nothing is seen in 300 of them. Each two rounds more divide that by the square root
# of the length, so 8 leave room.
ROUNDS = 8


class Key(NamedTuple):
    """What a stream of random numbers depends on."""

    tag: int  # keeps the streams of one seed apart, also from those that sources draw; 64 bits
    seed: int
    epoch: int  # below 2**64
    number: int = 0  # of a part of the epoch, or a length; below 2**64


_SHUFFLED = int.from_bytes(b"shuffled", "big")
_WINDOW = int.from_bytes(b"windowed", "big")
_SHIFT = int.from_bytes(b"shifting", "big")


def _sequence(key: Key) -> np.random.SeedSequence:
    # One integer in which each has bits of its own. A tuple would be joined word by word without marks between, so that
    # (1, 2 + (3 << 32)) and (1 + (2 << 32), 3) would seed the same.
    return np.random.SeedSequence(((key.seed << 64 | key.number) << 64 | key.epoch) << 64 | key.tag)


@lru_cache(maxsize=64)  # every block of an epoch asks for the same ones
def words(key: Key) -> U64:
    """Random words that key a hash: one for each round."""
    state: U64 = np.asarray(_sequence(key).generate_state(ROUNDS, np.uint64))
    state.flags.writeable = False
    return state


def mix(values: U64) -> U64:
    """Hash each value to 64 bits, in place: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    shifted = np.empty_like(values)
    for shift, factor in _MIXING:
        np.right_shift(values, shift, out=shifted)
        np.bitwise_xor(values, shifted, out=values)
        np.multiply(values, factor, out=values)  # modulo 2**64
    np.right_shift(values, _LAST_SHIFT, out=shifted)
    return np.bitwise_xor(values, shifted, out=values)


_MIXING = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT = np.uint64(31)


def drawn(numbers: I64, key: Key) -> U64:
    """64 random bits for each of `numbers`, whichever others are asked for with it."""
    # Hashed twice: after one hash, two keys give the same numbers in another order.
    keys = words(key)
    return mix(mix(numbers.view(np.uint64) ^ keys[0]) ^ keys[1])


def fractions(numbers: I64, key: Key) -> F64:
    """For each of `numbers` one drawn from [0, 1): a multiple of 2**-53."""
    return (drawn(numbers, key) >> _TO_53_BITS).astype(np.float64) * _LEAST


def exponentials(numbers: I64, key: Key) -> F64:
    """For each of `numbers` one drawn from the exponential distribution of mean 1: minus the logarithm of a fraction.

    Done by hand, with what IEEE 754 rounds in one way only: numpy's log differs in the last bit from one machine's
    vector unit to another's, which now and then would change an order that is sorted by it.
    """
    mantissa, exponent = np.frexp(1.0 - fractions(numbers, key))  # of (0, 1]
    small = mantissa < _SQRT_HALF
    mantissa, exponent = np.where(small, mantissa * 2.0, mantissa), exponent - small
    ratio = (mantissa - 1.0) / (mantissa + 1.0)  # log(mantissa) = 2 * artanh(ratio), and |ratio| < 0.1716
    square, series = ratio * ratio, np.zeros_like(ratio)
    for odd in range(23, 0, -2):
        series = series * square + 1.0 / odd
    logarithms: F64 = exponent * _LN2 + 2.0 * ratio * series
    return -logarithms


_TO_53_BITS, _LEAST = np.uint64(11), 2.0**-53
_SQRT_HALF, _LN2 = 0.7071067811865476, 0.6931471805599453


@lru_cache(maxsize=8)  # 4 MiB at most
def _table(length: int, key: Key) -> I64:
    """A permutation of `range(length)`: all of them are equally likely, but for the chance of 2**-33 that keys tie."""
    keys = np.random.PCG64(_sequence(key)).random_raw(length)
    order = np.argsort(keys, kind="stable")  # the other kinds order ties as the machine's vector unit does
    order.flags.writeable = False
    return order


def permuted(numbers: I64, length: int, key: Key) -> I64:
    """What a permutation of `range(length)` has at each of `numbers`."""
    if length <= MOST_IN_TABLE:
        return _table(length, key)[numbers]
    return _feistel(numbers.view(np.uint64), length, words(key)).view(np.int64)


def _feistel(values: U64, length: int, keys: U64) -> U64:
    """Encipher `values` within `range(length)`, which is at most 2**62."""
    radix = isqrt(length - 1) + 1
    radices = (np.uint64(radix), np.uint64(-(-length // radix)))
    enciphered = _rounds(values, radices, keys)
    # Their product is a little above `length`. What falls there goes on until it falls below, as it must: it is on a
    # cycle that began below.
    while (above := np.flatnonzero(enciphered >= np.uint64(length))).size:
        enciphered[above] = _rounds(enciphered[above], radices, keys)
    return enciphered


def _rounds(values: U64, radices: tuple[np.uint64, np.uint64], keys: U64) -> U64:
    """A Feistel network on values of two digits, left + radix * right; each round adds a hash of one to the other."""
    right, left = np.divmod(values, radices[0])
    for number in range(0, len(keys), 2):
        left = _added(left, right, keys[number], radices[0])
        right = _added(right, left, keys[number + 1], radices[1])
    right *= radices[0]
    right += left
    return right


def _added(digits: U64, others: U64, key: np.uint64, radix: np.uint64) -> U64:
    hashed = mix(others ^ key)
    hashed >>= _ONE  # to 63 bits, so that adding a digit cannot overflow
    hashed += digits
    hashed %= radix
    return hashed


_ONE = np.uint64(1)


def windowed(numbers: I64, size: int, bounds: range, key: Key) -> I64:
    """What `bounds` has at each of `numbers` when it is shuffled within windows.

    A window is what lies in `bounds` of `size` consecutive numbers, the first of which is a multiple of `size`.
    """
    if size <= MOST_AT_ONCE:
        return _sorted_windows(numbers, size, bounds, key)
    which = numbers // size
    items = np.empty_like(numbers)
    for window in np.unique(which).tolist():
        here = which == window
        start, stop = max(window * size, bounds.start), min((window + 1) * size, bounds.stop)
        items[here] = permuted(numbers[here] - start, stop - start, key._replace(number=window)) + start
    return items


def _sorted_windows(numbers: I64, size: int, bounds: range, key: Key) -> I64:
    """The same for all windows at once: one row for each, sorted by random keys."""
    if not len(numbers):
        return numbers
    windows, rows = np.unique(numbers // size, return_inverse=True)
    members = windows[:, None] * size + np.arange(size)
    keys = drawn(members, key)
    # What is out of bounds stays where it is: before the others or after them.
    if members[0, 0] < bounds.start or members[-1, -1] >= bounds.stop:
        keys[members < bounds.start] = 0
        keys[members >= bounds.stop] = np.iinfo(np.uint64).max
    order = np.argsort(keys, axis=1, kind="stable")
    return windows[rows] * size + order[rows, numbers % size]


def numbered(places: range) -> I64:
    """The places as an array."""
    return np.arange(places.start, places.stop, places.step, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Shuffled:
    """Each item once, in an order that depends on the seed and the epoch.

    Any part of the order is found without the rest, in constant memory, for up to 2**62 items. Up to 65,536 items all
    orders are equally likely. Above, it is a generalised Feistel cipher with cycle walking (Black and Rogaway 2002,
    "Ciphers with arbitrary finite domains"): no test will tell, but there are more orders than keys.

    Example:
        >>> from procession.order.sampler import Draw
        >>> Shuffled().pick(range(5), Draw(length=10**12, seed=0, epoch=0)).tolist()
        [141061564620, 906029458433, 978139603936, 31819576553, 845034026337]
    """

    repeats = False

    def count(self, length: int) -> int:
        """See `Sampler.count`."""
        return length

    def pick(self, places: range, draw: Draw) -> I64:
        """See `Sampler.pick`."""
        return permuted(numbered(places), draw.length, Key(_SHUFFLED, draw.seed, draw.epoch, draw.length))

    def describe(self) -> str:
        """See `Sampler.describe`."""
        return "shuffled"


@dataclass(frozen=True, slots=True)
class Window:
    """Each item once, shuffled among its neighbours only, so that storage is read nearly in sequence.

    The source is cut into windows of `size` consecutive items, and each window is shuffled; all of its orders are
    equally likely, up to 65,536 items (above, see `Shuffled`). Where the cuts are depends on the epoch, so that
    neighbours that were kept apart in one epoch meet in another; the first and the last window are shorter for it. An
    item comes less than `size` places from where the source has it. With a `size` of the source's length or more,
    everything is one window.

    Args:
        size: items of a window, an int of at least 2.

    Raises:
        ConfigError: `size` is something else (a ValueError).

    Example:
        >>> from procession.order.sampler import Draw
        >>> Window(4).pick(range(12), Draw(length=12, seed=0, epoch=0)).tolist()
        [0, 1, 3, 2, 4, 5, 9, 8, 7, 6, 10, 11]
    """

    size: int
    repeats = False

    def __post_init__(self) -> None:
        size: Any = self.size
        if isinstance(size, bool) or not hasattr(type(size), "__index__") or size.__index__() < 2:
            raise ConfigError(
                f"the size of a Window must be an int of at least 2, got {size!r} of type {type(size).__name__}: "
                "items are shuffled among that many neighbours; write Window(1000), or shuffle=False for the order of "
                "the source"
            )
        object.__setattr__(self, "size", int(size.__index__()))  # a numpy integer would overflow

    def count(self, length: int) -> int:
        """See `Sampler.count`."""
        return length

    def pick(self, places: range, draw: Draw) -> I64:
        """See `Sampler.pick`."""
        size = min(self.size, draw.length)
        if not places:
            return numbered(places)
        shift = 0
        if size < draw.length:
            shift = int(words(Key(_SHIFT, draw.seed, draw.epoch, size))[0]) % size
        bounds = range(shift, shift + draw.length)
        return windowed(numbered(places) + shift, size, bounds, Key(_WINDOW, draw.seed, draw.epoch)) - shift

    def describe(self) -> str:
        """See `Sampler.describe`."""
        return f"Window({self.size})"
