"""What Keras's calls mean for a stream: which of them are epochs, and which are only looks at a batch.

Keras calls `on_epoch_begin` and `on_epoch_end` of its adapter around each epoch, but also around the single batch that
it reads to build a model (its `EpochIterator.reset` then calls `on_epoch_end`, with or without a begin), and it makes
new iterators in the middle and ahead of time. The source's hooks must see each epoch once.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from procession.errors import BatchError
from procession.order.plan import Plan
from procession.stream import EndOfEpoch, Stream


class Epochs:
    """Turns an adapter's calls into those of a stream.

    Keras's epoch and the order of the source need not be the same: with `steps_per_epoch` an order goes on over several
    epochs, or ends within one. And others may read from the same loader in between (validation, a callback that
    evaluates): the order is then taken up again where this reader left it.
    """

    def __init__(self, stream: Stream, *, shuffle: bool, steps_per_epoch: int | None) -> None:
        self.stream = stream
        self._shuffle = shuffle
        self._steps = steps_per_epoch
        self._open = False  # between Keras's begin and its end
        self._plan: Plan | None = None  # the order being read, as the stream last started it for us
        self._read = 0  # steps of _plan read
        self._kept: deque[Any] = deque()  # read for a look, to be handed out before what the stream has next
        self._taken = 0  # batches of this order handed out
        self._first: Any = None  # the first of them, while it is the only one: it may have been for a look

    def begin(self) -> None:
        """Keras begins an epoch; nothing if a look has begun it already."""
        if self._open:
            return
        self._open = True
        if self._plan is None or self.exhausted:
            self._begin_order(())
        else:
            self._follow(self.stream.resume(self._plan, self.position, self._ahead()))

    def end(self) -> None:
        """Keras ends an epoch; nothing if none has begun."""
        if self._open:
            self._open = False
            self.stream.end_epoch()

    def restart(self) -> None:
        """Keras reads from a new iterator: what was read from the one before was a look, unless it was all."""
        self.begin()
        if self._taken == 1:
            self._kept.appendleft(self._first)
        elif self._taken and self._plan is not None:
            self._kept.clear()
            self._follow(self.stream.reopen(self._plan, 0, self._ahead()))
        self._taken, self._first = 0, None

    def again(self) -> None:
        """A new pass, which is an epoch in every case; a look that nothing was read after has begun the first."""
        if not self._open or self._taken:
            self._open = True
            self._begin_order(())

    def next(self) -> Any:
        """The next batch.

        Raises:
            EndOfEpoch: the order is at its end.
        """
        if self._plan is None or not self.exhausted:
            self.begin()  # Keras before 3.5 does not say so
        batch = self._kept.popleft() if self._kept else self._take()
        self._taken += 1
        self._first = batch if self._taken == 1 else None
        return batch

    def look(self) -> list[tuple[str, Any]]:
        """Some batches of the order that begins now, each with its name: the first two, one of the middle, the last.

        The first two are handed out again by `next`; the others are made once more when their turn comes.
        """
        positions = self.stream.plan().positions
        probes = () if positions is None or positions < 3 else tuple({positions // 2, positions - 1} - {0, 1})
        self._open = True
        self._begin_order(probes)
        assert self._plan is not None
        seen: list[tuple[str, Any]] = []
        probed: list[tuple[str, Any]] = []
        while len(seen) < min(2, positions or 2):
            try:
                batch = self._take()
            except EndOfEpoch:  # some were skipped
                break
            step = self._read - 1
            name = f"batch {self._plan.position(step)} of epoch {self._plan.epoch}"
            (seen if step >= len(probes) else probed).append((name, batch))
        self._kept.extend(batch for _, batch in seen)
        if not seen and not probed:
            raise BatchError(
                "no batch could be looked at: all that were tried failed, and were skipped (Faults.on_error). "
                "TensorFlow has to know their structure; Loader.statistics().skipped says what failed"
            )
        return [*seen, *probed]

    @property
    def position(self) -> int:
        """The position of the order that is read from the stream next."""
        return 0 if self._plan is None else self._plan.position(self._read)

    @property
    def exhausted(self) -> bool:
        """Whether the order has been handed out to its end."""
        steps = 0 if self._plan is None else self._plan.steps
        return not self._kept and steps is not None and self._read >= steps

    def where(self) -> str:
        """Which batch was handed out last, for messages."""
        epoch = 0 if self._plan is None else self._plan.epoch
        return f"batch {self.position - 1 - len(self._kept)} of epoch {epoch}"

    def _take(self) -> Any:
        if self._plan is not None and self.stream.current is not self._plan:
            self._follow(self.stream.reopen(self._plan, self.position, self._ahead()))
        try:
            batch = self.stream.take()
        except EndOfEpoch:
            self._read = self.stream.step
            raise
        self._read = self.stream.step  # further by more than one where batches were skipped
        return batch

    def _begin_order(self, probes: tuple[int, ...]) -> None:
        ahead = self._ahead()
        ahead = None if ahead is None else ahead + len(probes)
        self._follow(self.stream.begin_epoch(shuffle=self._shuffle, probes=probes, ahead=ahead))
        self._kept.clear()
        self._taken, self._first = 0, None

    def _follow(self, plan: Plan) -> None:
        if plan is not self._plan:
            self._plan, self._read = plan, 0

    def _ahead(self) -> int | None:
        """How far workers may go: where hooks will change the source, not past the end of Keras's epoch."""
        return self._steps if self.stream.hooks else None
