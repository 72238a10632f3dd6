"""The order that a user's own object says, an epoch at a time."""

from __future__ import annotations

import inspect
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from procession.errors import ConfigError
from procession.order.sampler import Draw
from procession.order.sampling import one_axis
from procession.order.shuffle import I64, numbered


class Given:
    """The items of one epoch, one by one: what a user's own order said; see `given`."""

    def __init__(self, indices: npt.ArrayLike) -> None:
        self._indices = np.array(indices, dtype=np.int64)
        self._indices.flags.writeable = False
        self._repeats: bool | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._indices,)

    @property
    def repeats(self) -> bool:
        """See `Sampler.repeats`."""
        if self._repeats is None:  # found when it is asked for: it takes sorting
            self._repeats = np.unique(self._indices).size < self._indices.size
        return self._repeats

    def count(self, length: int) -> int:
        """See `Sampler.count`."""
        return self._indices.size

    def pick(self, places: range, draw: Draw) -> I64:
        """See `Sampler.pick`."""
        return self._indices[numbered(places)]

    def describe(self) -> str:
        """See `Sampler.describe`."""
        return f"own order, crc {zlib.crc32(self._indices.tobytes()):08x}"


def given(order: Any, epoch: int, length: int) -> Given:
    """Ask a user's own order for the items of an epoch: `order.indices(epoch)`, a 1-D array, list or range of ints.

    Raises:
        ConfigError: `order` has no such method, or it returned something else, or an index outside [0, length).
    """
    if not callable(getattr(order, "indices", None)):
        raise ConfigError(
            f"{type(order).__name__} has no method indices(epoch), so it is no order; write one that returns the "
            "indices of an epoch as a 1-D array of ints"
        )
    try:
        inspect.signature(order.indices).bind(epoch)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{type(order).__name__}.indices cannot be called with the number of the epoch ({error}); define it as "
            "indices(self, epoch)"
        ) from error
    said = f"{type(order).__name__}.indices({epoch})"
    indices = one_axis(said, order.indices(epoch))
    if indices.dtype.kind not in "iu":
        how = "numpy.flatnonzero(mask)" if indices.dtype.kind == "b" else "indices.astype(int)"
        raise ConfigError(f"{said} must return ints, got an array of dtype {indices.dtype}; write {how}")
    wrong = np.flatnonzero((indices < 0) | (indices >= length))
    if wrong.size:
        raise ConfigError(
            f"{said} has {indices[wrong[0]]} at place {wrong[0]:,}, and the source has {length:,} items: indices must "
            f"be from 0 to {length - 1}; {wrong.size:,} of {indices.size:,} are not"
        )
    return Given(indices)
