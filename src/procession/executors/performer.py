"""Performs on an executor what delivery decides, and tells delivery what comes of it: one epoch after another."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from procession.config import Config
from procession.engine.actions import (
    MOST_SPAN,
    Action,
    Began,
    Discard,
    End,
    Joined,
    Raise,
    Reload,
    Replace,
    Skip,
    Submit,
    Wanted,
)
from procession.engine.arena import Slot
from procession.engine.delivery import Delivery
from procession.engine.patience import Patience
from procession.engine.ports import Assignment, Executor, InHand, Parked
from procession.engine.waker import Waker, interrupts
from procession.errors import EpochAbandonedError
from procession.events import Died, Done, Event, Held, NotStarted, TemplateDied
from procession.executors.processes import ProcessesExecutor
from procession.executors.serial import SerialExecutor
from procession.executors.threads import ThreadsExecutor
from procession.monitoring.stats import Counters
from procession.order.plan import Plan
from procession.order.rest import Rest

LOG = logging.getLogger("procession")

Outcome = Done | Raise | End


class Performer:
    """One executor, one delivery; after a failure in here it is closed, and another one made."""

    def __init__(
        self,
        config: Config,
        executor: Executor,
        waker: Waker,
        counters: Counters,
        *,
        delivery: Delivery | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`delivery` and `clock` are for simulations."""
        self._config = config
        self._executor = executor
        self._waker = waker
        self._counters = counters
        self._delivery = delivery or Delivery(config.prefetch, config.faults, ordered=config.ordered)
        self.passed = self._delivery.passed  # no method: each batch asks
        self._clock = clock
        self._patience = Patience(config.faults.timeout)
        self.plan: Plan | None = None  # what the tasks of this epoch belong to

    def rest(self) -> Rest:
        """What is left of the plan after all that has been delivered."""
        assert self.plan is not None
        return self.plan.after(*self.passed())

    def position_of(self, ticket: int) -> int:
        """The position of the present plan that a ticket is for."""
        assert self.plan is not None
        return self.plan.position(self._delivery.step_of(ticket))

    def begin(self, plan: Plan, source: Any, ahead: int | None) -> None:
        """Give out the tasks of `plan`; what was under way for another one is dropped when it arrives."""
        if self.plan is not None:
            self._handle(self._executor.wait(0))  # who died meanwhile, with nothing in hand, is replaced
        self.plan = plan
        most = self._config.workers
        workers = most if plan.steps is None else max(1, min(most, plan.steps))
        workers = min(workers, plan.parts) if plan.parts else workers
        joined = self._executor.begin(plan, source, workers)
        part = (lambda step: plan.part(plan.position(step))) if plan.parts else None
        span = max(1, MOST_SPAN - len(plan.rest.early))  # which the next saved state tells of too
        self._perform(self._delivery.handle(Began(plan.steps, ahead, part, span)))
        self._join(joined)

    def next(self, plan: Plan, check: Callable[[], None]) -> Outcome:
        """Wait for the next outcome of `plan`; `check` is called when woken, and may raise."""
        done = self._delivery.at_hand()
        if done is not None:
            return done
        start = time.perf_counter()
        try:
            return self._awaited(plan, check)
        finally:
            self._counters.wait_seconds += time.perf_counter() - start

    def _awaited(self, plan: Plan, check: Callable[[], None]) -> Outcome:
        if self._delivery.has_room(1):
            # What has arrived meanwhile, first: the next task should go to a worker that really is free.
            self._handle(self._executor.wait(0))
        outcome = self._perform(self._delivery.handle(Wanted()))
        if outcome is None:
            self._patience.begin(self._clock())
        while outcome is None:
            events = self._events(check)
            if self.plan is not plan:
                raise EpochAbandonedError(
                    "a signal handler has begun another epoch of this loader while a batch was awaited"
                )
            outcome = self._handle(events)
        return outcome

    def _events(self, check: Callable[[], None]) -> list[Event]:
        """Wait until something happens, or somebody has to be looked at."""
        with self._waker.watching():
            events = self._executor.wait(self._patience.seconds(self._hands(), self._clock()))
        if not events:
            check()
            return self._look_around()
        return events

    def settle(self, check: Callable[[], None]) -> None:
        """Wait until no worker has a task."""
        self._patience.begin(self._clock())
        while not self._delivery.idle():
            self._handle(self._events(check))

    def opened(self, parked: Parked) -> Any:
        """A delivered batch, as the consumer gets it."""
        counters = self._counters
        counters.batches += 1
        counters.bytes += parked.nbytes
        counters.placed += parked.placed
        counters.segments += type(parked.memory) is not Slot
        if parked.reasons:
            counters.pickled.update(parked.reasons)
        return self._executor.open(parked)

    def facts(self) -> dict[str, Any]:
        """What is known about the workers."""
        return self._executor.facts()

    def close(self) -> None:
        """End the executor."""
        self._executor.close()

    def check_signals(self) -> None:
        """After waking up: raise KeyboardInterrupt where Python itself could not."""
        signals = self._waker.drain()
        if interrupts(signals) and threading.current_thread() is not threading.main_thread():
            self._waker.noted = True
            raise KeyboardInterrupt

    def _handle(self, events: list[Event]) -> Outcome | None:
        if not events:
            return None
        for event in events:
            if isinstance(event, Done):
                self._counters.work_seconds += event.seconds
            elif isinstance(event, (Died, TemplateDied)):
                self._counters.deaths += 1
                LOG.warning("procession replaces a process: %s", event.describe())
            elif isinstance(event, NotStarted):
                LOG.warning("procession goes on with fewer workers, if there are any: %s", event.error)
        return self._perform(self._delivery.handle(*events))

    def _perform(self, actions: list[Action]) -> Outcome | None:
        """Do what delivery decided; return what is for the consumer."""
        assert self.plan is not None
        outcome: Outcome | None = None
        for action in actions:
            match action:
                case Submit(worker, tickets):
                    self._executor.submit(worker, self._assignments(tickets))
                case Discard(batch):
                    self._executor.discard(batch)
                case Skip(_, item, error):
                    self._counters.skip(self.plan.epoch, item, self.plan.name(item), error)
                case Replace(worker, dead):
                    self._counters.recycled += not dead
                    outcome = _either(self._join(self._executor.replace(worker)), outcome)
                case Reload():
                    outcome = _either(self._join(self._executor.reload()), outcome)
                case _:
                    outcome = action
        return outcome

    def _join(self, workers: list[int]) -> Outcome | None:
        return self._perform(self._delivery.handle(*map(Joined, workers)))

    def _assignments(self, tickets: tuple[int, ...]) -> list[Assignment]:
        assert self.plan is not None
        positions = self.plan.positions_of(map(self._delivery.step_of, tickets))
        fields = zip(tickets, positions, map(self._delivery.without, tickets), strict=True)
        return [tuple.__new__(Assignment, each) for each in fields]

    def _hands(self) -> list[InHand]:
        return [] if self._config.faults.timeout is None else self._executor.in_hand()

    def _look_around(self) -> list[Event]:
        """Nothing has come for a while: see who holds something, end who is overdue, or say what is waited for."""
        now = self._clock()
        held: list[Event] = [
            Held(hand.worker, hand.ticket) for hand in self._patience.held_up(self._executor.in_hand(), now)
        ]
        for hand in self._patience.overdue(self._hands(), now):
            self._executor.end_overdue(hand.worker)
        waited = self._patience.notice(now)
        if waited is not None:
            told = [self._told(hand, now) for hand in self._executor.in_hand()]
            LOG.warning(
                "The consumer has waited %.0f s for batch %d of epoch %d. %s",
                waited,
                self.rest().first if self.plan else -1,
                self.plan.epoch if self.plan else -1,
                "\n".join(told) or "No worker has a batch in hand: they are still starting, or unpickling the source.",
            )
        return held

    def _told(self, hand: InHand, now: float) -> str:
        item = self.plan.name(hand.item) if self.plan and hand.item >= 0 else "a batch as such"
        stack = self._executor.stack(hand.worker)
        return (
            f"{hand.who.capitalize()} has been at {item} for {now - hand.since:.0f} s; Faults(timeout=...) would end "
            f"it. Its Python stack:\n{stack or '  (it does not answer)'}"
        )


def _either(one: Outcome | None, other: Outcome | None) -> Outcome | None:
    return other if one is None else one  # not `or`: an End has no fields, and so is false


def make_executor(config: Config, waker: Waker, *, hooks: bool) -> Executor:
    """The executor that a loader was asked for; `hooks`: whether its source has epoch hooks."""
    match config.executor:
        case "serial":
            return SerialExecutor(config.faults)
        case "threads":
            return ThreadsExecutor(config.workers, config.faults, waker)
        case "processes":
            return ProcessesExecutor(config.workers, config.faults, waker, hooks=hooks)
