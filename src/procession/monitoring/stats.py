"""The figures of a loader: counted as it runs, read as a frozen snapshot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MOST_SKIPPED = 1000  # listed; the rest is counted
MOST_TOLD = 5  # of them in one warning
MOST_TEXT = 120  # characters of an exception's text


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


@dataclass(frozen=True, slots=True)
class SkippedItem:
    """An item that was left out."""

    epoch: int
    index: int  # of partitions: index * partitions + partition, as `name` says
    name: str  # `source[7]`, `source[partition][index]`
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
    files: tuple[str, ...] = ()  # opened by it then, for the same reason

    def __str__(self) -> str:
        """What most people want to know, in some lines."""
        placed = f", {self.placed_bytes / self.bytes:.0%} of it made in place" if self.placed_bytes else ""
        busy = self.work_seconds / max(1, self.workers)
        batches = counted(self.batches, "batch", "batches")
        lines = [
            f"{counted(self.epochs, 'epoch')} begun, {batches} ({self.bytes / 1e6:,.0f} MB{placed})",
            f"{counted(self.workers, 'worker')} ({self.executor}), each at work for {busy:.1f} s; seed {self.seed}",
            f"the consumer waited {self.wait_seconds:.1f} s for them",
        ]
        if self.deaths or self.recycled:
            lines.append(f"{counted(self.deaths, 'death')}, {counted(self.recycled, 'worker')} recycled")
        if self.skips:
            lines.append(f"{counted(self.skips, 'item')} left out")
        if self.pickled:
            lines.append("pickled: " + ", ".join(f"{count:,} of {reason}" for reason, count in self.pickled.items()))
        if self.threads or self.files:
            why = [f"starts {name}" for name in self.threads] + [f"opens {name}" for name in self.files]
            lines.append(f"workers load the source each by themselves: it {', '.join(why)}")
        return "\n".join(lines)


class Counters:
    """What `Statistics` is made from; one writer, the stream."""

    def __init__(self) -> None:
        self.epochs = self.batches = self.bytes = self.placed = self.segments = self.deaths = self.recycled = (
            self.skips
        ) = 0
        self.wait_seconds = self.work_seconds = 0.0
        self.pickled: Counter[str] = Counter()
        self.skipped: list[SkippedItem] = []
        self._skipped_now: set[int] = set()
        self._told = 0  # skips that have been warned about

    def begin_epoch(self) -> None:
        """An epoch begins."""
        self.epochs += 1
        self._skipped_now.clear()

    @property
    def skips_of_epoch(self) -> int:
        """Items left out of the present epoch."""
        return len(self._skipped_now)

    def skip(self, epoch: int, index: int, name: str, error: BaseException) -> None:
        """An item is left out; what was only looked at before is not counted twice."""
        if index in self._skipped_now:
            return
        self._skipped_now.add(index)
        text = str(error).partition("\n")[0]
        shown = text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"
        item = SkippedItem(epoch, index, name, f"{type(error).__name__}: {shown}")
        self.skips += 1
        if len(self.skipped) < MOST_SKIPPED:
            self.skipped.append(item)

    def untold_skips(self, epoch: int) -> str:
        """What has been left out since the last call; empty if nothing has."""
        count, self._told = self.skips - self._told, self.skips
        if not count:
            return ""
        latest = self.skipped[-count:][:MOST_TOLD]
        told = "; ".join(f"{item.name} ({item.error})" for item in latest)
        more = f", and {count - len(latest)} more" if count > len(latest) else ""
        what = "1 item was" if count == 1 else f"{count} items were"
        return f"epoch {epoch}: {what} left out after failing: {told}{more}. Loader.statistics().skipped lists them."

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
