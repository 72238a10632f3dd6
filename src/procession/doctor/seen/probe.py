"""The first look at a source: some of its items, each in a process of its own, so that what kills or hangs is known."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import Any

from procession.capture.readonly import read_only_hint
from procession.doctor.check import Patient
from procession.doctor.code.reading import is_users_file
from procession.doctor.findings import Place
from procession.doctor.seen.batch import Form, form
from procession.engine.own_generators import OwnGenerators
from procession.sources import Arrays

MOST_TEXT = 5000  # characters of an exception


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception of the source's, as far as it is told."""

    kind: str  # ValueError
    text: str
    place: Place  # the innermost line of the user's
    line: str  # what stands there
    read_only: str  # what to say if it was raised for writing to a shared array, else ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else self.kind


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of it."""

    seconds: float  # of a second call, if there was one
    form: Form | None  # None: it raised
    error: Raised | None


def probe(patient: Patient) -> Probed:
    """Ask for one item, in a process that has made no other."""
    settle(patient)
    (index,) = patient.sample
    start = time.perf_counter()
    try:
        batch = patient.item(index)
    except (Exception, KeyboardInterrupt) as error:  # the latter is the source's own: Ctrl-C does not reach workers
        return Probed(time.perf_counter() - start, None, raised(error, patient.source))
    seconds = time.perf_counter() - start
    seen = form(batch)  # before the second call, which may write to what the first one returned
    start = time.perf_counter()
    try:
        patient.item(index)  # once what it needs is there
    except Exception:  # for the check of purity to see
        return Probed(seconds, seen, None)
    return Probed(time.perf_counter() - start, seen, None)


def settle(patient: Patient) -> None:
    """Begin with generators of the source's own that are the same in every process that observes it.

    The engine has seeded them already, by the number of the observation, which for it is an item.
    """
    if isinstance(patient.source, Arrays):
        return
    numbers: dict[bytes, int] = {}
    for held in OwnGenerators(patient.source).held:
        state = held.base.digest()
        held.way.seed(numbers.setdefault(state, len(numbers)).to_bytes(16, "little"))  # those alike remain so


def raised(error: BaseException, source: Any) -> Raised:
    """What to tell of an exception: where in the user's code it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_users_file(frame.filename, source)] or list(frames)
    frame = own[-1]
    place = Place(frame.filename, frame.lineno or 0, frame.name)
    hint = read_only_hint(error, source) or ""
    text = str(error)[:MOST_TEXT]
    return Raised(type(error).__qualname__, text, place, frame.line or "", hint)
