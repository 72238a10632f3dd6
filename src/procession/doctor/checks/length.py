"""Length: are there as many items as `len()` says?"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from procession import sources, tree
from procession.doctor.check import Chart, Check, Patient, Results
from procession.doctor.checks.blame import behind_the_end
from procession.doctor.code.assigned import last_return
from procession.doctor.code.fits import files_of, fits
from procession.doctor.findings import Code, Finding, Place
from procession.doctor.runtime import LENGTH
from procession.sources import Arrays

TOO_LONG = Code(
    "PRC311",
    "The length is larger than what can be indexed",
    "error",
    why="An epoch is `len(source)` items: the last ones raise, and end each epoch, if the first is not ended by them.",
    fix="""\
def __len__(self):
    return len(self.files) // self.batch_size               # or math.ceil(...), and a last batch that is smaller
    # and from the list that __getitem__ indexes, not from another one that is longer""",
    how="The last items by `len()` are made; the first that raises IndexError is found by halving.",
)
TOO_SHORT = Code(
    "PRC312",
    "There are more items than the length says",
    "warning",
    why="What is behind `len(source)` is never asked for: training sees less data than there is.",
    fix="""\
def __len__(self):
    return math.ceil(len(self.files) / self.batch_size)     # not `- 1`, and not `//` where the last batch counts""",
    how="Items behind `len()` are asked for. Those that come empty, and sources that have no end, are left alone.",
)
STEPS = Code(
    "PRC314",
    "steps_per_epoch and the length do not agree",
    "warning",
    why="A source with a length is read once in an epoch of its own, whatever `steps_per_epoch` says: fewer steps, and "
    "what is left makes a short epoch of the next; more, and the epoch ends early, with the warning that the input "
    "ran out of data.",
    fix="""\
model.fit(loader, epochs=10)            # without steps_per_epoch: all of it, each epoch

class Endless(Photos):                  # or, for epochs of any length, a source without an end
    num_batches = None

    def __getitem__(self, i):
        return super().__getitem__(i % super().__len__())""",
    how="The user's files are read for calls of `fit` whose `steps_per_epoch` is written there.",
)
FAR = 1_000_003  # behind any end: what answers there wraps around, or makes its items from the index
MOST_BEHIND = 64
SECONDS = 1.0  # for asking


class Ends(NamedTuple):
    """What is at both sides of the end."""

    lengths: tuple[int | None, ...]  # asked several times, the last time after items
    readable: int | None  # items before the first that raises IndexError; None: all, or not known
    behind: int  # items that are there behind the end, as far as was looked
    rows: tuple[int, int]  # of an item, and of the first behind the end


def end_of_source(patient: Patient) -> Ends | None:
    """Ask for what is near the end; None for what has none."""
    source = patient.source
    if isinstance(source, Arrays) or type(source).__module__.startswith("procession."):
        return None
    lengths = [sources.length(source), sources.length(source)]
    rows = _rows(_asked(patient, patient.sample[0]))
    lengths.append(sources.length(source))
    length = lengths[0]
    if length is None or rows is None:
        return Ends(tuple(lengths), None, 0, (0, 0))
    until = time.monotonic() + SECONDS
    if length - 1 not in patient.sample:  # which has raised, or worse: it is not asked again
        return Ends(tuple(lengths), _halved(patient, length - 1, until), 0, (rows, 0))
    with warnings.catch_warnings(action="ignore"):  # as of means over nothing
        behind, first = _behind(patient, length, until)
    return Ends(tuple(lengths), None, behind, (rows, first))


class _Missing:
    pass


_MISSING = _Missing()


def _asked(patient: Patient, index: int) -> Any:
    try:
        return patient.item(index)
    except IndexError:
        return _MISSING


def _halved(patient: Patient, missing: int, until: float) -> int | None:
    """How many items there are, if `missing` is not; None: time is up, or something else is wrong with one."""
    low, high = max(patient.sample) + 1, missing
    while low < high and time.monotonic() < until:
        middle = (low + high) // 2
        try:
            there = _asked(patient, middle) is not _MISSING
        except Exception:
            return None
        low, high = (middle + 1, high) if there else (low, middle)
    return low if low >= high else None


def _behind(patient: Patient, length: int, until: float) -> tuple[int, int]:
    """How many items there are from `length` on, and the rows of the first."""
    if _rows_or_none(patient, length + FAR):
        return 0, 0
    found, first = 0, 0
    while found < MOST_BEHIND and time.monotonic() < until:
        rows = _rows_or_none(patient, length + found)
        if not rows:
            break
        first = first or rows
        found += 1
    return found, first


