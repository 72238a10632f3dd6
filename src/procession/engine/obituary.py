"""How a process ended, in words."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import NamedTuple

from procession.config import Faults
from procession.engine.limits import megabytes, memory_limits
from procession.errors import StalledError, WorkerDiedError
from procession.order.plan import Plan

MOST_NAMED = 8  # items of a batch


class Deceased(NamedTuple):
    """A worker that is gone."""

    worker: int
    pid: int
    status: int  # exit code, or the negative number of the signal that killed it
    memory: int | None  # bytes of its own, at its last report
    stack: str  # the Python stack that it left; empty if none
    overdue: bool  # we have killed it for taking too long


class At(NamedTuple):
    """What it had in hand."""

    plan: Plan
    position: int
    items: Sequence[int]  # one, or all of a batch where it died over the batch as such
    seconds: float  # since it had begun


def obituary(dead: Deceased, faults: Faults, at: At | None) -> WorkerDiedError:
    """The error that says which worker died, of what, and over which index."""
    who = f"worker {dead.worker} (pid {dead.pid})"
    where = "between two tasks" if at is None else f"while it made {describe(at)}"
    stack = f"\nIts Python stack:\n{dead.stack}" if dead.stack else ""
    if dead.overdue and at is not None:
        return StalledError(
            f"{who} was ended after {at.seconds:.1f} s {where}: Faults(timeout={faults.timeout:g}) allows "
            f"{faults.timeout:g} s for one batch. Look at what it waits for, allow more, or leave out what "
            f"takes too long: Faults(on_error='skip'){stack}"
        )
    memory = "" if dead.memory is None else f" It had {megabytes(dead.memory)} of memory of its own at its last report."
    return WorkerDiedError(f"{who} died {where}: {ending(dead.status)}.{memory} {_hint(dead.status)}{stack}")


def template_obituary(pid: int, status: int | None) -> str:
    """Say that the template died, and of what if `status` is known."""
    told = "" if status is None else f": {ending(status)}"
    return (
        f"the template process (pid {pid}), from which this loader's workers are forked, died{told}. If that happened "
        "while it unpickled the source, its messages are on standard error above: a library that crashes on import or "
        "in __setstate__ is the usual reason."
    )


def ending(status: int) -> str:
    """`killed by SIGKILL` or `exit code 3`."""
    if status >= 0:
        return f"it ended with exit code {status}"
    try:
        return f"it was killed by {signal.Signals(-status).name} ({signal.strsignal(-status)})"
    except ValueError:
        return f"it was killed by signal {-status}"


def describe(at: At) -> str:
    """`batch 3 of epoch 0 (source[3])`."""
    names = [at.plan.name(item) for item in at.items[: MOST_NAMED + 1]]
    shown = ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
    return f"batch {at.position} of epoch {at.plan.epoch} ({shown})"


def _hint(status: int) -> str:
    match -status:
        case signal.SIGKILL:
            return (
                "Somebody sent kill -9, most often the kernel because memory ran out (`dmesg | tail` tells). What "
                f"bounds memory here: {memory_limits()}. Use fewer workers, smaller batches, or a source that keeps "
                "less in memory; if the same index always does it, leave that out: Faults(on_error='skip')"
            )
        case signal.SIGSEGV | signal.SIGBUS | signal.SIGABRT | signal.SIGILL | signal.SIGFPE:
            return "A native library crashed. Try that index by itself"
        case number if number > 0:
            return "Somebody sent it that signal"
        case _:
            return "The source, or a library it uses, ended the process (os._exit); a source must not do that"
