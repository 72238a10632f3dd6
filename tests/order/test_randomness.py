"""Random numbers of an item: a function of (seed, epoch, index), and of nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession.engine.generators import Generators
from procession.order.randomness import Place, here, left, rng
from tests.support import Made, streams

NUMBERS = st.integers(0, 2**63 - 1)
PLACES = st.builds(Place, NUMBERS, st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2))
GENERATORS = Generators(None)
MANY = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@contextmanager
def at(place: Place) -> Iterator[None]:
    token = here(place)
    try:
        yield
    finally:
        left(token)


def drawn(place: Place) -> tuple[float, float, float]:
    """Return the first number of each generator at a place."""
    with GENERATORS.kept(), at(place):
        GENERATORS.seed(place)
        return rng().random(), random.random(), float(np.random.random())


@MANY
@given(PLACES, PLACES)
def test_places_draw_the_same_only_where_they_are_the_same(one: Place, other: Place) -> None:
    for a, b in zip(drawn(one), drawn(other), strict=True):
        assert (a == b) == (one == other)


@pytest.mark.parametrize("generator", [0, 1, 2])
def test_neighbouring_places_are_unlike(generator: int) -> None:
    places = [Place(seed, epoch, index) for seed in range(12) for epoch in range(12) for index in range(12)]
    numbers = np.array([drawn(place)[generator] for place in places])
    assert len(np.unique(numbers)) == len(numbers)
    assert abs(numbers.mean() - 0.5) < 0.05
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.1


def test_places_may_be_nested() -> None:
    with at(Place(0, 0, 0)):
        outer, first = rng(), rng().random()
        with at(Place(0, 0, 1)):
            assert rng().random() != first
        assert rng() is outer
    with at(Place(0, 0, 0)):
        assert rng().random() == first
    with pytest.raises(RuntimeError, match="outside a source"):
        rng()


def derived(i: int) -> Any:
    generator = random.Random()
    generator.setstate(random.getstate())
    return generator.random(), float(np.random.default_rng(np.random.get_state()[1]).normal())  # type: ignore[index]


def put_back(i: int) -> Any:
    states = random.getstate(), np.random.get_state()
    drawn = random.random(), np.random.rand(3).tolist()
    random.setstate(states[0])
    np.random.set_state(states[1])
    return drawn


def seeds_afterwards(i: int) -> Any:
    drawn = random.random(), float(np.random.random())
    random.seed(1)
    np.random.seed(1)
    return drawn


def draws_late(i: int) -> Any:
    return float(np.random.random()) if i > 150 else i


@pytest.mark.parametrize("use", [derived, put_back, seeds_afterwards, draws_late])
def test_the_numbers_are_those_of_serial_however_they_are_taken(use: Callable[[int], Any]) -> None:
    source = Made(use, 200)
    want = streams(source, "serial", 2, seed=1)
    for workers in (1, 2, 3):
        assert streams(source, "processes", 2, seed=1, workers=workers) == want
    assert len(set(map(repr, want[0]))) == 200


def test_the_numbers_of_a_place_are_fixed_for_ever() -> None:
    # Written down once. The generator is PCG64; what numpy makes of its bits is numpy's (see docs/determinism.md).
    def raw(place: Place) -> int:
        with at(place):
            return int(rng().bit_generator.random_raw())

    assert [raw(place) for place in FIXED] == list(FIXED.values())
    assert len(set(FIXED.values())) == len(FIXED)


FIXED: dict[Place, int] = {
    Place(0, 0, 0): 11749869230777074271,
    Place(1, 0, 0): 8204486148465881834,
    Place(0, 1, 0): 8286993518594409552,
    Place(0, 0, 1): 9441442522235856127,
    Place(0, 0, 0, 1): 12492077108140196533,
    Place(2**127, 2**40, 10**12, 7): 3212684599671697824,
}


def test_each_turn_of_an_item_has_numbers_of_its_own() -> None:
    assert len({drawn(Place(1, 2, 3, turn)) for turn in range(50)}) == 50
