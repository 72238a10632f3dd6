"""A case of the catalogue: one failure that people have met, and what this library does about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Answer = Literal["PREVENT", "RECOVER", "DIAGNOSE"]


@dataclass(frozen=True, slots=True)
class Case:
    """One failure.

    PREVENT: it cannot happen here; RECOVER: the run goes on; DIAGNOSE: an error, a warning or a finding names it.
    """

    number: str  # "A1"
    name: str  # "fit-workers-typeerror"
    reported: int  # 3: ten threads or more, 2: four to nine, 1: two or three, 0: one or none
    symptom: str  # what people see, in one or two sentences
    cause: str
    answers: tuple[Answer, ...]
    here: str  # how this library answers
    fix: str  # what to write, as Python or shell that can be pasted; comments where there is nothing to write
    tests: tuple[str, ...]  # what proves it: "tests/catalogue/test_api.py::test_fit_takes_workers_again"
    signs: tuple[str, ...] = ()  # regular expressions, any of which tells this case from all others
    codes: tuple[str, ...] = ()  # of errors and findings that name it: "PRC101"
    sources: tuple[str, ...] = ()  # public threads: "keras-team/keras#21068"
    untested: str = ""  # what cannot be run on a Linux machine without a GPU, and why
