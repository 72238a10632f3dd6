"""Batches made in place: never copied where that goes, never changed, never shared with what the source keeps."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from procession import Loader
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


def test_a_source_that_forks() -> None:
    def forks(i: int) -> Any:
        x = images(i)
        if i > 6:
            pid = os.fork()
            if pid == 0:
                x += 1  # its own copy, it may think
                y = images(i + 1)
                os._exit(int(y[0, 0, 0, 0] + x[0, 0, 0, 0]) % 2)
            os.waitpid(pid, 0)
        return x

    source = Made(forks, LENGTH)
    with Loader(source, workers=1) as loader:
        got = [form(batch) for batch in loader]
    differing = [i for i in range(LENGTH) if got[i] != form(images(i))]
    assert differing in ([], [7])  # the first fork may be too late to see: documented in placement


def test_memory_stays_what_the_slots_need() -> None:
    with Loader(Made(images, 60), workers=2) as loader:
        for _ in loader:
            pass
        gc.collect()
        assert arena_bytes() < 14 * 1.2 * 9.7e6
