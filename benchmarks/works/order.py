"""order: what an index of a shuffled epoch costs, and what memory the order takes."""

import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count

import numpy as np

from benchmarks.model import PROCESSION, Contender, Figure, Round, Sample, Target, Work

BATCH = 32
LENGTHS = (10**3, 10**6, 10**9, 10**12)
Batches = Iterator[Sequence[int]]


def procession(length: int) -> Batches:
    """Batches of samples, as a worker asks for them, epoch after epoch."""
    from procession.order.batches import Batches as Order
    from procession.order.shuffle import Shuffled

    for epoch in count():
        order = Order(length, BATCH, sampler=Shuffled(), seed=1, epoch=epoch)
        for position in range(order.positions or 0):
            yield order.items(position)


def grain(length: int) -> Batches:
    """Grain's shuffle, which takes constant memory too; an index at a time, as its loaders do."""
    from grain.experimental import index_shuffle

    for epoch in count():
        for start in range(0, length, BATCH):
            stop = min(length, start + BATCH)
            yield [index_shuffle(k, max_index=length - 1, seed=epoch, rounds=4) for k in range(start, stop)]


def permuted(length: int) -> Batches:
    """A permutation as an array: what torch's and Keras's samplers hold."""
    for epoch in count():
        order = np.random.default_rng(epoch).permutation(length)
        for start in range(0, length, BATCH):
            yield order[start : start + BATCH].tolist()


def measured(batches: Callable[[], Batches]) -> Round:
    """Time an index; then, apart, since it is slow, the most memory at any time."""

    def measure(seconds: float) -> Sample:
        running = batches()
        next(running)  # what an epoch needs at its start
        indices, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            for _ in range(100):
                indices += len(next(running))
        spent = time.perf_counter() - start
        tracemalloc.start()
        running = batches()
        for _ in range(100):
            next(running)
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return {"seconds": spent / indices, "memory": memory}

    return measure


def work(length: int) -> Work:
    """A shuffled epoch of so many indices."""

    def contender(name: str, batches: Callable[[int], Batches], *needs: str) -> Contender:
        return Contender(name, partial(measured, partial(batches, length)), needs=needs)

    return Work(
        name=f"order-{length:.0e}".replace("e+0", "e").replace("e+", "e"),
        about=f"a shuffled epoch of {length:,} samples, in batches of {BATCH}",
        contenders=(
            contender(PROCESSION, procession, "procession"),
            contender("Grain index_shuffle", grain, "grain"),
            *((contender("numpy permutation", permuted),) if length <= 10**6 else ()),
        ),
        figures=(
            Figure(f"order of {length:.0e}", key="seconds", unit="µs an index", scale=1e6, targets=(Target(5),)),
            Figure("memory of it", key="memory", unit="kB", scale=1e-3),
        ),
        seconds=0.3,
    )


WORKS = tuple(map(work, LENGTHS))
