"""Every planted fault is found, with its code and place; clean sources have no error."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

from procession.doctor import diagnose
from tests.doctor import zoo
from tests.doctor.zoo import clean
from tests.doctor.zoo.planted import Planted, planted

MODULES = [importlib.import_module(f"{zoo.__name__}.{each.name}") for each in pkgutil.iter_modules(zoo.__path__)]
PLANTED = [fault for module in MODULES for fault in planted(module)]
CLEAN = [
    make
    for make in vars(clean).values()
    if getattr(make, "__module__", None) == clean.__name__ and make.__name__[0] != "_"
]


@pytest.mark.parametrize("fault", PLANTED, ids=[f"{each.code}-{each.name}" for each in PLANTED])
def test_a_planted_fault_is_found_and_nothing_graver_is_invented(fault: Planted, record_property: object) -> None:
    diagnosis = diagnose(fault.make())

    named = [finding for finding in diagnosis.findings if fault.is_named_by(finding)]
    told = "\n".join(
        f"{each.code} {each.severity} {[*map(str, each.where)]}: {each.evidence}" for each in diagnosis.findings
    )
    assert named, f"{fault.code} is not found at {fault.attribute or fault.line}; found:\n{told}"
    others = [finding for finding in diagnosis.of("error") if finding.code != fault.code]
    assert not others, f"found without having been planted:\n{told}"
    record_property("zoo", (fault.code, fault.name, str(named[0].where[0]), named[0].severity))  # type: ignore[operator]


@pytest.mark.parametrize("make", CLEAN, ids=[make.__name__ for make in CLEAN])
def test_a_clean_source_has_no_error(make: object, tmp_path: Path, record_property: object) -> None:
    diagnosis = diagnose(make(tmp_path))  # type: ignore[operator]

    assert not diagnosis.of("error"), str(diagnosis)
    counts = f"{len(diagnosis.of('warning'))} warnings, {len(diagnosis.of('note'))} notes"
    record_property("zoo", ("clean", make.__name__, counts, ""))  # type: ignore[operator, attr-defined]
