"""The Python stack of a worker that is stuck or has crashed: written by faulthandler, in C, to a pipe of its own."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sysconfig
from pathlib import Path

STACK_SIGNAL = signal.SIGRTMAX - 2  # one that nobody else uses
FIRST_SECONDS = 1.0  # a stuck process needs moments to answer a signal; one that is stopped or in the kernel does not
QUIET_SECONDS = 0.1  # a stack comes in many small writes: it is whole when no more follow
MOST_LINES = 60
PACKAGE = str(Path(__file__).resolve().parents[1])
_LIBRARIES = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "purelib", "platlib"))


class StackPipe:
    """The reading end of a worker's pipe."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def sent(self) -> None:
        """The writing end has been given to the worker."""
        os.close(self.write)

    def ask(self, watch: int) -> str:
        """Have the process behind a pidfd write its stack, and read it; empty if it does not answer."""
        self.read()  # what it may have written before
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(watch, STACK_SIGNAL)
        text, seconds = "", FIRST_SECONDS
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        while poll.poll(seconds * 1000):
            more = self.read()
            if not more:
                break
            text, seconds = text + more, QUIET_SECONDS
        return text

    def read(self) -> str:
        """What has been written and not been read yet: of a process that has crashed, its last words."""
        try:
            return os.read(self._read, 1 << 16).decode(errors="replace")
        except OSError:  # nothing there
            return ""

    def close(self) -> None:
        """Close it."""
        os.close(self._read)


def shortened(stack: str) -> str:
    """A stack as it is shown: the user's part, without ours below it or the list of extension modules."""
    lines = [line for line in stack.splitlines() if not line.startswith("Extension modules:") and not _is_ours(line)]
    cut = [f"  … and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
    return "\n".join([*lines[:MOST_LINES], *cut]).strip()


def _is_ours(line: str) -> bool:
    return f'File "{PACKAGE}/' in line or 'File "<string>", line 1 in <module>' in line


def top_line(stack: str) -> tuple[str, int, str] | None:
    """File, line and function of the innermost Python frame of a stack that is neither ours nor a library's."""
    frames = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', stack)
    own = [frame for frame in frames if not frame[0].startswith((PACKAGE, *_LIBRARIES, "<"))]
    return (own[0][0], int(own[0][1]), own[0][2]) if own else None
