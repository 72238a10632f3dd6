"""The parameters of a `Loader`, checked once and turned into plain values."""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from procession.errors import ConfigError

ExecutorName = Literal["serial", "threads", "processes"]
EXECUTORS: tuple[ExecutorName, ...] = ("serial", "threads", "processes")

Answer = Literal["raise", "skip", "retry"]
ANSWERS: tuple[Answer, ...] = ("raise", "skip", "retry")

MOST_WORKERS = 1024  # far above any machine's cores: a larger number is a slip, not a wish


@dataclass(frozen=True, slots=True)
class Faults:
    """What a loader does when something goes wrong; give it to `Loader(..., faults=Faults(...))`.

    A worker that dies is replaced, and what it had in hand is made again; the stream stays the same. The bounds here
    say when that is given up.

    Args:
        on_error: what to do about an item (`source[index]`) that raises: "raise" it in the consumer; "skip" it, which
            is counted in `statistics()` and warned about once an epoch; "retry" it, `retries` times, then raise; or a
            function of (index, exception) that returns one of these, called in the training process as failures
            arrive (of `Partitions`, the index is `index * partitions + partition`). It also decides about an item that
            has killed its worker, or outlasted `timeout`, more than `retries` times ("retry" then means raise). With
            `batch_size`, a skipped sample is left out and its batch is that much smaller; with `drop_remainder`, where
            all batches have one size, the batch's first good sample stands in for it. A batch of which nothing is left
            is left out: in `predict`, too, where the rows after it then move up.
        retries: how often an item is made again that has killed its worker or outlasted `timeout`, and under "retry"
            also one that raised.
        timeout: seconds that a worker may take for one batch; past it, its Python stack is noted, it is killed, and the
            batch is made again. Looked at while the consumer waits. None: no limit; after 30 s of waiting a warning on
            the logger "procession" says which index, worker and stack the consumer waits for. With
            executor="threads" a thread that takes longer is left to itself and replaced; "serial" has no limit.
        max_restarts: workers that may be replaced in one epoch, whatever they died of.
        recycle_after: batches after which a worker is replaced by a fresh one, for libraries that leak; None: never.
        max_memory: bytes of memory of its own (not shared with the template or other workers) past which a worker is
            replaced by a fresh one after the batch it has in hand; looked at about once a second; None: no limit.

    Raises:
        ConfigError: a value is of the wrong type or out of range (a ValueError).

    Example:
        >>> import procession
        >>> class Files:
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, i):
        ...         return [1.0][i]  # there are fewer files than it thinks
        >>> import warnings
        >>> faults = procession.Faults(on_error="skip")
        >>> with warnings.catch_warnings(action="ignore"), procession.Loader(Files(), faults=faults) as loader:
        ...     list(loader), sorted(skip.index for skip in loader.statistics().skipped)
        ([1.0], [1, 2])
    """

    on_error: Answer | Callable[[int, BaseException], Answer] = "raise"
    retries: int = 2
    timeout: float | None = None
    max_restarts: int = 10
    recycle_after: int | None = None
    max_memory: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.on_error) and self.on_error not in ANSWERS:
            raise ConfigError(
                f"on_error must be one of {', '.join(map(repr, ANSWERS))}, or a function of (index, exception) that "
                f"returns one of them; got {self.on_error!r}"
            )
        _count("retries", self.retries, 0)
        _count("max_restarts", self.max_restarts, 0)
        for name, least in (("recycle_after", 1), ("max_memory", 1 << 20)):
            value = getattr(self, name)
            if value is not None:
                _count(name, value, least, also="None (no limit)")
        timeout: Any = self.timeout
        usable = isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and 0 < timeout < math.inf
        if timeout is not None and not usable:
            raise ConfigError(f"timeout must be a number of seconds above 0, or None (no limit); got {timeout!r}")


