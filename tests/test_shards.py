"""Shards: together, step for step, they read what one loader reads, whatever their number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import procession
from procession import Balanced, ConfigError, EmptySourceError, Loader, Partitions, Shard, Weighted, Window, partition
from procession.order.sharding import UNEVEN, Uneven
from tests.conftest import ExecutorName
from tests.support import Made, form, run_script, streams

LENGTH = 23


def item(index: int) -> Any:
    return {"index": np.array(index), "noise": procession.rng().random(3), "global": np.random.rand(2)}


def quiet(index: int) -> Any:
    """Make an item without the global generators, which threads share."""
    return {"index": np.array(index), "noise": procession.rng().random(3)}


class Backwards:
    """An order of one's own, in which some come twice."""

    def indices(self, epoch: int) -> Any:
        return [*range(LENGTH - 1, -1, -1), epoch, epoch, 5]


ORDERS: dict[str, Any] = {
    "in order": False,
    "shuffled": True,
    "window": Window(5),
    "weighted": Weighted(np.arange(LENGTH) % 4),
    "weighted, once": Weighted(np.arange(LENGTH) % 4, replacement=False),
    "balanced": Balanced(np.arange(LENGTH) % 3, count=40),
    "own": Backwards(),
}


def read(source: Any, shard: Shard | None, epochs: int = 2, **options: Any) -> list[list[Any]]:
    """Return the forms of the batches of each epoch."""
    executor = options.pop("executor", "serial")
    return streams(source, executor, epochs, shard=shard, seed=3, **options)


def woven(shards: list[list[Any]]) -> list[Any]:
    """Return what the shards read, step by step."""
    assert len({len(one) for one in shards}) == 1
    return [batch for step in zip(*shards, strict=True) for batch in step]


