"""`procession` and `python -m procession`: finds the command, and says what was wrong with its words."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from procession.commands import doctor, explain, run
from procession.doctor.target import TargetError
from procession.errors import ConfigError
from procession.script import TargetError as ScriptError

COMMANDS = (run.COMMAND, doctor.COMMAND, explain.COMMAND)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        "procession",
        description="Keras datasets in worker processes: correct, unbreakable, fast.",
        epilog="procession COMMAND --help tells more, with examples.",
    )
    top.add_argument("--version", action="version", version=f"procession {_version()}")
    words = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        under = words.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            epilog=command.examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.options(under)
        under.set_defaults(run=command.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    names = [command.name for command in COMMANDS]
    if given and given[0] not in names and Path(given[0]).is_file():  # a slip that everybody makes once
        print(f"procession: to run a script, write: procession run {shlex.join(given)}", file=sys.stderr)
        return 2
    options = parser().parse_args(given)
    try:
        status: int = options.run(options)
    except (ConfigError, ScriptError, TargetError) as error:
        print(f"procession: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if options.command == "run":  # a script's own end is shown as python shows it
            raise
        return 130
    except OSError as error:
        if options.command == "run" or error.filename is None:
            raise
        print(f"procession: {error}", file=sys.stderr)
        return 2
    return status


def _version() -> str:
    try:
        return version("procession")
    except PackageNotFoundError:  # run from its source
        return "(not installed)"
