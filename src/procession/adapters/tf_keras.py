"""The adapter that legacy Keras 2 (`tf_keras`) gets for a `Loader` in `fit`, `evaluate` and `predict`."""

from __future__ import annotations

from typing import Any

from procession.adapters.feed import Feed
from procession.stream import EndOfEpoch


class LegacyAdapter(Feed):
    """Behaves as Keras 2's `KerasSequenceAdapter` does: each epoch of Keras is a new pass over the source."""

    def __init__(self, loader: Any, *, shuffle: bool, steps: int | None) -> None:
        super().__init__(loader, shuffle=shuffle, steps_per_epoch=None)
        self._left = self._steps = steps  # batches that Keras will yet ask for in this epoch

    def get_dataset(self) -> Any:
        """Batches as a dataset; class weights are put on it by Keras."""
        return self.dataset()

    def get_size(self) -> int | None:
        """Batches of an epoch; None: endless."""
        positions: int | None = self._stream.positions()
        return positions

    def get_samples(self) -> int | None:
        """Unknown, as for a Sequence."""
        return None

    def batch_size(self) -> int | None:
        """Unknown, as for a Sequence: batches may differ."""
        return None

    def has_partial_batch(self) -> bool:
        """Unknown."""
        return False

    def partial_batch_size(self) -> int | None:
        """Unknown."""
        return None

    def should_recreate_iterator(self) -> bool:
        """An epoch begins; Keras is to read it from a new iterator."""
        self.watch_signals()
        return True

    def on_epoch_end(self) -> None:
        """An epoch has ended, or its data were cut short by an error."""
        self._stream.waker.ignore_signals()
        self.raise_failure()
        self.epochs.end()

    def restart(self) -> None:
        """A new iterator is a new pass, but for the look at the first."""
        self._left = self._steps
        self.epochs.again()

    def next(self) -> Any:
        """The next batch; with more steps an epoch than the source has batches, it is begun again."""
        try:
            batch = super().next()
        except EndOfEpoch:
            if not self._left:
                raise
            self.epochs.end()
            self.epochs.again()
            batch = super().next()
        if self._left is not None:
            self._left -= 1
        return batch
