"""The adapter that Keras 3 gets for a `Loader` in `fit`, `evaluate` and `predict`; made by `keras_hook`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from procession.adapters.feed import Feed
from procession.errors import BatchError
from procession.stream import EndOfEpoch


class LoaderAdapter(Feed, DataAdapter):
    """Behaves as Keras's `PyDatasetAdapter` does for the source itself."""

    def __init__(self, loader: Any, *, shuffle: bool, class_weight: Any, steps_per_epoch: int | None) -> None:
        super().__init__(loader, shuffle=shuffle, steps_per_epoch=steps_per_epoch)
        self._class_weight = class_weight
        self._shortened: Any = None  # Keras's iterator, where it has been told of fewer steps than usual
        self._silence: warnings.catch_warnings[None] | None = None

    @property
    def num_batches(self) -> int | None:
        """Batches of an epoch; None: endless."""
        positions: int | None = self._stream.positions()
        return positions

    @property
    def batch_size(self) -> int | None:
        """Unknown, as for a PyDataset: batches may differ."""
        return None

    @property
    def has_partial_batch(self) -> bool | None:
        """Unknown."""
        return None

    @property
    def partial_batch_size(self) -> int | None:
        """Unknown."""
        return None

    def get_numpy_iterator(self) -> Iterator[Any]:
        """Batches as numpy arrays."""
        return iter(data_adapter_utils.get_numpy_iterator(self._batches()))

    def get_jax_iterator(self) -> Iterator[Any]:
        """Batches as JAX takes them: aligned arrays, which it does not copy on the CPU."""
        return iter(data_adapter_utils.get_jax_iterator(self._batches()))

    def get_torch_dataloader(self) -> Any:
        """Batches as tensors on the same memory (Keras itself would copy a numpy array)."""
        from procession.adapters.torch import keras_batches

        return keras_batches(self._batches)

    def get_tf_dataset(self) -> Any:
        """Batches as a dataset."""
        return self.dataset()

    def weighted(self, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        """The parts of a batch, with the weights of their classes."""
        if self._class_weight is None or len(parts) == 1:
            return parts
        if len(parts) == 3:
            raise BatchError(
                "class_weight was given to fit, but the batches have sample weights of their own: use one of the two"
            )
        weights = data_adapter_utils.class_weight_to_sample_weights(parts[1], self._class_weight)
        return (*parts, weights)

    def fail(self, error: BaseException) -> None:
        """End the data; raised when Keras comes to the end of the epoch, before which it warns that they ran out."""
        super().fail(error)
        self._expect_early_end()

    def _expect_early_end(self) -> None:
        """Until Keras comes to the end of the epoch, it need not warn that the data has run out."""
        if self._silence is None:
            self._silence = warnings.catch_warnings()
            self._silence.__enter__()
            warnings.filterwarnings("ignore", message="Your input ran out of data")

    def end_early(self) -> None:
        """The order is at its end; that batches were skipped is said by our own warning."""
        if self._stream.has_skipped or self.epochs.is_short:
            self._expect_early_end()

    def on_epoch_begin(self) -> None:
        """Keras begins an epoch."""
        self.watch_signals()
        self.epochs.take_up_changes()
        self.begin_epoch(sys._getframe(1).f_locals.get("self"))

    def on_epoch_end(self) -> None:
        """Keras ends an epoch, or (in `EpochIterator.reset`) a look at one."""
        self._stream.waker.ignore_signals()
        self._lengthen()
        if self._silence is not None:
            self._silence.__exit__(None, None, None)
            self._silence = None
        self.raise_failure()
        if sys._getframe(1).f_code.co_name != "reset":
            self.epochs.end()

    def begin_epoch(self, iterator: Any, done: int = 0) -> None:
        """An epoch begins, for which Keras asks through `iterator`; where it had begun before, tell Keras what is left.

        Keras would come to the end of the data unawares: on TensorFlow that lets the optimizer count a step which had
        no batch. With `steps_per_epoch`, of which `done` have been done, it also counts by itself when the order ends.
        """
        self.epochs.begin()
        if getattr(iterator, "data_adapter", None) is not self or not self.epochs.goes_on():
            return
        self._shortened, left = iterator, self.epochs.left()
        if not self.epochs.steps:
            iterator._num_batches = left
            return
        iterator.steps_per_epoch = self.epochs.steps - done
        if hasattr(iterator, "_enumerate_iterator"):  # from Keras 3.5 on
            iterator._current_iterator = iter(iterator._get_iterator())
            iterator._steps_seen = (self.num_batches or 0) - (left or 0)

    def _lengthen(self) -> None:
        iterator, self._shortened = self._shortened, None
        if iterator is not None:
            iterator.steps_per_epoch = self.epochs.steps
            iterator._num_batches = self.num_batches

    def _batches(self) -> Iterator[Any]:
        self.epochs.restart()
        while True:
            try:
                batch = self.next()
            except EndOfEpoch:
                self.end_early()
                return
            yield self.standard(batch)
