"""Performer, delivery and patience against a scripted executor and its clock, in hundreds of thousands of schedules."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procession.config import Config, Faults
from procession.engine.actions import Action, Began, Discard, End, Joined, Raise, Replace, Submit
from procession.engine.delivery import Delivery
from procession.engine.judge import Judge
from procession.events import Died, Done, Failed, Held
from procession.executors.performer import Performer
from procession.monitoring.stats import Counters
from procession.order.batches import Batches
from procession.order.interleave import Interleaved
from procession.order.plan import Plan
from procession.testing.book import Batch
from procession.testing.dice import Dice
from procession.testing.scripted import ScriptedExecutor
from tests.conftest import SIMULATION_SEED

SCHEDULES = 200_000
CHUNKS = 16  # for several pytest workers
MOST_OUTCOMES = 60  # that a consumer asks for in one epoch
SEED = int(os.environ[SIMULATION_SEED])  # another with each change to the engine, unless it is set outside


Maker = Callable[[int | None, Faults, bool], Delivery]


class Checked(Delivery):
    """Looks at its own invariants after each event."""

    def __init__(self, prefetch: int | None, faults: Faults, ordered: bool) -> None:
        super().__init__(prefetch, faults, ordered=ordered)

    def handle(self, *events: Any) -> list[Action]:
        actions = super().handle(*events)
        self.validate()
        return actions


def options(dice: Dice) -> Config:
    """Choose what the loader is asked for."""
    faults = Faults(
        on_error=("raise", "skip", "retry")[dice.roll(3)],
        retries=(2, 0, 1)[dice.roll(3)],
        timeout=(None, 5.0)[dice.roll(2)],
        max_restarts=(1000, 10, 2, 0)[dice.roll(4)],
        recycle_after=(None, 1, 3)[dice.roll(3)],
    )
    size = (None, 1, 3)[dice.roll(3)]
    prefetch = (None, 1, 2, 5, 30)[dice.roll(5)]
    ordered = dice.roll(4) != 1
    return Config(size, False, None, 0, True, None, ordered, "processes", 1 + dice.roll(4), prefetch, faults)


class Left:
    """The positions that the consumer has not been told of."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._told: set[int] = set()
        self._first = 0  # of what is left, counted from the beginning of that
        self._end = None if plan.positions is None else plan.rest.count(plan.positions)

    def ahead(self) -> Iterator[int]:
        """All of them, in order."""
        for number in itertools.count(self._first) if self._end is None else range(self._first, self._end):
            position = self.plan.rest.position(number)
            if position not in self._told:
                yield position

    def has(self, position: int) -> bool:
        """Whether it is one of them."""
        rest, end = self.plan.rest, self.plan.positions
        before = position < rest.first or position in rest.early or position in self._told
        return not before and (end is None or position < end)

    def done(self, position: int) -> None:
        """One has been told of."""
        self._told.add(position)
        while self.plan.rest.position(self._first) in self._told:
            self._first += 1


