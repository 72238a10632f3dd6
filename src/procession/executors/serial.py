"""Serial: each batch is made when it is asked for, in the calling process. The specification of all the others."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from procession.engine.arena import Slot
from procession.engine.item import Maker
from procession.engine.landing import Landing
from procession.engine.ports import Parked
from procession.errors import EpochAbandonedError
from procession.events import Done, Event, Failed
from procession.order.plan import Plan
from procession.order.randomness import globals_restored


class SerialExecutor:
    """Makes one task for each `wait`."""

    def __init__(self) -> None:
        self._landing = Landing()
        self._tasks: deque[tuple[int, int, Slot]] = deque()
        self._dropped: list[Event] = []  # tasks that will not be done, to be reported as such
        self._maker: Maker | None = None
        self._joined = False

    def begin(self, plan: Plan, source: Any, workers: int) -> list[int]:
        """See `Executor.begin`; the source is used as it is."""
        self._maker = Maker(source, plan, "the training process", seeds_globals=True)
        while self._tasks:  # of an epoch that was abandoned
            ticket, _, slot = self._tasks.popleft()
            self._landing.arena.reclaim(slot)
            self._dropped.append(Failed(0, ticket, EpochAbandonedError("the epoch was abandoned")))
        joined = [] if self._joined else [0]
        self._joined = True
        return joined

    def submit(self, worker: int, tasks: list[tuple[int, int]]) -> None:
        """See `Executor.submit`."""
        self._tasks.extend((ticket, position, self._landing.arena.lend()) for ticket, position in tasks)

    def wait(self, timeout: float | None) -> list[Event]:
        """Make the next batch; with no time to wait, none."""
        if self._dropped:
            dropped, self._dropped = self._dropped, []
            return dropped
        if timeout == 0 or not self._tasks or self._maker is None:
            return []
        ticket, position, slot = self._tasks.popleft()
        start = time.perf_counter()
        try:
            with globals_restored():
                parcel = self._maker.make(position)
            parked = self._landing.park_here(parcel, slot)
        except BaseException as error:
            self._landing.arena.reclaim(slot)
            if not isinstance(error, Exception):  # Ctrl-C is for the consumer, at once
                raise
            return [Failed(0, ticket, error)]
        self._landing.arena.fit(parked.nbytes)
        if parked.memory is not slot:
            self._landing.arena.reclaim(slot)
        return [Done(0, ticket, parked, time.perf_counter() - start)]

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
        self._landing.arena.close()

    def facts(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}
