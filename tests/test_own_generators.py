"""Generators that a source holds: what an item draws is the same, whoever makes it and whatever was made before."""

from __future__ import annotations

import functools
import os
import random
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.random import mtrand

import procession
from procession import Loader, Partitions
from procession.engine.own_generators import OwnGenerators
from procession.order.randomness import Place
from tests.support import form, run_script, streams

LENGTH = 9


class Holds:
    """Draws from whatever it is given."""

    def __init__(self, draw: Callable[[Any], Any], *held: Any) -> None:
        self.draw = draw
        self.held = held

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, i: int) -> Any:
        return [np.asarray(self.draw(one)) for one in self.held for _ in range(1 + i % 3)]


class Nested:
    """An object of the user's with slots, as an augmentation."""

    __slots__ = ("rng",)

    def __init__(self, rng: Any) -> None:
        self.rng = rng


class Loud(random.Random):
    """A subclass."""

    def random(self) -> float:
        return super().random() / 2

    def getrandbits(self, k: int, /) -> int:
        return super().getrandbits(k)


def numpy_draws(rng: Any) -> Any:
    return [*rng.normal(size=3), rng.integers(1 << 32, dtype=np.uint32), *rng.random(2), *rng.permutation(4)]


def legacy_draws(rng: Any) -> Any:
    return [rng.randn(), *rng.random_sample(3)]


def python_draws(rng: Any) -> Any:
    return [rng.gauss(0, 1), rng.random(), rng.randint(0, 1 << 70) % 1000]


def numpy_of(bits: Any) -> Any:
    return np.random.Generator(bits)


def deep_draws(held: Any) -> Any:
    return numpy_draws(held["augment"][0].rng)


def closure() -> Callable[[Any], Any]:
    rng = np.random.default_rng(7)
    return lambda scale: scale * numpy_draws(rng)[0]


def legacy_of_another_kind() -> Any:
    rng = np.random.RandomState(np.random.PCG64(3))
    rng.randn()  # the second of a pair is kept in it
    return rng


def frozen(state: Any) -> Any:
    from scipy import stats

    made = stats.norm(1, 2)
    made.random_state = state
    return made


