"""What the tests of these checks share."""

from __future__ import annotations

import ast
from typing import Any

from procession.doctor.checks import hooks, purity, randomness, shared_data
from procession.doctor.examine import examine
from procession.doctor.findings import Diagnosis, Finding

CHECKS = (purity.CHECK, shared_data.CHECK, randomness.CHECK, hooks.CHECK)


def content(source: Any, batch_size: int | None = None) -> Diagnosis:
    """Look for what these checks look for."""
    diagnosis = examine(source, batch_size=batch_size, checks=CHECKS)
    assert "PRC720" not in codes(diagnosis), told(diagnosis)
    for finding in diagnosis.findings:
        ast.parse(finding.fix)  # it can be pasted
    return diagnosis


def codes(diagnosis: Diagnosis) -> list[str]:
    return [finding.code for finding in diagnosis.findings]


def told(diagnosis: Diagnosis) -> str:
    return "\n".join(f"{each.code} {[*map(str, each.where)]} {each.evidence}" for each in diagnosis.findings)


def only(diagnosis: Diagnosis) -> Finding:
    """The one finding."""
    assert len(diagnosis.findings) == 1, told(diagnosis)
    return diagnosis.findings[0]


def line_of(source: Any, text: str) -> int:
    """The line of this text in the class of a source."""
    import inspect

    lines, first = inspect.getsourcelines(type(source))
    return next(first + number for number, line in enumerate(lines) if text in line)
