"""Every code by its number: those of the checks, and those of errors and warnings at run time."""

from __future__ import annotations

from procession.doctor import runtime
from procession.doctor.checklist import CHECKS
from procession.doctor.findings import Code

CODES: dict[str, Code] = {
    code.number: code
    for code in sorted(
        (*runtime.CODES, *(code for check in CHECKS for code in check.codes)), key=lambda each: each.number
    )
}
