"""The source's epoch hooks: each called once an epoch, in order, with random numbers that depend on the epoch alone."""

from __future__ import annotations

from typing import Any

from procession import sources
from procession.engine.generators import Generators
from procession.errors import StateError
from procession.order.randomness import Place, here, left
from procession.partitions import members

BEGIN, END = "on_epoch_begin", "on_epoch_end"
_TURNS = {BEGIN: 1 << 62, END: (1 << 62) + 1}  # far from those of items


class Hooks:
    """Calls `on_epoch_begin` and `on_epoch_end` of all objects of a source that define them."""

    def __init__(self, indexed: Any, seed: int) -> None:
        self._seed = seed
        self._called = False  # with random numbers from that seed
        self._hooked = [(member, names) for member in members(indexed) if (names := sources.hooks(member))]
        self._generators = [Generators(member) for member, _ in self._hooked]
        # Invariant: begun is ended or ended + 1, but for a source that lets an epoch be abandoned.
        self.begun = 0  # epochs
        self.ended = 0

    def __bool__(self) -> bool:
        return bool(self._hooked)

    def reseed(self, seed: int) -> None:
        """Draw their random numbers from another seed.

        Raises:
            StateError: they have drawn some already.
        """
        if self._called and seed != self._seed:
            raise StateError(
                f"the state is of seed {seed}, and the source's epoch hooks have been called here with random numbers "
                f"of seed {self._seed}: what they changed cannot be undone. Load it into a new Loader of a new source, "
                f"or make this one with seed={seed}"
            )
        self._seed = seed

    def begin(self) -> None:
        """An epoch begins."""
        self._call(BEGIN, self.begun)
        self.begun += 1

    def end(self) -> None:
        """The epoch that was begun last ends."""
        self._call(END, self.begun - 1)
        self.ended = self.begun

    def catch_up(self, epochs: int) -> None:
        """Call them as they were called in so many whole epochs, and begin the next one.

        Raises:
            StateError: they have been called more often already.
        """
        if self.begun > epochs + 1 or self.ended > epochs:
            if not self._hooked:
                return
            raise StateError(
                f"the state is from epoch {epochs} of a source with epoch hooks, which have been called for "
                f"{self.begun} here: what they changed cannot be undone. Load it into a new Loader of a new source"
            )
        while self.ended < epochs:
            if self.begun == self.ended:
                self.begin()
            self.end()
        if self.begun == self.ended:
            self.begin()

    def _call(self, name: str, epoch: int) -> None:
        for (member, names), generators in zip(self._hooked, self._generators, strict=True):
            if name not in names:
                continue
            place = Place(self._seed, epoch, 0, _TURNS[name])
            token = here(place)
            self._called = True
            try:
                with generators.kept():
                    generators.seed(place)
                    getattr(member, name)()
            finally:
                left(token)
