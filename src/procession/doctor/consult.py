"""The process in which a target is loaded and diagnosed: what its import does, and dies of, does not reach the command.

command ──starts──► this process: load TARGET ─► examine ─► Ward ──► workers
   ▲                     │ loaded · progress · diagnosis, a line of JSON each
   └─────────pipe────────┘    its stack, when it is asked for or crashes: on a pipe of its own
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import time
import traceback
from dataclasses import replace
from typing import Any

from procession.doctor.examine import examine
from procession.doctor.findings import Diagnosis, Finding, Place
from procession.doctor.runtime import BROKEN, UNLOADED
from procession.doctor.seen.probe import raised
from procession.doctor.target import CALLED, TargetError, load
from procession.engine.shutdown import die_with_parent
from procession.engine.stacks import STACK_SIGNAL

A_FUNCTION = """\
def source():                       # a function that only returns the source: procession doctor train.py:source
    return Photos("photos", batch_size=32)"""


def main(pipe: int, stack: int, parent: int, target: str, options: dict[str, Any]) -> None:
    """Diagnose a target; say on `pipe` how far it is, and what was found."""
    die_with_parent(parent)
    faulthandler.enable(stack)
    faulthandler.register(STACK_SIGNAL, stack)
    with contextlib.suppress(OSError):  # it has been closed
        os.dup2(2, 1)  # what the target prints, and the workers that import it, is not the diagnosis
    for number in (pipe, stack):
        os.set_inheritable(number, False)
    with os.fdopen(pipe, "w") as out:

        def tell(what: str, value: Any) -> None:
            out.write(json.dumps({what: value}, default=_plain) + "\n")
            out.flush()

        start = time.monotonic()
        try:
            source = load(target)
        except TargetError as error:
            tell("refused", str(error))
            return
        except BaseException as error:  # KeyboardInterrupt may be the target's own
            diagnosis = Diagnosis(target, (_unloaded(error),), seconds=time.monotonic() - start)
        else:
            tell("loaded", time.monotonic() - start)
            file, _, _ = target.rpartition(":")
            try:
                diagnosis = examine(source, **options, files=(file,), progress=lambda text: tell("progress", text))
            except BaseException as error:
                told = f"{type(error).__name__}: {error}"
                diagnosis = Diagnosis(target, (BROKEN.found(f"the diagnosis ended with {told}", severity="error"),))
        tell("diagnosis", {**diagnosis.to_dict(), "target": target})


def _unloaded(error: BaseException) -> Finding:
    told = raised(error, error)
    if isinstance(error, SyntaxError) and error.filename:
        told = replace(told, place=Place(error.filename, error.lineno or 0))
    called = next((note for note in getattr(error, "__notes__", ()) if note.startswith(CALLED)), "")
    lines = "".join(traceback.format_exception_only(error)).replace(called, "").strip()
    if called:
        return UNLOADED.found(f"{called} raised {lines}", told.place, fix=A_FUNCTION)
    return UNLOADED.found(f"its import raised {lines}", told.place)


def _plain(value: Any) -> Any:
    """A figure that is numpy's."""
    return value.item() if hasattr(value, "item") else str(value)
