"""What the tests of the catalogue share: stock tools in processes of their own, and what is said of their failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from procession.doctor.explain import explain
from tests.support import environment, in_namespace

HUNG = "still running"
# Stock tools that are killed leave semaphores in /dev/shm: theirs is a mount of their own, which goes with them.
APART = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'


class Outcome(NamedTuple):
    """How a script ended."""

    status: int | str  # HUNG: it was ended after its limit
    output: str
    errors: str

    @property
    def text(self) -> str:
        return self.output + self.errors


def outcome(text: str, folder: Path, *, limit: float = 60.0, on_stdin: bool = False, **settings: str) -> Outcome:
    """Run a script in a process group of its own until it ends, or its limit is reached; then end all of the group."""
    script = folder / "script.py"
    script.write_text(text)
    command = in_namespace(APART, sys.executable, "-" if on_stdin else str(script))
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment(**settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(text if on_stdin else "", timeout=limit)
            return Outcome(process.returncode, output, errors)
        except subprocess.TimeoutExpired:
            end_group(process.pid)
            output, errors = process.communicate()
            return Outcome(HUNG, output, errors)
        finally:
            end_group(process.pid)


def end_group(leader: int) -> None:
    """End every process of a session that a test started."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def recognised(text: str) -> str | None:
    """The number of the case that a text is taken for, before all others."""
    return next((match.case.number for match in explain(text)), None)
