"""What cannot travel, all of it at once, and what travels at a cost."""

from __future__ import annotations

import functools
import multiprocessing
import sqlite3
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from procession.doctor.check import Chart, Results
from procession.doctor.checks.travel import CHECK
from procession.doctor.findings import Diagnosis, Finding
from tests.doctor.looking import look
from tests.support import run_script


class Rows:
    """A source with whatever it is given."""

    def __init__(self, **held: Any) -> None:
        self.rows = np.zeros((64, 8), np.float32)
        vars(self).update(held)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> Any:
        return self.rows[4 * i : 4 * i + 4]


class Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.handles: list[Any] = [None, path.open("a")]

    def close(self) -> None:
        self.handles[1].close()


class Slotted:
    __slots__ = ("made", "rows")

    def __init__(self) -> None:
        self.rows = np.zeros((64, 8), np.float32)
        self.made = (k for k in range(3))

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> Any:
        return self.rows[i]


class Inherits(Slotted):
    pass


def travel(source: Any) -> Diagnosis:
    return look(source, CHECK)


def judged(source: Any) -> list[Finding]:
    """Without a worker, which would rebuild it."""
    return list(CHECK.judge(Chart(source, source, None, 16), Results({}, {})))


def test_all_that_cannot_travel_is_told_at_once() -> None:
    found = travel(Rows(one=(k for k in "ab"), two=multiprocessing.Lock(), three=threading.Thread())).findings

    assert {(each.code, each.where[0].attribute) for each in found} == {
        ("PRC101", "source.one"),
        ("PRC106", "source.two"),
        ("PRC101", "source.three"),
    }
    assert all(each.severity == "error" for each in found)


def test_what_a_part_of_the_source_holds_is_placed_where_the_part_assigns_it(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "seen.txt")
    (found,) = travel(Rows(reader=reader)).findings
    reader.close()

    assert found.code == "PRC103"
    assert found.where[0].attribute == "source.reader.handles[1]"
    assert found.where[0].function == "Reader.__init__"
    assert "mode 'a'" in found.evidence
    assert "self.reader" in found.fix


@pytest.mark.parametrize("make", [Slotted, Inherits])
def test_slots_and_inherited_attributes_are_found(make: Any) -> None:
    (found,) = travel(make()).findings

    assert (found.code, found.where[0].attribute, found.where[0].function) == (
        "PRC101",
        "source.made",
        "Slotted.__init__",
    )
    assert "self.made" in found.fix


def test_one_of_several_sources() -> None:
    (found,) = travel([Rows(), Rows(made=(k for k in "ab"))]).findings

    assert found.where[0].attribute == "source[1].made"


def test_an_hdf5_file_that_is_written_to(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        (found,) = travel(Rows(file=file)).findings

    assert found.code == "PRC103"
    assert "a.h5" in found.evidence


@pytest.mark.parametrize(
    ("held", "fix"),
    [
        (multiprocessing.RLock, "self.held = procession.Lock()"),
        (multiprocessing.Event, "__getstate__"),
        (multiprocessing.SimpleQueue, "__getstate__"),
    ],
)
def test_what_takes_the_place_of_multiprocessing(held: Any, fix: str) -> None:
    (found,) = travel(Rows(held=held())).findings

    assert found.code == "PRC106"
    assert fix in found.fix


PROXY = """
import multiprocessing
import procession

class Source:
    def __init__(self, seen):
        self.seen = seen
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return i

with multiprocessing.Manager() as manager:
    for each in procession.diagnose(Source(manager.dict())).findings:
        print(each.code, each.severity, each.where[:1] and each.where[0].attribute, each.evidence)
"""


def test_a_proxy_of_a_manager_works_and_is_noted(tmp_path: Path) -> None:
    told = run_script(PROXY, tmp_path).stdout  # by itself: a manager is forked, and this process may have JAX
    (line,) = [line for line in told.splitlines() if line.startswith("PRC1")]
    assert line.startswith("PRC106 note source.seen ")
    assert "DictProxy" in line


def test_what_is_reopened_or_shared_is_no_finding(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(4)
    np.save(tmp_path / "a.npy", np.zeros(100_000))
    database = sqlite3.connect(tmp_path / "a.db")
    source = Rows(
        file=h5py.File(tmp_path / "a.h5"),
        database=database,
        mapped=np.load(tmp_path / "a.npy", mmap_mode="r"),
        lock=threading.Lock(),
        scale=functools.partial(np.multiply, 2),
        cached=functools.lru_cache(lambda k: k),
        large=np.zeros(8_000_000),
    )
    diagnosis = travel(source)
    database.close()
    source.file.close()  # type: ignore[attr-defined]

    assert not diagnosis.findings
    assert diagnosis.figures["shared arrays bytes"] >= 64_000_000
    assert diagnosis.figures["pickled objects bytes"] < 100_000
    assert diagnosis.figures["rebuilt by each worker"]


def test_much_that_is_pickled_is_named_by_size() -> None:
    texts = {k: f"{k:06d}" + "a text of some length " * 20 for k in range(80_000)}
    few = ["a" * 100 for _ in range(1000)]
    (found,) = judged(Rows(texts=texts, few=few))

    assert found.code == "PRC104"
    assert found.severity == "warning"
    assert [place.attribute for place in found.where] == ["source.texts"]
    assert "source.texts (dict of 80,000 str) is 36 MB" in found.evidence
    assert "source.few" not in found.evidence


def test_a_list_of_rows_of_numbers_is_to_be_an_array() -> None:
    rows = [[float(k + j) for j in range(40)] for k in range(100_000)]
    (found,) = judged(Rows(table=rows))

    assert found.code == "PRC104"
    assert "procession.share(np.asarray(self.table))" in found.fix
