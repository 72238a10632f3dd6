"""The catalogue is whole: every case has an answer, a test and codes that exist, and its page is up to date."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procession import errors
from procession.doctor.catalogue import CASES
from procession.doctor.catalogue.case import Case
from procession.doctor.codes import CODES
from procession.doctor.telling.pages import pages

ROOT = Path(__file__).resolve().parents[2]
# How many cases each part of the catalogue has.
CATEGORIES = {"A": 14, "B": 15, "C": 18, "D": 5, "E": 19, "F": 5, "G": 8, "H": 7}


def by_number(case: Case) -> str:
    return case.number


def functions(path: Path) -> set[str]:
    """Return the tests that a file defines."""
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_there_are_91_cases_each_once(record_property: Callable[[str, Any], None]) -> None:
    assert Counter(case.number[0] for case in CASES) == CATEGORIES
    assert [case.number for case in CASES] == [
        f"{a}{n}" for a, count in CATEGORIES.items() for n in range(1, count + 1)
    ]
    assert len({case.name for case in CASES}) == 91
    answers = Counter(answer for case in CASES for answer in case.answers)
    record_property("catalogue", (dict(answers), sum(not case.untested for case in CASES), len(CASES)))


@pytest.mark.parametrize("case", CASES, ids=by_number)
def test_a_case_is_answered_and_proved(case: Case) -> None:
    assert case.answers
    assert all([case.symptom, case.cause, case.here, case.fix, case.signs])
    assert case.tests, "nothing proves it"
    for test in case.tests:
        path, _, name = test.partition("::")
        assert name in functions(ROOT / path), f"there is no {test}"
    assert set(case.codes) <= set(CODES)
    assert ("DIAGNOSE" in case.answers) <= bool(case.codes), "what is diagnosed has a code"
    for sign in case.signs:
        re.compile(sign)


def test_every_error_and_warning_has_a_code_with_a_page() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors._Coded)]
    told = {kind.code for kind in kinds if kind not in (errors._Coded, errors.ProcessionError)}
    assert told <= set(CODES)
    assert str(errors.ConfigError("workers=-1")) == "workers=-1 [PRC712]"


def test_codes_are_stable_and_complete() -> None:
    for number, code in CODES.items():
        assert re.fullmatch(r"PRC\d{3}", number)
        assert not code.title.endswith(".")
        assert all([code.title, code.why, code.fix, code.how])


def test_the_pages_are_made_from_the_catalogue() -> None:
    made = pages()
    written = {f"errors/{path.name}" for path in (ROOT / "docs/errors").glob("*.md")} | {"errors.md"}
    assert written == set(made), "run `make pages`"
    stale = [name for name, text in made.items() if (ROOT / "docs" / name).read_text(encoding="utf-8") != text]
    assert not stale, "run `make pages`"
