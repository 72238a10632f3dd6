"""Trees of arrays as bytes: whatever hypothesis draws comes back as it was, aligned."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from procession.capture.pickling import ALIGNMENT
from procession.engine.item import Maker
from procession.engine.wire import Parcel, Reading, write
from procession.order.batches import Batches
from procession.order.plan import Plan
from tests.support import form

ARRAYS = npst.arrays(
    dtype=st.one_of(
        npst.scalar_dtypes(),
        npst.unicode_string_dtypes(max_len=5),
        npst.byte_string_dtypes(max_len=5),
        npst.array_dtypes(npst.integer_dtypes() | npst.floating_dtypes(), max_size=3),
    ),
    shape=npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
LEAVES = ARRAYS | st.integers() | st.text(max_size=5) | st.binary(max_size=2000) | st.none() | st.booleans()
TREES = st.recursive(
    LEAVES, lambda t: st.lists(t, max_size=4) | st.tuples(t, t) | st.dictionaries(st.text(max_size=3), t, max_size=3)
)
ORDERS = {"C": np.ascontiguousarray, "F": np.asfortranarray}


def parcel(batch: Any) -> Parcel:
    plan = Plan(Batches(1))
    return Maker([batch], plan, "a test", None, False, lambda _: None).make(0)


def round_trip(batch: Any, start: int = 0) -> Any:
    """Write a batch at `start` of a memory that is full of ones, and read it back from a slot that begins there."""
    packed = parcel(batch)
    memory = bytearray(b"\xff" * (start + packed.nbytes + 64))
    rest = write(packed, memory, start)
    assert memory[:start] == b"\xff" * start
    assert memory[start + packed.nbytes :] == b"\xff" * 64
    layout = pickle.loads(pickle.dumps(packed.layout))
    assert layout == packed.layout
    return Reading(layout).read(rest, memoryview(memory)[start:])


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(TREES.filter(lambda tree: tree is not None), st.sampled_from([0, 64, 4096]))
def test_any_tree_comes_back_as_it_was(batch: Any, start: int) -> None:
    assert form(round_trip(batch, start)) == form(batch)


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(array=ARRAYS)
def test_memory_order_is_kept(order: str, array: Any) -> None:
    ordered = ORDERS[order](array)
    assert form(round_trip((ordered, 1))) == form((ordered, 1))


def test_every_array_is_aligned_and_inside_the_parcel() -> None:
    packed = parcel([np.zeros(size, np.uint8) for size in (1, 63, 64, 65, 0, 3)])
    fields = [field for field in packed.layout.fields if field is not None]
    assert all(field.offset % ALIGNMENT == 0 for field in fields)
    assert packed.nbytes == packed.layout.end >= fields[-1].offset + 3


def test_layouts_are_equal_where_batches_differ_in_values_alone() -> None:
    one, other = (parcel({"x": np.full(3, i), "t": "a" * i}).layout for i in (1, 2))
    assert one == other
    assert parcel({"x": np.zeros(4), "t": ""}).layout != one
    assert parcel({"x": np.zeros(3, "i4"), "t": ""}).layout != one
    assert parcel({"y": np.zeros(3, int), "t": ""}).layout != one


def test_keys_keep_the_order_of_their_batch() -> None:
    one, other = {"a": np.zeros(2), "b": np.ones(2)}, {"b": np.ones(2), "a": np.zeros(2)}
    assert list(round_trip(one)) == ["a", "b"]
    assert list(round_trip(other)) == ["b", "a"]
    assert parcel(one).layout != parcel(other).layout  # else the second would come out as the first


def test_large_buffers_of_pickled_leaves_are_not_copied_into_the_pickle() -> None:
    batch = [scipy.sparse.random_array((1000, 1000), density=0.1, rng=1, format="csr"), "text"]
    packed = parcel(batch)
    assert packed.rest[0].nbytes < 2000
    assert sum(part.nbytes for part in packed.rest) >= 100_000 * 12
    assert packed.reasons == ("type csr_array", "type str")
    assert form(round_trip(batch)) == form(batch)
