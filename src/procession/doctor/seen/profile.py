"""Where an item's time goes, line by line; and whether the GIL is held meanwhile."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from types import CodeType, FrameType
from typing import Any, NamedTuple

from procession.doctor.check import Patient
from procession.doctor.code.reading import is_users_file

PROFILE_SECONDS = 0.6
MOST_ITEMS = 20_000
SAMPLE_SECONDS = 0.002  # between two looks at the GIL
LATE_SECONDS = 0.0003  # after its time, from which a thread has waited for the GIL; being woken takes a third of it
MOST_LINES = 5


class Profile(NamedTuple):
    """What was seen while items were made."""

    lines: tuple[tuple[str, int, str, float], ...]  # file, line, function, seconds: the longest first
    seconds: float  # in all lines of the user's, what they call in libraries included


def profiled(patient: Patient) -> Profile:
    """Make items for a while, and measure the lines.

    By tracing: signals and threads that look now and then are let in between two instructions of Python's only, and
    blame the line after a long operation of numpy's. It makes loops in Python slower, which are what it then shows.
    """
    patient.item(patient.sample[0])  # what the first one imports is not what items cost
    tracer = _Tracer(patient.source, time.perf_counter() + PROFILE_SECONDS)
    before = sys.gettrace()
    sys.settrace(tracer.call)
    try:
        make_for(patient, PROFILE_SECONDS)
    finally:
        sys.settrace(before)
    return Profile(
        tuple((*line, spent) for line, spent in tracer.spent.most_common(MOST_LINES)), sum(tracer.spent.values())
    )


class _Tracer:
    """Charges the time between two events to the line of the user's that was at work."""

    def __init__(self, source: Any, end: float) -> None:
        self.spent: Counter[tuple[str, int, str]] = Counter()
        self._source = source
        self._end = end
        self._stack: list[tuple[str, int, str]] = []  # the user's functions that are at work, each with its line
        self._since = 0.0
        self._known: dict[CodeType, bool] = {}

    def call(self, frame: FrameType, event: str, _: Any) -> Any:
        """A function is called."""
        code = frame.f_code
        users = self._known.get(code)
        if users is None:
            users = self._known[code] = code.co_filename != "<string>" and is_users_file(code.co_filename, self._source)
        if not users or self._charge() > self._end:
            return None
        self._stack.append((code.co_filename, frame.f_lineno, code.co_qualname))
        return self._inside

    def _inside(self, frame: FrameType, event: str, _: Any) -> Any:
        self._charge()
        if event == "line":
            self._stack[-1] = (*self._stack[-1][:1], frame.f_lineno, self._stack[-1][2])
        elif event == "return":
            self._stack.pop()
        return self._inside

    def _charge(self) -> float:
        now = time.perf_counter()
        if self._stack:
            self.spent[self._stack[-1]] += now - self._since  # type: ignore[assignment] # counts seconds
        self._since = now
        return now


def gil_held(patient: Patient) -> float:
    """The share of the time in which another thread could not have had the GIL at once."""
    patient.item(patient.sample[0])
    with _gil_watched() as late:
        make_for(patient, PROFILE_SECONDS)
    return statistics.fmean(late) if late else 0.0


def make_for(patient: Patient, length: float) -> int:
    """Make items for so many seconds; return how many."""
    end, made = time.perf_counter() + length, 0
    for made, index in enumerate(cycle(patient.sample), start=1):
        patient.item(index)
        if time.perf_counter() > end or made >= MOST_ITEMS:
            break
    return made


@contextmanager
def _gil_watched() -> Iterator[list[bool]]:
    """Look again and again, from a thread, whether the GIL can be had at once."""
    late: list[bool] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            start = time.perf_counter()
            over.wait(SAMPLE_SECONDS)
            late.append(time.perf_counter() - start > SAMPLE_SECONDS + LATE_SECONDS)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield late
    finally:
        over.set()
        thread.join()
