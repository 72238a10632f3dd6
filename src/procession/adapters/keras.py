"""The adapter that Keras gets for a `Loader` in `fit`, `evaluate` and `predict`; made by `keras_hook`."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from procession import tree
from procession.adapters.epochs import Epochs
from procession.errors import BatchError, WorkerTraceback
from procession.stream import EndOfEpoch


class LoaderAdapter(DataAdapter):
    """Behaves as Keras's `PyDatasetAdapter` does for the source itself."""

    def __init__(self, loader: Any, *, shuffle: bool, class_weight: Any, steps_per_epoch: int | None) -> None:
        self.loader = loader  # dropped, it would close
        self._stream = stream = loader._stream
        self._class_weight = class_weight
        self.epochs = Epochs(stream, shuffle=shuffle, steps_per_epoch=steps_per_epoch)
        self._shortened: Any = None  # Keras's iterator, where it has been told of fewer steps than usual
        self.ran_out = False  # TensorFlow has asked for more than there was
        self._checked = False  # the first batch has been looked at
        self._failure: BaseException | None = None  # what ended TensorFlow's iterator: comes out in on_epoch_end
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
        """Batches as a dataset, whose spec comes from batches that workers made."""
        from procession.adapters.tf import Signature, dataset_of

        with _traceback_kept():
            looked_at = self.epochs.look()
        self.signature = Signature([(name, self._standard(batch, name)) for name, batch in looked_at])
        return dataset_of(self)

    def begin(self) -> None:
        """TensorFlow reads from a new iterator."""
        try:
            self.epochs.restart()
        except BaseException as error:
            self._fail(error)

    def read(self) -> list[Any] | None:
        """The next batch for TensorFlow."""
        if self._failure is not None:
            return None
        try:
            leaves: list[Any] = self.signature.leaves(self._standard(self._next()), self.epochs.where)
            return leaves
        except EndOfEpoch:
            self.ran_out = True
            self._end_early()
            return None
        except BaseException as error:
            self._fail(error)
            return None

    def _fail(self, error: BaseException) -> None:
        # TensorFlow would wrap it: end the data instead, and raise it when Keras comes to the end of the epoch, before
        # which it warns that the data has run out.
        self._failure = error
        self._expect_early_end()

    def _expect_early_end(self) -> None:
        """Until Keras comes to the end of the epoch, it need not warn that the data has run out."""
        if self._silence is None:
            self._silence = warnings.catch_warnings()
            self._silence.__enter__()
            warnings.filterwarnings("ignore", message="Your input ran out of data")

    def _end_early(self) -> None:
        if self._stream.has_skipped or self.epochs.is_short:
            self._expect_early_end()  # that batches were skipped is said by our own warning

    def on_epoch_begin(self) -> None:
        """Keras begins an epoch."""
        if "tensorflow" in sys.modules:  # whose threads wait for batches while the main thread cannot see a signal
            self._stream.waker.watch_signals()
            self._stream.waker.defer_interrupts()
        self.begin_epoch(sys._getframe(1).f_locals.get("self"))

    def on_epoch_end(self) -> None:
        """Keras ends an epoch, or (in `EpochIterator.reset`) a look at one."""
        self._stream.waker.ignore_signals()
        self._lengthen()
        if self._silence is not None:
            self._silence.__exit__(None, None, None)
            self._silence = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
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
                batch = self._next()
            except EndOfEpoch:
                self._end_early()
                return
            yield self._standard(batch)

    def _next(self) -> Any:
        with _traceback_kept():
            return self.epochs.next()

    def _standard(self, batch: Any, name: str | None = None) -> Any:
        """A dict, or a tuple (inputs, [targets, [sample weights]])."""
        if not self._checked:
            self._check_batch(batch)
        if isinstance(batch, dict):
            return batch
        parts = (batch,) if isinstance(batch, np.ndarray) else tuple(batch) if isinstance(batch, (list, tuple)) else ()
        if len(parts) not in (1, 2, 3):
            raise BatchError(
                "a batch for fit, evaluate or predict must be a dict, an array, or a tuple (inputs,), (inputs, "
                f"targets) or (inputs, targets, sample_weights); {name or self.epochs.where()} is a "
                f"{type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, (list, tuple)) else "")
            )
        if self._class_weight is None or len(parts) == 1:
            return parts
        if len(parts) == 3:
            raise BatchError(
                "class_weight was given to fit, but the batches have sample weights of their own: use one of the two"
            )
        weights = data_adapter_utils.class_weight_to_sample_weights(parts[1], self._class_weight)
        return (*parts, weights)

    def _check_batch(self, batch: Any) -> None:
        self._checked = True
        numbers = [path for path, leaf in zip(tree.paths(batch), tree.leaves(batch), strict=True) if np.ndim(leaf) == 0]
        if numbers and self._stream.config.batch_size is None:
            raise BatchError(
                f"source[i] seems to be one sample, not a batch: its {numbers[0]} is a single value. Say how many "
                "samples make a batch, Loader(source, batch_size=32); or, if it is a batch, give that part an axis "
                "for its samples"
            )


@contextlib.contextmanager
def _traceback_kept() -> Iterator[None]:
    """Note the worker's traceback on what is raised: Keras drops the cause (`raise … from None`), a note stays."""
    try:
        yield
    except Exception as error:
        if isinstance(error.__cause__, WorkerTraceback):
            error.add_note(f"procession: in the worker:\n{error.__cause__.text}")
        raise
