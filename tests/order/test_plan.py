"""The arithmetic of an epoch: every index once, at a position that depends on (length, seed, epoch) alone."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession.order.plan import Plan
from procession.order.shuffle import permutation

PLANS = st.builds(
    Plan,
    length=st.integers(1, 200),
    batch_size=st.none() | st.integers(1, 30),
    drop_remainder=st.just(False),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 10**6),
)
MANY = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@MANY
@given(PLANS)
def test_every_index_comes_once(plan: Plan) -> None:
    assert plan.positions is not None
    items = [index for position in range(plan.positions) for index in plan.items(position)]
    assert sorted(items) == list(range(plan.length or 0))
    assert plan.shuffle or items == sorted(items)


@MANY
@given(PLANS.map(lambda plan: plan._replace(drop_remainder=plan.batch_size is not None)))
def test_batches_are_full_where_the_rest_is_left_out(plan: Plan) -> None:
    size = plan.batch_size or 1
    assert plan.positions == (plan.length or 0) // size
    assert all(len(plan.items(position)) == size for position in range(plan.positions))


@MANY
@given(PLANS, st.lists(st.integers(0, 5), max_size=4), st.integers(0, 10))
def test_steps_are_the_probes_and_then_the_rest_of_the_epoch(plan: Plan, probes: list[int], first: int) -> None:
    assert plan.positions is not None
    first = min(first, plan.positions)
    plan = plan._replace(probes=tuple(probes), first=first)
    assert plan.steps is not None
    assert [plan.position(step) for step in range(plan.steps)] == [*probes, *range(first, plan.positions or 0)]


def test_an_endless_source_has_no_end_and_no_order() -> None:
    plan = Plan(None, 3, False, False, 0, 0)
    assert (plan.positions, plan.steps) == (None, None)
    assert list(plan.items(10**12)) == [3 * 10**12 + k for k in range(3)]


def test_a_plan_is_the_same_in_every_process() -> None:
    plan = Plan(100, 7, False, True, 3, 1)
    again: Plan = pickle.loads(pickle.dumps(plan))
    assert again == plan
    assert [list(again.items(k)) for k in range(15)] == [list(plan.items(k)) for k in range(15)]


def test_the_order_of_a_seed_is_fixed_for_ever() -> None:
    # Written down once: a run that is resumed with a later version has to go on in the same order.
    assert permutation(10, 0, 0).tolist() == FIXED[0]
    assert permutation(10, 0, 1).tolist() == FIXED[1]
    assert permutation(10, 1, 0).tolist() == FIXED[2]


FIXED = [[3, 7, 0, 2, 5, 4, 9, 1, 6, 8], [4, 5, 0, 1, 8, 7, 6, 9, 2, 3], [5, 0, 6, 8, 9, 1, 7, 3, 2, 4]]


def test_orders_of_seeds_and_epochs_differ() -> None:
    orders = {tuple(permutation(50, seed, epoch).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_the_order_cannot_be_changed_by_who_reads_it() -> None:
    with pytest.raises(ValueError, match="read-only"):
        permutation(5, 0, 0)[0] = 1
