"""torch: batches as tensors on the memory of the arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from procession import tree


def iterable_dataset(loader: Any) -> Any:
    """See `Loader.to_torch`."""
    return _Batches(lambda: (tree.map_leaves(_tensor, batch) for batch in loader), loader)


def keras_batches(batches: Callable[[], Iterator[Any]]) -> Any:
    """What Keras's torch trainer reads: on the device that it uses, with the types that it gives."""
    from keras.src.backend.torch.core import convert_to_tensor

    def converted() -> Iterator[Any]:
        for batch in batches():
            yield tree.map_leaves(lambda leaf: convert_to_tensor(_tensor(leaf)), batch)

    return DataLoader(_Batches(converted, None), batch_size=None)


class _Batches(IterableDataset):
    def __init__(self, batches: Callable[[], Iterator[Any]], sized: Any) -> None:
        self._batches = batches
        self._sized = sized

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            raise RuntimeError(
                "a DataLoader with num_workers > 0 was given the dataset of a procession.Loader, which has workers "
                "of its own: each of torch's would deliver all batches again. Write DataLoader(loader.to_torch(), "
                "batch_size=None)"
            )
        return self._batches()

    def __len__(self) -> int:
        if self._sized is None:
            raise TypeError("the number of batches is not known")
        return len(self._sized)


def _tensor(leaf: Any) -> Any:
    """A tensor on the array's memory, where torch has its type; else the leaf as it is."""
    if not isinstance(leaf, np.ndarray):
        return leaf
    if leaf.dtype.name == "bfloat16":
        return torch.from_numpy(leaf.view(np.int16)).view(torch.bfloat16)
    try:
        return torch.from_numpy(leaf)
    except TypeError:  # strings, structured, or an unsigned type of more than one byte in older torch
        return leaf
