"""The sources of the works: plain objects with a length and an index, in no framework's words."""

import os
import time
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

# No round reaches the end of an epoch: what happens there is the business of the work `gap`.
ENDLESS = 10_000_000


class Source(ABC):
    """What all sources share: a length and an index."""

    length = ENDLESS

    def __len__(self) -> int:
        return self.length

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """Make a batch."""


class Images(Source):
    """64 images of 224x224x3 bytes, 9.6 MB: a copy of a prepared array, so that transport is what counts."""

    def __init__(self) -> None:
        self.images = np.random.default_rng(0).integers(0, 255, (64, 224, 224, 3), dtype=np.uint8)
        self.labels = np.zeros((64, 1), dtype=np.float32)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images.copy(), self.labels


class Small(Source):
    """32 rows of 100 numbers and 32 labels, 26 kB: slices of two arrays, so that the cost of a batch as such counts."""

    def __init__(self, length: int = ENDLESS) -> None:
        self.length = length
        self.rows = np.random.default_rng(0).random((8192, 100))
        self.labels = np.arange(8192)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start = index * 32 % 8192
        return self.rows[start : start + 32], self.labels[start : start + 32]


class Prepared(Source):
    """One ready array of so many bytes, time and again: making it costs nothing."""

    def __init__(self, size: int) -> None:
        self.array = np.ones(size // 4, dtype=np.float32)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.array


class Busy(Source):
    """About 20 ms of Python, which holds the interpreter's lock throughout."""

    def __getitem__(self, index: int) -> np.ndarray:
        total = 0
        for number in range(400_000):
            total += number & index
        return np.array([total])


class Waiting(Source):
    """50 ms of waiting, as for a disk or a network."""

    def __getitem__(self, index: int) -> np.ndarray:
        time.sleep(0.05)
        return np.array([index])


class Slow(Source):
    """20 ms of waiting, and the process that made the batch."""

    def __getitem__(self, index: int) -> np.ndarray:
        time.sleep(0.02)
        return np.array([os.getpid()])


class Whose(Source):
    """The process that made the batch."""

    def __getitem__(self, index: int) -> np.ndarray:
        return np.array([os.getpid()])


class Touching(Source):
    """Reads all of an array or a list in so many parts, again and again, and says in which process."""

    def __init__(self, data: Any, parts: int) -> None:
        self.data = data
        self.parts = parts

    def __getitem__(self, index: int) -> np.ndarray:
        size = -(-len(self.data) // self.parts)
        start = index % self.parts * size
        part = self.data[start : start + size]
        total = int(part.sum()) if isinstance(part, np.ndarray) else sum(len(text) for text in part)
        return np.array([os.getpid(), total])