SOURCES: dict[str, Callable[[], Any]] = {
    "PCG64": lambda: Holds(numpy_draws, np.random.default_rng(42)),
    "PCG64DXSM": lambda: Holds(numpy_draws, numpy_of(np.random.PCG64DXSM(1))),
    "Philox": lambda: Holds(numpy_draws, numpy_of(np.random.Philox(1))),
    "SFC64": lambda: Holds(numpy_draws, numpy_of(np.random.SFC64(1))),
    "MT19937": lambda: Holds(numpy_draws, numpy_of(np.random.MT19937(1))),
    "bits": lambda: Holds(lambda bits: bits.random_raw(2).astype(float), np.random.PCG64(1)),
    "RandomState": lambda: Holds(legacy_draws, np.random.RandomState(42)),
    "RandomState of PCG64": lambda: Holds(legacy_draws, legacy_of_another_kind()),
    "random.Random": lambda: Holds(python_draws, random.Random(42)),
    "a subclass": lambda: Holds(python_draws, Loud(42)),
    "children": lambda: Holds(numpy_draws, *map(np.random.default_rng, np.random.SeedSequence(1).spawn(3))),
    "spawned": lambda: Holds(numpy_draws, *np.random.default_rng(1).spawn(2)),
    "nested": lambda: Holds(deep_draws, {"augment": (Nested(np.random.default_rng(3)),)}),
    "a deque": lambda: Holds(lambda held: numpy_draws(held[0]), deque([np.random.default_rng(3)])),
    "a set": lambda: Holds(lambda held: numpy_draws(next(iter(held))), {np.random.default_rng(3)}),
    "an array": lambda: Holds(lambda held: numpy_draws(held[0]), np.array([np.random.default_rng(3)], object)),
    "scipy": lambda: Holds(lambda frozen: frozen.rvs(3), frozen(5), frozen(np.random.default_rng(3))),
    "a closure": lambda: Holds(closure(), 1, 2),
    "a method": lambda: Holds(lambda draw: draw(size=2), np.random.default_rng(1).normal),
    "a partial": lambda: Holds(lambda draw: draw(), functools.partial(random.Random(3).random)),
    "partitions": lambda: Partitions([Holds(numpy_draws, np.random.default_rng(k)) for k in range(3)]),
    "parts of one": lambda: procession.partition(Holds(numpy_draws, np.random.default_rng(1)), 2),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_stream_is_that_of_serial(kind: str) -> None:
    want = streams(SOURCES[kind](), "serial", 3)  # without a seed: the user's own makes it repeatable
    flat = [repr(batch) for epoch in want for batch in epoch]
    assert len(set(flat)) == len(flat)
    for workers in (1, 2):
        assert streams(SOURCES[kind](), "processes", 3, workers=workers) == want
    again = SOURCES[kind]()
    assert streams(again, "serial", 3, seed=5) == want
    assert streams(again, "processes", 3, workers=3, shuffle=False) == want  # serial left it as it was


@pytest.mark.parametrize(
    ("kind", "number"),
    [("PCG64", 0.8920482454829987), ("RandomState", -1.6429671506274022), ("random.Random", -2.0019459393115233)],
)
def test_the_numbers_stay_what_they_are(kind: str, number: float) -> None:
    with Loader(SOURCES[kind](), workers=0) as loader:
        assert float(list(loader)[1][0][0]) == number


class Twice:
    """An order in which one item comes twice."""

    def indices(self, epoch: int) -> list[int]:
        """Return the items of an epoch."""
        return [3, 3, 1, epoch]


@pytest.mark.parametrize(
    "options",
    [{"shuffle": True}, {"shuffle": Twice()}, {"shuffle": True, "batch_size": 2}],
    ids=["shuffled", "twice", "samples"],
)
def test_items_draw_by_their_index_and_turn(options: dict[str, Any]) -> None:
    want = streams(Even(), "serial", 2, seed=4, **options)
    for workers in (1, 3):
        assert streams(Even(), "processes", 2, seed=4, workers=workers, **options) == want
    assert len(set(map(repr, want[0]))) == len(want[0])


class Even:
    """Samples of one shape, from a generator that two parts share."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.augment = Nested(self.rng)

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, i: int) -> Any:
        return i + self.rng.random(2) + self.augment.rng.random(2)


def test_generators_made_alike_draw_alike() -> None:
    # As for a picture and its mask.
    both = Holds(numpy_draws, np.random.default_rng(1), np.random.default_rng(1))
    for executor in ("serial", "processes"):
        for batch in streams(both, executor)[0]:
            half = len(batch[1]) // 2
            assert batch[1][:half] == batch[1][half:]


# --- hooks ---


class Hooked:
    """Shuffles with the generator that its items draw from, as many do."""

    shared = np.random.default_rng(11)

    def __init__(self, at: str) -> None:
        self.at = at
        self.rng = np.random.default_rng(42)
        self.inner = Nested(self.rng)
        self.other = random.Random(1)
        self.order = np.arange(LENGTH)

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, i: int) -> Any:
        drawn = numpy_draws(self.rng), numpy_draws(self.inner.rng), python_draws(self.other)
        return [self.order[i], *map(np.asarray, drawn), self.shared.random()]

    def on_epoch_begin(self) -> None:
        if "begin" in self.at:
            self.rng.shuffle(self.order)

    def on_epoch_end(self) -> None:
        if "end" in self.at:
            self.rng.shuffle(self.order)


class Replacing(Hooked):
    """Another generator each epoch."""

    def on_epoch_begin(self) -> None:
        self.rng = np.random.default_rng(int(self.rng.integers(100)))


class Private:
    """What each worker makes for itself, as an open file: each unpickles the source and all its refreshes alone."""


procession.register(Private, lambda _: (Private, ()))


class Privately(Hooked):
    """Holds one."""

    def __init__(self, at: str) -> None:
        super().__init__(at)
        self.private = Private()


SOME_HOOKS: dict[str, Callable[[], Any]] = {
    "begin": lambda: Hooked("begin"),
    "end": lambda: Hooked("end"),
    "begin and end": lambda: Hooked("begin, end"),
    "neither": lambda: Hooked(""),
    "replacing": lambda: Replacing("end"),
    "private": lambda: Privately("begin, end"),
    "partitions": lambda: Partitions([Hooked("begin"), Hooked("end"), SOURCES["PCG64"]()]),
}


@pytest.mark.parametrize("kind", SOME_HOOKS)
def test_hooks_draw_on_from_epoch_to_epoch(kind: str) -> None:
    want = streams(SOME_HOOKS[kind](), "serial", 4, seed=1)
    for workers in (1, 2, 3):
        assert streams(SOME_HOOKS[kind](), "processes", 4, seed=1, workers=workers) == want


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_hooks_see_what_they_would_without_a_loader(executor: Any) -> None:
    source, alone = Hooked("begin, end"), Hooked("begin, end")
    with Loader(source, executor=executor, workers=2) as loader:
        for _ in range(3):
            order = [int(batch[0]) for batch in loader]
            alone.on_epoch_begin()
            assert order == alone.order.tolist()
            alone.on_epoch_end()
    assert source.rng.bit_generator.state == alone.rng.bit_generator.state


@pytest.mark.parametrize("kind", ["begin", "begin and end", "partitions"])
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_resumed_in_the_middle(kind: str, executor: Any) -> None:
    whole = streams(SOME_HOOKS[kind](), "serial", 3, seed=1)
    with Loader(SOME_HOOKS[kind](), executor="serial", seed=1) as loader:
        list(loader)
        batches = iter(loader)
        for _ in range(4):
            next(batches)
        state = loader.state_dict()
    with Loader(SOME_HOOKS[kind](), executor=executor, workers=2, seed=1) as loader:
        loader.load_state_dict(state)
        assert [form(batch) for batch in loader] == whole[1][4:]
        assert [form(batch) for batch in loader] == whole[2]


# --- workers that die ---


class Dies(Hooked):
    """Ends its worker over some items of each epoch, once each."""

    def __init__(self, folder: Path, at: str) -> None:
        super().__init__(at)
        self.folder = folder
        self.trainer = os.getpid()
        self.epoch = -1

    def on_epoch_begin(self) -> None:
        super().on_epoch_begin()
        self.epoch += 1

    def __getitem__(self, i: int) -> Any:
        made = super().__getitem__(i)
        mark = self.folder / f"{self.epoch} {i}"
        if i in (2, 6) and os.getpid() != self.trainer and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return made


@pytest.mark.parametrize("at", ["", "begin, end"])
def test_a_replacement_goes_on_alike(at: str, tmp_path: Path) -> None:
    want = streams(Dies(tmp_path, at), "serial", 3)
    assert streams(Dies(tmp_path, at), "processes", 3, workers=2) == want
    assert len(list(tmp_path.iterdir())) == 6


# --- what a source does with its generators ---


class Rebinding(Hooked):
    """Makes one for each item."""

    def __getitem__(self, i: int) -> Any:
        self.rng = np.random.default_rng(i)
        return self.rng.random(2), self.other.random()


def test_an_item_may_make_its_own() -> None:
    want = streams(Rebinding(""), "serial", 3)
    for workers in (1, 3):
        assert streams(Rebinding(""), "processes", 3, workers=workers) == want


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_drawing_between_epochs_without_hooks_changes_nothing(executor: Any) -> None:
    source = SOURCES["PCG64"]()
    want = streams(SOURCES["PCG64"](), "serial", 3)
    with Loader(source, executor=executor, workers=2) as loader:
        for epoch in want:
            assert [form(batch) for batch in loader] == epoch
            source[0]


def test_another_generator_between_epochs_counts_from_then_on() -> None:
    def made(executor: Any) -> list[Any]:
        source = Even()
        with Loader(source, executor=executor, workers=2) as loader:
            first = [form(batch) for batch in loader]
            source.rng = np.random.default_rng(6)
            return [first, [form(batch) for batch in loader]]

    assert made("processes") == made("serial")
    assert made("serial")[0] == streams(Even(), "serial", 2)[0]
    assert made("serial")[1] != streams(Even(), "serial", 2)[1]


class Failing:
    """Raises after it has drawn."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> Any:
        raise LookupError(self.rng.random())


def test_serial_leaves_them_as_they_were_though_an_item_raises() -> None:
    source = Failing()
    state = source.rng.bit_generator.state
    with Loader(source, workers=0) as loader, pytest.raises(LookupError):
        list(loader)
    assert source.rng.bit_generator.state == state


class Global:
    """Holds the global ones, as `sklearn.utils.check_random_state(None)` gives them out."""

    def __init__(self) -> None:
        self.legacy: Any = mtrand._rand
        self.python: Any = random.random.__self__  # type: ignore[attr-defined]
        self.draw = random.random

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, i: int) -> Any:
        return self.legacy.random_sample(), self.python.random(), self.draw(), np.random.random(), random.random()


