"""Threads: for sources that wait, or whose work happens outside of the GIL. The source is shared, not copied."""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Any, NamedTuple

from procession.engine.arena import Slot
from procession.engine.item import Maker, WorkerInfo, working
from procession.engine.landing import Landing
from procession.engine.ports import Parked
from procession.engine.waker import Waker
from procession.events import Done, Event, Failed
from procession.order.plan import Plan

JOIN_SECONDS = 1.0  # a thread cannot be ended from outside: one that is stuck in the source is left to its fate


class _Job(NamedTuple):
    ticket: int
    position: int
    slot: Slot
    maker: Maker


class _Finished(NamedTuple):
    event: Event
    job: _Job


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


class ThreadsExecutor:
    """A fixed number of threads, each with a queue of its own."""

    def __init__(self, workers: int, waker: Waker) -> None:
        self._count = workers
        self._reports = _Reports()
        self._poll = select.poll()
        self._poll.register(waker, select.POLLIN)
        self._poll.register(self._reports.waker, select.POLLIN)
        self._landing = Landing()
        self._queues: list[SimpleQueue[_Job | None]] = []
        self._threads: list[threading.Thread] = []
        self._plan: Plan | None = None
        self._source: Any = None
        self._flying = 0
        self._closed = False

    def begin(self, plan: Plan, source: Any, workers: int) -> list[int]:
        """See `Executor.begin`; the source is shared with the threads as it is."""
        self._plan, self._source = plan, source
        joined = list(range(len(self._threads), workers))
        for worker in joined:
            queue: SimpleQueue[_Job | None] = SimpleQueue()
            arguments = (queue, self._reports, self._landing, worker, self._count)
            thread = threading.Thread(target=_run, args=arguments, name=f"procession-worker-{worker}", daemon=True)
            self._queues.append(queue)
            self._threads.append(thread)
            self._reports.enter()
            thread.start()
        return joined

    def submit(self, worker: int, tasks: list[tuple[int, int]]) -> None:
        """See `Executor.submit`."""
        assert self._plan is not None
        maker = Maker(self._source, self._plan, f"thread {worker}", seeds_globals=False)
        for ticket, position in tasks:
            self._flying += 1
            self._queues[worker].put(_Job(ticket, position, self._landing.arena.lend(), maker))

    def wait(self, timeout: float | None) -> list[Event]:
        """See `Executor.wait`."""
        if self._flying:
            self._poll.poll(None if timeout is None else timeout * 1000)
        events: list[Event] = []
        for event, job in self._reports.take():
            self._flying -= 1
            events.append(event)
            if isinstance(event, Done):
                self._landing.arena.fit(event.batch.nbytes)
            if not isinstance(event, Done) or event.batch.memory is not job.slot:
                self._landing.arena.reclaim(job.slot)
        return events

    def open(self, parked: Parked) -> Any:
        """See `Executor.open`."""
        return self._landing.open(parked)

    def discard(self, parked: Parked) -> None:
        """See `Executor.discard`."""
        self._landing.discard(parked)

    def restart(self, worker: int) -> None:
        """See `Executor.restart`; nothing here ends but with this process."""

    def close(self) -> None:
        """See `Executor.close`."""
        for queue in self._queues:
            queue.put(None)
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        if not self._closed:
            self._closed = True
            self._reports.leave()
        self._queues.clear()
        self._threads.clear()
        self._landing.arena.close()

    def facts(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}


def _run(queue: SimpleQueue[_Job | None], reports: _Reports, landing: Landing, worker: int, count: int) -> None:
    try:
        while (job := queue.get()) is not None:
            reports.put(_Finished(_make(job, landing, worker, count), job))
    finally:
        reports.leave()


def _make(job: _Job, landing: Landing, worker: int, count: int) -> Event:
    start = time.perf_counter()
    try:
        with working(WorkerInfo(worker, count, job.maker.plan.epoch)):
            parked = landing.park_here(job.maker.make(job.position), job.slot)
        return Done(worker, job.ticket, parked, time.perf_counter() - start)
    except BaseException as error:  # whatever it is, the consumer gets it
        return Failed(worker, job.ticket, error)
