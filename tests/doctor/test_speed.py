"""What is said of measured speeds: decided from figures alone, so that no test depends on how fast this machine is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from procession.config import usable_cores
from procession.doctor.check import Chart, Failed, Results
from procession.doctor.checks.speed import Pace, by_threads, by_workers, judge, pace
from procession.doctor.seen.batch import form
from procession.doctor.seen.probe import Probed
from procession.doctor.seen.profile import Profile, profiled
from tests.support import Made

CORES = usable_cores()


def item_of(source: Any = None) -> Chart:
    return Chart(source, source if source is not None else Made(abs, 8), None, 8, sample=tuple(range(8)))


def found(seconds: float, busy: float, threads: float, workers: float, queued: float = 0.0) -> tuple[Chart, list[str]]:
    """The codes for items of so many seconds; `threads` and `workers`: times as fast as alone."""
    measured = Pace((seconds,) * 10, busy * seconds * 10, queued * seconds * 10)
    seen = {pace: measured, by_threads: threads / seconds, by_workers: workers / seconds}
    chart = item_of()
    return chart, [finding.code for finding in judge(chart, Results(seen, {}))]


@pytest.mark.parametrize(
    ("figures", "codes"),
    [
        ((0.01, 1.0, 0.95, 1.9), ["PRC602"]),  # computes in Python
        ((0.01, 1.0, 1.9, 1.9), []),  # computes outside of the GIL: both do
        ((0.00001, 1.0, 0.3, 0.4), ["PRC601"]),  # lies ready
        (
            (0.0003, 1.0, 1.9, 0.9),
            ["PRC601"],
        ),  # large batches, made outside of the GIL: threads need not hand them over
        ((0.02, 0.02, 2.0, 1.9), ["PRC603"]),  # waits
        ((0.0001, 0.2, 2.0, 1.9), []),  # too short to tell
        ((0.02, 0.4, 1.9, 1.9, 0.6), []),  # was not given the processor: that is no waiting
    ],
)
def test_which_executor_pays_off(figures: tuple[float, ...], codes: list[str]) -> None:
    assert found(*figures)[1] == codes


def test_what_is_advised_for_a_source_that_waits() -> None:
    measured = Pace((0.02,) * 10, 0.02, 0.0)  # a tenth of its time on the processor
    for threads, executor in ((2.0, "threads"), (1.0, "processes")):
        seen = {pace: measured, by_threads: threads * 50, by_workers: 100.0}
        (finding,) = judge(item_of(), Results(seen, {}))
        assert finding.fix == f'loader = procession.Loader(source, workers={10 * CORES}, executor="{executor}")'
        assert "10% of the 20 ms that an item takes are spent on the processor" in finding.evidence


def test_the_figures_that_are_told() -> None:
    chart, _ = found(0.01, 1.0, 0.95, 1.9)
    assert chart.figures["item seconds"] == 0.01
    assert chart.figures["fit can be given items per second"] == 190


def test_items_that_take_very_different_times() -> None:
    chart = item_of()
    batch = form(np.zeros(3))
    chart.probes = {index: Probed(0.4 if index == 5 else 0.01, batch, None) for index in range(8)}
    (finding,) = judge(chart, Results({pace: Pace((0.01,), 0.01, 0.0)}, {}))
    assert finding.code == "PRC604"
    assert finding.evidence == "source[5] takes 400 ms, half of 8 items at most 10 ms"


def test_a_line_that_takes_most_of_the_time() -> None:
    line = (__file__, 3, "Photos.__getitem__")
    seen = {profiled: Profile(((*line, 0.8), ("/other.py", 1, "f", 0.19)), 1.0)}
    chart = item_of()
    (finding,) = judge(chart, Results(seen, {}))
    assert (finding.code, finding.where[0].line) == ("PRC605", 3)
    assert finding.evidence == "80% of the time is spent in `from __future__ import annotations`"
    assert chart.profile[0] == (f"{__file__}:3", "from __future__ import annotations", 0.8)


def test_items_that_fail_in_threads_are_told() -> None:
    seen = {pace: Pace((0.01,) * 10, 0.1, 0.0), by_threads: Failed(ValueError("'igure' is not in list"))}
    (finding,) = judge(item_of(), Results(seen, {}))
    assert (finding.code, finding.severity) == ("PRC606", "note")
    assert finding.evidence == f"with {CORES} threads: ValueError: 'igure' is not in list"


def test_a_busy_machine_is_no_reason_to_do_without_workers() -> None:
    chart = item_of()
    chart.figures["load of the machine"] = CORES + 4.0
    seen = {pace: Pace((0.03,) * 10, 0.3, 0.0), by_threads: 33.0, by_workers: 30.0}
    assert list(judge(chart, Results(seen, {}))) == []


def test_nothing_is_said_of_what_could_not_be_measured() -> None:
    assert list(judge(item_of(), Results({}, {}))) == []