def _rows_or_none(patient: Patient, index: int) -> int | None:
    try:
        return _rows(_asked(patient, index))
    except Exception:  # as is right behind the end
        return None


def _rows(item: Any) -> int | None:
    """Of its first array: 0 for an empty slice, 1 for what has no rows; None for what is no item."""
    if item is _MISSING or item is None:
        return None
    leaves = tree.leaves(item)
    if not leaves:
        return None
    shapes = [np.shape(leaf) for leaf in leaves if hasattr(leaf, "shape")]
    return min((shape[0] for shape in shapes if shape), default=1)


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """Whether the length is that of what is there."""
    seen: Ends | None = results.of(end_of_source)
    if seen is not None:
        yield from _changes(chart, seen)
    ends, empty = behind_the_end(chart), _empty_ends(chart)
    if ends:
        yield _too_long(chart, seen, ends)
    elif empty:
        yield TOO_LONG.found(
            f"len() is {chart.length:,}; source[{empty[0]}] and what comes behind it has no rows: "
            f"{len(empty)} of {len(chart.probes)} items that were asked for",
            *_length_places(chart),
            title="The last items are empty",
            why="A slice behind the end is empty, and raises nothing: `fit` gets batches of no rows, with which layers "
            "and losses fail in odd ways.",
        )
    elif seen is not None and seen.behind:
        yield from _too_short(chart, seen)
    yield from _steps(chart)


def _empty_ends(chart: Chart) -> list[int]:
    """The last of the items that were asked for, if they alone have no rows."""
    found: list[int] = []
    for index in sorted(chart.probes, reverse=True):
        form = chart.probes[index].form
        rows = [leaf.shape[0] for leaf in form.leaves if leaf.shape] if form is not None else []
        if not rows or max(rows):
            break
        found.insert(0, index)
    return found if len(found) < len(chart.probes) and chart.length is not None else []


def _too_long(chart: Chart, seen: Ends | None, ends: tuple[int, ...]) -> Finding:
    error = chart.probes[ends[0]].error
    assert error is not None
    known = seen.readable if seen is not None and seen.readable is not None else None
    first = ends[0] if known is None else known
    last = f" to source[{(chart.length or 0) - 1}]" if chart.length and first < chart.length - 1 else ""
    there = "" if known is None else f"; {known:,} items can be read"
    return TOO_LONG.found(
        f"len() is {chart.length:,}; source[{first}]{last} raised {error}{there}", *_length_places(chart), error.place
    )


def _too_short(chart: Chart, seen: Ends) -> Iterator[Finding]:
    rows, first = seen.rows
    count = f"at least {seen.behind}" if seen.behind == MOST_BEHIND else str(seen.behind)
    said = f"len() is {chart.length:,}, and source[{chart.length}] is there too: {count} more"
    if seen.behind == 1 and first < rows:
        yield TOO_SHORT.found(
            f"{said}, of {first} rows where others have {rows}: the last ones are left out of each epoch",
            *_length_places(chart),
            severity="note",
            title="The last batch, which is smaller, is left out",
        )
    else:
        yield TOO_SHORT.found(said, *_length_places(chart))


def _steps(chart: Chart) -> Iterator[Finding]:
    """Calls of `fit` that may be given this source."""
    batches = chart.length and -(-chart.length // (chart.batch_size or 1))
    asked = [fit for file in files_of(chart.source, chart.files) for fit in fits(file)] if batches else []
    if asked and all(fit.steps != batches for fit in asked):
        told = " and ".join(str(fit.steps) for fit in asked[:3])
        yield STEPS.found(
            f"fit is called with steps_per_epoch={told}, and this source has {batches:,} batches; if it is the one",
            *(fit.place for fit in asked[:3]),
        )


def _changes(chart: Chart, seen: Ends) -> Iterator[Finding]:
    if len(set(seen.lengths)) > 1:
        first, second, after = seen.lengths
        said = f"asked twice it is {first} and {second}, and {after} after an item"
        yield LENGTH.found(
            f"len() changes: {said}",
            *_length_places(chart),
            severity="warning",
            title="The length changes from call to call",
            why="An epoch has as many items as `len()` says in the training process when it begins, where no item is "
            "made; what it becomes in workers is not seen.",
            fix="def __len__(self):\n    return len(self.files)      # from what does not change while items are made",
        )


def _length_places(chart: Chart) -> list[Place]:
    place = last_return(chart, "__len__")
    return [place] if place is not None else []


CHECK = Check(
    "length", "Are there as many items as len() says?", (TOO_LONG, TOO_SHORT, LENGTH, STEPS), (end_of_source,), judge
)
