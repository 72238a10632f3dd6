"""The command: ``python -m benchmarks``."""

import argparse
import json
import time
from pathlib import Path

from rich.console import Console

from benchmarks import machine, report, runner
from benchmarks.registry import WORKS

EXAMPLES = """\
examples:
  python -m benchmarks                       everything, about ten minutes
  python -m benchmarks --quick               fewer contenders, shorter rounds: under two minutes
  python -m benchmarks --only images --only small
  python -m benchmarks --json results.json   every sample, with the machine and all versions

Figures are medians of rounds in which the contenders take turns. Leave the machine alone meanwhile. A
target that is missed is printed; it is not an error.

works:
"""


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Procession beside its peers, each in a process of its own, in one run.",
        epilog=EXAMPLES + "\n".join(f"  {work.name:<16}{work.about}" for work in WORKS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", metavar="NAME", choices=WORKS, help="only this work; repeatable")
    parser.add_argument("--quick", action="store_true", help="a first impression in under two minutes")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all samples here as well")
    return parser.parse_args()


def main() -> None:
    """Run, print, write."""
    options = parse()
    console = Console()
    # Wide enough for the table, also in a file.
    console.width = max(console.width, 116)
    here = machine.describe()
    console.print(f"{here['cpu']}, {here['cores']} cores, {here['kernel']}, Python {here['python']}", highlight=False)
    # A work that is asked for by name runs, whether it is quick or not.
    works = [WORKS[name] for name in options.only or WORKS if options.only or WORKS[name].quick or not options.quick]
    begin = time.perf_counter()
    samples = {}
    with console.status("") as status:
        for number, work in enumerate(works, 1):
            place = f"{number}/{len(works)} {work.name}: {work.about}"

            def tell(now: str, place: str = place) -> None:
                status.update(f"{place}, {now}")

            samples[work.name] = runner.run(work, options.quick, tell)
    judged = [line for work in works for line in report.lines(work, samples[work.name])]
    report.print_table(console, judged)
    console.print(f"{time.perf_counter() - begin:.0f} s", highlight=False)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report.as_json(here, options.quick, judged, samples), indent=1)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
