"""What keeps observations from being made is a finding, and does not keep the others."""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import Any

import numpy as np
import pytest

from procession import ConfigError
from procession.doctor.check import Chart, Check, Patient, Results, candidates
from procession.doctor.checks import batches, hooks
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
    diagnosis = examine(Made(lambda i: np.full(2, i), 40), checks=[check], limit=3.0)

    assert told["sees"][0] == tuple(sorted(candidates(40)))
    assert told["sees"][1] == sorted(candidates(40))
    died, stalled, raised = told["lost"]
    assert "exit" in died and "7" in died
    assert "longer than" in stalled or "timeout" in stalled.lower()
    assert raised == "by the observation"
    assert diagnosis.checks[0].outcome == "partly"
    assert {finding.code for finding in diagnosis.findings} == {"PRC721"}


def test_a_judgement_that_fails_is_told_and_does_not_keep_the_others() -> None:
    def fails(chart: Chart, results: Results) -> Any:
        raise ZeroDivisionError("in here")

    def works(chart: Chart, results: Results) -> Any:
        chart.figures["worked"] = True
        return []

    checks = [Check("fails", "?", (), (), fails), Check("works", "?", (), (), works)]
    diagnosis = examine(Made(abs, 3), checks=checks)
    assert [finding.code for finding in diagnosis.findings] == ["PRC720"]
    assert diagnosis.figures["worked"] is True
    assert [check.outcome for check in diagnosis.checks] == ["not done", "done"]


@pytest.mark.parametrize("length", [1, 2, 3, 15, 16, 17, 18, 40, 1000, 10**9, None])
def test_candidates_are_both_ends_and_some_between(length: int | None) -> None:
    found = candidates(length)
    assert len(found) == len(set(found)) == min(16, 16 if length is None else length)
    assert all(0 <= index < (length or 16) for index in found)
    if length is not None:
        assert {0, length - 1} <= set(found)


class Hooked:
    """Its hook does something."""

    def __init__(self, what: Any) -> None:
        self.what = what
        self.left: Any = None

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        return np.full((4, 2), i, np.float32)

    def on_epoch_end(self) -> None:
        self.left = self.what()


def leaves_a_generator() -> Any:
    return (k for k in range(3))


def test_a_hook_that_leaves_what_cannot_be_sent() -> None:
    (finding,) = examine(Hooked(leaves_a_generator), checks=[hooks.CHECK]).of("error")
    assert (finding.code, finding.where[0].attribute) == ("PRC210", "source.left")
    assert "after on_epoch_end, source.left is a generator" in finding.evidence


def test_a_hook_that_does_not_return() -> None:
    (finding,) = examine(Hooked(never), checks=[hooks.CHECK], limit=3.0).of("error")
    assert (finding.code, finding.title) == ("PRC702", "An epoch hook does not return")
    assert (finding.where[0].file, finding.where[0].function) == (__file__, "never")


class NoLength(Made):
    def __len__(self) -> int:
        raise RuntimeError("no index file")


def test_a_length_that_raises() -> None:
    (finding,) = examine(NoLength(abs, 1)).of("error")
    assert finding.code == "PRC313"
    assert "RuntimeError: no index file" in finding.evidence


def test_an_item_that_raises_keyboard_interrupt_is_a_finding() -> None:
    def interrupts(i: int) -> Any:
        if i == 2:
            raise KeyboardInterrupt("by the source")
        return np.zeros((2, 2))

    (finding,) = examine(Made(interrupts, 4), checks=[batches.CHECK]).of("error")
    assert finding.code == "PRC301"
    assert "source[2]" in finding.evidence and "KeyboardInterrupt: by the source" in finding.evidence


def test_what_a_process_was_lost_over_is_told_by_the_users_index() -> None:
    def leaves(i: int) -> Any:
        return sys.exit("no file") if i == 3 else np.zeros((2, 2))

    (finding,) = examine(Made(leaves, 8), checks=[batches.CHECK]).of("error")
    assert finding.code == "PRC705"
    assert re.findall(r"source\[(\d+)\]", finding.evidence) == ["3"]


def test_evidence_is_bounded() -> None:
    def shouts(i: int) -> Any:
        raise ValueError("x" * 3_000_000)

    (finding,) = examine(Made(shouts, 4), checks=[batches.CHECK]).of("error")
    assert len(finding.evidence) < 4000


@pytest.mark.parametrize(("batch_size", "limit"), [(0, 1.0), (-4, 1.0), (2.5, 1.0), (None, 0), (None, float("nan"))])
def test_options_out_of_range(batch_size: Any, limit: float) -> None:
    with pytest.raises(ConfigError, match=r"batch_size|limit"):
        examine(Made(abs, 4), batch_size=batch_size, limit=limit)


def test_the_verdict_says_what_was_not_looked_at() -> None:
    diagnosis = examine(Made(lambda i: np.full(2, i), 4), checks=[Check("some", "?", (), (raises,), lambda *_: [])])
    assert str(diagnosis).startswith("Made Nothing was found, but not all could be looked at: see below.")
    assert "not looked at: some: ValueError: by the observation" in str(diagnosis)


def test_code_without_a_text_is_said_to_be_unread() -> None:
    made: dict[str, Any] = {}
    exec("class Typed:\n def __len__(self): return 4\n def __getitem__(self, i): return i", made)
    (finding,) = examine(made["Typed"](), checks=[]).findings
    assert (finding.code, finding.severity) == ("PRC723", "note")
    assert "Typed.__getitem__" in finding.evidence
    assert not examine(Made(abs, 4), checks=[]).findings
    assert not examine([1, 2, 3], checks=[]).findings


def test_a_notebook_shows_the_page_and_a_prompt_one_line() -> None:
    diagnosis = examine(Rebuilt(broken), checks=[])
    assert repr(diagnosis) == "Diagnosis('Rebuilt', 1 error)"
    shown = diagnosis._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and "LookupError: no such table" in shown
    assert shown.count("<") == 2, "what is in the frame does not touch the page around it"