@pytest.mark.parametrize("uneven", UNEVEN)
@pytest.mark.parametrize("order", ORDERS)
def test_together_they_read_the_order_of_one(order: str, uneven: Uneven) -> None:
    source = Made(item, LENGTH)
    wanted = read(source, None, shuffle=ORDERS[order])
    for count in (1, 2, 3, 5, 8):
        shards = [read(source, Shard(index, count, uneven), shuffle=ORDERS[order]) for index in range(count)]
        for epoch, want in enumerate(wanted):
            got = woven([shard[epoch] for shard in shards])
            if uneven == "drop":
                assert got == want[: len(want) // count * count]
            else:
                assert got[: len(want)] == want
                again = [
                    batch[1][0] for batch in got[len(want) :]
                ]  # the indices; where items repeat, the noise differs
                assert again == [batch[1][0] for batch in want[: len(again)]] and len(again) < count


@pytest.mark.parametrize(
    "shuffle",
    [False, True, Window(4), Weighted(np.arange(LENGTH) + 1)],
    ids=["in order", "shuffled", "window", "weighted"],
)
def test_each_shard_is_that_of_serial(executor: ExecutorName, shuffle: Any) -> None:
    rows = (np.arange(LENGTH), np.random.default_rng(1).random((LENGTH, 2)))
    kinds: list[tuple[Any, int | None]] = [(Made(quiet, LENGTH), None), (Made(quiet, LENGTH), 3), (rows, 3)]
    for source, batch_size in kinds:
        options: dict[str, Any] = {"shuffle": shuffle, "batch_size": batch_size}
        for shard in (Shard(1, 3), Shard(3, 4, "drop")):
            want = read(source, shard, **options)
            assert read(source, shard, executor=executor, workers=3, **options) == want


def samples_of(batches: Any) -> list[int]:
    return [int(index) for batch in batches for index in np.ravel(batch)]


@pytest.mark.parametrize("shuffle", [False, True, Window(6)], ids=repr)
@pytest.mark.parametrize("as_arrays", [False, True])
def test_batches_of_shards_make_the_batch_of_one(as_arrays: bool, shuffle: Any) -> None:
    """Batches of 4 in 3 processes hold, at each step, the samples of one process's batch of 12."""
    source: Any = np.arange(48) if as_arrays else Made(np.asarray, 48)
    options: dict[str, Any] = {"shuffle": shuffle, "seed": 2, "workers": 0}
    with Loader(source, batch_size=12, **options) as loader:
        whole = [batch.tolist() for batch in loader]
    shards = []
    for index in range(3):
        with Loader(source, batch_size=4, shard=Shard(index, 3), **options) as loader:
            assert len(loader) == 4
            shards.append([batch.tolist() for batch in loader])
    for step, want in enumerate(whole):
        assert [sample for row in zip(*(shard[step] for shard in shards), strict=True) for sample in row] == want


@pytest.mark.parametrize(
    ("shard", "options", "sizes"),
    [
        (Shard(0, 4), {}, [1] * 6),
        (Shard(3, 4), {}, [1] * 6),
        (Shard(0, 4, "drop"), {}, [1] * 5),
        (Shard(1, 2), {"batch_size": 5}, [5, 5, 2]),
        (Shard(1, 2, "drop"), {"batch_size": 5}, [5, 5, 1]),
        (Shard(1, 2), {"batch_size": 5, "drop_remainder": True}, [5, 5]),
        (Shard(0, 50), {}, [1]),
        (Shard(49, 50), {"batch_size": 5}, [1]),
        (Shard(0, 1), {"batch_size": 23}, [23]),
    ],
    ids=str,
)
def test_length_of_a_shard(executor: ExecutorName, shard: Shard, options: dict[str, Any], sizes: list[int]) -> None:
    with Loader(Made(np.asarray, LENGTH), executor=executor, shard=shard, seed=0, workers=2, **options) as loader:
        assert len(loader) == len(sizes)
        assert [batch.size for batch in loader] == sizes


def test_more_shards_than_items(executor: ExecutorName) -> None:
    found = []
    for index in range(7):
        with Loader([10, 11, 12], executor=executor, shard=Shard(index, 7), seed=0, workers=2) as loader:
            found.append(list(loader))
    assert found == [[10], [11], [12], [10], [11], [12], [10]]
    with pytest.raises(EmptySourceError, match=r"3 items of the source leave none for a shard, 1 of 7.*uneven='pad'"):
        Loader([10, 11, 12], shard=Shard(1, 7, "drop"), seed=0)
    with pytest.raises(EmptySourceError, match="2 of 3"):
        Loader(np.arange(10), shard=Shard(2, 3), seed=0, batch_size=5, drop_remainder=True)


def test_noise_of_an_item_does_not_depend_on_the_number_of_shards(executor: ExecutorName) -> None:
    for shuffle in (True, Weighted(np.arange(LENGTH))):
        noise: dict[tuple[int, int], set[bytes]] = {}
        for count in (1, 2, 4):
            for index in range(count):
                options: dict[str, Any] = {"shard": Shard(index, count, "drop"), "seed": 6, "shuffle": shuffle}
                with Loader(Made(quiet, LENGTH), executor=executor, workers=2, **options) as loader:
                    for step, batch in enumerate(loader):
                        place = step * count + index, int(batch["index"])
                        noise.setdefault(place, set()).add(batch["noise"].tobytes())
        assert len(noise) == LENGTH  # place by place the same items
        assert all(len(seen) == 1 for seen in noise.values())
        assert len({next(iter(seen)) for seen in noise.values()}) == LENGTH


# --- partitions ---


@pytest.mark.parametrize("shuffle", [False, True])
def test_shards_of_partitions(executor: ExecutorName, shuffle: bool) -> None:
    """Each partition is cut, so that all processes read the same partitions in the same steps."""

    def sources() -> Any:
        return Partitions([Made(lambda i, p=p: (p, i), 7 + p) for p in range(3)], interleave=[2, 1, 1])  # type: ignore[misc]

    def listed(shard: Shard | None) -> list[Any]:
        with Loader(sources(), executor=executor, workers=2, shard=shard, seed=1, shuffle=shuffle) as loader:
            return list(loader)

    whole = listed(None)
    for count in (2, 3):
        shards = [listed(Shard(index, count)) for index in range(count)]
        assert len({tuple(part for part, _ in shard) for shard in shards}) == 1
        for part in range(3):
            want = [index for p, index in whole if p == part]
            got = [index for step in zip(*shards, strict=True) for p, index in step if p == part]
            assert got[: len(want)] == want and got[len(want) :] == want[: len(got) - len(want)]
            assert len(got) - len(want) < count


def test_a_partition_that_leaves_none_for_a_shard_is_named() -> None:
    with pytest.raises(EmptySourceError, match="2 items") as caught:
        Loader(partition(list(range(5)), 2), shard=Shard(0, 3, "drop"), seed=1)
    assert "procession: this is partition 1 of 2, source[1]" in caught.value.__notes__
    with Loader(partition(list(range(5)), 2), shard=Shard(2, 3), seed=1, workers=0) as loader:
        assert list(loader) == [2, 3]


def test_shards_of_an_endless_source(executor: ExecutorName) -> None:
    class Endless:
        num_batches = None

        def __getitem__(self, index: int) -> Any:
            return index

    with Loader(Endless(), executor=executor, workers=2, shard=Shard(1, 3), seed=0) as loader:
        assert [batch for batch, _ in zip(loader, range(5), strict=False)] == [1, 4, 7, 10, 13]


# --- which shard ---


def test_a_shard_needs_a_seed() -> None:
    with pytest.raises(ConfigError, match=r"shard 1 of 2 needs a seed, the same in all of them.*seed=0"):
        Loader([1, 2], shard=Shard(1, 2))
    with Loader([1, 2], shard=Shard(0, 1), workers=0) as loader:
        assert list(loader) == [1, 2]


@pytest.mark.parametrize("shard", [1, (0, 2), "all", True, [0, 2]], ids=repr)
def test_what_is_no_shard(shard: Any) -> None:
    with pytest.raises(ConfigError, match=r"shard must be a procession\.Shard"):
        Loader([1, 2], shard=shard, seed=0)


AUTO = """
import json, os, sys
import procession

rank, count, executor = sys.argv[1:]
if count != "0":
    os.environ.update(RANK=rank, WORLD_SIZE=count)
with procession.Loader(list(range(11)), shard="auto", shuffle=True, seed=4, workers=2, executor=executor) as loader:
    print(json.dumps([list(loader), list(loader), loader.state_dict()["shard"]]))
"""


def test_auto_is_what_the_environment_says(executor: ExecutorName, tmp_path: Path) -> None:
    with Loader(list(range(11)), shuffle=True, seed=4, workers=0) as loader:
        wanted = [list(loader), list(loader)]
    alone = json.loads(run_script(AUTO, tmp_path, "0", "0", executor).stdout)
    assert alone == [*wanted, [0, 1, "pad"]]
    ranks = [json.loads(run_script(AUTO, tmp_path, str(rank), "2", executor).stdout) for rank in range(2)]
    assert [rank[2] for rank in ranks] == [[0, 2, "pad"], [1, 2, "pad"]]
    for epoch, want in enumerate(wanted):
        assert woven([rank[epoch] for rank in ranks]) == [*want, want[0]]


def test_auto_that_has_no_seed(tmp_path: Path) -> None:
    done = run_script(AUTO.replace("seed=4, ", ""), tmp_path, "1", "2", "serial", check=False)
    assert "needs a seed" in done.stderr and done.returncode == 1


# --- going on ---


def test_another_shard_goes_on_where_one_was(executor: ExecutorName) -> None:
    """All are as far, so one state serves all."""
    make: Callable[[int], Loader] = lambda index: Loader(  # noqa: E731
        Made(quiet, LENGTH), executor=executor, workers=2, shard=Shard(index, 3), seed=9, shuffle=True
    )
    with make(0) as loader:
        batches = iter(loader)
        for _ in range(3):
            next(batches)
        state = json.loads(json.dumps(loader.state_dict()))
    for index in range(3):
        want = read(Made(quiet, LENGTH), Shard(index, 3), shuffle=True)
        with make(index) as loader:
            loader.load_state_dict(state)
            after = [form(batch) for batch in loader]
        with make(index) as loader:
            assert after == [form(batch) for batch in loader][3:]
        assert len(want[0]) == len(after) + 3
