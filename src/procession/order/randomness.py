"""Random numbers that depend on (seed, epoch, index) alone, whichever process draws them."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, NamedTuple, TypeAlias

import numpy as np


class Place(NamedTuple):
    """Where in the run a source is being asked for an item."""

    seed: int
    epoch: int
    item: int
    turn: int = 0  # which occurrence of an item that comes more than once in an epoch


# An item that is being made: its place, and its generator once that has been asked for. A list, as it is for each item.
_Making: TypeAlias = list[Any]

_making: ContextVar[_Making | None] = ContextVar("procession_making", default=None)


def rng() -> np.random.Generator:
    """Return the generator of the item being made; call it inside a source's `__getitem__`.

    Seeded by (seed, epoch, index), so an item has the same numbers whatever the number of workers, the executor and the
    machine, and others in each epoch. Called again for the same item, by a helper function say, it goes on where it
    was.

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
    making = _making.get()
    if making is None:
        raise RuntimeError(
            "procession.rng() was called outside a source: it gives the generator of the item being made. "
            "Call it inside __getitem__ of a source that a Loader reads, or make one with "
            "numpy.random.default_rng(seed)"
        )
    if len(making) == 1:
        place = making[0]
        # One number with a field for each: SeedSequence puts the parts of a tuple one after another, without marks.
        number = place.item | place.epoch << 64 | place.turn << 128 | place.seed << 192
        making.append(np.random.default_rng(number))
    generator: np.random.Generator = making[1]
    return generator


def here(place: Place) -> Token[_Making | None]:
    """Say which item is being made, for `rng()`; `left` with what is returned ends that."""
    return _making.set([place])


left = _making.reset
