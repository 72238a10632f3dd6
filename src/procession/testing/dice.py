"""What decides what happens in a simulation."""

from __future__ import annotations

from collections.abc import Sequence


class Dice:
    """Numbers that decide; when they run out, everything goes well."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = iter(numbers)

    def roll(self, sides: int) -> int:
        """A number below `sides`; 0 is the harmless one."""
        return next(self._numbers, 0) % sides
