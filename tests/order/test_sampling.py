"""Uneven orders: by weight, by class, and the user's own."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from itertools import permutations
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st
from scipy import stats

from procession.errors import ConfigError
from procession.order import sampling
from procession.order.given import Given, given
from procession.order.sampler import Draw
from procession.order.sampling import Balanced, Weighted
from procession.order.shuffle import Key, exponentials, fractions

MANY = settings(max_examples=200, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 2**128)
EPOCHS = st.integers(0, 2**40)
WEIGHTS = st.lists(st.floats(0, 1e300) | st.just(0.0), min_size=1, max_size=40).filter(any)
LABELS = st.lists(st.sampled_from(["a", "b", "c", "d"]) | st.just("a"), min_size=1, max_size=60)
SURE = 1e-6  # a test of a fair order fails by chance with this probability

Order: TypeAlias = npt.NDArray[np.int64]
Sampler: TypeAlias = Weighted | Balanced


def whole(sampler: Sampler, length: int, seed: int = 0, epoch: int = 0) -> Order:
    return sampler.pick(range(sampler.count(length)), Draw(length, seed, epoch))


def fair(counts: Any, chances: Any) -> bool:
    """Whether these are what items with such chances may well come to."""
    counts, chances = np.asarray(counts), np.asarray(chances)
    assert not counts[chances == 0].any()
    counts, chances = counts[chances > 0], chances[chances > 0]
    return bool(stats.chisquare(counts, chances / chances.sum() * counts.sum()).pvalue > SURE)


# --- weights ---


@MANY
@hypothesis_given(WEIGHTS, st.integers(1, 100), SEEDS, EPOCHS)
def test_items_of_weight_0_never_come(weights: list[float], count: int, seed: int, epoch: int) -> None:
    sampler = Weighted(weights, count)
    order = whole(sampler, len(weights), seed, epoch)
    assert (order.size, order.dtype.name, sampler.repeats) == (count, "int64", True)
    assert all(weights[item] > 0 for item in order)


@MANY
@hypothesis_given(WEIGHTS, SEEDS, EPOCHS, st.data())
def test_without_replacement_an_item_comes_once(
    weights: list[float], seed: int, epoch: int, data: st.DataObject
) -> None:
    positive = [item for item, weight in enumerate(weights) if weight > 0]
    sampler = Weighted(weights, replacement=False)
    order = whole(sampler, len(weights), seed, epoch).tolist()
    assert sorted(order) == positive
    assert not sampler.repeats
    count = data.draw(st.integers(1, len(positive)))
    assert whole(Weighted(weights, count, replacement=False), len(weights), seed, epoch).tolist() == order[:count]


def test_items_come_as_often_as_they_weigh() -> None:
    weights = np.array([1, 0, 2, 3.5, 0, 1e-9, 40, 0])
    order = whole(Weighted(weights, 200_000), 8, 3, 3)
    assert fair(np.bincount(order, minlength=8)[:5], weights[:5])
    assert fair(np.bincount(order, minlength=8)[[0, 2, 3, 6]], weights[[0, 2, 3, 6]])
    following = np.bincount(order[:-1] * 8 + order[1:], minlength=64)  # one place tells nothing about the next
    kept = np.outer(*[np.isin(range(8), [0, 2, 3, 6])] * 2).ravel()
    assert fair(following[kept], np.outer(weights, weights).ravel()[kept])


def test_the_least_and_the_greatest_fraction_find_an_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "fractions", lambda numbers, key: np.array([0, 0.5, 1 - 2**-53]))
    for weight in (1, 3, 0.1, 5e-324, 1.7e308):
        assert whole(Weighted([0, weight, 0, weight, 0], 3), 5).tolist() == [1, 3, 3]


def test_each_draw_is_from_the_items_that_are_left() -> None:
    weights = [1.0, 2.0, 3.0, 0.0, 6.0]
    sampler = Weighted(weights, replacement=False)
    orders = Counter(tuple(whole(sampler, 5, 0, epoch).tolist()) for epoch in range(20_000))
    cases = [*permutations([0, 1, 2, 4])]
    chances = [
        math.prod(weights[k] / sum(weights[j] for j in case[at:]) for at, k in enumerate(case)) for case in cases
    ]
    assert fair([orders[case] for case in cases], chances)


def test_the_sum_of_weights_may_be_anything() -> None:
    for scale in (1.7e308, 1e-300, 5e-324):
        assert fair(np.bincount(whole(Weighted([scale] * 4, 10_000), 4), minlength=4), [1] * 4)
        assert sorted(whole(Weighted([scale] * 4, replacement=False), 4).tolist()) == [0, 1, 2, 3]
    assert set(whole(Weighted([1.7e308, 5e-324], 1000), 2).tolist()) == {0}
    assert whole(Weighted([5e-324, 1.7e308], replacement=False), 2).tolist() == [1, 0]


def test_exponentials_are_logarithms_of_fractions() -> None:
    numbers, key = np.arange(100_000), Key(1, 2, 3)
    assert np.allclose(exponentials(numbers, key), -np.log1p(-fractions(numbers, key)), rtol=1e-14, atol=0)
    assert stats.kstest(exponentials(numbers, key), "expon").pvalue > SURE
    assert stats.kstest(fractions(numbers, key), "uniform").pvalue > SURE


# --- classes ---


@MANY
@hypothesis_given(LABELS, st.integers(1, 150) | st.none(), SEEDS, EPOCHS)
def test_each_run_has_each_class_once(labels: list[str], count: int | None, seed: int, epoch: int) -> None:
    sampler, classes = Balanced(labels, count), len(set(labels))
    order = whole(sampler, len(labels), seed, epoch)
    assert (order.size, order.dtype.name, sampler.repeats) == (count or len(labels), "int64", True)
    for start in range(0, order.size, classes):
        run = [labels[item] for item in order[start : start + classes]]
        assert len(set(run)) == len(run)


@MANY
@hypothesis_given(LABELS, SEEDS, EPOCHS, st.data())
def test_without_replacement_a_class_comes_as_often_as_the_smallest(
    labels: list[str], seed: int, epoch: int, data: st.DataObject
) -> None:
    sampler, sizes = Balanced(labels, replacement=False), Counter(labels)
    order = whole(sampler, len(labels), seed, epoch).tolist()
    assert len(set(order)) == len(order)
    assert not sampler.repeats
    assert Counter(labels[item] for item in order) == dict.fromkeys(sizes, min(sizes.values()))
    count = data.draw(st.integers(1, len(order)))
    assert whole(Balanced(labels, count, replacement=False), len(labels), seed, epoch).tolist() == order[:count]


@pytest.mark.parametrize("classes", [1, 2, 3, 256, 257, 1000])
def test_runs_of_any_number_of_classes_are_balanced(classes: int) -> None:
    labels = np.arange(4 * classes + 1) * 7 % classes
    for replacement in (True, False):
        sampler = Balanced(labels, 3 * classes, replacement)
        runs = labels[whole(sampler, labels.size, 1)].reshape(3, classes)
        assert np.array_equal(np.sort(runs), [range(classes)] * 3)
        assert classes < 4 or not np.array_equal(runs[0], runs[1])


def test_turns_and_members_are_equally_likely() -> None:
    labels = np.array([0, 1, 0, 2, 0, 1, 2, 0, 0, 0])
    order = whole(Balanced(labels, 60_000), 10, 3)
    turns = labels[order].reshape(-1, 3) @ [9, 3, 1]
    assert fair(np.unique(turns, return_counts=True)[1], [1] * 6)
    assert fair(np.bincount(order), 1 / np.bincount(labels)[labels])
    runs, places = np.nonzero(labels[order].reshape(-1, 3) == 0)
    table, _, _ = np.histogram2d(turns, order.reshape(-1, 3)[runs, places], bins=([*np.unique(turns).tolist(), 99], 10))
    assert stats.chi2_contingency(table[:, table.any(axis=0)]).pvalue > SURE  # whose turn it is tells nothing of who
    pairs = order[:-3] * 10 + order[3:]
    chances = 1 / np.bincount(labels)[labels]
    assert fair(np.bincount(pairs, minlength=100), np.outer(chances, chances).ravel())


def test_without_replacement_members_are_equally_likely() -> None:
    labels = np.array([0, 1, 0, 0, 0, 1])
    sampler = Balanced(labels, replacement=False)
    orders = [whole(sampler, 6, 0, epoch) for epoch in range(6000)]
    firsts = Counter(tuple(item for item in order.tolist() if labels[item] == 0) for order in orders)
    assert len(firsts) == 12
    assert fair([*firsts.values()], [1] * 12)
    assert fair([Counter(order[place] for order in orders)[1] for place in range(4)], [1] * 4)


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "b"],
        np.array(["b", "a", "b"], dtype=object),
        [b"b", b"a", b"b"],
        [True, False, True],
        np.array([9, -9, 9], dtype=np.int8),
        np.array([2**63, 1, 2**63], dtype=np.uint64),
        np.array([2, np.int64(1), 2], dtype=object),
    ],
)
def test_labels_are_anything_that_can_be_sorted(labels: Any) -> None:
    order = whole(Balanced(labels, 2000), 3, 3).tolist()
    assert order == whole(Balanced([1, 0, 1], 2000), 3, 3).tolist()
    assert order.count(1) == 1000


# --- both ---

MADE: dict[str, Sampler] = {
    "weights": Weighted(np.arange(700) % 5, 3000),
    "weights, once": Weighted(np.arange(700) % 5, replacement=False),
    "classes": Balanced(np.arange(700) % 3, 3000),
    "classes, once": Balanced(np.arange(700) % 3, replacement=False),
    "many classes": Balanced(np.arange(700) % 300, 3000),
    "many classes, once": Balanced(np.arange(700) % 300, 599, replacement=False),
}
each_made = pytest.mark.parametrize("sampler", MADE.values(), ids=MADE)


@settings(MANY, max_examples=60)
@hypothesis_given(st.sampled_from([*MADE.values()]), SEEDS, st.data())
def test_a_part_is_what_the_whole_has_there(sampler: Sampler, seed: int, data: st.DataObject) -> None:
    part = data.draw(st.slices(sampler.count(700)))
    items = sampler.pick(range(sampler.count(700))[part], Draw(700, seed, 3))
    assert np.array_equal(items, whole(sampler, 700, seed, 3)[part])


@each_made
def test_orders_of_seeds_and_epochs_differ(sampler: Sampler) -> None:
    orders = {tuple(whole(sampler, 700, seed, epoch)) for seed in (0, 1, 2**64, 2**128) for epoch in (0, 1, 2, 2**40)}
    assert len(orders) == 16


@each_made
def test_samplers_travel(sampler: Sampler) -> None:
    before = len(pickle.dumps(sampler))
    order = whole(sampler, 700)
    again: Sampler = pickle.loads(pickle.dumps(sampler))
    assert len(pickle.dumps(sampler)) == before  # the order stays here
    assert np.array_equal(whole(again, 700), order)
    assert again.describe() == sampler.describe()
    assert again.repeats == sampler.repeats
    assert {sampler: 1, again: 2}[sampler] == 1
    assert not again._held.flags.writeable


def test_what_was_given_may_be_changed_afterwards() -> None:
    weights, labels = np.ones(5), np.array([0, 1, 1, 0, 0], dtype=np.uint8)
    samplers: list[Sampler] = [Weighted(weights), Balanced(labels)]
    orders = [whole(sampler, 5).tolist() for sampler in samplers]
    weights[:4] = 0
    labels[:] = 0
    assert [whole(sampler, 5).tolist() for sampler in samplers] == orders
    assert weights.flags.writeable
    assert labels.flags.writeable


def test_two_epochs_are_kept_and_no_more() -> None:
    sampler = Weighted(np.ones(100), replacement=False)
    for epoch in (0, 1, 0, 1, 2):
        whole(sampler, 100, 0, epoch)
    assert [draw.epoch for draw in sampler._orders] == [1, 2]
    picked = whole(sampler, 100)
    picked[:] = 0
    assert len({*whole(sampler, 100).tolist()}) == 100


FIXED: dict[str, list[str]] = {
    "weights": ["64 166 123 184 364 402 9 569 288 533", "39 143 376 269 98 554 204 563 237 692"],
    "weights, once": ["589 392 138 249 94 394 86 389 277 687", "574 554 227 393 493 626 543 74 96 114"],
    "classes": ["262 260 297 326 523 363 438 458 205 392", "99 440 298 273 386 10 160 335 498 334"],
    "classes, once": ["346 2 693 560 505 162 606 14 538 131", "672 89 457 402 596 382 238 347 330 439"],
    "many classes": ["177 425 423 165 215 390 127 129 577 626", "510 254 31 339 285 456 154 495 213 437"],
    "many classes, once": ["477 425 423 165 215 90 427 429 277 626", "210 554 631 339 285 156 454 495 213 137"],
}


@each_made
def test_the_order_of_a_seed_is_fixed_for_ever(sampler: Sampler, request: pytest.FixtureRequest) -> None:
    # Written down once: a run that is resumed with a later version has to go on in the same order.
    name = request.node.callspec.id
    orders = [sampler.pick(range(10), draw) for draw in (Draw(700, 0, 0), Draw(700, 2**128, 2**40))]
    assert [" ".join(map(str, order)) for order in orders] == FIXED[name]


def test_descriptions_tell_orders_apart() -> None:
    weights = np.ones(10_000)
    described = [
        Weighted(weights, 5000).describe(),
        Weighted(weights, 5000, replacement=False).describe(),
        Weighted(weights).describe(),
        Weighted([*weights[1:], 2]).describe(),
        *(sampler.describe() for sampler in MADE.values()),
        Balanced(["a", "b", "b"]).describe(),
        Balanced(["a", "b", "a"]).describe(),
    ]
    assert len(set(described)) == len(described)
    assert described[0] == "Weighted(10,000 weights, crc 8ef14361, with replacement, count 5,000)"
    assert described[8] == "Balanced(700 labels of 300 classes, crc 7cadfc72, with replacement, count 3,000)"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Weighted([]), "weights is empty"),
        (lambda: Weighted([[1, 2]]), "weights must be a 1-D array or list, got an array of shape (1, 2)"),
        (lambda: Weighted([[1], [2, 3]]), "weights must be a 1-D array or list, got list: "),
        (lambda: Weighted(5), "weights must be a 1-D array or list, got 5 of type int"),
        (lambda: Weighted(cast("Any", {1: 2})), "weights must be a 1-D array or list, got {1: 2} of type dict"),
        (lambda: Weighted(["a"]), "weights must be numbers, got dtype <U1; write numpy.asarray(weights, float)"),
        (lambda: Weighted([1, -2, -3]), "weights[1] is -2.0: "),
        (lambda: Weighted([1, 2, math.nan]), "weights[2] is nan: "),
        (lambda: Weighted([math.inf, 2]), "weights[0] is inf: "),
        (lambda: Weighted([0, 0]), "all 2 weights are 0"),
        (lambda: Weighted([1], 0), "count must be an int of at least 1, or None for the default; got 0 of type int"),
        (lambda: Weighted([1], True), "got True of type bool"),
        (lambda: Weighted([1], cast("Any", 1.5)), "got 1.5 of type float"),
        (lambda: Weighted([1, 0, 2], 3, replacement=False), "count=3 is more than the 2 items with a weight above 0"),
        (lambda: Weighted([1, 0, 2]).count(4), "Weighted was given 3 weights and the source has 4 items"),
        (lambda: Balanced([]), "labels is empty"),
        (lambda: Balanced([[0, 1]]), "got an array of shape (1, 2)"),
        (lambda: Balanced([0.5]), "labels must be ints or strings, got dtype float64; write labels.astype(int)"),
        (lambda: Balanced(np.array(["a", None, "b"])), "labels[1] is None of type NoneType and labels[0] is 'a'"),
        (lambda: Balanced(["a"], -1), "got -1 of type int"),
        (
            lambda: Balanced(["cat", "dog", "cat"], 3, replacement=False),
            "count=3 is more than 2 classes times the 1 members of the smallest, 'dog', and without replacement each",
        ),
        (lambda: Balanced([0, 1]).count(1), "Balanced was given 2 labels and the source has 1 items"),
    ],
)
def test_what_cannot_be_used_is_named(make: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert said in str(error.value)


# --- the user's own ---


class Own:
    """An order that returns what it was given."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def indices(self, epoch: int) -> Any:
        return self.said(epoch) if callable(self.said) else self.said


