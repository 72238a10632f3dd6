"""seeding: what it costs a batch that the global generators are seeded for it."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.model import PROCESSION, Contender, Figure, Round, Sample, Target, Work
from benchmarks.sources import Source

BLOCK = 20


class Numbers(Source):
    """One number of numpy's."""

    def __getitem__(self, index: int) -> Any:
        return np.random.random()


class Torch(Source):
    """One number of torch's."""

    def __getitem__(self, index: int) -> Any:
        import torch

        return torch.rand(1)


class TensorFlow(Source):
    """One number of TensorFlow's."""

    def __getitem__(self, index: int) -> Any:
        import tensorflow as tf

        return tf.random.uniform((1,))


def timed(make: Callable[[int], Any], begin: int) -> float:
    """The seconds that a block of items takes."""
    start = time.perf_counter()
    for index in range(begin, begin + BLOCK):
        make(index)
    return time.perf_counter() - start


def difference(source: Source, seed: Callable[[int], Any]) -> Round:
    """Make items with and without seeds in turns: what is dropped by a seed is made anew by the item."""

    def seeded(index: int) -> Any:
        seed(index)
        return source[index]

    def measure(seconds: float) -> Sample:
        pairs = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            begin = BLOCK * len(pairs)
            pairs.append(timed(seeded, begin) - timed(source.__getitem__, begin))
        return {"seconds": float(np.median(pairs)) / BLOCK}

    measure(0.1)
    return measure


def procession(source: Source) -> Round:
    """As a worker does it."""
    from procession.engine.generators import Generators
    from procession.order.randomness import Place

    generators = Generators(source)
    return difference(source, lambda index: generators.seed(Place(1, 2, index)))


def official() -> Round:
    """The same bits through the generators' own functions."""
    import random

    def seed(index: int) -> None:
        words = np.array([1, 2, 3, index], np.uint32)
        random.seed(words.tobytes())
        np.random.seed(words)

    return difference(Numbers(), seed)


SEEDING = Work(
    name="seeding",
    about="the global generators, seeded for each batch by its place",
    contenders=(
        Contender(PROCESSION, lambda: procession(Numbers()), needs=("procession",)),
        Contender("with torch", lambda: procession(Torch()), needs=("procession", "torch")),
        Contender("with TensorFlow", lambda: procession(TensorFlow()), needs=("procession", "tensorflow")),
        Contender("random.seed and np.random.seed", official),
    ),
    figures=(Figure("seeding", key="seconds", unit="µs a batch", scale=1e6, targets=(Target(25),)),),
    seconds=0.5,
)
WORKS = (SEEDING,)
