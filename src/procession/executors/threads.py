"""Threads: for sources that wait, or whose work happens outside of the GIL. The source is shared, not copied."""

from __future__ import annotations

import contextlib
import itertools
import select
import sys
import threading
import time
import traceback
from collections import deque
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from procession.config import Faults
from procession.engine.arena import Slot
from procession.engine.item import Maker, Unmade, WorkerInfo, working
from procession.engine.landing import Landing
from procession.engine.ports import Assignment, InHand, Parked
from procession.engine.waker import Waker
from procession.errors import StalledError
from procession.events import Died, Done, Event, Failed, Failure
from procession.order.plan import Plan

JOIN_SECONDS = 1.0  # a thread cannot be ended from outside: one that is stuck in the source is left to its fate


class _Epoch(NamedTuple):
    """What the jobs of one epoch are made from."""

    source: Any
    plan: Plan
    collects: bool


class _Job(NamedTuple):
    task: Assignment
    slot: Slot
    epoch: _Epoch


class _Finished(NamedTuple):
    event: Event
    job: _Job
    thread: _Thread


class _Reports:
    """What the threads have finished. The last to leave closes the pipe: a stuck thread may outlive its loader."""

    def __init__(self) -> None:
        self.waker = Waker()
        self._finished: deque[_Finished] = deque()
        self._lock = threading.Lock()
        self._sharing = 1  # the executor and each of its threads

    def put(self, finished: _Finished) -> None:
        self._finished.append(finished)
        self.waker.wake()

    def take(self) -> list[_Finished]:
        self.waker.drain()
        return [self._finished.popleft() for _ in range(len(self._finished))]

    def enter(self) -> None:
        with self._lock:
            self._sharing += 1

    def leave(self) -> None:
        with self._lock:
            self._sharing -= 1
            if self._sharing == 0:
                self.waker.close()


class _Thread:
    """One worker."""

    def __init__(self, name: int, place: int, count: int, reports: _Reports, landing: Landing) -> None:
        self.name = name
        self.place = place
        self.queue: SimpleQueue[_Job | None] = SimpleQueue()
        self.job: _Job | None = None  # in hand; written by the thread, as the next two
        self.since = 0.0
        self.index = -1
        self._info = place, count
        self._reports = reports
        self._landing = landing
        self._epoch: _Epoch | None = None  # that `_maker` is for
        self._maker: Maker | None = None
        self._thread = threading.Thread(target=self._run, name=f"procession-worker-{place}", daemon=True)
        reports.enter()
        self._thread.start()

    def give_up(self) -> list[_Job]:
        """Leave it to itself: what it has in hand is not waited for; return what it has not begun."""
        jobs: list[_Job] = []
        with contextlib.suppress(Empty):
            while (job := self.queue.get_nowait()) is not None:
                jobs.append(job)
        self.queue.put(None)
        return jobs

    def stack(self) -> str:
        """Where it is now."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "" if frame is None else "".join(traceback.format_stack(frame)).rstrip()

    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait for its end, unless it is the caller."""
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while (job := self.queue.get()) is not None:
                self.index, self.since, self.job = -1, time.monotonic(), job
                event = self._make(job)
                self.job = None
                self._reports.put(_Finished(event, job, self))
        finally:
            self._reports.leave()

    def _make(self, job: _Job) -> Event:
        ticket, position, without = job.task
        plan = job.epoch.plan
        try:
            with working(WorkerInfo(*self._info, plan.epoch)):
                parked = self._landing.park_here(self._maker_for(job.epoch).make(position, without), job.slot)
            return Done(self.name, ticket, parked, time.monotonic() - self.since)
        except Unmade as unmade:
            return Failed(self.name, ticket, unmade.failures, unmade.left)
        except BaseException as error:  # whatever it is, the consumer gets it
            return Failed(self.name, ticket, (Failure(plan.items(position)[0], error),), 0)

    def _maker_for(self, epoch: _Epoch) -> Maker:
        if self._maker is None or self._epoch is not epoch:
            source, plan, collects = self._epoch = epoch
            self._maker = Maker(source, plan, f"thread {self.place}", None, collects, self._announce)
        return self._maker

    def _announce(self, index: int) -> None:
        self.index = index


