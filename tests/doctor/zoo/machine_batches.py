"""Planted faults of batches and of the length."""

from __future__ import annotations

import ctypes
import math

import numpy as np


class MeetsABrokenFile:
    """One of the files is not what it should be."""

    def __init__(self) -> None:
        self.texts = [*["1 2 3 4"] * 15, "1 2 three 4"]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> np.ndarray:
        return np.array([[float(word) for word in self.texts[i].split()]], np.float32)  # planted: PRC301


class ReturnsNone:
    """Batches of which nothing is left after filtering are given up."""

    def __init__(self) -> None:
        self.labels = np.repeat(np.arange(4, dtype=np.int64), 16)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray | None:
        labels = self.labels[4 * i : 4 * i + 4]
        if labels[0] == 3:
            return None  # planted: PRC302
        return labels


class ReturnsSomethingOpen:
    """A batch with what reads it."""

    def __init__(self) -> None:
        self.images = np.zeros((64, 8, 8), np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> tuple[np.ndarray, object]:
        rows = self.images[4 * i : 4 * i + 4]
        return rows, (row.sum() for row in rows)  # planted: PRC302


class WeighsSomeBatches:
    """Sample weights only where there are any."""

    def __init__(self) -> None:
        self.x = np.zeros((64, 8), np.float32)
        self.y = np.zeros(64, np.int64)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> tuple[np.ndarray, ...]:
        x, y = self.x[4 * i : 4 * i + 4], self.y[4 * i : 4 * i + 4]
        if i >= 14:
            return x, y, np.full(4, 0.5, np.float32)
        return x, y  # planted: PRC303


class DividesByAFloat:
    """Images in 64 bits."""

    def __init__(self) -> None:
        self.images = np.zeros((64, 128, 128, 3), np.uint8)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        return self.images[4 * i : 4 * i + 4] / 255.0  # planted: PRC304


class LeavesARest:
    """60 rows in batches of 8."""

    def __init__(self) -> None:
        self.x = np.zeros((60, 8), np.float32)

    def __len__(self) -> int:
        return math.ceil(len(self.x) / 8)  # planted: PRC305

    def __getitem__(self, i: int) -> np.ndarray:
        return self.x[8 * i : 8 * i + 8]


class ReturnsTexts:
    """Texts as numpy holds them by itself: objects."""

    def __init__(self) -> None:
        self.texts = np.array([f"a review of some length, number {k} " * 20 for k in range(64)], object)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> np.ndarray:
        return self.texts[16 * i : 16 * i + 16]  # planted: PRC306


class CountsOneTooMany:
    """A batch more than there are rows."""

    def __init__(self) -> None:
        self.rows = [np.zeros((4, 8), np.float32) for _ in range(30)]

    def __len__(self) -> int:
        return len(self.rows) + 2  # planted: PRC311

    def __getitem__(self, i: int) -> np.ndarray:
        return self.rows[i]


class CountsTooFew:
    """A slip of the pen."""

    def __init__(self) -> None:
        self.rows = np.zeros((64, 8), np.float32)

    def __len__(self) -> int:
        return len(self.rows) // 4 - 3  # planted: PRC312

    def __getitem__(self, i: int) -> np.ndarray:
        return self.rows[4 * i : 4 * i + 4]


class Crashes:
    """A native library that does not check what it is given."""

    def __init__(self) -> None:
        self.x = np.zeros((64, 8), np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        if i == 15:
            ctypes.string_at(0)  # planted: PRC701
        return self.x[4 * i : 4 * i + 4]


class RunsOutOfRows:
    """It counts batches that are not there: a slice behind the end is empty, and raises nothing."""

    def __init__(self) -> None:
        self.rows = np.arange(256, dtype=np.float32).reshape(64, 4)

    def __len__(self) -> int:
        return len(self.rows) // 4 + 2  # planted: PRC311

    def __getitem__(self, i: int) -> np.ndarray:
        return self.rows[4 * i : 4 * i + 4]


class ReturnsSamples:
    """One picture and its label: no batch."""

    def __init__(self) -> None:
        self.pictures = np.zeros((24, 8, 8, 3), np.float32)

    def __len__(self) -> int:
        return 24

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return self.pictures[i], i % 3  # planted: PRC308


class PairsUnevenly:
    """The labels begin one row too late."""

    def __init__(self) -> None:
        self.x, self.y = np.zeros((64, 4), np.float32), np.arange(63)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.x[4 * i : 4 * i + 4], self.y[1:][4 * i : 4 * i + 3]  # planted: PRC309
