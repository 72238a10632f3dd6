"""Planted faults of content, in Keras's own kind of source."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


class RunningMean(keras.utils.PyDataset):
    """Normalises by a mean of all batches that it has made so far."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.rows = np.random.default_rng(1).normal(size=(64, 5)).astype(np.float32)
        self.labels = np.zeros(64, np.int64)
        self.mean = np.float32(0)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        x = self.rows[index * 8 : index * 8 + 8]
        self.mean = np.float32(0.9) * self.mean + np.float32(0.1) * x.mean()  # planted: PRC202
        return x - self.mean, self.labels[index * 8 : index * 8 + 8]


class LazyOrder(keras.utils.PyDataset):
    """Draws its order when it is first asked."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.images = np.random.default_rng(5).integers(0, 255, (64, 8, 8, 3), np.uint8)
        self.order: np.ndarray | None = None

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> np.ndarray:
        if self.order is None:
            self.order = np.random.permutation(len(self.images))  # planted: PRC206
        return self.images[self.order[4 * index : 4 * index + 4]] / np.float32(255)
