"""The global generators: seeded by the place of an item, by whichever way, and put back after it."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import mtrand

from procession.engine.generators import Generators, generators_for
from procession.order.randomness import Place
from procession.sources import Arrays
from tests.support import Made, run_script, streams

PLACES = (Place(0, 0, 0), Place(1, 2, 3), Place(1, 2, 3, 1), Place(2**63 - 1, 2**40, 2**40))


@pytest.fixture(autouse=True, scope="module")
def imported() -> None:
    """torch is seeded once it has been imported, which `draws` would do too late."""
    importlib.import_module("torch")


@pytest.fixture(params=[True, False], ids=["memory", "official"])
def generators(request: pytest.FixtureRequest) -> Iterator[Generators]:
    made = Generators(None, fast=request.param)
    with made.kept():
        yield made


def global_state() -> Any:
    python, legacy = random.getstate(), np.random.get_state(legacy=False)
    return python, repr(legacy["state"]["key"].tolist()), {**legacy, "state": legacy["state"]["pos"]}


def draws() -> Any:
    """What is drawn from each generator: over the end of its words, and of several kinds."""
    import torch

    return (
        [random.random() for _ in range(700)],
        [random.gauss(0, 1) for _ in range(3)],
        np.random.random(700).tolist(),
        np.random.randn(3).tolist(),
        np.random.permutation(5).tolist(),
        torch.rand(700).tolist(),
        torch.randn(20, dtype=torch.float64).tolist(),
        torch.randperm(5).tolist(),
    )


# --- the numbers ---


@pytest.mark.parametrize(
    ("place", "python", "legacy", "tensor"),
    [
        (PLACES[0], 0.9564476155449104, 0.8838820675425649, 0.9695548415184021),
        (PLACES[1], 0.5003405470783521, 0.11213493489236293, 0.6515904664993286),
        (PLACES[2], 0.5944990900553616, 0.6087994667215973, 0.40110301971435547),
    ],
)
def test_the_numbers_stay_what_they_are(
    generators: Generators, place: Place, python: float, legacy: float, tensor: float
) -> None:
    import torch

    generators.seed(place)
    assert (random.random(), np.random.random(), torch.rand(1).item()) == (python, legacy, tensor)


@pytest.mark.parametrize("place", PLACES)
def test_both_ways_give_the_same_numbers(place: Place) -> None:
    one, other = Generators(None), Generators(None, fast=False)
    with one.kept():
        one.seed(place)
        first = global_state(), draws()
        other.seed(place)
        assert (global_state(), draws()) == first


def test_memory_is_written_to_here() -> None:
    import torch

    # Else the test of both ways would compare one with itself.
    made = Generators(None)
    with made.kept():
        made.seed(PLACES[0])
    assert made._words._memory is not None
    assert made._python._memory is not None and made._numpy._memory is not None
    assert made._torch is not None and made._torch._state is not None
    assert made._torch._generator is torch.default_generator


def test_numbers_that_were_kept_for_later_are_forgotten(generators: Generators) -> None:
    import torch

    generators.seed(PLACES[0])
    want = random.gauss(0, 1), np.random.randn(), torch.randn(1).item()
    for _ in range(2):
        generators.seed(PLACES[1])
        random.gauss(0, 1), np.random.randn(), torch.randn(1)
        generators.seed(PLACES[0])
        assert (random.gauss(0, 1), np.random.randn(), torch.randn(1).item()) == want


def test_states_can_be_read_and_set_again(generators: Generators) -> None:
    import torch

    generators.seed(PLACES[1])
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    want = draws()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    assert draws() == want
    other = random.Random()
    other.setstate(states[0])
    assert [other.random() for _ in range(700)] == want[0]
    legacy = np.random.RandomState()
    legacy.set_state(states[1])
    assert legacy.random_sample(700).tolist() == want[2]


def test_generators_are_unlike_each_other(generators: Generators) -> None:
    import torch

    generators.seed(PLACES[1])
    numbers = np.array([[random.random() for _ in range(2000)], np.random.random(2000), torch.rand(2000).tolist()])
    assert abs(numbers.mean(axis=1) - 0.5).max() < 0.03
    assert abs(np.corrcoef(numbers) - np.eye(3)).max() < 0.1


def test_torch_gets_more_than_32_bits(generators: Generators) -> None:
    import torch

    generators.seed(PLACES[1])
    low = torch.initial_seed() & 0xFFFFFFFF
    assert torch.initial_seed() > 0xFFFFFFFF
    got = torch.rand(1).item()
    torch.manual_seed(low)
    assert torch.rand(1).item() != got


# --- somebody else's generators ---


def test_the_users_are_put_back_though_the_body_raises(generators: Generators) -> None:
    import torch

    random.seed(1)
    random.gauss(0, 1)
    np.random.seed(1)
    np.random.randn()
    torch.manual_seed(1)
    want, theirs, tensors = global_state(), mtrand.get_bit_generator(), torch.get_rng_state()

    def body() -> None:
        with generators.kept():
            generators.seed(PLACES[0])
            draws()
            mtrand.set_bit_generator(np.random.PCG64(1))
            raise LookupError

    with pytest.raises(LookupError):
        body()
    assert mtrand.get_bit_generator() is theirs
    assert global_state() == want and torch.equal(torch.get_rng_state(), tensors)
    with generators.kept(), generators.kept():
        generators.seed(PLACES[0])
    assert global_state() == want


def test_what_is_kept_may_be_nested(generators: Generators) -> None:
    generators.seed(PLACES[1])
    want = global_state()
    for inner in (generators, Generators(None)):
        with inner.kept():
            inner.seed(PLACES[0])
        assert global_state() == want


def test_another_bit_generator_of_the_users_changes_no_number(generators: Generators) -> None:
    generators.seed(PLACES[1])
    want = draws()
    theirs: Any = np.random.PCG64(3)
    state = theirs.state
    mtrand.set_bit_generator(theirs)
    with generators.kept():
        generators.seed(PLACES[1])
        assert draws() == want
    assert mtrand.get_bit_generator() is theirs and theirs.state == state


def swaps(i: int) -> Any:
    before = float(np.random.random())
    if i % 3 == 0:
        mtrand.set_bit_generator(np.random.PCG64(i))
    if i % 3 == 1:
        mtrand.set_bit_generator(np.random.MT19937(i))
    return before, float(np.random.random()), random.random()


def test_a_source_may_put_another_bit_generator_in_place() -> None:
    theirs = mtrand.get_bit_generator()
    want = streams(Made(swaps, 60), "serial", 2, seed=1)
    assert mtrand.get_bit_generator() is theirs
    assert streams(Made(swaps, 60), "processes", 2, seed=1) == want


@pytest.mark.parametrize("kind", ["MT19937", "PCG64"])
def test_other_threads_may_draw_meanwhile(tmp_path: Path, kind: str) -> None:
    # A draw from a generator that is exchanged under it ends the process: hence one of its own.
    script = f"""
