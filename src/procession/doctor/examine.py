"""A diagnosis: first some items, each in a process of its own; then what the checks ask of those that came back."""

from __future__ import annotations

import copy
import functools
import os
import time
from collections.abc import Sequence
from typing import Any

from procession import sources
from procession.capture.pickling import pickled
from procession.doctor.check import MOST_ITEMS, Chart, Check, Failed, Results, check_options, each_once
from procession.doctor.checklist import CHECKS
from procession.doctor.code.reading import is_unreadable
from procession.doctor.findings import Checked, Diagnosis, Finding, by_weight
from procession.doctor.runtime import BROKEN, LENGTH, LOST, STALLED, UNREAD, finding_for
from procession.doctor.seen.probe import probe, raised
from procession.doctor.ward import Progress, Task, Ward
from procession.engine.hooks import Hooks
from procession.errors import CaptureError, EmptySourceError, SourceTypeError, WorkerDiedError
from procession.flows import Flow
from procession.partitions import members, opened

PROBE_SECONDS = 4.0  # for the first look at items
SAMPLE_SECONDS = 1.0  # that an observation shall take for them
SEED = 0


def examine(
    source: Any,
    *,
    batch_size: int | None = None,
    limit: float = 30.0,
    start_limit: float = 60.0,
    files: tuple[str, ...] = (),
    checks: Sequence[Check] = CHECKS,
    progress: Progress = lambda _: None,
) -> Diagnosis:
    """See `diagnose`; `files` may call `fit`; `progress` is told what is being done."""
    check_options(batch_size, limit)
    start, name = time.monotonic(), type(source).__qualname__
    try:
        indexed = opened(source, batch_size)
        several = members(indexed)
        first = _begun(several[0])
        length = sources.length(first)
    except (SourceTypeError, EmptySourceError) as error:
        return Diagnosis(name, (finding_for(error),), seconds=time.monotonic() - start)
    except Exception as error:  # raised by the source's own __len__, which is all that runs here
        told = raised(error, source)
        finding = LENGTH.found(f"asked for its length it raised {told}, at `{told.line}`", told.place)
        return Diagnosis(name, (finding,), seconds=time.monotonic() - start)
    size = batch_size and min(batch_size, length or batch_size)
    chart = Chart(indexed, first, size, length, seed=SEED, limit=limit, start_limit=start_limit, files=files)
    chart.figures["load of the machine"] = os.getloadavg()[0]
    findings, made = _findings(chart, checks, progress)
    chart.figures |= {"items": length, "items asked for": len(chart.probes) + len(chart.lost)}
    if len(several) > 1:
        chart.figures["partitions"] = len(several)
    seconds = time.monotonic() - start
    return Diagnosis(name, by_weight(findings), tuple(made), chart.figures, chart.profile, seconds)


def _findings(chart: Chart, checks: Sequence[Check], progress: Progress) -> tuple[list[Finding], list[Checked]]:
    """Observe, and judge."""
    findings: list[Finding] = []
    stopped: Finding | None = None
    refused = False  # by capture, of which the check of travel tells more
    results = Results({}, {})
    try:
        _observed(chart, checks, results, progress)
    except Exception as error:  # what cannot travel, what its unpickling raised, or a limit of the machine
        stopped, refused = finding_for(error), isinstance(error, CaptureError)
    made = []
    for check in checks:
        progress(f"judging {check.name}")
        judged, crash = _judged(check, chart, results)
        findings += judged
        made.append(_checked(check, results, crash))
    findings += _lost(chart, checks, results, findings)
    if is_unreadable(chart.source, "__getitem__"):
        findings.append(UNREAD.found(f"{type(chart.source).__qualname__}.__getitem__ has no text"))
    known = {finding.code for finding in findings}
    told = refused and any(code.startswith("PRC10") for code in known)
    if stopped is not None and stopped.code not in known and not told:
        findings.append(stopped)
    return findings, made


def _begun(source: Any) -> Any:
    """The source; of one of Keras's iterators a copy whose order has been drawn, as the training process draws it."""
    if not isinstance(source, Flow):
        return source
    begun = Flow(copy.copy(source.iterator))
    Hooks(begun, SEED).begin()
    return begun


