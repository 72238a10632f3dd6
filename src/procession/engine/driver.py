"""The driver: the training process's side of the workers. Waits on their channels and on the template, never polls.

delivery ── submit ─► lend a slot ── Work ─────────────────────► worker
delivery ◄─ events ── park the batch ◄── Results ─────────────── worker
                      tell who died ◄── Exited, or a closed channel ── template
"""

from __future__ import annotations

import contextlib
import os
import select
from collections import deque
from collections.abc import Callable
from typing import Any

from procession.capture.pickling import Pickled, loads, pickled, to_shared
from procession.capture.state import Changes
from procession.engine import supervisor
from procession.engine.arena import Slot
from procession.engine.channel import Channel, Closed
from procession.engine.landing import Landing
from procession.engine.messages import (
    Exited,
    Fork,
    Forked,
    Kill,
    Load,
    Loaded,
    LoadFailed,
    Refresh,
    Result,
    Results,
    Task,
    Work,
)
from procession.engine.obituary import obituary, template_obituary
from procession.engine.ports import Parked
from procession.engine.remote import Remote, Sent
from procession.engine.waker import Waker
from procession.errors import TemplateDiedError, WorkerDiedError, unpack
from procession.events import Died, Done, Event, Failed, Lost
from procession.order.plan import Plan

FINISH_SECONDS = 2.0  # for the template to end the workers of a loader that closes


