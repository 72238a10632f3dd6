"""Delivery: the pure state machine that decides who makes what, and what the consumer gets. No clock, no process.

    events in                              actions out
    Began     an epoch of n steps          Submit   give these tickets to that worker
    Wanted    the consumer asks            Deliver  the next batch, in order
    Joined    a worker is there            Raise    the next position failed
    Done / Failed                          End      the epoch is over
    Died / Lost                            Discard  nobody wants this batch any more
    (those four in events.py)              Restart  start that worker again

A ticket's life:   waiting ─► flying ─► ready ─► delivered            one ticket for each step of each epoch,
                      ▲          │ └──► stale ─► discarded            counted over the loader's whole life
                      └──────────┘        (its epoch was abandoned)
                   its worker died over another one
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from procession.events import Died, Done, Event, Failed, Lost

MESSAGE_SECONDS = 2e-3  # work worth a message of its own: shorter tasks are sent several at a time
MOST_CHUNK = 16  # more no longer pays: 16 and 32 measured within 3 % of it
MOST_RESTARTS = 10  # of workers in an epoch: more are no accident
MOST_QUEUED = 64  # tasks a worker may have waiting: their messages must fit its socket's buffer


class Began(NamedTuple):
    """A new epoch of `steps` tasks (None: endless); what is left of the one before is stale.

    Tasks at or beyond step `ahead` are not submitted before the consumer asks for them: the source may change there.
    """

    steps: int | None
    ahead: int | None = None


class Wanted(NamedTuple):
    """The consumer asks for the next batch. Not asked again before it is answered."""


class Joined(NamedTuple):
    """A worker can take tasks."""

    worker: int


class Submit(NamedTuple):
    worker: int
    tickets: tuple[int, ...]


class Deliver(NamedTuple):
    ticket: int
    batch: Any


class Raise(NamedTuple):
    ticket: int
    error: BaseException


class End(NamedTuple):
    pass


class Discard(NamedTuple):
    batch: Any


class Restart(NamedTuple):
    worker: int


Action = Submit | Deliver | Raise | End | Discard | Restart


class Delivery:
    """Events in, actions out, through `handle`."""

    def __init__(self, prefetch: int | None) -> None:
        self._prefetch = prefetch  # None: two messages' worth for each worker
        self._chunk = 1  # tasks in a message
        self._depth = prefetch or 2  # batches ready or under way; with _chunk, see _resize
        self._seconds = MESSAGE_SECONDS  # what a task takes, smoothed
        self._steps: int | None = 0
        self._ahead: int | None = None
        self._first = 0  # ticket of the present epoch's first step
        # Invariant: _first <= _next <= _unsubmitted; tickets of this epoch in [_next, _unsubmitted) are each in exactly
        # one of _flying, _ready and _again; tickets below _first are stale and only in _flying.
        self._next = 0  # the ticket the consumer gets next
        self._unsubmitted = 0  # the first ticket no worker has been given
        self._flying: dict[int, int] = {}  # ticket → worker
        self._ready: dict[int, Done | Failed] = {}
        self._again: list[int] = []  # lost with a worker that died over another ticket, to be given out again
        self._tasks: dict[int, set[int]] = {}  # worker → its flying tickets, stale ones included
        # Workers with stale tasks. They get no others: one stuck in an epoch that nobody reads must not stop the next.
        self._behind: set[int] = set()
        self._restarts = 0  # in this epoch
        self._lost: BaseException | None = None  # why no worker can be had in this epoch
        self._wanted = False  # Invariant: if true, _next is not in _ready

    def handle(self, event: Event | Began | Wanted | Joined) -> list[Action]:
        """Take one event; return what is to be done, in order."""
        actions: list[Action] = []
        match event:
            case Done() | Failed():
                self._finished(event, actions)
            case Wanted():
                self._wanted = True
            case Began():
                self._began(event, actions)
            case Joined(worker):
                self._tasks.setdefault(worker, set())
                self._resize()
            case Died():
                self._died(event, actions)
            case Lost(error):
                self._give_up(error)
        if self._wanted:
            self._answer(actions)
        if self.has_room():
            self._submit(actions)
        return actions

    def has_room(self, asked: int = 0) -> bool:
        """Whether another message of tasks would go out now, or after `asked` more batches have been asked for."""
        ahead = self._unsubmitted - self._next - asked
        return ahead + self._chunk <= self._depth or ahead <= 0 or bool(self._again)

    @property
    def step(self) -> int:
        """The step of this epoch that the consumer gets next."""
        return self._next - self._first

    @property
    def depth(self) -> int:
        """How many batches may be ready or under way."""
        return self._depth

    def step_of(self, ticket: int) -> int:
        """The step of the present epoch that a ticket is for; negative for a stale one."""
        return ticket - self._first

    def idle(self) -> bool:
        """Whether no worker has a task."""
        return not self._flying

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold; for tests."""
        assert self._first <= self._next <= self._unsubmitted
        for ticket in range(self._next, self._unsubmitted):
            places = (ticket in self._flying) + (ticket in self._ready) + self._again.count(ticket)
            assert places == 1, f"ticket {ticket} is in {places} places"
        assert all(ticket >= self._next for ticket in self._ready), "a delivered batch is still ready"
        assert not any(self._first <= ticket < self._next for ticket in self._flying), "a delivered ticket is flying"
        for worker, tickets in self._tasks.items():
            assert all(self._flying.get(ticket) == worker for ticket in tickets)
            assert len(tickets) <= MOST_QUEUED
        assert sum(map(len, self._tasks.values())) == len(self._flying)
        assert not (self._wanted and self._next in self._ready), "the consumer waits for what is ready"
        assert self._steps is None or self._unsubmitted - self._first <= self._steps

    def _began(self, event: Began, actions: list[Action]) -> None:
        actions.extend(Discard(done.batch) for done in self._ready.values() if isinstance(done, Done))
        self._ready.clear()
        self._again.clear()
        self._restarts, self._lost = 0, None
        self._first = self._next = self._unsubmitted
        self._behind = {worker for worker, tickets in self._tasks.items() if tickets}
        self._steps, self._ahead, self._wanted = event.steps, event.ahead, False

    def _finished(self, event: Done | Failed, actions: list[Action]) -> None:
        expected = self._flying.get(event.ticket) == event.worker  # else told twice, or by a worker declared dead
        if expected:
            del self._flying[event.ticket]
            self._tasks[event.worker].discard(event.ticket)
            if not self._tasks[event.worker]:
                self._behind.discard(event.worker)
        if expected and event.ticket >= self._next:
            self._ready[event.ticket] = event
        elif isinstance(event, Done):
            actions.append(Discard(event.batch))
        if isinstance(event, Done):
            self._seconds += 0.1 * (event.seconds - self._seconds)
            if event.ticket % MOST_CHUNK == 0:
                self._resize()

    def _died(self, event: Died, actions: list[Action]) -> None:
        """Blame the task it had in hand, give the others out again, and have it replaced."""
        for ticket in self._taken_from(event.worker):
            if ticket == event.ticket:
                self._ready[ticket] = Failed(event.worker, ticket, event.describe(self.step_of(ticket)))
            else:
                self._again.append(ticket)
        self._again.sort()
        self._restarts += 1
        if self._restarts <= MOST_RESTARTS:
            actions.append(Restart(event.worker))
        elif not self._tasks:
            self._give_up(event.describe(None))

    def _give_up(self, error: BaseException) -> None:
        """No worker can be had: whatever is not ready fails with `error`."""
        self._lost = error
        for worker in list(self._tasks):
            self._again.extend(self._taken_from(worker))
        for ticket in self._again:
            self._ready[ticket] = Failed(-1, ticket, error)
        self._again.clear()

    def _taken_from(self, worker: int) -> list[int]:
        """Let a worker go; return the tickets of this epoch that it had."""
        tickets = sorted(self._tasks.pop(worker, ()))
        self._behind.discard(worker)
        for ticket in tickets:
            del self._flying[ticket]
        self._resize()
        return [ticket for ticket in tickets if ticket >= self._next]

    def _answer(self, actions: list[Action]) -> None:
        outcome = self._ready.pop(self._next, None)
        if outcome is not None:
            self._wanted = False
            self._next += 1
            if isinstance(outcome, Done):
                actions.append(Deliver(outcome.ticket, outcome.batch))
            else:
                actions.append(Raise(outcome.ticket, outcome.error))
        elif self._steps is not None and self.step >= self._steps:
            self._wanted = False
            actions.append(End())
        elif self._lost is not None:
            self._wanted = False
            actions.append(Raise(self._next, self._lost))

    def _submit(self, actions: list[Action]) -> None:
        """Give out tasks, a message's worth at a time, each to the worker with the fewest; lost ones first."""
        given: dict[int, list[int]] = {}
        while free := [worker for worker in self._tasks if worker not in self._behind]:
            worker = min(free, key=lambda w: len(self._tasks[w]))
            # No more than its share: one that is slow must not collect what others could do.
            share = min(MOST_QUEUED, max(self._chunk, -(-self._depth // len(self._tasks))))
            tickets = self._next_tickets(share - len(self._tasks[worker]))
            if not tickets:
                break
            self._tasks[worker].update(tickets)
            self._flying.update(dict.fromkeys(tickets, worker))
            given.setdefault(worker, []).extend(tickets)
        actions.extend(Submit(worker, tuple(tickets)) for worker, tickets in given.items())

    def _next_tickets(self, most: int) -> list[int]:
        """Take a message's worth of tickets to give out, at most `most`."""
        if self._again and most > 0:
            tickets, self._again = self._again[: min(most, self._chunk)], self._again[min(most, self._chunk) :]
            return tickets
        count = int(min(self._chunk, self._left()))
        if count <= 0 or count > most or self._unsubmitted - self._next + count > self._depth:
            return []
        self._unsubmitted += count
        return list(range(self._unsubmitted - count, self._unsubmitted))

    def _left(self) -> float:
        """Tasks of this epoch that may be submitted now."""
        bound = math.inf if self._steps is None else self._steps
        if self._ahead is not None:
            bound = min(bound, max(self._ahead, self.step + self._wanted))
        return bound - (self._unsubmitted - self._first)

    def _resize(self) -> None:
        """Find how many tasks a message should carry, and how far ahead to work, from what a task takes."""
        workers = max(1, len(self._tasks))
        chunk = min(MOST_CHUNK, max(1, int(MESSAGE_SECONDS / max(self._seconds, 1e-9))))
        if self._prefetch is not None:  # at least two messages for each worker must fit into what was asked for
            chunk = min(chunk, max(1, self._prefetch // (2 * workers)))
        self._chunk = 1 << (chunk.bit_length() - 1)
        self._depth = self._prefetch or 2 * workers * self._chunk