class Consumer:
    """Reads epoch after epoch, and checks what it gets against the executor's book."""

    def __init__(self, numbers: list[int], make: Maker) -> None:
        self.dice = Dice(numbers)
        self.config = options(self.dice)
        self.make = make
        self.open()

    def open(self) -> None:
        """Begin from nothing, as after an error in the loader."""
        config = self.config
        self.executor = ScriptedExecutor(self.dice, config.faults, config.prefetch)
        delivery = self.make(config.prefetch, config.faults, config.ordered)
        executor: Any = self.executor
        self.performer = Performer(
            config, executor, WAKER, Counters(), delivery=delivery, clock=lambda: self.executor.now
        )

    def play(self) -> None:
        """Read some epochs; each to its end, or to where it is abandoned or the loader closed."""
        for epoch in range(1 + self.dice.roll(3)):
            length = None if self.dice.roll(10) == 1 else 1 + self.dice.roll(12) * (self.config.batch_size or 1)
            plan: Plan | None = Plan(self.order(length, epoch))
            while plan is not None:
                plan = self.read(plan)
        assert self.drained(), "a batch is neither delivered nor given back"

    def order(self, length: int | None, epoch: int) -> Batches | Interleaved:
        """The batches of one source, or, each third time, of several partitions."""
        whole = Batches(length, self.config.batch_size, epoch=epoch)
        if self.dice.roll(3) != 1:
            return whole
        parts = tuple(whole._replace(length=length and length + part) for part in range(1 + self.dice.roll(4)))
        return Interleaved(parts, (1.0,) * len(parts), "all")

    def read(self, plan: Plan) -> Plan | None:
        """Read an epoch; return how it is to be resumed, if it is."""
        ahead = None if self.dice.roll(4) else self.dice.roll(6)
        self.performer.begin(plan, None, ahead)
        left = Left(plan)
        for _ in range(MOST_OUTCOMES):
            if self.dice.roll(40) == 1:
                return None  # abandoned
            if self.dice.roll(60) == 1:
                rest = self.performer.rest()
                self.performer.close()
                self.open()
                return plan._replace(probes=(), rest=rest)
            outcome: Any = self.performer.next(plan, lambda: None)
            self.check(left, outcome)
            if isinstance(outcome, End) or (isinstance(outcome, Raise) and self.executor.book.lost):
                return None
        return None

    def check(self, left: Left, outcome: Any) -> None:
        """Raise AssertionError unless the outcome is a right one."""
        book, plan = self.executor.book, left.plan
        if isinstance(outcome, End):
            assert all(self.left_out(plan, position) for position in left.ahead()), "ended before the end"
            return
        assert isinstance(outcome, (Raise, Done))
        position = self.performer.position_of(outcome.ticket)
        if self.config.ordered:
            due = next((due for due in left.ahead() if not self.left_out(plan, due)), None)
            assert position == due, "out of order, lost or delivered twice, or more than the epoch has"
        assert left.has(position), "told twice, or more than the epoch has"
        if isinstance(outcome, Raise):
            assert book.refused(position) or book.lost, "raised where a batch could be made"
            left.done(position)
            return
        batch = self.performer.opened(outcome.batch)
        assert isinstance(batch, Batch)
        assert (batch.epoch, batch.position) == (plan.epoch, position), "another batch than was said"
        kept = tuple(item for item in plan.items(position) if item not in book.skipped(position))
        assert batch.items == kept, "left out what was good, or kept what was bad"
        left.done(position)

    def left_out(self, plan: Plan, position: int) -> bool:
        """Whether nothing is left of a batch."""
        return set(plan.items(position)) == self.executor.book.skipped(position)

    def drained(self) -> bool:
        """Begin an epoch that nobody reads: whatever was ready is given back, and what flies as it lands."""
        last = Plan(Batches(1, epoch=99))
        self.performer.begin(last, None, None)
        self.dice = self.executor.dice = Dice(())
        for _ in range(500):
            outcome: Any = self.performer.next(last, lambda: None)
            if isinstance(outcome, Done):
                self.performer.opened(outcome.batch)
            if isinstance(outcome, End) or (isinstance(outcome, Raise) and self.executor.book.lost):
                break
        self.performer.settle(lambda: None)
        assert not any(self.executor.queued()), "a worker has tasks that delivery knows nothing of"
        return not self.executor.tokens


