"""Every executor delivers the same stream as serial, which is what the source returns, byte for byte."""

from __future__ import annotations

import gc
import itertools
import random
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse

import procession
from procession import EpochAbandonedError, Loader
from tests.conftest import ExecutorName
from tests.support import Made, arena_bytes, form, streams

SIZES = (10_000, 5_000_000, 300, 0, 70_000, 1_000_000, 5_000_001)
DTYPES = ("f4", "i8", "u1", "?", "c16", "f2", ">f8", "<U3")
ALIGNED = np.dtype([("a", "i1"), ("b", "f8"), ("c", "i2")], align=True)
NESTED = np.dtype([("point", [("x", "f4"), ("y", "f4")]), ("name", "U5"), ("grid", "u2", (2, 3))])
WITH_OBJECT = np.dtype([("n", "i4"), ("what", object)])


class Pair(NamedTuple):
    image: Any
    label: Any


class Tagged(np.ndarray):
    """An array of a class of its own."""


def of_dtype(dtype: str, i: int) -> Any:
    return (np.arange(12).reshape(3, 4) % 7 + i % 2).astype(getattr(ml_dtypes, dtype, dtype))


def ragged(i: int) -> Any:
    array = np.empty(3, object)
    array[:] = [[1, 2], None, {"deep": (i, "x")}]
    return array


def sparse(i: int) -> dict[str, Any]:
    dense = np.diag(np.arange(40.0) + i)
    return {name: getattr(scipy.sparse, name)(dense) for name in ("csr_matrix", "csc_array", "coo_matrix", "bsr_array")}


def stamped(dtype: Any, i: int) -> Any:
    array = np.zeros(4, dtype)
    for name in array.dtype.names or ():
        array[name] = i
    return array


