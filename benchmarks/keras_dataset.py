"""A source in Keras's words; a module of its own because it imports Keras."""

from typing import Any

import keras

from benchmarks.sources import Source


class Dataset(keras.utils.PyDataset):
    """The batches of a source."""

    def __init__(self, source: Source, **settings: Any) -> None:
        super().__init__(**settings)
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        return self.source[index]
