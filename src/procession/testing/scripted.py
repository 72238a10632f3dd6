"""An executor without processes, in which everything happens that can, as dice say; and a book of what must follow.

dice ─► ScriptedExecutor.wait: a batch is made, raises, comes twice or late; a worker or the template dies, is slow,
        outgrows its memory, cannot be started; or nothing happens, and the clock goes on
Book:   what was asked for, made, failed and left out, from which the only right stream follows
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from procession.config import Faults
from procession.engine.ports import Assignment, InHand
from procession.engine.roster import MOST_QUEUED
from procession.events import Died, Done, Event, Failed, Failure, NotStarted, Outgrown, TemplateDied
from procession.order.batches import Batches
from procession.order.plan import Plan
from procession.testing.book import Bad, Batch, Book, Crash, Token
from procession.testing.dice import Dice

LONG_SECONDS = 1000.0  # what a task takes that seems stuck
NOTHING = Plan(Batches(0, epoch=-1))


class ScriptedExecutor:
    """Answers the executor's port; `clock` is its own."""

    def __init__(self, dice: Dice, faults: Faults, most_flying: int | None) -> None:
        self.dice = dice
        self.faults = faults
        self.most_flying = most_flying
        self.now = 0.0
        self.tokens: dict[int, Token] = {}  # made, and neither opened nor discarded
        self.history: deque[Event] = deque(maxlen=4)  # could be told again
        self._made = self._started = 0
        self._plan = NOTHING
        self.book = Book(faults, NOTHING)
        self._old: dict[int, Plan] = {}  # ticket → the plan it belongs to
        self._tasks: dict[int, deque[Assignment]] = {}  # worker → its tasks; the first is in hand
        self._held: dict[int, int] = {}  # worker → the ticket in hand
        self._index: dict[int, int] = {}  # worker → the item in hand
        self._since: dict[int, float] = {}
        self._slow: set[int] = set()  # workers whose task in hand takes LONG_SECONDS
        self._pending: list[Event] = []  # will be told with the next wait
        self._untold: dict[int, list[Done]] = {}  # worker → made, and told with what comes next
        self._template_lives = True
        self._fallen = 0  # workers that went with their template
        self._failed_loads = 0  # in a row
        self.happened: Counter[str] = Counter()

    def begin(self, plan: Plan, source: Any, workers: int) -> list[int]:
        """See `Executor.begin`."""
        self._plan, self.book, self._failed_loads = plan, Book(self.faults, plan), 0
        self._template_lives = True
        return [self._start() for _ in range(workers - len(self._tasks))]

    def submit(self, worker: int, assignments: list[Assignment]) -> None:
        """See `Executor.submit`."""
        for task in assignments:
            self._old[task.ticket] = self._plan
        if worker in self._tasks:  # else its death is about to be told
            self._tasks[worker].extend(assignments)
            assert len(self._tasks[worker]) <= MOST_QUEUED, "more than its socket holds"
            self._check_owners()
            self._take_up(worker)
        flying = sum(self._old[task.ticket] is self._plan for tasks in self._tasks.values() for task in tasks)
        untold = {done.batch.number for made in self._untold.values() for done in made}
        told = [token for token in self.tokens.values() if not token.copy and token.number not in untold]
        kept = sum(token.batch.epoch == self._plan.epoch for token in told)
        # One that has just been delivered is not opened yet.
        assert flying + kept <= (self.most_flying or 10**6) + 1, "more under way than was asked for"

    def wait(self, timeout: float | None) -> list[Event]:
        """Let something happen."""
        self.now += 1e-6  # time goes on, whatever is done
        events, self._pending = self._pending, []
        if events or timeout == 0:
            return events
        busy = [worker for worker, tasks in self._tasks.items() if tasks]
        assert busy, "the consumer waits for nobody"
        for _ in range(1 + (self.dice.roll(8) == 1) * 3):
            events += self._happen(timeout)
        return events

    def open(self, parked: Token) -> Batch:
        """See `Executor.open`."""
        assert not parked.copy, "took an answer that it had not waited for"
        assert self.tokens.pop(parked.number) is parked, "opened twice, or given back before"
        return parked.batch

    def discard(self, parked: Token) -> None:
        """See `Executor.discard`."""
        assert self.tokens.pop(parked.number) is parked, "discarded twice, or opened before"

    def replace(self, worker: int) -> list[int]:
        """See `Executor.replace`."""
        assert not self._tasks.pop(worker, None), "replaced a worker that had tasks"
        return [self._start()] if self._template_lives else []

    def reload(self) -> list[int]:
        """See `Executor.reload`."""
        self._template_lives = True
        return [self._start() for _ in range(self._fallen)]

    def in_hand(self) -> list[InHand]:
        """See `Executor.in_hand`."""
        return [
            InHand(worker, f"worker {worker}", tasks[0].ticket, self._index[worker], self._since[worker])
            for worker, tasks in self._tasks.items()
            if tasks
        ]

    def stack(self, worker: int) -> str:
        """See `Executor.stack`."""
        return "scripted"

    def end_overdue(self, worker: int) -> None:
        """See `Executor.end_overdue`."""
        if self._tasks.get(worker):
            self.happened["timeouts"] += 1
            self._pending += self._die(worker)

    def close(self) -> None:
        """See `Executor.close`."""
        self._tasks.clear()

    def facts(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}

    # --- what happens ---

    def queued(self) -> list[deque[Assignment]]:
        """The tasks of each worker."""
        return list(self._tasks.values())

    def _check_owners(self) -> None:
        """A partition's tasks of this epoch are all one worker's, in order but for those made again."""
        owners: dict[int, int] = {}
        for worker, tasks in self._tasks.items():
            for task in tasks:
                if self._old[task.ticket] is self._plan and (part := self._plan.part(task.position)) is not None:
                    assert owners.setdefault(part, worker) == worker, "two workers have one partition"

    def _happen(self, timeout: float | None) -> list[Event]:  # noqa: C901, PLR0911 - a table
        busy = [worker for worker, tasks in self._tasks.items() if tasks]
        if not busy:
            return []
        worker = busy[self.dice.roll(len(busy))]
        match self.dice.roll(16):
            case 1:
                return self._die(worker)
            case 2:
                return self._fail(worker)
            case 3:
                self._slow.add(worker)
                return self._pass(timeout)
            case 4:
                return self._pass(timeout)
            case 5 if self.history:  # told twice, or by somebody declared dead
                self.happened["late answers"] += 1
                return [self._told_again(self.history[self.dice.roll(len(self.history))])]
            case 6:
                self.happened["outgrown"] += 1
                return [Outgrown(worker)]
            case 7 if self.dice.roll(4) == 1:
                return self._template_dies()
            case 8:
                idle = [number for number, tasks in self._tasks.items() if not tasks]
                return self._die(idle[0]) if idle else []
            case 9 if self.dice.roll(4) == 1:
                return self._does_not_start(worker)
            case 10:
                return []  # woken for nothing
            case _:
                return self._make(worker, timeout)

    def _make(self, worker: int, timeout: float | None) -> list[Event]:
        if worker in self._slow:
            until = self._since[worker] + LONG_SECONDS
            if timeout is not None and self.now + timeout < until:
                return self._pass(timeout)
            self.now = max(self.now, until)
        else:
            self.now += 1e-3 * (1 + self.dice.roll(3))
        task = self._answered(worker)
        plan = self._old[task.ticket]
        items = tuple(item for item in plan.items(task.position) if item not in task.without)
        self._made += 1
        token = Token(self._made, Batch(plan.epoch, task.position, items))
        self.tokens[token.number] = token
        self._take_up(worker)
        done = Done(worker, task.ticket, token, 1e-3)
        if self._tasks[worker] and self.dice.roll(6) == 1:
            self.happened["held back"] += 1
            self._untold.setdefault(worker, []).append(done)
            return []
        return self._tell(worker, done)

    def _tell(self, worker: int, *done: Done) -> list[Event]:
        """What a worker has made is told."""
        made = [*self._untold.pop(worker, []), *done]
        self.history.extend(made)
        self._failed_loads = 0  # only now can it be known that a template got so far
        return list(made)

    def _forget(self, worker: int) -> None:
        """What a worker has made goes with it."""
        for done in self._untold.pop(worker, []):
            del self.tokens[done.batch.number]

    def _fail(self, worker: int) -> list[Event]:
        task = self._answered(worker)
        plan = self._old[task.ticket]
        items = [item for item in plan.items(task.position) if item not in task.without]
        bad = [items[0], *(item for item in items[1:] if self.dice.roll(3) == 1)]
        self._take_up(worker)
        if plan is self._plan:
            self.book.raised.update((task.position, item) for item in bad)
        self.happened["exceptions"] += 1
        failures = tuple(Failure(item, Bad(task.position, item)) for item in bad)
        failed = Failed(worker, task.ticket, failures, len(items) - len(bad))
        return [*self._tell(worker), failed]

    def _die(self, worker: int) -> list[Event]:
        tasks = self._tasks.pop(worker)
        self._slow.discard(worker)
        self._forget(worker)
        self.happened["deaths"] += 1
        self.book.restarted()
        if not tasks:
            return [Died(worker, None, -1, 0, lambda: Crash(worker))]
        task, index = tasks[0], self._index[worker]
        plan = self._old[task.ticket]
        items = tuple(item for item in plan.items(task.position) if item not in task.without)
        late = Token(0, Batch(plan.epoch, task.position, items))
        self.history.append(Done(worker, task.ticket, late, 1e-3))  # it had just finished
        whole = self.dice.roll(6) == 1
        if plan is self._plan:
            self.book.died(task.position, index, whole=whole)
        left = 0 if whole else len(plan.items(task.position)) - len(task.without) - 1
        return [Died(worker, task.ticket, index, left, lambda: Crash(worker, task.position))]

    def _template_dies(self) -> list[Event]:
        self.happened["template deaths"] += 1
        self.book.restarted()
        self._fallen, self._template_lives = len(self._tasks), False
        for worker in self._tasks:
            self._forget(worker)
        self._tasks.clear()
        self._slow.clear()
        loaded = self.dice.roll(3) != 1
        self._failed_loads += not loaded
        self.book.lost |= self._failed_loads > self.faults.retries
        return [TemplateDied(loaded, lambda: Crash("template"))]

    def _does_not_start(self, worker: int) -> list[Event]:
        self.happened["failed starts"] += 1
        del self._tasks[worker]
        self._forget(worker)
        if not self._tasks:
            self.book.lost = True
        return [NotStarted(worker, Crash("no fork"))]

    def _told_again(self, event: Event) -> Event:
        if isinstance(event, Done):  # a copy that lies somewhere too
            self._made += 1
            token = event.batch._replace(number=self._made, copy=True)
            self.tokens[token.number] = token
            flies = any(task.ticket == event.ticket for task in self._tasks.get(event.worker, ()))
            return event._replace(batch=token, worker=-1 if flies else event.worker)
        return event

    def _pass(self, timeout: float | None) -> list[Event]:
        self.now += timeout if timeout is not None else 1.0
        return []

    def _start(self) -> int:
        self._started += 1
        self._tasks[self._started] = deque()
        return self._started

    def _answered(self, worker: int) -> Assignment:
        """A worker is through with what it had in hand."""
        self._slow.discard(worker)
        self._held.pop(worker, None)
        return self._tasks[worker].popleft()

    def _take_up(self, worker: int) -> None:
        """The first of its tasks is the one in hand."""
        tasks = self._tasks[worker]
        if tasks and self._held.get(worker) != tasks[0].ticket:
            items = self._old[tasks[0].ticket].items(tasks[0].position)
            kept = [item for item in items if item not in tasks[0].without]
            assert kept, "asked for a batch beyond the end, or of nothing"
            self._held[worker] = tasks[0].ticket
            self._index[worker] = kept[self.dice.roll(len(kept))]
            self._since[worker] = self.now
