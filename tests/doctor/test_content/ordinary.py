"""Ordinary sources, as people write them: nothing is wrong with what they do to themselves."""

from __future__ import annotations

import functools
import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import procession

_table: Any = None


def table() -> Any:
    global _table
    if _table is None:
        _table = np.arange(256, dtype=np.float32) / 255
    return _table


class Base:
    def __init__(self) -> None:
        self.rows = np.arange(320, dtype=np.float32).reshape(64, 5)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> Any:
        return self.rows[4 * i : 4 * i + 4]


class OpensLazily(Base):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows.tofile(path)
        self.file: Any = None

    def __getitem__(self, i: int) -> Any:
        if self.file is None:
            self.file = self.path.open("rb")
        self.file.seek(80 * i)
        return np.frombuffer(self.file.read(80), np.float32)


class OpensWhereMissing(OpensLazily):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        del self.file

    def __getitem__(self, i: int) -> Any:
        if not hasattr(self, "file"):
            self.file = self.path.open("rb")
        self.file.seek(80 * i)
        return np.frombuffer(self.file.read(80), np.float32)


class OpensMany(OpensLazily):
    """A file for each item, opened on first use."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.files: dict[int, Any] = {}

    def __getitem__(self, i: int) -> Any:
        if i not in self.files:
            self.files[i] = self.path.open("rb")
        self.files[i].seek(80 * i)
        return np.frombuffer(self.files[i].read(80), np.float32)


class Remembers(Base):
    @functools.lru_cache(maxsize=4)  # noqa: B019
    def load(self, i: int) -> Any:
        return self.rows[4 * i : 4 * i + 4] * 2

    @functools.cached_property
    def mean(self) -> Any:
        return self.rows.mean()

    def __getitem__(self, i: int) -> Any:
        return self.load(i) - self.mean


class Buffers(Base):
    def __init__(self) -> None:
        super().__init__()
        self.buffer: Any = None

    def __getitem__(self, i: int) -> Any:
        if self.buffer is None:
            self.buffer = np.empty((4, 5), np.float32)
        np.multiply(self.rows[4 * i : 4 * i + 4], 2, out=self.buffer)
        return self.buffer


class Locks(Base):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.local = threading.local()

    def __getitem__(self, i: int) -> Any:
        with self.lock:
            self.local.last = i
            return super().__getitem__(i)

    def __getstate__(self) -> Any:
        return {"rows": self.rows}

    def __setstate__(self, state: Any) -> None:
        vars(self).update(state, lock=threading.Lock(), local=threading.local())


class LoadsGlobal(Base):
    def __getitem__(self, i: int) -> Any:
        return table()[self.rows[4 * i : 4 * i + 4].astype(int) % 256]


class SharesState(Base):
    def __init__(self) -> None:
        super().__init__()
        self.count = procession.SharedCounter()
        self.hard: procession.SharedDict[str, int] = procession.SharedDict()
        self.seen = procession.share(np.zeros(16, np.int64), writable=True)

    def __getitem__(self, i: int) -> Any:
        self.count.add(1)
        self.hard["last"] = i
        self.seen[i] += 1
        return super().__getitem__(i)


class OrderByItsSeed(Base):
    def __init__(self) -> None:
        super().__init__()
        self.order: Any = None

    def __getitem__(self, i: int) -> Any:
        if self.order is None:
            self.order = np.random.RandomState(0).permutation(64)
        return self.rows[self.order[4 * i : 4 * i + 4]]


class ShufflesInHook(Base):
    def __init__(self) -> None:
        super().__init__()
        self.large = np.arange(20_000)
        self.order = np.arange(64)
        self.epoch = 0

    def __getitem__(self, i: int) -> Any:
        rng = np.random.default_rng((7, self.epoch, i))
        return self.rows[self.order[4 * i : 4 * i + 4]] + rng.normal()

    def on_epoch_begin(self) -> None:
        self.epoch += 1

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.order)
        np.random.shuffle(self.large)


class ShufflesBefore(Base):
    """The hook begins what items go on with, in place and anew."""

    def __init__(self) -> None:
        super().__init__()
        self.order = np.arange(64)
        self.rng = np.random.default_rng(4)
        self.weights: Any = None

    def __getitem__(self, i: int) -> Any:
        rows = self.order[4 * i : 4 * i + 4]
        return self.rows[rows] * self.weights[rows, None]

    def on_epoch_begin(self) -> None:
        self.rng.shuffle(self.order)
        self.weights = np.random.permutation(64)


class OwnGenerator(Base):
    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(42)

    def __getitem__(self, i: int) -> Any:
        batch = self.rows[4 * i : 4 * i + 4]
        return batch + self.rng.normal(size=batch.shape)


class Copies(Base):
    """Operations in place, all on arrays of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.large = np.ones((64, 5000), np.float32)
        self.parts = {"a": self.rows, "b": self.rows + 1}

    def scale(self, rows: Any) -> Any:
        rows = rows / 2
        rows -= 1
        return rows

    def __getitem__(self, i: int) -> Any:
        one = self.large[4 * i : 4 * i + 4].copy()
        one *= 2
        two = self.large[[i, i + 1]]
        two += 1
        three = self.rows[4 * i : 4 * i + 4].astype(np.float64)
        three[:] = 0
        rows = np.arange(4 * i, 4 * i + 4)
        four = self.rows[rows]
        np.random.default_rng(0).shuffle(rows)
        four.sort()
        five = {name: part[i] for name, part in self.parts.items()}
        five["a"] = five["a"] + 1
        number = self.rows[i, 0]
        number += 1
        names = []
        names.append(number)
        return one, two, three, four, self.scale(self.rows[4 * i : 4 * i + 4]), five


class Frame(Base):
    def __init__(self) -> None:
        super().__init__()
        self.frame = pd.DataFrame({"a": np.arange(64.0), "b": np.arange(64.0)})

    def __getitem__(self, i: int) -> Any:
        part = self.frame.iloc[4 * i : 4 * i + 4]
        return part[["a", "b"]].to_numpy(np.float32), part["a"].mean()


class Endless:
    num_batches = None

    def __getitem__(self, i: int) -> Any:
        return np.full(3, i)


class Slots:
    __slots__ = ("file", "rows")

    def __init__(self) -> None:
        self.rows = np.arange(10)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, i: int) -> Any:
        return list(itertools.islice(self.rows, 3))


class Ids(Base):
    """The clock and names are asked, and no item depends on them."""

    def __getitem__(self, i: int) -> Any:
        import time
        import uuid

        start = time.perf_counter()
        name = f"/tmp/{uuid.uuid4()}"
        batch = super().__getitem__(i)
        return batch if time.perf_counter() - start >= 0 else name
