"""How each process of a loader ends, whoever ends first. The one place to read about endings.

    the loader closes       its channels close ─► idle workers leave; its session ends: the template kills the rest;
                            one that is stuck in loading its source is killed
    a worker dies           the template collects it, kills what it had started, tells the driver: it is replaced
    a worker takes too long the driver kills it by its pidfd: a death like any other
    a worker is recycled    its channel closes: it leaves by itself
    the template dies       the kernel kills its workers (PDEATHSIG); the driver sees its channel close, makes sure that
                            they are gone, and starts another
    the training process    ends or is killed: the template sees it (a pidfd) and ends all its sessions, then itself;
                            while it loads a source, and may be stuck in that, a guard beside it looks (see `loading`)

A `Loader` closes by `close()`, a `with` block, garbage collection or interpreter exit, all through one finalizer.
Memory needs no ending of its own: it has no name, and goes with the last mapping of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import math
import os
import select
import signal
import sys
import time
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, which has one thread, ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def await_end(watch: int, deadline: float) -> bool:
    """Wait for the end of the process behind a pidfd, until `deadline` (of time.monotonic); say whether it came."""
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    return bool(poll.poll(None if deadline == math.inf else max(0.0, deadline - time.monotonic()) * 1000))


def kill(watch: int) -> None:
    """Kill the process behind a pidfd, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(watch, signal.SIGKILL)


def flush() -> None:
    """Write out what was printed; a standard stream may be missing (`>&-`), closed, or a broken pipe."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()


def flush_files() -> None:
    """Write out what is still in the buffers of files, which nobody closes in a process that ends at once.

    Those that were open before the fork are the template's: they are frozen, and so not among these.
    """
    for each in gc.get_objects():
        if isinstance(each, (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
            with contextlib.suppress(Exception):  # closed, detached, or of a kind that raises anything
                each.flush()


def leave(status: int) -> NoReturn:
    """End this process as multiprocessing's children do: their own children first, no atexit of the frameworks."""
    with contextlib.suppress(BaseException):
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util._exit_function()
        flush_files()
    flush()
    os._exit(status)
