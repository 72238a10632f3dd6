"""The arithmetic of partitions: every batch once, by turns, by weights or in sequence, found without walking."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from procession.order.batches import Batches
from procession.order.interleave import MOST_TURNS, Interleaved, course, cycle_of, turns_of
from procession.order.sampler import InOrder
from procession.order.sampling import Weighted
from procession.order.sharding import Shard
from procession.order.shuffle import Shuffled, _table
from procession.partitions import Until

MANY = settings(max_examples=60, deadline=None, derandomize=True, database=None)

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=6).map(tuple)
SOME = st.lists(st.integers(1, 40), min_size=1, max_size=6).map(tuple)  # none of them empty, as in a Loader
WEIGHT = st.integers(1, 9).map(float) | st.floats(0.01, 100.0)

Lengths = tuple[int | None, ...]
Weights = tuple[float, ...] | None


@st.composite
def weighed(draw: st.DrawFn, lengths: st.SearchStrategy[Any] = LENGTHS) -> tuple[Any, tuple[float, ...]]:
    chosen = draw(lengths)
    return chosen, tuple(draw(st.lists(WEIGHT, min_size=len(chosen), max_size=len(chosen))))


def even(lengths: Lengths) -> tuple[float, ...]:
    return (1.0,) * len(lengths)


def walked(lengths: Lengths, weights: Weights, until: Until, most: int = 1000) -> list[tuple[int, int]]:
    """Return for each position the partition, and which of its batches it is."""
    phases, positions = course(lengths, weights, until)
    stops = [*(phase.start for phase in phases), most if positions is None else positions][1:]
    return [phase.find(k) for phase, stop in zip(phases, stops, strict=True) for k in range(phase.start, stop)][:most]


def brute_force(lengths: Lengths, until: Until, most: int = 1000) -> list[tuple[int, int]]:
    """Go round by turns as one would on paper: the ended ones are skipped, for an int they begin again."""
    found: list[tuple[int, int]] = []
    done = [0] * len(lengths)
    part = 0
    bound = min(until, most) if isinstance(until, int) else most
    while len(found) < bound:
        ended = [length is not None and done[k] >= length for k, length in enumerate(lengths)]
        if all(length == 0 for length in lengths):
            break
        if not isinstance(until, int):
            used_up = [k for k, over in enumerate(ended) if over and lengths[k]]
            if all(ended) or (until == "first" and used_up):
                break
        if lengths[part] != 0 and (isinstance(until, int) or not ended[part]):
            found.append((part, done[part]))
            done[part] += 1
        part = (part + 1) % len(lengths)
    return found


def smooth(active: list[int], turns: tuple[int, ...]) -> list[int]:
    """Smooth weighted round-robin, as nginx describes it."""
    credit = dict.fromkeys(active, 0)
    cycle = []
    for _ in range(sum(turns[part] for part in active)):
        for part in active:
            credit[part] += turns[part]
        chosen = max(active, key=lambda part: credit[part])
        credit[chosen] -= sum(turns[part] for part in active)
        cycle.append(chosen)
    return cycle


def interleaved(lengths: Lengths, weights: Weights, until: Until = "all", **options: Any) -> Interleaved:
    """Build it as a loader does."""
    seed = options.pop("seed", 3)
    parts = [Batches(length, seed=seed + (part << 128), **options) for part, length in enumerate(lengths)]
    return Interleaved(tuple(parts), weights, until)


def read(order: Interleaved, positions: int | None = None) -> list[list[tuple[int, int]]]:
    """Return for each position the items, each as (partition, index)."""
    count = order.positions if positions is None else positions
    assert count is not None
    return [[divmod(item, len(order.parts))[::-1] for item in order.items(position)] for position in range(count)]


# --- the course ---


@MANY
@given(weighed())
def test_every_batch_comes_once_and_each_partitions_in_order(case: Any) -> None:
    lengths, weights = case
    for how in (weights, even(lengths), None):
        walk = walked(lengths, how, "all")
        assert len(walk) == sum(lengths) == course(lengths, how, "all")[1]
        for part, length in enumerate(lengths):
            assert [number for p, number in walk if p == part] == list(range(length))


@MANY
@given(LENGTHS)
def test_turns_go_round_and_skip_what_has_ended(lengths: Lengths) -> None:
    for until in ("all", "first", 1, 7, 100):
        assert walked(lengths, even(lengths), until) == brute_force(lengths, until)


def test_an_example_by_hand() -> None:
    names = [f"{'ABC'[part]}{number}" for part, number in walked((5, 2, 3), even((5, 2, 3)), "all")]
    assert names == ["A0", "B0", "C0", "A1", "B1", "C1", "A2", "C2", "A3", "A4"]


@MANY
@given(LENGTHS)
def test_in_sequence_is_one_after_the_other(lengths: tuple[int, ...]) -> None:
    assert walked(lengths, None, "all") == [(part, k) for part, length in enumerate(lengths) for k in range(length)]


@MANY
@given(weighed(SOME))
def test_first_ends_with_the_first_that_ends(case: Any) -> None:
    lengths, weights = case
    for how in (weights, even(lengths)):
        walk = walked(lengths, how, "first")
        counts = Counter(part for part, _ in walk)
        last = walk[-1][0]
        assert counts[last] == lengths[last]
        assert all(counts[part] < length for part, length in enumerate(lengths) if part != last)
        assert walk == walked(lengths, how, "all")[: len(walk)]


@MANY
@given(weighed(SOME), st.integers(1, 200))
def test_a_number_is_that_many(case: Any, number: int) -> None:
    lengths, weights = case
    walk = walked(lengths, weights, number)
    assert len(walk) == number == course(lengths, weights, number)[1]
    for part in range(len(lengths)):
        numbers = [found for p, found in walk if p == part]
        assert numbers == list(range(len(numbers)))


@MANY
@given(LENGTHS, st.integers(0, 6))
def test_one_that_is_endless(lengths: Lengths, at: int) -> None:
    lengths = (*lengths[:at], None, *lengths[at:])
    assert course(lengths, even(lengths), "all")[1] is None
    assert walked(lengths, even(lengths), "all", 300) == brute_force(lengths, "all", 300)
    assert walked(lengths, even(lengths), "first", 300) == brute_force(lengths, "first", 300)
    assert walked(lengths, even(lengths), 50) == brute_force(lengths, 50)
    sequence = [(part, k) for part, length in enumerate(lengths[:at]) for k in range(length or 0)]
    walk = walked(lengths, None, "all", 300)
    assert walk == [*sequence, *((lengths.index(None), k) for k in range(300 - len(sequence)))][:300]


def test_all_endless() -> None:
    assert walked((None, None), (2.0, 1.0), "first", 6) == [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1), (0, 3)]


def test_nothing_at_all() -> None:
    for until in ("all", "first", 5):
        assert walked((0, 0), (1.0, 2.0), until) == []


@MANY
@given(weighed(st.lists(st.integers(10**9, 2 * 10**9) | st.none(), min_size=1, max_size=5).map(tuple)), st.data())
def test_large_lengths_are_found_without_walking(case: Any, data: st.DataObject) -> None:
    """Any position is the one after the position before; all of them add up."""
    lengths, weights = case
    order = interleaved(lengths, weights)
    total = order.positions
    assert total is None or total == sum(lengths)
    start = data.draw(st.integers(0, (10**12 if total is None else total) - 200))
    found = [order._find(position) for position in range(start, start + 200)]
    last: dict[int, int] = {}
    for part, again, number in found:
        assert again == 0
        assert last.setdefault(part, number - 1) == number - 1
        last[part] = number
    if total is not None:
        ends = {order._find(position)[::2] for position in range(total - 1, total - 1 - len(lengths), -1)}
        assert (order._find(total - 1)[0], lengths[order._find(total - 1)[0]] - 1) in ends


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (3.0, 1.0, 2.0), None])
def test_around_the_end_of_a_large_partition(weights: Weights) -> None:
    big = 10**9
    lengths = (big, big + 5, 3)
    order = interleaved(lengths, weights)
    total = 2 * big + 8
    assert order.positions == total
    tail = [order._find(position) for position in range(total - 20, total)]
    assert all(number < lengths[part] for part, _, number in tail)
    assert (1, 0, big + 4) in tail or weights is None
    if weights == (1.0, 1.0, 1.0):  # both by turns, then what is left of one
        assert [part for part, _, _ in tail] == [*([0, 1] * 8)[1:], *[1] * 5]
    phases, _ = course(lengths, weights, "all")
    assert len(phases) == 3
    for earlier, later in pairwise(phases):
        assert earlier.find(later.start - 1)[1] == lengths[earlier.find(later.start - 1)[0]] - 1


def test_many_partitions_of_different_lengths_take_no_time() -> None:
    lengths = tuple(range(1000, 1500))
    start = time.process_time()
    for weights in (even(lengths), None):
        phases, positions = course(lengths, weights, "all")
        assert (len(phases), positions) == (500, sum(lengths))
    assert time.process_time() - start < 5  # 0.2 s; it was 9 when each phase looked at each partition for each turn


# --- weights ---


@MANY
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6).map(tuple))
def test_whole_weights_are_exact(weights: tuple[int, ...]) -> None:
    turns = turns_of(tuple(map(float, weights)))
    assert sum(turns) <= sum(weights)
    assert all(a * weights[0] == weights[k] * turns[0] for k, a in enumerate(turns))
    assert (
        turns
        == turns_of(tuple(weight / 7 for weight in weights))
        == turns_of(tuple(weight * 1e300 for weight in weights))
    )


@MANY
@given(st.lists(WEIGHT, min_size=1, max_size=6).map(tuple))
def test_any_weights_are_met_to_a_thousandth(weights: tuple[float, ...]) -> None:
    turns = turns_of(weights)
    assert min(turns) >= 1 and sum(turns) <= MOST_TURNS + len(turns)
    for weight, part in zip(weights, turns, strict=True):
        assert abs(part / sum(turns) - weight / sum(weights)) < (len(turns) + 1) / MOST_TURNS


@pytest.mark.parametrize(
    ("weights", "turns"),
    [
        ((0.7, 0.2, 0.1), (7, 2, 1)),
        ((1 / 3, 2 / 3), (1, 2)),
        ((5.0,), (1,)),
        ((1e308, 1e308), (1, 1)),
        ((5e-324, 5e-324), (1, 1)),
        ((1e-9, 1.0), (1, 1024)),
        ((1.0, 1e18, 1.0), (1, 1024, 1)),
    ],
)
def test_examples_of_weights(weights: tuple[float, ...], turns: tuple[int, ...]) -> None:
    assert turns_of(weights) == turns


@MANY
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6).map(tuple), st.data())
def test_a_cycle_has_each_ones_share_evenly_spread(turns: tuple[int, ...], data: st.DataObject) -> None:
    active = data.draw(st.lists(st.sampled_from(range(len(turns))), min_size=1, unique=True))
    cycle, ranks, quotas = cycle_of(active, turns)
    total = sum(turns[part] for part in active)
    assert [*cycle] * (total // len(cycle)) == smooth(active, turns)
    assert Counter(cycle) == quotas
    assert all(quotas[part] * total == turns[part] * len(cycle) for part in active)
    seen: Counter[int] = Counter()
    for steps, (part, rank) in enumerate(zip(cycle, ranks, strict=True), 1):
        assert rank == seen[part]
        seen[part] += 1
        assert all(abs(seen[p] - steps * turns[p] / total) < 2 for p in active)


@MANY
@given(weighed(SOME), st.integers(1, 300))
def test_any_prefix_has_about_its_share(case: Any, steps: int) -> None:
    _, weights = case
    turns = turns_of(weights)
    walk = walked((None,) * len(weights), weights, steps)
    counts = Counter(part for part, _ in walk)
    assert all(abs(counts[part] - steps * turn / sum(turns)) < 2 for part, turn in enumerate(turns))


# --- items ---

ORDERS = st.builds(
    lambda case, sequence, shuffle, **options: interleaved(
        case[0], None if sequence else case[1], sampler=Shuffled() if shuffle else InOrder(), **options
    ),
    weighed(SOME),
    sequence=st.booleans(),
    shuffle=st.booleans(),
    batch_size=st.none() | st.integers(1, 7),
    epoch=st.integers(0, 5),
)


@MANY
@given(ORDERS)
def test_every_item_of_every_partition_comes_once(order: Interleaved) -> None:
    batches = read(order)
    assert all(len({part for part, _ in batch}) == 1 for batch in batches)
    assert [batch[0][0] for batch in batches] == [order.part(position) for position in range(len(batches))]
    for part, own in enumerate(order.parts):
        mine = [[index for _, index in batch] for batch in batches if batch[0][0] == part]
        assert mine == [[*own.items(k)] for k in range(own.positions or 0)]
        assert sorted(chain.from_iterable(mine)) == list(range(own.length or 0))
    assert {turn for position in range(len(batches)) for turn in order.turns(position)} == {0}


@MANY
@given(ORDERS, st.integers(1, 150))
def test_passes_over_a_partition_differ(order: Interleaved, number: int) -> None:
    assume(order.weights is not None)
    order = Interleaved(order.parts, order.weights, number)
    batches, turns = read(order), [order.turns(position) for position in range(number)]
    assert order.positions == number == len(batches)
    places = [
        (item, turn)
        for batch, times in zip(batches, turns, strict=True)
        for item, turn in zip(batch, times, strict=True)
    ]
    assert len(set(places)) == len(places)  # an item's random numbers are others each time
    for part, own in enumerate(order.parts):
        mine = [[index for _, index in batch] for batch in batches if batch[0][0] == part]
        once = own.positions or 0
        for start in range(0, len(mine) - once + 1, once):
            one = list(chain.from_iterable(mine[start : start + once]))
            assert sorted(one) == list(range(own.length or 0))
            if own.sampler == InOrder():
                assert one == sorted(one)


def test_each_pass_and_each_partition_is_shuffled_anew() -> None:
    order = interleaved((40, 40), (1.0, 1.0), 240, sampler=Shuffled())
    found = [index for batch in read(order) for _, index in batch]
    passes = [found[part::2][start : start + 40] for part in range(2) for start in (0, 40, 80)]
    assert len({tuple(one) for one in passes}) == 6
    assert all(sorted(one) == list(range(40)) for one in passes)


def test_the_order_of_each_of_many_partitions_is_drawn_once() -> None:
    order = interleaved((5000,) * 20, even((5000,) * 20), sampler=Shuffled(), seed=77)
    before = _table.cache_info().misses
    for position in range(20 * 50):
        order.items(position)
    assert _table.cache_info().misses - before == 20  # 5 ms each


def test_drawn_items_have_other_turns_in_each_pass() -> None:
    order = interleaved((3,), (1.0,), 30, sampler=Weighted([1.0, 1.0, 1.0]))
    places = [
        (item, turn)
        for position in range(30)
        for item, turn in zip(order.items(position), order.turns(position), strict=True)
    ]
    assert len(set(places)) == 30


def test_items_are_integers_of_python() -> None:
    for sampler in (InOrder(), Shuffled()):
        order = interleaved((10, 5), (1.0, 1.0), sampler=sampler, batch_size=3)
        assert {type(item) for position in range(order.positions or 0) for item in order.items(position)} == {int}


def test_what_is_left_out_of_each_partition() -> None:
    order = interleaved((10, 5, 3), even((1, 1, 1)), batch_size=3, drop_remainder=True)
    assert [(batch[0][0], [index for _, index in batch]) for batch in read(order)] == [
        (0, [0, 1, 2]),
        (1, [0, 1, 2]),
        (2, [0, 1, 2]),
        (0, [3, 4, 5]),
        (0, [6, 7, 8]),
    ]


@MANY
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple), st.integers(1, 4), st.booleans())
def test_shards_are_cut_within_partitions(lengths: tuple[int, ...], count: int, shuffle: bool) -> None:
    sampler: Any = Shuffled() if shuffle else InOrder()
    shards = [interleaved(lengths, even(lengths), sampler=sampler, shard=Shard(index, count)) for index in range(count)]
    assert len({order.positions for order in shards}) == 1
    reads = [read(order) for order in shards]
    assert len({tuple(order.part(k) for k in range(order.positions or 0)) for order in shards}) == 1
    for part, whole in enumerate(interleaved(lengths, even(lengths), sampler=sampler).parts):
        steps = [batch[0][1] for step in zip(*reads, strict=True) for batch in step if batch[0][0] == part]
        own = [whole.items(k)[0] for k in range(lengths[part])]
        assert steps == [own[k % len(own)] for k in range(len(steps))]
        assert len(own) <= len(steps) < len(own) + count


# --- what it is ---


@MANY
@given(ORDERS)
def test_it_is_the_same_in_every_process(order: Interleaved) -> None:
    assert order.positions is not None
    again: Interleaved = pickle.loads(pickle.dumps(order))
    assert again == order
    assert read(again) == read(order)
    assert len(pickle.dumps(order)) < 2000 + 200 * len(order.parts)  # not the course


def test_what_it_says_of_itself() -> None:
    order = interleaved((5, 2, 3), (1.0, 1.0, 1.0), seed=9, epoch=4, batch_size=2)
    assert (order.seed, order.epoch, order.batch_size, order.drop_remainder) == (9, 4, 2, False)
    assert order.name(7) == "source[1][2]"
    assert order.lengths() == "[5, 2, 3]"
    assert interleaved((5, None), None).lengths() == "[5, None]"
    assert interleaved((5, None), None).describe() == "in order, 2 partitions in sequence"
    described = {
        interleaved((5, 2), weights, until, sampler=sampler).describe()
        for weights in ((1.0, 1.0), (2.0, 1.0))
        for until in ("all", "first", 5, 6)
        for sampler in (InOrder(), Shuffled())
    }
    assert len(described) == 16
    many = [interleaved((*range(1, 200), last), None).lengths() for last in (7, 8)]
    assert many[0] != many[1] and all(len(str(text)) < 100 for text in many)
