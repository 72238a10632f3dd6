"""The arithmetic of an epoch: every index once, at a position that depends on (length, seed, epoch) alone."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession.order.batches import Batches
from procession.order.plan import Plan
from procession.order.rest import Rest
from procession.order.sampler import InOrder
from procession.order.shuffle import Shuffled

PLANS = st.builds(
    lambda shuffle, **options: Plan(Batches(sampler=Shuffled() if shuffle else InOrder(), **options)),
    shuffle=st.booleans(),
    length=st.integers(1, 200),
    batch_size=st.none() | st.integers(1, 30),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 10**6),
)
MANY = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@MANY
@given(PLANS)
def test_every_index_comes_once(plan: Plan) -> None:
    assert plan.positions is not None
    items = [index for position in range(plan.positions) for index in plan.items(position)]
    assert isinstance(plan.order, Batches)
    assert sorted(items) == list(range(plan.order.length or 0))
    assert plan.order.sampler == Shuffled() or items == sorted(items)
    assert all(type(index) is int for index in items)


@MANY
@given(PLANS)
def test_batches_are_full_where_the_rest_is_left_out(plan: Plan) -> None:
    assert isinstance(plan.order, Batches)
    size, length = plan.batch_size or 1, plan.order.length or 0
    plan = plan._replace(order=plan.order._replace(drop_remainder=True))
    assert plan.positions == length // size
    assert all(len(plan.items(position)) == size for position in range(plan.positions))


@MANY
@given(PLANS, st.lists(st.integers(0, 5), max_size=4), st.integers(0, 10), st.sets(st.integers(0, 30), max_size=8))
def test_steps_are_the_probes_and_then_what_is_left(plan: Plan, probes: list[int], first: int, early: set[int]) -> None:
    positions = plan.positions
    assert positions is not None
    first = min(first, positions)
    rest = Rest.after(first, [position for position in early if first <= position < positions])
    plan = plan._replace(probes=tuple(probes), rest=rest)
    assert plan.steps is not None
    left = [position for position in range(first, positions) if position not in early]
    assert [plan.position(step) for step in range(plan.steps)] == [*probes, *left]


@MANY
@given(PLANS, st.integers(0, 3), st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_what_is_left_is_what_was_not_passed(plan: Plan, probes: int, before: set[int], now: set[int]) -> None:
    positions = plan.positions
    assert positions is not None
    rest = Rest.after(0, [position for position in before if position < positions])
    plan = plan._replace(probes=(0,) * probes, rest=rest)
    done = sorted(step for step in now if step < (plan.steps or 0))
    passed = next(step for step in range(len(done) + 1) if step not in done)
    left = plan.after(passed, [step for step in done if step > passed])
    gone = {plan.position(step) for step in done if step >= probes}
    want = [p for p in (rest.position(k) for k in range(rest.count(positions))) if p not in gone]
    assert [left.position(k) for k in range(left.count(positions))] == want


def test_an_endless_source_has_no_end_and_no_order() -> None:
    plan = Plan(Batches(None, 3, sampler=Shuffled()))
    assert (plan.positions, plan.steps) == (None, None)
    assert list(plan.items(10**12)) == [3 * 10**12 + k for k in range(3)]


def test_a_plan_is_the_same_in_every_process() -> None:
    plan = Plan(Batches(100, 7, False, Shuffled(), 3, 1))
    again: Plan = pickle.loads(pickle.dumps(plan))
    assert again == plan
    assert [list(again.items(k)) for k in range(15)] == [list(plan.items(k)) for k in range(15)]


def test_a_position_beyond_the_end_is_refused() -> None:
    with pytest.raises(IndexError, match="position 15 is beyond the 15 of the epoch"):
        Batches(100, 7).items(15)
