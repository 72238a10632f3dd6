"""Making one batch: the user's code runs here, in a worker, a thread or, for serial, the training process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from procession.capture.readonly import read_only_hint
from procession.engine.collate import stacked, taken, whole
from procession.engine.generators import Generators
from procession.engine.wire import Layout, Parcel
from procession.errors import BatchError, harmless
from procession.events import Failure
from procession.order.plan import Plan
from procession.order.randomness import Place, here, left
from procession.partitions import Parts
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


class Maker:
    """Makes the batches of one epoch from a source."""

    def __init__(
        self,
        source: Any,
        plan: Plan,
        who: str,
        generators: Generators | None,
        collects: bool,
        announce: Callable[[int], None],
    ) -> None:
        """How to make them.

        Args:
            source: what to ask for items.
            plan: which items make a batch.
            who: makes them, for messages: "worker 1 (pid 4711)".
            generators: to be seeded; None in threads, which share them.
            collects: go on after a sample that raised, so that all of a batch's failures are known at once.
            announce: told each item before it is made.
        """
        self.source = source
        self.plan = plan
        self.who = who
        self._generators = generators
        self._collects = collects
        self._announce = announce
        # The same for all batches of the epoch, and so looked up once: each is a property of a property.
        self._items = plan.locator()
        self._seed, self._epoch = plan.seed, plan.epoch
        self._batch_size, self._repeats = plan.batch_size, plan.repeats
        self._tables = isinstance(source, (Arrays, Parts))

    def make(self, position: int, without: tuple[int, ...] = (), before: Layout | None = None) -> Parcel:
        """Make the batch at `position`, but for some of its samples; `before`: the layout of the one before.

        Where all batches are to have one size, the first sample that is left stands in for those that are not.

        Raises:
            Unmade: the source raised, or its samples do not stack. Each exception has a note that says where. Its type
                is the source's, but for StopIteration (a RuntimeError, since it would end the consumer's loop in
                silence) and SystemExit (a SourceExitError, since it would end the program).
        """
        items = self._items(position)
        try:
            if self._tables and (found := self._table(items)) is not None:
                return taken(*found)
            turns = self.plan.turns(position) if self._repeats else repeat(0, len(items))
            if self._batch_size is None:
                return whole(self._ask(items[0], next(iter(turns))), self.plan.name, items[0], before)
            return self._stacked(list(zip(items, turns, strict=True)), without)
        except Unmade as unmade:
            for _, error in unmade.failures:
                self.note(error, self._place(position))
            raise
        except Exception as error:
            self.note(error, self._place(position))
            unlike = error.unlike if isinstance(error, BatchError) else ()
            good = sum(item not in unlike and item not in without for item in items) if unlike else 0
            raise Unmade(tuple(Failure(item, error) for item in unlike or items[:1]), good) from None

    def _table(self, items: Sequence[int]) -> tuple[Arrays, Sequence[int]] | None:
        """The arrays whose rows these items are, and which; None if they are to be asked for one by one."""
        source, rows = self.source.located(items) if isinstance(self.source, Parts) else (self.source, items)
        return (source, rows) if isinstance(source, Arrays) else None

    def _stacked(self, items: Sequence[tuple[int, int]], without: tuple[int, ...]) -> Parcel:
        kept = [asked for asked in items if asked[0] not in without] if without else items
        samples = self._samples(kept)
        if without and self.plan.drop_remainder:
            kept = [asked if asked in samples else kept[0] for asked in items]
        return stacked([samples[asked] for asked in kept], [index for index, _ in kept], self.plan.name)

    def _samples(self, items: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Any]:
        samples: dict[tuple[int, int], Any] = {}
        failures: list[Failure] = []
        failed: set[int] = set()
        for index, turn in items:
            if index in failed:  # it comes more than once in this batch
                continue
            try:
                samples[index, turn] = self._ask(index, turn)
            except Unmade as unmade:
                failures.extend(unmade.failures)
                failed.add(index)
                if not self._collects or not isinstance(unmade.failures[0].error, Exception):
                    break
        if failures:
            raise Unmade(tuple(failures), sum(index not in failed for index, _ in items))
        return samples

    def _ask(self, index: int, turn: int) -> Any:
        self._announce(index)
        place = tuple.__new__(Place, (self._seed, self._epoch, index, turn))
        token = here(place)
        if self._generators is not None:
            self._generators.seed(place)
        try:
            return self.source[index]
        except BaseException as error:
            failure = harmless(error, self.plan.name(index))
            if failure is not error:
                failure.__cause__ = error
            self.note(failure, f"raised by {self.plan.name(index)}")
            if (hint := read_only_hint(error, self.source)) is not None:
                self.note(failure, hint)
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
