"""A worker: a process that makes one batch after another from its copy of the source and writes them where it is told.

It owns nothing that must survive it: slots belong to the training process, and a packet is sent whole or not at all.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import Any

from procession.capture.memory import anonymous, mapped
from procession.capture.pickling import dumps, from_shared, loads
from procession.capture.state import apply
from procession.engine.arena import WORD
from procession.engine.channel import MOST_DESCRIPTORS, Channel, Closed
from procession.engine.item import Maker, WorkerInfo, working
from procession.engine.messages import Refresh, Result, Results, Task, Work
from procession.engine.wire import Layout, Parcel, write
from procession.errors import pack

REPORT_SECONDS = 1e-3  # finished tasks of one message are reported together, unless they take longer than this


class Worker:
    """Serves one channel until the other end is closed."""

    def __init__(self, channel: Channel, arena: int, source: Any, number: int, count: int) -> None:
        self._channel = channel
        self._arena = mapped(arena, writable=True)
        self._source = source
        self._number = number
        self._pid = os.getpid()
        self._count = count
        self._maker: Maker | None = None
        self._layout: Layout | None = None  # the last one sent
        self._results: list[Result] = []  # not reported yet
        self._segments: list[int] = []  # the descriptors that go with them

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
                            self._maker = Maker(self._source, plan, who, seeds_globals=True)
                        self._work(tasks)
                    case Refresh(payload):
                        self._source = apply(from_shared(payload, descriptors[0]), self._source)
        except Closed:
            self._channel.close()

    def _work(self, tasks: tuple[Task, ...]) -> None:
        assert self._maker is not None
        reported = time.perf_counter()
        word = self._number * WORD.size
        with working(WorkerInfo(self._number, self._count, self._maker.plan.epoch)):
            for task in tasks:
                start = time.perf_counter()
                WORD.pack_into(self._arena, word, task.ticket + 1)  # should this be the end of us: over this one
                self._results.append(self._result(self._maker, task, start))
                WORD.pack_into(self._arena, word, 0)
                if time.perf_counter() - reported > REPORT_SECONDS or len(self._segments) >= MOST_DESCRIPTORS - 1:
                    self._report()
                    reported = time.perf_counter()
        self._report()

    def _result(self, maker: Maker, task: Task, start: float) -> Result:
        try:
            parcel = maker.make(task.position)
            self._check_forked()
            nbytes = parcel.nbytes
            if nbytes <= task.capacity:
                rest = write(parcel, self._arena, task.offset)
            else:
                rest = self._write_segment(parcel, nbytes)
        except BaseException as error:
            self._check_forked()
            if not getattr(error, "__notes__", None):
                error.add_note(f"procession: raised while batch {task.position} was written, in {maker.who}")
            return Result(task.ticket, None, (), 0, False, time.perf_counter() - start, (), pack(error, dumps, loads))
        layout = None if parcel.layout == self._layout else parcel.layout
        self._layout = parcel.layout
        seconds = time.perf_counter() - start
        return Result(task.ticket, layout, rest, nbytes, nbytes > task.capacity, seconds, parcel.reasons)

    def _check_forked(self) -> None:
        if os.getpid() != self._pid:
            # The source has forked, and the child has come back from it: two would answer for one worker.
            text = f"procession: process {os.getpid()}, which the source has forked, ends here: it must not return\n"
            os.write(2, text.encode())
            os._exit(1)

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

    def _report(self) -> None:
        if self._results:
            self._channel.send(Results(tuple(self._results)), self._segments)
            self._results.clear()
            while self._segments:
                os.close(self._segments.pop())
