"""Delivery: the pure state machine that decides who makes what, and what the consumer gets. No clock, no process.

    events in                              actions out
    Began     an epoch of n steps          Submit   give these tickets to that worker
    Wanted    the consumer asks            Done     the next batch, in order, is the consumer's
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

from collections.abc import Sequence
from typing import Any

from procession.config import Faults
from procession.engine.actions import (
    Action,
    Began,
    Discard,
    End,
    Joined,
    Raise,
    Refused,
    Reload,
    Replace,
    Skip,
    Skipped,
    Wanted,
)
from procession.engine.handout import Handout
from procession.engine.judge import Judge, Verdict, exhausted
from procession.engine.pace import MOST_CHUNK, Pace
from procession.engine.roster import Roster
from procession.events import Died, Done, Event, Failed, Held, Lost, NotStarted, Outgrown, TemplateDied


class Delivery:
    """Events in, actions out, through `handle`."""

    def __init__(self, prefetch: int | None, faults: Faults, *, ordered: bool = True) -> None:
        self._faults = faults
        self._ordered = ordered
        self._judge = Judge(faults)
        self._pace = Pace(prefetch)
        self._roster = Roster(faults.recycle_after)
        self._handout = Handout(self._roster, self._pace)
        self._first = 0  # ticket of the present epoch's first step
        # Invariant: _first <= _next <= unsubmitted; tickets in [_next, unsubmitted) are each in exactly one of _ready,
        # _early, the handout's `again` and the roster; tickets below _first are stale and only in the roster.
        self._next = 0  # the first ticket the consumer has not been given
        self._early: set[int] = set()  # those it was given before their turn; empty if ordered. _next is not in it
        self._ready: dict[int, Done | Refused | Skipped] = {}  # in the order in which they arrived
        self._without: dict[int, tuple[int, ...]] = {}  # ticket → items to leave out
        self._coming = 0  # workers that are to be replaced, and have not joined yet
        self._restarts = 0  # in this epoch, because somebody died
        self._failed_loads = 0  # templates in a row that died while they loaded the source
        self._lost: BaseException | None = None  # why no more tasks are given out in this epoch
        self._wanted = False  # Invariant: if true, what the consumer gets next is not in _ready
        self._refill_at = 0  # the handout's, as it was after the last event: each batch asks for it

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
                case Held(worker, ticket):
                    if ticket != self._next and self._roster.flying.get(self._next) == worker and not self._lost:
                        self._give_back(self._roster.take_back(worker, ticket))
                case _:
                    self._went_wrong(event, actions)
        if self._wanted:
            self._answer(actions)
        self._refill_at = self._handout.refill_at()
        if self.has_room() and self._lost is None:
            actions.extend(self._handout.give_out(self._next, self._taken, self._wanted, self._coming > 0))
            self._refill_at = self._handout.refill_at()
        return actions

    def at_hand(self) -> Done | None:
        """The next batch if it is there, and taking it leaves nothing else to do: the short way for `Wanted`."""
        due = self._next if self._ordered else next(iter(self._ready), self._next)
        done = self._ready.get(due)
        if type(done) is not Done or self.has_room(1):
            return None
        del self._ready[due]
        self._pass(due)
        return done

    def has_room(self, asked: int = 0) -> bool:
        """Whether another message of tasks would go out now, or after `asked` more batches have been asked for."""
        return self._next + len(self._early) + asked >= self._refill_at

    def passed(self) -> tuple[int, Sequence[int]]:
        """The steps of this epoch that are behind the consumer: how many from its beginning, and which besides."""
        early = sorted(ticket - self._first for ticket in self._early) if self._early else ()
        return self._next - self._first, early

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
        flying, again, unsubmitted = self._roster.flying, self._handout.again, self._handout.unsubmitted
        self._roster.validate()
        assert self._first <= self._next <= unsubmitted
        current = [ticket for ticket in flying if ticket >= self._first]
        places = sorted([*current, *self._ready, *again, *self._early])
        assert places == list(range(self._next, unsubmitted)), f"not each in one place, or delivered: {places}"
        assert all(ticket > self._next for ticket in self._early), "a ticket's turn has come, and it counts as early"
        assert not (self._ordered and self._early), "delivered out of order"
        assert not (self._wanted and self._due() is not None), "the consumer waits for what is ready"
        assert not (self._lost and again), "somebody waits for workers that will not come"
        assert self._handout.steps is None or unsubmitted - self._first <= self._handout.steps

    @property
    def _taken(self) -> int:
        """How many tickets the consumer has been given in all."""
        return self._next + len(self._early)

    def _open(self, ticket: int) -> bool:
        """Whether the consumer is still to get a ticket."""
        return ticket >= self._next and ticket not in self._early

    def _due(self) -> int | None:
        """The ticket that the consumer gets next, if that is ready."""
        if self._ordered:
            return self._next if self._next in self._ready else None
        return next(iter(self._ready), None)

    def _pass(self, ticket: int) -> None:
        """The consumer has been given a ticket."""
        if not self._early and ticket == self._next:
            self._next += 1
            return
        self._early.add(ticket)
        while self._next in self._early:
            self._early.remove(self._next)
            self._next += 1

    def _began(self, event: Began, actions: list[Action]) -> None:
        actions.extend(Discard(done.batch) for done in self._ready.values() if isinstance(done, Done))
        self._ready.clear()
        self._early.clear()
        self._without.clear()
        self._judge.begin()
        self._roster.begin()
        self._handout.begin(event)
        self._restarts, self._failed_loads, self._lost = 0, 0, None
        self._first = self._next = self._handout.unsubmitted
        self._wanted = False

    def _done(self, event: Done, actions: list[Action]) -> None:
        worker, ticket, batch, seconds = event
        expected = self._landed(worker, ticket, actions)  # else told twice, or by one declared dead
        if expected and ticket >= self._next and ticket not in self._early:
            self._ready[ticket] = event
        else:
            actions.append(Discard(batch))
        self._pace.observe(seconds)
        if ticket % MOST_CHUNK == 0:
            self._pace.resize(len(self._roster))

    def _landed(self, worker: int, ticket: int, actions: list[Action]) -> bool:
        if self._failed_loads and worker in self._roster:
            self._failed_loads = 0  # somebody has got so far as to answer, be it too late
        landed = self._roster.land(worker, ticket)
        if landed and self._roster.leaving:
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
                if self._landed(worker, ticket, actions) and self._open(ticket):
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
            self._ready.update((ticket, Refused(self._lost)) for ticket in self._handout.again)
            self._handout.again.clear()
        self._pace.resize(len(self._roster))

    def _give_back(self, tickets: list[int]) -> None:
        """Have tasks of this epoch given out again."""
        self._handout.give_back([ticket for ticket in tickets if self._open(ticket)])

    def _died(self, event: Died, actions: list[Action]) -> None:
        """Have the worker replaced, and its tasks made again; the one it had in hand is looked at."""
        if event.worker not in self._roster:  # it had been let go
            return
        lost = self._roster.remove(event.worker)
        self._give_back([ticket for ticket in lost if ticket != event.ticket])
        if event.ticket in lost and self._open(event.ticket):
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
        while (due := self._due()) is not None:
            outcome = self._ready.pop(due)
            self._pass(due)
            if isinstance(outcome, Skipped):
                continue
            self._wanted = False
            if isinstance(outcome, Done):
                actions.append(outcome)
            else:
                actions.append(Raise(due, outcome.error))
            return
        if self._handout.steps is not None and self._next - self._first >= self._handout.steps:
            self._wanted = False
            actions.append(End())
        elif self._lost is not None and not self._awaited():
            self._wanted = False
            actions.append(Raise(self._next, self._lost))

    def _awaited(self) -> bool:
        """Whether what the consumer waits for is being made."""
        flying = self._roster.flying
        return self._next in flying if self._ordered else any(ticket >= self._first for ticket in flying)
