"""The observations of the doctor's checks, made by the engine's own workers: a process for each, with a time limit.

So what is looked at is what training would use: captured, rebuilt in the template and forked as there, with the same
environment, one native thread, no GPU, and arrays that are shared. What a check dies of, or does not return from, the
engine notices as it does for any item.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from procession.config import Answer, Faults, make_config, usable_cores
from procession.doctor.check import MOST_ITEMS, Chart, Failed, Observation, Patient
from procession.errors import LoaderClosedError, ProcessionError, SkippedWarning
from procession.order.sharding import Shard
from procession.stream import EndOfEpoch, Stream

MOST_BESIDE = 4  # observations that are made at the same time

Progress = Callable[[str], None]


class NotRebuiltError(ProcessionError, TimeoutError):
    """The template did not come back from unpickling the source."""

    code = "PRC102"


class Task(NamedTuple):
    """An observation, and the items that it is to ask for."""

    observation: Observation
    sample: tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """What came of a task. A leaf: what is in it travels as it is."""

    value: Any  # a `Failed`: it could not be made
    seconds: float


class _Bed:
    """A source whose items are observations of the one that lies in it; it never changes, so that it is sent once.

    Item `number << MOST_ITEMS | mask` is observation `number`, of those candidates whose bits are set.
    """

    def __init__(self, chart: Chart, observations: Sequence[Observation]) -> None:
        self.source = chart.source
        self.seed = chart.seed
        self.candidates = chart.candidates
        self.observations = tuple(observations)

    def __len__(self) -> int:
        return len(self.observations) << MOST_ITEMS

    def __getitem__(self, item: int) -> Seen:
        number, mask = divmod(item, 1 << MOST_ITEMS)
        sample = tuple(index for bit, index in enumerate(self.candidates) if mask >> bit & 1)
        start = time.monotonic()
        value = self.observations[number](Patient(self.source, tuple(sorted(sample)), self.seed))
        return Seen((item, value), time.monotonic() - start)

    def item(self, task: Task) -> int:
        """The index of a task."""
        number = self.observations.index(task.observation)
        return number << MOST_ITEMS | sum(1 << self.candidates.index(index) for index in task.sample)


class _Agenda:
    """The order of the stream: what is to be observed now."""

    def __init__(self) -> None:
        self.items: list[int] = []

    def indices(self, epoch: int) -> list[int]:
        return self.items


class Ward:
    """Makes observations of one source. A context manager: what it started ends with it."""

    def __init__(self, chart: Chart, observations: Sequence[Observation]) -> None:
        """`observations`: all that will be asked for."""
        self._bed = _Bed(chart, observations)
        self._limit, self._start_limit = chart.limit, chart.start_limit
        self._errors: dict[int, BaseException] = {}
        self._agenda = _Agenda()
        workers = max(1, min(MOST_BESIDE, usable_cores()))
        faults = Faults(on_error=self._note, retries=0, timeout=self._limit, max_restarts=10_000, recycle_after=1)
        self._config = make_config(
            batch_size=None,
            drop_remainder=False,
            shuffle=self._agenda,
            seed=chart.seed,
            shard=Shard(0, 1),
            ordered=False,
            workers=workers,
            executor="processes",
            prefetch=workers,
            faults=faults,
        )
        self._stream: Stream | None = None  # made when there is something to do, since it asks for its first order

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            with _untold():
                self._stream.close()

    def make(self, tasks: Sequence[Task], progress: Progress) -> dict[Task, Seen]:
        """Carry out some tasks side by side, as far as the cores go.

        Raises:
            NotRebuiltError: the source could not be rebuilt in time.
            Exception: what its unpickling raised.
        """
        if not tasks:
            return {}
        todo = {self._bed.item(task): task for task in tasks}
        self._agenda.items, self._errors = list(todo), {}
        seen: dict[Task, Seen] = {}
        stream = self._stream = self._stream or Stream(self._bed, self._config)
        deadline = threading.Timer(self._start_limit + self._limit * len(todo), stream.close)
        deadline.start()
        try:
            with _untold():
                stream.begin_epoch(shuffle=False)
                while len(seen) + len(self._errors) < len(todo):
                    found = stream.take()
                    item, value = found.value
                    seen[todo[item]] = Seen(value, found.seconds)
                    progress(f"{len(seen) + len(self._errors)} of {len(todo)}")
        except EndOfEpoch:  # the rest has failed
            pass
        except LoaderClosedError:
            raise NotRebuiltError(
                f"the workers were not there after {self._start_limit:.0f} s: importing what the source needs, or "
                "unpickling it, does not end"
            ) from None
        finally:
            deadline.cancel()
            deadline.join()
        return seen | {todo[item]: Seen(Failed(error), 0.0) for item, error in self._errors.items()}

    def _note(self, index: int, error: BaseException) -> Answer:
        self._errors[index] = error
        return "skip"


@contextlib.contextmanager
def _untold() -> Iterator[None]:
    """Observations that could not be made are findings, not items that are missing; nor is their number an index."""
    logger = logging.getLogger("procession")
    logger.addFilter(_nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkippedWarning)
            yield
    finally:
        logger.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False