class ThreadsExecutor:
    """A fixed number of threads, each with a queue of its own."""

    def __init__(self, workers: int, faults: Faults, waker: Waker) -> None:
        self._count = workers
        self._faults = faults
        self._reports = _Reports()
        self._poll = select.poll()
        self._poll.register(waker, select.POLLIN)
        self._poll.register(self._reports.waker, select.POLLIN)
        self._landing = Landing()
        self._threads: dict[int, _Thread] = {}  # by name
        self._names = itertools.count()
        self._given_up: list[_Thread] = []  # stuck in the source
        self._epoch: _Epoch | None = None
        self._flying = 0
        self._deaths: list[Event] = []
        self._closed = False

    def begin(self, plan: Plan, source: Any, workers: int) -> list[int]:
        """See `Executor.begin`; the source is shared with the threads as it is."""
        self._epoch = _Epoch(source, plan, self._faults.on_error != "raise")
        return [self._start(place) for place in range(workers) if place not in self._places()]

    def submit(self, worker: int, assignments: list[Assignment]) -> None:
        """See `Executor.submit`."""
        assert self._epoch is not None
        thread = self._threads[worker]
        self._flying += len(assignments)
        for task, slot in zip(assignments, self._landing.arena.lend(len(assignments)), strict=True):
            thread.queue.put(_Job(task, slot, self._epoch))

    def wait(self, timeout: float | None) -> list[Event]:
        """See `Executor.wait`."""
        if self._flying and not self._deaths:
            self._poll.poll(None if timeout is None else timeout * 1000)
        events, self._deaths = self._deaths, []
        for event, job, thread in self._reports.take():
            stored = isinstance(event, Done) and event.batch.memory is job.slot
            if thread.name not in self._threads:  # given up long ago, and back after all
                self._landing.arena.reclaim(job.slot)
                continue
            self._flying -= 1
            events.append(event)
            if isinstance(event, Done):
                self._landing.arena.fit(event.batch.nbytes)
            if not stored:
                self._landing.arena.reclaim(job.slot)
        return events

    def open(self, parked: Parked) -> Any:
        """See `Executor.open`."""
        return self._landing.open(parked)

    def discard(self, parked: Parked) -> None:
        """See `Executor.discard`."""
        self._landing.discard(parked)

    def replace(self, worker: int) -> list[int]:
        """See `Executor.replace`."""
        before = self._threads.pop(worker, None)
        if before is None:  # given up
            return [self._start(next(place for place in itertools.count() if place not in self._places()))]
        before.queue.put(None)
        self._given_up = [thread for thread in [*self._given_up, before] if thread.alive()]
        return [self._start(before.place)]

    def reload(self) -> list[int]:
        """See `Executor.reload`; there is no template."""
        return []

    def in_hand(self) -> list[InHand]:
        """See `Executor.in_hand`."""
        held = ((thread, thread.job) for thread in self._threads.values())
        return [
            InHand(thread.name, f"thread {thread.place}", job.task.ticket, thread.index, thread.since)
            for thread, job in held
            if job
        ]

    def stack(self, worker: int) -> str:
        """See `Executor.stack`."""
        return self._threads[worker].stack()

    def end_overdue(self, worker: int) -> None:
        """See `Executor.end_overdue`: it cannot be ended, so it is left to itself, and its place given to another."""
        thread = self._threads[worker]
        job, stack, seconds = thread.job, thread.stack(), time.monotonic() - thread.since
        if job is None:  # it has just come back
            return
        del self._threads[worker]
        for waiting in thread.give_up():
            self._flying -= 1
            self._landing.arena.reclaim(waiting.slot)
        self._given_up.append(thread)
        self._flying -= 1
        index, plan = thread.index, job.epoch.plan
        items = plan.items(job.task.position)
        left = sum(item not in (*job.task.without, index) for item in items) if index >= 0 else 0
        blamed = index if index >= 0 else items[0]
        error = StalledError(
            f"thread {thread.place} was given up after {seconds:.1f} s over batch {job.task.position} of epoch "
            f"{plan.epoch} ({plan.name(blamed)}): Faults(timeout={self._faults.timeout:g}) allows "
            f"{self._faults.timeout:g} s for one batch. A thread cannot be ended, so it goes on; with "
            f"executor='processes' it would end\nIts Python stack:\n{stack}"
        )
        self._deaths.append(Died(worker, job.task.ticket, blamed, left, lambda: error))

    def close(self) -> None:
        """See `Executor.close`."""
        threads = [*self._threads.values(), *self._given_up]
        for thread in threads:
            thread.queue.put(None)
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if not self._closed:
            self._closed = True
            self._reports.leave()
        self._threads.clear()
        self._given_up.clear()
        self._landing.arena.close()

    def facts(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}

    def _places(self) -> list[int]:
        return [thread.place for thread in self._threads.values()]

    def _start(self, place: int) -> int:
        name = next(self._names)
        self._threads[name] = _Thread(name, place, self._count, self._reports, self._landing)
        return name
