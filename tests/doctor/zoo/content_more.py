"""Planted faults of content: random numbers and epoch hooks."""

from __future__ import annotations

import random
import time

import numpy as np

DIFFICULTY = {"crop": 1}


class OwnRandomness:
    """A generator made for each item, without a seed."""

    def __init__(self) -> None:
        self.images = np.zeros((64, 8, 8, 3), np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        rng = np.random.default_rng()  # planted: PRC207
        batch = self.images[4 * i : 4 * i + 4]
        return batch + rng.normal(0, 0.1, batch.shape).astype(np.float32)


class SeededByTheClock:
    """Random crops, seeded by the time of day."""

    def __init__(self) -> None:
        self.images = np.arange(64 * 100, dtype=np.float32).reshape(64, 10, 10)

    def __len__(self) -> int:
        return 16

    def crop(self, image: np.ndarray) -> np.ndarray:
        generator = random.Random(time.time_ns())  # planted: PRC207
        top, left = generator.randrange(4), generator.randrange(4)
        return image[top : top + 6, left : left + 6]

    def __getitem__(self, i: int) -> np.ndarray:
        return np.stack([self.crop(image) for image in self.images[4 * i : 4 * i + 4]])


class SeededByIndex:
    """Augments by the index alone, so that each epoch has the same noise."""

    def __init__(self) -> None:
        self.images = np.zeros((64, 8, 8, 3), np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        np.random.seed(i)  # planted: PRC208
        batch = self.images[4 * i : 4 * i + 4]
        if np.random.rand() < 0.5:
            batch = batch[:, :, ::-1]
        return batch + np.random.normal(0, 0.1, batch.shape).astype(np.float32)


class UsesGlobals:
    """Augments with numpy's global generator."""

    def __init__(self) -> None:
        self.images = np.zeros((64, 8, 8, 3), np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        batch = self.images[4 * i : 4 * i + 4]
        noise = np.random.normal(0, 0.1, batch.shape)  # planted: PRC209
        return (batch + noise).astype(np.float32)


class HookRaises:
    """A hook with a name that is not there any more."""

    def __init__(self) -> None:
        self.rows = np.ones((32, 4), np.float32)
        self.order = np.arange(32)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> np.ndarray:
        return self.rows[self.order[4 * i : 4 * i + 4]]

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.indices)  # type: ignore[attr-defined]  # planted: PRC210


class HookOnClass:
    """A curriculum, whose step is kept on the class."""

    step = 0

    def __init__(self) -> None:
        self.rows = np.ones((32, 4), np.float32)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> np.ndarray:
        return self.rows[4 * i : 4 * i + 4] * (1 + self.step)

    def on_epoch_end(self) -> None:
        HookOnClass.step += 1  # planted: PRC211


class HookOnModule:
    """The same, in a dict of the module."""

    def __init__(self) -> None:
        self.images = np.ones((32, 8, 8), np.float32)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> np.ndarray:
        return self.images[4 * i : 4 * i + 4, DIFFICULTY["crop"] :]

    def on_epoch_begin(self) -> None:
        DIFFICULTY["crop"] = 2  # planted: PRC211


class ShufflesData:
    """Shuffles the data itself, not an index."""

    def __init__(self) -> None:
        self.x = np.ones((4096, 32, 40), np.float32)
        self.y = np.zeros(4096, np.int64)

    def __len__(self) -> int:
        return 64

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.x[64 * i : 64 * i + 64], self.y[64 * i : 64 * i + 64]

    def on_epoch_end(self) -> None:
        order = np.random.permutation(len(self.x))
        self.x, self.y = self.x[order], self.y[order]  # planted: PRC212
