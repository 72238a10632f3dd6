"""Shuffled orders: each item once, every order as likely as the next, any part without the rest."""

from __future__ import annotations

import math
import pickle
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from procession.errors import ConfigError
from procession.order import shuffle
from procession.order.sampler import Draw
from procession.order.shuffle import Shuffled, Window

MANY = settings(max_examples=200, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 2**128)
EPOCHS = st.integers(0, 2**40)
SIZES = st.integers(2, 12) | st.sampled_from([255, 256, 257, 700, 10**30])
SHUFFLED = Shuffled()
SAMPLERS = st.just(SHUFFLED) | st.builds(Window, SIZES)
SURE = 1e-6  # a test of a fair order fails by chance with this probability

Order = npt.NDArray[np.int64]


def whole(length: int, seed: int = 0, epoch: int = 0, sampler: Shuffled | Window = SHUFFLED) -> Order:
    return sampler.pick(range(length), Draw(length, seed, epoch))


def uniform(counts: Any) -> float:
    """The probability that counts as uneven as these come from equal chances."""
    return float(stats.chisquare(np.asarray(counts).ravel()).pvalue)


def independent(first: Order, second: Order, length: int, cells: int = 10) -> float:
    """The probability of what is seen if where `first` are does not tell where `second` are."""
    table, _, _ = np.histogram2d(first, second, bins=cells, range=[[0, length], [0, length]])
    if not (table.sum(axis=0).all() and table.sum(axis=1).all()):
        return 0.0  # of ten cells, one was never hit
    return float(stats.chi2_contingency(table).pvalue)


# --- each item once ---


@MANY
@given(SAMPLERS, st.integers(0, 600), SEEDS, EPOCHS)
def test_every_item_comes_once(sampler: Shuffled | Window, length: int, seed: int, epoch: int) -> None:
    order = whole(length, seed, epoch, sampler)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(length))
    assert (sampler.count(length), sampler.repeats) == (length, False)


@pytest.mark.parametrize(
    "length",
    [
        65_535,
        65_536,
        65_537,
        65_538,
        199_999,
        200_003,
        *(257**2 + k for k in (-1, 0, 1)),
        *(448**2 + k for k in (-1, 0, 1)),
    ],
)
def test_every_item_comes_once_where_there_is_no_table(length: int) -> None:
    for seed in range(2):
        assert np.array_equal(np.sort(whole(length, seed, 5)), np.arange(length))


@MANY
@given(st.integers(1, 2**62), SEEDS, EPOCHS, st.integers(0), st.integers(1, 2**40))
def test_any_part_of_a_long_order_can_be_had(length: int, seed: int, epoch: int, start: int, step: int) -> None:
    places = range(start % length, length, step)[:300]
    items = Shuffled().pick(places, Draw(length, seed, epoch))
    assert len(set(items.tolist())) == len(places)
    assert items.min() >= 0
    assert items.max() < length


@MANY
@given(SAMPLERS, st.integers(0, 900), SEEDS, st.data())
def test_a_part_is_what_the_whole_has_there(
    sampler: Shuffled | Window, length: int, seed: int, data: st.DataObject
) -> None:
    part = data.draw(st.slices(length))
    items = sampler.pick(range(length)[part], Draw(length, seed, 3))
    assert np.array_equal(items, whole(length, seed, 3, sampler)[part])


@pytest.mark.parametrize("sampler", [Shuffled(), Window(3), Window(1000), Window(100_000)])
def test_a_part_is_what_the_whole_has_there_in_long_orders(sampler: Shuffled | Window) -> None:
    length = 250_001
    order = whole(length, 1, 1, sampler)
    assert np.array_equal(np.sort(order), np.arange(length))
    for part in (
        slice(0, 1),
        slice(99_000, 101_024),
        slice(None, None, 1001),
        slice(length - 5, None),
        slice(9, 0, -2),
    ):
        assert np.array_equal(sampler.pick(range(length)[part], Draw(length, 1, 1)), order[part])


# --- every order as likely ---


