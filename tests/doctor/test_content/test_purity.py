"""What items depend on, and what making them changes: variants that the zoo does not show."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from procession.doctor.findings import Finding
from tests.doctor.test_content import helper
from tests.doctor.test_content.ordinary import Base, Endless
from tests.doctor.test_content.support import codes, content, line_of, only, told

SEEN: dict[str, int] = {"items": 0}


class GoesOn(Base):
    """An iterator, which goes on whatever is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = itertools.cycle(range(16))

    def __getitem__(self, i: int) -> Any:
        return super().__getitem__(next(self.steps))


class Inner:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, rows: Any) -> Any:
        self.calls += 1
        return rows * 2


class CallsInner(Base):
    """What changes belongs to an object that the source holds."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Inner()

    def __getitem__(self, i: int) -> Any:
        return self.scale(super().__getitem__(i))


class Inherits(CallsInner):
    """Changes by what it inherits, and by a function of another module, through a variable."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []

    def __getitem__(self, i: int) -> Any:
        log = self.log
        helper.note(log, i)
        return self.rows[i]


class CountsByName(Base):
    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[int, int] = defaultdict(int)

    def __getitem__(self, i: int) -> Any:
        setattr(self, "last", getattr(self, "last", 0) + i)  # noqa: B010
        self.counts[i % 3] += 1
        return self.rows[i]


class KeepsOpen(Base):
    """Loads a part when an item of another one is asked for, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.number, self.part = -1, self.rows[:0]

    def __getitem__(self, i: int) -> Any:
        if self.number != i // 4:
            self.number, self.part = i // 4, self.rows[16 * (i // 4) :]
        return self.part[i % 4]


class Rarely(Base):
    """Writes where no item of a short look comes."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[int] = []

    def __getitem__(self, i: int) -> Any:
        if self.rows[i].sum() < 0:
            self.failures.append(i)
        return self.rows[i]


class InSlots:
    __slots__ = ("cache",)

    def __init__(self) -> None:
        self.cache: dict[int, Any] = {}

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> Any:
        self.cache[i] = i
        return np.full(2, i)


class CountsEndless(Endless):
    def __init__(self) -> None:
        self.asked = 0

    def __getitem__(self, i: int) -> Any:
        self.asked = self.asked + 1
        return np.full(3, i)


class CountsGlobals(Base):
    def __getitem__(self, i: int) -> Any:
        SEEN["items"] += 1
        helper.count()
        return self.rows[i]


class CountsOnOwnClass(Base):
    seen = 0

    def __getitem__(self, i: int) -> Any:
        type(self).seen += 1
        return self.rows[i]


class KeepsInClass(Base):
    kept: dict[int, Any] = {}  # noqa: RUF012

    def __getitem__(self, i: int) -> Any:
        self.kept[i] = self.rows[i]
        return self.rows[i]


@pytest.mark.parametrize(
    ("make", "code", "attribute", "line", "severity"),
    [
        (GoesOn, "PRC202", "source.steps", "next(self.steps)", "error"),
        (CallsInner, "PRC203", "source.scale.calls", None, "warning"),
        (Inherits, "PRC203", "source.log", None, "warning"),
        (InSlots, "PRC203", "source.cache", "self.cache[i] = i", "warning"),
        (CountsEndless, "PRC203", "source.asked", "self.asked = self.asked + 1", "warning"),
        (CountsOnOwnClass, "PRC204", "CountsOnOwnClass.seen", "type(self).seen += 1", "warning"),
        (KeepsInClass, "PRC204", "KeepsInClass.kept", "self.kept[i] = ", "warning"),
        (KeepsOpen, "PRC203", "source.number", "self.number, self.part = i", "note"),
        (Rarely, "PRC203", "source.failures", "self.failures.append", "note"),
    ],
)
def test_one_finding_says_where(make: Any, code: str, attribute: str, line: str | None, severity: str) -> None:
    source = make()

    finding = only(content(source))

    assert (finding.code, finding.severity, finding.where[0].attribute) == (code, severity, attribute)
    if line is not None:
        assert finding.where[0].line == line_of(source, line)
    else:
        assert finding.where[0].line > 0


def of(findings: tuple[Finding, ...], attribute: str) -> Finding:
    return next(each for each in findings if each.where[0].attribute == attribute)


def test_each_attribute_has_its_own_finding() -> None:
    diagnosis = content(CountsByName())

    assert codes(diagnosis) == ["PRC203", "PRC203"], told(diagnosis)
    assert "defaultdict of 0 → defaultdict of 3, while 6 items" in of(diagnosis.findings, "source.counts").evidence
    assert "source.last: not there → 15" in of(diagnosis.findings, "source.last").evidence
    assert "self.counts = procession.SharedDict()" in of(diagnosis.findings, "source.counts").fix


def test_globals_of_the_module_and_of_others_are_told_with_their_values() -> None:
    diagnosis = content(CountsGlobals())

    assert codes(diagnosis) == ["PRC204", "PRC204"], told(diagnosis)
    here = of(diagnosis.findings, f"{__name__}.SEEN")
    there = of(diagnosis.findings, f"{helper.__name__}.asked")
    assert "SEEN['items']: 0 → 6" in here.evidence
    assert "asked: 0 → 6" in there.evidence
    assert there.where[0].file == helper.__file__


class ByProcess(Base):
    def __getitem__(self, i: int) -> Any:
        return self.rows[i] + helper.process()


def test_what_depends_on_the_process_is_told_where_its_line_is_not_found() -> None:
    finding = only(content(ByProcess()))

    assert (finding.code, finding.severity) == ("PRC207", "warning")
    assert finding.where[0].file == helper.__file__
    assert "made first by two fresh processes" in finding.evidence


class RaisesLater(Base):
    def __init__(self) -> None:
        super().__init__()
        self.left = [1]

    def __getitem__(self, i: int) -> Any:
        return self.rows[i] * self.left.pop()


def test_an_item_that_can_be_made_but_once() -> None:
    finding = only(content(RaisesLater()))

    assert finding.code == "PRC202"
    assert "IndexError: pop from empty list" in finding.evidence
    assert "source.left: list of 1: [1] → list of 0" in finding.evidence


class Dies(Base):
    """No item can be made, so that only the code says what would happen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.order: Any = None

    def __getitem__(self, i: int) -> Any:
        self.seen += 1
        if self.order is None:
            self.order = np.random.permutation(64)
        raise ValueError("nothing there")


def test_what_only_the_code_shows_is_told_as_such() -> None:
    diagnosis = content(Dies())

    assert [(each.code, each.severity) for each in diagnosis.findings] == [("PRC203", "warning"), ("PRC206", "warning")]
    assert all("no item could be made to see" in each.evidence for each in diagnosis.findings)
