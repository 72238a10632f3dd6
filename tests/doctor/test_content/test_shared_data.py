"""What writes to arrays that workers share: variants that the zoo does not show."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import procession
from procession.doctor.code.reading import read
from procession.doctor.code.writes import writes
from tests.doctor.test_content import helper
from tests.doctor.test_content.ordinary import Base
from tests.doctor.test_content.support import codes, content, line_of, only, told


class Large(Base):
    def __init__(self) -> None:
        super().__init__()
        self.x = np.ones((64, 600), np.float32)
        self.parts = {"a": self.x + 1}
        self.order = np.arange(40_000)


class AddsOut(Large):
    def __getitem__(self, i: int) -> Any:
        rows = self.x[4 * i : 4 * i + 4]
        return np.add(rows, 1, out=rows)


class Stores(Large):
    def __getitem__(self, i: int) -> Any:
        rows = self.parts["a"][4 * i : 4 * i + 4].reshape(4, 20, 30)
        rows[rows > 1] = 0
        return rows


class Sorts(Large):
    def __getitem__(self, i: int) -> Any:
        self.x[i].sort()
        return self.x[i]


class Shuffles(Large):
    def __getitem__(self, i: int) -> Any:
        np.random.shuffle(self.order)
        return self.x[self.order[i] % 64]


class InHelper(Large):
    def __getitem__(self, i: int) -> Any:
        return helper.brighten(self.x[i])


class ByPartial(Large):
    def __init__(self) -> None:
        super().__init__()
        self.transform = functools.partial(helper.brighten, by=2)

    def __getitem__(self, i: int) -> Any:
        return self.transform(self.x[i])


class ByLambda(Large):
    def __init__(self) -> None:
        super().__init__()
        self.transform: Any = lambda rows: rows.sort()

    def __getitem__(self, i: int) -> Any:
        self.transform(self.x[4 * i : 4 * i + 4])
        return self.x[i]


class Rows(Large):
    """Only some items write."""

    def __getitem__(self, i: int) -> Any:
        if i == 5:
            self.x[0, 0] = 5
        return self.x[i]


@pytest.mark.parametrize(
    ("make", "attribute", "line"),
    [
        (AddsOut, "source.x", "out=rows"),
        (Stores, "source.parts", "rows[rows > 1] = 0"),
        (Sorts, "source.x", "self.x[i].sort()"),
        (Shuffles, "source.order", "np.random.shuffle"),
        (InHelper, "source.x", None),
        (ByPartial, "source.x", None),
        (ByLambda, "source.x", "rows.sort()"),
        (Rows, "source.x", "self.x[0, 0] = 5"),
    ],
)
def test_writing_to_a_large_array_is_one_error(make: Any, attribute: str, line: str | None) -> None:
    source = make()

    diagnosis = content(source)

    errors = diagnosis.of("error")
    assert [each.code for each in errors] == ["PRC205"], told(diagnosis)
    assert errors[0].where[0].attribute == attribute
    assert "read-only" in errors[0].evidence
    if line is None:
        assert errors[0].where[0].file == helper.__file__
    else:
        assert errors[0].where[0].line == line_of(source, line)


def test_only_the_items_that_write_are_named() -> None:
    finding = only(content(Rows()))

    assert finding.evidence.startswith("item 5: `self.x[0, 0] = 5` raises ValueError")
    assert "self.x[i : i + 8].copy()" in finding.fix


class ClipsSmall(Base):
    """Writes to a small array what is there already the second time: no item differs."""

    def __getitem__(self, i: int) -> Any:
        rows = self.rows[4 * i : 4 * i + 4]
        np.clip(rows, 0, 100, out=rows)
        return rows


def test_a_small_array_that_changes_without_consequence_is_a_warning() -> None:
    source = ClipsSmall()
    finding = only(content(source))

    assert (finding.code, finding.severity) == ("PRC205", "warning")
    assert (finding.where[0].attribute, finding.where[0].line) == ("source.rows", line_of(source, "out=rows"))
    assert "the items themselves are the same" in finding.evidence


class NeverThere(Large):
    def __getitem__(self, i: int) -> Any:
        if self.x[i, 0] < 0:
            self.x[i] *= -1
        return self.x[i]


def test_a_write_that_no_item_comes_to_is_a_warning_by_reading() -> None:
    finding = only(content(NeverThere()))

    assert (finding.code, finding.severity) == ("PRC205", "warning")
    assert "none of 6 items that were made came there" in finding.evidence
    assert "153,600 bytes, read-only in workers" in finding.evidence


class Meant(Base):
    def __init__(self) -> None:
        super().__init__()
        self.loss = procession.share(np.zeros((64, 3000), np.float32), writable=True)

    def __getitem__(self, i: int) -> Any:
        rows = self.loss[i]
        rows += 1
        self.loss[i] = 0
        return self.rows[i]


class Mapped(Base):
    """A memory map that is open for reading, of which a copy is changed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        np.save(path, np.ones((64, 3000), np.float32))
        self.map = np.load(path, mmap_mode="r")

    def __getitem__(self, i: int) -> Any:
        rows = np.array(self.map[4 * i : 4 * i + 4])
        rows *= 2
        return rows


def test_what_is_meant_or_a_copy_is_no_finding(tmp_path: Path) -> None:
    assert codes(content(Meant())) == []
    assert codes(content(Mapped(tmp_path / "map.npy"))) == []


class Views(Base):
    """Each statement here writes to `rows` in place, or to a copy, as the comment says."""

    def __init__(self) -> None:
        super().__init__()
        self.cube = np.zeros((4, 5, 6))

    def part(self, i: int) -> Any:
        return self.cube[i]

    def __getitem__(self, i: int) -> Any:
        a = self.part(i)
        a += 1  # in place
        for k, row in enumerate(self.cube):
            row[k] = 1  # in place
        b = self.cube[i, 0, 0]
        b += 1
        c = self.cube[:, i].T
        c.fill(0)  # in place
        d, e = self.cube[0], self.cube + 1
        d -= 1  # in place
        e -= 1
        if (f := self.cube[1:]) is not None:
            f[...] = 0  # in place
        g = self.cube[self.cube > 0]
        g[:] = 1
        h = np.asarray(self.cube)
        np.copyto(h, 0)  # in place
        k = self.cube[i] if i else self.cube[0]
        k **= 2  # in place
        a = a + 1
        a += 1
        return a


def test_views_are_told_from_copies() -> None:
    source = Views()
    text = Path(__file__).read_text().splitlines()
    first = line_of(source, "def __getitem__")
    marked = [number for number in range(first, first + 30) if text[number - 1].endswith("# in place")]

    found = writes(read(source, ("__getitem__",)), source)

    assert [write.place.line for write in found if write.in_array] == marked
    assert {write.path for write in found} == {"source.cube"}