@pytest.mark.parametrize("length", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("sampler", [Shuffled(), Window(6)], ids=["shuffled", "window"])
def test_all_permutations_are_equally_likely(length: int, sampler: Shuffled | Window) -> None:
    seen = Counter(tuple(whole(length, seed, 7, sampler).tolist()) for seed in range(20 * math.factorial(length)))
    assert len(seen) == math.factorial(length)
    assert uniform([*seen.values()]) > SURE


def test_every_item_is_as_likely_at_every_place() -> None:
    length, seeds = 50, 4000
    orders = np.array([whole(length, seed) for seed in range(seeds)])
    counts = np.array([np.bincount(orders[:, place], minlength=length) for place in range(length)])
    # Rows and columns have fixed sums, hence the factor and the degrees of freedom.
    squares = ((counts - seeds / length) ** 2).sum() / (seeds / length) * (length - 1) / length
    assert stats.chi2.sf(squares, (length - 1) ** 2) > SURE


def test_every_pair_of_items_is_as_likely_at_the_first_two_places_and_at_the_last() -> None:
    length, seeds = 50, 15_000
    orders = np.array([whole(length, seed) for seed in range(seeds)])
    for one, two in ((0, 1), (48, 49)):
        counts = np.bincount(orders[:, one] * length + orders[:, two], minlength=length**2).reshape(length, length)
        assert counts.diagonal().sum() == 0
        assert uniform(counts[~np.eye(length, dtype=bool)]) > SURE


def test_neighbours_in_the_source_are_anywhere_in_the_order() -> None:
    length, seeds = 50, 10_000
    places = np.argsort(np.array([whole(length, 3, epoch) for epoch in range(seeds)]), axis=1)
    for item in (0, 24, 48):
        assert uniform(np.bincount((places[:, item + 1] - places[:, item]) % length, minlength=length)[1:]) > SURE


LONG = 70_000  # above what is sorted: enciphered
RADIX = 265  # of its left digit


def suspicions(order: Order) -> dict[str, float]:
    """How likely a fair order of `LONG` items is to look like this one, in several respects."""
    found = {"items by place": independent(np.arange(LONG), order, LONG)}
    for lag in (1, 2, RADIX, 10 * RADIX, LONG // 2):  # the places differ in one digit, or a little in both
        found[f"pairs {lag} apart"] = independent(order[:-lag], order[lag:], LONG)
        differences = order[lag:] - order[:-lag]
        found[f"left digits {lag} apart"] = uniform(np.bincount(differences % RADIX, minlength=RADIX))
        found[f"right digits {lag} apart"] = uniform(np.bincount(differences % LONG // RADIX)[:-1])
    return found


@pytest.mark.parametrize("epoch", range(6))
def test_a_long_order_looks_like_any_other(epoch: int) -> None:
    found = suspicions(whole(LONG, 2, epoch))
    assert min(found.values()) > SURE, found


def test_a_long_order_looks_like_any_other_across_seeds_and_epochs() -> None:
    places = range(0, LONG, RADIX)
    draws = [Draw(LONG, seed, epoch) for seed in range(60) for epoch in range(60)]
    orders = np.array([Shuffled().pick(places, draw) for draw in draws])
    for place in (0, 1, 100, len(places) - 1):
        assert uniform(np.histogram(orders[:, place], bins=50, range=(0, LONG))[0]) > SURE
        assert uniform(np.bincount(orders[:, place] % RADIX, minlength=RADIX)) > SURE
        assert independent(orders[:-1, place], orders[1:, place], LONG) > SURE  # an epoch and the next
    assert independent(orders[:, 0], orders[:, 1], LONG) > SURE


@pytest.mark.parametrize("length", [10**6, 10**9, 10**12, 2**62])
def test_very_long_orders_look_like_any_other(length: int) -> None:
    starts = range(0, length - 1024, length // 40)
    blocks = [Shuffled().pick(range(start, start + 1024), Draw(length, 4, 4)) for start in starts]
    items = np.array(blocks) // (length // 2**18)  # in floats, 2**62 - 1 is 2**62
    assert uniform(np.histogram(items, bins=100, range=(0, 2**18))[0]) > SURE
    assert independent(items[:, :-1].ravel(), items[:, 1:].ravel(), 2**18) > SURE


def with_rounds(rounds: int) -> Callable[..., npt.NDArray[np.uint64]]:
    """The same network with another number of rounds."""

    def enciphered(values: Any, radices: Any, keys: Any) -> npt.NDArray[np.uint64]:
        right, left = np.divmod(values, radices[0])
        digits = [left, right]
        for number in range(rounds):
            mine = number % 2
            digits[mine] = shuffle._added(digits[mine], digits[1 - mine], keys[number], radices[mine])
        return np.asarray(digits[0] + digits[1] * radices[0])

    return enciphered


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
def test_fewer_rounds_would_be_noticed(monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    monkeypatch.setattr(shuffle, "_rounds", with_rounds(rounds))
    order = whole(LONG, 2, 0)
    assert np.array_equal(np.sort(order), np.arange(LONG))  # a permutation, but no fair one
    assert min(suspicions(order).values()) < SURE


def test_there_are_rounds_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    order = whole(LONG, 2, 0)
    monkeypatch.setattr(shuffle, "_rounds", with_rounds(8))
    assert np.array_equal(whole(LONG, 2, 0), order)
    monkeypatch.setattr(shuffle, "_rounds", with_rounds(5))
    assert min(suspicions(whole(LONG, 2, 0)).values()) > SURE


@pytest.mark.parametrize("sampler", [Shuffled(), Window(100), Window(1000)])
def test_orders_of_seeds_and_epochs_differ(sampler: Shuffled | Window) -> None:
    seeds = [*range(10), 2**32, 2**64, 2**127, 2**128]
    epochs = [*range(10), 2**32, 2**40]
    orders = {tuple(whole(300, seed, epoch, sampler).tolist()) for seed in seeds for epoch in epochs}
    assert len(orders) == len(seeds) * len(epochs)


def test_words_of_the_seed_are_not_taken_for_words_of_the_epoch() -> None:
    assert whole(100, 1 + (2 << 32), 3).tolist() != whole(100, 1, 2 + (3 << 32)).tolist()


# --- windows ---


@MANY
@given(SIZES, st.integers(1, 2**62), SEEDS, EPOCHS, st.integers(0), st.integers(1, 1000))
def test_no_item_is_further_from_its_place_than_a_window(
    size: int, length: int, seed: int, epoch: int, start: int, step: int
) -> None:
    places = range(start % length, length, step)[:100]
    items = Window(size).pick(places, Draw(length, seed, epoch))
    assert all(abs(item - place) < size for item, place in zip(items.tolist(), places, strict=True))
    assert items.min() >= 0
    assert items.max() < length


def _borders(order: Order) -> Order:
    return np.flatnonzero(np.maximum.accumulate(order)[:-1] == np.arange(order.size - 1)) + 1


@pytest.mark.parametrize("size", [20, 300, 70_000])
def test_windows_are_shuffled_each_by_itself(size: int) -> None:
    order = whole(10 * size, 0, 0, Window(size))
    borders = _borders(order)
    shift = Counter((borders % size).tolist()).most_common(1)[0][0]
    assert np.isin(range(shift or size, 10 * size, size), borders).all()
    assert borders.size < 20  # a window seldom falls into two
    windows = [order[start : start + size] - start for start in range(shift, 9 * size, size)]
    assert len({tuple(window.tolist()) for window in windows}) == len(windows) >= 9


def test_orders_within_windows_are_equally_likely_and_independent() -> None:
    length = 30_002
    order = whole(length, 5, 5, Window(3))
    first = next(k for k in range(1, 4) if (_borders(order) % 3 == k % 3).sum() >= 10_000)
    rows = order[first : first + 9_999 * 3].reshape(-1, 3) % 3
    codes = rows[:, 0] * 3 + rows[:, 1]
    kinds = np.unique(codes, return_inverse=True)[1]
    assert kinds.max() == 5
    assert uniform(np.bincount(kinds)) > SURE
    assert independent(kinds[:-1], kinds[1:], 6, 6) > SURE


def test_borders_of_windows_differ_between_epochs() -> None:
    epochs, length = 4000, 12
    orders = np.array([whole(length, 0, epoch, Window(2)) for epoch in range(epochs)])
    swapped = (orders[:, :-1] == np.arange(1, length)).sum(axis=0)
    # A place is first in its window every other time, and then swapped with the next every other time.
    assert all(stats.binomtest(int(count), epochs, 0.25).pvalue > SURE for count in swapped)


def test_a_window_of_everything_is_one_window() -> None:
    for seed in range(20):
        assert not _borders(whole(200, seed, 0, Window(200))).size


@pytest.mark.parametrize("size", [1, 0, -3, 2.0, "5", None, True, [4]])
def test_a_window_needs_a_size(size: Any) -> None:
    with pytest.raises(ConfigError) as error:
        Window(size)
    assert f"got {size!r} of type {type(size).__name__}" in str(error.value)
    assert "write Window(1000), or shuffle=False for the order of the source" in str(error.value)


# --- for ever, everywhere ---

PLACES = range(10)
FIXED: dict[tuple[Shuffled | Window, int, int, int], str] = {
    (Shuffled(), 10, 0, 0): "7 0 1 2 8 3 4 6 9 5",
    (Shuffled(), 1000, 0, 0): "890 547 959 683 675 723 861 162 780 6",
    (Shuffled(), 1000, 0, 1): "726 516 20 12 111 977 917 841 770 617",
    (Shuffled(), 1000, 1, 0): "83 581 292 67 269 701 514 201 317 383",
    (Shuffled(), 65536, 2**128, 2**40): "60063 63966 11880 17478 30040 39695 29310 38641 48499 22284",
    (Shuffled(), 65537, 2**128, 2**40): "34066 3101 60346 27871 28004 27646 47343 50818 32509 13845",
    (Shuffled(), 10**6, 0, 0): "783835 526499 410141 384081 668299 404578 764815 283687 676893 704611",
    (Shuffled(), 10**9, 7, 3): "166855038 499597929 690682583 790720937 265604746 "
    "812676507 122582230 68792674 155729904 512291686",
    (Shuffled(), 10**12, 7, 3): "133649110234 418141680217 631236542351 643137998669 339737380724 "
    "219579027268 530483884918 432239369024 875570567166 787590219091",
    (
        Shuffled(),
        2**62,
        7,
        3,
    ): "4420862720912065994 1282070167838358739 94201603158571972 2984222542333205362 1469003403807582118 "
    "3633461386873764585 1803332766990119786 1920417670361737860 2156137085175879343 3997048433667458122",
    (Window(4), 10**6, 0, 0): "0 1 3 2 4 5 9 8 7 6",
    (Window(4), 10**6, 0, 1): "2 1 0 6 3 4 5 8 7 9",
    (Window(1000), 10**6, 7, 3): "60 61 114 50 81 196 198 51 177 172",
    (Window(10**5), 10**12, 7, 3): "7440 7114 7616 60 19228 25434 24408 29984 24289 22950",
    (Window(10**5), 1000, 7, 3): "60 61 604 355 682 750 720 476 774 330",
}


@pytest.mark.parametrize("case", FIXED, ids=str)
def test_the_order_of_a_seed_is_fixed_for_ever(case: tuple[Shuffled | Window, int, int, int]) -> None:
    # Written down once: a run that is resumed with a later version has to go on in the same order.
    sampler, length, seed, epoch = case
    assert " ".join(map(str, sampler.pick(PLACES, Draw(length, seed, epoch)))) == FIXED[case]


@pytest.mark.parametrize("sampler", [Shuffled(), Window(4), Window(1000), Window(10**9)])
def test_a_long_order_takes_no_memory(sampler: Shuffled | Window) -> None:
    shuffle._table.cache_clear()
    tracemalloc.start()
    for start in range(0, 10**12, 10**11):
        sampler.pick(range(start, start + 1024), Draw(10**12, 0, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_samplers_are_values() -> None:
    assert pickle.loads(pickle.dumps(Window(7))) == Window(np.int64(7)) != Window(8)  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(Shuffled())) == Shuffled()
    assert len({Shuffled(), Shuffled(), Window(3), Window(3)}) == 2
    assert [sampler.describe() for sampler in (Shuffled(), Window(1000))] == ["shuffled", "Window(1000)"]


def test_what_is_kept_cannot_be_changed() -> None:
    order = whole(5)
    order[:] = 0
    assert sorted(whole(5).tolist()) == [0, 1, 2, 3, 4]
