"""What epoch hooks do: variants that the zoo does not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.doctor.test_content.ordinary import Base
from tests.doctor.test_content.support import codes, content, line_of, only, told

EPOCHS: list[int] = []
CACHE: dict[int, Any] = {}


class RaisesAtTheBeginning(Base):
    def __init__(self) -> None:
        super().__init__()
        self.epochs: dict[int, int] = {1: 1}

    def on_epoch_begin(self) -> None:
        self.epochs[2]


def test_a_hook_that_raises_is_told_with_type_text_and_line() -> None:
    source = RaisesAtTheBeginning()
    finding = only(content(source))

    assert (finding.code, finding.severity) == ("PRC210", "error")
    assert finding.where[0].line == line_of(source, "self.epochs[2]")
    assert "on_epoch_begin: `self.epochs[2]" in finding.evidence
    assert "raises KeyError: 2" in finding.evidence
    assert "source = RaisesAtTheBeginning(" in finding.fix


class Reports(Base):
    """What the hook changes elsewhere, no item uses."""

    def on_epoch_end(self) -> None:
        EPOCHS.append(1)


class ReportsByCall(Reports):
    def on_epoch_end(self) -> None:
        super().on_epoch_end()


@pytest.mark.parametrize("make", [Reports, ReportsByCall])
def test_what_no_item_uses_is_a_warning(make: Any) -> None:
    finding = only(content(make()))

    assert (finding.code, finding.severity) == ("PRC211", "warning")
    assert finding.where[0].line == line_of(Reports(), "EPOCHS.append(1)")
    assert "EPOCHS: list of 0 → list of 1" in finding.evidence


class ClearsCache(Base):
    """A cache that each worker has for itself, and the hook clears in the training process."""

    def __getitem__(self, i: int) -> Any:
        if i not in CACHE:
            CACHE[i] = self.rows[i]
        return CACHE[i]

    def on_epoch_end(self) -> None:
        CACHE.clear()


def test_clearing_a_cache_of_the_module_is_no_error() -> None:
    diagnosis = content(ClearsCache())

    assert [(each.code, each.severity) for each in diagnosis.findings] == [("PRC204", "warning")], told(diagnosis)


class Grows(Base):
    """Each epoch mines what was hard, and keeps copies of it."""

    def on_epoch_begin(self) -> None:
        self.hard = {k: np.full(1_000_000, k) for k in range(3)}


def test_what_is_large_is_told_with_its_size_and_attribute() -> None:
    source = Grows()
    diagnosis = content(source)
    finding = only(diagnosis)

    assert (finding.code, finding.severity) == ("PRC212", "warning")
    assert (finding.where[0].attribute, finding.where[0].line) == ("source.hard", line_of(source, "self.hard = "))
    assert "after on_epoch_begin 22.9 MiB differ" in finding.evidence
    assert "self.hard 22.9 MiB" in finding.evidence
    assert diagnosis.figures["on_epoch_begin: bytes that it changes"] > 24_000_000
    assert diagnosis.figures["on_epoch_begin: seconds"] > 0


class ShufflesLarge(Base):
    """In place, in an array that workers have read-only, and the training process has not."""

    def __init__(self) -> None:
        super().__init__()
        self.order = np.arange(100_000)
        self.labels = np.zeros(100_000, np.int64)

    def on_epoch_end(self) -> None:
        self.labels[:5] = 1
        np.random.shuffle(self.order)


def test_a_hook_may_write_in_place() -> None:
    diagnosis = content(ShufflesLarge())

    assert codes(diagnosis) == [], told(diagnosis)
    assert diagnosis.figures["on_epoch_end: bytes that it changes"] == pytest.approx(1_600_000, rel=0.01)


def test_without_hooks_nothing_is_measured() -> None:
    assert not [name for name in content(Base()).figures if name.startswith("on_epoch")]
