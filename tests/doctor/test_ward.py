"""What keeps observations from being made is a finding, and does not keep the others."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest

from procession.doctor.check import Chart, Check, Patient, Results, candidates
from procession.doctor.examine import examine
from procession.doctor.findings import Diagnosis
from tests.support import Made


class Rebuilt:
    """Does something when it is unpickled."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> int:
        return i

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.what()


def never() -> None:
    threading.Event().wait()


def broken() -> None:
    raise LookupError("no such table")


def ended() -> None:
    os._exit(3)


def only(diagnosis: Diagnosis) -> tuple[str, str]:
    (finding,) = diagnosis.of("error")
    return finding.code, finding.evidence


def test_a_source_that_is_never_rebuilt() -> None:
    code, evidence = only(examine(Rebuilt(never), checks=[], limit=0.5, start_limit=1.0))
    assert code == "PRC102"
    assert "not there after 1 s" in evidence


def test_a_source_that_raises_when_it_is_rebuilt() -> None:
    assert only(examine(Rebuilt(broken), checks=[])) == ("PRC102", "LookupError: no such table")


def test_a_source_that_ends_the_process_that_rebuilds_it() -> None:
    code, evidence = only(examine(Rebuilt(ended), checks=[]))
    assert code == "PRC704"
    assert "exit code 3" in evidence


def sees(patient: Patient) -> Any:
    return patient.sample, [int(patient.item(index)[0]) for index in patient.sample]


def dies(patient: Patient) -> Any:
    os._exit(7)


def hangs(patient: Patient) -> Any:
    never()


def raises(patient: Patient) -> Any:
    raise ValueError("by the observation")


def test_an_observation_that_is_lost_does_not_keep_the_others() -> None:
    told: dict[str, Any] = {}

    def judge(chart: Chart, results: Results) -> Any:
        told["sees"] = results.of(sees)
        told["lost"] = [str(failed.error) for each in (dies, hangs, raises) if (failed := results.failed(each))]
        return []

    check = Check("some", "Does it?", (), (sees, dies, hangs, raises), judge)
    diagnosis = examine(Made(lambda i: np.full(2, i), 40), checks=[check], limit=1.0)

    assert told["sees"][0] == tuple(sorted(candidates(40)))
    assert told["sees"][1] == sorted(candidates(40))
    died, stalled, raised = told["lost"]
    assert "exit" in died and "7" in died
    assert "longer than" in stalled or "timeout" in stalled.lower()
    assert raised == "by the observation"
    assert diagnosis.checks[0].outcome == "partly"
    assert not diagnosis.findings


def test_a_judgement_that_fails_is_told_and_does_not_keep_the_others() -> None:
    def fails(chart: Chart, results: Results) -> Any:
        raise ZeroDivisionError("in here")

    def works(chart: Chart, results: Results) -> Any:
        chart.figures["worked"] = True
        return []

    checks = [Check("fails", "?", (), (), fails), Check("works", "?", (), (), works)]
    diagnosis = examine(Made(abs, 3), checks=checks)
    assert [finding.code for finding in diagnosis.findings] == ["PRC720"]
    assert diagnosis.figures == {"worked": True}
    assert [check.outcome for check in diagnosis.checks] == ["not done", "done"]


@pytest.mark.parametrize("length", [1, 2, 3, 15, 16, 17, 18, 40, 1000, 10**9, None])
def test_candidates_are_both_ends_and_some_between(length: int | None) -> None:
    found = candidates(length)
    assert len(found) == len(set(found)) == min(16, 16 if length is None else length)
    assert all(0 <= index < (length or 16) for index in found)
    if length is not None:
        assert {0, length - 1} <= set(found)
