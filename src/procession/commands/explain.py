"""`procession explain`: which failure a pasted text is, and the fix."""

from __future__ import annotations

import argparse
import sys

from procession.commands.command import Command

DESCRIPTION = """\
Say which known failure a traceback, a warning, or a description of a hang is, what causes it, and what to write
instead. A code (PRC203) or a case's number (B4) is explained itself."""

EXAMPLES = """\
examples:
  procession explain PRC203
  procession explain "training freezes at the end of the first epoch"
  python train.py 2>&1 | procession explain -

exit status: 0 if something is known about it, 1 if not
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument(
        "text", metavar="TEXT", nargs="*", help="the text; - or nothing: it is read from standard input"
    )
    parser.add_argument("--json", action="store_true", help="print what is known as JSON")
    parser.add_argument("--all", action="store_true", help="every case that fits, not only the best three")


def run(options: argparse.Namespace) -> int:
    """Explain the text."""
    from procession.doctor.telling.answers import answers, as_json, show
    from procession.doctor.telling.text import tell

    if options.text in ([], ["-"]):
        if sys.stdin.isatty():
            print("procession: paste the text, then press Ctrl-D", file=sys.stderr)
        text = sys.stdin.read()
    else:
        text = " ".join(options.text)
    found = answers(text, most=None if options.all else 3)
    if options.json:
        print(as_json(found))
    else:
        tell(lambda console: show(found, console))
    return int(not found)


COMMAND = Command("explain", "say which known failure a text is, and the fix", DESCRIPTION, EXAMPLES, options, run)
