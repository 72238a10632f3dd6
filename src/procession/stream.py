"""One source, one executor, one epoch after another: what `Loader` and the adapters for frameworks stand on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from procession import partitions
from procession.config import Config
from procession.engine.actions import Raise
from procession.engine.door import Door
from procession.engine.hooks import Hooks
from procession.engine.limits import opened
from procession.engine.waker import Waker
from procession.errors import EpochAbandonedError, SkippedWarning, users_level
from procession.events import Done
from procession.executors.performer import Performer, make_executor
from procession.monitoring.stats import Counters, Statistics
from procession.order.arrangement import Samplers, arranged, setup_of
from procession.order.plan import Plan
from procession.order.rest import Rest
from procession.order.state import Resumed, Setup, State


class EndOfEpoch(Exception):  # noqa: N818 - an event, like StopIteration
    """All batches of the epoch have been delivered."""


class Stream:
    """Delivers the batches of a source, epoch after epoch."""

    def __init__(self, source: Any, config: Config) -> None:
        self.source = source
        self.indexed = partitions.opened(source, config.batch_size)  # what workers index
        self.config = config
        self.hooks = Hooks(self.indexed, config.seed)
        self.epoch = -1  # the number of the epoch begun last
        self._samplers = Samplers(config)
        self._resumed: Resumed | None = None  # where the next epoch begins, if not at a beginning
        self._stopped: tuple[Plan, Rest] | None = None  # what was left when all was broken down
        self._failed: Rest | None = None  # of the current plan, where the source has raised
        self.plan()  # that there is anything to deliver
        self.waker = opened(Waker, "pipe to wake a wait with")
        self._door = Door(self._end)
        self._counters = Counters()
        self._performer: Performer | None = None  # made when it is first needed, and again after a failure in here
        self._plan: Plan | None = None
        self._ticket = -1  # of the batch taken last

    def plan(self, *, shuffle: bool = False, probes: tuple[int, ...] = ()) -> Plan:
        """The plan of the epoch that would begin now; `shuffle`: whether to, unless the loader was told so itself.

        Raises:
            EmptySourceError: there is nothing to deliver.
            ConfigError: the sampler does not fit the source.
        """
        epoch = self.epoch + 1 if self._resumed is None else self._resumed.state.epoch
        sampler = self._samplers.sampler(shuffle, epoch, self.indexed)
        return Plan(arranged(self.source, self.indexed, self.config, sampler, epoch), probes)

    def positions(self) -> int | None:
        """How many batches an epoch has now; None: it is endless."""
        if self._plan is not None and hasattr(self.config.shuffle, "indices"):
            return self._plan.positions  # the user's own order is asked for an epoch when that begins, not before
        return self.plan().positions

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
            resumed = self._resumed
            self._settled(self.hooks.begin if resumed is None else lambda: self.hooks.catch_up(resumed.state.hooks))
            plan = self.plan(shuffle=shuffle, probes=probes)
            if resumed is not None:
                plan = plan._replace(rest=resumed.rest(self._setup(plan), plan.positions))
            self._warn_of_skips()
            self.epoch, self._resumed = plan.epoch, None
            self._counters.begin_epoch()
            return self._start(plan, ahead)

    def resume(self, plan: Plan, rest: Rest, ahead: int | None) -> Plan:
        """Go on with an order that was not read to its end, as a new epoch to the source's hooks.

        What is left of it is made from the source as the hooks leave it.
        """
        with self._door:
            self._settled(self.hooks.begin)
            if self.hooks or self.current is not plan:
                return self._start(plan._replace(probes=(), rest=rest), ahead)
            return plan

    def reopen(self, plan: Plan, rest: Rest, ahead: int | None) -> Plan:
        """Go on with what is left of an order, without calling hooks: somebody else has read in between."""
        with self._door:
            return self._start(plan._replace(probes=(), rest=rest), ahead)

    def take(self) -> Any:
        """The next batch.

        Raises:
            EndOfEpoch: there is none left in this epoch.
            LoaderClosedError: the loader has been closed, now or while this waited.
            KeyboardInterrupt: Ctrl-C, also while another thread than the main one waits here.
            Exception: what the source raised for this batch.
        """
        with self._door:
            performer, plan = self._performer, self._plan
            if plan is None or performer is None:
                raise EpochAbandonedError("no epoch is under way: the last one ended with an error; begin another")
            passed = performer.passed()
            try:
                outcome = performer.next(plan, self._check_woken)
                if type(outcome) is Done:
                    self._ticket = outcome.ticket
                    return performer.opened(outcome.batch)
            except EpochAbandonedError:
                raise
            except BaseException:
                self._break_down()  # Ctrl-C may have come between any two lines: nothing in here can be trusted
                self._stopped = plan, plan.after(*passed)  # nor has the batch reached anybody
                raise
        if isinstance(outcome, Raise):
            self._failed = plan.after(*passed)  # as nobody has got this batch
            raise outcome.error
        self._warn_of_skips()
        raise EndOfEpoch

    def end_epoch(self) -> None:
        """The consumer calls it an epoch: call the source's hook."""
        with self._door:
            self._settled(self.hooks.end)
            self._warn_of_skips()

    def state(self) -> State:
        """Where the stream is: after the last batch that was taken."""
        if self._resumed is not None:
            return self._resumed.state
        if self._plan is not None:
            return self.state_at(self._plan, self.rest())
        if self._stopped is not None:
            return self.state_at(*self._stopped)
        plan = self.plan()
        return State(self._setup(plan), plan.epoch, Rest(), self.hooks.begun)

    def state_at(self, plan: Plan, rest: Rest) -> State:
        """The state in which there is so much left of a plan."""
        hooks, setup = self.hooks, self._setup(plan)
        if plan.positions is not None and rest.count(plan.positions) == 0:
            return State(setup, plan.epoch + 1, Rest(), hooks.begun)
        return State(setup, plan.epoch, rest, hooks.begun - (hooks.begun > hooks.ended))

    def load(self, state: State, *, strict: bool) -> None:
        """Have the next epoch that is begun be what is left of the one that `state` is in.

        Raises:
            StateError: it does not fit the loader; both sides of each difference are told.
        """
        with self._door:
            before = self.config, self._samplers, self._resumed
            if not self.config.seed_given:
                self.config = replace(self.config, seed=state.setup.seed)
            self._samplers = Samplers(self.config)
            self._resumed = Resumed(state, strict)
            try:
                now = self._setup(self.plan(shuffle=state.shuffled))
                self._resumed.check(now, users_level(), early=bool(self.hooks))
                self.hooks.reseed(self.config.seed)
            except BaseException:
                self.config, self._samplers, self._resumed = before
                raise

    def adopt(self, seed: int) -> None:
        """Take the seed of a state that may be loaded, where none was given and none has been used."""
        if not self.config.seed_given and self.epoch < 0 and self._resumed is None:
            self.config = replace(self.config, seed=seed)
            self._samplers = Samplers(self.config)
            self.hooks.reseed(seed)

    def follow(self, epoch: int, hooks: int) -> None:
        """Number the epochs on from those that another loader of the same source has had, hooks included."""
        self.epoch = epoch
        self.hooks.begun = self.hooks.ended = hooks

    @property
    def resuming(self) -> bool:
        """Whether a state has been loaded from which no epoch has begun yet."""
        return self._resumed is not None

    @property
    def current(self) -> Plan | None:
        """The plan that `take` delivers from; compare with `is`."""
        return self._plan

    @property
    def position(self) -> int:
        """The position, in the current plan, of the batch taken last."""
        return -1 if self._performer is None else self._performer.position_of(self._ticket)

    def rest(self) -> Rest:
        """What is left of the current plan after the batches taken and those skipped."""
        if self._failed is not None:
            return self._failed
        return Rest() if self._performer is None else self._performer.rest()

    @property
    def has_skipped(self) -> bool:
        """Whether items of the present epoch have been left out."""
        return self._counters.skips_of_epoch > 0

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._door.closed

    def discount(self) -> None:
        """The batch taken last was made for a look only, and will come in its order: count it once."""
        self._counters.batches -= 1

    def statistics(self) -> Statistics:
        """A frozen snapshot of the figures."""
        facts = self._performer.facts() if self._performer is not None else {}
        return self._counters.snapshot(self.config.executor, self.config.workers, self.config.seed, facts)

    def close(self) -> None:
        """End the workers, give back all memory but that of batches still held. May be called twice, by any thread."""
        self._door.closed = True  # from now on: the rest takes its time
        self._warn_of_skips()
        self.waker.wake()
        self._door.end()

    def _end(self) -> None:
        self._break_down()
        self.waker.close()

    def _start(self, plan: Plan, ahead: int | None) -> Plan:
        """Give out the tasks of `plan`; what was under way for another one is dropped when it arrives."""
        try:
            if self._performer is None:
                executor = make_executor(self.config, self.waker, hooks=bool(self.hooks))
                self._performer = Performer(self.config, executor, self.waker, self._counters)
            self._plan, self._stopped, self._failed = plan, None, None
            self._performer.begin(plan, self.indexed, ahead)
            return plan
        except BaseException:
            self._break_down()
            raise

    def _settled(self, call_hooks: Callable[[], None]) -> None:
        if self.hooks and self.config.executor == "threads" and self._performer is not None:
            self._performer.settle(self._check_woken)  # the threads read the very objects that hooks change
        call_hooks()
        self._door.check()  # a hook may have closed the loader

    def _setup(self, plan: Plan) -> Setup:
        return setup_of(plan.order, self.config, self.indexed)

    def _check_woken(self) -> None:
        if self._performer is not None:
            self._performer.check_signals()
        self._door.check()

    def _warn_of_skips(self) -> None:
        told = self._counters.untold_skips(self.epoch)
        if told:
            whole = "" if self.config.batch_size else " Each was a whole batch; with Loader(batch_size=...) a sample."
            warnings.warn(told + whole, SkippedWarning, stacklevel=users_level())

    def _break_down(self) -> None:
        """End the executor; the next epoch makes another."""
        performer, self._performer = self._performer, None
        if performer is not None and self._plan is not None:
            self._stopped = self._plan, self._failed or performer.rest()
        self._plan = self._failed = None
        if performer is not None:
            performer.close()
