"""Batches: does each item come, is it the same kind of thing each time, and what does it cost to deliver it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from procession import tree
from procession.doctor.check import Chart, Check, Patient, Results
from procession.doctor.checks import failures, forms
from procession.doctor.code.assigned import last_return
from procession.doctor.findings import Code, Finding
from procession.doctor.runtime import BATCH, DIED, STALLED
from procession.doctor.seen.batch import Form
from procession.engine.collate import whole
from procession.engine.tensors import to_numpy

EXACT = 2**24  # integers up to here are the same in float32
LARGEST = 3e38
MOST_LOOKED_AT = 4  # batches
MOST_VALUES = 1 << 22  # of an array


class Wide(NamedTuple):
    """A leaf of float64."""

    path: str
    nbytes: int
    fits: bool  # in float32, but for rounding


class Parcelled(NamedTuple):
    """How an item is delivered."""

    number: int  # source[number]
    error: str  # why it cannot be; ""
    pickled: tuple[tuple[str, str], ...]  # (path, why) of the leaves that are pickled
    pickled_bytes: int
    nbytes: int
    wide: tuple[Wide, ...]


def delivery(patient: Patient) -> list[Parcelled]:
    """Some items, made ready to be written as for training."""
    return [_parcelled(index, patient.item(index)) for index in patient.sample[:MOST_LOOKED_AT]]


def _parcelled(index: int, item: Any) -> Parcelled:
    if item is None:
        return Parcelled(index, "", (), 0, 0, ())
    leaves, paths = tree.leaves(item), tree.paths(item)
    pickled = tuple((path, _kind(leaf)) for path, leaf in zip(paths, leaves, strict=True) if not _is_plain(leaf))
    wide = tuple(each for each in map(_wide, paths, leaves) if each is not None)
    try:
        parcel = whole(item, "source[{}]".format, index)
    except Exception as error:  # what pickle raised
        return Parcelled(index, f"{type(error).__name__}: {error}", pickled, 0, 0, wide)
    return Parcelled(index, "", pickled, sum(part.nbytes for part in parcel.rest), parcel.nbytes, wide)


def _is_plain(leaf: Any) -> bool:
    value = to_numpy(leaf)
    return isinstance(value, np.ndarray) and not value.dtype.hasobject


def _kind(leaf: Any) -> str:
    kind = type(leaf)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"an array of dtype {leaf.dtype}" if isinstance(leaf, np.ndarray) else name


def _wide(path: str, leaf: Any) -> Wide | None:
    value = to_numpy(leaf)
    if not isinstance(value, np.ndarray) or value.dtype != np.float64 or not value.size:
        return None
    part = value.ravel()[:MOST_VALUES]
    part = np.abs(part[np.isfinite(part)])
    whole_numbers = bool(part.size) and bool((part == np.floor(part)).all())
    largest = float(part.max()) if part.size else 0.0
    return Wide(path, value.nbytes, largest < (EXACT if whole_numbers else LARGEST))


ROWS = Code(
    "PRC309",
    "The parts of a batch have different numbers of rows",
    "warning",
    why="`fit` pairs row with row: inputs and targets of different length end it with an error of some layer or loss "
    "that names neither.",
    fix="""\
rows = slice(i * self.batch_size, (i + 1) * self.batch_size)     # one slice for all parts
return self.x[rows], self.y[rows]""",
    how="The first axes of the arrays of some items are compared.",
)
SAMPLES = Code(
    "PRC308",
    "Items look like samples, and are read as batches",
    "warning",
    why="Without `batch_size` an item is a batch, whose arrays have a row for each sample. A label that is one number "
    "has no rows: `fit` fails, or takes the first axis of one picture for the samples.",
    fix="""\
loader = procession.Loader(source, batch_size=32)       # the workers stack samples
# and for the doctor: procession doctor train.py:source --batch-size 32""",
    how="The shapes of some items are looked at: arrays beside single numbers.",
)


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """What is wrong with the items that were asked for."""
    yield from failures.judge(chart)
    yield from _none(chart)
    parcels: list[Parcelled] = results.of(delivery) or []
    yield from _undeliverable(chart, parcels)
    made = {
        i: probed.form for i, probed in chart.probes.items() if probed.form is not None and not _is_none(probed.form)
    }
    if chart.batch_size is None and made and all(map(_is_sample, made.values())):
        first = next(iter(made.values())).leaves
        shapes = ", ".join(str(leaf.shape) if leaf.shape else "one number" for leaf in first[:4])
        yield SAMPLES.found(f"the parts of an item are: {shapes}", *filter(None, [last_return(chart)]))
        return
    yield from _rows_differ(chart, made)
    yield from forms.judge(chart, made)
    yield from forms.wide(chart, made, [each for parcel in parcels for each in parcel.wide if each.fits])
    yield from _pickled_parts(chart, parcels)


