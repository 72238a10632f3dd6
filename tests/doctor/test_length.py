"""What lies at the end of a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procession.doctor.checks.length import CHECK
from procession.doctor.findings import Diagnosis
from tests.doctor.looking import look

ROWS = np.arange(512, dtype=np.float32).reshape(64, 8)


class Slices:
    """Rows four by four; `length` is what it says."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        return ROWS[4 * i : 4 * i + 4]


class Wraps(Slices):
    def __getitem__(self, i: int) -> Any:
        return ROWS[i % self.length : i % self.length + 4]


class Makes(Slices):
    def __getitem__(self, i: int) -> Any:
        return np.random.default_rng(i).random((4, 8), np.float32)


class Listed(Slices):
    def __init__(self, length: int, there: int) -> None:
        super().__init__(length)
        self.batches = [ROWS[:4]] * there

    def __getitem__(self, i: int) -> Any:
        return self.batches[i], {"i": i}


class Grows(Slices):
    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        self.length += 1
        return ROWS[:4]


class Endless:
    num_batches = property(lambda self: None)

    def __getitem__(self, i: int) -> Any:
        return ROWS[:4]


class Refuses(Slices):
    def __getitem__(self, i: int) -> Any:
        if not 0 <= i < self.length:
            raise ValueError(f"there is no batch {i}")
        return super().__getitem__(i)


class Rest(Slices):
    """58 rows: 14 batches and a rest."""

    def __getitem__(self, i: int) -> Any:
        return ROWS[:58][4 * i : 4 * i + 4]


def length(source: Any, **options: Any) -> Diagnosis:
    return look(source, CHECK, **options)


@pytest.mark.parametrize(
    "source",
    [
        Slices(16),
        Wraps(10),
        Makes(8),
        Listed(9, 9),
        Refuses(4),
        Endless(),
        Listed(1, 1),
        Listed(2, 2),
        [ROWS[:4], ROWS[4:8]],
        (ROWS, ROWS[:, 0]),
    ],
    ids=lambda source: type(source).__name__,
)
def test_a_length_that_is_right(source: Any) -> None:
    assert not length(source, batch_size=4 if isinstance(source, tuple) else None).findings


def test_the_first_item_that_is_not_there_is_found_between_those_that_were_asked_for() -> None:
    (found,) = length(Listed(1000, 700)).findings

    assert (found.code, found.severity) == ("PRC311", "error")
    assert "len() is 1,000; source[700] to source[999] raised IndexError" in found.evidence
    assert "700 items can be read" in found.evidence
    assert [place.function.rpartition(".")[2] for place in found.where] == ["__len__", "__getitem__"]


def test_one_too_many() -> None:
    (found,) = length(Listed(3, 2)).findings

    assert "source[2] raised IndexError" in found.evidence


def test_items_behind_the_end_are_counted() -> None:
    (found,) = length(Slices(12)).findings

    assert (found.code, found.severity) == ("PRC312", "warning")
    assert "len() is 12, and source[12] is there too: 4 more" in found.evidence


def test_a_rest_that_is_left_out_is_noted() -> None:
    (found,) = length(Rest(14)).findings

    assert (found.code, found.severity) == ("PRC312", "note")
    assert "of 2 rows where others have 4" in found.evidence


def test_a_length_that_items_change() -> None:
    found = length(Grows(8)).findings

    assert [(each.code, each.severity) for each in found] == [("PRC313", "warning")]
    assert "asked twice it is 8 and 8, and 9 after an item" in found[0].evidence


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("model.fit(source, steps_per_epoch=500)", "steps_per_epoch=500"),
        ("STEPS = 3\nmodel.fit(x=source, steps_per_epoch=STEPS)", "steps_per_epoch=3"),
        ("model.fit(source, steps_per_epoch=16)", ""),
        ("model.fit(one, steps_per_epoch=7)\nmodel.fit(source, steps_per_epoch=16)", ""),
        ("model.fit(source, steps_per_epoch=len(source))\nmodel.fit(source)", ""),
        ("model.fit(source", ""),
    ],
)
def test_steps_that_fit_asks_for(call: str, told: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(call)
    found = [each for each in look(Slices(16), CHECK, files=(str(script),)).findings if each.code == "PRC314"]
    assert [f"{told}, and this source has 16 batches" in each.evidence for each in found] == [True] * bool(told)
    assert [each.where[0].file for each in found] == [str(script)] * bool(told)
