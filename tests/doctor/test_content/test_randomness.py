"""Where random numbers come from: variants that the zoo does not show."""

from __future__ import annotations

import os
import random
import secrets
import uuid
from random import shuffle
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng

import procession
from tests.doctor.test_content import draws
from tests.doctor.test_content.ordinary import Base
from tests.doctor.test_content.support import codes, content, line_of, only, told


class FromTheSystem(Base):
    def __getitem__(self, i: int) -> Any:
        return self.rows[i] + int.from_bytes(os.urandom(2), "little")


class Token(Base):
    def __getitem__(self, i: int) -> Any:
        return secrets.token_hex(4)


class Named(Base):
    def __getitem__(self, i: int) -> Any:
        return f"{uuid.uuid4()}.png"


class Imported(Base):
    def __getitem__(self, i: int) -> Any:
        return self.rows[i] + default_rng(seed=None).normal()


class ImportedHere(Base):
    def __getitem__(self, i: int) -> Any:
        import time as clock

        return self.rows[i] + clock.time_ns() % 997


class InHelper(Base):
    def __getitem__(self, i: int) -> Any:
        return draws.noisy(self.rows[i])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (FromTheSystem, "os.urandom"),
        (Token, "secrets.token_hex"),
        (Named, "uuid.uuid4"),
        (Imported, "default_rng(seed=None)"),
        (ImportedHere, "clock.time_ns()"),
        (InHelper, None),
    ],
)
def test_numbers_that_no_seed_reaches_are_one_warning(make: Any, line: str | None) -> None:
    source = make()
    finding = only(content(source))

    assert (finding.code, finding.severity) == ("PRC207", "warning")
    assert "items 0, 5 made first by two fresh processes" in finding.evidence
    if line is None:
        assert finding.where[0].file == draws.__file__
    else:
        assert finding.where[0].line == line_of(source, line)


class OfAName(Base):
    def __getitem__(self, i: int) -> Any:
        return self.rows[i] + hash(f"file{i}") % 2


def test_the_hash_of_a_name_is_the_same_in_one_run_only() -> None:
    finding = only(content(OfAName()))

    assert (finding.code, finding.severity) == ("PRC207", "note")
    assert "PYTHONHASHSEED" in finding.evidence


class ConstantSeed(Base):
    def __getitem__(self, i: int) -> Any:
        np.random.seed(42)
        return self.rows[i] + np.random.normal(size=5)


class DerivedSeed(Base):
    def __getitem__(self, i: int) -> Any:
        seed = 1000 + i
        rng = random.Random(seed)
        return self.rows[i] * rng.random()


@pytest.mark.parametrize(
    ("make", "line", "words"),
    [
        (ConstantSeed, "np.random.seed(42)", "`np.random.seed(42)` gives every item the same numbers, too"),
        (
            DerivedSeed,
            "random.Random(seed)",
            "items 0, 1, 2, 3, 4 and 1 more are the same with the numbers of epoch 0",
        ),
    ],
)
def test_numbers_that_come_again_in_each_epoch_are_one_note(make: Any, line: str, words: str) -> None:
    source = make()
    finding = only(content(source))

    assert (finding.code, finding.severity) == ("PRC208", "note")
    assert finding.where[0].line == line_of(source, line)
    assert words in finding.evidence


class ByEpoch(Base):
    """Counts its epochs; items are other ones in each."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0

    def on_epoch_begin(self) -> None:
        self.turn += 1

    def __getitem__(self, i: int) -> Any:
        key = self.turn * 1000 + i
        return self.rows[i] + np.random.default_rng(key).normal()


class FromTheLoader(Base):
    def __getitem__(self, i: int) -> Any:
        seed = procession.rng().integers(1 << 30)
        return self.rows[i] + np.random.default_rng(seed).normal()


class Counted(Base):
    """Draws nothing."""

    def __getitem__(self, i: int) -> Any:
        return self.rows[i], np.random.PCG64 is None


@pytest.mark.parametrize("make", [ByEpoch, FromTheLoader, Counted])
def test_others_in_each_epoch_is_no_finding(make: Any) -> None:
    diagnosis = content(make())

    assert codes(diagnosis) == [], told(diagnosis)


class UsesTwo(Base):
    def __getitem__(self, i: int) -> Any:
        rows = [0, 1, 2]
        shuffle(rows)
        return self.rows[rows] + draws.jitter()


def test_global_generators_are_named_with_their_lines() -> None:
    source = UsesTwo()
    finding = only(content(source))

    assert (finding.code, finding.severity) == ("PRC209", "note")
    assert finding.evidence.startswith("numpy.random and random moved on while 6 items were made")
    assert [place.line for place in finding.where if place.file == __file__] == [line_of(source, "shuffle(rows)")]
    assert draws.__file__ in [place.file for place in finding.where]
