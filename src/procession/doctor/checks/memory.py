"""Memory: what a worker has of its own, whether that grows with each item, and what reading copies."""

from __future__ import annotations

import ast
import gc
import math
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

from procession.doctor.check import Chart, Check, Patient, Results
from procession.doctor.code.assigned import attributes, where
from procession.doctor.code.reading import is_users_file
from procession.doctor.findings import Code, Finding, Place
from procession.doctor.seen.weigh import Weight, in_fork, weight
from procession.engine.limits import megabytes

SECONDS = 2.0  # for watching it grow
ENOUGH_SECONDS = 0.5  # where it does not
LEAST_GROWN = 4 << 20  # bytes in all
LEAST_AN_ITEM = 1 << 10
SURE = 4.0  # standard errors above nothing
MANY = 50_000  # objects in a list whose counts are written when it is read
MOST_COPIED = 16 << 20
MOST_OWN = 500_000_000
EXPLAINED = 0.1  # of the growth, by what Python has allocated at one line

GROWS = Code(
    "PRC501",
    "The memory of a worker grows with each item",
    "warning",
    why="What an item leaves behind is left in each worker, until the machine has no memory and the kernel kills one.",
    fix="""\
# Keep nothing of an item: lists that are appended to, caches without a bound, figures and files that are not closed.
@functools.lru_cache(maxsize=1000)          # a cache with a bound
def load(path): ...

# A library that leaks: fresh workers, now and then
loader = procession.Loader(source, faults=procession.Faults(recycle_after=1000))""",
    how="The same items are made again and again for up to 2 s; the first third is left out, and a line is laid "
    "through the memory that is the process's own.",
)
COPIED = Code(
    "PRC502",
    "Reading Python objects copies their memory into each worker",
    "warning",
    why="Workers begin with the source's memory in common. Python counts references in the objects themselves, so that "
    "reading a list of many strings writes to all of their pages, and each worker gets a copy: it looks like a leak "
    "over the first epoch.",
    fix="self.paths = procession.share(self.paths)     # in shared memory: reading writes nothing",
    how="Large lists and dicts of the source are read once in a worker, and the memory of its own measured.",
)
LARGE = Code(
    "PRC503",
    "Each worker needs much memory of its own",
    "warning",
    why="It is needed as many times as there are workers.",
    fix="""\
self.table = procession.share(table)         # in __init__: one copy for all, read-only
self.table = np.load(path, mmap_mode="r")    # or on disk: the kernel keeps one copy of what is read
loader = procession.Loader(source, workers=2)""",
    how="What the process shares with no other (smaps_rollup), after some items.",
)


class Growth(NamedTuple):
    """What was seen over many items."""

    before: Weight
    after: Weight
    items: int
    slope: float  # bytes an item
    error: float  # its standard error
    grown: int  # bytes over what was looked at
    file: str  # the line that has allocated most of it, if Python has
    line: int
    traced: int  # bytes of it
    large: tuple[tuple[str, int], ...]  # attributes that are arrays of this process's own


class Copy(NamedTuple):
    """What reading an attribute has copied."""

    name: str
    kind: str
    nbytes: int


def memory_growth(patient: Patient) -> Growth:
    """Make the same items again and again."""
    before = weight()
    points = _watched(patient)
    after = weight()
    slope, error, grown = _line(points, skip=2 * len(patient.sample))
    file, line, traced = "", 0, 0
    if _is_sure(slope, error, grown):
        file, line, traced = _allocating(patient, slope)
    arrays = ((name, value) for name, value in attributes(patient.source).items() if isinstance(value, np.ndarray))
    large = tuple(
        (name, array.nbytes) for name, array in arrays if array.flags.owndata and array.nbytes > MOST_OWN // 5
    )
    return Growth(before, after, points[-1][0], slope, error, grown, file, line, traced, large)


