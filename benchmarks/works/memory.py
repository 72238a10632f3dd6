"""array, shared and strings: what a big source costs when several workers read it."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.memory import private_bytes, tree_bytes
from benchmarks.model import PROCESSION, Contender, Figure, Round, Sample, Target, Work
from benchmarks.sources import Touching

WORKERS = 4
COUNTS = (1, 2, 4, 8)
BATCHES = 400
# From a source and a number of workers to its batches.
Epoch = Callable[[Touching, int], Iterator[Any]]


def array(size: float) -> np.ndarray:
    """An array of 500 million bytes (477 MiB), or a part of it."""
    return np.ones((int(50_000 * size), 10_000), dtype=np.uint8)


def shared(size: float) -> np.ndarray:
    """The same in shared memory."""
    from procession.capture.shared import share

    found: np.ndarray = share(array(size))
    return found


def strings(size: float) -> list[str]:
    """A list of 2 million names of files, or a part of it."""
    return [f"/data/images/{number:09d}.png" for number in range(int(2_000_000 * size))]


def shared_strings(size: float) -> Any:
    """The same in shared memory."""
    from procession import share

    return share(strings(size))


def read(epoch: Epoch, source: Touching, workers: int) -> tuple[int, int]:
    """Have all of the source read once; return the memory of everything, and that of the workers alone."""
    batches = epoch(source, workers)
    pids = {int(next(batches)[0]) for _ in range(BATCHES)}
    seen = tree_bytes(), sum(private_bytes(pid) for pid in pids)
    del batches
    return seen


def extra(epoch: Epoch, make: Callable[[float], Any], counts: tuple[int, ...] = (WORKERS,)) -> Round:
    """Measure with next to no data, then with all of it: the difference leaves out what imports cost.

    Each of `counts` is a number of workers; what is seen with `WORKERS` of them is told in full.
    """

    def measure(_: float) -> Sample:
        small = Touching(make(0.01), BATCHES)
        without = {workers: read(epoch, small, workers) for workers in counts}
        before = tree_bytes()
        source = Touching(make(1), BATCHES)
        one_copy = tree_bytes() - before
        sample: Sample = {}
        for workers, (tree, own) in without.items():
            full_tree, full_own = read(epoch, source, workers)
            grown, private = full_tree - tree, max(0, full_own - own)
            sample[f"copies {workers}"] = (grown - private) / one_copy
            if workers == WORKERS:
                sample |= {"extra": grown - one_copy, "private": private}
        return sample

    return measure


def figures(work: str, limit: float) -> tuple[Figure, ...]:
    """The copies of the array there are outside of the workers, by their number; and what four of them take."""
    return (
        *(
            Figure(f"{work}, copies, {n} worker{'s'[: n > 1]}", key=f"copies {n}", unit="D", targets=(Target(limit),))
            for n in COUNTS
        ),
        Figure(f"{work}, {WORKERS} workers, beyond one copy", key="extra", unit="MB", scale=1e-6),
        Figure(f"{work}, {WORKERS} workers' own memory", key="private", unit="MB", scale=1e-6),
    )


ARRAY = Work(
    name="array",
    about="an array of D = 500 million bytes, 1 to 8 workers read it",
    contenders=(
        Contender(PROCESSION, lambda: extra(peers.procession, array, COUNTS), needs=("procession",)),
        Contender(
            "Keras processes",
            lambda: extra(peers.keras, array, COUNTS),
            needs=("keras",),
            environment=peers.NUMPY_BACKEND,
        ),
        Contender("torch DataLoader", lambda: extra(peers.torch, array, COUNTS), needs=("torch",)),
    ),
    figures=figures("array", 2.05),
    rounds=1,
    quick_rounds=1,
    quick=False,
)
SHARED = Work(
    name="shared",
    about="the same array after procession.share(array), 1 to 8 workers read it",
    contenders=(Contender(PROCESSION, lambda: extra(peers.procession, shared, COUNTS), needs=("procession",)),),
    figures=figures("shared", 1.05),
    rounds=1,
    quick_rounds=1,
    quick=False,
)
STRINGS = Work(
    name="strings",
    about="a list of 2 million strings, 4 workers read it; procession.share(list)",
    contenders=(
        Contender(PROCESSION, lambda: extra(peers.procession, shared_strings), needs=("procession",)),
        Contender("procession, not shared", lambda: extra(peers.procession, strings), needs=("procession",)),
        Contender(
            "Keras processes", lambda: extra(peers.keras, strings), needs=("keras",), environment=peers.NUMPY_BACKEND
        ),
        Contender("torch DataLoader", lambda: extra(peers.torch, strings), needs=("torch",)),
    ),
    figures=(
        Figure("strings, beyond one copy", key="extra", unit="MB", scale=1e-6, targets=(Target(60),)),
        Figure("strings, workers' own memory", key="private", unit="MB", scale=1e-6),
    ),
    rounds=1,
    quick_rounds=1,
    quick=False,
)
WORKS = (ARRAY, SHARED, STRINGS)
