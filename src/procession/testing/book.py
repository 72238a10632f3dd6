"""What has happened in an epoch of a scripted executor, from which follows what the consumer must get."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from procession.config import Faults
from procession.order.plan import Plan


class Batch(NamedTuple):
    """What a scripted worker makes: all that its content depends on."""

    epoch: int
    position: int
    items: tuple[int, ...]


class Token(NamedTuple):
    """A batch that lies somewhere, like a `Parked`."""

    number: int
    batch: Batch
    copy: bool = False  # comes with an answer that is told again
    memory: None = None
    nbytes: int = 1
    reasons: tuple[str, ...] = ()
    placed: int = 0


class Crash(Exception):  # noqa: N818
    """A worker's or the template's death, as the consumer gets it."""


class Bad(Exception):  # noqa: N818
    """What the scripted source raises."""


class Book:
    """What has happened in this epoch, from which follows what the consumer must get."""

    def __init__(self, faults: Faults, plan: Plan) -> None:
        self.faults = faults
        self.plan = plan
        self.deaths: Counter[tuple[int, int]] = Counter()  # (position, item) → workers that died over it
        self.raised: Counter[tuple[int, int]] = Counter()  # (position, item) → how often it raised
        self.whole: set[int] = set()  # positions that died or failed as such, and may not be made
        self.restarts = 0
        self.lost = False  # no worker need be had any more

    def skipped(self, position: int) -> set[int]:
        """Items that must have been left out of a batch."""
        if self.answer == "raise":
            return set()
        return {item for item in self.plan.items(position) if position in self.whole or self._given_up(position, item)}

    def refused(self, position: int) -> bool:
        """Whether the batch must be an error."""
        return self.answer == "raise" and any(self._given_up(position, i) for i in self.plan.items(position))

    @property
    def answer(self) -> str:
        """What becomes of an item in the end."""
        return "skip" if self.faults.on_error == "skip" else "raise"

    def died(self, position: int, item: int, *, whole: bool) -> None:
        """A worker has died over an item, or over its batch as such."""
        self.deaths[position, item] += 1
        if whole and self._given_up(position, item):
            self.whole.add(position)

    def restarted(self) -> None:
        """Somebody died."""
        self.restarts += 1
        self.lost |= self.restarts > self.faults.max_restarts

    def _given_up(self, position: int, item: int) -> bool:
        deaths, raised = self.deaths[position, item], self.raised[position, item]
        if self.faults.on_error == "retry":
            return deaths + raised > self.faults.retries
        return deaths > self.faults.retries or raised > 0
