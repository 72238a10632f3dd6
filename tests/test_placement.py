"""Batches made in place: never copied where that goes, never changed, never shared with what the source keeps."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from procession import Loader
from tests.conftest import ExecutorName
from tests.support import Made, arena_bytes, form, streams

BIG = (64, 224, 224, 3)  # 9.6 MB of bytes
LENGTH = 16


def images(i: int) -> Any:
    return np.random.default_rng(i).integers(0, 255, BIG, dtype=np.uint8)


def chain(i: int) -> Any:
    """Several large arrays on the way, of the size of the last one too."""
    x = images(i)
    y = x.astype(np.float32)
    z = y * 2
    z += 1
    return z / 255, np.arange(4) + i


def blended(i: int) -> Any:
    out = np.zeros(BIG, np.float32)
    out[1:-1] = i
    return out


def same_twice(i: int) -> Any:
    x = images(i)
    return x, x


def overlapping(i: int) -> Any:
    x = images(i)
    return x[:40], x[20:], x[63:]


def resized(i: int) -> Any:
    x = images(i).reshape(-1)
    x = np.resize(x, x.size + 100 * i)
    y = np.concatenate([x, x])
    y.resize(x.size + 7, refcheck=False)
    return y


def other_sizes(i: int) -> Any:
    return np.full((64, 200 + 7 * (i % 5), 224, 3), i, np.uint8), np.full(2_000_000 + i % 3, float(i))


SOURCES: dict[str, Callable[[int], Any]] = {
    "fresh": images,
    "view": lambda i: (images(i)[..., None], {"n": np.arange(i + 1)}),
    "not contiguous": lambda i: (images(i)[::2], images(i + 1)[:, ::-1], images(i).T),
    "fortran": lambda i: np.asfortranarray(images(i)[0, :, :, 0].astype(float) * np.ones((224, 224)) + np.eye(224)),
    "large fortran": lambda i: np.asfortranarray(images(i).reshape(64 * 224, -1)),
    "chain": chain,
    "zeros": blended,
    "same twice": same_twice,
    "overlapping": overlapping,
    "odd beginning": lambda i: images(i).reshape(-1)[1:],
    "resized": resized,
    "other sizes": other_sizes,
    "large and small in turns": lambda i: images(i) if i % 2 else np.arange(3),
    "with objects": lambda i: (images(i), "text" * 20_000, [None, np.float64(i)]),
    "structured": lambda i: np.zeros(200_000, "i4,f8,u1"),
    "many small arrays": lambda i: (images(i), sum(np.ones(3)[0] for _ in range(5000))),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_stream_is_that_of_serial(name: str) -> None:
    source = Made(SOURCES[name], LENGTH)
    assert streams(source, "processes", 2) == streams(source, "serial", 2)


PLACED = ["fresh", "view", "chain", "zeros", "large fortran"]


@pytest.mark.parametrize("name", PLACED)
def test_most_bytes_are_not_copied(name: str) -> None:
    with Loader(Made(SOURCES[name], 40), workers=2) as loader:
        for _ in loader:
            pass
        statistics = loader.statistics()
    assert statistics.placed_bytes > 0.5 * statistics.bytes


@pytest.mark.parametrize("name", ["many small arrays", "same as before"])
def test_it_is_given_up_where_it_does_not_pay(name: str) -> None:
    always = images(0)
    make = SOURCES.get(name, lambda i: always)
    with Loader(Made(make, 40), workers=1) as loader:
        for _ in loader:
            pass
        assert loader.statistics().placed_bytes <= 4 * always.nbytes


def test_a_batch_that_is_held_never_changes() -> None:
    with Loader(Made(images, 40), workers=2) as loader:
        batches = list(loader)
        again = list(loader)
    for i, (one, other) in enumerate(zip(batches, again, strict=True)):
        assert (one == images(i)).all() and (other == one).all()
        assert one.ctypes.data % 64 == 0 and one.flags.writeable and type(one) is np.ndarray


class Caching:
    """Keeps what it has made, and gives it out again; or changes it afterwards."""

    def __init__(self, *, changes: bool) -> None:
        self.made: dict[int, Any] = {}
        self.changes = changes

    def __len__(self) -> int:
        return 30

    def __getitem__(self, i: int) -> Any:
        index = i % 10
        if index not in self.made:
            self.made[index] = images(index)
        elif self.changes:
            self.made[index] += 1
        return self.made[index]


@pytest.mark.parametrize("changes", [False, True], ids=["kept", "changed later"])
def test_what_the_source_keeps_is_its_own(changes: bool) -> None:
    with Loader(Caching(changes=changes), workers=1) as loader:
        held = []
        for batch in loader:
            held.append((batch, batch.copy()))
            np.add(batch, 77, out=batch)  # must not reach the source's array
            held[-1][1].__iadd__(77)
        assert all((batch == copy).all() for batch, copy in held)
    want = Caching(changes=changes)
    assert [form(copy - np.uint8(77)) for _, copy in held] == [form(want[i].copy()) for i in range(30)]


def test_exceptions_that_hold_arrays() -> None:
    kept: list[BaseException] = []

    def fails(i: int) -> Any:
        x = images(i)
        if i % 4 == 3:
            try:
                raise ValueError(i)
            except ValueError as error:
                kept.append(error)  # its traceback holds x
        return x

    source = Made(fails, LENGTH)
    with Loader(source, workers=2) as loader:
        got = [form(batch) for batch in loader]
    kept.clear()
    assert got == [form(images(i)) for i in range(LENGTH)]


def test_a_source_that_raises_with_large_arrays_in_hand() -> None:
    from procession import Faults, SkippedWarning

    def fails(i: int) -> Any:
        x = images(i)
        if i % 4 == 3:
            raise ValueError(i, x[:1, :1, :1])
        return x

    with (
        pytest.warns(SkippedWarning),
        Loader(Made(fails, LENGTH), workers=2, faults=Faults(on_error="skip")) as loader,
    ):
        got = [form(batch) for batch in loader]
    assert got == [form(images(i)) for i in range(LENGTH) if i % 4 != 3]


@pytest.mark.parametrize("way", ["fork", "multiprocessing"])
def test_what_a_forked_child_writes_is_its_own(way: str) -> None:
    def change(array: Any) -> None:
        np.multiply(array, 0, out=array)

    def forks(i: int) -> Any:
        x = images(i)
        if i in (6, 7, 12):
            if way == "fork":
                pid = os.fork()
                if pid == 0:
                    change(x)
                    os._exit(0)
                os.waitpid(pid, 0)
            else:
                process = multiprocessing.get_context("fork").Process(target=change, args=(x,))
                process.start()
                process.join()
        return x

    with Loader(Made(forks, LENGTH), workers=2) as loader:
        held = list(loader)
    assert [form(batch) for batch in held] == [form(images(i)) for i in range(LENGTH)]


def test_what_a_child_of_the_consumer_writes_is_its_own(executor: ExecutorName) -> None:
    with Loader(Made(images, 8), executor=executor, workers=2) as loader:
        held = list(loader)
        pid = os.fork()
        if pid == 0:
            for batch in held:
                batch[:] = 0
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert [form(batch) for batch in held] == [form(images(i)) for i in range(8)]


def test_threads_that_have_a_copy_of_the_context() -> None:
    """asyncio.to_thread copies it: the handler is set in there too."""

    def gathered(i: int) -> Any:
        def load(j: int) -> Any:
            return np.full(40_000, i * 100.0 + j)

        async def go() -> Any:
            return await asyncio.gather(*[asyncio.to_thread(load, j) for j in range(20)])

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            return asyncio.run(go())
        finally:
            sys.setswitchinterval(before)

    source = Made(gathered, LENGTH)
    assert streams(source, "processes", 1) == streams(source, "serial", 1)


class OutlivesItsBatch:
    """A thread allocates and writes, by the context of an earlier batch, after its own has failed."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> Any:
        if i == 5:
            self.context = contextvars.copy_context()
        if i == 6:
            self.go = threading.Event()
            self.thread = threading.Thread(target=lambda: self.context.run(self.write), daemon=True)
            self.thread.start()
            raise ValueError(i)
        if i == 8:
            self.go.set()
            self.thread.join()
        return np.full(300_000, i, float)

    def write(self) -> None:
        array = np.full(300_000, -7.0)
        self.go.wait()
        array[:] = -8