import threading, time
import numpy as np
from procession.engine.generators import Generators
from procession.order.randomness import Place
theirs = np.random.{kind}(1)
np.random.set_bit_generator(theirs)
end = time.monotonic() + 2
def draw():
    while time.monotonic() < end:
        np.random.random(3000), np.random.randn(7)
threads = [threading.Thread(target=draw) for _ in range(3)]
for thread in threads:
    thread.start()
generators = Generators(None)
while time.monotonic() < end:
    with generators.kept():
        for item in range(5):
            generators.seed(Place(0, 0, item))
for thread in threads:
    thread.join()
assert np.random.get_bit_generator() is theirs
"""
    run_script(script, tmp_path)


# --- for which sources ---


def test_one_source_has_one_set_of_generators() -> None:
    source = Made(swaps, 3)
    first = generators_for(source, None)
    assert first is not None and generators_for(source, first) is first
    assert generators_for(Made(swaps, 3), first) is not first
    assert generators_for(Arrays(np.zeros(3), 3), first) is None


# --- torch and TensorFlow ---

SCRIPT = """
import sys
import numpy as np
import procession
from tests.support import streams

{imports}

class Source:
    def __len__(self):
        return 7
    def __getitem__(self, i):
        {inside}
        return [np.asarray(x) for x in ({draws})]

