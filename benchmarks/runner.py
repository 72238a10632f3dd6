"""Starts a work's contenders, lets them take turns, and collects what they saw."""

import json
import os
import selectors
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.model import Contender, Sample, Work

START_SECONDS = 180.0
# Beyond what a round is given: for buffers to drain, and for Keras to end an epoch.
SPARE_SECONDS = 60.0
END_SECONDS = 5.0
SETTLE_SECONDS = 0.5
ROOT = Path(__file__).resolve().parent.parent


class ContenderError(Exception):
    """A contender did not do its work; the text says what it said."""


@dataclass
class Seen:
    """What one contender's rounds saw, or why there is nothing."""

    contender: str
    samples: list[Sample] = field(default_factory=list)
    trouble: str = ""

    def median(self, key: str) -> float | None:
        """The middle of the rounds, which one disturbed round cannot move."""
        values = [sample[key] for sample in self.samples if key in sample]
        return statistics.median(values) if values else None


class Running:
    """A contender's process."""

    def __init__(self, work: Work, contender: Contender) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in end()
        paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
        environment = {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **os.environ,
            **contender.environment,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        }
        # A session of its own: whatever it leaves behind can be found by its group and ended.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", work.name, contender.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def answer(self, seconds: float) -> dict[str, Any]:
        """Wait for the next answer, but not for ever: peers are known to hang."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise ContenderError(f"no answer within {seconds:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise ContenderError(f"ended: {self.last_words()}")
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise ContenderError(message["error"])
        return message

    def last_words(self) -> str:
        """The last line on its standard error."""
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.process.wait(END_SECONDS)}"

    def round(self, seconds: float) -> Sample:
        """Let it work for so long."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{seconds}\n")
        except BrokenPipeError:
            raise ContenderError(f"ended: {self.last_words()}") from None
        sample: Sample = self.answer(seconds + SPARE_SECONDS)["sample"]
        return sample

    def end(self) -> None:
        """Let it end, and end it when it does not."""
        try:
            self.process.communicate(timeout=END_SECONDS)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.errors.close()


def missing(contender: Contender) -> str:
    """Say what a contender needs and has not got."""
    absent = [module for module in contender.needs if find_spec(module) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def start(work: Work, contenders: Iterable[Contender], seen: dict[str, Seen]) -> dict[str, Running]:
    """Start all at once, since most of a start is waiting for files, and keep those that get ready."""
    started = {}
    for contender in contenders:
        seen[contender.name] = Seen(contender.name, trouble=missing(contender))
        if not seen[contender.name].trouble:
            started[contender.name] = Running(work, contender)
    return {name: running for name, running in started.items() if attempt(running, seen[name], START_SECONDS)}


def attempt(running: Running, seen: Seen, wait: float | None = None, seconds: float = 0.0) -> bool:
    """Wait until it is ready, or else let it run a round; note what came of it."""
    try:
        if wait is not None:
            running.answer(wait)
        else:
            seen.samples.append(running.round(seconds))
    except ContenderError as error:
        seen.trouble = f"failed: {error}"
        running.end()
        return False
    return True


def run(work: Work, quick: bool, report: Callable[[str], None]) -> list[Seen]:
    """Run one work: in every round each contender has one turn, so that a busy moment hits all alike."""
    seen: dict[str, Seen] = {}
    report("starting")
    running = start(work, [each for each in work.contenders if each.quick or not quick], seen)
    rounds = work.quick_rounds if quick else work.rounds
    seconds = work.seconds * (0.3 if quick else 1.0)
    # The last to get ready has yet to fill its buffers, which would disturb the first to be measured.
    time.sleep(SETTLE_SECONDS)
    try:
        for number in range(rounds):
            report(f"round {number + 1}/{rounds}")
            for name in list(running):
                if not attempt(running[name], seen[name], seconds=seconds):
                    del running[name]
    finally:
        for each in running.values():
            each.end()
    return list(seen.values())
