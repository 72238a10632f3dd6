"""Serial: each batch is made when it is asked for, in the calling process. The specification of all the others."""

from __future__ import annotations

import time
from collections import deque
from contextlib import nullcontext
from typing import Any

from procession.config import Faults
from procession.engine.arena import Slot
from procession.engine.generators import Generators, generators_for
from procession.engine.item import Maker, Unmade
from procession.engine.landing import Landing
from procession.engine.ports import Assignment, InHand, Parked
from procession.errors import EpochAbandonedError
from procession.events import Done, Event, Failed, Failure
from procession.order.plan import Plan


class SerialExecutor:
    """Makes one task for each `wait`."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._landing = Landing()
        self._tasks: deque[tuple[Assignment, Slot]] = deque()
        self._dropped: list[Event] = []  # tasks that will not be done, to be reported as such
        self._maker: Maker | None = None
        self._generators: Generators | None = None
        self._joined = False

    def begin(self, plan: Plan, source: Any, workers: int) -> list[int]:
        """See `Executor.begin`; the source is used as it is."""
        collects = self._faults.on_error != "raise"
        self._generators = generators_for(source, self._generators)
        self._maker = Maker(source, plan, "the training process", self._generators, collects, _announce_to_nobody)
        while self._tasks:  # of an epoch that was abandoned
            task, slot = self._tasks.popleft()
            self._landing.arena.reclaim(slot)
            abandoned = Failure(-1, EpochAbandonedError("the epoch was abandoned"))
            self._dropped.append(Failed(0, task.ticket, (abandoned,), 0))
        joined = [] if self._joined else [0]
        self._joined = True
        return joined

    def submit(self, worker: int, assignments: list[Assignment]) -> None:
        """See `Executor.submit`."""
        self._tasks.extend(zip(assignments, self._landing.arena.lend(len(assignments)), strict=True))

    def wait(self, timeout: float | None) -> list[Event]:
        """Make the next batch; with no time to wait, none."""
        if self._dropped:
            dropped, self._dropped = self._dropped, []
            return dropped
        if timeout == 0 or not self._tasks or self._maker is None:
            return []
        task, slot = self._tasks.popleft()
        start = time.perf_counter()
        try:
            with self._generators.kept() if self._generators else nullcontext():
                parcel = self._maker.make(task.position, task.without)
            parked = self._landing.park_here(parcel, slot)
        except Unmade as unmade:
            self._landing.arena.reclaim(slot)
            for _, error in unmade.failures:
                if not isinstance(error, Exception):  # Ctrl-C is for the consumer, at once
                    raise error from None
            return [Failed(0, task.ticket, unmade.failures, unmade.left)]
        except BaseException as error:
            self._landing.arena.reclaim(slot)
            if not isinstance(error, Exception):
                raise
            return [Failed(0, task.ticket, (Failure(self._maker.plan.items(task.position)[0], error),), 0)]
        self._landing.arena.fit(parked.nbytes)
        if parked.memory is not slot:
            self._landing.arena.reclaim(slot)
        return [Done(0, task.ticket, parked, time.perf_counter() - start)]

    def open(self, parked: Parked) -> Any:
        """See `Executor.open`."""
        return self._landing.open(parked)

    def discard(self, parked: Parked) -> None:
        """See `Executor.discard`."""
        self._landing.discard(parked)

    def replace(self, worker: int) -> list[int]:
        """See `Executor.replace`: it goes on under another name, since this process is not replaced."""
        return [worker + 1]

    def reload(self) -> list[int]:
        """See `Executor.reload`; there is no template."""
        return []

    def in_hand(self) -> list[InHand]:
        """See `Executor.in_hand`; nobody could ask while a batch is made."""
        return []

    def stack(self, worker: int) -> str:
        """See `Executor.stack`."""
        return ""

    def end_overdue(self, worker: int) -> None:
        """See `Executor.end_overdue`."""

    def close(self) -> None:
        """See `Executor.close`."""
        self._landing.arena.close()

    def facts(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}


def _announce_to_nobody(index: int) -> None:
    """There is nobody to look."""