@pytest.mark.parametrize("said", [[4, 0, 4], np.array([4, 0, 4], dtype=np.uint8), range(4, -1, -2), (4, 1)])
def test_an_order_of_ones_own_is_followed(said: Any) -> None:
    order = given(Own(said), 3, 5)
    indices = [int(index) for index in said]
    picked = order.pick(range(len(said)), Draw(5, 0, 3))
    assert (picked.tolist(), picked.dtype.name) == (indices, "int64")
    assert order.pick(range(1, -1, -1), Draw(5, 0, 3)).tolist() == indices[1::-1]
    assert order.count(5) == len(indices)
    assert order.repeats == (len({*indices}) < len(indices))
    again: Given = pickle.loads(pickle.dumps(order))
    assert again.describe() == order.describe()
    assert not again._indices.flags.writeable


def test_an_order_of_ones_own_is_asked_for_each_epoch_and_copied() -> None:
    kept = np.arange(5)
    order = given(Own(lambda epoch: kept), 0, 5)
    described = order.describe()
    kept[:] = 0
    assert order.pick(range(5), Draw(5, 0, 0)).tolist() == [0, 1, 2, 3, 4]
    assert order.describe() == described == "own order, crc 6c8f4e1c"
    assert given(Own(lambda epoch: [epoch]), 3, 5).pick(range(1), Draw(5, 0, 3)).tolist() == [3]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (object(), "object has no method indices(epoch)"),
        (
            Own([0, 5, 9]),
            "Own.indices(7) has 5 at place 1, and the source has 5 items: indices must be from 0 to 4; 2 of",
        ),
        (Own([0, -1]), "Own.indices(7) has -1 at place 1"),
        (Own(np.array([2**63], dtype=np.uint64)), "has 9223372036854775808 at place 0"),
        (Own([0.0]), "Own.indices(7) must return ints, got an array of dtype float64; write indices.astype(int)"),
        (Own([True, False]), "got an array of dtype bool; write numpy.flatnonzero(mask)"),
        (Own([[0, 1]]), "Own.indices(7) must be a 1-D array or list, got an array of shape (1, 2)"),
        (Own(None), "got None of type NoneType"),
        (Own(iter([1])), "of type list_iterator"),
        (Own([]), "Own.indices(7) is empty"),
    ],
)
def test_an_order_of_ones_own_that_cannot_be_followed(order: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        given(order, 7, 5)
    assert said in str(error.value)


def test_what_an_order_of_ones_own_raises_arrives_as_itself() -> None:
    with pytest.raises(ZeroDivisionError):
        given(Own(lambda epoch: 1 // epoch), 0, 5)