def test_global_ones_stay_global() -> None:
    want = streams(Global(), "serial", 2, seed=1)
    assert streams(Global(), "processes", 2, seed=1) == want
    assert streams(Global(), "serial", 2, seed=2) != want


def test_what_cannot_be_seeded_is_left_alone() -> None:
    source = Holds(lambda rng: rng.random(), random.SystemRandom())
    assert len(streams(source, "processes", 2)[1]) == LENGTH
    assert not OwnGenerators(source).held


def test_they_are_found_behind_what_else_is_looked_for() -> None:
    rng = np.random.default_rng(1)
    frameworks = [ModuleType("torch"), ModuleType("tensorflow")]
    own = OwnGenerators(Holds(numpy_draws, frameworks, {"a": [Nested(Nested([rng]))]}))
    assert own.frameworks == {"torch", "tensorflow"}
    assert [held.generator for held in own.held] == [rng.bit_generator]


def test_no_two_places_draw_alike() -> None:
    rng = np.random.default_rng(1)
    own = OwnGenerators([rng])
    places = [Place(0, e, i, t) for e in (0, 1, 11) for i in (0, 1, 11) for t in (0, 1, 11)]
    drawn = set()
    for place in places:
        own.seed(place)
        drawn.add(rng.random())
    assert len(drawn) == len(places)