def _rows_differ(chart: Chart, made: dict[int, Form]) -> Iterator[Finding]:
    """Batches whose arrays have different numbers of rows; a scalar, or a row for the whole batch, has none."""
    rows = {
        i: {leaf.path: leaf.shape[0] for leaf in form.leaves if leaf.dtype and leaf.shape} for i, form in made.items()
    }
    uneven = [i for i, counts in rows.items() if len({count for count in counts.values() if count > 1}) > 1]
    if chart.batch_size is None and uneven:
        told = ", ".join(f"{path} has {count}" for path, count in list(rows[uneven[0]].items())[:4])
        where = filter(None, [last_return(chart)])
        yield ROWS.found(f"in {failures.named(uneven)}, {len(uneven)} of {len(made)}: rows: {told}", *where)


def _is_sample(form: Form) -> bool:
    numbers = [leaf for leaf in form.leaves if leaf.dtype]
    return any(leaf.shape for leaf in numbers) and any(not leaf.shape for leaf in numbers)


def _is_none(form: Form) -> bool:
    return form.structure.startswith("None") and not form.leaves


def _none(chart: Chart) -> Iterator[Finding]:
    indices = [
        index for index, probed in sorted(chart.probes.items()) if probed.form is not None and _is_none(probed.form)
    ]
    if indices:
        asked = len(chart.probes)
        yield BATCH.found(
            f"{failures.named(indices)} returned None, {len(indices)} of {asked} items that were asked for",
            *filter(None, [forms.none_returned(chart)]),
        )


def _undeliverable(chart: Chart, parcels: list[Parcelled]) -> Iterator[Finding]:
    failed = [each for each in parcels if each.error]
    if failed:
        parts = sorted({f"{path} ({kind})" for each in failed for path, kind in each.pickled})
        yield BATCH.found(
            f"{failures.named([each.number for each in failed])} cannot be sent from a worker: {failed[0].error}; of "
            f"the batch, {', '.join(parts[:4])} would have to be pickled",
            *filter(None, [last_return(chart)]),
            title="A batch holds something that cannot be sent",
            fix="return np.asarray(image), np.asarray(label)   # arrays, numbers and texts: no open files, "
            "generators or functions",
        )


def _pickled_parts(chart: Chart, parcels: list[Parcelled]) -> Iterator[Finding]:
    """Leaves that are no arrays: numbers among samples stack, and texts are small unless there are many."""
    numbers = {"bool", "int", "float", "complex"} if chart.batch_size is not None else set()
    several = [each for each in parcels if not each.error and [kind for _, kind in each.pickled if kind not in numbers]]
    size = max((each.pickled_bytes for each in several), default=0)
    if size < forms.LITTLE:
        return
    worst = max(several, key=lambda each: each.pickled_bytes)
    count = chart.batch_size or 1
    whole_item = "a sample" if count > 1 else "the batch"
    share = worst.pickled_bytes / max(worst.nbytes, 1)
    grave = size * count > forms.MUCH or (share > 0.5 and size * count > forms.SOME)
    parts = ", ".join(f"{forms.of(path)} is {kind}" for path, kind in worst.pickled[:4])
    more = f" and {len(worst.pickled) - 4:,} more" if len(worst.pickled) > 4 else ""
    yield forms.PICKLED.found(
        f"in source[{worst.number}], {parts}{more}: {size:,} bytes, {share:.0%} of {whole_item}",
        *filter(None, [last_return(chart)]),
        severity="warning" if grave else "note",
    )


CHECK = Check(
    "batches",
    "Does each item come, in the same form, and what does it cost to deliver it?",
    (
        failures.RAISED,
        BATCH,
        SAMPLES,
        ROWS,
        forms.DIFFERS,
        forms.WIDE,
        forms.LAST,
        forms.PICKLED,
        forms.TENSORS,
        DIED,
        STALLED,
    ),
    (delivery,),
    judge,
)
