"""Delivery under random schedules of results, failures, deaths and new epochs, checked after each event."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession.engine.delivery import (
    MOST_QUEUED,
    Action,
    Began,
    Deliver,
    Delivery,
    Discard,
    End,
    Joined,
    Raise,
    Restart,
    Submit,
    Wanted,
)
from procession.errors import WorkerDiedError
from procession.events import Died, Done, Failed, Lost

MOST_WORKERS = 5
HAPPENINGS = (
    *["consumer_asks"] * 6,
    *["batch_is_done"] * 8,
    "source_raises",
    "answer_comes_again",
    *["worker_dies"] * 2,
    *["worker_restarts"] * 3,
    "worker_joins",
    "all_is_lost",
    "epoch_begins",
)


class Happening(NamedTuple):
    """One event of a schedule; `which` picks among the workers or tickets there are, and the numbers of an epoch."""

    name: str
    which: int
    seconds: float = 1e-3


class Schedule(NamedTuple):
    """What happens to one delivery."""

    prefetch: int | None
    workers: int
    happenings: tuple[Happening, ...]


class World:
    """Workers and a consumer around one delivery, with a book of what may happen next."""

    def __init__(self, delivery: Delivery, prefetch: int | None) -> None:
        self.delivery = delivery
        self.prefetch = prefetch
        self.workers: dict[int, list[int]] = {}  # worker → the tickets it has, in the order it got them
        self.restarting: set[int] = set()
        self.given: set[int] = set()  # tickets ever submitted
        self.again: set[int] = set()  # tickets of this epoch that are to be submitted once more
        self.batches: dict[int, str] = {}  # ticket → its batch: made, and neither delivered nor discarded
        self.fate: dict[int, BaseException] = {}  # ticket → the error that it has to raise
        self.over: BaseException | None = None  # why this epoch gets no workers any more
        self.answered: list[tuple[int, int]] = []  # (worker, ticket) that were told of, and could be told of again
        self.steps: int | None = 0
        self.ahead: int | None = None
        self.first = 0  # ticket of this epoch's first step
        self.delivered = 0  # steps of this epoch that the consumer got, errors included
        self.asking = False

    def possible(self, name: str) -> bool:
        """Say whether that can happen now."""
        there_is = {
            "worker_joins": self.over is None and len(self.workers) + len(self.restarting) < MOST_WORKERS,
            "worker_restarts": self.restarting,
            "worker_dies": self.workers,
            "all_is_lost": self.workers,
            "consumer_asks": not self.asking,
            "batch_is_done": any(self.workers.values()),
            "source_raises": any(self.workers.values()),
            "answer_comes_again": self.answered,
        }
        return bool(there_is.get(name, True))

    # --- what can happen ---

    def epoch_begins(self, which: int, seconds: float) -> None:
        steps = None if which % 5 == 0 else which // 5 % 40
        ahead = None if which % 3 else which // 15 % 30
        actions = self.delivery.handle(Began(steps, ahead))
        self.steps, self.ahead, self.delivered, self.asking, self.over = steps, ahead, 0, False, None
        self.again.clear()
        self.first = -self.delivery.step_of(0)
        assert self.first > max(self.given, default=-1), "a ticket of the epoch before is used again"
        self.perform(actions)
        if not self.workers and not self.restarting:
            self.restarting.add(0)  # who begins an epoch sees to it that there is somebody

    def worker_joins(self, which: int, seconds: float) -> None:
        self.join(next(n for n in range(MOST_WORKERS) if n not in self.workers and n not in self.restarting))

    def worker_restarts(self, which: int, seconds: float) -> None:
        number = sorted(self.restarting)[which % len(self.restarting)]
        self.restarting.remove(number)
        self.join(number)

    def join(self, number: int) -> None:
        self.workers[number] = []
        self.perform(self.delivery.handle(Joined(number)))

    def consumer_asks(self, which: int, seconds: float) -> None:
        self.asking = True
        self.perform(self.delivery.handle(Wanted()))

    def batch_is_done(self, which: int, seconds: float) -> None:
        worker, ticket = self.landed(which)
        self.batches[ticket] = f"batch {ticket}"
        self.perform(self.delivery.handle(Done(worker, ticket, self.batches[ticket], seconds)))

    def source_raises(self, which: int, seconds: float) -> None:
        worker, ticket = self.landed(which)
        self.fate[ticket] = ValueError(ticket)
        self.perform(self.delivery.handle(Failed(worker, ticket, self.fate[ticket])))

    def answer_comes_again(self, which: int, seconds: float) -> None:
        worker, ticket = self.answered[which % len(self.answered)]
        if ticket in self.workers.get(worker, []):
            return  # it was given the same ticket once more: then this is the answer
        actions = self.delivery.handle(Done(worker, ticket, "again", seconds))
        assert actions[:1] == [Discard("again")], "took a batch that it had not asked for"
        self.perform(actions[1:])

    def worker_dies(self, which: int, seconds: float) -> None:
        worker = sorted(self.workers)[which % len(self.workers)]
        lost = self.workers.pop(worker)
        self.answered += [(worker, ticket) for ticket in lost]
        in_hand = lost[0] if lost and which % 4 else None  # it may die between two tasks
        self.again.update(ticket for ticket in lost if ticket >= self.first and ticket != in_hand)
        told: list[int | None] = []

        def describe(step: int | None) -> WorkerDiedError:
            told.append(step)
            error = WorkerDiedError(f"{worker}, {step}")
            if step is None:
                self.over = error
            elif in_hand is not None:
                self.fate[in_hand] = error
            return error

        actions = self.delivery.handle(Died(worker, in_hand, describe))
        blamed = [] if in_hand is None or in_hand < self.first else [in_hand - self.first]
        assert [step for step in told if step is not None] == blamed, "blamed another task than the one it had in hand"
        self.perform(actions)
        if self.over:
            self.give_up(self.over)

    def all_is_lost(self, which: int, seconds: float) -> None:
        self.answered += [(worker, ticket) for worker, tickets in self.workers.items() for ticket in tickets]
        error = WorkerDiedError("the template")
        self.give_up(error)
        self.perform(self.delivery.handle(Lost(error)))

    def give_up(self, error: BaseException) -> None:
        self.over = error
        self.workers.clear()
        self.restarting.clear()
        self.again.clear()

    # --- what has to follow ---

    def landed(self, which: int) -> tuple[int, int]:
        every = [(worker, ticket) for worker, tickets in self.workers.items() for ticket in tickets]
        worker, ticket = every[which % len(every)]
        self.workers[worker].remove(ticket)
        self.answered.append((worker, ticket))
        return worker, ticket

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Submit(worker, tickets):
                    self.check_submitted(worker, tickets)
                case Discard(batch):
                    ticket = int(batch.split()[1])
                    assert self.batches.pop(ticket, None) == batch, "discarded what was not there"
                    assert ticket < self.first, "discarded a batch of this epoch"
                case Restart(worker):
                    assert worker not in self.workers and worker not in self.restarting
                    self.restarting.add(worker)
                case _:
                    self.check_told(action)

    def check_submitted(self, worker: int, tickets: tuple[int, ...]) -> None:
        for ticket in tickets:
            assert ticket not in self.given or ticket in self.again, "submitted twice"
            assert ticket not in self.fate, "gave out once more what a worker died over"
            assert ticket >= self.first
            assert self.steps is None or ticket < self.first + self.steps, "submitted beyond the end"
            assert self.ahead is None or ticket - self.first < max(self.ahead, self.delivered + self.asking)
        self.given.update(tickets)
        self.again.difference_update(tickets)
        self.workers[worker].extend(tickets)

    def check_told(self, action: Any) -> None:
        assert self.asking, "told the consumer something unasked"
        self.asking = False
        ticket = self.first + self.delivered
        if isinstance(action, End):
            assert self.delivered == self.steps, "ended before the end"
            return
        assert self.steps is None or self.delivered < self.steps, "told more than the epoch has"
        assert action.ticket == ticket, "out of order, left out or delivered twice"
        if isinstance(action, Deliver):
            assert self.batches.pop(ticket, None) == action.batch
        else:
            assert isinstance(action, Raise)
            assert action.error is self.fate.get(ticket, self.over), "raised another error than the one there was"
            assert ticket not in self.batches, "raised where a batch was ready"
        self.delivered += 1 if ticket in self.given else self.delivery.step - self.delivered

    def check(self) -> None:
        """Raise AssertionError if anything is not as it has to be between two events."""
        self.delivery.validate()
        assert self.over or self.delivery.step == self.delivered
        assert self.delivery.idle() == (not any(self.workers.values()))
        for tickets in self.workers.values():
            assert len(tickets) <= MOST_QUEUED, "more than its socket holds"
        assert not [ticket for ticket in self.batches if ticket < self.first + self.delivered], "kept a stale batch"
        under_way = {t for tickets in self.workers.values() for t in tickets if t >= self.first}
        if self.prefetch is not None:
            assert len(self.batches) + len(under_way) <= self.prefetch, "more under way than was asked for"
        if self.asking and self.first + self.delivered not in under_way:
            assert self.over is None
            full = all(self.workers.values())  # each has stale tasks left, and gets no more than its share
            assert full if self.workers else self.restarting, "the consumer waits for nobody"


def play(schedule: Schedule, make: Callable[[int | None], Delivery] = Delivery) -> None:
    """Run a schedule, leaving out what cannot happen; raise AssertionError at the first thing that must not be."""
    world = World(make(schedule.prefetch), schedule.prefetch)
    world.epoch_begins(schedule.happenings[0].which, 0)
    start = [Happening("worker_restarts", 0), *[Happening("worker_joins", 0)] * (schedule.workers - 1)]
    for name, which, seconds in (*start, *schedule.happenings):
        if world.possible(name):
            getattr(world, name)(which, seconds)
            world.check()


def drawn(seeds: Iterable[int]) -> Iterable[Schedule]:
    """Draw a schedule for each seed."""
    for seed in seeds:
        dice = random.Random(seed)
        happenings = tuple(
            Happening(dice.choice(HAPPENINGS), dice.randrange(10_000), 10 ** dice.uniform(-6, 0))
            for _ in range(dice.randrange(10, 120))
        )
        prefetch = dice.choice([None, dice.randrange(1, 5), dice.randrange(1, 40)])
        yield Schedule(prefetch, dice.randrange(1, MOST_WORKERS), happenings)


def test_no_schedule_breaks_it() -> None:
    for number, schedule in enumerate(drawn(range(2000))):
        try:
            play(schedule)
        except Exception as error:
            error.add_note(f"schedule {number}: the test below finds a shorter one")
            raise


HAPPENING = st.builds(
    Happening, st.sampled_from(sorted(set(HAPPENINGS))), st.integers(0, 600), st.sampled_from([1e-6, 1e-4, 1e-3, 1.0])
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(st.none(), st.integers(1, 30)), st.integers(1, MOST_WORKERS), st.lists(HAPPENING, min_size=1, max_size=60)
)
def test_no_short_schedule_breaks_it(prefetch: int | None, workers: int, happenings: list[Happening]) -> None:
    play(Schedule(prefetch, workers, tuple(happenings)))


# --- each of these has a fault that a schedule must find ---

AnyEvent = Done | Failed | Died | Lost | Began | Wanted | Joined


class Faulty(Delivery):
    """A delivery between which and the world something goes wrong."""

    def handle(self, event: AnyEvent) -> list[Action]:
        return self.spoiled(event, super().handle(self.misheard(event)))

    def misheard(self, event: AnyEvent) -> AnyEvent:
        return event

    def spoiled(self, event: AnyEvent, actions: list[Action]) -> list[Action]:
        return actions


class KeepsStaleBatches(Faulty):
    def spoiled(self, event: AnyEvent, actions: list[Action]) -> list[Action]:
        return [action for action in actions if not isinstance(action, Discard)]


class DeliversStaleBatches(Faulty):
    stale = ""

    def spoiled(self, event: AnyEvent, actions: list[Action]) -> list[Action]:
        self.stale = next((a.batch for a in actions if isinstance(a, Discard)), self.stale)
        return [a._replace(batch=self.stale) if isinstance(a, Deliver) and self.stale else a for a in actions]


class LosesTasksOfTheDead(Faulty):
    def spoiled(self, event: AnyEvent, actions: list[Action]) -> list[Action]:
        return [] if isinstance(event, Died) else actions


class HearsNoDeath(Faulty):
    def misheard(self, event: AnyEvent) -> AnyEvent:
        return Joined(event.worker) if isinstance(event, Died) else event


class GoesBeyondTheBound(Faulty):
    def misheard(self, event: AnyEvent) -> AnyEvent:
        return event._replace(ahead=None) if isinstance(event, Began) else event


class GoesBeyondTheEnd(Faulty):
    def misheard(self, event: AnyEvent) -> AnyEvent:
        return event._replace(steps=event.steps and event.steps + 1) if isinstance(event, Began) else event


class GoesBeyondPrefetch(Faulty):
    def __init__(self, prefetch: int | None) -> None:
        super().__init__(prefetch and prefetch + 1)


class StopsShort(Faulty):
    def misheard(self, event: AnyEvent) -> AnyEvent:
        return event._replace(steps=event.steps and event.steps - 1) if isinstance(event, Began) else event


class DeliversAsItComes(Faulty):
    submitted: tuple[int, ...] = ()

    def misheard(self, event: AnyEvent) -> AnyEvent:
        if isinstance(event, Done) and event.ticket == max(self.submitted, default=0):
            return event._replace(ticket=min(self.submitted))
        return event

    def spoiled(self, event: AnyEvent, actions: list[Action]) -> list[Action]:
        self.submitted = next((a.tickets for a in actions if isinstance(a, Submit)), self.submitted)
        return actions


class TellsTwice(Faulty):
    def spoiled(self, event: AnyEvent, actions: list[Action]) -> list[Action]:
        return [again for action in actions for again in [action] * (1 + isinstance(action, Deliver | Raise))]


class SubmitsTwice(Faulty):
    def spoiled(self, event: AnyEvent, actions: list[Action]) -> list[Action]:
        return [again for action in actions for again in [action] * (1 + isinstance(action, Submit))]


class ForgetsToSubmit(Faulty):
    def spoiled(self, event: AnyEvent, actions: list[Action]) -> list[Action]:
        return [action for action in actions if not (isinstance(action, Submit) and isinstance(event, Failed))]


class ForgetsToRestart(Faulty):
    def spoiled(self, event: AnyEvent, actions: list[Action]) -> list[Action]:
        return [action for action in actions if not isinstance(action, Restart)]


class BlamesNobody(Faulty):
    def misheard(self, event: AnyEvent) -> AnyEvent:
        return event._replace(ticket=None) if isinstance(event, Died) else event


class BlamesAnotherTask(Faulty):
    def misheard(self, event: AnyEvent) -> AnyEvent:
        return event._replace(ticket=event.ticket and event.ticket + 1) if isinstance(event, Died) else event


@pytest.mark.parametrize("faulty", Faulty.__subclasses__())
def test_a_planted_fault_is_found(faulty: type[Delivery]) -> None:
    def play_all() -> None:
        for schedule in drawn(range(300)):
            play(schedule, faulty)

    with pytest.raises((AssertionError, KeyError)):
        play_all()
