"""What a source has become since it was sent: the changes that whoever gets it later must catch up with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from procession.capture.pickling import closed
from procession.engine.messages import Refresh


class _Kept(NamedTuple):
    refresh: Refresh
    descriptors: Sequence[int]


class Refreshes:
    """Changes in order, without those that later ones have overtaken: their number is that of attributes at most."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []

    def add(self, refresh: Refresh, descriptors: Sequence[int]) -> None:
        """Keep a change; the descriptors of its payload are this object's from now on."""
        for old in list(self._kept):
            if set(old.refresh.names) <= set(refresh.names):
                self._kept.remove(old)
                closed(old.descriptors)
        self._kept.append(_Kept(refresh, descriptors))

    def __bool__(self) -> bool:
        return bool(self._kept)

    def __iter__(self) -> Iterator[tuple[Refresh, Sequence[int]]]:
        return iter(self._kept)

    def close(self) -> None:
        """Forget all."""
        for kept in self._kept:
            closed(kept.descriptors)
        self._kept.clear()
