"""Planted faults of content: what items depend on, and what they write to."""

from __future__ import annotations

import math
import random

import numpy as np

DECODED: dict[int, np.ndarray] = {}


def pictures(count: int, side: int = 8) -> np.ndarray:
    """Made up, the same each time."""
    return np.random.default_rng(5).integers(0, 255, (count, side, side, 3), np.uint8)


class Flipped:
    """Keeps each batch, and hands out the very arrays, which the next call flips again."""

    def __init__(self) -> None:
        self.images = pictures(96)
        self.kept = [self.images[k : k + 8] / np.float32(255) for k in range(0, 96, 8)]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, i: int) -> np.ndarray:
        batch = self.kept[i]
        batch[:] = batch[:, :, ::-1]  # planted: PRC205
        return batch


class ServesOnce:
    """Remembers what has been served, and serves zeros when it is asked for it again."""

    def __init__(self) -> None:
        self.images = pictures(64)
        self.served: set[int] = set()

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        batch = self.images[4 * i : 4 * i + 4] / np.float32(255)
        if i in self.served:
            return np.zeros_like(batch)
        self.served.add(i)  # planted: PRC201
        return batch


class ReadsOn:
    """Ignores the index, and goes on from where it was."""

    def __init__(self, batch_size: int = 4) -> None:
        self.rows = np.arange(400.0, dtype=np.float32).reshape(100, 4)
        self.batch_size = batch_size
        self.position = 0

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, i: int) -> np.ndarray:
        start = self.position
        self.position += self.batch_size  # planted: PRC202
        if self.position >= len(self.rows):
            self.position = 0
        return self.rows[start : start + self.batch_size].copy()


class CachesItself:
    """A cache in a dict of its own: right, but one for each worker."""

    def __init__(self) -> None:
        self.images = pictures(64)
        self.cache: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        if i not in self.cache:
            self.cache[i] = self.images[4 * i : 4 * i + 4] / np.float32(255)  # planted: PRC203
        return self.cache[i]


class CountsSamples:
    """Counts what it has seen, for a report at the end."""

    def __init__(self) -> None:
        self.rows = np.ones((32, 4), np.float32)
        self.seen = 0

    def __len__(self) -> int:
        return 8

    def load(self, i: int) -> np.ndarray:
        rows = self.rows[4 * i : 4 * i + 4]
        self.seen += len(rows)  # planted: PRC203
        return rows

    def __getitem__(self, i: int) -> np.ndarray:
        return self.load(i) * 2


class CachesInModule:
    """A cache in a global of the module."""

    def __init__(self) -> None:
        self.images = pictures(64)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        if i not in DECODED:
            DECODED[i] = self.images[4 * i : 4 * i + 4] / np.float32(255)  # planted: PRC204
        return DECODED[i]


class CountsForAll:
    """A count on the class, meant for all."""

    requests = 0

    def __init__(self) -> None:
        self.rows = np.ones((32, 4), np.float32)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> np.ndarray:
        CountsForAll.requests += 1  # planted: PRC204
        return self.rows[4 * i : 4 * i + 4]


class DoublesShared:
    """Changes a slice of a large array, which is a view of it."""

    def __init__(self) -> None:
        self.images = np.ones((256, 16, 16, 3), np.float32)

    def __len__(self) -> int:
        return 32

    def __getitem__(self, i: int) -> np.ndarray:
        batch = self.images[8 * i : 8 * i + 8]
        batch *= 2  # planted: PRC205
        return batch


class StandardisesSmall:
    """The same for a small array, where nothing is raised."""

    def __init__(self) -> None:
        self.rows = np.random.default_rng(3).normal(3, 2, (40, 10)).astype(np.float32)

    def __len__(self) -> int:
        return 10

    def scaled(self, rows: np.ndarray) -> np.ndarray:
        rows -= self.rows.mean(axis=0)  # planted: PRC205
        return rows / 2

    def __getitem__(self, i: int) -> np.ndarray:
        return self.scaled(self.rows[4 * i : 4 * i + 4])


class ShufflesAtTheEnd:
    """Begins its next epoch itself, when the last batch is made."""

    def __init__(self) -> None:
        self.images = pictures(64)
        self.order = list(range(64))

    def __len__(self) -> int:
        return 16

    def shuffle(self) -> None:
        random.shuffle(self.order)  # planted: PRC206

    def __getitem__(self, i: int) -> np.ndarray:
        rows = self.order[4 * i : 4 * i + 4]
        if i == len(self) - 1:
            self.shuffle()
        return self.images[rows] / np.float32(255)
