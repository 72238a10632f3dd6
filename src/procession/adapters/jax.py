"""JAX: batches as device arrays; on the CPU they are the memory of the arena, which is kept until JAX drops them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from procession import tree


def device_arrays(batches: Iterator[Any]) -> Iterator[Any]:
    """See `Loader.to_jax`."""
    return (tree.map_leaves(_put, batch) for batch in batches)


def _put(leaf: Any) -> Any:
    number = isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufcV" and leaf.dtype.names is None
    return jax.device_put(leaf) if number else leaf
