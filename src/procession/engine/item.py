"""Making one batch: the user's code runs here, in a worker, a thread or, for serial, the training process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

from procession.engine.collate import stacked, taken, whole
from procession.engine.wire import Layout, Parcel
from procession.errors import harmless
from procession.events import Failure
from procession.order.plan import Plan
from procession.order.randomness import Place, here, left, seed_globals
from procession.sources import Arrays


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


class Unmade(Exception):  # noqa: N818 - what it carries is raised, never this
    """A batch could not be made: which items failed, with what, and how many of its items are good."""

    def __init__(self, failures: tuple[Failure, ...], left: int) -> None:
        super().__init__(failures, left)
        self.failures = failures
        self.left = left


class Maker(NamedTuple):
    """Makes the batches of one epoch from a source."""

    source: Any
    plan: Plan
    who: str  # for messages: "worker 1 (pid 4711)"
    seeds_globals: bool  # not in threads, which share the global generators
    collects: bool  # go on after a sample that raised, so that all of a batch's failures are known at once
    announce: Callable[[int], None]  # told each item before it is made

    def make(self, position: int, without: tuple[int, ...] = (), before: Layout | None = None) -> Parcel:
        """Make the batch at `position`, but for some of its samples; `before`: the layout of the one before.

        Where all batches are to have one size, the first sample that is left stands in for those that are not.

        Raises:
            Unmade: the source raised, or its samples do not stack. Each exception has a note that says where. Its type
                is the source's, but for StopIteration (a RuntimeError, since it would end the consumer's loop in
                silence) and SystemExit (a SourceExitError, since it would end the program).
        """
        items = self.plan.items(position)
        try:
            if isinstance(self.source, Arrays):
                return taken(self.source, items)
            if self.plan.batch_size is None:
                return whole(self._ask(items[0]), items[0], before)
            return self._stacked(items, without)
        except Unmade as unmade:
            for _, error in unmade.failures:
                self.note(error, self._place(position))
            raise
        except Exception as error:
            self.note(error, self._place(position))
            raise Unmade((Failure(items[0], error),), 0) from None

    def _stacked(self, items: Sequence[int], without: tuple[int, ...]) -> Parcel:
        kept = [index for index in items if index not in without] if without else items
        samples = self._samples(kept)
        if without and self.plan.drop_remainder:
            kept = [index if index in samples else kept[0] for index in items]
        return stacked([samples[index] for index in kept], kept)

    def _samples(self, items: Sequence[int]) -> dict[int, Any]:
        samples: dict[int, Any] = {}
        failures: list[Failure] = []
        for index in items:
            try:
                samples[index] = self._ask(index)
            except Unmade as unmade:
                failures.extend(unmade.failures)
                if not self.collects or not isinstance(unmade.failures[0].error, Exception):
                    break
        if failures:
            raise Unmade(tuple(failures), len(items) - len(failures))
        return samples

    def _ask(self, index: int) -> Any:
        self.announce(index)
        place = Place(self.plan.seed, self.plan.epoch, index)
        token = here(place)
        if self.seeds_globals:
            seed_globals(place)
        try:
            return self.source[index]
        except BaseException as error:
            failure = harmless(error, f"source[{index}]")
            if failure is not error:
                failure.__cause__ = error
            self.note(failure, f"raised by source[{index}]")
            raise Unmade((Failure(index, failure),), 0) from None
        finally:
            left(token)

    def _place(self, position: int) -> str:
        return f"making batch {position} of epoch {self.plan.epoch}, in {self.who}"

    @staticmethod
    def note(error: BaseException, text: str) -> None:
        """Say on an exception where it was raised."""
        with contextlib.suppress(Exception):  # a class may have notes of its own kind: the error itself counts
            error.add_note(f"procession: {text}")
