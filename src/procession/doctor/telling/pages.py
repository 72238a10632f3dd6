"""`docs/errors.md` and `docs/errors/PRCnnn.md`, made from the catalogue and the codes: nothing is written twice.

python -m procession.doctor.telling.pages docs
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from procession.doctor.catalogue import CASES
from procession.doctor.catalogue.case import Case
from procession.doctor.codes import CODES
from procession.doctor.findings import Code

STARS = ("", "★", "★★", "★★★")
HEAD = """\
# Errors

What goes wrong when Keras data is read in parallel, and what Procession does about it. PREVENT: it cannot happen;
RECOVER: the run goes on; DIAGNOSE: an error, a warning or a finding of `procession doctor` names it, with the fix.
`procession explain` finds the row for a pasted traceback, a warning, or a description of a hang.

Made from `procession.doctor.catalogue` by `make pages`. Each row names the tests that prove it.
"""


def pages() -> dict[str, str]:
    """Every page, by its path under `docs`."""
    return {"errors.md": _catalogue(), **{f"errors/{code.number}.md": _page(code) for code in CODES.values()}}


def write(folder: Path) -> None:
    """Write them, and remove those of codes that are no more."""
    (folder / "errors").mkdir(exist_ok=True)
    made = pages()
    for path in (folder / "errors").glob("*.md"):
        if f"errors/{path.name}" not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


def _catalogue() -> str:
    parts = [HEAD, _counts(), _codes(), "## The catalogue\n"]
    parts.append("| # | what happens | reported | answer | how |\n| --- | --- | --- | --- | --- |")
    parts += [_row(case) for case in CASES]
    parts += ["", *map(_entry, CASES)]
    return "\n".join(parts)


def _counts() -> str:
    answers = Counter(answer for case in CASES for answer in case.answers)
    partly = sum(bool(case.untested) for case in CASES)
    told = ", ".join(f"{answer} {count}" for answer, count in answers.most_common())
    return (
        f"{len(CASES)} cases: {told} (a case may have several). {len(CASES) - partly} are tested here as they are "
        f"reported; {partly} in part, for want of a GPU, macOS, Windows or an old library: their rows say what is.\n"
    )


def _codes() -> str:
    rows = [f"| [{code.number}](errors/{code.number}.md) | {code.title} | {code.severity} |" for code in CODES.values()]
    head = "## Codes\n\nErrors, warnings and findings quote them.\n\n| code | title | severity |\n| --- | --- | --- |"
    return "\n".join([head, *rows, ""])


def _row(case: Case) -> str:
    answers = " + ".join(case.answers)
    cells = (f"[{case.number}](#{_anchor(case)})", f"`{case.name}`", STARS[case.reported], answers, _cell(case.here))
    return f"| {' | '.join(cells)} |"


def _anchor(case: Case) -> str:
    return f"{case.number.lower()}-{case.name}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _entry(case: Case) -> str:
    lines = [
        f"### {case.number} {case.name}\n",
        f"{case.symptom}\n",
        f"**Cause.** {case.cause}\n",
        f"**Here.** {' + '.join(case.answers)}: {case.here}\n",
        f"```python\n{case.fix.rstrip()}\n```\n",
    ]
    if case.codes:
        lines.append("Codes: " + ", ".join(f"[{code}](errors/{code}.md)" for code in case.codes) + ".")
    lines.append("Proved by: " + ", ".join(f"`{test}`" for test in case.tests) + ".")
    if case.untested:
        lines.append(f"Not tested here: {case.untested}")
    if case.sources:
        lines.append("Reported in: " + ", ".join(case.sources) + ".")
    return "\n".join(lines) + "\n"


def _page(code: Code) -> str:
    lines = [
        f"# {code.number}: {code.title}\n",
        f"Severity: {code.severity}.\n",
        f"{code.why}\n",
        "## What to write\n",
        f"```python\n{code.fix.rstrip()}\n```\n",
        "## How it is found\n",
        f"{code.how}\n",
    ]
    cases = [case for case in CASES if code.number in case.codes]
    if cases:
        lines.append("## Seen in the wild\n")
        lines += [f"- [{case.number} {case.name}](../errors.md#{_anchor(case)}): {case.symptom}" for case in cases]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
