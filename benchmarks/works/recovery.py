"""recovery: what a `kill -9` of a worker in the middle of an epoch costs."""

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import peers
from benchmarks.model import PROCESSION, Contender, Figure, Round, Sample, Target, Work
from benchmarks.sources import Slow

CALM = 20  # batches before the kill, which say how long one takes
AFTER = 20  # batches after it, among which is the one that was lost


def killed(epoch: Callable[[], Iterator[Any]]) -> Round:
    """Kill the worker that made the last batch; return how much later than usual the latest batch after that comes."""
    batches = epoch()

    def gap() -> float:
        begin = time.perf_counter()
        next(batches)
        return time.perf_counter() - begin

    def measure(_: float) -> Sample:
        usual = statistics.median(gap() for _ in range(CALM))
        os.kill(int(next(batches)[0]), signal.SIGKILL)
        return {"delay": max(gap() for _ in range(AFTER)) - usual}

    measure(0)
    return measure


def procession() -> Iterator[Any]:
    """Procession, for which a kill is nothing special, however often it happens."""
    from procession import Faults, Loader

    with Loader(Slow(), workers=2, faults=Faults(max_restarts=1000)) as loader:
        yield from loader


RECOVERY = Work(
    name="recovery",
    about="kill -9 of one of 2 workers; a batch takes 20 ms",
    contenders=(
        Contender(PROCESSION, lambda: killed(procession), needs=("procession",)),
        Contender("torch DataLoader", lambda: killed(lambda: peers.torch(Slow())), needs=("torch",)),
    ),
    figures=(Figure("recovery, delay after kill -9", key="delay", unit="ms", scale=1e3, targets=(Target(200),)),),
    rounds=9,
)
WORKS = (RECOVERY,)
