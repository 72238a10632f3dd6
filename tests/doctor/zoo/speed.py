"""Planted faults of speed: what makes workers wait, or useless."""

from __future__ import annotations

import threading
import zlib

import numpy as np


class SlowOnce:
    """One item in eight takes a hundred times as long as the others."""

    def __init__(self) -> None:
        self.rows = np.random.default_rng(0).integers(0, 9, (16, 1_200_000), np.uint8)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:  # planted: PRC604
        packed = zlib.compress(self.rows[i], level=9 if i % 8 == 0 else 0)
        return np.frombuffer(packed, np.uint8)[:1000].astype(np.float32)


class AsksAServer:
    """Each item is waited for."""

    def __init__(self) -> None:
        self.values = np.arange(64, dtype=np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:  # planted: PRC603
        threading.Event().wait(0.02)  # as a server takes its time
        return self.values[4 * i : 4 * i + 4]


class Lookup:
    """Batches that lie ready: to hand them over takes longer than to make them."""

    def __init__(self) -> None:
        self.batches = [np.full(8, k, np.float32) for k in range(64)]

    def __len__(self) -> int:
        return 64

    def __getitem__(self, i: int) -> np.ndarray:  # planted: PRC601
        return self.batches[i]


class CountsInPython:
    """A loop over characters, which holds the GIL."""

    def __init__(self) -> None:
        self.texts = [("abc" * (k + 1)) * 2000 for k in range(16)]

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        counts = np.zeros(256, np.float32)
        for letter in self.texts[i]:
            counts[ord(letter)] += 1  # planted: PRC605
        return counts
