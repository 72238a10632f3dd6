"""While a source is loaded, code of the user's runs: nobody can say what it does, and whether it returns."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextvars import ContextVar

from procession.engine.shutdown import await_end, die_with_parent
from procession.errors import ImportedAgainError

_loading: ContextVar[bool] = ContextVar("procession_loading", default=False)


@contextlib.contextmanager
def loading(trainer: int | None = None) -> Iterator[None]:
    """Run the user's code for a source that is loaded.

    Args:
        trainer: a pidfd; this process ends with the one behind it, even if it is stuck in C or in a loop.
    """
    token = _loading.set(True)
    guard = None if trainer is None else _guard(trainer)
    try:
        yield
    finally:
        _loading.reset(token)
        if guard is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # the user's code waits for any child
                os.kill(guard, signal.SIGKILL)
                os.waitpid(guard, 0)


def _guard(trainer: int) -> int | None:
    """Start a process that does nothing but wait for the end of another one, to end this one; None: there is no room.

    A thread would be in the way of forking, and a signal of the kernel's for the parent's death goes by the parent's
    thread, of which the training process has many.
    """
    here = os.getpid()
    try:
        guard = os.fork()
    except OSError:  # told where a worker cannot be had
        return None
    if guard == 0:
        try:
            die_with_parent(here)
            await_end(trainer, math.inf)
            os.kill(here, signal.SIGKILL)
        finally:
            os._exit(0)
    return guard


def check_not_loading() -> None:
    """Refuse to start workers for what is only there because workers are being started.

    Raises:
        ImportedAgainError: they would load the same, and start workers for it, without end.
    """
    if _loading.get():
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "procession":
            frame = frame.f_back
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        raise ImportedAgainError(
            f"a Loader was to start workers at {where}, which runs while the workers of another one load its source: "
            "they import the modules that it names, and that line is among what runs there. Put it into a function, or "
            'under `if __name__ == "__main__":`'
        )
