"""`ordered=False`: batches come as they become ready, each once, and a saved state tells which are left."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import threading
import warnings
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import procession
from procession import EpochAbandonedError, Faults, Loader, Partitions, SkippedWarning, WorkerDiedError
from procession.order.rest import Rest
from procession.order.state import State
from tests.conftest import ExecutorName
from tests.support import Made

LENGTH = 60
MOST = 2048  # positions that may be ahead of the first that is missing

WORKERS = [("threads", 2), ("threads", 4), ("processes", 2), ("processes", 4)]
PARALLEL = pytest.mark.parametrize(("executor", "workers"), WORKERS)


class Gated:
    """A source in which some items wait until a file is written to, in whatever process."""

    def __init__(self, folder: Path, length: int, *gated: int, epochs: bool = False) -> None:
        self.folder = folder
        self.length = length
        self.gated = gated
        for index in gated:
            os.mkfifo(folder / str(index))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if index in self.gated:
            (self.folder / str(index)).read_bytes()
        return np.array([index])

    def open(self, index: int) -> None:
        """Let the item go on, which is waiting or will be."""
        (self.folder / str(index)).write_bytes(b"")


def numbers(batches: Any) -> list[int]:
    return [int(np.ravel(batch)[0]) for batch in batches]


@PARALLEL
@pytest.mark.parametrize("options", [{}, {"shuffle": True, "seed": 3}, {"prefetch": 1}, {"prefetch": 50}], ids=str)
def test_each_comes_once_an_epoch(executor: ExecutorName, workers: int, options: dict[str, Any]) -> None:
    with Loader(Made(np.asarray, LENGTH), executor=executor, workers=workers, ordered=False, **options) as loader:
        for epoch in range(1, 4):
            assert sorted(numbers(loader)) == list(range(LENGTH))
            assert loader.statistics().batches == epoch * LENGTH


@PARALLEL
def test_samples_and_arrays(executor: ExecutorName, workers: int) -> None:
    for source in (np.arange(LENGTH), Made(np.asarray, LENGTH)):
        with Loader(source, executor=executor, workers=workers, ordered=False, batch_size=7) as loader:
            batches = [batch.tolist() for batch in loader]
            assert sorted(batches) == [list(range(LENGTH))[k : k + 7] for k in range(0, LENGTH, 7)]


def test_serial_is_in_order() -> None:
    with Loader(Made(np.asarray, LENGTH), executor="serial", ordered=False) as loader:
        assert [numbers(loader), numbers(loader)] == [list(range(LENGTH))] * 2


@PARALLEL
def test_random_numbers_are_of_the_item(executor: ExecutorName, workers: int) -> None:
    source = Made(lambda i: (i, procession.rng().random()), LENGTH)
    with Loader(source, executor="serial", seed=4) as loader:
        want = [sorted(loader), sorted(loader)]
    with Loader(source, executor=executor, workers=workers, ordered=False, seed=4) as loader:
        assert [sorted(loader), sorted(loader)] == want


@PARALLEL
def test_one_that_is_slow_holds_up_no_others(executor: ExecutorName, workers: int, tmp_path: Path) -> None:
    source = Gated(tmp_path, LENGTH, 0)
    with Loader(source, executor=executor, workers=workers, ordered=False, prefetch=workers) as loader:
        for _ in range(2):
            epoch = iter(loader)
            before = numbers(islice(epoch, LENGTH - 1))
            assert sorted(before) == list(range(1, LENGTH))
            source.open(0)
            assert numbers(epoch) == [0]


@PARALLEL
def test_all_workers_but_one_are_held_up(executor: ExecutorName, workers: int, tmp_path: Path) -> None:
    slow = range(10, 10 + workers - 1)
    source = Gated(tmp_path, LENGTH, *slow)
    with Loader(source, executor=executor, workers=workers, ordered=False, prefetch=workers) as loader:
        epoch = iter(loader)
        before = numbers(islice(epoch, LENGTH - len(slow)))
        assert sorted(before) == [i for i in range(LENGTH) if i not in slow]
        for index in reversed(slow):
            source.open(index)
            assert numbers(islice(epoch, 1)) == [index]
        assert next(epoch, None) is None


# --- going on ---


def saved(source: Any, take: int, **options: Any) -> tuple[list[int], dict[str, Any]]:
    """Take some batches, and return them with the state."""
    with Loader(source, **options) as loader:
        before = numbers(islice(loader, take))
        text = json.dumps(loader.state_dict())
    assert len(text) < 1000
    return before, json.loads(text)


@PARALLEL
@pytest.mark.parametrize("shuffle", [False, True])
def test_going_on_neither_loses_nor_repeats(executor: ExecutorName, workers: int, shuffle: bool) -> None:
    options: dict[str, Any] = {"shuffle": shuffle, "seed": 5}
    source = Made(np.asarray, LENGTH)
    for take in (1, 17, LENGTH - 1):
        before, state = saved(source, take, executor=executor, workers=workers, ordered=False, **options)
        for other, ordered in (("serial", True), ("threads", False), ("processes", True), (executor, False)):
            with Loader(source, executor=other, workers=3, ordered=ordered, **options) as loader:  # type: ignore[arg-type]
                loader.load_state_dict(state)
                assert sorted(before + numbers(loader)) == list(range(LENGTH))
                assert sorted(numbers(loader)) == list(range(LENGTH))


@PARALLEL
def test_what_was_early_is_told(executor: ExecutorName, workers: int, tmp_path: Path) -> None:
    source = Gated(tmp_path, LENGTH, 0)
    with Loader(source, executor=executor, workers=workers, ordered=False, prefetch=workers) as loader:
        epoch = iter(loader)
        before = numbers(islice(epoch, 40))
        state = json.loads(json.dumps(loader.state_dict()))
        rest = State.from_dict(state).rest
        assert rest == Rest(0, tuple(sorted(before)))
        source.open(0)
        assert sorted(before + numbers(epoch)) == list(range(LENGTH))
    want = sorted(set(range(LENGTH)) - set(before))
    for other, ordered in (("serial", False), (executor, True)):
        with Loader(Made(np.asarray, LENGTH), executor=other, workers=2, ordered=ordered) as loader:  # type: ignore[arg-type]
            state["source"] = loader.state_dict()["source"]
            loader.load_state_dict(state)
            assert loader.state_dict()["early"] == state["early"]
            epoch = iter(loader)
            assert loader.state_dict()["early"] == state["early"]
            assert numbers(islice(epoch, 2)) == want[:2]
            assert loader.state_dict()["batch"] == want[2]
            assert numbers(epoch) == want[2:]
            assert numbers(loader) == list(range(LENGTH))


@PARALLEL
def test_going_on_again_and_again(executor: ExecutorName, workers: int) -> None:
    source = Made(np.asarray, LENGTH)
    state, got = None, []
    for take in (3, 11, 1, 20, 5, 13):
        with Loader(source, executor=executor, workers=workers, ordered=False, shuffle=True, seed=1) as loader:
            if state is not None:
                loader.load_state_dict(state)
            got += numbers(islice(loader, take))
            state = json.loads(json.dumps(loader.state_dict()))
    assert len(got) == 53 == len(set(got))
    with Loader(source, executor=executor, workers=workers, shuffle=True, seed=1) as loader:
        loader.load_state_dict(state or {})
        assert sorted(got + numbers(loader)) == list(range(LENGTH))


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_state_is_small_however_far_ahead(executor: ExecutorName, tmp_path: Path) -> None:
    """The first is held up; no more than so many others are made, and each of them is told of in the state."""
    length = 3 * MOST
    source = Gated(tmp_path, length, 0)
    with Loader(source, executor=executor, workers=2, ordered=False, prefetch=2) as loader:
        epoch = iter(loader)
        before = numbers(islice(epoch, MOST - 1))  # all that may be made
        assert sorted(before) == list(range(1, MOST))
        text = json.dumps(loader.state_dict())
        assert len(text) < 1000
        assert State.from_dict(json.loads(text)).rest == Rest(0, tuple(range(1, MOST)))
        source.open(0)
        assert numbers(islice(epoch, 1)) == [0]
        assert sorted([*before, 0, *numbers(epoch)]) == list(range(length))
    with Loader(Made(np.asarray, length), executor=executor, workers=2, ordered=False) as loader:
        state = {**json.loads(text), "source": loader.state_dict()["source"]}
        loader.load_state_dict(state)
        assert sorted(before + numbers(loader)) == list(range(length))


def test_the_largest_state_there_can_be() -> None:
    """Partitions of weights, a large seed, a source of a long name, every second one early."""
    name = "N" * 300
    kind = type(name, (Made,), {})
    sources = [kind(abs, 10**15 + part) for part in range(50)]
    parts = Partitions(sources, interleave=[1 + 1 / (part + 3) for part in range(50)], until=10**12)
    options: dict[str, Any] = {"seed": 2**128 - 1, "shard": procession.Shard(10**6, 10**7), "workers": 0}
    for source, shuffle in ((parts, True), (kind(abs, 10**6), procession.Weighted(np.ones(10**6), count=10**9))):
        with Loader(source, shuffle=shuffle, **options) as loader:
            state = State.from_dict(loader.state_dict())
        rest = Rest(10**11, tuple(range(10**11 + 1, 10**11 + MOST, 2)))
        text = json.dumps(state._replace(rest=rest, epoch=10**9, hooks=10**9).to_dict())
        assert len(text) < 1000
        assert State.from_dict(json.loads(text)).rest == rest


# --- faults ---


def kill(pid: int) -> None:
    """Kill a process, and wait until it has let go of all it had open."""
    with contextlib.suppress(ProcessLookupError):  # it is the one that was killed before
        watch = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(watch, signal.SIGKILL)
            select.select([watch], [], [])
        finally:
            os.close(watch)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_are_killed(workers: int) -> None:
    with Loader(Made(lambda i: np.full(1000, i), 200), workers=workers, ordered=False, prefetch=8) as loader:
        got = []
        for batch in loader:
            assert (batch == batch[0]).all()
            got.append(int(batch[0]))
            if len(got) in (20, 70, 120):
                kill(next(iter(loader.statistics().pids.values())))
        assert Counter(got) == Counter(range(200))
        assert 1 <= loader.statistics().deaths <= 3  # the others may be done before the last is missed


def test_the_worker_of_the_slow_one_is_killed(tmp_path: Path) -> None:
    source = Gated(tmp_path, LENGTH, 0)
    with Loader(source, workers=2, ordered=False, prefetch=2) as loader:
        epoch = iter(loader)
        before = numbers(islice(epoch, LENGTH - 1))
        assert sorted(before) == list(range(1, LENGTH))
        for pid in loader.statistics().pids.values():
            kill(pid)
        thread = threading.Thread(target=source.open, args=(0,))  # waits for whoever makes it again
        thread.start()
        assert numbers(epoch) == [0]
        thread.join()
        assert loader.statistics().deaths == 2


def faulty(index: int) -> Any:
    if index % 20 == 7:
        raise ValueError(f"bad {index}")
    return np.array([index])


@PARALLEL
def test_what_fails_is_skipped(executor: ExecutorName, workers: int) -> None:
    faults = Faults(on_error="skip")
    good = [i for i in range(LENGTH) if i % 20 != 7]
    with Loader(Made(faulty, LENGTH), executor=executor, workers=workers, ordered=False, faults=faults) as loader:
        for _ in range(2):
            with pytest.warns(SkippedWarning, match="3 items"):
                assert sorted(numbers(loader)) == good
        assert loader.statistics().skips == 6


@PARALLEL
def test_a_state_does_not_bring_back_what_was_skipped(executor: ExecutorName, workers: int) -> None:
    options: dict[str, Any] = {"ordered": False, "faults": Faults(on_error="skip")}
    good = [i for i in range(LENGTH) if i % 20 != 7]
    with warnings.catch_warnings(action="ignore"):
        before, state = saved(Made(faulty, LENGTH), 45, executor=executor, workers=workers, seed=1, **options)
    with Loader(Made(faulty, LENGTH), executor=executor, workers=workers, seed=1, **options) as loader:
        loader.load_state_dict(state)
        with warnings.catch_warnings(action="ignore"):  # all that fail may be behind it already
            after = numbers(loader)
        assert sorted(before + after) == good


@PARALLEL
def test_what_fails_is_raised(executor: ExecutorName, workers: int) -> None:
    before: list[Any] = []
    with Loader(Made(faulty, LENGTH), executor=executor, workers=workers, ordered=False) as loader:
        epoch = iter(loader)
        with pytest.raises(ValueError, match=r"bad \d*7"):
            before.extend(epoch)
        assert next(epoch, None) is None
        got = numbers(before)
        assert len(set(got)) == len(got) and set(got) <= {i for i in range(LENGTH) if i % 20 != 7}


def test_a_poisonous_one_is_named() -> None:
    def deadly(index: int) -> Any:
        if index == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array([index])

    with (
        Loader(Made(deadly, LENGTH), workers=2, ordered=False, faults=Faults(retries=1)) as loader,
        pytest.raises(WorkerDiedError, match=r"source\[9\]"),
    ):
        list(loader)


# --- epochs that are not read to their end ---


@PARALLEL
def test_epochs_that_are_abandoned(executor: ExecutorName, workers: int) -> None:
    with Loader(Made(np.asarray, LENGTH), executor=executor, workers=workers, ordered=False) as loader:
        for take in (0, 1, 30, LENGTH - 1, 5):
            epoch = iter(loader)
            got = numbers(islice(epoch, take))
            assert len(set(got)) == take
        with pytest.raises(EpochAbandonedError):
            iter(loader), next(epoch)
        assert sorted(numbers(loader)) == list(range(LENGTH))


@PARALLEL
def test_one_that_is_stuck_in_an_abandoned_epoch(executor: ExecutorName, workers: int, tmp_path: Path) -> None:
    """Its worker gets nothing else; the others make the next epoch, that item too."""

    class Once(Gated):
        def __getitem__(self, index: int) -> Any:
            try:
                (self.folder / f"asked {index}").touch(exist_ok=False)
            except FileExistsError:
                return np.array([index])
            return super().__getitem__(index)

    source = Once(tmp_path, LENGTH, 0)
    with Loader(source, executor=executor, workers=workers, ordered=False, prefetch=workers) as loader:
        assert 0 not in numbers(islice(loader, 20))
        assert sorted(numbers(loader)) == list(range(LENGTH))
        source.open(0)
        assert sorted(numbers(loader)) == list(range(LENGTH))
