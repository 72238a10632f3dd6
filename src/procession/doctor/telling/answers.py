"""What is known about a text: the codes that it quotes, and the cases of the catalogue that it looks like."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from procession.doctor.catalogue.case import Case
from procession.doctor.codes import CODES
from procession.doctor.explain import explain
from procession.doctor.findings import Code
from procession.doctor.telling.text import code as written


class Known(NamedTuple):
    """Something that is known about a text."""

    what: Code | Case
    sure: bool = True  # else it is only similar


def answers(text: str, *, most: int | None = 3) -> list[Known]:
    """Return what is known about a text, the best first: its codes, then at most so many cases."""
    quoted = [Known(CODES[number]) for number in dict.fromkeys(re.findall(r"PRC\d{3}", text)) if number in CODES]
    cases = [Known(match.case, match.sure) for match in explain(text)]
    return [*quoted, *(cases if most is None else cases[:most])]


def as_json(found: list[Known]) -> str:
    """The same as JSON."""
    return json.dumps([{**asdict(each.what), "sure": each.sure} for each in found], indent=2)


def show(found: list[Known], console: Console) -> None:
    """Print it."""
    if not found:
        console.print(
            "Nothing that is known looks like this. Paste more of it (the last lines, the first warning); or have the "
            "source itself looked at: procession doctor train.py:name"
        )
    if found and not found[0].sure:
        console.print("Nothing that is known says just this. It may be one of these:\n")
    for each in (known.what for known in found):
        head, rows = _code(each) if isinstance(each, Code) else _case(each)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in rows:
            if value:
                grid.add_row(name, Text(value))
        grid.add_row("write", written(each.fix))
        console.print(head)
        console.print(Padding(grid, (0, 0, 1, 4)))


def _code(code: Code) -> tuple[Text, list[tuple[str, str]]]:
    rows = [("why", code.why), ("found", code.how)]
    return Text.assemble((f"{code.number} ", "bold red"), (code.title, "bold")), rows


def _case(case: Case) -> tuple[Text, list[tuple[str, str]]]:
    rows = [
        ("seen", case.symptom),
        ("cause", case.cause),
        ("here", f"{' and '.join(case.answers)}: {case.here}"),
        ("codes", ", ".join(case.codes)),
        ("threads", ", ".join(case.sources)),
    ]
    return Text.assemble((f"{case.number} ", "bold red"), (case.name, "bold")), rows
