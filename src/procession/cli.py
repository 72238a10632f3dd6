"""The commands, as `procession` and `python -m procession`: they parse and print, and decide nothing."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from procession import script
from procession.config import EXECUTORS
from procession.errors import ConfigError
from procession.launch import Defaults, Installation, start
from procession.monitoring.summary import summary

RUN = """\
Run an unmodified training script on this engine: every Keras PyDataset or Sequence that it gives to fit, evaluate or
predict is read by workers, each batch once and in order. fit(workers=..., use_multiprocessing=..., max_queue_size=...),
which Keras 3 refuses, is accepted again, and a list of sequences is read as partitions."""

EXAMPLES = """\
examples:
  procession run train.py --epochs 3        everything behind the script's name is the script's own
  procession run --workers 8 train.py
  procession run --seed 7 -m project.train
  cat train.py | procession run -
"""


COMMANDS = ("run",)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        "procession",
        description="Keras datasets in worker processes: correct, unbreakable, fast.",
        epilog="procession COMMAND --help tells more, with examples.",
    )
    top.add_argument("--version", action="version", version=f"procession {_version()}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="run an unmodified training script on this engine",
        description=RUN,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="how many, whatever the script says; by default what it asks for, else the usable cores",
    )
    run.add_argument(
        "--executor",
        choices=("auto", *EXECUTORS),
        default="auto",
        help="auto (the default): processes, but threads where the script says use_multiprocessing=False",
    )
    run.add_argument("--seed", type=int, metavar="N", help="fixes order and random numbers; by default drawn")
    run.add_argument("--quiet", action="store_true", help="no summary at the end")
    run.add_argument("-m", dest="module", action="store_true", help="TARGET is the name of a module")
    run.add_argument("target", metavar="TARGET", help="a script, a module with -m, a zip file or folder, or -")
    run.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="the script's own arguments")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in COMMANDS and Path(given[0]).is_file():  # a slip that everybody makes once
        print(f"procession: to run a script, write: procession run {shlex.join(given)}", file=sys.stderr)
        return 2
    options = parser().parse_args(given)
    try:
        return _run(options)
    except (ConfigError, script.TargetError) as error:
        print(f"procession: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    try:
        program = script.find(options.target, module=options.module)
    except SyntaxError as error:
        print(script.explained(error), file=sys.stderr, end="")
        return 1
    firm = options.workers is not None
    defaults = Defaults(options.workers if firm else "auto", options.executor, options.seed, firm)
    installation = start(defaults)
    script.prepare(program)
    try:
        return script.execute(program, options.arguments)
    finally:
        if not options.quiet:
            _tell(installation)


def _tell(installation: Installation) -> None:
    with contextlib.suppress(Exception):  # the script may have closed either, and its exit status is its own
        sys.stdout.flush()
    with contextlib.suppress(Exception):
        print(summary(installation.read), file=sys.stderr, flush=True)


def count(text: str) -> int | str:
    """A number of workers; argparse calls what it refuses by this name."""
    return text if text == "auto" else int(text)


def _version() -> str:
    try:
        return version("procession")
    except PackageNotFoundError:  # run from its source
        return "(not installed)"
