"""The workers as delivery knows them: who has which tasks, and who gets no more. Pure."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from itertools import takewhile

MOST_QUEUED = 128  # tasks a worker may have waiting: their messages must fit its socket's buffer


class Roster:
    """Workers and the tickets that fly with them."""

    def __init__(self, recycle_after: int | None) -> None:
        self._life = recycle_after or sys.maxsize  # tasks that a worker gets before it is replaced
        # Invariant: a ticket flies with one worker, in whose set of tasks it is.
        self.flying: dict[int, int] = {}  # ticket → worker
        # Worker → its flying tickets in the order in which it makes them, stale ones included.
        self._tasks: dict[int, dict[int, None]] = {}
        self._given: dict[int, int] = {}  # worker → tasks that it has been given since it joined
        self.leaving: set[int] = set()  # they get no more, and are replaced when they have none
        # Workers with stale tasks. They get no others: one stuck in an epoch that nobody reads must not stop the next.
        self._behind: set[int] = set()
        self._owners: dict[int | None, int] = {}  # partition → the worker that has it, or had it when it went

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, worker: int) -> bool:
        return worker in self._tasks

    def join(self, worker: int) -> None:
        """A worker is there, with nothing to do."""
        self._tasks.setdefault(worker, {})
        self._given[worker] = 0

    def freest(self, most: int) -> tuple[int, int] | None:
        """The worker with the fewest tasks, and how many more it may have so that it has `most`; None: nobody may."""
        free = [worker for worker in self._tasks if worker not in self._behind and worker not in self.leaving]
        if not free:
            return None
        worker = min(free, key=lambda w: len(self._tasks[w]))
        return worker, min(MOST_QUEUED, most) - len(self._tasks[worker])

    def owner(self, part: int | None, coming: bool) -> int | None:
        """The worker that owns a partition; None: it may not have more now, or is to be replaced first."""
        worker = self._owners.get(part)
        if worker not in self._tasks:
            staying = [worker for worker in self._tasks if worker not in self.leaving]
            if coming or not staying:
                return None
            owned = Counter(self._owners.values())
            worker = self._owners[part] = min(staying, key=lambda worker: owned[worker])
        free = worker not in self._behind and worker not in self.leaving and len(self._tasks[worker]) < MOST_QUEUED
        return worker if free else None

    def life(self, worker: int) -> int:
        """How many more tasks a worker gets before it is replaced."""
        return self._life - self._given[worker]

    def give(self, worker: int, tickets: Iterable[int]) -> None:
        """Let tickets fly with a worker."""
        for ticket in tickets:
            self.flying[ticket] = worker
            self._tasks[worker][ticket] = None
            self._given[worker] += 1
        if self.life(worker) <= 0:
            self.leaving.add(worker)

    def land(self, worker: int, ticket: int) -> bool:
        """Take the answer to a task; False if there is no such task, or no longer."""
        if self.flying.get(ticket) != worker:
            return False
        del self.flying[ticket]
        tasks = self._tasks[worker]
        tasks.pop(ticket, None)
        if not tasks:
            self._behind.discard(worker)
        return True

    def take_back(self, worker: int, ticket: int) -> list[int]:
        """Take from a worker what it was given before `ticket`, if another can do it; its own answers come too late."""
        others = [w for w in self._tasks if w != worker and w not in self._behind and w not in self.leaving]
        if not others or self._owners:
            return []
        taken = list(takewhile(lambda t: t != ticket, self._tasks[worker]))
        for t in taken:
            self.land(worker, t)
        self._behind.add(worker)
        return taken

    def retire(self, worker: int) -> None:
        """Give a worker no more tasks."""
        self.leaving.add(worker)

    def may_leave(self, worker: int) -> bool:
        """Whether a worker that is to be replaced has nothing left to do."""
        return worker in self.leaving and not self._tasks[worker]

    def remove(self, worker: int) -> list[int]:
        """Let a worker go; return the tickets that it had, in order."""
        tickets = sorted(self._tasks.pop(worker, ()))
        self._behind.discard(worker)
        self.leaving.discard(worker)
        for ticket in tickets:
            del self.flying[ticket]
        return tickets

    def remove_all(self) -> list[int]:
        """Let all workers go; return the tickets that they had."""
        return [ticket for worker in list(self._tasks) for ticket in self.remove(worker)]

    def begin(self) -> None:
        """A new epoch: who still has tasks has stale ones."""
        self._behind = {worker for worker, tickets in self._tasks.items() if tickets}

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        assert self.flying == {ticket: worker for worker, tickets in self._tasks.items() for ticket in tickets}
        for worker, tickets in self._tasks.items():
            assert len(tickets) <= MOST_QUEUED
            assert not self.may_leave(worker), "a worker waits to be replaced"
        assert self.leaving <= self._tasks.keys()
        assert self._behind <= self._tasks.keys()
