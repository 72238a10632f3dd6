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

from procession.order.globals import SEEDED_ITEMS, GlobalSeeds
from procession.order.randomness import Place, globals_restored, here, left, rng, seed_globals

NUMBERS = st.integers(0, 2**63 - 1)
PLACES = st.builds(Place, NUMBERS, st.integers(0, 2**40), st.integers(0, 2**40))
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
    with globals_restored(), at(place):
        seed_globals(place)
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
        outer = rng().random()
        with at(Place(0, 0, 1)):
            assert rng().random() != outer
        assert rng().random() == outer
    with pytest.raises(RuntimeError, match="outside a source"):
        rng()


def test_the_users_generators_are_put_back_though_the_body_raises() -> None:
    random.seed(1)
    np.random.seed(1)
    want = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]

    def body() -> None:
        with globals_restored():
            seed_globals(Place(5, 5, 5))
            raise LookupError

    with pytest.raises(LookupError):
        body()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == want  # type: ignore[index]


class Asked:
    """A source that does something at one item, and notes for which it was asked."""

    def __init__(self, at: int, act: Callable[[], Any]) -> None:
        self.at, self.act = at, act
        self.asked: list[int] = []

    def __getitem__(self, i: int) -> Any:
        self.asked.append(i)
        return self.act() if i >= self.at else i


def fails() -> Any:
    raise LookupError(random.random())


def caught(make: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return make(*arguments)
    except LookupError as error:
        return repr(error)


USES: dict[str, Callable[[], Any]] = {
    "random": random.random,
    "numpy": lambda: float(np.random.random()),
    "a normal number": lambda: (random.gauss(0, 1), float(np.random.normal())),
    "one bit": lambda: random.getrandbits(1),
    "a shuffle": lambda: np.random.permutation(5).tolist(),
    "as many words as there are": lambda: np.random.bytes(4 * 624),
    "seeds by itself": lambda: (np.random.seed(5), random.seed(5), float(np.random.random()), random.random())[2:],
    "and fails": fails,
}


@pytest.mark.parametrize("at", [0, 1, SEEDED_ITEMS - 1, SEEDED_ITEMS, SEEDED_ITEMS + 1, 3 * SEEDED_ITEMS])
@pytest.mark.parametrize("name", USES)
def test_sparing_the_seeds_changes_nothing(name: str, at: int) -> None:
    streams = []
    for sparing in (False, True):
        source, seeds = Asked(at, USES[name]), GlobalSeeds(sparing=sparing)
        with globals_restored():
            places = [Place(3, 1, i) for i in range(4 * SEEDED_ITEMS)]
            streams.append([caught(seeds.make, place, source) for place in places])
        extra = [i for k, i in enumerate(source.asked[1:]) if source.asked[k] == i]
        assert extra == ([at] if sparing and at >= SEEDED_ITEMS else [])  # made once more when first found to draw
    assert streams[0] == streams[1]
    if name != "seeds by itself":
        assert len(set(map(repr, streams[0][at:]))) > 1


def test_what_draws_nothing_is_not_seeded() -> None:
    source, seeds = Asked(10**9, random.random), GlobalSeeds(sparing=True)
    with globals_restored():
        for i in range(2 * SEEDED_ITEMS):
            seeds.make(Place(0, 0, i), source)
        random.seed(77)
        want = random.getstate()
        seeds.make(Place(0, 0, 5), source)
        assert random.getstate() == want
