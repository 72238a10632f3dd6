"""Judges a run against its targets, and tells of it: a table to read, JSON to keep."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.model import PROCESSION, Figure, Target, Work
from benchmarks.runner import Seen

MOST_TROUBLE = 24  # characters; the JSON has all


@dataclass(frozen=True)
class Line:
    """One contender in one figure."""

    work: str
    figure: str
    contender: str
    unit: str
    median: float | None
    # How many times as good as this contender Procession is.
    ratio: float | None
    target: str
    reached: bool | None
    trouble: str


def ratio(figure: Figure, ours: float | None, theirs: float | None) -> float | None:
    """How many times as good ours is."""
    if not ours or not theirs or min(ours, theirs) <= 0:
        return None
    return ours / theirs if figure.more_is_better else theirs / ours


def target_for(figure: Figure, contender: str) -> Target | None:
    """The target that is judged on this contender's line."""
    key = None if contender == PROCESSION else contender
    return next((target for target in figure.targets if target.against == key), None)


def lines(work: Work, seen: list[Seen]) -> Iterator[Line]:
    """Judge one work."""
    for figure in work.figures:
        medians = {each.contender: each.median(figure.key) for each in seen}
        ours = medians.get(PROCESSION)
        for each in seen:
            median = medians[each.contender]
            times = ratio(figure, ours, median)
            target = target_for(figure, each.contender)
            reached = None
            if target is not None and target.against is None and ours is not None:
                reached = ours * figure.scale <= target.limit
            elif target is not None and times is not None:
                reached = times >= target.limit
            yield Line(
                work.name,
                figure.title,
                each.contender,
                figure.unit,
                None if median is None else median * figure.scale,
                None if each.contender == PROCESSION else times,
                "" if target is None else str(target),
                reached,
                each.trouble,
            )


def number(value: float | None) -> str:
    """Three figures are all that a median of a few rounds is worth."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cells(line: Line) -> tuple[str, ...]:
    """A line of the table, without the figure's name."""
    verdict = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[line.reached]
    trouble = line.trouble if len(line.trouble) <= MOST_TROUBLE else f"{line.trouble[: MOST_TROUBLE - 1]}…"
    value = number(line.median) if line.median is not None else f"[yellow]{trouble}[/]"
    times = f"{number(line.ratio)}x" if line.ratio is not None else ""
    return line.contender, value, times, line.target, verdict


def print_table(console: Console, judged: list[Line]) -> None:
    """Print one table of all figures, with what Procession should reach and whether it did."""
    table = Table(title="Medians; ratio: how many times as good as this contender Procession is")
    for column in ("figure", "contender"):
        table.add_column(column, no_wrap=True)
    for column in ("median", "ratio", "target", "reached"):
        table.add_column(column, justify="right", no_wrap=True)
    before = ""
    for line in judged:
        if line.figure != before:
            table.add_section()
        title = f"{line.figure}\n  [dim]{line.unit}[/]" if line.figure != before else ""
        table.add_row(title, *cells(line))
        before = line.figure
    console.print(table, highlight=False)
    verdicts = [line.reached for line in judged if line.reached is not None]
    console.print(f"{sum(verdicts)} of {len(verdicts)} targets reached.", highlight=False)


def as_json(machine: dict[str, object], quick: bool, judged: list[Line], samples: dict[str, list[Seen]]) -> Any:
    """Everything, every sample of every round included, in seconds and bytes."""
    return {
        "machine": machine,
        "quick": quick,
        "figures": [asdict(line) for line in judged],
        "samples": {work: {each.contender: each.samples for each in seen} for work, seen in samples.items()},
    }
