"""What is said of a machine; and that this one is read."""

from __future__ import annotations

import multiprocessing
import os
import resource
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from procession.doctor.check import Chart, Results
from procession.doctor.checks.limits import CHECK, Machine, machine, told
from tests.doctor.looking import look

ROOMY = Machine(8, 8, 65536, 20, 8 << 30, 32 << 30, None, None, None)


@pytest.mark.parametrize(
    ("changes", "code", "severity", "text"),
    [
        ({"usable": 2}, "PRC414", "note", "2 of 8 cores"),
        ({"descriptors": 50, "open": 20}, "PRC411", "error", "50 may be open (RLIMIT_NOFILE), 20 are; 8 workers need"),
        ({"shm": 64 << 20}, "PRC412", "note", "it has 67 MB"),
        ({"available": 4 << 30}, "PRC413", "warning", "8 workers need about 11,200 MB"),
        ({"processes": 100, "running": 95}, "PRC415", "error", "pids.max of the cgroup is 100, 95 are in use"),
        ({"start_method": "spawn"}, "PRC416", "note", "'spawn'"),
    ],
)
def test_each_limit_is_told_with_its_values(changes: dict[str, Any], code: str, severity: str, text: str) -> None:
    (found,) = told(ROOMY._replace(**changes), own=1_000_000_000, batch=100_000_000)

    assert (found.code, found.severity) == (code, severity)
    assert text in found.evidence


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shm": None, "available": None},
        {"descriptors": 54, "open": 20},
        {"processes": 109, "running": 100},
        {"start_method": multiprocessing.get_all_start_methods()[0]},
    ],
)
def test_what_is_enough_is_not_mentioned(changes: dict[str, Any]) -> None:
    assert not list(told(ROOMY._replace(**changes), own=1_000_000_000, batch=100_000_000))


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 8  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    yield few
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_limit_of_this_process_is_read(few_descriptors: int) -> None:
    rows = np.zeros((8, 2))
    found = list(CHECK.judge(Chart(rows, rows, None, 8), Results({}, {})))

    assert "PRC411" in [each.code for each in found]
    assert any(f"{few_descriptors} may be open" in each.evidence for each in found)


def test_the_figures_are_those_of_this_machine() -> None:
    figures = look([np.zeros((4, 2), np.float32)] * 4, CHECK).figures

    assert figures["usable cores"] == machine().usable <= len(os.sched_getaffinity(0))
    assert figures["descriptors allowed"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert figures["available memory bytes"] > 0