def main():
    want = streams(Source(), "serial", 2, seed=1)
    {user}
    before = [state() for state in states]
    assert streams(Source(), "serial", 2, seed=1) == want
    assert [state() for state in states] == before
    flat = [repr(batch) for epoch in want for batch in epoch]
    assert len(set(flat)) == len(flat) == 14
    for workers in {workers}:
        assert streams(Source(), "processes", 2, seed=1, workers=workers) == want, workers
    print("ok")

if __name__ == "__main__":
    main()
"""
TENSORFLOW = {
    "imports": "",
    "inside": "import tensorflow as tf",
    "draws": "tf.random.normal((2,)), tf.random.uniform((2,)), tf.random.shuffle(tf.range(9)), np.random.random(2)",
    "user": """
    import tensorflow as tf
    def unseeded():
        context = sys.modules["tensorflow.python.eager.context"].context()
        return context._seed, getattr(context, "_rng", None)
    assert unseeded()[0] is None
    streams(Source(), "serial", seed=1)
    assert unseeded()[0] is None
    tf.random.set_seed(5)
    first = tf.random.normal((2,)).numpy().tolist()
    second = tf.random.normal((2,)).numpy().tolist()
    tf.random.set_seed(5)
    assert tf.random.normal((2,)).numpy().tolist() == first
    streams(Source(), "serial", seed=1)
    assert tf.random.normal((2,)).numpy().tolist() == second
    states = [unseeded]
    """,
}
TORCH = {
    "imports": "",
    "inside": "import torch",
    "draws": "torch.rand(2), torch.randn(2), torch.randperm(9), np.random.random(2)",
    "user": """
    import torch
    torch.manual_seed(5)
    torch.randn(1)
    states = [lambda: torch.get_rng_state().tolist(), torch.initial_seed]
    """,
}


@pytest.mark.parametrize("framework", [TENSORFLOW, TORCH], ids=["tensorflow", "torch"])
@pytest.mark.parametrize("early", [True, False], ids=["imported first", "imported in the source"])
def test_frameworks_draw_the_same_whoever_makes_the_item(
    tmp_path: Path, framework: dict[str, str], early: bool
) -> None:
    # Each worker imports what the training process has not: once is enough of that.
    parts = {**framework, "workers": "(1, 2, 3)" if early else "(2,)"}
    if early:
        parts["imports"], parts["inside"] = parts["inside"], "pass"
    assert run_script(SCRIPT.format(**parts), tmp_path).stdout.endswith("ok\n")


def test_tensorflow_is_left_alone_where_the_source_does_not_name_it(tmp_path: Path) -> None:
    script = """
import tensorflow as tf
from procession.engine.generators import Generators
from procession.order.randomness import Place
tf.random.set_seed(1)
want = tf.random.normal((3,)).numpy().tolist()
tf.random.set_seed(1)
Generators(object()).seed(Place(0, 0, 0))
assert tf.random.normal((3,)).numpy().tolist() == want
"""
    run_script(script, tmp_path)


def test_nothing_is_imported_for_a_source_that_names_nothing(tmp_path: Path) -> None:
    script = """
import sys
from procession.engine.generators import Generators
from procession.order.randomness import Place
Generators(object()).seed(Place(0, 0, 0))
assert not {"torch", "tensorflow", "keras"} & set(sys.modules)
"""
    run_script(script, tmp_path)
