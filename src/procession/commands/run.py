"""`procession run`: an unmodified training script on this engine."""

from __future__ import annotations

import argparse
import contextlib
import sys

from procession import script
from procession.commands.command import Command
from procession.config import EXECUTORS
from procession.launch import Defaults, Installation, start
from procession.monitoring.summary import summary

DESCRIPTION = """\
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


def options(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="how many, whatever the script says; by default what it asks for, else the usable cores",
    )
    parser.add_argument(
        "--executor",
        choices=("auto", *EXECUTORS),
        default="auto",
        help="auto (the default): processes, but threads where the script says use_multiprocessing=False",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="fixes order and random numbers of the data, not a model's weights (keras.utils.set_random_seed); "
        "by default drawn",
    )
    parser.add_argument("--quiet", action="store_true", help="no summary at the end")
    parser.add_argument("-m", dest="module", action="store_true", help="TARGET is the name of a module")
    parser.add_argument("target", metavar="TARGET", help="a script, a module with -m, a zip file or folder, or -")
    parser.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="the script's own arguments")


def run(options: argparse.Namespace) -> int:
    """Run the script; its exit status."""
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


COMMAND = Command("run", "run an unmodified training script on this engine", DESCRIPTION, EXAMPLES, options, run)
