"""What reads a loader for Keras, whichever: batches in its form, and for tf.data no exception on the way."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from procession import tree
from procession.adapters.epochs import Epochs
from procession.errors import BatchError, WorkerTraceback
from procession.stream import EndOfEpoch


class Feed:
    """One reader of one loader. Its second half is a `Reader` for `tf.dataset_of`."""

    def __init__(self, loader: Any, *, shuffle: bool, steps_per_epoch: int | None) -> None:
        self.loader = loader  # dropped, it would close
        self._stream = loader._stream
        self.epochs = Epochs(self._stream, shuffle=shuffle, steps_per_epoch=steps_per_epoch)
        self.signature: Any = None  # once a dataset has been asked for
        self.failure: BaseException | None = None  # what ended TensorFlow's iterator: to be raised when that is noticed
        self.ran_out = False  # TensorFlow has asked for more than there was
        self._checked = False  # the first batch has been looked at

    def weighted(self, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        """The parts of a batch, with weights where Keras was given some by class."""
        return parts

    def dataset(self) -> Any:
        """Batches as a dataset, whose spec comes from batches that workers made."""
        from procession.adapters.tf import Signature, dataset_of

        with traceback_kept():
            looked_at = self.epochs.look()
        self.signature = Signature([(name, self.standard(batch, name)) for name, batch in looked_at])
        return dataset_of(self)

    def begin(self) -> None:
        """TensorFlow reads from a new iterator."""
        try:
            self.restart()
        except BaseException as error:
            self.fail(error)

    def restart(self) -> None:
        """Keras reads from a new iterator."""
        self.epochs.restart()

    def read(self) -> list[Any] | None:
        """The next batch for TensorFlow."""
        if self.failure is not None:
            return None
        try:
            leaves: list[Any] = self.signature.leaves(self.standard(self.next()), self.epochs.where)
            return leaves
        except EndOfEpoch:
            self.ran_out = True
            self.end_early()
            return None
        except BaseException as error:
            self.fail(error)
            return None

    def fail(self, error: BaseException) -> None:
        """End the data instead of raising: TensorFlow would wrap it."""
        self.failure = error

    def end_early(self) -> None:
        """The order is at its end, perhaps sooner than Keras expects."""

    def raise_failure(self) -> None:
        """Raise what ended the data, if something has."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def watch_signals(self) -> None:
        """TensorFlow's threads wait for batches while the main thread cannot see a signal."""
        if "tensorflow" in sys.modules:
            self._stream.waker.watch_signals()
            self._stream.waker.defer_interrupts()

    def next(self) -> Any:
        """The next batch, as the loader gives it."""
        with traceback_kept():
            return self.epochs.next()

    def standard(self, batch: Any, name: str | None = None) -> Any:
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
        return self.weighted(parts)

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
def traceback_kept() -> Iterator[None]:
    """Note the worker's traceback on what is raised: Keras drops the cause (`raise … from None`), a note stays."""
    try:
        yield
    except Exception as error:
        if isinstance(error.__cause__, WorkerTraceback):
            error.add_note(f"procession: in the worker:\n{error.__cause__.text}")
        raise
