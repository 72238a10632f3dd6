"""The permutation of an epoch, as a function of (length, seed, epoch)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

_TAG = 0x5348554646  # "SHUFF": keeps this stream apart from the ones sources draw from the same seed


@lru_cache(maxsize=4)  # every task of an epoch asks for the same one
def permutation(length: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return a permutation of `range(length)`, read-only, the same for the same arguments everywhere.

    Takes 8 bytes an index; PCG64 seeded through `numpy.random.SeedSequence`.
    """
    sequence = np.random.SeedSequence((_TAG, seed, epoch))
    order = np.random.Generator(np.random.PCG64(sequence)).permutation(length)
    order.flags.writeable = False
    return order