def _watched(patient: Patient) -> list[tuple[int, int]]:
    """(items made, bytes written) from time to time."""
    start = time.monotonic()
    points, looked = [(0, weight().written)], start
    for made, index in enumerate(cycle(patient.sample), start=1):
        patient.item(index)
        now = time.monotonic()
        if now - looked > 0.02 or now - start > SECONDS:
            gc.collect()
            points.append((made, weight().written))
            looked = time.monotonic()
            flat = points[-1][1] - points[len(points) // 3][1] < LEAST_GROWN * ENOUGH_SECONDS / SECONDS / 2
            if now - start > (ENOUGH_SECONDS if flat and made > 30 else SECONDS):
                break
    return points


def _line(points: list[tuple[int, int]], skip: int) -> tuple[float, float, int]:
    """Slope by least squares, its standard error, and the growth; without the first third, and the first items."""
    used = [point for k, point in enumerate(points) if k >= len(points) / 3 and point[0] >= skip]
    if len(used) < 6:
        return 0.0, math.inf, 0
    x, y = np.array(used, float).T
    dx = x - x.mean()
    slope = float((dx * y).sum() / (dx**2).sum())
    rest = y - y.mean() - slope * dx
    error = math.sqrt(float((rest**2).sum()) / (len(x) - 2) / float((dx**2).sum()))
    return slope, error, int(y[-1] - y[0])


def _is_sure(slope: float, error: float, grown: int) -> bool:
    return grown > LEAST_GROWN and slope > LEAST_AN_ITEM and slope > SURE * error


def _allocating(patient: Patient, slope: float) -> tuple[str, int, int]:
    """The line of the user's by which most of the growth was allocated, and how much; "" if Python knows of none."""
    tracemalloc.start(12)
    try:
        for index in patient.sample:
            patient.item(index)
        gc.collect()
        first, until, made = tracemalloc.take_snapshot(), time.monotonic() + 0.5, 0
        while time.monotonic() < until:
            for index in patient.sample:
                patient.item(index)
            made += len(patient.sample)
        gc.collect()
        changes = tracemalloc.take_snapshot().compare_to(first, "traceback")
    finally:
        tracemalloc.stop()
    sums: dict[tuple[str, int], int] = {}
    for change in changes:
        frames = reversed(list(change.traceback))  # the most recent first
        own = next(((f.filename, f.lineno) for f in frames if is_users_file(f.filename, patient.source)), None)
        if own is not None:
            sums[own] = sums.get(own, 0) + change.size_diff
    largest = max(sums, key=lambda place: sums[place], default=None)
    known = largest is not None and sums[largest] > EXPLAINED * slope * made
    return (*largest, sums[largest]) if largest is not None and known else ("", 0, 0)


def memory_read(patient: Patient) -> list[Copy]:
    """Read the large containers of the source in a fork of this process, and measure what that copies."""
    held = {name: value for name, value in attributes(patient.source).items() if _is_large(value)}
    if not held:
        return []
    copied = in_fork(lambda: {name: _copied_by_reading(value) for name, value in held.items()})
    return [Copy(name, _outline(held[name]), size) for name, size in copied.items()]


def _is_large(value: Any) -> bool:
    return _objects(value) is not None and len(value) > MANY


def _copied_by_reading(value: Any) -> int:
    before = weight().written
    for each in _objects(value) or ():
        if type(each) in (list, tuple):
            for _ in each:
                pass
    return weight().written - before


def _outline(value: Any) -> str:
    first = next(iter(_objects(value) or ()))
    return f"{type(value).__name__} of {len(value):,} {type(first).__name__}"


def _objects(value: Any) -> Iterable[Any] | None:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, np.ndarray):
        return value.flat if value.dtype == object else None
    return value if isinstance(value, (list, tuple, set, frozenset)) else None


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """What a worker needs, and what it will need."""
    seen: Growth | None = results.of(memory_growth)
    if seen is not None:
        own = _own(chart, seen)
        sure = _is_sure(seen.slope, seen.error, seen.grown)
        chart.figures["memory of a worker's own bytes"] = own
        chart.figures["growth per item bytes"] = seen.slope if sure else 0.0
        if sure:
            yield _grows(seen)
        elif own > MOST_OWN:
            yield _large(chart, seen, own)
    copies: list[Copy] = results.of(memory_read) or []
    large = [each for each in copies if each.nbytes > MOST_COPIED and _is_read(chart, each.name)]
    if large:
        yield _copied(chart, large)


def _grows(seen: Growth) -> Finding:
    an_item, sure = seen.slope / 1e3, seen.error / 1e3
    said = f"{an_item:,.1f} ± {sure:,.1f} kB an item, {megabytes(seen.grown)} within {seen.items:,} items"
    if not seen.file:
        return GROWS.found(f"{said}; what Python knows to be allocated does not explain it: a library keeps it")
    return GROWS.found(f"{said}; most of it is allocated at this line", Place(seen.file, seen.line))


def _own(chart: Chart, seen: Growth) -> int:
    """What a worker has beyond the source as it was sent: that is shared, unless each worker rebuilds it for itself."""
    alone = chart.figures.get("rebuilt by each worker", False)
    return seen.after.own if alone else max(0, seen.after.own - seen.before.own)


def _large(chart: Chart, seen: Growth, own: int) -> Finding:
    named = "".join(f"; source.{name} is an array of {megabytes(size)}" for name, size in seen.large)
    begin = f", {megabytes(seen.before.own)} of it before the first item" if own == seen.after.own else ""
    places = [where(chart, f"source.{name}") for name, _ in seen.large]
    fix = LARGE.fix.replace("self.table", f"self.{seen.large[0][0]}") if seen.large else LARGE.fix
    return LARGE.found(
        f"a worker has {megabytes(own)} of its own after {seen.items} items{begin}{named}", *places, fix=fix
    )


def _is_read(chart: Chart, name: str) -> bool:
    """Whether the items read an attribute, as far as their code can be read."""
    names = [
        each.attr for reading in chart.item_code for each in ast.walk(reading.node) if isinstance(each, ast.Attribute)
    ]
    return not chart.item_code or name in names


def _copied(chart: Chart, large: list[Copy]) -> Finding:
    shown = "; ".join(f"source.{each.name} ({each.kind}): {megabytes(each.nbytes)}" for each in large)
    texts = [each for each in large if each.kind.startswith("list") and each.kind.endswith(" str")]
    fix = (
        f"self.{texts[0].name} = procession.share(self.{texts[0].name})     # strings in shared memory"
        if texts
        else (f"self.{large[0].name} = procession.share(np.asarray(...))     # an array; texts: procession.share(list)")
    )
    return COPIED.found(
        f"each worker that reads all of it copies: {shown}",
        *[where(chart, f"source.{each.name}") for each in large],
        fix=fix,
    )


CHECK = Check(
    "memory",
    "How much memory does a worker need, and does that grow?",
    (GROWS, COPIED, LARGE),
    (),
    judge,
    alone=(memory_growth, memory_read),
)