def test_a_context_that_outlives_its_batch() -> None:
    from procession import Faults, SkippedWarning

    faults = Faults(on_error="skip")
    with pytest.warns(SkippedWarning), Loader(OutlivesItsBatch(), workers=1, prefetch=1, faults=faults) as loader:
        held = list(loader)
    assert [(float(batch.min()), float(batch.max())) for batch in held] == [(i, i) for i in range(12) if i != 6]


def test_a_source_whose_signal_handler_raises() -> None:
    class Alarm(Exception):  # noqa: N818
        pass

    def ring(*_: Any) -> None:
        raise Alarm

    def interrupted(i: int) -> Any:
        signal.signal(signal.SIGALRM, ring)
        array = np.full(300_000, i, float)
        for _ in range(5):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001)
                while True:
                    np.add(np.empty(30_000), 1)
            except Alarm:
                continue
        return array

    with Loader(Made(interrupted, LENGTH), workers=1) as loader:
        assert [float(batch[0]) for batch in loader] == list(range(LENGTH))


def test_memory_stays_what_the_slots_need() -> None:
    with Loader(Made(images, 60), workers=2) as loader:
        for _ in loader:
            pass
        gc.collect()
        assert arena_bytes() < 14 * 1.2 * 9.7e6


# --- exceptions on whose way numpy releases memory ---


