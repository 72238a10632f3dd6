"""What follows a source to the workers after it was sent: only what has changed on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from procession.capture.pickling import from_shared, pickled, to_shared
from procession.capture.state import Changes, Rebound, Tracker, apply


class Plain:
    """A source whose state is its attributes."""

    def __init__(self) -> None:
        self.number = 1
        self.small = np.zeros(10)
        self.large = np.zeros(100_000)
        self.other = np.ones(100_000)
        self.tree = {"a": [np.zeros(3)]}


class WithState(Plain):
    """A source that says itself what travels."""

    def __getstate__(self) -> Any:
        return {"number": self.number}

    def __setstate__(self, state: Any) -> None:
        self.number = state["number"] + 100


def sent(source: Any) -> tuple[Tracker, Any]:
    """Return the tracker of a source that has been sent, and the copy that arrived."""
    parts = pickled(source, "source")
    payload, descriptors = to_shared(parts)
    tracker = Tracker(source, parts, payload, descriptors)
    return tracker, from_shared(payload, descriptors)


def travelled(changes: Changes) -> Changes:
    again: Changes = from_shared(*to_shared(pickled(changes, "source")))
    return again


def edit_small(source: Plain) -> None:
    source.small[3] += 1


def edit_large(source: Plain) -> None:
    source.large[-1] += 1


def edit_tree(source: Plain) -> None:
    source.tree["a"][0][1] += 1


def rebind(source: Plain) -> None:
    source.large = np.ones(3)


def add(source: Plain) -> None:
    source.added = [1, 2]  # type: ignore[attr-defined]


def remove(source: Plain) -> None:
    del source.other


@pytest.mark.parametrize(
    ("change", "names", "removed"),
    [
        (edit_small, ["small"], ()),
        (edit_large, ["large"], ()),
        (edit_tree, ["tree"], ()),
        (rebind, ["large"], ()),
        (add, ["added"], ()),
        (remove, [], ("other",)),
    ],
)
def test_only_what_changed_is_sent(change: Any, names: list[str], removed: tuple[str, ...]) -> None:
    source = Plain()
    tracker, copy = sent(source)
    assert tracker.changes(source) is None
    for _ in range(2):  # a change of what has changed before is a change too
        change(source)
        changes = tracker.changes(source)
        assert changes is not None
        assert list(changes.attributes) == [(0, name) for name in names]
        assert changes.removed == tuple((0, name) for name in removed)
        copy = apply(travelled(changes), copy)
        assert repr(vars(copy)) == repr(vars(source))
        assert tracker.changes(source) is None
        if change in (add, remove, rebind):
            break


def test_unchanged_large_arrays_are_not_sent_again() -> None:
    source = Plain()
    tracker, _ = sent(source)
    source.number = 2
    changes = tracker.changes(source)
    assert changes is not None
    assert len(pickled(changes, "source").stream) < 1000


def test_a_source_with_its_own_state_is_sent_as_a_whole() -> None:
    source = WithState()
    tracker, copy = sent(source)
    assert copy.number == 101
    source.large[0] = 1  # which is not part of its state
    assert tracker.changes(source) is None
    source.number = 2
    changes = tracker.changes(source)
    assert changes is not None
    assert apply(travelled(changes), copy).number == 102


def test_rebinding_is_seen_without_hooks_and_nothing_else() -> None:
    source = Plain()
    watch = Rebound(source)
    assert watch.changes(source) is None
    source.small[0] = 9
    assert watch.changes(source) is None
    source.number, source.large = 2, source.large.copy()
    del source.other
    changes = watch.changes(source)
    assert changes is not None
    assert list(changes.attributes) == [(0, "number"), (0, "large")]
    assert changes.removed == ((0, "other"),)
    assert watch.changes(source) is None
