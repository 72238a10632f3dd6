"""The arithmetic of shards: together they read what one process would, in its order, and all equally much."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession.errors import ConfigError
from procession.order.sharding import UNEVEN, WHOLE, Shard, Uneven

MANY = settings(max_examples=300, deadline=None, derandomize=True, database=None)

COUNTS = st.integers(1, 50)
SHARDS = COUNTS.flatmap(
    lambda count: st.builds(Shard, st.integers(0, count - 1), st.just(count), st.sampled_from(UNEVEN))
)
LARGE = st.integers(10**9, 10**12)


def flat(ranges: list[range]) -> list[int]:
    return [place for places in ranges for place in places]


@MANY
@given(st.integers(0, 200), COUNTS, st.sampled_from(UNEVEN))
def test_step_for_step_the_shards_read_the_order_of_one_process(total: int, count: int, uneven: Uneven) -> None:
    shards = [Shard(index, count, uneven) for index in range(count)]
    share = shards[0].share(total)
    read = [flat(shard.places(0, share, total)) for shard in shards]
    assert {shard.share(total) for shard in shards} == {share}
    assert [len(places) for places in read] == [share] * count
    together = [place for step in zip(*read, strict=True) for place in step]
    if uneven == "drop":
        assert together == list(range(total - total % count))
    else:  # each place once, and only then some again, fewer than a step has
        assert together[:total] == list(range(total))
        assert together[total:] == [extra % total for extra in range(len(together) - total)]
        assert len(together) - total < count


@MANY
@given(SHARDS, st.integers(0, 200), st.integers(0, 220), st.integers(0, 220))
def test_any_part_of_a_shard_is_that_part_of_its_places(shard: Shard, total: int, start: int, stop: int) -> None:
    every = [(shard.index + step * shard.count) % total for step in range(shard.share(total))]
    found = shard.places(start, stop, total)
    assert flat(found) == every[start:stop]
    assert all(len(places) > 0 and 0 <= places.start < places.stop <= total for places in found)


@MANY
@given(SHARDS, LARGE, st.integers(1, 100), st.integers(0, 100))
def test_a_large_epoch_costs_no_more(shard: Shard, total: int, back: int, length: int) -> None:
    share = shard.share(total)
    assert 0 <= share * shard.count - total < shard.count or (shard.uneven == "drop" and share == total // shard.count)
    start = share - back
    stop = min(share, start + length)
    found = shard.places(start, start + length, total)
    assert flat(found) == [(shard.index + step * shard.count) % total for step in range(start, stop)]
    assert len(found) <= 2


@MANY
@given(SHARDS, LARGE, st.integers(0, 100))
def test_an_endless_source_has_places_without_end(shard: Shard, start: int, length: int) -> None:
    found = flat(shard.places(start, start + length, None))
    assert found == [shard.index + step * shard.count for step in range(start, start + length)]


def test_fewer_items_than_shards() -> None:
    assert [flat(Shard(index, 7).places(0, 9, 3)) for index in range(7)] == [[0], [1], [2], [0], [1], [2], [0]]
    assert [Shard(index, 7, "drop").places(0, 9, 3) for index in range(7)] == [[]] * 7
    assert Shard(3, 7).share(0) == 0
    assert Shard(3, 7).places(0, 1, 0) == []


def test_the_whole_is_every_place() -> None:
    assert WHOLE.share(10) == 10
    assert WHOLE.places(2, 8, 10) == [range(2, 8)]


def test_shards_are_plain_values() -> None:
    shard = Shard(np.int64(1), np.int32(4), "drop")  # type: ignore[arg-type]
    again: Shard = pickle.loads(pickle.dumps(shard))
    assert again == shard == Shard(1, 4, "drop") != Shard(1, 4)
    assert repr(shard) == "Shard(index=1, count=4, uneven='drop')"
    assert hash(again) == hash(shard)


def test_shards_say_what_they_are() -> None:
    assert Shard(1, 4).describe() == "1 of 4, padded"
    assert Shard(1, 4, "drop").describe() == "1 of 4, the rest dropped"
    assert WHOLE.describe() == Shard(0, 1, "drop").describe() == "the whole"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 4), r"index must be from 0 to 3, .* got 4; the last of 4 is Shard\(3, 4\)"),
        ((-1, 4), "index must be from 0 to 3, .* got -1"),
        ((9, 4), "got 9"),
        ((1, 1), "index must be from 0 to 0"),
        ((0, 0), r"count must be at least 1 \(one process alone is Shard\(0, 1\)\); got 0"),
        ((0, -2), "got -2"),
        ((0.0, 4), r"index must be an int .* got 0\.0 of type float\. Write Shard\(index, count\)"),
        ((True, 4), "got True of type bool"),
        ((0, "4"), "count must be an int .* got '4' of type str"),
        ((0, None), "got None of type NoneType"),
        ((0, 4, "trim"), "uneven must be one of 'pad', 'drop'; got 'trim'"),
        ((0, 4, None), "got None"),
    ],
)
def test_what_is_no_shard(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Shard(*arguments)
