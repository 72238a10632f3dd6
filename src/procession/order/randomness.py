"""Random numbers that depend on (seed, epoch, index) alone, whichever process draws them."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """Where in the run a source is being asked for an item."""

    seed: int
    epoch: int
    item: int
    turn: int = 0  # which occurrence of an item that comes more than once in an epoch


_place: ContextVar[Place | None] = ContextVar("procession_place", default=None)


def rng() -> np.random.Generator:
    """Return the generator of the item being made; call it inside a source's `__getitem__`.

    Seeded by (seed, epoch, index), so an item has the same numbers whatever the number of workers, the executor and the
    machine, and others in each epoch. Each call starts the same stream again: keep the generator while one item is
    made.

    Returns:
        A `numpy.random.Generator` (PCG64).

    Raises:
        RuntimeError: no item is being made.

    Example:
        >>> import procession
        >>> class Noise:
        ...     def __len__(self):
        ...         return 4
        ...     def __getitem__(self, i):
        ...         return procession.rng().normal(size=3)
        >>> with procession.Loader(Noise(), seed=1) as one, procession.Loader(Noise(), seed=1, workers=0) as two:
        ...     all((a == b).all() for a, b in zip(one, two))
        True
    """
    place = _place.get()
    if place is None:
        raise RuntimeError(
            "procession.rng() was called outside a source: it gives the generator of the item being made. "
            "Call it inside __getitem__ of a source that a Loader reads, or make one with "
            "numpy.random.default_rng(seed)"
        )
    # One number with a field for each: SeedSequence puts the parts of a tuple one after another, without marks.
    return np.random.default_rng(place.item | place.epoch << 64 | place.turn << 128 | place.seed << 192)


def here(place: Place) -> Token[Place | None]:
    """Say which item is being made, for `rng()`; `left` with what is returned ends that."""
    return _place.set(place)


left = _place.reset