def swallowed(i: int) -> Any:
    x = images(i)
    for value in (0.1, 1e300):
        try:
            np.random.choice(value)  # as Keras's generators find out whether a shift is a fraction
        except ValueError:
            pass
    try:
        x[0, 0] @ np.zeros((5, 7, 9))
    except ValueError as error:
        return x, np.array([len(str(error))])
    raise AssertionError("the shapes do not fit")


def in_a_list(i: int) -> Any:
    def read(k: int) -> Any:
        if (i, k) == (9, 40):
            raise FileNotFoundError(f"file {k} of batch {i} is gone")
        return np.full(BIG[1:], k, np.uint8)

    return np.array([read(k) for k in range(BIG[0])])


def multiplied(i: int) -> Any:
    x = np.ones((3_000_000 + i, 1), np.float32)
    if i == 9:
        return x @ np.ones((2, 2), np.float32)
    return x + 1


def test_an_exception_that_the_source_catches_is_its_own() -> None:
    source = Made(swallowed, LENGTH)
    assert streams(source, "processes") == streams(source, "serial")
    with Loader(source, workers=1) as loader:
        for _ in loader:
            pass
        assert loader.statistics().placed_bytes > 0


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [(in_a_list, FileNotFoundError, "file 40 of batch 9 is gone"), (multiplied, ValueError, "matmul")],
)
def test_an_exception_that_passes_large_arrays_arrives_as_itself(make: Any, kind: Any, text: str) -> None:
    with Loader(Made(make, LENGTH), workers=1) as loader:
        batches = iter(loader)
        for _ in range(9):
            next(batches)
        with pytest.raises(kind, match=text):
            next(batches)


def test_memory_of_failing_operations_is_given_back() -> None:
    def make(i: int) -> Any:
        x = images(0)
        with contextlib.suppress(ValueError):
            np.ones((2_000_000, 1), np.float32) @ np.ones((2, 2), np.float32)
        return np.array([worker_memory(), x.nbytes]), x

    with Loader(Made(make, 200), workers=1) as loader:
        grown = [int(memory) for (memory, _), _ in loader]
    assert max(grown[100:]) < grown[20] + (100 << 20)


def worker_memory() -> int:
    """Return the bytes that this process has for itself."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - in a worker, as quick as can be
        return int(file.read().split()[1]) * 4096
