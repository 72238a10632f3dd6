"""The figures of a loader: counted as it runs, read as a frozen snapshot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MOST_SKIPPED = 1000  # listed; the rest is counted
MOST_TEXT = 120  # characters of an exception's text


@dataclass(frozen=True, slots=True)
class SkippedItem:
    """An item that was left out."""

    epoch: int
    index: int
    error: str  # type and the beginning of the text of what was raised


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
    placed_bytes: int  # of these, made where they were read: not copied
    wait_seconds: float  # the consumer waited for a batch
    work_seconds: float  # workers spent making batches
    segments: int  # batches larger than their slot, sent in a segment of their own
    pickled: dict[str, int] = field(default_factory=dict)  # leaves that could not travel as bytes: reason → count
    deaths: int = 0  # of workers, and of the template they are forked from
    recycled: int = 0  # workers replaced because of `Faults.recycle_after` or `Faults.max_memory`
    skips: int = 0  # items left out because they failed
    skipped: tuple[SkippedItem, ...] = ()  # the first 1,000 of them
    pids: dict[int, int] = field(default_factory=dict)  # of workers that run: number → process id
    threads: tuple[str, ...] = ()  # started by the source when unpickled: why its workers load it each by themselves


class Counters:
    """What `Statistics` is made from; one writer, the stream."""

    def __init__(self) -> None:
        self.epochs = self.batches = self.bytes = self.placed = self.segments = self.deaths = self.recycled = (
            self.skips
        ) = 0
        self.wait_seconds = self.work_seconds = 0.0
        self.pickled: Counter[str] = Counter()
        self.skipped: list[SkippedItem] = []

    def skip(self, epoch: int, index: int, error: BaseException) -> SkippedItem:
        """An item is left out."""
        text = str(error).partition("\n")[0]
        shown = text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"
        item = SkippedItem(epoch, index, f"{type(error).__name__}: {shown}")
        self.skips += 1
        if len(self.skipped) < MOST_SKIPPED:
            self.skipped.append(item)
        return item

    def snapshot(self, executor: str, workers: int, seed: int, facts: dict[str, Any]) -> Statistics:
        """A frozen copy."""
        return Statistics(
            executor=executor,
            workers=workers,
            seed=seed,
            epochs=self.epochs,
            batches=self.batches,
            bytes=self.bytes,
            placed_bytes=self.placed,
            wait_seconds=self.wait_seconds,
            work_seconds=self.work_seconds,
            segments=self.segments,
            pickled=dict(self.pickled),
            deaths=self.deaths,
            recycled=self.recycled,
            skips=self.skips,
            skipped=tuple(self.skipped),
            **facts,
        )
