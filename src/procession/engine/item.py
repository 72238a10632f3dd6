"""Making one batch: the user's code runs here, in a worker, a thread or, for serial, the training process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

from procession.engine.collate import parcel_of
from procession.engine.wire import Parcel
from procession.errors import harmless
from procession.order.plan import Plan
from procession.order.randomness import Place, here, seed_globals


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Which worker makes the item at hand: its number, how many there are, and the epoch."""

    index: int
    count: int
    epoch: int


_info: ContextVar[WorkerInfo | None] = ContextVar("procession_worker_info", default=None)


def worker_info() -> WorkerInfo | None:
    """Return which worker makes the item at hand; None outside of workers, that is in the training process.

    Returns:
        A `WorkerInfo` (index, count, epoch) in a worker process or thread, else None.

    Example:
        >>> import procession
        >>> procession.worker_info() is None
        True
    """
    return _info.get()


@contextlib.contextmanager
def working(info: WorkerInfo) -> Iterator[None]:
    """Say which worker this is, for `worker_info()`."""
    token = _info.set(info)
    try:
        yield
    finally:
        _info.reset(token)


class Maker(NamedTuple):
    """Makes the batches of one epoch from a source."""

    source: Any
    plan: Plan
    who: str  # for messages: "worker 1 (pid 4711)"
    seeds_globals: bool  # not in threads, which share the global generators

    def make(self, position: int) -> Parcel:
        """Make the batch at `position`.

        Raises:
            Exception: what the source raised, with a note that says where; StopIteration as a RuntimeError, since it
                would end the consumer's loop in silence, and SystemExit as a SourceExitError, since it would end the
                program.
        """
        try:
            return parcel_of(self.source, self._ask, self.plan, position)
        except BaseException as error:
            self._note(error, f"making batch {position} of epoch {self.plan.epoch}, in {self.who}")
            raise

    def _ask(self, index: int) -> Any:
        place = Place(self.plan.seed, self.plan.epoch, index)
        if self.seeds_globals:
            seed_globals(place)
        try:
            with here(place):
                return self.source[index]
        except BaseException as error:
            failure = harmless(error, f"source[{index}]")
            self._note(failure, f"raised by source[{index}]")
            if failure is error:
                raise
            raise failure from error

    @staticmethod
    def _note(error: BaseException, text: str) -> None:
        error.add_note(f"procession: {text}")
