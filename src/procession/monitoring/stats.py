"""The figures of a loader: counted as it runs, read as a frozen snapshot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a loader has done so far.

    Times are in seconds, sizes in bytes. `work_seconds` adds up over workers, so it may exceed the time that has
    passed."""

    executor: str
    workers: int
    seed: int
    epochs: int  # begun
    batches: int  # delivered
    bytes: int  # delivered
    wait_seconds: float  # the consumer waited for a batch
    work_seconds: float  # workers spent making batches
    segments: int  # batches larger than their slot, sent in a segment of their own
    pickled: dict[str, int] = field(default_factory=dict)  # leaves that could not travel as bytes: reason → count
    deaths: int = 0  # of workers
    pids: dict[int, int] = field(default_factory=dict)  # of workers that run: number → process id
    threads: tuple[str, ...] = ()  # started by the source when unpickled: why its workers load it each by themselves


class Counters:
    """What `Statistics` is made from; one writer, the stream."""

    def __init__(self) -> None:
        self.epochs = self.batches = self.bytes = self.segments = self.deaths = 0
        self.wait_seconds = self.work_seconds = 0.0
        self.pickled: Counter[str] = Counter()

    def snapshot(self, executor: str, workers: int, seed: int, facts: dict[str, Any]) -> Statistics:
        """A frozen copy."""
        return Statistics(
            executor=executor,
            workers=workers,
            seed=seed,
            epochs=self.epochs,
            batches=self.batches,
            bytes=self.bytes,
            wait_seconds=self.wait_seconds,
            work_seconds=self.work_seconds,
            segments=self.segments,
            pickled=dict(self.pickled),
            deaths=self.deaths,
            **facts,
        )
