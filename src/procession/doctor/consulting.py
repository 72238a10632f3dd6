"""Starts the process that diagnoses a target, listens to it, and says what has become of it where it cannot."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from procession.doctor.check import check_options
from procession.doctor.findings import Diagnosis, Place
from procession.doctor.runtime import DIED, STALLED, UNLOADED
from procession.doctor.target import TargetError
from procession.engine.shutdown import await_end, kill
from procession.engine.stacks import StackPipe, shortened, top_line

LOAD_SECONDS = 120.0  # for the import of the target; what trains when it is imported takes longer
END_SECONDS = 5.0  # for a process that says no more to end by itself
QUIET_SECONDS = 90.0  # beyond the limit of an observation, that a diagnosis may say nothing

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from procession.doctor.consult import main; "
    "main(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], json.loads(sys.argv[6]))"
)


def consult(
    target: str,
    *,
    batch_size: int | None,
    limit: float,
    progress: Callable[[str], None],
    load_seconds: float = LOAD_SECONDS,
) -> Diagnosis:
    """Diagnose what TARGET names, in a process of its own.

    Raises:
        TargetError: it names nothing.
        ConfigError: an option is out of range.
    """
    check_options(batch_size, limit)
    start = time.monotonic()
    reading, writing = os.pipe()
    stack = StackPipe()
    options = {"batch_size": batch_size, "limit": limit}
    arguments = [json.dumps(sys.path), str(writing), str(stack.write), str(os.getpid()), target, json.dumps(options)]
    process = subprocess.Popen([sys.executable, "-P", "-c", _BOOT, *arguments], pass_fds=[writing, stack.write])
    os.close(writing)
    stack.sent()
    watch = os.pidfd_open(process.pid)
    try:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            listener = _Listener(pipe.fileno(), load_seconds, limit + QUIET_SECONDS, progress)
            found = listener.listen()
            if found is not None:
                return found
            words = stack.ask(watch) if listener.overdue else ""
            if not listener.overdue:  # it has closed the pipe, and is about to end
                await_end(watch, time.monotonic() + END_SECONDS)
            kill(watch)
            status = process.wait()
        return _lost(target, listener, status, words or stack.read(), time.monotonic() - start)
    finally:
        kill(watch)
        process.wait()
        os.close(watch)
        stack.close()


class _Listener:
    """Reads what a consultation says, until it says no more or nothing for too long."""

    def __init__(self, pipe: int, load: float, quiet: float, progress: Callable[[str], None]) -> None:
        self._pipe = pipe
        self._quiet = quiet
        self._progress = progress
        self.patience = load
        self.doing = "importing the target"
        self.loaded = self.overdue = False

    def listen(self) -> Diagnosis | None:
        """The diagnosis; None if the process ended, or went quiet, without one."""
        rest = b""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        self._progress(self.doing)
        while poll.poll(self.patience * 1000):
            data = os.read(self._pipe, 1 << 16)
            if not data:
                return None
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                found = self._heard(json.loads(line))
                if found is not None:
                    return found
        self.overdue = True
        return None

    def _heard(self, message: dict[str, Any]) -> Diagnosis | None:
        match message:
            case {"refused": text}:
                raise TargetError(text)
            case {"loaded": _}:
                self.loaded, self.patience, self.doing = True, self._quiet, "looking at the source"
            case {"progress": text}:
                self.doing = text
                self._progress(text)
            case {"diagnosis": values}:
                return Diagnosis.from_dict(values)
        return None


def _lost(target: str, listener: _Listener, status: int, stack: str, seconds: float) -> Diagnosis:
    how = f"did not go on for {listener.patience:.0f} s" if listener.overdue else _ending(status)
    shown = f"; its stack:\n{shortened(stack)}" if stack else ""
    code = UNLOADED if not listener.loaded else STALLED if listener.overdue else DIED
    found = top_line(stack)
    places = [Place(*found)] if found else []
    finding = code.found(f"while {listener.doing}, its process {how}{shown}", *places)
    return Diagnosis(target, (finding,), seconds=seconds)


def _ending(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
