"""Partitions: each read by one worker at a time, in order; together they are the stream that serial delivers."""

from __future__ import annotations

import itertools
import json
import os
import signal
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

import procession
from procession import (
    ConfigError,
    EmptySourceError,
    Faults,
    Loader,
    Partitions,
    SkippedWarning,
    SourceTypeError,
    StateError,
    Weighted,
    Window,
    WorkerDiedError,
    partition,
)
from tests.conftest import ExecutorName
from tests.support import Made, form, streams

WORKERS = (1, 2, 3, 5)
LENGTHS = (7, 3, 5)


class Keeping:
    """A source that counts its calls, which only one worker may make, in order."""

    def __init__(self, name: int, length: int | None) -> None:
        self.name = name
        self.length = length
        self.calls = 0

    @property
    def num_batches(self) -> int | None:
        return self.length

    def __getitem__(self, index: int) -> Any:
        info = procession.worker_info()
        told = [self.name, index, self.calls, os.getpid(), -1 if info is None else info.index]
        self.calls += 1
        return np.array(told)


def keeping(lengths: tuple[int | None, ...] = LENGTHS) -> list[Any]:
    return [Keeping(name, length) for name, length in enumerate(lengths)]


def by_part(batches: Any) -> dict[int, np.ndarray]:
    """Sort rows of (name, index, calls, pid, worker) by name."""
    found: dict[int, list[Any]] = defaultdict(list)
    for batch in batches:
        for row in batch.reshape(-1, 5):
            found[int(row[0])].append(row)
    return {name: np.array(rows) for name, rows in found.items()}


def marks(batches: Any) -> list[tuple[int, int]]:
    return [(int(row[0]), int(row[1])) for batch in batches for row in batch.reshape(-1, 5)]


def noisy(part: int, index: int) -> Any:
    return {"at": (part, index), "noise": procession.rng().random(3), "rows": np.full((2, 3), index)}


def made() -> list[Any]:
    return [Made(partial(noisy, part), length) for part, length in enumerate(LENGTHS)]


def arrays() -> Any:
    return {"x": np.arange(60.0).reshape(20, 3), "y": np.arange(20)[::-1], "o": np.array([*"abcdefghijklmnopqrst"])}


