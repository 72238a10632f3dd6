"""Planted faults of travel and memory."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import types
from pathlib import Path

import numpy as np

CAPTION = "a photo of a cat that sits beside " * 14


class HoldsGenerator:
    """A generator, which has no copy."""

    def __init__(self) -> None:
        self.images = np.zeros((64, 32, 32, 3), np.uint8)
        self.waiting = (line for line in "abc")  # planted: PRC101 source.waiting

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        return self.images[4 * i : 4 * i + 4] / np.float32(255)


class WritesALog:
    """A log that is written to while items are made."""

    def __init__(self) -> None:
        self.images = np.zeros((64, 8, 8), np.uint8)
        self.log = Path(tempfile.mkdtemp(), "seen.txt").open("a")  # noqa: SIM115  # planted: PRC103 source.log

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        self.log.write(f"{i}\n")
        return self.images[4 * i : 4 * i + 4] / np.float32(255)

    def __del__(self) -> None:
        self.log.close()


class LocksWithMultiprocessing:
    """A reader that only one may use at a time."""

    def __init__(self) -> None:
        self.images = np.zeros((64, 8, 8), np.uint8)
        self.lock = multiprocessing.Lock()  # planted: PRC106 source.lock

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        with self.lock:
            return self.images[4 * i : 4 * i + 4] / np.float32(255)


class KeepsManyTexts:
    """As many texts as there are in a large data set."""

    def __init__(self) -> None:
        self.captions = [f"{k:06d} {CAPTION}" for k in range(80_000)]  # planted: PRC104

    def __len__(self) -> int:
        return len(self.captions) // 32

    def __getitem__(self, i: int) -> np.ndarray:
        names = self.captions[32 * i : 32 * (i + 1)]
        return np.stack([np.full((8, 8), len(name), np.float32) for name in names])


def made_at_run_time() -> object:
    """Plug-ins that a framework of one's own loads from text."""
    plugin = types.ModuleType("plugin_of_today")
    exec("class Scale:\n    def __call__(self, x):\n        return x / 255", vars(plugin))
    sys.modules[plugin.__name__] = plugin

    class Scaled:
        def __init__(self) -> None:
            self.images = np.zeros((64, 8, 8), np.float32)
            self.scale = plugin.Scale()  # planted: PRC102 source.scale

        def __len__(self) -> int:
            return 16

        def __getitem__(self, i: int) -> object:
            return self.scale(self.images[4 * i : 4 * i + 4])

    return Scaled()


class KeepsAHistory:
    """Statistics that are never read."""

    def __init__(self) -> None:
        self.x = np.random.default_rng(0).random((64, 64), np.float32)
        self.history: list[np.ndarray] = []

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        batch = self.x[4 * i : 4 * i + 4]
        self.history.append(np.cov(batch))
        self.history.append(batch - batch.mean())
        self.history.append(np.repeat(batch, 16, axis=0))  # planted: PRC501
        return batch


class ReadsAListOfNames:
    """Strings whose counts are written as they are read."""

    def __init__(self) -> None:
        self.names = [f"/data/train/class_{k % 1000:04d}/{k:09d}.png" for k in range(200_000)]  # planted: PRC502

    def __len__(self) -> int:
        return len(self.names) // 32

    def __getitem__(self, i: int) -> np.ndarray:
        return np.array([len(name) for name in self.names[32 * i : 32 * (i + 1)]], np.float32)


class BuildsATableInEachWorker:
    """Made on first use, in each worker."""

    def __init__(self) -> None:
        self.table: np.ndarray | None = None

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> np.ndarray:
        if self.table is None:
            self.table = np.ones((4200, 250, 125), np.float32)  # planted: PRC503
        return self.table[4 * i : 4 * i + 4]
