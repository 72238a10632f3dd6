"""Descriptors: does each item leave something open?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from procession.doctor.check import Chart, Check, Patient, Results
from procession.doctor.findings import Code, Finding

LEFT = Code(
    "PRC504",
    "Items leave files or sockets open",
    "error",
    why="A process may have some thousand descriptors open, often 1,024. A worker that gains one with each item fails "
    "after so many items: in the middle of an epoch, with `Too many open files`.",
    fix="""\
with open(self.paths[i], "rb") as file:         # closed when the item is made
    data = file.read()""",
    how="The descriptors of a process are counted after each item has been made once, and after each once more.",
)


class Open(NamedTuple):
    """How many descriptors a process has."""

    once: int  # after each item has been made
    twice: int  # and after each again
    items: int


def descriptors(patient: Patient) -> Open:
    """Count them."""
    for index in patient.sample:
        patient.item(index)
    once = _count()
    for index in patient.sample:
        patient.item(index)
    return Open(once, _count(), len(patient.sample))


def _count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """Whether there are more with each item."""
    seen: Open | None = results.of(descriptors)
    if seen is not None and seen.twice - seen.once >= seen.items:
        evidence = f"{seen.once} descriptors are open after {seen.items} items, {seen.twice} after the same again"
        yield LEFT.found(evidence, *(reading.place() for reading in chart.item_code[:1]))


CHECK = Check("descriptors", "Does each item leave something open?", (LEFT,), (descriptors,), judge)