@dataclass(frozen=True, slots=True)
class Config:
    """What a loader was asked to do."""

    batch_size: int | None  # None: source[i] is a batch already
    drop_remainder: bool
    shuffle: Any  # a bool, a sampler, or an object with `indices`; None: as Keras asks in fit, else not at all
    seed: int
    seed_given: bool  # else drawn, and a saved state's is as good
    shard: Any  # a Shard
    ordered: bool
    executor: ExecutorName
    workers: int  # 1 for serial
    prefetch: int | None  # batches ready or under way; None: found from the work
    faults: Faults


def make_config(  # noqa: PLR0913 - the loader's
    *,
    batch_size: Any,
    drop_remainder: Any,
    shuffle: Any,
    seed: Any,
    shard: Any,
    ordered: Any,
    workers: Any,
    executor: Any,
    prefetch: Any,
    faults: Any,
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
    if not isinstance(ordered, bool):
        raise ConfigError(f"ordered must be True or False (batches as they become ready), got {ordered!r}")
    if not isinstance(faults, Faults):
        raise ConfigError(
            f"faults must be a procession.Faults, got {faults!r} of type {type(faults).__name__}; write "
            'Loader(source, faults=procession.Faults(on_error="skip"))'
        )
    return Config(
        batch_size=size,
        drop_remainder=bool(drop_remainder),
        shuffle=_shuffle(shuffle),
        # Drawn from `random`, so that random.seed() and keras.utils.set_random_seed() fix it too.
        seed=random.getrandbits(63) if seed is None else _seed(seed),
        seed_given=seed is not None,
        shard=shard,
        ordered=ordered,
        executor=name,
        workers=count,
        prefetch=None if prefetch == "auto" else _count("prefetch", prefetch, 1, also="'auto'"),
        faults=faults,
    )


_BINDING = ("OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")  # by which OpenMP binds whoever imports it


def _mask() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


_AT_IMPORT = _mask()


def cores() -> tuple[int, ...]:
    """The cores that workers may run on: those of the affinity mask, () where there is none.

    Where OpenMP is told to bind, a library that was imported since may have bound this process to one of them: then
    those that it could use when it imported us.
    """
    bound = any(name in os.environ for name in _BINDING)
    return tuple(sorted(_AT_IMPORT | _mask() if bound else _mask()))


def usable_cores() -> int:
    """How many there are: the affinity mask, and the CPU quota of the cgroup (v2)."""
    affinity = len(cores()) or os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(affinity, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or no quota ("max")
        return max(1, affinity)


def _seed(seed: Any) -> int:
    number = _count("seed", seed, 0)
    if number >= 1 << 128:
        raise ConfigError(f"seed must be below 2**128; got one of {number.bit_length()} bits")
    return number


def _shuffle(shuffle: Any) -> Any:
    an_order = not isinstance(shuffle, type) and (hasattr(shuffle, "indices") or hasattr(shuffle, "pick"))
    if shuffle is None or isinstance(shuffle, bool) or an_order:
        return shuffle
    hint = f", a class; write {shuffle.__name__}(...)" if isinstance(shuffle, type) else ""
    if isinstance(shuffle, int) and shuffle > 1:
        hint = f"; to shuffle within windows of {shuffle} items write shuffle=procession.Window({shuffle})"
    raise ConfigError(
        "shuffle must be True, False, None (as fit asks), a procession.Window, Weighted or Balanced, or an object with "
        f"a method indices(epoch) that returns the indices of an epoch in order; got {shuffle!r}{hint}"
    )


def _executor(executor: Any) -> ExecutorName:
    here = hasattr(os, "pidfd_open")  # by which the end of a process is waited for: Linux 5.3
    if executor == "auto":
        return "processes" if here else "threads"
    if executor == "processes" and not here:
        raise ConfigError(
            f"executor='processes' needs Linux 5.3 or newer, and this is {sys.platform}; write "
            "Loader(source, executor='threads')"
        )
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
