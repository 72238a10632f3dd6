"""A number that all workers, threads and the training process count on together."""

from __future__ import annotations

import ctypes
import operator
from typing import Any, SupportsIndex

from procession.capture.mutex import ROOM, Guarded, Mutex, new_segment
from procession.capture.segments import Segment

_LEAST, _MOST = -(2**63), 2**63 - 1


class SharedCounter(Guarded):
    """A whole number that workers, threads and the training process share.

    For counting what happens in the source: files that could not be read, bytes, items made. Keep it as an attribute of
    the source. `add` is atomic: nothing is lost however many add at the same time, and a worker that is killed has
    added or has not. A batch that is made again after a fault counts again. A source whose batches depend on the number
    depends on timing: a run is then not the same with another number of workers, nor when it is resumed; the number is
    not part of `state_dict()`.

    It can be sent in a source, in no other way; a copy (`copy.deepcopy`) is the same counter.

    Args:
        value: what it begins with; of 64 bits, that is from -2**63 to 2**63 - 1.

    Raises:
        TypeError: not a whole number.
        OverflowError: a number of more than 64 bits.

    Example:
        >>> import procession
        >>> class Source:
        ...     def __init__(self):
        ...         self.odd = procession.SharedCounter()
        ...     def __len__(self):
        ...         return 100
        ...     def __getitem__(self, i):
        ...         if i % 2:
        ...             self.odd.add()
        ...         return i
        >>> source = Source()
        >>> with procession.Loader(source, workers=2) as loader:
        ...     for _ in loader:
        ...         pass
        >>> source.odd.value
        50
    """

    def __init__(self, value: SupportsIndex = 0) -> None:
        first = _checked(operator.index(value))
        self._open(new_segment(ROOM + 8, "counter"))
        self._word.value = first

    def _open(self, segment: Segment, *_: Any) -> None:
        self._segment = segment
        self._mutex = Mutex(segment)
        # One aligned word, which the processor reads and writes whole: reading needs no lock.
        self._word = ctypes.c_int64.from_address(segment.address + ROOM)

    @property
    def value(self) -> int:
        """The number now."""
        return self._word.value

    def add(self, n: SupportsIndex = 1) -> int:
        """Add `n`, which may be negative, and return the new value.

        Raises:
            TypeError: `n` is not a whole number.
            OverflowError: the sum has more than 64 bits; the counter stays as it was.
        """
        more = operator.index(n)
        with self._mutex:
            total = _checked(self._word.value + more)
            self._word.value = total
        return total

    def set(self, n: SupportsIndex) -> None:
        """Replace the number by `n`.

        Raises:
            TypeError: `n` is not a whole number.
            OverflowError: it has more than 64 bits.
        """
        value = _checked(operator.index(n))
        with self._mutex:  # not in the middle of an addition
            self._word.value = value

    def __repr__(self) -> str:
        return f"SharedCounter({self.value})"


def _checked(value: int) -> int:
    if not _LEAST <= value <= _MOST:
        raise OverflowError(f"{value} does not fit into a SharedCounter, which has 64 bits ({_LEAST} to {_MOST})")
    return value
