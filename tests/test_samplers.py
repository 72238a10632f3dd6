"""Orders other than the source's: the same in every executor, with random numbers of each occurrence's own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pytest

import procession
from procession import Balanced, ConfigError, Faults, Loader, SkippedWarning, StateError, Weighted, Window
from tests.conftest import ExecutorName
from tests.support import Made, form, streams

LENGTH = 30
LABELS = [*"aaaaaaaaaaaaaaaaaaaabbbbbbbccc"]


class Own:
    """An order of one's own."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make
        self.asked: list[int] = []

    def indices(self, epoch: int) -> Any:
        self.asked.append(epoch)
        return self.make(epoch)


SAMPLERS: dict[str, Callable[[], Any]] = {
    "shuffled": lambda: True,
    "window": lambda: Window(7),
    "window of all": lambda: Window(1000),
    "weighted": lambda: Weighted(np.arange(LENGTH)),
    "weighted, once": lambda: Weighted(np.arange(LENGTH), replacement=False),
    "weighted, some": lambda: Weighted(np.ones(LENGTH), count=11),
    "weighted, many": lambda: Weighted([1] + [0] * (LENGTH - 2) + [2], count=100),
    "balanced": lambda: Balanced(LABELS),
    "balanced, once": lambda: Balanced(LABELS, replacement=False),
    "own": lambda: Own(lambda epoch: [epoch, 3, 3, *range(LENGTH)]),
    "own range": lambda: Own(lambda epoch: range(29, -1, -2)),
    "own array": lambda: Own(lambda epoch: np.roll(np.arange(LENGTH, dtype=np.uint8), epoch)),
    "own, one": lambda: Own(lambda epoch: (epoch,)),
}
OPTIONS: list[dict[str, Any]] = [{}, {"batch_size": 4}, {"batch_size": 7, "drop_remainder": True}]


def noisy(index: int) -> Any:
    return {"index": np.array(index), "noise": procession.rng().random(2)}


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_stream_is_that_of_serial(executor: ExecutorName, name: str) -> None:
    rows = {"x": np.arange(LENGTH * 2).reshape(LENGTH, 2), "y": np.arange(LENGTH)}
    cases = [*((Made(noisy, LENGTH), options) for options in OPTIONS[: 1 if name == "own, one" else 3])]
    if name != "own, one":
        cases += [(rows, options) for options in OPTIONS[1:]]  # type: ignore[misc]
    for source, options in cases:
        want = streams(source, "serial", 3, shuffle=SAMPLERS[name](), seed=8, **options)
        assert streams(source, executor, 3, shuffle=SAMPLERS[name](), seed=8, workers=3, **options) == want


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_and_arrays_come_in_the_order_of_items(name: str) -> None:
    def flat(source: Any, **options: Any) -> list[list[int]]:
        with Loader(source, shuffle=SAMPLERS[name](), seed=8, workers=0, **options) as loader:
            return [[int(i) for batch in loader for i in np.ravel(batch)] for _ in range(2)]

    want = flat(Made(np.asarray, LENGTH))
    assert flat(Made(np.asarray, LENGTH), batch_size=4) == want
    assert flat(np.arange(LENGTH), batch_size=7) == want
    assert (want[0] != want[1]) == (name != "own range")


