"""Keras's own image iterators as sources."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np


class Flow:
    """One of Keras's image iterators (`ImageDataGenerator().flow(...)`), as several processes can share it.

    By itself it draws its order when it is first asked for a batch, and seeds that batch by how many it has made: both
    are then different in each process. Here the order is drawn by the hooks, in the training process, and batches are
    counted by their place: batch i of epoch e is number `e * len(iterator) + i`, as if one process made all in order.
    """

    def __init__(self, iterator: Any) -> None:
        self._held = _Held(iterator)
        self._order: Any = None  # the iterator's `index_array`
        self._opens = False  # in this epoch, batch 0 is the one that draws the order
        self._counted = 0  # batches that the iterator has made before
        self._epoch = -1

    @property
    def iterator(self) -> Any:
        """The user's object."""
        return self._held.iterator

    def __len__(self) -> int:
        length: int = type(self.iterator).__len__(self.iterator)
        return length

    def __getitem__(self, index: int) -> Any:
        iterator = self.iterator
        iterator.total_batches_seen = self._number(index)
        iterator.index_array = self._order
        return (self._opening() if self._opens and index == 0 else iterator)[index]

    def on_epoch_begin(self) -> None:
        """See that there is an order."""
        iterator = self.iterator
        if self._epoch < 0:
            self._counted = iterator.total_batches_seen
        self._epoch += 1
        if callable(hook := getattr(iterator, "on_epoch_begin", None)):
            hook()
        self._opens = iterator.index_array is None and iterator.seed is not None
        if iterator.index_array is None:
            self._seed(0)
            iterator._set_index_array()
        self._order = iterator.index_array

    def on_epoch_end(self) -> None:
        """Have the iterator draw its next order, from the random numbers that its last batch leaves."""
        iterator, length = self.iterator, len(self)
        if iterator.seed is not None:
            self._seed(length - 1)
            if self._opens and length == 1:
                iterator._set_index_array()
            _draw_as_for(iterator, iterator.index_array[iterator.batch_size * (length - 1) :])
        iterator.total_batches_seen = self._number(length)
        iterator.on_epoch_end()
        self._order = iterator.index_array

    def _opening(self) -> Any:
        """A copy of the iterator that draws the order once more before its batch, as Keras does."""
        opening: Any = object.__new__(type(self.iterator))

        def draw() -> None:
            type(opening)._set_index_array(opening)
            opening.index_array = self._order  # in threads, others may have drawn meanwhile

        vars(opening).update(vars(self.iterator), index_array=None, _set_index_array=draw)
        return opening

    def _number(self, index: int) -> int:
        return self._counted + self._epoch * len(self) + index

    def _seed(self, index: int) -> None:
        seed = self.iterator.seed
        if seed is not None:  # else by the loader's, as in all hooks
            np.random.seed(seed + self._number(index))


class _Held:
    """Sends an iterator without what cannot be sent, and without what `Flow` sets anew for each batch."""

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator

    def __reduce__(self) -> Any:
        attributes = vars(self.iterator)
        attributes["index_generator"] = attributes.pop("index_generator")  # the last to be blamed if something else is
        state = self.iterator.__getstate__()  # where the user's class says what to send, it is that
        if isinstance(state, dict):
            state = {name: value for name, value in state.items() if name not in _SET_ANEW}
        return _rebuilt, (type(self.iterator), state)


_SET_ANEW = ("lock", "index_generator", "index_array", "total_batches_seen")


def _rebuilt(kind: type, state: Any) -> _Held:
    iterator: Any = object.__new__(kind)
    if hasattr(kind, "__setstate__"):
        iterator.__setstate__(state)
    else:
        vars(iterator).update(state)
    iterator.lock = threading.Lock()
    iterator.index_generator = iterator._flow_index()
    return _Held(iterator)


def _draw_as_for(iterator: Any, rows: Any) -> None:
    """Draw what Keras draws for a batch: only where a `preprocessing_function` draws more, the state is another."""
    generator: Any = getattr(iterator, "image_data_generator", None)
    from_files = hasattr(iterator, "image_shape")
    for _ in () if generator is None else rows:
        generator.get_random_transform(iterator.image_shape if from_files else iterator.x.shape[1:])
    for _ in rows if getattr(iterator, "save_to_dir", None) else ():  # for the names of the files
        np.random.randint(10**7 if from_files else 10**4)


def is_flow(source: Any) -> bool:
    """By what is used of it: there are several packages of it, and none is imported here."""
    names = ("_flow_index", "_set_index_array", "_get_batches_of_transformed_samples", "__getitem__", "__len__")
    state = ("index_array", "total_batches_seen", "seed", "batch_size", "index_generator")
    return all(hasattr(type(source), name) for name in names) and all(hasattr(source, name) for name in state)
