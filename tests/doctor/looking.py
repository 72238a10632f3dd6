"""Looks at a source with one check alone."""

from __future__ import annotations

from typing import Any

from procession.doctor.check import Check
from procession.doctor.examine import examine
from procession.doctor.findings import Diagnosis


def look(source: Any, check: Check, **options: Any) -> Diagnosis:
    """What one check says of a source; that it could be made is checked."""
    diagnosis = examine(source, checks=[check], **options)
    assert not [each for each in diagnosis.findings if each.code == "PRC720"], diagnosis.findings
    return diagnosis


def codes(diagnosis: Diagnosis) -> list[str]:
    return [finding.code for finding in diagnosis.findings]
