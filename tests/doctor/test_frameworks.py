"""Frameworks, devices, threads and processes: what is told, and what is left alone."""

from __future__ import annotations

import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procession.doctor.checks.blame import is_about_a_device
from procession.doctor.checks.frameworks import CHECK
from procession.doctor.findings import Diagnosis, Place
from procession.doctor.seen.probe import Raised
from procession.engine import supervisor
from tests.doctor.looking import codes, look

ROWS = np.zeros((64, 8), np.float32)


class Rows:
    def __init__(self, length: int = 16) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        return ROWS[4 * i : 4 * i + 4]


class ImportsJax(Rows):
    def __getitem__(self, i: int) -> Any:
        import jax

        return np.asarray(jax.numpy.ones(4))


class OnePool(Rows):
    """Made on first use, and kept."""

    pool: ThreadPoolExecutor | None = None

    def __getitem__(self, i: int) -> Any:
        if self.pool is None:
            self.pool = ThreadPoolExecutor(2, thread_name_prefix="loads")
        return np.stack(list(self.pool.map(ROWS.__getitem__, range(4))))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "pool": None}


def forked(i: int) -> Any:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return ROWS[4 * i : 4 * i + 4]


class Forks(Rows):
    """By a function."""

    def __init__(self) -> None:
        super().__init__()
        self.load = functools.partial(forked)

    def __getitem__(self, i: int) -> Any:
        return self.load(i)


class HoldsAFile(Rows):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = path.open("rb")

    def __getitem__(self, i: int) -> Any:
        return np.array([len(self.file.read(1))], np.float32)


class LocksAndEvents(Rows):
    def __init__(self) -> None:
        super().__init__()
        self.lock, self.event = threading.Lock(), threading.Event()

    def __getitem__(self, i: int) -> Any:
        with self.lock:
            return ROWS[4 * i : 4 * i + 4]


class Tensor:
    """Has the methods of one."""

    def to(self, device: str) -> Tensor:
        return self

    def cuda(self) -> Tensor:
        return self


class Cuda:
    @staticmethod
    def is_available() -> bool:
        return False


class Moves(Rows):
    def __init__(self) -> None:
        super().__init__()
        self.device = "cuda:0"

    def __getitem__(self, i: int) -> Any:
        Tensor().to(self.device)
        return ROWS[4 * i : 4 * i + 4]


class MovesIfItCan(Rows):
    def __getitem__(self, i: int) -> Any:
        tensor = Tensor().to("cuda" if Cuda.is_available() else "cpu")
        if Cuda.is_available():
            tensor = tensor.cuda()
        return ROWS[4 * i : 4 * i + 4].astype(np.float32)


class MovesToTheCpu(Rows):
    def __getitem__(self, i: int) -> Any:
        Tensor().to("cpu")
        return {"gpu": ROWS[4 * i : 4 * i + 4], "to": "gpu".upper()}


def frameworks(source: Any) -> Diagnosis:
    return look(source, CHECK)


@pytest.mark.parametrize("make", [Rows, LocksAndEvents, MovesIfItCan, MovesToTheCpu])
def test_what_is_left_alone(make: Any) -> None:
    assert not frameworks(make()).findings


def test_a_file_that_each_worker_reopens_is_a_figure(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc" * 100)
    source = HoldsAFile(tmp_path / "a.bin")
    from procession.doctor.checks import travel
    from procession.doctor.examine import examine

    diagnosis = examine(source, checks=[travel.CHECK, CHECK])
    source.file.close()

    assert not diagnosis.findings
    assert diagnosis.figures["files reopened by each worker"] == [str(tmp_path / "a.bin")]


def test_a_framework_that_items_import_is_paid_for_by_each_worker() -> None:
    supervisor.shutdown()  # a template that has served another test may have imported it
    (found,) = frameworks(ImportsJax(1)).findings

    assert (found.code, found.severity) == ("PRC401", "warning")
    assert "jax is imported when a worker makes its first item" in found.evidence
    assert found.where[0].function == "ImportsJax.__getitem__"
    assert found.fix.startswith("import jax")


def test_a_pool_that_is_kept_is_told_with_the_threads_that_are_left() -> None:
    (found,) = frameworks(OnePool()).findings

    assert (found.code, found.severity) == ("PRC404", "warning")
    assert "a thread is started 2 times in 17 items" in found.evidence
    assert "2 threads (loads_0, loads_1)" in found.evidence


def test_a_process_that_a_function_forks() -> None:
    (found,) = frameworks(Forks()).findings

    assert "a process is started 17 times in 17 items" in found.evidence
    assert (found.where[0].file, found.where[0].line) == (__file__, forked.__code__.co_firstlineno + 1)


def test_a_device_by_an_attribute_is_a_warning_where_items_do_without() -> None:
    (found,) = frameworks(Moves()).findings

    assert (found.code, found.severity) == ("PRC402", "warning")
    assert "Tensor().to(self.device)" in found.evidence
    assert found.where[0].function == "Moves.__getitem__"


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("Torch not compiled with CUDA enabled", True),
        ("No CUDA GPUs are available", True),
        ("CUDA error: no CUDA-capable device is detected", True),
        ("Found no NVIDIA driver on your system.", True),
        ("Unknown backend: 'gpu' requested, but no platforms that are instances of gpu are present.", True),
        ("could not satisfy device specification '/device:GPU:0'", True),
        ("no such file: gpu.png", False),
        ("cannot reshape array of size 3 into shape (2,)", False),
    ],
)
def test_errors_that_are_about_a_device(text: str, about: bool) -> None:
    assert is_about_a_device(Raised("RuntimeError", text, Place(), "", "")) == about


def test_a_pydataset_that_uses_tensorflow_as_it_should() -> None:
    from tests.doctor.zoo.keras_source import Images

    diagnosis = frameworks(Images())

    assert not diagnosis.at_least("warning")
    assert codes(diagnosis) == ["PRC401"]
    assert "tensorflow, imported once for all workers" in diagnosis.findings[0].evidence
