"""Memory that grows, is copied, or does neither."""

from __future__ import annotations

import ctypes
import functools
from collections import deque
from typing import Any

import numpy as np
import pytest

import procession
from procession.doctor.checks.memory import CHECK
from procession.doctor.findings import Diagnosis
from tests.doctor.looking import look

ROWS = np.zeros((64, 64), np.float32)


class Rows:
    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> Any:
        return ROWS[4 * i : 4 * i + 4] + 1


class Caches(Rows):
    """All items, once."""

    def __init__(self) -> None:
        self.cache: dict[int, Any] = {}

    def __getitem__(self, i: int) -> Any:
        if i not in self.cache:
            self.cache[i] = np.ones((4, 50_000), np.float32)
        return self.cache[i]


class Bounded(Rows):
    """The last ones."""

    def __init__(self) -> None:
        self.last: deque[Any] = deque(maxlen=20)
        self.made = functools.lru_cache(maxsize=4)(functools.partial(np.full, (4, 1000)))

    def __getitem__(self, i: int) -> Any:
        self.last.append(np.ones((4, 5000), np.float32))
        return self.made(float(i)) + np.float32(1)


class Circular(Rows):
    """Garbage that only the collector finds."""

    def __getitem__(self, i: int) -> Any:
        ring: list[Any] = [np.ones((4, 1000), np.float32)]
        ring.append(ring)
        return ring[0]


class LeaksInC(Rows):
    """What a library allocates and never frees."""

    def __getitem__(self, i: int) -> Any:
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        ctypes.memset(libc.malloc(20_000), 1, 20_000)
        return ROWS[4 * i : 4 * i + 4]


KEPT: list[Any] = []


def remembered(rows: Any) -> Any:
    KEPT.append(rows + 1)  # in a global, by a function
    return rows


class LeaksInAGlobal(Rows):
    def __getitem__(self, i: int) -> Any:
        return remembered(ROWS[4 * i : 4 * i + 4])


class Names(Rows):
    def __init__(self, names: Any, *, read: bool = True) -> None:
        self.names = names
        self.other = None if read else names

    def __getitem__(self, i: int) -> Any:
        return np.array([len(name) for name in self.names[32 * i : 32 * i + 32]], np.float32)


class NotRead(Rows):
    def __init__(self) -> None:
        self.documents = [f"a text of some length {k} {k * k} {k + 1} ........." for k in range(200_000)]


def memory(source: Any) -> Diagnosis:
    return look(source, CHECK)


@pytest.mark.parametrize("make", [Rows, Caches, Bounded, Circular])
def test_what_does_not_grow(make: Any) -> None:
    diagnosis = memory(make())

    assert not diagnosis.findings
    assert diagnosis.figures["growth per item bytes"] == 0


def test_what_a_library_leaks_is_found_without_a_line() -> None:
    (found,) = memory(LeaksInC()).findings

    assert (found.code, found.severity) == ("PRC501", "warning")
    assert "a library keeps it" in found.evidence
    assert not found.where


def test_what_a_function_keeps_in_a_global_is_placed_there() -> None:
    diagnosis = memory(LeaksInAGlobal())
    (found,) = diagnosis.findings

    assert found.code == "PRC501"
    assert (found.where[0].file, found.where[0].line) == (__file__, remembered.__code__.co_firstlineno + 1)
    assert 1000 < diagnosis.figures["growth per item bytes"] < 1500  # 4 rows of 64 numbers, and their list


def test_names_that_are_shared_are_not_copied() -> None:
    names = [f"/data/train/class_{k % 1000:04d}/{k:09d}.png" for k in range(200_000)]

    assert [each.code for each in memory(Names(names)).findings] == ["PRC502"]
    assert not memory(Names(procession.share(names))).findings


def test_names_in_dicts_of_lists_are_copied_too() -> None:
    names = {k: [f"/data/train/class_{k:06d}/{j:09d}.png" for j in range(4)] for k in range(60_000)}
    source = Names(names)
    (found,) = memory(SourceOfDict(source.names)).findings

    assert found.code == "PRC502"
    assert "dict of 60,000 list" in found.evidence


class SourceOfDict(Rows):
    def __init__(self, names: dict[int, list[str]]) -> None:
        self.names = names

    def __getitem__(self, i: int) -> Any:
        return np.array([len(name) for name in self.names[i]], np.float32)


def test_a_list_that_no_item_reads_costs_nothing() -> None:
    assert not memory(NotRead()).findings
