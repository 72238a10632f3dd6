"""Delivery: the pure state machine that decides who makes what, and what the consumer gets. No clock, no process.

    events in                              actions out
    Began     an epoch of n steps          Submit   give these tickets to that worker
    Wanted    the consumer asks            Deliver  the next batch, in order
    Joined    a worker is there            Raise    the next position failed
    Done / Failed                          End      the epoch is over
    Died / Lost / ...                      Discard  nobody wants this batch any more
    (those in events.py)                   Skip     that item is left out
                                           Replace  start that worker again
                                           Reload   start a template again, and all workers

A ticket's life:   waiting ─► flying ─► ready ─► delivered            one ticket for each step of each epoch,
                      ▲          │ └──► stale ─► discarded            counted over the loader's whole life
                      └──────────┘        (its epoch was abandoned)
                   its worker died, or an item of it is to be made again, or to be left out
"""

from __future__ import annotations

import math
from typing import Any

from procession.config import Faults
from procession.engine.actions import (
    Action,
    Began,
    Deliver,
    Discard,
    End,
    Joined,
    Raise,
    Refused,
    Reload,
    Replace,
    Skip,
    Skipped,
    Submit,
    Wanted,
)
from procession.engine.judge import Judge, Verdict, exhausted
from procession.engine.pace import MOST_CHUNK, Pace
from procession.engine.roster import Roster
from procession.events import Died, Done, Event, Failed, Lost, NotStarted, Outgrown, TemplateDied