class Driver:
    """One loader's template session, workers and arena."""

    def __init__(self, workers: int, waker: Waker) -> None:
        self._count = workers
        self._waker = waker
        self._landing = Landing()
        self._sent: Sent | None = None
        self._late = False  # each worker loads the source by itself
        self._threads: tuple[str, ...] = ()  # the reason for that
        self._control: supervisor.Control | None = None
        self._remotes: dict[int, Remote] = {}
        self._poll = select.epoll()
        self._readers: dict[int, Callable[[], list[Event]]] = {}  # descriptor → what to do when it is readable
        self._poll.register(waker, select.EPOLLIN)
        self._plan: Plan | None = None
        self._unread: deque[Any] = deque()  # from the template, received while workers were being started

    @property
    def connected(self) -> bool:
        """Whether a template has the source."""
        return self._control is not None

    def send_source(self, parts: Pickled) -> Sent:
        """Share a captured source and give it to a template; return where it lies."""
        if self._sent is not None:
            os.close(self._sent.descriptor)
        self._sent = Sent(*to_shared(parts))
        self._connect()
        return self._sent

    def begin(self, plan: Plan, changes: Changes | None, workers: int) -> list[int]:
        """Bring everyone up to date and start the workers that are missing; return their numbers."""
        self._plan = plan
        if changes is not None:
            self._refresh(changes)
        missing = [number for number in range(workers) if number not in self._remotes]
        for number in missing:
            self._start(number)
        return missing

    def submit(self, worker: int, tasks: list[tuple[int, int]]) -> None:
        """Lend a slot for each (ticket, position) and send them in one message."""
        remote = self._remotes.get(worker)
        if remote is None:  # it died in between; delivery hears of it with the next wait
            return
        work = []
        for ticket, position in tasks:
            slot = self._landing.arena.lend()
            work.append(Task(ticket, position, slot.offset, slot.capacity))
        self._send_work(remote, work)

    def wait(self, timeout: float | None) -> list[Event]:
        """Block until a worker has reported, ended or failed to start, or until woken."""
        events: list[Event] = []
        while self._unread:
            events.extend(self._told(self._unread.popleft()))
        for descriptor, _ in self._poll.poll(0 if events else timeout):
            reader = self._readers.get(descriptor)
            if reader is not None:  # None: the waker, or closed by what came before it in this round
                events.extend(reader())
        return events

    def open(self, parked: Parked) -> Any:
        """The batch as arrays on the arena."""
        return self._landing.open(parked)

    def discard(self, parked: Parked) -> None:
        """Give back the memory of a batch that is not wanted."""
        self._landing.discard(parked)

    def pids(self) -> dict[int, int]:
        """The workers that run: number → process id."""
        return {number: remote.pid for number, remote in self._remotes.items() if remote.pid is not None}

    @property
    def threads(self) -> tuple[str, ...]:
        """What the source started while it was unpickled, for which its workers are not forked with it."""
        return self._threads

    def close(self) -> None:
        """End the workers, and let go of all but what the consumer holds."""
        self._disconnect()
        if self._sent is not None:
            os.close(self._sent.descriptor)
            self._sent = None
        self._poll.close()
        self._landing.arena.close()

    def _connect(self) -> None:
        assert self._sent is not None
        self._control = supervisor.attach()
        self._listen(self._control.channel, self._read_control)
        surroundings = supervisor.surroundings()
        self._tell_template(Load(self._sent.payload, surroundings, self._late), [self._sent.descriptor])

    def _disconnect(self) -> None:
        """Let the workers and the session end. Slots that were lent stay unused: somebody may still write."""
        for remote in list(self._remotes.values()):
            self._forget(remote)
        if self._control is None:
            return
        (channel, template), self._control = self._control, None
        self._unread.clear()
        self._silence(channel)
        if template.owner == os.getpid() and not channel.finish(FINISH_SECONDS):
            supervisor.retire(template)  # stuck in the unpickling of a source: not for loaders to come
        channel.close()

    def _start(self, number: int) -> None:
        """Have a worker forked; what it is told meanwhile waits in its channel."""
        ours, theirs = Channel.pair()
        self._landing.arena.forget_progress(number)
        remote = Remote(number, ours)
        before = self._remotes.get(number)
        self._remotes[number] = remote
        self._listen(ours, lambda: self._read_worker(remote))
        self._tell_template(Fork(number, self._count), [theirs.fileno(), self._landing.arena.descriptor])
        theirs.close()
        self._drain_control()
        if before is not None and before.tasks:
            self._send_work(remote, list(before.tasks.values()))

    def _send_work(self, remote: Remote, tasks: list[Task]) -> None:
        remote.tasks.update((task.ticket, task) for task in tasks)
        plan = None if remote.plan is self._plan else self._plan
        remote.plan = self._plan
        self._send(remote, Work(tuple(tasks), plan))

    def _refresh(self, changes: Changes) -> None:
        payload, descriptor = to_shared(pickled(changes, "source"))
        try:
            self._tell_template(Refresh(payload), [descriptor])
            for remote in self._remotes.values():
                self._send(remote, Refresh(payload), [descriptor])
        finally:
            os.close(descriptor)

    def _read_worker(self, remote: Remote) -> list[Event]:
        events: list[Event] = []
        try:
            while (received := remote.channel.receive(wait=False)) is not None:
                message, descriptors = received
                assert isinstance(message, Results)
                events.extend(self._event(remote, result, descriptors) for result in message.results)
        except Closed:
            # Its exit is told by the template. If it has only closed its descriptors, it is no worker any more: end it.
            self._silence(remote.channel)
            remote.closed = True
            self._tell_template(Kill(remote.number), [])
        return events

    def _event(self, remote: Remote, result: Result, descriptors: list[int]) -> Event:
        task = remote.tasks.pop(result.ticket)
        slot = Slot(task.offset, task.capacity)
        if result.error is not None:
            self._landing.arena.reclaim(slot)
            return Failed(remote.number, result.ticket, unpack(result.error, loads))
        remote.layout = result.layout or remote.layout
        assert remote.layout is not None
        segment = descriptors.pop(0) if result.in_segment else None
        parked = self._landing.park_remote(remote.layout, result, slot, segment)
        return Done(remote.number, result.ticket, parked, result.seconds)

    def _drain_control(self) -> None:
        """Take in what the template says, for later: one that answers hundreds of forks must not wait for us."""
        with contextlib.suppress(Closed):  # wait() finds the same
            while self._control is not None and (received := self._control.channel.receive(wait=False)) is not None:
                self._unread.append(received[0])

    def _read_control(self) -> list[Event]:
        assert self._control is not None
        try:
            received = self._control.channel.receive(wait=False)
        except Closed:
            template = self._control.template
            return self._give_up(TemplateDiedError(template_obituary(template.process.pid, template.status())))
        return [] if received is None else self._told(received[0])

    def _told(self, message: Any) -> list[Event]:
        match message:
            case Forked(worker, pid):
                if worker in self._remotes:
                    self._remotes[worker].pid = pid
            case Exited(worker, pid, status):
                return self._exited(worker, pid, status)
            case LoadFailed(error):
                return self._give_up(unpack(error, loads))
            case Loaded(threads) if threads:
                self._start_late(threads)
        return []

    def _start_late(self, threads: tuple[str, ...]) -> None:
        """Begin again from a fresh template, where each worker loads the source after its fork."""
        assert self._control is not None
        self._threads, self._late = threads, True
        supervisor.retire(self._control.template)
        channel, self._control = self._control.channel, None
        self._silence(channel)
        channel.close()
        self._connect()
        for number, remote in list(self._remotes.items()):
            self._silence(remote.channel)  # its other end was dropped by the old template, unread
            remote.channel.close()
            self._start(number)

    def _exited(self, worker: int, pid: int, status: int) -> list[Event]:
        remote = self._remotes.get(worker)
        if remote is None or self._plan is None:
            return []
        plan = self._plan
        events = [] if remote.closed else self._read_worker(remote)  # what it reported before
        self._forget(remote)
        for task in remote.tasks.values():  # it is dead: nobody writes there any more
            self._landing.arena.reclaim(Slot(task.offset, task.capacity))
        ticket = self._landing.arena.progress(worker)
        return [*events, Died(worker, ticket, lambda step: WorkerDiedError(obituary(worker, pid, status, plan, step)))]

    def restart(self, worker: int) -> None:
        """Start a worker again, with nothing to do."""
        if self._control is not None:
            self._start(worker)

    def _give_up(self, error: BaseException) -> list[Event]:
        """No worker can be had: fail all tasks with `error`, and start from nothing with the next epoch."""
        events: list[Event] = []
        for remote in list(self._remotes.values()):
            if not remote.closed:
                events.extend(self._read_worker(remote))
        self._disconnect()
        return [*events, Lost(error)]

    def _forget(self, remote: Remote) -> None:
        self._silence(remote.channel)
        remote.channel.close()
        self._remotes.pop(remote.number, None)

    def _send(self, remote: Remote, message: Any, descriptors: list[int] | None = None) -> None:
        with contextlib.suppress(Closed):  # its death is told by the template, with the reason
            remote.channel.send(message, descriptors or ())

    def _tell_template(self, message: Any, descriptors: list[int]) -> None:
        assert self._control is not None
        with contextlib.suppress(Closed):  # wait() reads the same from the channel, and says what it means
            self._control.channel.send(message, descriptors)

    def _listen(self, channel: Channel, reader: Callable[[], list[Event]]) -> None:
        self._readers[channel.fileno()] = reader
        self._poll.register(channel.fileno(), select.EPOLLIN)

    def _silence(self, channel: Channel) -> None:
        if self._readers.pop(channel.fileno(), None) is not None:
            self._poll.unregister(channel.fileno())
