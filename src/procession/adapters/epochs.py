"""What Keras's calls mean for a stream: which of them are epochs, and which are only looks at a batch.

Keras calls `on_epoch_begin` and `on_epoch_end` of its adapter around each epoch, but also around the single batch that
it reads to build a model (its `EpochIterator.reset` then calls `on_epoch_end`, with or without a begin), and it makes
new iterators in the middle and ahead of time. The source's hooks must see each epoch once.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from procession.capture.state import bound
from procession.errors import BatchError
from procession.order.plan import Plan
from procession.order.rest import Rest
from procession.order.state import State
from procession.stream import EndOfEpoch, Stream

MOST_LOOKED_AT = 16  # batches in a look, for probes to come by
MOST_PLACES = 4096  # remembered: of batches handed out, and perhaps not trained on yet


class Streamed:
    """What has a stream that adapters can read from: a `Loader`."""

    _stream: Stream


class Taken(NamedTuple):
    """A batch, its position in its order, and what was left of that before it was taken."""

    batch: Any
    position: int
    before: Rest


class Place(NamedTuple):
    """From a batch on, counted as they are handed out, the order is read position by position."""

    handed: int  # batches handed out before
    plan: Plan
    rest: Rest

    def after(self, handed: int) -> Rest:
        """What is left of the order when so many batches have been handed out."""
        return self.rest._replace(first=self.rest.first + handed - self.handed)


class Epochs:
    """Turns an adapter's calls into those of a stream.

    Keras's epoch and the order of the source need not be the same: with `steps_per_epoch` an order goes on over several
    epochs, or ends within one. And others may read from the same loader in between (validation, a callback that
    evaluates): the order is then taken up again where this reader left it.
    """

    def __init__(self, stream: Stream, *, shuffle: bool, steps_per_epoch: int | None) -> None:
        self.stream = stream
        self._shuffle = shuffle
        self.steps = steps_per_epoch
        self._open = False  # between Keras's begin and its end
        self._plan: Plan | None = None  # the order being read, as the stream last started it for us
        self._begun = Rest()  # of _plan, when it was begun
        self._rest = Rest()  # of _plan, after what was taken from the stream
        self._position = 0  # of the batch handed out last
        self._kept: deque[Taken] = deque()  # taken for a look, to be handed out before what the stream has next
        self._taken = 0  # batches of this order handed out
        self._first: Taken | None = None  # the first of them, while it is the only one: it may have been for a look
        self._changed = False  # hooks have changed the source in the middle of an order
        self._asked: Any = None  # the order that was last
        self._bound: Any = None  # which objects the source's attributes were when the order was begun
        self.handed = 0  # batches handed out in all, but for looks
        self._places: deque[Place] = deque(maxlen=MOST_PLACES)
        self.noted = 0  # places in all, those included that are forgotten again

    def begin(self) -> None:
        """Keras begins an epoch; nothing if a look has begun it already."""
        if self.stream.resuming:  # whatever was looked at before is of no use now
            self._open = True
            self._forget(self._taken)
            self._begin_order(())
        if self._open:
            return
        self._open = True
        if self._plan is None or self.exhausted:
            self._begin_order(())
        else:
            self._plan = self.stream.resume(self._plan, self._rest, self._ahead())
            self._changed = bool(self.stream.hooks)

    def take_up_changes(self) -> None:
        """Before an epoch that a look has begun already: what a callback has set on the source since is for it too."""
        if self._open and self._plan is not None and bound(self.stream.indexed) != self._bound:
            self._bound = bound(self.stream.indexed)
            self._kept.clear()
            self._rest = self._begun
            self._plan = self.stream.reopen(self._plan, self._begun, self._ahead())
            self._forget(self._taken)

    def end(self) -> None:
        """Keras ends an epoch; nothing if none has begun."""
        if self._open:
            self._open = False
            self.stream.end_epoch()

    def restart(self) -> None:
        """Keras reads from a new iterator: what was read from the one before was a look, unless it was all."""
        self.begin()
        if self._first is not None:
            self._kept.appendleft(self._first)
        elif self._taken and self._plan is not None:
            self._kept.clear()
            self._rest = self._begun
            self._plan = self.stream.reopen(self._plan, self._begun, self._ahead())
        self._forget(self._taken)

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
        if self._plan is None or not self.exhausted or self.stream.resuming:
            self.begin()  # Keras before 3.5 does not say so
        taken = self._kept.popleft() if self._kept else self._take_own()
        self._note(taken.before)
        self._position = taken.position
        self._taken += 1
        self._first = taken if self._taken == 1 else None
        return taken.batch

    def state_after(self, handed: int) -> State:
        """The state of the stream as of a time when so many batches had been handed out."""
        place = next((place for place in reversed(self.places()) if place.handed <= handed), None)
        if place is None:
            return self.stream.state()
        return self.stream.state_at(place.plan, place.after(handed))

    def places(self) -> list[Place]:
        """Where the order was read from, oldest first; what lies between two goes on position by position."""
        return list(self._places)

    def _note(self, before: Rest) -> None:
        """A batch is handed out."""
        assert self._plan is not None
        last = self._places[-1] if self._places else None
        if (
            self._changed
            or last is None
            or last.plan.order is not self._plan.order
            or last.after(self.handed) != before
        ):
            self._changed = False
            self._places.append(Place(self.handed, self._plan, before))
            self.noted += 1
        self.handed += 1

    def _forget(self, looked_at: int) -> None:
        """What was handed out last was for a look."""
        self.handed -= looked_at
        while self._places and self._places[-1].handed >= self.handed:
            self._places.pop()
            self.noted -= 1
        self._taken, self._first = 0, None

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
        late = 0 if self.stream.config.ordered else MOST_LOOKED_AT  # probes need not come first then
        while len(seen) < min(2, positions or 2) or (len(probed) < len(probes) and len(seen) < late):
            try:
                taken = self._take()
            except EndOfEpoch:  # some were skipped
                break
            named = f"batch {taken.position} of epoch {self._plan.epoch}", taken.batch
            if self._rest == taken.before:  # nothing of the order itself: a probe
                self.stream.discount()
                probed.append(named)
            else:
                seen.append(named)
                self._kept.append(taken)
        if not seen and not probed:
            raise BatchError(
                "no batch could be looked at: all that were tried failed, and were skipped (Faults.on_error). "
                "TensorFlow has to know their structure; Loader.statistics().skipped says what failed"
            )
        return [*seen, *probed]

    @property
    def exhausted(self) -> bool:
        """Whether the order has been handed out to its end."""
        positions = 0 if self._plan is None else self._plan.positions
        return not self._kept and positions is not None and self._rest.count(positions) <= 0

    def left(self) -> int | None:
        """How many batches the order has left; None: there is no end, or no order."""
        positions = None if self._plan is None else self._plan.positions
        looked_at = len(self._kept) + (self._first is not None)
        return None if positions is None else looked_at + self._rest.count(positions)

    def goes_on(self) -> bool:
        """Whether the order had been begun before, and this has not been asked for it yet."""
        order = None if self._plan is None else self._plan.order
        new, self._asked = order is not self._asked, order
        return new and self.is_short

    @property
    def is_short(self) -> bool:
        """Whether fewer batches are read than Keras expects, since an epoch goes on that was begun before."""
        return self._begun != Rest()

    def where(self) -> str:
        """Which batch was handed out last, for messages."""
        epoch = 0 if self._plan is None else self._plan.epoch
        return f"batch {self._position} of epoch {epoch}"

    def _take_own(self) -> Taken:
        """The next batch of the order; probes that come late are passed over."""
        while (taken := self._take()).before == self._rest:
            self.stream.discount()
        return taken

    def _take(self) -> Taken:
        if self._plan is not None and self.stream.current is not self._plan:
            self._plan = self.stream.reopen(self._plan, self._rest, self._ahead())
        before = self._rest
        try:
            batch = self.stream.take()
        except EndOfEpoch:
            self._rest = self.stream.rest()
            raise
        self._rest = self.stream.rest()  # further by more than one where batches were skipped
        return Taken(batch, self.stream.position, before)

    def _begin_order(self, probes: tuple[int, ...]) -> None:
        ahead = self._ahead()
        ahead = None if ahead is None else ahead + len(probes)
        self._plan = self.stream.begin_epoch(shuffle=self._shuffle, probes=probes, ahead=ahead)
        self._rest = self._begun = self._plan.rest
        self._kept.clear()
        self._taken, self._first = 0, None
        self._bound = bound(self.stream.indexed)

    def _ahead(self) -> int | None:
        """How far workers may go: where hooks will change the source, not past the end of Keras's epoch."""
        return self.steps if self.stream.hooks else None