SOURCES: dict[str, Callable[[], Any]] = {
    "list": made,
    "weights": lambda: Partitions(made(), interleave=[3, 1, 1.5]),
    "sequence": lambda: Partitions(made(), interleave="sequence"),
    "first": lambda: Partitions(made(), until="first"),
    "number": lambda: Partitions(made(), interleave=[1, 2, 1], until=40),
    "view": lambda: partition(Made(partial(noisy, 0), 17), 4),
    "strided view": lambda: partition(Made(partial(noisy, 0), 17), 4, "strided"),
    "view by key": lambda: partition(Made(partial(noisy, 0), 17), 4, [*"abcdabcdaaabbbcdc"]),
    "arrays": lambda: partition(arrays(), 3),
    "strided arrays": lambda: partition(arrays(), 3, "strided"),
    "arrays by key": lambda: partition(arrays(), 3, np.arange(20) // 2 % 5),
    "arrays and samples": lambda: Partitions([(np.arange(8), np.eye(8)), Made(lambda i: (i, np.arange(8.0)), 5)]),
}


SAMPLES = [*SOURCES]
KINDS = SAMPLES[:8]  # these have batches, too
STREAMS = [
    *((kind, {}) for kind in KINDS),
    *((kind, {"batch_size": 3}) for kind in SAMPLES),
    *((kind, {"batch_size": 2, "drop_remainder": True, "shuffle": True}) for kind in SAMPLES),
    ("list", {"shuffle": Window(3)}),
    ("number", {"shuffle": True}),
]


@pytest.mark.parametrize(("kind", "options"), STREAMS)
def test_the_stream_is_that_of_serial(kind: str, options: dict[str, Any]) -> None:
    want = streams(SOURCES[kind](), "serial", 2, seed=5, **options)
    assert (want[0] != want[1]) == (kind in KINDS or "shuffle" in options)  # the noise is another in each epoch
    for executor, workers in (("threads", 3), ("processes", 1), ("processes", 2), ("processes", 5)):
        assert streams(SOURCES[kind](), executor, 2, seed=5, workers=workers, **options) == want


@pytest.mark.parametrize("workers", WORKERS)
def test_each_has_one_owner_that_asks_in_order(executor: ExecutorName, workers: int) -> None:
    with Loader(keeping(), executor=executor, workers=workers) as loader:
        assert len(loader) == sum(LENGTHS)
        owners: dict[int, set[Any]] = defaultdict(set)
        for epoch in range(3):
            batches = list(loader)
            turns = [(part, k) for k in range(7) for part in range(3) if k < LENGTHS[part]]
            assert marks(batches) == turns
            for name, rows in by_part(batches).items():
                assert rows[:, 2].tolist() == list(range(epoch * LENGTHS[name], (epoch + 1) * LENGTHS[name]))
                owners[name] |= {(int(pid), int(worker)) for pid, worker in rows[:, 3:]}
        assert [len(found) for found in owners.values()] == [1, 1, 1]  # the same one in all epochs
        everyone = set.union(*owners.values())
        assert len(everyone) == (1 if executor == "serial" else min(workers, 3))
        assert len(loader.statistics().pids) == (len(everyone) if executor == "processes" else 0)


@pytest.mark.parametrize("workers", [2, 5])
def test_owners_of_samples(executor: ExecutorName, workers: int) -> None:
    with Loader(keeping(), executor=executor, workers=workers, batch_size=2) as loader:
        batches = list(loader)
    assert [(int(batch[0, 0]), len(batch)) for batch in batches[-3:]] == [(0, 2), (2, 1), (0, 1)]
    for name, rows in by_part(batches).items():
        assert rows[:, 1].tolist() == rows[:, 2].tolist() == list(range(LENGTHS[name]))
        assert len({(int(pid), int(worker)) for pid, worker in rows[:, 3:]}) == 1


def test_owners_after_epochs_that_were_abandoned(executor: ExecutorName) -> None:
    with Loader(keeping((40, 40, 40)), executor=executor, workers=2, prefetch=4) as loader:
        last = {0: -1, 1: -1, 2: -1}
        owners: dict[int, set[int]] = defaultdict(set)
        for stop in (1, 5, 0, 30, 120):
            batches = list(itertools.islice(loader, stop))
            assert marks(batches) == [(k % 3, k // 3) for k in range(stop)]
            for name, rows in by_part(batches).items():
                calls = rows[:, 2].tolist()
                assert calls == list(range(calls[0], calls[0] + len(calls))) and calls[0] > last[name]
                last[name] = calls[-1]
                owners[name] |= set(rows[:, 4].tolist())
        assert all(len(found) == 1 for found in owners.values())


def test_one_partition_has_one_worker(executor: ExecutorName) -> None:
    with Loader(Partitions(keeping((9,))), executor=executor, workers=4) as loader:
        for epoch in range(2):
            assert by_part(loader)[0][:, 2].tolist() == list(range(epoch * 9, epoch * 9 + 9))
        assert len(loader.statistics().pids) == (executor == "processes")


class Reading:
    """A source with an open file, which it reads on where it stopped."""

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        self.length = length
        self.file: BinaryIO | None = None
        self.opened = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if self.file is None or index == 0:
            if self.file is not None:
                self.file.close()
            self.file = self.path.open("rb")
            self.file.seek(index * 8)
            self.opened += 1
        return np.array([int(self.file.read(8)), index, self.opened, os.getpid()])


@pytest.fixture
def readers(tmp_path: Path) -> Iterator[list[Reading]]:
    made = []
    for part in range(3):
        path = tmp_path / f"part-{part}"
        path.write_text("".join(f"{part * 1000 + i:8d}" for i in range(60)))
        made.append(Reading(path, 60))
    yield made
    for reader in made:
        if reader.file is not None:
            reader.file.close()


def test_open_files_keep_their_position(executor: ExecutorName, readers: list[Reading]) -> None:
    with Loader(readers, executor=executor, workers=2) as loader:
        for epoch in range(3):
            for position, (value, index, opened, _) in enumerate(loader):
                assert (value, index, opened) == (position % 3 * 1000 + position // 3, position // 3, epoch + 1)


def test_an_owner_is_killed_in_the_middle(readers: list[Reading]) -> None:
    with Loader(readers, workers=2, prefetch=6) as loader:
        values, pids, opened = [], [], []
        for position, batch in enumerate(loader):
            values.append(int(batch[0]))
            opened.append(int(batch[2]))
            pids.append(int(batch[3]))
            if position in (30, 90):
                os.kill(sorted(loader.statistics().pids.items())[position == 90][1], signal.SIGKILL)
        assert loader.statistics().deaths == 2
    assert values == [part * 1000 + i for i in range(60) for part in range(3)]
    assert set(opened) == {1}  # by each copy: where it goes on it has to seek, and then reads on
    assert all(len(list(itertools.groupby(pids[part::3]))) == len(set(pids[part::3])) for part in range(3))
    assert len(set(pids)) == 4


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_fresh_copy_goes_on(workers: int) -> None:
    with Loader(keeping((50, 50, 50)), workers=workers, prefetch=6) as loader:
        batches: list[Any] = []
        for batch in loader:
            batches.append(batch.copy())
            if len(batches) == 60:
                for pid in loader.statistics().pids.values():
                    os.kill(pid, signal.SIGKILL)
        assert loader.statistics().deaths == workers
        assert marks(batches) == [(k % 3, k // 3) for k in range(150)]
        for rows in by_part(batches).values():
            runs = [[*map(int, (row[2] for row in run))] for _, run in itertools.groupby(rows, key=lambda row: row[3])]
            assert [run == list(range(len(run))) for run in runs] == [True, True]
        again = list(loader)
        assert marks(again) == [(k % 3, k // 3) for k in range(150)]
        assert len({int(row[3]) for row in again}) == workers


def test_a_batch_that_kills_its_owner_is_named() -> None:
    def deadly(index: int) -> Any:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return index

    before: list[Any] = []
    with (
        Loader([Made(abs, 5), Made(deadly, 5)], workers=2, faults=Faults(retries=0)) as loader,
        pytest.raises(WorkerDiedError, match=r"source\[1\]\[2\]"),
    ):
        before.extend(loader)
    with (
        pytest.warns(SkippedWarning, match=r"source\[1\]\[2\] \(WorkerDiedError"),
        Loader([Made(abs, 5), Made(deadly, 5)], workers=2, faults=Faults(retries=0, on_error="skip")) as loader,
    ):
        assert list(loader) == [0, 0, 1, 1, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_partition_goes_from_one_recycled_worker_to_another(executor: ExecutorName) -> None:
    with Loader(keeping((30, 30)), executor=executor, workers=2, faults=Faults(recycle_after=7)) as loader:
        batches = [batch for _ in range(2) for batch in loader]
        assert marks(batches) == [(k % 2, k // 2) for k in range(60)] * 2
        for rows in by_part(batches).values():
            runs = [[*map(int, (row[2] for row in run))] for _, run in itertools.groupby(rows, key=lambda row: row[3])]
            assert all(run == list(range(len(run))) for run in runs)  # a fresh copy each time, but in threads
            assert len(runs) == 1 if executor == "threads" else len(runs) >= 60 // 7
        assert loader.statistics().recycled >= 120 // 7 - 1 and loader.statistics().deaths == 0


# --- hooks ---


class Hooked:
    """A source whose hooks change it by rebinding and in place, small arrays and large ones."""

    def __init__(self, name: str, length: int) -> None:
        self.name = name
        self.length = length
        self.epoch = -1
        self.log: list[str] = []
        self.small = np.arange(length)
        self.large = np.zeros(100_000, int)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.name, self.epoch, int(self.small[index]), self.large[[0, 1, 2, -1]]

    def on_epoch_begin(self) -> None:
        self.epoch += 1
        self.large[self.epoch] = self.epoch + 1
        self.log.append(f"begin {self.epoch}")

    def on_epoch_end(self) -> None:
        self.small = np.roll(self.small, 1)
        self.large[-1] += 10
        self.log.append(f"end {self.epoch}")


LOG = [f"{what} {epoch}" for epoch in range(3) for what in ("begin", "end")]


def hooked() -> list[Any]:
    return [Hooked("a", 5), Made(abs, 4), Hooked("b", 3)]


def test_hooks_of_partitions_are_seen_by_their_owners(executor: ExecutorName) -> None:
    made, wanted = hooked(), hooked()
    with Loader(made, executor=executor, workers=2) as loader:
        for _ in range(3):
            for source in wanted[::2]:
                source.on_epoch_begin()
            want = [form(wanted[p][i]) for i in range(5) for p in range(3) if i < len(wanted[p])]
            assert [form(batch) for batch in loader] == want
            for source in wanted[::2]:
                source.on_epoch_end()
    assert [source.log for source in made[::2]] == [LOG, LOG]


@pytest.mark.parametrize("by", ["contiguous", "strided", [*"abacabcc"]])
def test_hooks_of_a_source_that_was_cut_are_called_once(executor: ExecutorName, by: Any) -> None:
    source, wanted = Hooked("whole", 8), Hooked("whole", 8)
    with Loader(partition(source, 3, by), executor=executor, workers=3) as loader:
        for _ in range(3):
            wanted.on_epoch_begin()
            want = sorted(repr(form(wanted[i])) for i in range(8))
            assert sorted(repr(form(batch)) for batch in loader) == want
            wanted.on_epoch_end()
    assert source.log == LOG


def test_one_source_twice_has_its_hooks_called_once(executor: ExecutorName) -> None:
    source = Hooked("both", 3)
    with Loader([source, source], executor=executor, workers=2) as loader:
        assert [(batch[1], batch[2]) for _ in range(2) for batch in loader] == [
            *((0, i) for i in (0, 0, 1, 1, 2, 2)),
            *((1, i) for i in (2, 2, 0, 0, 1, 1)),
        ]
    assert source.log == LOG[:4]


@pytest.mark.parametrize("nested", [False, True])
def test_hooks_of_a_part_that_is_read_alone(executor: ExecutorName, nested: bool) -> None:
    """As where one trains on one part, and evaluates on another."""
    source, wanted = Hooked("whole", 12), Hooked("whole", 12)
    part = partition(source, 2)[1]
    rows = [6, 9, 7, 10, 8, 11] if nested else list(range(6, 12))
    with Loader(partition(part, 3) if nested else part, executor=executor, workers=2) as loader:
        for _ in range(3):
            wanted.on_epoch_begin()
            got = [form(batch) for batch in loader]
            assert got == [form(wanted[i]) for i in (sorted(rows, key=lambda r: (r % 2, r)) if nested else rows)]
            wanted.on_epoch_end()
    assert source.log == LOG


def test_attributes_rebound_between_epochs_reach_partitions(executor: ExecutorName) -> None:
    made = [Hookless(0), Hookless(1)]
    with Loader(made, executor=executor, workers=2) as loader:
        assert list(loader) == [0, 0, 0, 0]
        made[1].extra = 7
        assert list(loader) == [0, 7, 0, 7]
        made[0].extra = 5
        assert list(loader) == [5, 7, 5, 7]


class Hookless(Made):
    """A source that has no hooks."""

    extra = 0

    def __init__(self, extra: int) -> None:
        super().__init__(abs, 2)

    def __getitem__(self, index: int) -> Any:
        return self.extra


def test_a_source_that_is_exchanged_as_a_whole(executor: ExecutorName) -> None:
    class Rows(list[Any]):
        def on_epoch_begin(self) -> None:
            self[:] = [row + 10 for row in self]

    with Loader(partition(Rows(range(4)), 2), executor=executor, workers=2) as loader:
        assert [list(loader) for _ in range(2)] == [[10, 12, 11, 13], [20, 22, 21, 23]]


# --- what goes wrong ---


def faulty(index: int) -> Any:
    if index == 3:
        raise ValueError(f"bad {index}")
    return np.array([index])


def test_what_is_skipped_is_named(executor: ExecutorName) -> None:
    made = [Made(abs, 5), Made(faulty, 5), Made(faulty, 4)]
    with Loader(made, executor=executor, workers=2, faults=Faults(on_error="skip")) as loader:
        with pytest.warns(SkippedWarning, match=r"2 items.*source\[1\]\[3\] \(ValueError: bad 3"):
            assert len(list(loader)) == 12
        skipped = loader.statistics().skipped
        assert sorted(item.name for item in skipped) == ["source[1][3]", "source[2][3]"]
        assert {divmod(item.index, 3)[::-1] for item in skipped} == {(1, 3), (2, 3)}


def test_samples_that_are_skipped(executor: ExecutorName) -> None:
    made = [Made(faulty, 5), Made(faulty, 2)]
    with (
        pytest.warns(SkippedWarning, match=r"1 item was.*source\[0\]\[3\]"),
        Loader(made, executor=executor, workers=2, batch_size=2, faults=Faults(on_error="skip")) as loader,
    ):
        assert [batch.ravel().tolist() for batch in loader] == [[0, 1], [0, 1], [2], [4]]


@pytest.mark.parametrize("batch_size", [None, 2])
def test_an_exception_says_where(executor: ExecutorName, batch_size: int | None) -> None:
    made = [Made(abs, 5), Made(faulty, 5)]
    with (
        Loader(made, executor=executor, workers=2, batch_size=batch_size) as loader,
        pytest.raises(ValueError, match="bad 3") as caught,
    ):
        list(loader)
    assert any("raised by source[1][3]" in note for note in caught.value.__notes__)


def test_samples_that_do_not_stack(executor: ExecutorName) -> None:
    made = [Made(abs, 6), Made(lambda i: np.zeros(3 if i == 3 else 2), 6)]
    with (
        Loader(made, executor=executor, workers=2, batch_size=2) as loader,
        pytest.raises(procession.BatchError, match=r"source\[1\]\[3\]") as caught,
    ):
        list(loader)
    assert "source[1][2]" in str(caught.value)


def test_a_function_is_asked_about_items(executor: ExecutorName) -> None:
    asked: list[int] = []

    def decide(item: int, error: BaseException) -> Any:
        asked.append(item)
        return "skip"

    with (
        warnings.catch_warnings(action="ignore"),
        Loader([Made(abs, 4), Made(faulty, 4)], executor=executor, workers=2, faults=Faults(on_error=decide)) as loader,
    ):
        assert len(list(loader)) == 7
    assert [divmod(item, 2) for item in asked] == [(3, 1)]


# --- going on ---

WAYS = [("serial", 1), ("threads", 3), ("processes", 1), ("processes", 2)]


@pytest.mark.parametrize("kind", ["weights", "number", "view by key", "arrays"])
def test_another_loader_goes_on_in_the_middle(kind: str) -> None:
    options: dict[str, Any] = {"shuffle": True, "batch_size": 2}
    want = streams(SOURCES[kind](), "serial", 2, seed=4, **options)
    cuts = (1, len(want[0]) // 2, len(want[0]) - 1, len(want[0]))
    for cut, (one, workers), (other, others) in zip(cuts, WAYS, [*WAYS[1:], WAYS[0]], strict=True):
        with Loader(SOURCES[kind](), executor=one, workers=workers, seed=4, **options) as loader:  # type: ignore[arg-type]
            batches = iter(loader)
            before = [form(next(batches)) for _ in range(cut)]
            text = json.dumps(loader.state_dict())
        assert len(text) < 1000
        with Loader(SOURCES[kind](), executor=other, workers=others, **options) as loader:  # type: ignore[arg-type]
            loader.load_state_dict(json.loads(text))
            after = [form(batch) for batch in loader]
            if cut == len(want[0]):
                assert (before, after) == (want[0], want[1])
            else:
                assert before + after == want[0]
                assert [form(batch) for batch in loader] == want[1]


def test_a_state_of_other_partitions_is_refused() -> None:
    source = Made(abs, 12)
    kinds: dict[str, Callable[[], Any]] = {
        "contiguous": lambda: partition(source, 3),
        "strided": lambda: partition(source, 3, "strided"),
        "by key": lambda: partition(source, 3, [*"abcbcaabbcac"]),
        "by another key": lambda: partition(source, 3, [*"abcbcaabbcca"]),
        "of another": lambda: partition(list(range(12)), 3),
        "fewer": lambda: partition(source, 2),
        "by weights": lambda: Partitions([*partition(source, 3)], interleave=[2, 1, 1]),
        "in sequence": lambda: Partitions([*partition(source, 3)], interleave="sequence"),
        "until": lambda: Partitions([*partition(source, 3)], until=12),
        "whole": lambda: source,
        "a part": lambda: partition(source, 3)[0],
        "another part": lambda: partition(source, 3)[1],
    }
    states = {}
    for name, make in kinds.items():
        with Loader(make(), workers=0, seed=1) as loader:
            next(iter(loader))
            states[name] = loader.state_dict()
    for name, make in kinds.items():
        for other, state in states.items():
            with Loader(make(), workers=0, seed=1) as loader:
                if name == other:
                    loader.load_state_dict(state)
                else:
                    with pytest.raises(StateError):
                        loader.load_state_dict(state)


# --- as they become ready, and without end ---


@pytest.mark.parametrize("workers", [2, 5])
def test_in_any_order_each_still_in_its_own(executor: ExecutorName, workers: int) -> None:
    with Loader(keeping(), executor=executor, workers=workers, ordered=False) as loader:
        for epoch in range(3):
            batches = list(loader)
            assert len(batches) == sum(LENGTHS)
            for name, rows in by_part(batches).items():
                assert rows[:, 1].tolist() == list(range(LENGTHS[name]))
                assert rows[:, 2].tolist() == [epoch * LENGTHS[name] + k for k in range(LENGTHS[name])]


def test_in_any_order_after_a_kill() -> None:
    with Loader(keeping((60, 60, 60)), workers=3, ordered=False, prefetch=6) as loader:
        batches = []
        for batch in loader:
            batches.append(batch.copy())
            if len(batches) == 40:
                os.kill(loader.statistics().pids[1], signal.SIGKILL)
        assert Counter(marks(batches)) == Counter((part, k) for part in range(3) for k in range(60))


def test_endless_partitions(executor: ExecutorName) -> None:
    with Loader(keeping((None, 3)), executor=executor, workers=2) as loader:
        with pytest.raises(TypeError, match="endless"):
            len(loader)
        want = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), *((0, k) for k in range(3, 60))]
        for _ in range(2):
            assert marks(itertools.islice(loader, 63)) == want
    with Loader(Partitions(keeping((None, 3)), until="first"), executor=executor, workers=2) as loader:
        assert len(loader) == 6
        assert marks(loader) == want[:6]
    with Loader(Partitions(keeping((None, 3)), until=20), executor=executor, workers=2) as loader:
        assert marks(loader) == [((k % 2), k // 2 if k % 2 == 0 else k // 2 % 3) for k in range(20)]
    with Loader(keeping((None, None)), executor=executor, workers=2, batch_size=3) as loader:
        assert marks(itertools.islice(loader, 3)) == [
            *((0, k) for k in range(3)),
            *((1, k) for k in range(3)),
            (0, 3),
            (0, 4),
            (0, 5),
        ]


def test_more_partitions_than_a_worker_can_hold_tasks_of(executor: ExecutorName) -> None:
    made = keeping((3,) * 200)
    with Loader(made, executor=executor, workers=2, prefetch=300) as loader:
        assert marks(loader) == [(part, k) for k in range(3) for part in range(200)]


# --- partition() ---


@pytest.mark.parametrize("n", [1, 2, 3, 7, 11])
def test_contiguous_is_as_numpy_splits(n: int) -> None:
    tree: Any = {"x": np.arange(33).reshape(11, 3), "y": (np.arange(11), [np.asfortranarray(np.eye(11))])}

    def leaves(one: Any) -> list[Any]:
        return [one["x"], one["y"][0], one["y"][1][0]]

    contiguous, strided = partition(tree, n), partition(tree, n, "strided")
    assert len(contiguous) == len(strided) == n
    wanted = [np.array_split(leaf, n) for leaf in leaves(tree)]
    for k in range(n):
        for got, whole, want in zip(leaves(contiguous[k]), leaves(tree), wanted, strict=True):
            assert np.array_equal(got, want[k]) and got.dtype == whole.dtype and np.shares_memory(got, whole)
        for got, whole in zip(leaves(strided[k]), leaves(tree), strict=True):
            assert np.array_equal(got, whole[k::n]) and got.dtype == whole.dtype and np.shares_memory(got, whole)


def test_rows_of_one_key_stay_together() -> None:
    keys = np.array([3, 1, 3, 2, 1, 7, 2, 3, 9])
    parts = partition((np.arange(9), keys), 2, keys)
    assert [part[0].tolist() for part in parts] == [[0, 2, 3, 6, 7, 8], [1, 4, 5]]  # 3, 2, 9 and 1, 7
    assert [sorted(set(part[1].tolist())) for part in parts] == [[2, 3, 9], [1, 7]]
    assert [[*part] for part in partition([*"abcdefghi"], 2, keys.tolist())] == [[*"acdghi"], [*"bef"]]
    assert [len(part) for part in partition(keys, 5, [f"key {key}" for key in keys])] == [3, 2, 2, 1, 1]


def test_a_view_reads_its_source() -> None:
    source = Made(lambda i: i * 10, 10)
    for by, want in (("contiguous", [0, 10, 20, 30]), ("strided", [0, 30, 60, 90]), ([*"abcabcabca"], [0, 30, 60, 90])):
        part = partition(source, 3, by)[0]
        assert [len(part), part[0], part[3]] == [4, 0, want[3]]
        assert [part[i] for i in range(4)] == want
        with pytest.raises(IndexError):
            part[4]


@pytest.mark.parametrize("outer", ["contiguous", "strided", [*"aabbabababba"]])
@pytest.mark.parametrize("inner", ["contiguous", "strided", [*"xyyxyx"]])
def test_a_part_may_be_cut_again(outer: Any, inner: Any) -> None:
    source = Made(abs, 12)
    for half in partition(source, 2, outer):
        rows = [half[i] for i in range(6)]
        for quarter, want in zip(partition(half, 2, inner), partition(rows, 2, inner), strict=True):
            assert [quarter[i] for i in range(3)] == [want[i] for i in range(3)]
            assert quarter.source is source


def test_partitions_are_a_sequence() -> None:
    parts = Partitions([[1], [2]])
    assert (len(parts), [*parts], parts[1], parts[-1], repr(parts)) == (
        2,
        [[1], [2]],
        [2],
        [2],
        "Partitions(2 sources)",
    )
    assert Partitions([[1]], until=np.int64(4)).until == 4  # type: ignore[arg-type]
    assert len(partition([1, 2, 3], np.int64(3))) == 3  # type: ignore[arg-type]


def test_a_list_of_data_is_a_source_and_no_partitions(executor: ExecutorName) -> None:
    assert streams([np.zeros(2), np.ones(2)], executor) == [[form(np.zeros(2)), form(np.ones(2))]]
    with Loader([[1, 2], [3]], executor=executor) as loader:
        assert list(loader) == [[1, 2], [3]]
    with Loader(Partitions([[1, 2], [3]]), executor=executor) as loader:
        assert list(loader) == [1, 3, 2]


# --- what cannot be meant ---


class Own:
    def indices(self, epoch: int) -> Any:
        return [0]


TWO = [Made(abs, 4), Made(abs, 3)]
X = np.arange(6)

REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "none": (lambda: Partitions([]), ConfigError, "at least one source"),
    "empty list": (lambda: Loader([]), EmptySourceError, "length 0"),
    "mixed": (
        lambda: Loader([TWO[0], [1, 2]]),
        SourceTypeError,
        r"source\[0\] \(Made\).*source\[1\] \(list\) is data.*Partitions",
    ),
    "own order": (lambda: Loader(TWO, shuffle=Own()), ConfigError, "needs one source that has an end"),
    "n too large": (lambda: partition(X, 7), ConfigError, "from 1 to 6.*got 7"),
    "n of 0": (lambda: partition(X, 0), ConfigError, "got 0"),
    "n of True": (lambda: partition(X, True), ConfigError, "got True"),
    "n of 2.0": (lambda: partition(X, 2.0), ConfigError, r"got 2\.0"),  # type: ignore[arg-type]
    "by": (lambda: partition(X, 2, "random"), ConfigError, "'contiguous', 'strided' or a key.*'random'"),
    "keys": (lambda: partition(X, 2, [1, 2]), ConfigError, "2 keys.*6 items"),
    "few keys": (lambda: partition(X, 3, [0, 1] * 3), ConfigError, "only 2 different keys.*n=3"),
    "endless": (lambda: partition(Keeping(0, None), 2), SourceTypeError, "endless"),
    "no arrays": (lambda: partition({"x": X, "y": X[1:]}, 2), SourceTypeError, "differ in length"),
    "few weights": (lambda: Partitions(TWO, interleave=[1]), ConfigError, "1 weights for 2 sources"),
    "weight 0": (lambda: Partitions(TWO, interleave=[1, 0]), ConfigError, "above 0"),
    "weight nan": (lambda: Partitions(TWO, interleave=[1, float("nan")]), ConfigError, "above 0"),
    "words": (lambda: Partitions(TWO, interleave=["a", "b"]), ConfigError, "interleave must be"),  # type: ignore[list-item]
    "a number": (lambda: Partitions(TWO, interleave=3), ConfigError, "interleave must be.*got 3"),  # type: ignore[arg-type]
    "a name": (lambda: Partitions(TWO, interleave="random"), ConfigError, "'turns', 'sequence'"),  # type: ignore[arg-type]
    "until": (lambda: Partitions(TWO, until="last"), ConfigError, "until must be.*'last'"),  # type: ignore[arg-type]
    "until 0": (lambda: Partitions(TWO, until=0), ConfigError, "at least 1; got 0"),
    "until in sequence": (lambda: Partitions(TWO, interleave="sequence", until=4), ConfigError, "'sequence'"),
    "of partitions": (lambda: Loader([Partitions(TWO), Partitions(TWO)]), SourceTypeError, "side by side"),
    "partitions in partitions": (
        lambda: Loader(Partitions([Partitions(TWO), TWO[0]])),
        SourceTypeError,
        "side by side",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused(name: str) -> None:
    make, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: Loader(Partitions([[1], iter([2])])), SourceTypeError),
        (lambda: Loader(Partitions([[1], []])), EmptySourceError),
        (lambda: Loader(Partitions([X, X[:1]]), batch_size=2, drop_remainder=True), EmptySourceError),
        (lambda: Loader(Partitions([[1] * 3, [2] * 4]), shuffle=Weighted([1, 2, 3])), ConfigError),
        (lambda: Loader(Partitions([[1], X])), SourceTypeError),
    ],
    ids=["iterator", "empty", "no whole batch", "weights of another length", "arrays without batch_size"],
)
def test_which_partition_is_meant_is_said(make: Callable[[], Any], kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert "procession: this is partition 1 of 2, source[1]" in caught.value.__notes__