def _observed(chart: Chart, checks: Sequence[Check], results: Results, progress: Progress) -> None:
    """See what can be seen of the source in workers.

    Raises:
        CaptureError: it cannot be brought there.
        Exception: nor can it be rebuilt there.
    """
    pickled(chart.source, "source")  # before anything is started
    beside = each_once(each for check in checks for each in check.observations)
    alone = each_once(each for check in checks for each in check.alone)
    with Ward(chart, [probe, *beside, *alone]) as ward:
        progress("making the first items")
        _probe(chart, ward, 2, progress)
        _probe(chart, ward, _affordable(chart, PROBE_SECONDS), progress)
        good = [index for index in chart.candidates if index in chart.probes and chart.probes[index].form is not None]
        chart.sample = tuple(sorted(good[: _affordable(chart, SAMPLE_SECONDS)]))
        if not chart.sample:
            return
        for phase in (beside, *([each] for each in alone)):
            doing = "observing" if phase is beside else f"measuring {phase[0].__name__.replace('_', ' ')}"
            tasks = [Task(observation, chart.sample) for observation in phase]
            for task, seen in ward.make(tasks, functools.partial(_tell, progress, doing)).items():
                results.add(task.observation, seen.value, seen.seconds)
    for trial in [trial for check in checks for trial in check.trials]:
        progress(f"measuring {trial.__name__.replace('_', ' ')}")
        start = time.monotonic()
        try:
            results.add(trial, trial(chart), time.monotonic() - start)
        except Exception as error:
            results.add(trial, Failed(error), time.monotonic() - start)


def _tell(progress: Progress, doing: str, told: str) -> None:
    progress(f"{doing}: {told}")


def _probe(chart: Chart, ward: Ward, most: int, progress: Progress) -> None:
    """Ask for items, each in a process of its own, until so many have been asked for."""
    asked = [*chart.probes, *chart.lost]
    new = [index for index in chart.candidates[:most] if index not in asked]
    tasks = [Task(probe, (index,)) for index in new]
    for task, seen in ward.make(tasks, functools.partial(_tell, progress, "making items")).items():
        if isinstance(seen.value, Failed):
            chart.lost[task.sample[0]] = seen.value.error
        else:
            chart.probes[task.sample[0]] = seen.value


def _affordable(chart: Chart, seconds: float) -> int:
    """How many items can be made in so many seconds, by what is known of them."""
    known = [probed.seconds for probed in chart.probes.values()]
    if not known:  # all were lost: two others may be better
        return 4
    return max(2, min(MOST_ITEMS, int(seconds * len(known) / max(sum(known), 1e-9))))


def _lost(chart: Chart, checks: Sequence[Check], results: Results, told: Sequence[Finding]) -> list[Finding]:
    """A finding for what ended the process of an observation, or did not let it end, if no check has told of it."""
    lost: dict[str, list[str]] = {}
    for observation in each_once(each for check in checks for each in (*check.observations, *check.alone)):
        failed = results.failed(observation)
        if failed is not None and isinstance(failed.error, WorkerDiedError):
            lost.setdefault(failed.error.code, []).append(observation.__name__.replace("_", " "))
    known = {finding.code for finding in told}
    return [
        LOST.found(
            f"{len(names)} observations ({', '.join(names[:4])}) "
            + (f"took longer than {chart.limit:g} s" if code == STALLED.number else "ended their process"),
            *(reading.place() for reading in chart.item_code[:1]),
        )
        for code, names in lost.items()
        if code not in known
    ]


def _judged(check: Check, chart: Chart, results: Results) -> tuple[list[Finding], str]:
    try:
        return list(check.judge(chart, results)), ""
    except Exception as error:  # a check that fails must not keep the others from being told
        return [BROKEN.found(f"the check {check.name!r} raised {type(error).__name__}: {error}")], repr(error)


def _checked(check: Check, results: Results, crash: str) -> Checked:
    asked: list[Any] = [*check.observations, *check.alone, *check.trials]
    missing = [each for each in asked if not results.made(each)]
    failed = [failure.error for each in asked if (failure := results.failed(each)) is not None]
    seconds = sum(results.seconds(each) for each in asked)
    if crash:
        return Checked(check.name, check.asks, seconds, "not done", crash)
    if asked and len(missing) == len(asked):
        return Checked(check.name, check.asks, seconds, "partly", "no item could be made in a worker")
    if failed:
        return Checked(check.name, check.asks, seconds, "partly", f"{type(failed[0]).__name__}: {failed[0]}")
    return Checked(check.name, check.asks, seconds, "done")