class NoWaker:
    """Nobody wakes a simulation."""

    def watching(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


WAKER: Any = NoWaker()


def play(numbers: list[int], make: Maker = Checked) -> ScriptedExecutor:
    consumer = Consumer(numbers, make)
    consumer.play()
    return consumer.executor


def drawn(seed: str, count: int) -> Iterator[list[int]]:
    """Draw schedules."""
    dice = random.Random(seed)
    for _ in range(count):
        yield [dice.getrandbits(16) for _ in range(dice.randrange(5, 80))]


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Deaths are logged as warnings; here there are a million of them."""
    logger = logging.getLogger("procession")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_schedule_breaks_it(chunk: int, record_property: Callable[[str, object], None]) -> None:
    seed = f"{SEED}-{chunk}"
    count = SCHEDULES // CHUNKS
    happened: dict[str, int] = {}
    for numbers in drawn(seed, count):
        try:
            executor = play(numbers)
        except Exception as error:
            error.add_note(f"seed {seed} ({SIMULATION_SEED}={SEED}); shortest: {shortest(numbers)}")
            raise
        for name, times in executor.happened.items():
            happened[name] = happened.get(name, 0) + times
    assert all(
        happened[name] > count / 100 for name in ("deaths", "exceptions", "late answers", "timeouts", "held back")
    )
    record_property("simulated", {"schedules": count, **happened})


def shortest(numbers: list[int], make: Maker = Checked) -> list[int]:
    """Make a schedule that breaks it as short as it goes: leave numbers out, then make them smaller."""

    def breaks(candidate: list[int]) -> bool:
        try:
            play(candidate, make)
        except Exception:
            return True
        return False

    assert breaks(numbers)
    size = len(numbers)
    while size:
        for start in range(0, len(numbers), size):
            shorter = numbers[:start] + numbers[start + size :]
            if breaks(shorter):
                numbers = shorter
                break
        else:
            size //= 2
    for place in range(len(numbers)):
        for smaller in range(min(16, numbers[place])):
            candidate = [*numbers[:place], smaller, *numbers[place + 1 :]]
            if breaks(candidate):
                numbers = candidate
                break
    return numbers


# --- each of these has a fault that a schedule must find ---


class Faulty(Checked):
    """A delivery between which and the world something goes wrong."""

    def handle(self, *events: Any) -> list[Action]:
        return self.spoiled(super().handle(*map(self.misheard, events)))

    def misheard(self, event: Any) -> Any:
        return event

    def spoiled(self, actions: list[Action]) -> list[Action]:
        return actions


class LosesTasksOfTheDead(Faulty):
    def misheard(self, event: Any) -> Any:
        return Joined(event.worker) if isinstance(event, Died) else event


class KeepsStaleBatches(Faulty):
    def spoiled(self, actions: list[Action]) -> list[Action]:
        return [action for action in actions if not isinstance(action, Discard)]


class DeliversWhatWasSkipped(Faulty):
    def without(self, ticket: int) -> tuple[int, ...]:
        return ()


class SkipsTheWholeBatch(Faulty):
    def misheard(self, event: Any) -> Any:
        return event._replace(left=0) if isinstance(event, Failed) else event


class BlamesNobody(Faulty):
    def misheard(self, event: Any) -> Any:
        return event._replace(ticket=None) if isinstance(event, Died) else event


class BlamesAnotherTask(Faulty):
    def misheard(self, event: Any) -> Any:
        return event._replace(ticket=event.ticket and event.ticket + 1) if isinstance(event, Died) else event


class TriesOnceTooOften(Faulty):
    def __init__(self, prefetch: int | None, faults: Faults, ordered: bool) -> None:
        super().__init__(prefetch, faults, ordered)
        self._judge = Judge(Faults(faults.on_error, faults.retries + 1))


class ForgetsToReplace(Faulty):
    def spoiled(self, actions: list[Action]) -> list[Action]:
        return [action for action in actions if not isinstance(action, Replace)]


class GoesBeyondTheEnd(Faulty):
    def misheard(self, event: Any) -> Any:
        return event._replace(steps=event.steps and event.steps + 1) if isinstance(event, Began) else event


class StopsShort(Faulty):
    def misheard(self, event: Any) -> Any:
        return event._replace(steps=event.steps and event.steps - 1) if isinstance(event, Began) else event


class GoesBeyondPrefetch(Faulty):
    def __init__(self, prefetch: int | None, faults: Faults, ordered: bool) -> None:
        super().__init__(prefetch and prefetch + 2, faults, ordered)


class DeliversAsItComes(Faulty):
    submitted: tuple[int, ...] = ()

    def misheard(self, event: Any) -> Any:
        if isinstance(event, Done) and len(self.submitted) > 1 and event.ticket == max(self.submitted):
            return event._replace(ticket=min(self.submitted))
        return event

    def spoiled(self, actions: list[Action]) -> list[Action]:
        tickets = tuple(ticket for action in actions if isinstance(action, Submit) for ticket in action.tickets)
        self.submitted = tickets or self.submitted
        return actions


class TakesLateAnswers(Faulty):
    def misheard(self, event: Any) -> Any:
        if isinstance(event, Done) and event.ticket in self._roster.flying:
            return event._replace(worker=self._roster.flying[event.ticket])
        return event


class KeepsRestarting(Faulty):
    def __init__(self, prefetch: int | None, faults: Faults, ordered: bool) -> None:
        super().__init__(prefetch, Faults(faults.on_error, faults.retries, None, 0, faults.recycle_after), ordered)


class GivesPartitionsToAnybody(Faulty):
    def misheard(self, event: Any) -> Any:
        return event._replace(part=None) if isinstance(event, Began) else event


class DeliversEarlyOnesAgain(Faulty):
    def misheard(self, event: Any) -> Any:
        if isinstance(event, Done) and self._early and event.ticket in self._roster.flying:
            self._early.discard(max(self._early))
        return event


class TakesBackWithoutGivingOut(Faulty):
    def misheard(self, event: Any) -> Any:
        if isinstance(event, Held):
            self._roster.take_back(*event)
        return event


@pytest.mark.parametrize("faulty", Faulty.__subclasses__())
def test_a_planted_fault_is_found_and_shrunk(faulty: type[Faulty]) -> None:
    for numbers in drawn("planted", 3000):
        try:
            play(numbers, faulty)
        except Exception:
            break
    else:
        pytest.fail("no schedule found it")
    short = shortest(numbers, faulty)
    assert len(short) <= min(40, len(numbers))
    play(short)  # the fault is the mutant's, not the schedule's