def test_lengths(executor: ExecutorName) -> None:
    for name, items in (("weighted, many", 100), ("balanced, once", 9), ("own", 33), ("weighted, once", 29)):
        for options, count in zip(OPTIONS, (items, -(-items // 4), items // 7), strict=True):
            source = Made(np.asarray, LENGTH)
            with Loader(source, executor=executor, shuffle=SAMPLERS[name](), seed=8, workers=2, **options) as loader:
                assert len(loader) == count == len(list(loader))


def test_a_window_stays_near(executor: ExecutorName) -> None:
    with Loader(list(range(LENGTH)), executor=executor, shuffle=Window(7), seed=1, workers=2) as loader:
        for epoch in (list(loader), list(loader)):
            assert sorted(epoch) == list(range(LENGTH)) != epoch
            assert all(abs(place - index) < 7 for place, index in enumerate(epoch))


def test_classes_are_balanced(executor: ExecutorName) -> None:
    with Loader(LABELS, executor=executor, shuffle=Balanced(LABELS), seed=1, workers=2) as loader:
        assert Counter(loader) == {"a": 10, "b": 10, "c": 10}


def test_what_weighs_nothing_never_comes(executor: ExecutorName) -> None:
    weights = [0, 3, 0, 1]
    with Loader(list(range(4)), executor=executor, shuffle=Weighted(weights, count=400), seed=1, workers=2) as loader:
        counts = Counter(loader)
    assert set(counts) == {1, 3} and 250 < counts[1] < 350


# --- random numbers of items that come more than once ---

TWICE: dict[str, Callable[[], Any]] = {
    "weighted": lambda: Weighted(np.ones(4), count=40),
    "balanced": lambda: Balanced([0, 1, 1, 0], count=40),
    "own": lambda: Own(lambda epoch: [0, 1, 2, 3, 3, 3, 1, epoch]),
}


def draws(here: bool, index: int) -> Any:
    if here:
        return index, np.random.rand(2), procession.rng().random(2)
    return index, procession.rng().random(2)


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("name", TWICE)
def test_each_time_an_item_has_other_numbers(executor: ExecutorName, name: str, batch_size: int | None) -> None:
    source = Made(partial(draws, executor != "threads"), 4)  # threads share numpy's global generator
    options: dict[str, Any] = {"seed": 5, "batch_size": batch_size}
    want = streams(source, "serial", 2, shuffle=TWICE[name](), **options)
    for workers in (1, 2, 3, 5):
        assert streams(source, executor, 2, shuffle=TWICE[name](), workers=workers, **options) == want
    with Loader(source, executor=executor, shuffle=TWICE[name](), workers=2, **options) as loader:
        rows: list[Any] = []
        for _ in range(2):
            for batch in loader:
                rows += [batch] if batch_size is None else [*zip(*batch, strict=True)]
    for column in range(1, len(rows[0])):
        told = [row[column].tobytes() for row in rows]
        assert len(set(told)) == len(told) > 4


def test_the_first_time_in_any_order_is_told_apart_by_its_place() -> None:
    """A source that is read in order draws the same as without a sampler where items come once."""
    source = Made(noisy, LENGTH)
    want = sorted(map(repr, streams(source, "serial", seed=3)[0]))
    for sampler in (True, Window(4), Own(lambda epoch: range(LENGTH)), Weighted(np.ones(LENGTH), replacement=False)):
        assert sorted(map(repr, streams(source, "serial", seed=3, shuffle=sampler)[0])) == want


def test_an_item_that_comes_twice_and_fails(executor: ExecutorName) -> None:
    def faulty(index: int) -> Any:
        if index == 2:
            raise ValueError("bad 2")
        return np.array(index)

    order = Own(lambda epoch: [0, 2, 1, 2, 3, 2, 2, 2])
    options: dict[str, Any] = {"shuffle": order, "workers": 2, "faults": Faults(on_error="skip")}
    with (
        Loader(Made(faulty, 4), executor=executor, **options) as loader,
        pytest.warns(SkippedWarning, match="1 item was"),
    ):
        assert [int(batch) for batch in loader] == [0, 1, 3]
    with (
        Loader(Made(faulty, 4), executor=executor, batch_size=2, **options) as loader,
        pytest.warns(SkippedWarning, match="1 item was"),
    ):
        assert [batch.tolist() for batch in loader] == [[0], [1], [3]]


# --- an order of one's own ---


def test_an_order_that_is_drawn_is_drawn_once(executor: ExecutorName) -> None:
    order = Own(lambda epoch: np.random.permutation(LENGTH))
    with Loader(list(range(LENGTH)), executor=executor, shuffle=order, workers=3) as loader:
        epochs = []
        for _ in range(4):
            assert len(loader) == LENGTH
            epochs.append(list(loader))
            loader.state_dict()
    assert [sorted(epoch) for epoch in epochs] == [list(range(LENGTH))] * 4
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert order.asked[:4] == [0, 1, 2, 3]


def test_a_deterministic_order_may_be_gone_on_with(executor: ExecutorName) -> None:
    def order() -> Any:
        return Own(lambda epoch: np.random.default_rng(epoch).permutation(LENGTH))

    source = Made(noisy, LENGTH)
    options: dict[str, Any] = {"executor": executor, "workers": 2, "seed": 1}
    want = streams(source, executor, 2, shuffle=order(), seed=1)
    with Loader(source, shuffle=order(), **options) as loader:
        before = [form(batch) for batch in islice(loader, 11)]
        state = json.loads(json.dumps(loader.state_dict()))
    with Loader(source, shuffle=order(), **options) as loader:
        loader.load_state_dict(state)
        assert before + [form(batch) for batch in loader] == want[0]
        assert [form(batch) for batch in loader] == want[1]
    with (
        Loader(source, shuffle=Own(lambda epoch: range(LENGTH)), **options) as loader,
        pytest.raises(StateError, match="own order"),
    ):
        loader.load_state_dict(state)


def test_an_order_that_fails_leaves_the_loader_whole(executor: ExecutorName) -> None:
    def sometimes(epoch: int) -> Any:
        if epoch == 1 and order.asked.count(1) < 2:
            raise RuntimeError("not yet")
        return range(5)

    order = Own(sometimes)
    with Loader(list(range(5)), executor=executor, shuffle=order, workers=2) as loader:
        assert list(loader) == list(range(5))
        with pytest.raises(RuntimeError, match="not yet"):
            list(loader)
        assert list(loader) == list(range(5))


def test_an_order_is_asked_when_its_epoch_begins(executor: ExecutorName) -> None:
    """Not before: it may depend on what has been learned in the epoch before."""
    order = Own(lambda epoch: range(epoch + 1))
    with Loader(TEN, executor=executor, shuffle=order, workers=2) as loader:
        for epoch in range(4):
            assert list(loader) == list(range(epoch + 1))  # which asks for the length, too, while it reads
            assert len(loader) == epoch + 1
            loader.state_dict()
            assert order.asked == list(range(epoch + 1))


def test_an_order_follows_a_length_that_a_hook_changes(executor: ExecutorName) -> None:
    class Growing(Made):
        def on_epoch_begin(self) -> None:
            self.length += 1

    source = Growing(abs, 1)
    order = Own(lambda epoch: range(source.length))
    with Loader(source, executor=executor, shuffle=order, workers=2) as loader:
        assert [list(loader) for _ in range(3)] == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]
    for sampler in (Window(2), True):
        with Loader(Growing(abs, 1), executor=executor, shuffle=sampler, workers=2) as loader:
            assert [sorted(loader) for _ in range(3)] == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]


# --- what cannot be meant ---


class Endless:
    """A source that has no end."""

    num_batches = None

    def __getitem__(self, index: int) -> Any:
        return index


TEN = list(range(10))
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "few weights": (lambda: Loader(TEN, shuffle=Weighted([1, 2])), r"2 weights and the source has 10 items"),
    "many labels": (lambda: Loader(TEN, shuffle=Balanced([1] * 11)), r"11 labels and the source has 10 items"),
    "too large": (lambda: Loader(TEN, shuffle=Own(lambda e: [0, 10])), r"Own\.indices\(0\) has 10 at place 1.*0 to 9"),
    "negative": (lambda: Loader(TEN, shuffle=Own(lambda e: [-1])), r"has -1 at place 0"),
    "floats": (lambda: Loader(TEN, shuffle=Own(lambda e: [0.0])), r"must return ints, got an array of dtype float64"),
    "a mask": (lambda: Loader(TEN, shuffle=Own(lambda e: [True] * 10)), r"write numpy\.flatnonzero\(mask\)"),
    "two axes": (lambda: Loader(TEN, shuffle=Own(lambda e: [[0]])), r"shape \(1, 1\)"),
    "nothing": (lambda: Loader(TEN, shuffle=Own(lambda e: [])), r"is empty"),
    "None": (lambda: Loader(TEN, shuffle=Own(lambda e: None)), r"None of type NoneType"),
    "ragged": (lambda: Loader(TEN, shuffle=Own(lambda e: [[0], [0, 1]])), r"must be a 1-D array or list"),
    "an int": (lambda: Loader(TEN, shuffle=1000), r"got 1000; to shuffle within windows of 1000 items"),
    "0": (lambda: Loader(TEN, shuffle=0), r"shuffle must be"),
    "a list": (lambda: Loader(TEN, shuffle=[1, 2, 3]), r"method indices\(epoch\).*got \[1, 2, 3\]"),
    "a word": (lambda: Loader(TEN, shuffle="yes"), r"got 'yes'"),
    "endless": (lambda: Loader(Endless(), shuffle=Own(lambda e: [0])), r"needs one source that has an end"),
    "window of 1": (lambda: Window(1), r"at least 2, got 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize("sampler", [Window, Weighted, Balanced])
def test_a_class_in_place_of_a_sampler(sampler: Any) -> None:
    with pytest.raises(ConfigError, match=rf"shuffle must be.*a class; write {sampler.__name__}\(\.\.\.\)"):
        Loader(TEN, shuffle=sampler)


def test_what_an_order_says_later_is_refused_then(executor: ExecutorName) -> None:
    order = Own(lambda epoch: [epoch * 6])
    with Loader(TEN, executor=executor, shuffle=order, workers=2) as loader:
        assert [list(loader), list(loader)] == [[0], [6]]
        with pytest.raises(ConfigError, match=r"indices\(2\) has 12"):
            list(loader)
