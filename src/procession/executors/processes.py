"""Processes: workers forked from a clean template, so that no thread or lock of the training process comes along."""

from __future__ import annotations

from typing import Any

from procession.capture.naming import named
from procession.capture.pickling import pickled
from procession.capture.state import Rebound, Tracker
from procession.config import Faults
from procession.engine.driver import Driver
from procession.engine.ports import Assignment, InHand, Parked
from procession.engine.waker import Waker
from procession.events import Event
from procession.order.plan import Plan


class ProcessesExecutor:
    """The driver behind the port, and the source's way to it: whole at first, then what has changed."""

    def __init__(self, workers: int, faults: Faults, waker: Waker, *, hooks: bool) -> None:
        """`hooks`: whether the source has epoch hooks, which may change anything on it, in place too."""
        self._driver = Driver(workers, faults, waker)
        self.open = self._driver.open  # see `Executor.open`
        self._hooks = hooks
        self._watch: Tracker | Rebound | None = None

    def begin(self, plan: Plan, source: Any, workers: int) -> list[int]:
        """See `Executor.begin`."""
        changes = None
        if not self._driver.connected:
            parts = pickled(source, "source")
            # What its code imports when it first runs: once here, not for some seconds in each worker.
            parts.along.modules.update(named(source))
            sent = self._driver.send_source(parts)
            self._watch = Tracker(source, parts, *sent) if self._hooks else Rebound(source)
        elif self._watch is not None:
            changes = self._watch.changes(source)
        return self._driver.begin(plan, changes, workers)

    def submit(self, worker: int, assignments: list[Assignment]) -> None:
        """See `Executor.submit`."""
        self._driver.submit(worker, assignments)

    def wait(self, timeout: float | None) -> list[Event]:
        """See `Executor.wait`."""
        return self._driver.wait(timeout)

    def discard(self, parked: Parked) -> None:
        """See `Executor.discard`."""
        self._driver.discard(parked)

    def replace(self, worker: int) -> list[int]:
        """See `Executor.replace`."""
        return self._driver.replace(worker)

    def reload(self) -> list[int]:
        """See `Executor.reload`."""
        return self._driver.reload()

    def in_hand(self) -> list[InHand]:
        """See `Executor.in_hand`."""
        return self._driver.in_hand()

    def stack(self, worker: int) -> str:
        """See `Executor.stack`."""
        return self._driver.stack(worker)

    def end_overdue(self, worker: int) -> None:
        """See `Executor.end_overdue`."""
        self._driver.end_overdue(worker)

    def close(self) -> None:
        """See `Executor.close`."""
        self._driver.close()

    def facts(self) -> dict[str, Any]:
        """Process ids by worker, and the threads that kept the source from being forked."""
        return self._driver.facts()
