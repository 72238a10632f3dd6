"""`procession doctor`: what is wrong with a source, where, why, and what to write instead."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from procession.commands.command import Command
from procession.doctor.findings import SEVERITIES

DESCRIPTION = """\
Look for what keeps a source from running in parallel: what cannot be sent to workers, batches that are not the same
twice, shared data that is written, random numbers, epoch hooks, batches and length, memory, limits of the machine,
speed. TARGET is imported and run in processes of their own, each with a time limit. Importing a file does what stands
at its top level, training included, but for what is under `if __name__ == "__main__":`."""

EXAMPLES = """\
TARGET is path.py:name or package.module:name, where name is an instance, or a class or function that is called
without arguments and gives one.

examples:
  procession doctor train.py:train_sequence
  procession doctor train.py:make_source --batch-size 32      source[i] is a sample
  procession doctor project.data:Photos --html report.html
  procession doctor project.data:Photos --json --fail-on warning      for CI: status 1 if there is one

exit status: 0, 1 if there are errors (or what --fail-on says), 2 if there is no such target
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("target", metavar="TARGET", help="path.py:name or package.module:name")
    parser.add_argument("--batch-size", type=int, metavar="N", help="source[i] is one sample, and N make a batch")
    parser.add_argument("--json", action="store_true", help="print the diagnosis as JSON")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write it as one HTML file")
    parser.add_argument(
        "--fail-on",
        choices=(*SEVERITIES, "never"),
        default="error",
        help="exit with status 1 if there is a finding as grave as this (default: error)",
    )
    parser.add_argument(
        "--limit", type=float, default=30.0, metavar="SECONDS", help="for one observation (default: 30)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="notes in full, too")


def run(options: argparse.Namespace) -> int:
    """Diagnose the target."""
    from rich.console import Console

    from procession.doctor.consulting import consult
    from procession.doctor.telling.page import page
    from procession.doctor.telling.text import first_place, show, tell

    if options.html is not None and not options.html.parent.is_dir():  # before a diagnosis is made for it
        print(f"procession: there is no folder {str(options.html.parent)!r} for --html", file=sys.stderr)
        return 2
    told = Console(stderr=True)
    with told.status("procession doctor") as status:
        diagnosis = consult(
            options.target,
            batch_size=options.batch_size,
            limit=options.limit,
            progress=lambda text: status.update(f"procession doctor: {text}"),
        )
    if options.html is not None:
        options.html.write_text(page(diagnosis), encoding="utf-8", errors="backslashreplace")
        print(f"procession: written to {options.html}", file=sys.stderr)
    failing = () if options.fail_on == "never" else diagnosis.at_least(options.fail_on)
    if options.json:
        print(json.dumps(diagnosis.to_dict(), indent=2))
        for finding in failing:  # for who reads the log of a job that has failed
            print(f"procession: {finding.severity} {finding.code} {first_place(finding)}", file=sys.stderr)
    else:
        tell(lambda console: show(diagnosis, console, verbose=options.verbose))
    return int(bool(failing))


COMMAND = Command(
    "doctor", "say what is wrong with a source, and what to write instead", DESCRIPTION, EXAMPLES, options, run
)
