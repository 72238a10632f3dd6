"""The parameters of a `Loader`, checked once and turned into plain values."""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from procession.errors import ConfigError

ExecutorName = Literal["serial", "threads", "processes"]
EXECUTORS: tuple[ExecutorName, ...] = ("serial", "threads", "processes")

MOST_WORKERS = 1024  # far above any machine's cores: a larger number is a slip, not a wish


@dataclass(frozen=True, slots=True)
class Config:
    """What a loader was asked to do."""

    batch_size: int | None  # None: source[i] is a batch already
    drop_remainder: bool
    shuffle: bool | None  # None: as Keras asks in fit, not at all in plain iteration
    seed: int
    executor: ExecutorName
    workers: int  # 1 for serial
    prefetch: int | None  # batches ready or under way; None: found from the work


def make_config(
    *, batch_size: Any, drop_remainder: Any, shuffle: Any, seed: Any, workers: Any, executor: Any, prefetch: Any
) -> Config:
    """Check the parameters of `Loader`.

    Raises:
        ConfigError: a value is of the wrong type or out of range; the message gives the value and what is accepted.
    """
    name = _executor(executor)
    count = _workers(workers)
    if count == 0 or name == "serial":
        name, count = "serial", 1
    size = None if batch_size is None else _count("batch_size", batch_size, 1)
    if drop_remainder and size is None:
        raise ConfigError(
            "drop_remainder=True needs batch_size: without it source[i] is a whole batch and nothing is left over; "
            "write Loader(source, batch_size=32, drop_remainder=True)"
        )
    if shuffle is not None and not isinstance(shuffle, bool):
        raise ConfigError(f"shuffle must be True, False or None (as fit asks), got {shuffle!r}")
    return Config(
        batch_size=size,
        drop_remainder=bool(drop_remainder),
        shuffle=shuffle,
        # Drawn from `random`, so that random.seed() and keras.utils.set_random_seed() fix it too.
        seed=random.getrandbits(63) if seed is None else _count("seed", seed, 0),
        executor=name,
        workers=count,
        prefetch=None if prefetch == "auto" else _count("prefetch", prefetch, 1, also="'auto'"),
    )


def usable_cores() -> int:
    """The cores this process may use: its affinity mask, and the CPU quota of its cgroup (v2)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(affinity, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or no quota ("max")
        return max(1, affinity)


def _executor(executor: Any) -> ExecutorName:
    if executor == "auto":
        return "processes"
    if executor not in EXECUTORS:
        accepted = ", ".join(repr(e) for e in ("auto", *EXECUTORS))
        raise ConfigError(f"executor must be one of {accepted}; got {executor!r}")
    name: ExecutorName = executor
    return name


def _workers(workers: Any) -> int:
    if workers == "auto":
        return usable_cores()
    count = _count("workers", workers, 0, also="'auto' (the usable cores)")
    if count > MOST_WORKERS:
        raise ConfigError(
            f"workers={count} is more than {MOST_WORKERS}; this machine has {usable_cores()} usable cores. "
            "Sources that compute need one worker a core; sources that wait, some tens"
        )
    return count


def _count(name: str, value: Any, least: int, also: str = "") -> int:
    allowed = f"an int of at least {least}" + (f", or {also}" if also else "")
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise ConfigError(f"{name} must be {allowed}; got {value!r} of type {type(value).__name__}")
    number = value.__index__()
    if number < least:
        raise ConfigError(f"{name} must be {allowed}; got {number}")
    return int(number)
