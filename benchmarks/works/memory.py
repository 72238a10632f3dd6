"""array and strings: what a big source costs when four workers read it."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.memory import private_bytes, tree_bytes
from benchmarks.model import PROCESSION, Contender, Figure, Round, Sample, Target, Work
from benchmarks.sources import Touching

WORKERS = 4
BATCHES = 400
# From a source to its batches.
Epoch = Callable[[Touching], Iterator[Any]]


def array(size: float) -> np.ndarray:
    """An array of 500 million bytes (477 MiB), or a part of it."""
    return np.ones((int(50_000 * size), 10_000), dtype=np.uint8)


def strings(size: float) -> list[str]:
    """A list of 2 million names of files, or a part of it."""
    return [f"/data/images/{number:09d}.png" for number in range(int(2_000_000 * size))]


def procession(source: Touching) -> Iterator[Any]:
    """Procession's workers."""
    return peers.procession(source, WORKERS)


def keras(source: Touching) -> Iterator[Any]:
    """Keras's workers, forked."""
    return peers.keras(source, WORKERS)


def torch(source: Touching) -> Iterator[Any]:
    """torch's workers, forked."""
    return peers.torch(source, WORKERS)


def read(epoch: Epoch, source: Touching) -> tuple[int, int]:
    """Have all of the source read once; return the memory of everything, and that of the workers alone."""
    batches = epoch(source)
    pids = {int(next(batches)[0]) for _ in range(BATCHES)}
    seen = tree_bytes(), sum(private_bytes(pid) for pid in pids)
    del batches
    return seen


def extra(epoch: Epoch, make: Callable[[float], Any]) -> Round:
    """Measure with next to no data, then with all of it: the difference leaves out what imports cost."""

    def measure(_: float) -> Sample:
        tree, workers = read(epoch, Touching(make(0.01), BATCHES))
        before = tree_bytes()
        data = make(1)
        one_copy = tree_bytes() - before
        full_tree, full_workers = read(epoch, Touching(data, BATCHES))
        grown = full_tree - tree
        private = max(0, full_workers - workers)
        return {
            "extra": grown - one_copy,
            "private": private,
            "copies": (grown - private) / one_copy,
        }

    return measure


ARRAY = Work(
    name="array",
    about="an array of D = 500 million bytes, 4 workers read it",
    contenders=(
        Contender(PROCESSION, lambda: extra(procession, array), needs=("procession",)),
        Contender("Keras processes", lambda: extra(keras, array), needs=("keras",), environment=peers.NUMPY_BACKEND),
        Contender("torch DataLoader", lambda: extra(torch, array), needs=("torch",)),
    ),
    figures=(
        Figure("array, copies outside of the workers", key="copies", unit="D", targets=(Target(2.05),)),
        Figure("array, beyond one copy", key="extra", unit="MB", scale=1e-6),
        Figure("array, workers' own memory", key="private", unit="MB", scale=1e-6),
    ),
    rounds=1,
    quick_rounds=1,
    quick=False,
)
STRINGS = Work(
    name="strings",
    about="a list of 2 million strings, 4 workers read it",
    contenders=(
        Contender(PROCESSION, lambda: extra(procession, strings), needs=("procession",)),
        Contender("Keras processes", lambda: extra(keras, strings), needs=("keras",), environment=peers.NUMPY_BACKEND),
        Contender("torch DataLoader", lambda: extra(torch, strings), needs=("torch",)),
    ),
    figures=(
        Figure("strings, beyond one copy", key="extra", unit="MB", scale=1e-6, targets=(Target(60),)),
        Figure("strings, workers' own memory", key="private", unit="MB", scale=1e-6),
    ),
    rounds=1,
    quick_rounds=1,
    quick=False,
)
WORKS = (ARRAY, STRINGS)
