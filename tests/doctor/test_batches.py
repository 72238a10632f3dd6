"""Items that fail, differ or cost too much to deliver; and those that are as they should be."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from procession.doctor.checks.batches import CHECK
from procession.doctor.findings import Diagnosis
from tests.doctor.looking import codes, look

ROWS = np.arange(512, dtype=np.float32).reshape(64, 8)


class By:
    """Items by a function of the index."""

    def __init__(self, item: Callable[[int], Any], length: int = 16) -> None:
        self.item = item
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        return self.item(i)


class Endless:
    num_batches = property(lambda self: None)

    def __getitem__(self, i: int) -> Any:
        return ROWS[i % 8 : i % 8 + 4]


class Wide(By):
    def __init__(self) -> None:
        super().__init__(lambda i: None)
        self.values = np.random.default_rng(0).random((64, 20_000))

    def __getitem__(self, i: int) -> Any:
        return self.values[4 * i : 4 * i + 4]


def batches(source: Any, **options: Any) -> Diagnosis:
    return look(source, CHECK, **options)


def rows(i: int) -> Any:
    return ROWS[4 * i : 4 * i + 4]


def some_raise(i: int) -> Any:
    if i % 5 == 0:
        raise KeyError(f"no row {i}") if i else ValueError("the first")
    return rows(i)


def one_is_killed(i: int) -> Any:
    if i == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows(i)


def one_waits(i: int) -> Any:
    if i == 15:
        threading.Event().wait()
    return rows(i)


def one_exits(i: int) -> Any:
    if i == 15:
        raise SystemExit("no such file")
    return rows(i)


def another_rank(i: int) -> Any:
    return {"x": rows(i), "y": np.zeros((4,) if i < 14 else (4, 1), np.int64)}


def another_dtype(i: int) -> Any:
    return rows(i), np.zeros(4, np.int64 if i < 14 else np.int32)


def another_shape(i: int) -> Any:
    return np.zeros((8, 8 if i < 14 else 9), np.float32), i


def sometimes_a_text(i: int) -> Any:
    return rows(i), np.zeros(4) if i < 14 else "none"


def test_items_that_raise_are_grouped_by_what_and_where() -> None:
    found = batches(By(some_raise)).findings

    assert [each.code for each in found] == ["PRC301", "PRC301"]
    assert "source[0] (1 of 16 items that were asked for) raised ValueError: the first" in found[0].evidence
    assert "source[5], source[10], source[15] (3 of 16" in found[1].evidence
    assert "KeyError" in found[1].evidence
    assert found[1].where[0].function == "some_raise"


def test_the_last_items_that_are_not_there_are_left_to_the_check_of_length() -> None:
    assert not batches(By([rows(k) for k in range(14)].__getitem__)).findings


def test_all_items_raise_an_index_error() -> None:
    assert codes(batches(By([].__getitem__))) == ["PRC301"]


@pytest.mark.filterwarnings("ignore::procession.errors.SkippedWarning")
@pytest.mark.parametrize(
    ("item", "code", "text"),
    [
        (one_is_killed, "PRC701", "the process was killed by SIGKILL"),
        (one_waits, "PRC702", "not made within 3 s"),
        (one_exits, "PRC705", "no such file"),
    ],
)
def test_items_that_end_their_process(item: Any, code: str, text: str) -> None:
    (found,) = batches(By(item), limit=3.0).findings

    assert found.code == code
    assert found.severity == "error"
    assert "source[15] (1 of 16 items" in found.evidence
    assert text in found.evidence
    assert found.where[0].file == __file__
    # Where a stack is left it says the line.
    assert found.where[0].function == ("one_waits" if item is one_waits else "By.__getitem__")


@pytest.mark.parametrize(
    ("item", "severity", "text"),
    [
        (another_rank, "error", "item['y'] has rank 1 in most items; source[14], source[15] have rank 2"),
        (another_dtype, "warning", "item[1] is int64 in most items; source[14], source[15] have int32"),
        (sometimes_a_text, "error", "item[1]"),
    ],
)
def test_batches_that_differ(item: Any, severity: str, text: str) -> None:
    found = batches(By(item)).at_least("warning")

    assert {each.code for each in found} == {"PRC303"}
    assert found[0].severity == severity
    assert text in found[0].evidence


def test_batches_of_several_lengths_are_alike() -> None:
    assert not batches(By(lambda i: np.zeros((4, 5 + i), np.float32))).findings


def test_samples_that_do_not_stack() -> None:
    (found,) = batches(By(another_shape), batch_size=4).at_least("warning")

    assert (found.code, found.severity) == ("PRC303", "error")
    assert "item[0] has shape (8, 8) in most items; source[14], source[15] have shape (8, 9)" in found.evidence


def test_samples_with_numbers_and_short_texts_are_fine() -> None:
    assert not batches(By(lambda i: {"x": ROWS[i], "y": i, "name": f"{i}.png"}), batch_size=4).findings


def test_samples_that_leave_a_rest() -> None:
    (found,) = batches(By(lambda i: ROWS[i], 50), batch_size=16).findings

    assert (found.code, found.severity) == ("PRC305", "note")
    assert "50 samples in batches of 16: the last one has 2" in found.evidence
    assert "batch_size=16, drop_remainder=True" in found.fix


@pytest.mark.parametrize("source", [Endless(), By(rows, 1), By(rows, 2), (ROWS, ROWS[:, 0]), [ROWS[:4], ROWS[4:8]]])
def test_sources_at_their_limits(source: Any) -> None:
    size = 4 if isinstance(source, tuple) else None
    assert not batches(source, batch_size=size).findings


def test_float64_that_the_source_holds_is_placed_by_its_attribute() -> None:
    (found,) = batches(Wide()).findings

    assert (found.code, found.severity) == ("PRC304", "warning")
    assert "640,000 of the 640,000 bytes" in found.evidence
    assert "save 320,000" in found.evidence
    assert [place.attribute for place in found.where] == ["source.values"]
    assert found.where[0].function == "Wide.__init__"


@pytest.mark.parametrize(
    "item",
    [
        lambda i: (np.zeros((4, 1000), np.float32), np.zeros(4)),  # a few labels
        lambda i: np.full((4, 1000), 1.7e9),  # a time, which float32 does not hold
        lambda i: np.full((4, 1000), 1e200),
    ],
)
def test_float64_that_is_small_or_needed(item: Any) -> None:
    assert not batches(By(item)).findings


def test_texts_and_objects_are_measured() -> None:
    (found,) = batches(By(lambda i: (rows(i), ["a text of some length " * 50] * 64))).findings

    assert (found.code, found.severity) == ("PRC306", "note")
    assert "item[1][0] is str" in found.evidence
    (large,) = batches(By(lambda i: (rows(i), [f"{k} a text of some length " * 50 for k in range(1000)]))).findings
    assert large.severity == "warning"


def test_what_cannot_be_pickled_is_named() -> None:
    (found,) = batches(By(lambda i: (rows(i), threading.get_ident, (k for k in "ab")))).findings

    assert (found.code, found.severity) == ("PRC302", "error")
    assert "[2] (generator)" in found.evidence
