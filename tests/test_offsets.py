"""A file that a source opens when it is unpickled: each worker has an offset of its own, whatever came before."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procession import Faults, Loader

LENGTH = 400


class Records:
    """Opens its file in `__setstate__`, and looks at the same file through a mapping."""

    def __init__(self, path: Path, mapped: bool = False) -> None:
        self.path, self.mapped = path, mapped
        self.__setstate__({"path": path, "mapped": mapped})

    def __getstate__(self) -> Any:
        return {"path": self.path, "mapped": self.mapped}

    def __setstate__(self, state: Any) -> None:
        self.path, self.mapped = state["path"], state["mapped"]
        self.index = np.memmap(self.path, np.uint8, "r") if self.mapped else None
        self.file = self.path.open("rb", buffering=0)

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, i: int) -> Any:
        read = []
        for k in range(i, i + 50):
            self.file.seek(8 * (k % LENGTH))
            read.append(int(self.file.read(8)))
        return read

    def close(self) -> None:
        self.file.close()


class Exchanged:
    """Its hook brings it other records before each epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = Records(path)

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, i: int) -> Any:
        return self.records[i]

    def on_epoch_begin(self) -> None:
        self.records.close()
        self.records = Records(self.path)

    def close(self) -> None:
        self.records.close()


EXPECTED = [[k % LENGTH for k in range(i, i + 50)] for i in range(LENGTH)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "records"
    path.write_bytes(b"".join(b"%8d" % k for k in range(LENGTH)))
    return path


@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_that_is_mapped_too(path: Path, *, mapped: bool) -> None:
    source = Records(path, mapped)
    with Loader(source, workers=3) as loader:
        for _ in range(2):
            assert list(loader) == EXPECTED
    source.close()


def test_workers_that_come_after_a_hook_has_brought_another_file(path: Path) -> None:
    source = Exchanged(path)
    with Loader(source, workers=3, faults=Faults(recycle_after=40)) as loader:
        for _ in range(3):
            assert list(loader) == EXPECTED
        assert loader.statistics().recycled > 3
    source.close()


def test_workers_that_come_after_others_were_killed(path: Path) -> None:
    source = Exchanged(path)
    with Loader(source, workers=2) as loader:
        for _ in range(2):
            batches = iter(loader)
            read = [next(batches) for _ in range(20)]
            for pid in loader.statistics().pids.values():
                os.kill(pid, signal.SIGKILL)
            assert [*read, *batches] == EXPECTED
    source.close()
