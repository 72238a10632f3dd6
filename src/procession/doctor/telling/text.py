"""A diagnosis in a terminal, and as plain text."""

from __future__ import annotations

import io
import linecache
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from procession.doctor.findings import SEVERITIES, Diagnosis, Finding, Place, Severity
from procession.doctor.telling.figures import label, told

MARKS: dict[Severity, tuple[str, str]] = {
    "error": ("✗", "bold red"),
    "warning": ("!", "bold yellow"),
    "note": ("·", "bold cyan"),
}
WIDTH = 120  # where there is no terminal
# Of what is measured, what is shown without --verbose.
MOST_WANTED = (
    "item seconds",
    "slowest item seconds",
    "alone items per second",
    "threads items per second",
    "workers items per second",
    "shared arrays bytes",
    "pickled objects bytes",
    "memory of a worker's own bytes",
)


def show(diagnosis: Diagnosis, console: Console, *, verbose: bool = False) -> None:
    """Print a diagnosis; notes in full only if `verbose`."""
    console.print(Text(diagnosis.target, "bold"), Text(_verdict(diagnosis)), "")
    for finding in diagnosis.findings:
        brief = finding.severity == "note" and not verbose
        console.print(_brief(finding) if brief else _whole(finding))
    if diagnosis.profile or diagnosis.figures:
        console.print(Rule("measured", align="left", style="dim"))
        console.print(_figures(diagnosis, verbose=verbose))
    for reason, names in _undone(diagnosis).items():
        console.print(Text(f"not looked at: {', '.join(names)}: {reason}", "yellow"))
    console.print(Text(_how(diagnosis), "dim"))


def as_text(diagnosis: Diagnosis, *, verbose: bool = False) -> str:
    """A diagnosis as plain text."""
    return plain(lambda console: show(diagnosis, console, verbose=verbose))


def tell(print_to: Callable[[Console], None]) -> None:
    """Print on a terminal as wide as it is; elsewhere as plain text, wide enough for the code to be copied whole."""
    if sys.stdout.isatty():
        print_to(Console())
    else:
        sys.stdout.write(plain(print_to) + "\n")
        sys.stdout.flush()


def plain(print_to: Callable[[Console], None]) -> str:
    """What is printed, as text without colours, and without the spaces that fill up lines."""
    out = io.StringIO()
    print_to(Console(file=out, width=WIDTH, color_system=None, legacy_windows=False))
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def counts(diagnosis: Diagnosis) -> str:
    """`1 error, 2 warnings`."""
    numbers = ((len(diagnosis.of(severity)), severity) for severity in SEVERITIES)
    return ", ".join(f"{number} {name}{'s' if number > 1 else ''}" for number, name in numbers if number)


def place_and_line(place: Place) -> tuple[str, str]:
    """Where something is, as short as it can be said from here, and what stands there."""
    shown = str(place).replace(place.file, _short(place.file), 1) if place.file else str(place)
    return shown, linecache.getline(place.file, place.line).strip() if place.line else ""


def first_place(finding: Finding) -> str:
    """The title, and where it is."""
    where = f": {place_and_line(finding.where[0])[0]}" if finding.where else ""
    return f"{finding.title}{where}"


def _short(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file.replace(f"{Path.home()}/", "~/", 1) if len(file) > 60 else file


def _verdict(diagnosis: Diagnosis) -> str:
    found = counts(diagnosis)
    asked, items = diagnosis.figures.get("items asked for"), diagnosis.figures.get("items")
    seen = f" in the {asked} items asked for{'' if items is None else f' of {items:,}'}" if asked else ""
    well = f"Nothing wrong was seen{seen}: it can run in parallel as it is."
    if any(check.outcome != "done" for check in diagnosis.checks):
        well = "Nothing was found, but not all could be looked at: see below."
    return f"{found}." if diagnosis.worst in ("error", "warning") else f"{found}. {well}".lstrip(". ")


def _undone(diagnosis: Diagnosis) -> dict[str, list[str]]:
    """Why checks were not made, or only in part, and which."""
    found: dict[str, list[str]] = {}
    for check in diagnosis.checks:
        if check.outcome != "done":
            found.setdefault(check.reason.partition("\n")[0], []).append(check.name)
    return found


def _how(diagnosis: Diagnosis) -> str:
    done = sum(check.outcome == "done" for check in diagnosis.checks)
    more = "   procession explain CODE tells more of one" if diagnosis.findings else ""
    asked, length = diagnosis.figures.get("items asked for"), diagnosis.figures.get("items")
    seen = f", on {asked} of {length:,} items" if asked and length else f", on {asked} items" if asked else ""
    parts = diagnosis.figures.get("partitions")
    seen += f" of the first of {parts} partitions" if parts else ""
    return f"{done} of {len(diagnosis.checks)} checks in {diagnosis.seconds:.1f} s{seen}{more}"


def _head(finding: Finding) -> Text:
    mark, style = MARKS[finding.severity]
    return Text.assemble((f"{mark} {finding.code} ", style), (finding.title, "bold"))


def _brief(finding: Finding) -> RenderableType:
    return Padding(Group(_head(finding), Padding(Text(finding.evidence), (0, 0, 0, 4))), (0, 0, 1, 0))


def _whole(finding: Finding) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for place in finding.where:
        shown, line = place_and_line(place)
        grid.add_row("where", Text(shown, "cyan"))
        if line:
            grid.add_row("", Text(f"    {line}"))
    grid.add_row("seen", Text(finding.evidence))
    grid.add_row("why", Text(finding.why))
    grid.add_row("write", "")
    parts = (_head(finding), Padding(grid, (0, 0, 0, 4)), Padding(code(finding.fix), (0, 0, 0, 8)))
    return Padding(Group(*parts), (0, 0, 1, 0))


def code(text: str) -> RenderableType:
    """Python or shell, as it can be copied, whatever the width of the terminal."""
    return _Code(textwrap.dedent(text).rstrip())


class _Code:
    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        text = fitted(self._text, options.max_width)
        yield Syntax(text, "python", theme="ansi_dark", background_color="default", word_wrap=True)


def fitted(text: str, width: int) -> str:
    """Code, in which a comment that makes a line too long stands above it, and a long one takes several lines."""
    return "\n".join(part for line in text.splitlines() for part in _fitted(line, width))


def _fitted(line: str, width: int) -> list[str]:
    parts = re.fullmatch(r"(\s*)(.*?)\s*(?<!\S)(# .*)", line)
    if len(line) <= width or parts is None:
        return [line]
    indent, statement, comment = parts.groups()
    wrapped = textwrap.wrap(comment, max(20, width - len(indent)), subsequent_indent="# ")
    return [indent + each for each in [*wrapped, *filter(None, [statement])]]


def _figures(diagnosis: Diagnosis, *, verbose: bool) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for name, value in diagnosis.figures.items():
        if not verbose and name not in MOST_WANTED:
            continue
        grid.add_row(label(name), told(name, value))
    parts: list[RenderableType] = [grid]
    if diagnosis.profile:
        lines = [
            Text.assemble(f"{share:4.0%}  ", (_short(place), "cyan"), f"  {line}", no_wrap=True, overflow="ellipsis")
            for place, line, share in diagnosis.profile
        ]
        parts += [Text("where the time of an item goes", "dim"), *lines]
    return Padding(Group(*parts), (0, 0, 1, 0))