SCRIPT = """
import numpy as np
import torch
from tests.support import streams

rng = np.random.default_rng(3)

class Inner:
    def __init__(self):
        self.rng = np.random.default_rng(1)
    def __len__(self):
        return 20
    def __getitem__(self, i):
        return self.rng.random(2)

class Source:
    def __init__(self):
        self.torch = torch.Generator()
        self.torch.manual_seed(1)
        self.inner = torch.utils.data.Subset(Inner(), range(3, 10))
        self.order = np.arange(7)
    def __len__(self):
        return 7
    def __getitem__(self, i):
        return [self.order[i], torch.randn(20, generator=self.torch).numpy(), rng.random(2), self.inner[i]]
    def on_epoch_end(self):
        rng.shuffle(self.order)
        torch.rand(1, generator=self.torch)

if __name__ == "__main__":
    state = rng.bit_generator.state
    want = streams(Source(), "serial", 3)
    flat = [repr(batch) for epoch in want for batch in epoch]
    assert len(set(flat)) == len(flat) == 21
    for workers in (1, 2):
        rng.bit_generator.state = state
        assert streams(Source(), "processes", 3, workers=workers) == want, workers
    print("ok")
"""


def test_torchs_own_and_a_scripts_global(tmp_path: Path) -> None:
    assert run_script(SCRIPT, tmp_path).stdout.endswith("ok\n")
