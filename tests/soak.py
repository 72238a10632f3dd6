"""Train while processes are killed at random: ``python -m tests.soak``.

The same `fit` runs twice, in peace and under fire: every few moments a worker, or the template, is ended with kill -9.
In the end the weights have to be equal to the last bit, nothing may be left, and memory must not have grown.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import psutil

import procession

BATCHES = 40
SETTLED = 0.34  # of the epochs, after which memory must not grow any more
MOST_GROWTH = 40e6  # bytes


class Noisy(keras.utils.PyDataset):
    """Batches of 1.2 MB, of several kinds of random numbers, reshuffled in place after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.order = np.arange(BATCHES)
        self.base = np.random.default_rng(0).normal(size=(BATCHES, 64)).astype("float32")

    def __len__(self) -> int:
        return BATCHES

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        x = np.repeat(self.base[self.order[index]][None], 4096, axis=0)
        x = x + np.random.normal(size=x.shape).astype("float32") * procession.rng().random()
        return x, x.mean(axis=1, keepdims=True) + random.random()

    def on_epoch_end(self) -> None:
        """Put the batches into another order."""
        np.random.default_rng(int(self.order[0])).shuffle(self.order)


@dataclass
class Seen:
    """What a run saw."""

    kills: int = 0
    template_kills: int = 0
    memory: list[int] = field(default_factory=list)  # bytes after each epoch: this process and all it started
    weights: Any = None
    seconds: float = 0.0
    statistics: Any = None


class Marksman(threading.Thread):
    """Kills one of our processes every few moments."""

    def __init__(self, loader: procession.Loader, seen: Seen, every: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.loader, self.seen, self.every = loader, seen, every
        self.dice = random.Random(seed)
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(self.every * self.dice.uniform(0.5, 1.5)):
            self.shoot()

    def shoot(self) -> None:
        """Kill a worker, or now and then the template."""
        try:
            pids = list(self.loader.statistics().pids.values())
            if not pids:
                return
            victim = psutil.Process(self.dice.choice(pids))
            template = self.dice.random() < 0.15
            if template:
                parent = victim.parent()
                if parent is None or parent.ppid() != os.getpid():
                    return
                victim = parent
            victim.kill()
            self.seen.kills += 1
            self.seen.template_kills += template
        except (psutil.Error, RuntimeError):  # it has just ended, or the workers are just changing
            return


class Progress(keras.callbacks.Callback):
    """A line that is written over, and the memory after each epoch."""

    def __init__(self, seen: Seen, epochs: int, title: str) -> None:
        super().__init__()
        self.seen, self.epochs, self.title = seen, epochs, title

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        gc.collect()
        self.seen.memory.append(tree_memory())
        if sys.stderr.isatty() or epoch + 1 == self.epochs:
            end = "\n" if epoch + 1 == self.epochs else ""
            sys.stderr.write(f"\r{self.title}: epoch {epoch + 1}/{self.epochs}, {self.seen.kills} kills {end}")
            sys.stderr.flush()


def tree_memory() -> int:
    """Bytes of memory of this process and of all that it started, shared pages divided among those who share them."""
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def train(epochs: int, every: float | None, title: str) -> Seen:
    """Fit a model; `every`: seconds between two kills, None for none."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    seen = Seen()
    faults = procession.Faults(retries=10_000, max_restarts=10_000)
    begin = time.perf_counter()
    with procession.Loader(Noisy(), workers=3, seed=1, faults=faults) as loader:
        marksman = Marksman(loader, seen, every or 1.0, seed=1)
        if every is not None:
            marksman.start()
        model.fit(loader, epochs=epochs, verbose=0, callbacks=[Progress(seen, epochs, title)])
        marksman.over.set()
        if every is not None:
            marksman.join()
        seen.statistics = loader.statistics()
    seen.weights = model.get_weights()
    seen.seconds = time.perf_counter() - begin
    return seen


def leftovers() -> list[str]:
    """What is left of the loaders: processes but for the idle template, memory, files in /dev/shm."""
    left = [f"process {p.pid}" for p in psutil.Process().children(recursive=True) if "procession" not in _command(p)]
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if "memfd:procession" in target or "pidfd" in target:
            left.append(target)
    return left + [path.name for path in Path("/dev/shm").iterdir() if "procession" in path.name]


def _command(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def main() -> None:
    """Train in peace and under fire, and compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--epochs", type=int, default=120, help="of each of the two runs (120: about two minutes)")
    parser.add_argument("--every", type=float, default=0.3, help="seconds between two kills, on average (0.3)")
    options = parser.parse_args()
    logging.getLogger("procession").setLevel(logging.ERROR)
    keras.utils.set_random_seed(1)
    peace = train(options.epochs, None, "in peace")
    war = train(options.epochs, options.every, "under fire")
    gc.collect()
    left = leftovers()
    equal = all((a == b).all() for a, b in zip(peace.weights, war.weights, strict=True))
    settled = war.memory[int(len(war.memory) * SETTLED)]
    growth = min(war.memory[-5:]) - settled
    rows = {
        "epochs, batches": f"{options.epochs}, {war.statistics.batches}",
        "kills": f"{war.kills}, of which {war.template_kills} of the template",
        "deaths noticed": f"{war.statistics.deaths}",
        "seconds": f"{peace.seconds:.1f} in peace, {war.seconds:.1f} under fire",
        "weights": "equal to the last bit" if equal else "DIFFERENT",
        "memory": f"{settled / 1e6:,.0f} MB after a third of the epochs, {growth / 1e6:+,.0f} MB at the end",
        "leftovers": f"{len(left)} {left or ''}",
    }
    for name, value in rows.items():
        print(f"{name:>16}: {value}")  # noqa: T201
    sys.exit(0 if equal and not left and growth < MOST_GROWTH and war.kills else 1)


if __name__ == "__main__":
    main()
