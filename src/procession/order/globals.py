"""The global generators of `random` and `numpy`, seeded around the items of sources that use them.

Seeding both takes 14 µs, half of what a small batch costs. So it is left out once a source has made some items without
touching either. If an item then does, it is made once more, seeded, and from there on all are again.
"""

from __future__ import annotations

import ctypes
import random
from typing import Any

import numpy as np

from procession.order.randomness import Place, seed_globals

SEEDED_ITEMS = 64  # that must not have touched a generator before it is taken for one that is not used
WORDS = 624  # of the Mersenne Twister, which both are


class GlobalSeeds:
    """Seeds them for one item after another, in one process."""

    def __init__(self, *, sparing: bool) -> None:
        """`sparing`: leave it out where that makes no difference; only where nobody else uses the generators."""
        self._watched = _watched() if sparing else []
        self._untouched = 0  # items in a row

    def make(self, place: Place, source: Any) -> Any:
        """Return `source[place.item]`, made with generators that are seeded for it, if it uses them."""
        if self._untouched >= SEEDED_ITEMS:
            before = self._look()
            try:
                item = source[place.item]
            except BaseException:
                if self._look() == before:
                    raise
            else:
                if self._look() == before:
                    return item
            self._untouched = 0
        seed_globals(place)
        before = self._look()
        try:
            return source[place.item]
        finally:
            self._untouched = self._untouched + 1 if before and self._look() == before else 0

    def _look(self) -> list[int]:
        return [word.value for word in self._watched]


def _watched() -> list[ctypes.c_uint32]:
    """The position and the first word of each generator's state, as they lie in memory; none if they are not found."""
    legacy = getattr(np.random.mtrand, "_rand")._bit_generator  # noqa: B009 - not in numpy's stubs
    numpy_state = legacy.ctypes.state_address if type(legacy).__name__ == "MT19937" else 0
    python_state = id(getattr(random, "_inst", None)) + object.__basicsize__
    words = [ctypes.c_uint32.from_address(python_state + offset) for offset in (0, 4)]
    if numpy_state:
        words += [ctypes.c_uint32.from_address(numpy_state + offset) for offset in (4 * WORDS, 0)]
    return words if numpy_state and _are_where_we_think(words) else []


def _are_where_we_think(words: list[ctypes.c_uint32]) -> bool:
    """Compare with what the generators say of themselves, before and after drawing from them."""
    for _ in range(2):
        python: Any = random.getstate()[1]
        numpy: Any = np.random.get_state()
        if [word.value for word in words] != [python[-1], python[0], numpy[2], numpy[1][0]]:
            return False
        random.random(), np.random.random()
    return True
