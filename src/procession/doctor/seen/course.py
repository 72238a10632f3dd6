"""Observations of what items are, asked for in several orders, and of what that changes; several checks judge by them.

probes      each item in a process that has made no other
forward     s0 s1 s2 …    ┐
backward    … s2 s1 s0    ├ each in a process of its own
twice       s0 s0 s1 s1 … │
next_epoch  s0 s1 s2 …    ┘ with the numbers of another epoch
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from procession.doctor.check import Chart, Observation, Patient, Results
from procession.doctor.seen.batch import Form, form
from procession.doctor.seen.changes import Change, Snapshot, surroundings
from procession.doctor.seen.probe import Raised, raised, settle
from procession.order.randomness import Place

Told: TypeAlias = Form | Raised


class Course(NamedTuple):
    """What one process saw."""

    told: dict[int, Told]  # by index
    first: tuple[Change, ...]  # by the first item
    later: tuple[Change, ...]  # by those after it
    whole: tuple[Change, ...]  # by all
    drawn: frozenset[str]  # which global generators were used


def forward(patient: Patient) -> Course:
    """Ask for the items in their order."""
    return _followed(patient, patient.sample)


def backward(patient: Patient) -> Course:
    """Ask for them from the last to the first."""
    return _followed(patient, patient.sample[::-1])


def twice(patient: Patient) -> dict[int, tuple[Told, Told]]:
    """Ask for each twice, at once."""
    settle(patient)
    return {index: (_told(patient, index), _told(patient, index)) for index in patient.sample}


def next_epoch(patient: Patient) -> dict[int, Told]:
    """Ask for them as another epoch does."""
    settle(patient)
    return {index: _told(patient, index, epoch=1) for index in patient.sample}


OBSERVATIONS: tuple[Observation, ...] = (forward, backward, twice)


class Story(NamedTuple):
    """For which items something differs, of those that were compared."""

    fresh: tuple[int, ...]  # between two processes that had made nothing before
    history: tuple[int, ...]  # after other items had been made
    again: tuple[int, ...]  # when asked for a second time
    how: str  # what differs in one of them
    asked: int

    @property
    def anything(self) -> bool:
        """Whether an item is not always the same."""
        return bool(self.fresh or self.history or self.again)

    def __str__(self) -> str:
        """The gravest of it."""
        if self.fresh:
            return f"{indices(self.fresh)} made first by two fresh processes, with equal seeds"
        if self.history:
            return f"{indices(self.history)} of {self.asked} made alone, and after other items, with equal seeds"
        return f"{indices(self.again)} of {self.asked} made twice in the same process, with equal seeds"


def story(chart: Chart, results: Results) -> Story:
    """Compare what the processes were told."""
    one, two, pairs = results.of(forward), results.of(backward), results.of(twice) or {}
    alone = {index: probed.form or probed.error for index, probed in chart.probes.items()}
    courses = [course.told for course in (one, two) if course is not None]
    begun = [(told, next(iter(told))) for told in courses if told]
    begun += [({index: pair[0] for index, pair in pairs.items()}, index) for index in list(pairs)[:1]]
    fresh = [(index, alone.get(index), told[index]) for told, index in begun]
    after = [(index, alone.get(index), seen) for told in courses for index, seen in told.items()]
    again = [(index, *pair) for index, pair in pairs.items()]
    differing = [[each for each in seen if _differ(*each[1:])] for seen in (fresh, after, again)]
    how = next((_how(each[1], each[2]) for seen in differing for each in seen), "")
    indices = [tuple(sorted({each[0] for each in seen})) for seen in differing]
    return Story(indices[0], indices[1], indices[2], how, len(chart.sample))


def equal_in_next_epoch(chart: Chart, results: Results) -> bool | None:
    """Whether all items are the same in another epoch; None if that is not known."""
    later = results.of(next_epoch)
    alone = {index: chart.probes[index].form for index in later or () if index in chart.probes}
    if not alone or later is None:
        return None
    return not any(_differ(one, later[index]) for index, one in alone.items())


def courses(results: Results) -> list[Course]:
    """Those that could be followed."""
    return [course for way in (forward, backward) if (course := results.of(way)) is not None]


def indices(found: Sequence[int], most: int = 5) -> str:
    """`items 0, 4, 9 and 3 more`."""
    shown = ", ".join(map(str, found[:most]))
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return f"item{'s' if len(found) > 1 else ''} {shown}{more}"


def _followed(patient: Patient, order: Iterable[int]) -> Course:
    asked = list(order)
    settle(patient)
    patient.begun  # noqa: B018 - what on_epoch_begin changes, items do not
    code = surroundings(patient.source)
    start = before = Snapshot(patient.source, code)
    told: dict[int, Told] = {}
    drawn: set[str] = set()
    for step, index in enumerate(asked if len(asked) > 1 else asked * 2):
        told.setdefault(index, _told(patient, index))
        drawn |= _drawn(patient, index)
        if step == 0:
            before = Snapshot(patient.source, code)
    end = Snapshot(patient.source, code)
    return Course(told, start.changes(before), before.changes(end), start.changes(end), frozenset(drawn))


def _told(patient: Patient, index: int, epoch: int = 0) -> Told:
    try:
        return form(patient.item(index, epoch))
    except Exception as error:
        return raised(error, patient.source)


def _drawn(patient: Patient, index: int) -> set[str]:
    """Which global generators are not as they were when the item was begun."""
    now = _states(patient)
    patient.generators.seed(Place(patient.seed, 0, index, 0))
    begun = _states(patient)
    return {name for name, state in now.items() if name in begun and state != begun[name]}


def _states(patient: Patient) -> dict[str, Any]:
    state = np.random.get_state(legacy=False)
    inner = {name: np.asarray(part).tobytes() for name, part in state["state"].items()}
    found: dict[str, Any] = {"random": random.getstate(), "numpy.random": (inner, state.get("has_gauss"))}
    if (torch := sys.modules.get("torch")) is not None:
        found["torch"] = torch.get_rng_state().numpy().tobytes()
    generators = patient.generators
    if "tensorflow" in generators._frameworks and not generators._once:
        module = sys.modules.get("tensorflow.python.eager.context")  # which has no public name for it
        inside = getattr(getattr(module, "context", dict)(), "_rng", None)
        if isinstance(inside, random.Random):
            found["TensorFlow's global seed"] = inside.getstate()
    return found


def _differ(one: Told | None, two: Told | None) -> bool:
    if one is None or two is None:
        return False
    if isinstance(one, Form) and isinstance(two, Form):
        return bool(one.differences(two))
    return type(one) is not type(two) or str(one) != str(two)


def _how(one: Any, two: Any) -> str:
    if isinstance(one, Form) and isinstance(two, Form):
        paths = one.differences(two)
        return f"its {paths[0]} differs" if len(one.leaves) > 1 else "its values differ"
    error = one if isinstance(one, Raised) else two
    return f"once it raises {error}"
