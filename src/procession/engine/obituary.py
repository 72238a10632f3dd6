"""How a process ended, in words."""

from __future__ import annotations

import signal

from procession.order.plan import Plan


def obituary(worker: int, pid: int, status: int, plan: Plan, step: int | None) -> str:
    """Say which worker died, of what, and over which index.

    Args:
        worker: its number.
        pid: its process id.
        status: exit code, or the negative number of the signal that killed it.
        plan: the epoch it worked for.
        step: the task it had in hand; None or negative for none of this epoch's.
    """
    where = "between two tasks"
    if step is not None and step >= 0:
        position = plan.position(step)
        items = plan.items(position)
        shown = f"source[{items[0]}]" if len(items) == 1 else f"source[i] for i in {_few(list(items))}"
        where = f"while it made batch {position} of epoch {plan.epoch} ({shown})"
    return f"worker {worker} (pid {pid}) died {where}: {ending(status)}. {_hint(status)}"


def template_obituary(pid: int, status: int | None) -> str:
    """Say that the template died, and of what if `status` is known."""
    told = "" if status is None else f": {ending(status)}"
    return (
        f"the template process (pid {pid}), from which this loader's workers are forked, died{told}. If that happened "
        "while it unpickled the source, its messages are on standard error above: a library that crashes on import or "
        "in __setstate__ is the usual reason. The next epoch starts a new one"
    )


def ending(status: int) -> str:
    """`killed by SIGKILL` or `exit code 3`."""
    if status >= 0:
        return f"it ended with exit code {status}"
    try:
        return f"it was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was killed by signal {-status}"


def _hint(status: int) -> str:
    match -status:
        case signal.SIGKILL:
            return (
                "Somebody sent kill -9, most often the kernel because memory ran out (`dmesg | tail` tells): use fewer "
                "workers, smaller batches, or a source that keeps less in memory"
            )
        case signal.SIGSEGV | signal.SIGBUS | signal.SIGABRT | signal.SIGILL | signal.SIGFPE:
            return "A native library crashed; its Python stack is on standard error. Try that index by itself"
        case number if number > 0:
            return "Somebody sent it that signal"
        case _:
            return "The source, or a library it uses, ended the process (os._exit); a source must not do that"


def _few(items: list[int]) -> str:
    return str(items) if len(items) <= 8 else f"{str(items[:8])[:-1]}, …]"
