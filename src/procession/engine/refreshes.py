"""What a source has become since it was sent: the changes that whoever gets it later must catch up with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from procession.engine.messages import Refresh


class _Kept(NamedTuple):
    refresh: Refresh
    descriptor: int


class Refreshes:
    """Changes in order, without those that later ones have overtaken: their number is that of attributes at most."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []

    def add(self, refresh: Refresh, descriptor: int) -> None:
        """Keep a change; the descriptor of its payload is this object's from now on."""
        for old in list(self._kept):
            if set(old.refresh.names) <= set(refresh.names):
                self._kept.remove(old)
                os.close(old.descriptor)
        self._kept.append(_Kept(refresh, descriptor))

    def __iter__(self) -> Iterator[tuple[Refresh, int]]:
        return iter(self._kept)

    def close(self) -> None:
        """Forget all."""
        for kept in self._kept:
            os.close(kept.descriptor)
        self._kept.clear()
