"""One source, one executor, one epoch after another: what `Loader` and the adapters for frameworks stand on."""

from __future__ import annotations

import threading
import time
from typing import Any

from procession import sources
from procession.config import Config
from procession.engine.arena import Slot
from procession.engine.delivery import (
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
from procession.engine.door import Door
from procession.engine.ports import Executor, Parked
from procession.engine.waker import Waker, interrupts
from procession.errors import EpochAbandonedError
from procession.events import Died, Done, Event
from procession.executors.processes import ProcessesExecutor
from procession.executors.serial import SerialExecutor
from procession.executors.threads import ThreadsExecutor
from procession.monitoring.stats import Counters, Statistics
from procession.order.plan import Plan


class EndOfEpoch(Exception):  # noqa: N818 - an event, like StopIteration
    """All batches of the epoch have been delivered."""


class Stream:
    """Delivers the batches of a source, epoch after epoch."""

    def __init__(self, source: Any, config: Config) -> None:
        self.source = source
        self.indexed = sources.check(source, config.batch_size)  # what workers index
        self.config = config
        self.hooks = sources.hooks(source)
        self.epoch = -1  # the number of the epoch begun last
        self.plan()  # that there is anything to deliver
        self.waker = Waker()
        self._door = Door()
        self._counters = Counters()
        self._delivery = Delivery(config.prefetch)
        self._executor: Executor | None = None  # made when it is first needed, and again after a failure in here
        self._plan: Plan | None = None
        self._taking: int | None = None  # the thread that is in `take`

    def plan(self, *, shuffle: bool = False, probes: tuple[int, ...] = ()) -> Plan:
        """The plan of the epoch that would begin now.

        Raises:
            EmptySourceError: there is nothing to deliver.
        """
        config = self.config
        length = sources.length(self.indexed)
        shuffle = shuffle and length is not None  # an endless source has no order to change, and Keras says the same
        plan = Plan(length, config.batch_size, config.drop_remainder, shuffle, config.seed, self.epoch + 1, probes)
        sources.check_positions(plan.positions, length, config.batch_size)
        return plan

    def begin_epoch(self, *, shuffle: bool, probes: tuple[int, ...] = (), ahead: int | None = None) -> Plan:
        """Begin the next epoch: call the source's hook, bring the workers up to date, and set them to work.

        Args:
            shuffle: whether to draw an order, unless the loader was told so itself.
            probes: positions to deliver once more, before the epoch's own batches.
            ahead: how many batches may be made ahead of the consumer (None: no bound but `prefetch`).

        Returns:
            The plan that is now current, until somebody begins, resumes or reopens another.

        Raises:
            LoaderClosedError: after `close`.
            CaptureError: the source, or what a hook has put on it, cannot travel.
        """
        with self._door:
            self._call_hook("on_epoch_begin")
            wish = self.config.shuffle
            plan = self.plan(shuffle=shuffle if wish is None else wish, probes=probes)
            self.epoch = plan.epoch
            self._counters.epochs += 1
            return self._start(plan, ahead)

    def resume(self, plan: Plan, first: int, ahead: int | None) -> Plan:
        """Go on with an order that was not read to its end, as a new epoch to the source's hooks.

        What has not been delivered yet, from position `first` on, is made from the source as the hooks leave it.
        """
        with self._door:
            self._call_hook("on_epoch_begin")
            if self.hooks or self.current is not plan:
                return self._start(plan._replace(probes=(), first=first), ahead)
            return plan

    def reopen(self, plan: Plan, first: int, ahead: int | None) -> Plan:
        """Go on with an order from position `first`, without calling hooks: somebody else has read in between."""
        with self._door:
            return self._start(plan._replace(probes=(), first=first), ahead)

    def take(self) -> Any:
        """The next batch.

        Raises:
            EndOfEpoch: there is none left in this epoch.
            LoaderClosedError: the loader has been closed, now or while this waited.
            KeyboardInterrupt: Ctrl-C, also while another thread than the main one waits here.
            Exception: what the source raised for this batch.
        """
        with self._door:
            if self._plan is None:
                raise EpochAbandonedError("no epoch is under way: the last one ended with an error; begin another")
            start = time.perf_counter()
            self._taking = threading.get_ident()
            try:
                outcome = self._await_outcome(self._plan)
                if isinstance(outcome, Deliver):
                    return self._opened(outcome.batch)
            except EpochAbandonedError:
                raise
            except BaseException:
                self._break_down()  # Ctrl-C may have come between any two lines: nothing in here can be trusted
                raise
            finally:
                self._taking = None
                self._counters.wait_seconds += time.perf_counter() - start
                if self._door.closed:  # by a signal handler, while this waited
                    self._end()
        if isinstance(outcome, Raise):
            raise outcome.error
        raise EndOfEpoch

    def end_epoch(self) -> None:
        """The consumer calls it an epoch: call the source's hook."""
        with self._door:
            self._call_hook("on_epoch_end")

    @property
    def current(self) -> Plan | None:
        """The plan that `take` delivers from; compare with `is`."""
        return self._plan

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._door.closed

    def statistics(self) -> Statistics:
        """A frozen snapshot of the figures."""
        facts = self._executor.facts() if self._executor is not None else {}
        return self._counters.snapshot(self.config.executor, self.config.workers, self.config.seed, facts)

    def close(self) -> None:
        """End the workers, give back all memory but that of batches still held. May be called twice, by any thread."""
        self._door.closed = True
        self.waker.wake()
        if self._taking != threading.get_ident():  # else a signal handler calls this: `take` sees to it when it goes on
            with self._door.lock:
                self._end()

    def _end(self) -> None:
        self._break_down()
        self.waker.close()

    def _start(self, plan: Plan, ahead: int | None) -> Plan:
        """Give out the tasks of `plan`; what was under way for another one is dropped when it arrives."""
        try:
            if self._executor is None:
                self._executor = self._make_executor()
            else:
                self._handle(self._executor.wait(0))  # who died meanwhile, with nothing in hand, is replaced
            steps = plan.steps
            workers = self.config.workers if steps is None else max(1, min(self.config.workers, steps))
            self._plan = plan
            joined = self._executor.begin(plan, self.indexed, workers)
            self._perform(self._delivery.handle(Began(steps, ahead)))
            for worker in joined:
                self._perform(self._delivery.handle(Joined(worker)))
            return plan
        except BaseException:
            self._break_down()
            raise

    def _make_executor(self) -> Executor:
        match self.config.executor:
            case "serial":
                return SerialExecutor()
            case "threads":
                return ThreadsExecutor(self.config.workers, self.waker)
            case "processes":
                return ProcessesExecutor(self.config.workers, self.waker, hooks=bool(self.hooks))

    def _await_outcome(self, plan: Plan) -> Deliver | Raise | End:
        assert self._executor is not None
        if self._delivery.has_room(1):
            # What has arrived meanwhile, first: the next task should go to a worker that really is free.
            self._handle(self._executor.wait(0))
        outcome = self._perform(self._delivery.handle(Wanted()))
        while outcome is None:
            with self.waker.watching():
                events = self._executor.wait(None)
            if not events:
                self._check_woken()
            if self._plan is not plan:
                raise EpochAbandonedError(
                    "a signal handler has begun another epoch of this loader while a batch was awaited"
                )
            outcome = self._handle(events)
        return outcome

    def _handle(self, events: list[Event]) -> Deliver | Raise | End | None:
        outcome = None
        for event in events:
            if isinstance(event, Done):
                self._counters.work_seconds += event.seconds
            elif isinstance(event, Died):
                self._counters.deaths += 1
            outcome = self._perform(self._delivery.handle(event)) or outcome
        return outcome

    def _perform(self, actions: list[Action]) -> Deliver | Raise | End | None:
        """Do what delivery decided; return what is for the consumer."""
        assert self._executor is not None and self._plan is not None
        outcome: Deliver | Raise | End | None = None
        for action in actions:
            match action:
                case Submit(worker, tickets):
                    steps = ((ticket, self._delivery.step_of(ticket)) for ticket in tickets)
                    self._executor.submit(worker, [(ticket, self._plan.position(step)) for ticket, step in steps])
                case Discard(batch):
                    self._executor.discard(batch)
                case Restart(worker):
                    self._executor.restart(worker)
                    outcome = self._perform(self._delivery.handle(Joined(worker))) or outcome
                case _:
                    outcome = action
        return outcome

    def _opened(self, parked: Parked) -> Any:
        assert self._executor is not None
        counters = self._counters
        counters.batches += 1
        counters.bytes += parked.nbytes
        counters.segments += not isinstance(parked.memory, Slot)
        if parked.reasons:
            counters.pickled.update(parked.reasons)
        return self._executor.open(parked)

    def _call_hook(self, name: str) -> None:
        if name not in self.hooks:
            return
        if self.config.executor == "threads" and self._executor is not None:
            while not self._delivery.idle():  # the threads read the very object that the hook changes
                self._handle(self._executor.wait(None))
                self._check_woken()
        getattr(self.source, name)()
        self._door.check()  # the hook may have closed the loader

    def _check_woken(self) -> None:
        signals = self.waker.drain()
        if interrupts(signals) and threading.current_thread() is not threading.main_thread():
            self.waker.noted = True
            raise KeyboardInterrupt
        self._door.check()

    def _break_down(self) -> None:
        """End the executor; the next epoch makes another."""
        executor, self._executor = self._executor, None
        self._delivery = Delivery(self.config.prefetch)
        self._plan = None
        if executor is not None:
            executor.close()
