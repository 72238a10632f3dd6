"""Which tickets are given out next, and to whom. Pure.

Tickets of an epoch:   delivered … | ready or flying … | given back | not given out yet …
                                                         ▲ these first, in order
"""

from __future__ import annotations

import math
from collections.abc import Callable

from procession.engine.actions import MOST_SPAN, Began, Submit
from procession.engine.pace import Pace
from procession.engine.roster import Roster


class Handout:
    """The tickets that no worker has."""

    def __init__(self, roster: Roster, pace: Pace) -> None:
        self._roster = roster
        self._pace = pace
        self.steps: int | None = 0
        self.unsubmitted = 0  # the first ticket that nobody has been given
        self.again: list[int] = []  # given back, to be given out once more; sorted
        self._first = 0  # ticket of the epoch's first step
        self._ahead: int | None = None
        self._part: Callable[[int], int | None] | None = None
        self._span = MOST_SPAN

    def begin(self, began: Began) -> None:
        """A new epoch."""
        self._first = self.unsubmitted
        self.steps, self._ahead, self._part, self._span = began
        self.again.clear()

    def give_back(self, tickets: list[int]) -> None:
        """Have tickets given out again."""
        self.again = sorted([*self.again, *tickets])

    def refill_at(self) -> int:
        """How many tickets the consumer has taken when another message of tasks would go out."""
        return 0 if self.again else self.unsubmitted - max(0, self._pace.depth - self._pace.chunk)

    def give_out(self, missing: int, taken: int, wanted: bool, coming: bool) -> list[Submit]:
        """Give out what may be: a message's worth at a time.

        Args:
            missing: the first ticket that the consumer has not taken.
            taken: how many it has taken; more than `missing` where some were taken before their turn.
            wanted: whether it waits.
            coming: whether workers are about to join.
        """
        submits: list[Submit] = []
        while (
            pair := self._shared(missing, taken, wanted)
            if self._part is None
            else self._owned(missing, taken, wanted, coming)
        ):
            worker, tickets = pair
            self._roster.give(worker, tickets)
            submits.append(Submit(worker, tuple(tickets)))  # each a message: what is done is told with the last of one
        return submits

    def _shared(self, missing: int, taken: int, wanted: bool) -> tuple[int, list[int]] | None:
        """Tickets for the worker that has the fewest; lost ones first."""
        # No more than its share: one that is slow must not collect what others could do.
        free = self._roster.freest(max(self._pace.chunk, -(-self._pace.depth // max(1, len(self._roster)))))
        if free is None:
            return None
        worker, room = free
        chunk = min(self._pace.chunk, self._roster.life(worker))
        if self.again and room > 0:
            count = min(room, chunk)
            tickets, self.again = self.again[:count], self.again[count:]
            return worker, tickets
        count = int(min(chunk, self._left(missing, taken, wanted)))
        return (worker, self._new(count)) if 0 < count <= room else None

    def _owned(self, missing: int, taken: int, wanted: bool, coming: bool) -> tuple[int, list[int]] | None:
        """The next ticket, for the owner of its partition and nobody else: a partition's batches are made in order."""
        assert self._part is not None
        if not self.again and self._left(missing, taken, wanted) <= 0:
            return None
        part = self._part((self.again[0] if self.again else self.unsubmitted) - self._first)
        worker = self._roster.owner(part, coming)
        if worker is None:
            return None
        return worker, [self.again.pop(0)] if self.again else self._new(1)

    def _new(self, count: int) -> list[int]:
        self.unsubmitted += count
        return list(range(self.unsubmitted - count, self.unsubmitted))

    def _left(self, missing: int, taken: int, wanted: bool) -> float:
        """Tickets that may be given out now for the first time; no part of a message's worth that does not fit."""
        bound = math.inf if self.steps is None else self.steps
        if self._ahead is not None:
            bound = min(bound, max(self._ahead, missing - self._first + wanted))
        left = min(bound - (self.unsubmitted - self._first), self._span - (self.unsubmitted - missing))
        chunk = 1 if self._part is not None else self._pace.chunk
        fits = self.unsubmitted - taken + min(chunk, left) <= self._pace.depth
        return left if fits else 0