BATCHES: dict[str, Callable[[int], Any]] = {
    "pair": lambda i: (np.full((4, 3, 3), i, np.float32), np.arange(4) + i),
    "one array": lambda i: np.arange(5) * i,
    "changing dtype": lambda i: np.arange(7).astype(DTYPES[i % len(DTYPES)]),
    "changing shape": lambda i: np.ones((i + 1,) * (i % 4 + 1), np.float32),
    "changing size": lambda i: np.full(SIZES[i % len(SIZES)], i, np.uint8),
    "changing tree": lambda i: [{"x": np.arange(i)}, (np.arange(i), i), np.arange(i), [np.arange(3)] * i][i % 4],
    "changing order of keys": lambda i: dict([("b", np.full(2, i)), ("a", np.full(2, -i))][:: 1 if i // 2 % 2 else -1]),
    "empty": lambda i: (np.empty((0, 3)), np.empty((4, 0, 2), np.int16), np.zeros(3), np.empty(0, "<U7")),
    "no leaves": lambda i: ({}, [], None),
    "0-d": lambda i: (np.array(3.5), np.array(i), np.array("word")),
    "numbers": lambda i: (np.float32(2.5), np.int8(i), i, 2.5, True, 1 + 2j, 2**70, float("inf")),
    "fortran": lambda i: (np.asfortranarray(np.arange(24.0).reshape(2, 3, 4) + i), np.asfortranarray(np.eye(3))),
    "strided": lambda i: (
        np.arange(20)[::2],
        np.arange(20)[::-1],
        np.arange(6).reshape(2, 3).T,
        np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        np.broadcast_to(np.float32(i), (3, 4)),
    ),
    "structured": lambda i: (stamped(ALIGNED, i), stamped("i4,f8", i), np.zeros((2, 2), NESTED)),
    "structured with objects": lambda i: stamped(WITH_OBJECT, i),
    "record array": lambda i: stamped("i4,f8", i).view(np.recarray),
    "long double": lambda i: np.arange(4).astype(np.longdouble) + i,
    "strings": lambda i: (np.array(["a", "längeres"]), np.array([b"xy", b""]), np.array([b"\0raw"], "V6")),
    "string dtype": lambda i: np.array(["short", "a string that is longer than any arena holds inline" * i], "T"),
    "dates": lambda i: (np.array(["2024-02-29", "NaT"], "M8[D]"), np.arange(3).astype("m8[ms]")),
    "objects": lambda i: (ragged(i), np.array([None, 1.5, "x"], object)),
    "plain": lambda i: (b"bytes\0", "text", None, i, [[1], [2, 3], []], "ü" * 70_000, bytes(200_000)),
    "large pickles": lambda i: (np.array([f"{k}:{i}" for k in range(20_000)], object), "s" * 100_000),
    "nested": lambda i: {"x": {"left": np.arange(i), "right": [np.eye(2), None]}, "y": (np.arange(2), {"z": None})},
    "keys of several types": lambda i: {1: np.arange(i), "one": np.arange(2), (1, 2): np.zeros(1)},
    "named tuple": lambda i: Pair(np.eye(3) * i, [np.arange(i)]),
    "other containers": lambda i: (
        OrderedDict(b=np.arange(i), a=np.arange(2)),
        defaultdict(None, {"k": np.arange(i)}),
        deque([np.arange(i)]),
    ),
    "sparse": sparse,
    "masked": lambda i: np.ma.masked_array(np.arange(6.0), np.arange(6) % 2 == i % 2, fill_value=-i),
    "subclass": lambda i: np.arange(6.0).view(Tagged),
    "many leaves": lambda i: [np.arange(k) + i for k in range(300)],
    **{name: partial(of_dtype, name) for name in ("bfloat16", "float8_e4m3fn", "float16", "bool", ">i2")},
}


class Hooked:
    """A source whose hooks change it by rebinding and in place, small arrays and large ones."""

    def __init__(self, length: int = 6) -> None:
        self.length = length
        self.epoch = -1
        self.small = np.arange(length)
        self.large = np.arange(100_000)  # beyond what is copied: the workers share it
        self.untouched = np.ones(100_000)
        self.log: list[str] = []

    def on_epoch_begin(self) -> None:
        self.epoch += 1
        self.log.append(f"begin {self.epoch}")
        self.small[:] = np.roll(self.small, 1)
        self.large[self.epoch] = -1 - self.epoch
        self.table = {"epoch": self.epoch}

    def on_epoch_end(self) -> None:
        self.log.append(f"end {self.epoch}")
        self.small = self.small[::-1].copy()
        self.large[-1] += 1
        if self.epoch == 1:
            del self.table

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        log = list(self.log) if self.epoch < 0 else None
        return self.epoch, int(self.small[i]), self.large[[0, 1, 2, -1]], self.untouched[:2], dict(self.table), log


class ListOfRows(list[Any]):
    """A source without plain attributes whose hook changes what it holds."""

    def on_epoch_begin(self) -> None:
        self[0] = self[0] + 1


class Endless:
    """A source that has no end."""

    num_batches = None

    def __getitem__(self, i: int) -> Any:
        return np.full(3, i)


class Attributed(Made):
    """A source without hooks, changed from outside by rebinding."""

    extra = 0

    def __getitem__(self, index: int) -> Any:
        return index, self.extra, vars(self).get("array", np.zeros(1)).sum()


def zoo(name: str) -> Made:
    return Made(BATCHES[name], 10)


def unbroken(array: Any) -> Any:
    """Return the array as it lies in memory without holes: what cannot stay as it was becomes C order."""
    return np.array(array, order="F" if array.flags.f_contiguous else "C")


# --- batches made by the source ---


@pytest.mark.parametrize("name", BATCHES)
def test_the_stream_is_what_the_source_returns(executor: ExecutorName, name: str) -> None:
    source = zoo(name)
    made = [source[i] for i in range(len(source))]
    if name == "strided":
        made = [tuple(unbroken(array) for array in batch) for batch in made]
    want = [form(batch) for batch in made]
    assert streams(source, executor, 2) == [want, want]


def test_a_class_defined_locally_comes_back_as_itself(executor: ExecutorName) -> None:
    class Local(NamedTuple):
        x: Any
        y: Any

    with Loader(Made(lambda i: Local(np.arange(i), {"deep": Local(i, None)}), 3), executor=executor) as loader:
        batches = list(loader)
    assert [type(batch) for batch in batches] == [Local] * 3
    assert [form(batch) for batch in batches] == [form(Local(np.arange(i), {"deep": Local(i, None)})) for i in range(3)]


def test_arrays_are_plain_writable_and_aligned(executor: ExecutorName) -> None:
    def batch(i: int) -> Any:
        odd = np.arange(i + 1, dtype=np.uint8)
        odd.flags.writeable = False
        return odd, np.arange(3.0), np.full(SIZES[i % len(SIZES)], 1, np.int8), odd.reshape(-1, 1)

    with Loader(Made(batch, 14), executor=executor) as loader:
        for arrays in loader:
            for array in arrays:
                assert type(array) is np.ndarray
                assert array.flags.writeable
                assert array.ctypes.data % 64 == 0 or array.size == 0
                array[...] = 7
                assert (array == 7).all()


def test_writing_to_one_batch_changes_no_other(executor: ExecutorName) -> None:
    with Loader(Made(lambda i: (np.full(100, i), np.full(50, i)), 20), executor=executor) as loader:
        batches = list(loader)
        for one, other in batches:
            one[:] = -1
            assert (other >= 0).all()
        assert [int(other[0]) for _, other in batches] == list(range(20))


@pytest.mark.parametrize("name", ["pair", "changing size", "sparse", "objects", "large pickles", "masked"])
def test_batches_that_are_held_never_change(executor: ExecutorName, name: str) -> None:
    source = zoo(name)
    want = [form(source[i]) for i in range(len(source))]
    loader = Loader(source, executor=executor, workers=2)
    held = [list(loader) for _ in range(3)]
    assert [[form(batch) for batch in epoch] for epoch in held] == [want] * 3
    loader.close()
    del loader
    gc.collect()
    assert [[form(batch) for batch in epoch] for epoch in held] == [want] * 3


def test_slots_return_when_arrays_and_views_are_dropped(executor: ExecutorName) -> None:
    size = 1 << 20
    with Loader(Made(lambda i: np.full(size, i % 100, np.uint8), 40), executor=executor, workers=2) as loader:
        for _ in loader:
            pass
        passing = arena_bytes()
        assert passing < 20 * size  # of 40 MiB: what was dropped was used again
        views = [batch[5:9] for batch in loader]
        full = arena_bytes()
        assert full >= 40 * size
        assert [view.tolist() for view in views] == [[i % 100] * 4 for i in range(40)]
        del views
        for _ in range(2):
            for _ in loader:
                pass
        assert arena_bytes() <= full


@pytest.mark.parametrize("outgrown", [[5_000_000, *[300] * 8], [*[300] * 8, 5_000_000], [5_000_000] * 9])
def test_batches_larger_than_their_slot(executor: ExecutorName, outgrown: list[int]) -> None:
    source = Made(lambda i: np.full(outgrown[i], i, np.uint8), len(outgrown))
    assert streams(source, executor, 3) == [[form(source[i]) for i in range(len(outgrown))]] * 3


def test_statistics_say_what_was_pickled_and_why(executor: ExecutorName) -> None:
    source = Made(lambda i: (np.arange(3), "word", np.array([None])), 4)
    with Loader(source, executor=executor, workers=2, seed=5) as loader:
        assert len(list(loader)) == 4
        figures = loader.statistics()
    assert (figures.batches, figures.epochs, figures.seed, figures.executor) == (4, 1, 5, executor)
    assert figures.pickled == {"type str": 4, "dtype object": 4}
    assert figures.bytes > 0 and figures.work_seconds > 0


# --- tensors of frameworks made in workers ---


def torch_batch(i: int) -> Any:
    import torch

    dense = torch.arange(6.0).reshape(2, 3) + i
    return {
        "dense": dense,
        "grad": dense.clone().requires_grad_(),
        "bfloat16": dense.to(torch.bfloat16),
        "0-d": torch.tensor(i),
        "view": dense.T,
        "conjugate": torch.complex(dense, dense).conj(),
        "sparse": torch.eye(3).to_sparse(),
        "csr": torch.eye(3).to_sparse_csr(),
    }


def tensorflow_batch(i: int) -> Any:
    import tensorflow as tf

    dense = tf.reshape(tf.range(6.0), (2, 3)) + i
    return {
        "dense": dense,
        "variable": tf.Variable(dense),
        "bfloat16": tf.cast(dense, tf.bfloat16),
        "0-d": tf.constant(i),
        "text": tf.constant(["a", "bc"]),
        "sparse": tf.sparse.from_dense(tf.eye(3)),
    }


def jax_batch(i: int) -> Any:
    import jax.numpy as jnp
    from jax.experimental import sparse as jax_sparse

    dense = jnp.arange(6.0).reshape(2, 3) + i
    return {
        "dense": dense,
        "bfloat16": dense.astype(jnp.bfloat16),
        "0-d": jnp.asarray(i),
        "sparse": jax_sparse.BCOO.fromdense(jnp.eye(3)),
    }


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("make", [torch_batch, tensorflow_batch, jax_batch])
def test_tensors_of_frameworks_arrive_as_numpy(executor: ExecutorName, make: Callable[[int], Any]) -> None:
    with Loader(Made(make, 3), executor=executor, workers=2) as loader:
        batches = list(loader)
    for i, batch in enumerate(batches):
        plain = np.arange(6.0, dtype=np.float32).reshape(2, 3) + np.float32(i)
        assert form(batch["dense"]) == form(plain)
        assert form(batch["bfloat16"]) == form(plain.astype(ml_dtypes.bfloat16))
        assert batch["0-d"] == i and type(batch["0-d"]) is np.ndarray and batch["0-d"].shape == ()
        for name in {"sparse", "csr"} & set(batch):
            assert scipy.sparse.issparse(batch[name])
            assert (batch[name].toarray() == np.eye(3)).all()
        for name in {"grad", "variable"} & set(batch):
            assert form(batch[name]) == form(plain)
        if "view" in batch:
            assert form(batch["view"]) == form(plain.T)
            assert (batch["conjugate"] == plain - 1j * plain).all()
        if "text" in batch:
            assert batch["text"].tolist() == [b"a", b"bc"]


# --- samples and trees of arrays ---

SAMPLES: dict[str, tuple[Callable[[int], Any], Callable[[range], Any]]] = {
    # a sample, and what a batch of the samples at some indices has to be
    "dict": (
        lambda i: {"x": np.full((2, 2), i, np.float32), "y": i},
        lambda r: {"x": np.stack([np.full((2, 2), i, np.float32) for i in r]), "y": np.array(r)},
    ),
    "pair": (lambda i: (np.arange(3) + i, i % 2 == 0), lambda r: (np.add.outer(r, np.arange(3)), np.array(r) % 2 == 0)),
    "number": (lambda i: i * 1.5, lambda r: np.array(r) * 1.5),
    "int and float": (lambda i: i if i % 2 else float(i), lambda r: np.array(r, float)),
    "0-d": (lambda i: np.array(i, "i2"), lambda r: np.array(r, "i2")),
    "numpy scalars": (lambda i: (np.float16(i), np.uint8(i)), lambda r: (np.array(r, "f2"), np.array(r, "u1"))),
    "mixed dtypes": (
        lambda i: np.full(2, i, "i4" if i % 2 else "f4"),
        lambda r: np.repeat(np.array(r, float)[:, None], 2, axis=1).astype("f8" if len(r) > 1 else "f4"),
    ),
    "text": (lambda i: f"sample {i}", lambda r: np.array([f"sample {i}" for i in r], object)),
    "none": (lambda i: {"x": i, "no": None}, lambda r: {"x": np.array(r), "no": None}),
    "fortran": (
        lambda i: np.asfortranarray(np.arange(6).reshape(2, 3) + i),
        lambda r: np.stack([np.arange(6).reshape(2, 3) + i for i in r]),
    ),
    "bfloat16": (
        lambda i: np.full(2, i, ml_dtypes.bfloat16),
        lambda r: np.array([[i, i] for i in r], ml_dtypes.bfloat16),
    ),
    "unicode arrays": (lambda i: np.array(["x" * (i + 1)]), lambda r: np.array([["x" * (i + 1)] for i in r])),
    "empty": (lambda i: np.empty((0, 2)), lambda r: np.empty((len(r), 0, 2))),
    "dates": (lambda i: np.datetime64("2024-01-01") + i, lambda r: np.datetime64("2024-01-01") + np.array(r)),
    "large": (lambda i: np.full(100_000, i, "u1"), lambda r: np.stack([np.full(100_000, i, "u1") for i in r])),
}


def spans(length: int, size: int, *, drop_remainder: bool) -> list[range]:
    every = [range(length)[start : start + size] for start in range(0, length, size)]
    return [span for span in every if len(span) == size or not drop_remainder]


@pytest.mark.parametrize("drop_remainder", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_stacked(executor: ExecutorName, name: str, *, drop_remainder: bool) -> None:
    sample, batch = SAMPLES[name]
    source = Made(sample, 11)
    want = [form(batch(span)) for span in spans(11, 5, drop_remainder=drop_remainder)]
    got = streams(source, executor, 2, batch_size=5, drop_remainder=drop_remainder)
    assert got == [want, want]


@pytest.mark.parametrize("drop_remainder", [False, True])
def test_trees_of_arrays_are_cut(executor: ExecutorName, *, drop_remainder: bool) -> None:
    source = {
        "x": (np.arange(44.0).reshape(11, 2, 2), np.asfortranarray(np.arange(33).reshape(11, 3))),
        "y": [np.arange(11)[::-1], np.array([f"w{i}" for i in range(11)])],
        "o": np.array([{"row": i} for i in range(11)], object),
        "s": np.zeros(11, NESTED),
        "big": np.arange(11 * 10_000).reshape(11, 10_000),
    }

    def cut(array: Any, span: range) -> Any:
        return np.ascontiguousarray(array[span.start : span.stop])

    want = [
        form(
            {
                "x": tuple(cut(a, span) for a in source["x"]),
                "y": [cut(a, span) for a in source["y"]],
                **{name: cut(source[name], span) for name in ("o", "s", "big")},
            }
        )
        for span in spans(11, 4, drop_remainder=drop_remainder)
    ]
    assert streams(source, executor, 2, batch_size=4, drop_remainder=drop_remainder) == [want, want]


def test_one_array_and_a_list_are_sources(executor: ExecutorName) -> None:
    rows = np.arange(10.0).reshape(5, 2)
    assert streams(rows, executor, batch_size=3) == [[form(rows[:3]), form(rows[3:])]]
    assert streams([rows, rows + 1], executor) == [[form(rows), form(rows + 1)]]
    assert streams([1, 2, 3], executor, batch_size=2) == [[form(np.array([1, 2])), form(np.array([3]))]]


def test_a_source_with_num_batches_and_no_len(executor: ExecutorName) -> None:
    class Counted:
        @property
        def num_batches(self) -> int:
            return 3

        def __getitem__(self, i: int) -> Any:
            return np.arange(i)

    with Loader(Counted(), executor=executor) as loader:
        assert len(loader) == 3
        assert [len(batch) for batch in loader] == [0, 1, 2]


# --- order and random numbers ---


@pytest.mark.parametrize("options", [{}, {"batch_size": 4}, {"batch_size": 4, "drop_remainder": True}])
def test_shuffled_order_is_of_the_seed_alone(executor: ExecutorName, options: dict[str, Any]) -> None:
    source = Made(lambda i: np.array([i]), 30)
    want = streams(source, "serial", 3, shuffle=True, seed=7, **options)
    for workers in (1, 2, 3, 8):
        assert streams(source, executor, 3, shuffle=True, seed=7, workers=workers, **options) == want
    assert streams(source, executor, 3, shuffle=True, seed=8, **options) != want
    with Loader(source, executor=executor, shuffle=True, seed=7, **options) as loader:
        epochs = [np.concatenate([np.ravel(batch) for batch in loader]).tolist() for _ in range(3)]
    taken = 28 if options.get("drop_remainder") else 30
    assert all(len(set(epoch)) == taken and set(epoch) <= set(range(30)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != sorted(epochs[0])


def test_a_tree_of_arrays_shuffled_keeps_its_rows_together(executor: ExecutorName) -> None:
    source = {
        "x": np.arange(60).reshape(30, 2),
        "y": np.arange(30) * 2,
        "o": np.array([str(i) for i in range(30)], object),
    }
    options: dict[str, Any] = {"batch_size": 7, "shuffle": True, "seed": 3}
    assert streams(source, executor, 2, **options) == streams(source, "serial", 2, **options)
    with Loader(source, executor=executor, **options) as loader:
        for batch in loader:
            assert (batch["x"][:, 0] == batch["y"]).all()
            assert [2 * int(text) for text in batch["o"]] == batch["y"].tolist()


def draw(i: int) -> Any:
    one, more = procession.rng().random(3), procession.rng().random(3)
    assert not (one == more).any(), "it goes on where it was, as in a function that is called for each image"
    return one, more


def draw_globally(i: int) -> Any:
    return random.random(), np.random.rand(2), random.sample(range(100), 3), np.random.permutation(5)


@pytest.mark.parametrize("options", [{}, {"batch_size": 4}, {"shuffle": True}])
@pytest.mark.parametrize("make", [draw, draw_globally])
def test_random_numbers_are_of_seed_epoch_and_index(
    executor: ExecutorName, make: Callable[[int], Any], options: dict[str, Any]
) -> None:
    if executor == "threads" and make is draw_globally:
        executor = "serial"  # threads share the global generators, which are therefore left alone in them
    source = Made(make, 12)
    want = streams(source, "serial", 3, seed=1, **options)
    for workers in (1, 2, 3, 8):
        assert streams(source, executor, 3, seed=1, workers=workers, **options) == want
    assert streams(source, executor, 3, seed=2, **options) != want
    every = [repr(batch) for epoch in want for batch in epoch]
    assert len(set(every)) == len(every)  # no two batches, and no two epochs, draw the same


def test_global_generators_of_the_training_process_go_on_undisturbed(executor: ExecutorName) -> None:
    make = draw if executor == "threads" else draw_globally
    with Loader(Made(make, 4), executor=executor, seed=1) as loader:
        random.seed(3)
        np.random.seed(3)
        between = [(random.random(), np.random.rand()) for _ in loader]
    random.seed(3)
    np.random.seed(3)
    assert between == [(random.random(), np.random.rand()) for _ in range(4)]


def test_seeding_the_program_fixes_the_seed_of_a_loader(executor: ExecutorName) -> None:
    def stream() -> Any:
        random.seed(11)
        return streams(Made(draw, 5), executor, shuffle=True)

    assert stream() == stream()


def test_worker_info_tells_who_makes_the_batch(executor: ExecutorName) -> None:
    assert procession.worker_info() is None
    with Loader(Made(lambda i: [procession.worker_info()], 12), executor=executor, workers=3) as loader:
        epochs = [[info for batch in loader for info in batch] for _ in range(2)]
    if executor == "serial":
        assert epochs == [[None] * 12] * 2
        return
    for epoch, infos in enumerate(epochs):
        assert {(info.count, info.epoch) for info in infos} == {(3, epoch)}
        assert {info.index for info in infos} <= {0, 1, 2}
    assert procession.worker_info() is None


# --- epochs ---


def test_hooks_are_called_once_an_epoch_and_seen_by_every_worker(executor: ExecutorName) -> None:
    want, source = Hooked(), Hooked()
    with Loader(source, executor=executor, workers=3) as loader:
        for _ in range(4):
            want.on_epoch_begin()
            assert [form(batch) for batch in loader] == [form(want[i]) for i in range(len(want))]
            want.on_epoch_end()
    assert source.log == want.log == [f"{what} {epoch}" for epoch in range(4) for what in ("begin", "end")]


def test_hooks_of_a_source_that_is_a_list(executor: ExecutorName) -> None:
    with Loader(ListOfRows([np.zeros(2), np.ones(2)]), executor=executor) as loader:
        assert [[float(row[0]) for row in loader] for _ in range(3)] == [[1, 1], [2, 1], [3, 1]]


def test_a_hook_may_change_the_length(executor: ExecutorName) -> None:
    class Growing(Made):
        def on_epoch_begin(self) -> None:
            self.length += 1

    with Loader(Growing(lambda i: i, 1), executor=executor, workers=4) as loader:
        assert [list(loader) for _ in range(3)] == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_an_abandoned_epoch_counts_as_begun(executor: ExecutorName) -> None:
    source = Hooked()
    with Loader(source, executor=executor) as loader:
        assert next(iter(loader))[0] == 0
        assert [batch[0] for batch in loader] == [1] * 6
    assert source.log == ["begin 0", "begin 1", "end 1"]


def test_attributes_rebound_between_epochs_reach_the_workers(executor: ExecutorName) -> None:
    source = Attributed(abs, 4)
    with Loader(source, executor=executor, workers=2) as loader:
        assert list(loader) == [(i, 0, 0.0) for i in range(4)]
        source.extra = 3
        source.array = np.ones(20_000)  # type: ignore[attr-defined]
        assert list(loader) == [(i, 3, 20_000.0) for i in range(4)]
        source.array = source.array * 2  # type: ignore[attr-defined]
        assert list(loader) == [(i, 3, 40_000.0) for i in range(4)]
        del source.array  # type: ignore[attr-defined]
        assert list(loader) == [(i, 3, 0.0) for i in range(4)]


def test_an_endless_source_goes_on(executor: ExecutorName) -> None:
    with Loader(Endless(), executor=executor, workers=2) as loader:
        with pytest.raises(TypeError, match="endless"):
            len(loader)
        for _ in range(2):
            assert [int(batch[0]) for batch in itertools.islice(loader, 100)] == list(range(100))


def test_endless_samples_are_stacked(executor: ExecutorName) -> None:
    with Loader(Endless(), executor=executor, workers=2, batch_size=2) as loader:
        assert [batch[:, 0].tolist() for batch in itertools.islice(loader, 3)] == [[0, 1], [2, 3], [4, 5]]


def test_two_loaders_at_once(executor: ExecutorName) -> None:
    one, two = Made(lambda i: np.full(1000, i), 20), Made(lambda i: (np.full(9, -i), "x"), 20)
    with Loader(one, executor=executor, workers=2) as first, Loader(two, executor=executor, workers=2) as second:
        for _ in range(2):
            for i, (a, (b, text)) in enumerate(zip(first, second, strict=True)):
                assert (a == i).all() and (b == -i).all() and text == "x"


def test_two_loaders_of_one_source_in_two_threads(executor: ExecutorName) -> None:
    source = Made(lambda i: np.full(100, i), 50)
    got: dict[int, Any] = {}

    def consume(number: int) -> None:
        got[number] = streams(source, executor, 2)

    threads = [threading.Thread(target=consume, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got[0] == got[1] == [[form(source[i]) for i in range(50)]] * 2


def test_iterating_again_in_the_middle_abandons_the_first(executor: ExecutorName) -> None:
    with Loader(Made(lambda i: np.full(50, i), 20), executor=executor, workers=2) as loader:
        first = iter(loader)
        held = [next(first) for _ in range(3)]
        second = iter(loader)
        assert int(next(second)[0]) == 0
        with pytest.raises(EpochAbandonedError, match=r"belongs to epoch 0.*begun epoch 1.*two Loaders"):
            next(first)
        assert [int(batch[0]) for batch in second] == list(range(1, 20))
        assert next(second, None) is None
        assert [batch.tolist() for batch in held] == [[i] * 50 for i in range(3)]


def test_many_epochs_abandoned_one_after_another(executor: ExecutorName) -> None:
    source = Made(lambda i: np.full(SIZES[i % len(SIZES)] // 10 + 1, i, np.uint8), 30)
    with Loader(source, executor=executor, workers=3) as loader:
        for stop in (0, 1, 5, 2, 29, 1, 0):
            assert [int(batch[0]) for batch in itertools.islice(loader, stop)] == list(range(stop))
        assert [form(batch) for batch in loader] == [form(source[i]) for i in range(30)]


@pytest.mark.parametrize("prefetch", [1, 2, 5, 100])
@pytest.mark.parametrize("workers", [1, 3, 8])
def test_any_prefetch_and_number_of_workers(executor: ExecutorName, prefetch: int, workers: int) -> None:
    with Loader(Made(abs, 5), executor=executor, workers=workers, prefetch=prefetch) as loader:
        assert [list(loader) for _ in range(3)] == [list(range(5))] * 3


def test_length_is_the_number_of_batches(executor: ExecutorName) -> None:
    source = Made(abs, 11)
    for options, count in (({}, 11), ({"batch_size": 4}, 3), ({"batch_size": 4, "drop_remainder": True}, 2)):
        with Loader(source, executor=executor, **options) as loader:  # type: ignore[arg-type]
            assert len(loader) == count == sum(1 for _ in loader)


def test_iterators_are_iterators(executor: ExecutorName) -> None:
    with Loader(Made(abs, 2), executor=executor) as loader:
        iterator = iter(loader)
        assert isinstance(iterator, Iterator)
        assert iter(iterator) is iterator
        assert [next(iterator), next(iterator)] == [0, 1]
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(iterator)
