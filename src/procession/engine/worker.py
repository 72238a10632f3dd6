"""A worker: a process that makes one batch after another from its copy of the source and writes them where it is told.

It owns nothing that must survive it: slots belong to the training process, and a packet is sent whole or not at all.
"""

from __future__ import annotations

import faulthandler
import functools
import mmap
import os
import re
import time
from pathlib import Path
from typing import Any, NoReturn

from procession.capture.memory import anonymous, mapped
from procession.capture.pickling import dumps, from_shared, loads
from procession.capture.state import apply
from procession.engine.arena import HAND, ITEM, Slot
from procession.engine.channel import MOST_DESCRIPTORS, Channel, Closed
from procession.engine.generators import Generators, generators_for
from procession.engine.item import Maker, Unmade, WorkerInfo, working
from procession.engine.messages import Fork, LoadFailed, Refresh, Result, Results, Task, Work
from procession.engine.placement import Placement
from procession.engine.stacks import STACK_SIGNAL
from procession.engine.wire import Layout, Parcel, Writing, write
from procession.errors import harmless, pack

REPORT_SECONDS = 1e-3  # finished tasks of one message are reported together, unless they take longer than this
WEIGH_SECONDS = 1.0  # between two looks at the memory: one takes some milliseconds where much is mapped


class Worker:
    """Serves one channel until the other end is closed."""

    def __init__(self, channel: Channel, arena: int, stack: int, source: Any, fork: Fork) -> None:
        self._channel = channel
        self._arena = mapped(os.dup(arena), writable=True)
        self._source = source
        self._number, self._count, self._collects = fork.place, fork.workers, fork.collects
        self._forked = False  # this is a child that the source has forked
        os.register_at_fork(after_in_child=self._note_fork)
        self._hand = self._number * HAND.size  # where to say what is in hand
        # Said before each item is made: the second field of it.
        self._announce = functools.partial(ITEM.pack_into, self._arena, self._hand + ITEM.size)
        self._maker: Maker | None = None
        self._generators: Generators | None = None
        self._layout: Layout | None = None  # the last one sent
        self._nbytes = 0  # of the last one
        self._writing: Writing | None = None  # of the layout that was written last
        self._placement = Placement(self._arena, arena)
        self._placing = False  # for the task in hand
        self._results: list[Result] = []  # not reported yet
        self._segments: list[int] = []  # the descriptors that go with them
        self._weighed = time.monotonic()
        # Both from C, so also while the interpreter is stuck, or past saving.
        faulthandler.enable(stack)
        faulthandler.register(STACK_SIGNAL, stack)

    def serve(self) -> None:
        """Do what the training process asks; return when it has closed the channel."""
        try:
            while True:
                received = self._channel.receive()
                assert received is not None
                message, descriptors = received
                match message:
                    case Work(tasks, plan):
                        if plan is not None:
                            who = f"worker {self._number} (pid {os.getpid()})"
                            self._generators = generators_for(self._source, self._generators)
                            self._maker = Maker(
                                self._source, plan, who, self._generators, self._collects, self._announce
                            )
                        self._work(tasks)
                    case Refresh(payload, _):
                        try:
                            self._source = apply(from_shared(payload, descriptors), self._source)
                        except BaseException as error:
                            self._channel.send(load_failed(error))
        except Closed:
            self._channel.close()

    def _work(self, tasks: tuple[Task, ...]) -> None:
        assert self._maker is not None
        reported = time.monotonic()
        with working(WorkerInfo(self._number, self._count, self._maker.plan.epoch)):
            for task in tasks:
                ticket, _, _, offset, _ = task
                start = time.monotonic()
                HAND.pack_into(self._arena, self._hand, ticket + 1, -1, start)  # should it be the end of us
                result = self._result(self._maker, task, start)
                self._results.append(self._finished(result, offset) if self._placing else result)
                HAND.pack_into(self._arena, self._hand, 0, -1, 0.0)
                now = time.monotonic()
                if now - reported > REPORT_SECONDS or len(self._segments) >= MOST_DESCRIPTORS - 1:
                    self._report(now)
                    reported = now
        self._report(time.monotonic())

    def _result(self, maker: Maker, task: Task, start: float) -> Result:
        ticket, position, _, offset, _ = task
        try:
            parcel, fits, nbytes = self._made(maker, task)
            if self._forked:
                end_fork()
            self._announce(-1)
            rest = self._write_slot(parcel, offset) if fits else self._write_segment(parcel, nbytes)
        except Unmade as unmade:
            if self._forked:
                end_fork()
            failures = tuple((index, pack(error, dumps, loads)) for index, error in unmade.failures)
            return Result(ticket, None, (), 0, False, 0.0, (), failures, unmade.left)
        except BaseException as error:
            maker.note(error, f"raised while batch {position} was written, in {maker.who}")
            first = maker.plan.items(position)[0]
            return Result(ticket, None, (), 0, False, 0.0, (), ((first, pack(error, dumps, loads)),))
        layout = None if parcel.layout is self._layout or parcel.layout == self._layout else parcel.layout
        self._layout, self._nbytes = parcel.layout, nbytes
        seconds = time.monotonic() - start
        placed = parcel.placed if self._placing else 0
        fields = ticket, layout, rest, nbytes, not fits, seconds, parcel.reasons, (), 0, placed, False
        return tuple.__new__(Result, fields)

    def _made(self, maker: Maker, task: Task) -> tuple[Parcel, bool, int]:
        """Make the batch, in place where that is likely to save a copy.

        Returns:
            The batch, whether it fits into its slot, and how many bytes it has.
        """
        placement, (_, position, without, offset, capacity) = self._placement, task
        self._placing = placement.pays(self._nbytes) and maker.plan.batch_size is None and capacity > 0
        if not self._placing:
            parcel = maker.make(position, without, self._layout)
            nbytes = parcel.nbytes
            return parcel, nbytes <= capacity, nbytes
        slot = Slot(offset, capacity)
        placement.begin(slot)
        try:
            parcel = maker.make(position, without, self._layout)
        finally:
            placement.end()
        parcel, fits = placement.placed(parcel, slot)
        return parcel, fits, parcel.nbytes

    def _finished(self, result: Result, offset: int) -> Result:
        """The result of a batch made in place, once nothing of it is held here any more."""
        if self._placement.all_let_go():
            return result
        if result.failures or result.in_segment:
            return result._replace(kept=True)
        # The source goes on using its arrays in the slot: the consumer gets a copy, as they are now.
        descriptor = anonymous(result.nbytes, "batch")
        with mmap.mmap(descriptor, result.nbytes) as memory:
            memory[:] = memoryview(self._arena)[offset : offset + result.nbytes]
        self._segments.append(descriptor)
        return result._replace(in_segment=True, kept=True)

    def _note_fork(self) -> None:
        self._forked = True

    def _write_slot(self, parcel: Parcel, start: int) -> tuple[int, ...]:
        writing = self._writing
        if writing is None or writing.layout is not parcel.layout:
            writing = self._writing = Writing(parcel.layout, self._arena)
        return writing.write(parcel, start)

    def _write_segment(self, parcel: Parcel, nbytes: int) -> tuple[int, ...]:
        descriptor = anonymous(nbytes, "batch")
        try:
            with mmap.mmap(descriptor, nbytes) as memory:
                rest = write(parcel, memory, 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._segments.append(descriptor)
        return rest

    def _report(self, now: float) -> None:
        if self._results:
            memory = None
            if now - self._weighed > WEIGH_SECONDS:
                memory, self._weighed = private_memory(), now
            self._channel.send(Results(tuple(map(tuple, self._results)), memory), self._segments)
            self._results.clear()
            while self._segments:
                os.close(self._segments.pop())


def end_fork() -> NoReturn:
    """End a child that the source has forked, and that has come back from it: two would answer for one worker."""
    text = f"procession: process {os.getpid()}, which the source has forked, ends here: it must not return\n"
    os.write(2, text.encode())
    os._exit(1)


def load_failed(error: BaseException) -> LoadFailed:
    """What to tell of an error in the unpickling of the source."""
    failure = harmless(error, "the unpickling of the source")
    failure.add_note("procession: raised while the source was unpickled for the workers")
    return LoadFailed(pack(failure, dumps, loads))


def private_memory() -> int:
    """Bytes of memory that this process shares with no other, from /proc/self/smaps_rollup (Linux 4.14)."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text()
    except OSError:
        return 0
    return 1024 * sum(int(size) for size in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))
