"""The workers of a loader, as the training process has them: started, given tasks, listened to, buried."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from typing import Any

from procession.capture.pickling import loads
from procession.config import Faults
from procession.engine.arena import Hand, Slot, segment_buffer
from procession.engine.channel import Channel, Closed
from procession.engine.landing import Landing
from procession.engine.limits import opened
from procession.engine.link import Link
from procession.engine.messages import Fork, LoadFailed, Refresh, Results, Work
from procession.engine.obituary import At, Deceased, obituary
from procession.engine.ports import Assignment, InHand, Parked
from procession.engine.readers import Readers
from procession.engine.remote import Remote
from procession.engine.shutdown import await_end, kill
from procession.engine.stacks import StackPipe, shortened
from procession.errors import unpack
from procession.events import Died, Done, Event, Failed, Failure, Lost, Outgrown
from procession.order.plan import Plan

END_SECONDS = 2.0  # for a killed process to be gone


class Crew:
    """Workers. Each has a name, a number that no other ever has; and a place, which it may have had from another."""

    def __init__(self, size: int, faults: Faults, landing: Landing, readers: Readers[list[Event]]) -> None:
        self._size = size
        self._faults = faults
        self._landing = landing
        self._readers = readers
        self._remotes: dict[int, Remote] = {}  # by name
        self._names = itertools.count()

    def places(self) -> list[int]:
        """The places that are taken."""
        return [remote.place for remote in self._remotes.values()]

    def pids(self) -> dict[int, int]:
        """The workers that run: place → process id."""
        return {remote.place: remote.pid for remote in self._remotes.values() if remote.pid is not None}

    def find(self, name: int) -> Remote | None:
        """A worker, if it is still there."""
        return self._remotes.get(name)

    def start(self, place: int, link: Link) -> int:
        """Have a worker forked; it can be given tasks at once. Return its name.

        Raises:
            LimitError: there is no descriptor left for its channel.
        """
        name = next(self._names)
        remote = Remote(name, place, *self._fork(name, place, link))
        self._adopt(remote)
        return name

    def start_anew(self, link: Link) -> None:
        """Start all again, from another template, with the tasks and the names that they have."""
        for before in list(self._remotes.values()):
            self.forget(before)  # the other end of its channel was dropped, unread
            remote = Remote(before.name, before.place, *self._fork(before.name, before.place, link))
            self._adopt(remote)
            if before.tasks:
                self.send_work(remote, list(before.tasks.values()), before.plan)

    def _fork(self, name: int, place: int, link: Link) -> tuple[Channel, StackPipe]:
        ours, theirs = opened(Channel.pair, f"channel to worker {place}")
        stack = opened(StackPipe, f"pipe for the stack of worker {place}")
        self._landing.arena.empty_hand(place)
        ends = [theirs.fileno(), self._landing.arena.descriptor, stack.write]
        link.tell(Fork(name, place, self._size, self._faults.on_error != "raise"), ends)
        theirs.close()
        stack.sent()
        link.drain()
        return ours, stack

    def _adopt(self, remote: Remote) -> None:
        self._remotes[remote.name] = remote
        self._readers.listen(remote.channel.fileno(), lambda: self.read(remote))

    def forked(self, remote: Remote | None, pid: int, watch: int) -> None:
        """A worker runs; `watch` is a pidfd of it."""
        if remote is None:  # it has been let go before it began
            os.close(watch)
            return
        remote.pid, remote.watch = pid, watch
        if remote.closed:
            kill(watch)

    def submit(self, name: int, assignments: list[Assignment], plan: Plan | None) -> None:
        """Lend a slot for each task and send them in one message."""
        remote = self._remotes.get(name)
        if remote is not None:  # else it died in between; delivery hears of it with the next wait
            slots = self._landing.arena.lend(len(assignments))
            self.send_work(remote, list(zip(assignments, slots, strict=True)), plan)

    def send_work(self, remote: Remote, tasks: list[tuple[Assignment, Slot]], plan: Plan | None) -> None:
        """Send tasks for which slots have been lent."""
        if not remote.tasks and remote.heard is not None:
            remote.heard = time.monotonic()
        remote.tasks.update({task[0].ticket: task for task in tasks})
        told, remote.plan = remote.plan, plan
        remote.send(Work(tuple([(*assignment, *slot) for assignment, slot in tasks]), None if told is plan else plan))

    def refresh(self, refresh: Refresh, descriptors: Sequence[int]) -> None:
        """Tell all of changes to the source."""
        for remote in self._remotes.values():
            remote.send(refresh, descriptors)

    def read_all(self) -> list[Event]:
        """What has been reported and not been read yet."""
        return [event for remote in self._remotes.values() if not remote.closed for event in self.read(remote)]

    def read(self, remote: Remote) -> list[Event]:
        """What a worker has reported."""
        events: list[Event] = []
        try:
            while (received := remote.channel.receive(wait=False)) is not None:
                message, descriptors = received
                if isinstance(message, LoadFailed):  # the source, which this worker was to load by itself
                    events.append(Lost(unpack(message.error, loads)))
                    continue
                assert isinstance(message, Results)
                remote.heard = time.monotonic()
                events.extend(self._event(remote, result, descriptors) for result in message.results)
                if message.memory is not None:
                    remote.memory = message.memory
                    if message.memory > (self._faults.max_memory or message.memory):
                        events.append(Outgrown(remote.name))
        except Closed:
            # Its exit is told by the template. If it has only closed its descriptors, it is no worker any more: end it.
            self._readers.silence(remote.channel.fileno())
            remote.closed = True
            if remote.watch is not None:
                kill(remote.watch)
        return events

    def _event(self, remote: Remote, result: tuple[Any, ...], descriptors: list[int]) -> Event:
        ticket, layout, rest, nbytes, in_segment, seconds, reasons, failures, left, placed, kept = result  # a `Result`
        _, slot = remote.tasks.pop(ticket)
        if kept:
            remote.kept.append(slot)
        elif failures or in_segment:
            self._landing.arena.reclaim(slot)
        if failures:
            raised = tuple(Failure(index, unpack(error, loads)) for index, error in failures)
            return Failed(remote.name, ticket, raised, left)
        if layout is not None:
            remote.layout = layout
        assert remote.layout is not None
        memory = segment_buffer(descriptors.pop(0), nbytes) if in_segment else slot
        self._landing.arena.fit(nbytes)
        parked = tuple.__new__(Parked, (remote.layout, rest, nbytes, memory, reasons, placed))
        return tuple.__new__(Done, (remote.name, ticket, parked, seconds))

    def in_hand(self) -> list[InHand]:
        """What each worker is at, for those that are at something."""
        found = []
        for remote in self._remotes.values():
            hand = self._landing.arena.in_hand(remote.place)
            if hand is not None and hand.ticket not in remote.tasks:  # left there by the one that had the place before
                hand = None
            if hand is None and remote.tasks and remote.heard is not None:  # it does not take up what it has been sent
                hand = Hand(next(iter(remote.tasks)), -1, remote.heard)
            if hand is not None:
                found.append(InHand(remote.name, f"worker {remote.place} (pid {remote.pid})", *hand))
        return found

    def stack(self, name: int) -> str:
        """The Python stack of a worker, as it writes it; empty if it cannot."""
        remote = self._remotes.get(name)
        return "" if remote is None or remote.watch is None else shortened(remote.stack.ask(remote.watch))

    def end_overdue(self, name: int) -> None:
        """End a worker that takes too long; its death is told as any other, with its stack."""
        remote = self._remotes.get(name)
        if remote is not None and remote.watch is not None and remote.overdue is None:
            remote.overdue = self.stack(name)
            kill(remote.watch)

    def exited(self, remote: Remote, status: int) -> list[Event]:
        """Bury a worker that the template has collected."""
        events = [] if remote.closed else self.read(remote)  # what it reported before
        died = self._death(remote, self._landing.arena.in_hand(remote.place), status)
        self.bury(remote)
        return [*events, died]

    def bury(self, remote: Remote) -> None:
        """Take back the slots of a worker that is dead, or never lived: nobody writes there any more."""
        self.forget(remote)
        for slot in remote.slots():
            self._landing.arena.reclaim(slot)

    def _death(self, remote: Remote, hand: Hand | None, status: int) -> Died:
        stack = remote.overdue or shortened(remote.stack.read())
        dead = Deceased(remote.place, remote.pid or 0, status, remote.memory, stack, remote.overdue is not None)
        faults, plan = self._faults, remote.plan
        if hand is None or hand.ticket not in remote.tasks or plan is None:
            return Died(remote.name, None, -1, 0, lambda: obituary(dead, faults, None))
        task, _ = remote.tasks[hand.ticket]
        items = plan.items(task.position)
        single = hand.item >= 0  # else it died over the batch as such
        left = sum(item not in (*task.without, hand.item) for item in items) if single else 0
        at = At(plan, task.position, [hand.item] if single else items, time.monotonic() - hand.since)
        return Died(remote.name, hand.ticket, at.items[0], left, lambda: obituary(dead, faults, at))

    def end_all(self) -> None:
        """Kill all, whose template is gone, and take back their slots once nobody writes there."""
        for remote in self._remotes.values():
            if remote.watch is not None:
                kill(remote.watch)
        deadline = time.monotonic() + END_SECONDS
        for remote in list(self._remotes.values()):
            gone = remote.watch is not None and await_end(remote.watch, deadline)
            back = self._landing.arena.reclaim if gone else self._landing.arena.abandon
            for slot in remote.slots():
                back(slot)
            self.forget(remote)

    def forget(self, remote: Remote) -> None:
        """Let a worker go: if it runs, and is idle, it leaves by itself."""
        self._readers.silence(remote.channel.fileno())
        remote.close()
        self._remotes.pop(remote.name, None)

    def forget_all(self) -> None:
        """Let all go. Slots that were lent stay unused: somebody may still write."""
        for remote in list(self._remotes.values()):
            self.forget(remote)
