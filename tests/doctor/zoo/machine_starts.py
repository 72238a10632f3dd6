"""Planted faults of threads, files and processes."""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np


class StartsAPoolForEachItem:
    """A pool that is made and ended for each batch."""

    def __init__(self) -> None:
        self.rows = [np.full(8, k, np.float32) for k in range(64)]

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        with ThreadPoolExecutor(4) as pool:
            return np.stack(list(pool.map(self.load, range(4 * i, 4 * i + 4))))  # planted: PRC404

    def load(self, k: int) -> np.ndarray:
        return self.rows[k] / np.float32(255)


class RunsAProgram:
    """A decoder of one's own, as a program."""

    def __init__(self) -> None:
        self.rows = np.zeros((64, 8), np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        subprocess.run(["true"], check=True)  # planted: PRC404
        return self.rows[4 * i : 4 * i + 4]


class StartsAThreadWhenUnpickled:
    """Reads ahead, also in the workers."""

    def __init__(self) -> None:
        self.rows = np.zeros((64, 8), np.float32)
        self.stop: Any = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.stop = threading.Event()
        threading.Thread(target=self.stop.wait, daemon=True, name="reads ahead").start()  # planted: PRC403

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        return self.rows[4 * i : 4 * i + 4]


class OpensAFileWhenUnpickled:
    """Every copy with a file of its own."""

    def __init__(self) -> None:
        self.rows = np.zeros((64, 8), np.float32)
        self.path = __file__

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.file = Path(self.path).open("rb")  # noqa: SIM115  # planted: PRC403

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        return self.rows[4 * i : 4 * i + 4]


class LeavesFilesOpen:
    """A descriptor for each item, and nobody closes it."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> np.ndarray:  # planted: PRC504
        descriptor = os.open(__file__, os.O_RDONLY)
        return np.frombuffer(os.read(descriptor, 64), np.uint8).astype(np.float32).reshape(4, 16) + i
