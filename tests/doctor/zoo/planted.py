"""Reads what is planted in a module of the zoo: a comment says the code, on the line where the doctor has to see it.

self.seen += 1  # planted: PRC203
self.gate = threading.get_ident  # planted: PRC101 source.gate      (where an attribute says the place)
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from procession.doctor.findings import Finding

MARK = re.compile(r"# planted: (PRC\d+)(?: (source\S*))?")


class Planted(NamedTuple):
    """A source of the zoo, and the fault in it."""

    make: Callable[[], Any]  # a class or function
    code: str
    file: str
    line: int
    attribute: str  # "": the line is the place

    @property
    def name(self) -> str:
        return self.make.__name__

    def is_named_by(self, finding: Finding) -> bool:
        """Whether a finding has the code and the place."""
        if finding.code != self.code:
            return False
        if self.attribute:
            return any(self.attribute in place.attribute for place in finding.where)
        return any(place.file == self.file and place.line == self.line for place in finding.where)


def planted(module: Any) -> list[Planted]:
    """The sources of a module that have a fault: classes and functions with the mark in their text."""
    found = []
    for make in vars(module).values():
        if getattr(make, "__module__", None) != module.__name__ or not callable(make):
            continue
        lines, first = inspect.getsourcelines(make)
        for number, line in enumerate(lines, start=first):
            if mark := MARK.search(line):
                found.append(Planted(make, mark[1], str(module.__file__), number, mark[2] or ""))
    return found
