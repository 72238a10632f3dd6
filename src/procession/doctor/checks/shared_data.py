"""Shared data: does `__getitem__` write to arrays of which all workers have one copy?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from procession.capture.pickling import OUT_OF_BAND
from procession.doctor.check import Chart, Check, Results
from procession.doctor.code.writes import Write, writes
from procession.doctor.findings import Code, Finding, Place
from procession.doctor.seen.changes import Change
from procession.doctor.seen.course import OBSERVATIONS, courses, indices, story
from procession.doctor.seen.orders import drawn_orders
from procession.doctor.seen.probe import Raised

SHARED = Code(
    "PRC205",
    "__getitem__ writes to an array that workers share",
    "error",
    why="All workers map one copy of an array from 64 KiB on, read-only: writing raises a ValueError. A smaller one is "
    "each worker's own, so that the change is made in silence, in some workers and not in others, and goes on from "
    "item to item.",
    fix="""\
batch = self.images[i : i + 8].copy()       # a slice is a view of the array: change a copy
batch = self.images[i : i + 8] * 2          # or compute a new one, without `*=`, `out=` or `[...] =`

self.seen = procession.share(self.seen, writable=True)      # where all are meant to see it""",
    how="Items are made in workers, where shared arrays are read-only; small arrays are compared before and after, and "
    "the code is read for operations in place.",
)


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """What is written to in place."""
    every = writes(chart.item_code, chart.source)
    written, orders = [write for write in every if _counts(write)], drawn_orders(results, every)
    told: set[str] = set()
    raised = _raised(chart, results)
    if raised:
        finding, told = _refused(raised, written)
        yield finding
    for change in _changed(chart, results):
        path = change.path.partition("[")[0]
        lines = [write for write in written if write.path == path]
        if path not in told:
            told.add(path)
            yield _silent(chart, results, change, lines)
    asked = len(chart.sample) if courses(results) else 0
    for path in dict.fromkeys(write.path for write in written):
        if path not in told and path not in orders:
            yield _read([write for write in written if write.path == path], asked)


def explains(chart: Chart, results: Results) -> bool:
    """Whether an array that is changed in place accounts for items that differ."""
    return bool(_changed(chart, results))


def _counts(write: Write) -> bool:
    return write.in_array and write.ref.kind == "attribute" and not write.lazy


def _raised(chart: Chart, results: Results) -> dict[int, Raised]:
    found = {index: probed.error for index, probed in chart.probes.items() if probed.error is not None}
    for course in courses(results):
        found |= {index: told for index, told in course.told.items() if isinstance(told, Raised)}
    return {index: error for index, error in found.items() if error.read_only}


def _changed(chart: Chart, results: Results) -> list[Change]:
    """Arrays of the source's own that have other content than before."""
    written = writes(chart.item_code, chart.source)
    orders = drawn_orders(results, written)
    arrays = {write.path for write in written if write.in_array and not write.lazy}
    changes = {change.path: change for course in courses(results) for change in course.whole if change.of_source}
    return [
        change
        for path, change in changes.items()
        if path not in orders and not change.new and (change.in_place or path.partition("[")[0] in arrays)
    ]


def _refused(raised: dict[int, Raised], written: list[Write]) -> tuple[Finding, set[str]]:
    error = next(iter(raised.values()))
    hint = error.read_only.partition(" is read-only")[0]
    here = [write for write in written if write.place.line == error.place.line and write.place.file == error.place.file]
    attributes = {write.path for write in here} or set(hint.split(" or "))
    lines = here or [write for write in written if write.path in attributes]
    function = here[0].reading.name if here else error.place.function
    places = [Place(error.place.file, error.place.line, function, " or ".join(sorted(attributes)))]
    places += [write.place for write in lines if write.place.line != error.place.line]
    evidence = f"{indices(sorted(raised))}: `{error.line}` raises {error}"
    return SHARED.found(evidence, *places, fix=_fix(lines, error.line)), attributes


def _silent(chart: Chart, results: Results, change: Change, lines: list[Write]) -> Finding:
    seen = story(chart, results)
    differing = seen.history or seen.again
    evidence = f"{change}, while {len(chart.sample)} items were made"
    if differing:
        evidence += f"; {seen}: {seen.how}"
    else:
        evidence += "; the items themselves are the same"
    places = [write.place for write in lines] or [Place(attribute=change.path)]
    severity = "error" if differing else "warning"
    return SHARED.found(evidence, *places, fix=_fix(lines, ""), severity=severity)


def _read(lines: list[Write], asked: int) -> Finding:
    array = lines[0].ref.value
    shared = array.nbytes >= OUT_OF_BAND
    happens = "read-only in workers, so that this raises" if shared else "each worker's own, so that only one changes"
    seen = f"none of {asked} items that were made came there" if asked else "no item could be made to see it happen"
    evidence = f"`{lines[0].line}` writes to {_size(array)}, {happens}; {seen}"
    places = [write.place for write in lines]
    return SHARED.found(evidence, *places, fix=_fix(lines, ""), severity="warning")


def _size(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    return f"an array {array.dtype} {array.shape} of {array.nbytes:,} bytes"


def _fix(lines: list[Write], line: str) -> str:
    if not lines:
        return (f"# {line}\n" if line else "") + SHARED.fix
    name = lines[0].ref.text
    fix = SHARED.fix.replace("self.images", name).replace("self.seen", name)
    return f"# line {lines[0].place.line}: {lines[0].line}\n{fix}"


CHECK = Check(
    "shared data",
    "Does `__getitem__` write to arrays that workers share?",
    (SHARED,),
    OBSERVATIONS,
    judge,
)
