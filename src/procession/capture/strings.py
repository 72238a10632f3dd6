"""Many strings in two arrays: what a list of them costs, once and in each process that reads it, this does not."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

# Each string of a list has a count of references, so that a worker that reads it copies its page.


class Strings(Sequence[str]):
    """An immutable sequence of strings, as `procession.share` makes one of a list. Its slices are lists."""

    __slots__ = ("ends", "text")

    def __init__(self, text: npt.NDArray[np.uint8], ends: npt.NDArray[Any]) -> None:
        """`text`: all of them in UTF-8, one behind the other; `ends`: where each ends."""
        self.text = text
        self.ends = ends

    @classmethod
    def of(cls, strings: Iterable[str]) -> Strings:
        """The same strings, still in memory of this process."""
        parts = [string.encode("utf-8", "surrogatepass") for string in strings]
        text = np.frombuffer(b"".join(parts), np.uint8)
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
        return cls(text, ends.astype(np.uint32) if len(text) < 1 << 32 else ends)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"index {number} is out of range: there are {len(self)} strings")
        number %= len(self)
        start = int(self.ends[number - 1]) if number else 0
        return self.text[start : int(self.ends[number])].tobytes().decode("utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((len(self), self.text[:64].tobytes()))

    def __reduce__(self) -> Any:
        return Strings, (self.text, self.ends)

    def __repr__(self) -> str:
        return f"<{len(self):,} strings: {', '.join(map(repr, self[:3]))}{', …' if len(self) > 3 else ''}>"