class Delivery:
    """Events in, actions out, through `handle`."""

    def __init__(self, prefetch: int | None, faults: Faults) -> None:
        self._faults = faults
        self._judge = Judge(faults)
        self._pace = Pace(prefetch)
        self._roster = Roster(faults.recycle_after)
        self._steps: int | None = 0
        self._ahead: int | None = None
        self._first = 0  # ticket of the present epoch's first step
        # Invariant: _first <= _next <= _unsubmitted; tickets of this epoch in [_next, _unsubmitted) are each in exactly
        # one of _ready, _again and the roster; tickets below _first are stale and only in the roster.
        self._next = 0  # the ticket the consumer gets next
        self._unsubmitted = 0  # the first ticket no worker has been given
        self._ready: dict[int, Done | Refused | Skipped] = {}
        self._again: list[int] = []  # to be given out once more, before others; sorted
        self._without: dict[int, tuple[int, ...]] = {}  # ticket → items to leave out
        self._coming = 0  # workers that are to be replaced, and have not joined yet
        self._restarts = 0  # in this epoch, because somebody died
        self._failed_loads = 0  # templates in a row that died while they loaded the source
        self._lost: BaseException | None = None  # why no more tasks are given out in this epoch
        self._wanted = False  # Invariant: if true, _next is not in _ready

    def handle(self, *events: Event | Began | Wanted | Joined) -> list[Action]:
        """Take events, in order; return what is to be done, in order."""
        actions: list[Action] = []
        for event in events:
            match event:
                case Done():
                    self._done(event, actions)
                case Wanted():
                    self._wanted = True
                case Began():
                    self._began(event, actions)
                case Joined(worker):
                    self._roster.join(worker)
                    self._coming = max(0, self._coming - 1)
                    self._pace.resize(len(self._roster))
                case _:
                    self._went_wrong(event, actions)
        if self._wanted:
            self._answer(actions)
        if self.has_room():
            self._submit(actions)
        return actions

    def at_hand(self) -> Done | None:
        """The next batch if it is there, and taking it leaves nothing else to do: the short way for `Wanted`."""
        done = self._ready.get(self._next)
        if type(done) is not Done or self.has_room(1):
            return None
        del self._ready[self._next]
        self._next += 1
        return done

    def has_room(self, asked: int = 0) -> bool:
        """Whether another message of tasks would go out now, or after `asked` more batches have been asked for."""
        ahead = self._unsubmitted - self._next - asked
        return ahead + self._pace.chunk <= self._pace.depth or ahead <= 0 or bool(self._again)

    @property
    def step(self) -> int:
        """The step of this epoch that the consumer gets next."""
        return self._next - self._first

    @property
    def depth(self) -> int:
        """How many batches may be ready or under way."""
        return self._pace.depth

    def without(self, ticket: int) -> tuple[int, ...]:
        """The items to leave out of a task's batch."""
        return self._without.get(ticket, ())

    def step_of(self, ticket: int) -> int:
        """The step of the present epoch that a ticket is for; negative for a stale one."""
        return ticket - self._first

    def idle(self) -> bool:
        """Whether no worker has a task."""
        return not self._roster.flying

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold; for tests."""
        flying = self._roster.flying
        self._roster.validate()
        assert self._first <= self._next <= self._unsubmitted
        for ticket in range(self._next, self._unsubmitted):
            places = (ticket in flying) + (ticket in self._ready) + self._again.count(ticket)
            assert places == 1, f"ticket {ticket} is in {places} places"
        assert all(ticket >= self._next for ticket in self._ready), "a delivered batch is still ready"
        assert not any(self._first <= ticket < self._next for ticket in flying), "a delivered ticket is flying"
        assert not (self._wanted and self._next in self._ready), "the consumer waits for what is ready"
        assert not (self._lost and self._again), "somebody waits for workers that will not come"
        assert self._steps is None or self._unsubmitted - self._first <= self._steps

    def _began(self, event: Began, actions: list[Action]) -> None:
        actions.extend(Discard(done.batch) for done in self._ready.values() if isinstance(done, Done))
        self._ready.clear()
        self._again.clear()
        self._without.clear()
        self._judge.begin()
        self._roster.begin()
        self._restarts, self._failed_loads, self._lost = 0, 0, None
        self._first = self._next = self._unsubmitted
        self._steps, self._ahead, self._wanted = event.steps, event.ahead, False

    def _done(self, event: Done, actions: list[Action]) -> None:
        expected = self._landed(event.worker, event.ticket, actions)  # else told twice, or by one declared dead
        if expected and event.ticket >= self._next:
            self._ready[event.ticket] = event
        else:
            actions.append(Discard(event.batch))
        self._pace.observe(event.seconds)
        if event.ticket % MOST_CHUNK == 0:
            self._pace.resize(len(self._roster))

    def _landed(self, worker: int, ticket: int, actions: list[Action]) -> bool:
        landed = self._roster.land(worker, ticket)
        if landed:
            self._failed_loads = 0  # somebody has got so far as to answer
            self._let_go(worker, actions)
        return landed

    def _let_go(self, worker: int, actions: list[Action]) -> None:
        if self._roster.may_leave(worker):
            self._roster.remove(worker)
            self._replace(worker, actions, dead=False)

    def _replace(self, worker: int, actions: list[Action], *, dead: bool) -> None:
        self._coming += 1
        actions.append(Replace(worker, dead))

    def _went_wrong(self, event: Any, actions: list[Action]) -> None:
        match event:
            case Failed(worker, ticket, failures, left):
                if self._landed(worker, ticket, actions) and ticket >= self._next:
                    verdicts = [self._judge.on_exception(ticket, *failure) for failure in failures]
                    self._settle(ticket, verdicts, left, actions)
            case Died():
                self._died(event, actions)
            case Outgrown(worker) if worker in self._roster:
                self._roster.retire(worker)
                self._let_go(worker, actions)
            case NotStarted(worker, error):
                self._give_back(self._roster.remove(worker))
                if not len(self._roster) and not self._coming:
                    self._lost = self._lost or error
            case TemplateDied():
                self._template_died(event, actions)
            case Lost(error):
                self._give_back(self._roster.remove_all())
                self._lost = self._lost or error
        if self._lost is not None:
            self._ready.update((ticket, Refused(self._lost)) for ticket in self._again)
            self._again.clear()
        self._pace.resize(len(self._roster))

    def _give_back(self, tickets: list[int]) -> None:
        """Have tasks of this epoch given out again."""
        self._again = sorted([*self._again, *(ticket for ticket in tickets if ticket >= self._next)])

    def _died(self, event: Died, actions: list[Action]) -> None:
        """Have the worker replaced, and its tasks made again; the one it had in hand is looked at."""
        if event.worker not in self._roster:  # it had been let go
            return
        lost = self._roster.remove(event.worker)
        self._give_back([ticket for ticket in lost if ticket != event.ticket])
        if event.ticket in lost and event.ticket >= self._next:
            verdict = self._judge.on_death(event.ticket, event.item, event.describe)
            self._settle(event.ticket, [verdict], event.left, actions)
        self._restarts += 1
        if self._restarts <= self._faults.max_restarts:
            self._replace(event.worker, actions, dead=True)
        elif self._lost is None:
            self._lost = exhausted(event.describe(), self._restarts, self._faults.max_restarts)

    def _template_died(self, event: TemplateDied, actions: list[Action]) -> None:
        self._give_back(self._roster.remove_all())
        self._coming = 0
        self._restarts += 1
        self._failed_loads += not event.loaded
        if self._failed_loads > self._faults.retries:
            self._lost = event.describe()
        elif self._restarts > self._faults.max_restarts:
            self._lost = exhausted(event.describe(), self._restarts, self._faults.max_restarts)
        else:
            actions.append(Reload())

    def _settle(self, ticket: int, verdicts: list[Verdict], left: int, actions: list[Action]) -> None:
        """Do with a failed task what was decided over its items."""
        refused = next((verdict for verdict in verdicts if verdict.answer == "raise"), None)
        if refused is not None:
            self._ready[ticket] = Refused(refused.error)
            return
        skipped = [verdict for verdict in verdicts if verdict.answer == "skip"]
        actions.extend(Skip(ticket, verdict.item, verdict.error) for verdict in skipped)
        if left == 0 and len(skipped) == len(verdicts):
            self._ready[ticket] = Skipped()
            return
        self._without[ticket] = (*self.without(ticket), *(verdict.item for verdict in skipped))
        self._give_back([ticket])

    def _answer(self, actions: list[Action]) -> None:
        while isinstance(outcome := self._ready.pop(self._next, None), Skipped):
            self._next += 1
        if outcome is not None:
            self._wanted = False
            self._next += 1
            if isinstance(outcome, Done):
                actions.append(Deliver(outcome.ticket, outcome.batch))
            else:
                actions.append(Raise(self._next - 1, outcome.error))
        elif self._steps is not None and self.step >= self._steps:
            self._wanted = False
            actions.append(End())
        elif self._lost is not None and self._next not in self._roster.flying:
            self._wanted = False
            actions.append(Raise(self._next, self._lost))

    def _submit(self, actions: list[Action]) -> None:
        """Give out tasks, a message's worth at a time, each to the worker with the fewest; lost ones first."""
        given: dict[int, list[int]] = {}
        # No more than its share: one that is slow must not collect what others could do.
        share = max(self._pace.chunk, -(-self._pace.depth // max(1, len(self._roster))))
        while self._lost is None and (free := self._roster.freest(share)) is not None:
            worker, room = free
            tickets = self._next_tickets(min(self._pace.chunk, self._roster.life(worker)), room)
            if not tickets:
                break
            self._roster.give(worker, tickets)
            given.setdefault(worker, []).extend(tickets)
        actions.extend(Submit(worker, tuple(tickets)) for worker, tickets in given.items())

    def _next_tickets(self, chunk: int, room: int) -> list[int]:
        """Take a message's worth of tickets to give out."""
        if self._again and room > 0:
            count = min(room, chunk)
            tickets, self._again = self._again[:count], self._again[count:]
            return tickets
        count = int(min(chunk, self._left()))
        if count <= 0 or count > room or self._unsubmitted - self._next + count > self._pace.depth:
            return []
        self._unsubmitted += count
        return list(range(self._unsubmitted - count, self._unsubmitted))

    def _left(self) -> float:
        """Tasks of this epoch that may be submitted now."""
        bound = math.inf if self._steps is None else self._steps
        if self._ahead is not None:
            bound = min(bound, max(self._ahead, self.step + self._wanted))
        return bound - (self._unsubmitted - self._first)
