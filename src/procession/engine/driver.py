"""The driver: the training process's side of the workers. Waits on their channels and on the template, never polls.

delivery ── submit ─► lend a slot ── Work ─────────────────────► worker
delivery ◄─ events ── park the batch ◄── Results ─────────────── worker
                      tell who died ◄── Exited, or a closed channel ── template
"""

from __future__ import annotations

import itertools
from typing import Any

from procession.capture.pickling import Pickled, loads, to_shared
from procession.capture.state import Changes, sent
from procession.config import Faults
from procession.engine.channel import Closed
from procession.engine.crew import Crew
from procession.engine.landing import Landing
from procession.engine.limits import not_started, opened
from procession.engine.link import Link
from procession.engine.messages import Exited, Forked, Loaded, LoadFailed, NotForked, Refresh
from procession.engine.ports import Assignment, InHand, Parked
from procession.engine.readers import Readers
from procession.engine.remote import Sent
from procession.engine.waker import Waker
from procession.errors import TemplateDiedError, unpack
from procession.events import Event, Lost, NotStarted, TemplateDied
from procession.order.plan import Plan


class Driver:
    """One loader's template session, workers and arena."""

    def __init__(self, workers: int, faults: Faults, waker: Waker) -> None:
        self._landing = opened(Landing, "shared memory for batches")
        self.open = self._landing.open  # no method: each batch goes through here
        self._link = Link()
        self._readers: Readers[list[Event]] = Readers()
        self._readers.listen(waker.fileno(), list)  # who is woken looks around
        self._crew = Crew(workers, faults, self._landing, self._readers)
        self._plan: Plan | None = None
        self._workers = 0  # how many there are to be in this epoch
        self._untold: list[Event] = []  # will be told with the next wait

    @property
    def connected(self) -> bool:
        """Whether a template has the source."""
        return self._link.channel is not None

    def facts(self) -> dict[str, Any]:
        """Process ids by worker, and the threads and files that kept the source from being forked."""
        return {"pids": self._crew.pids(), "threads": self._link.threads, "files": self._link.files}

    def send_source(self, parts: Pickled) -> Sent:
        """Share a captured source and give it to a template; return where it lies."""
        sent = self._link.share(parts)
        self._connect()
        return sent

    def begin(self, plan: Plan, changes: Changes | None, workers: int) -> list[int]:
        """Bring everyone up to date and start the workers that are missing; return their names."""
        self._plan = plan
        if changes is not None:
            self._refresh(changes)
        self._workers = workers
        return self._start_missing()

    def submit(self, worker: int, assignments: list[Assignment]) -> None:
        """Give tasks to a worker."""
        self._crew.submit(worker, assignments, self._plan)

    def wait(self, timeout: float | None) -> list[Event]:
        """Block until a worker has reported, ended or failed to start, or until woken."""
        events, self._untold = self._untold, []
        while self._link.unread():
            events.extend(self._read_link())
        for read in self._readers.wait(0 if events else timeout):
            events.extend(read)
        if any(isinstance(event, Lost) for event in events):  # nobody can load the source
            self._disconnect()
        return events

    def in_hand(self) -> list[InHand]:
        """What each worker is at."""
        return self._crew.in_hand()

    def stack(self, worker: int) -> str:
        """The Python stack of a worker."""
        return self._crew.stack(worker)

    def end_overdue(self, worker: int) -> None:
        """End a worker that takes too long."""
        self._crew.end_overdue(worker)

    def discard(self, parked: Parked) -> None:
        """Give back the memory of a batch that is not wanted."""
        self._landing.discard(parked)

    def replace(self, worker: int) -> list[int]:
        """Start a worker in the place of one that is idle and leaves by itself, or has died; return its name."""
        remote = self._crew.find(worker)
        place = self._free_place() if remote is None else remote.place
        if remote is not None:
            self._crew.forget(remote)
        return [self._crew.start(place, self._link)] if self.connected else []

    def reload(self) -> list[int]:
        """Start a template again, and all workers of the epoch; return their names."""
        try:
            self._connect()
        except TemplateDiedError as error:  # as soon as it was started: the bounds on deaths are for this too
            self._untold.append(TemplateDied(False, lambda error=error: error))  # type: ignore[misc]
            return []
        return self._start_missing()

    def close(self) -> None:
        """End the workers, and let go of all but what the consumer holds."""
        self._disconnect()
        self._link.close()
        self._readers.close()
        self._landing.arena.close()

    def _start_missing(self) -> list[int]:
        taken = self._crew.places()
        return [self._crew.start(place, self._link) for place in range(self._workers) if place not in taken]

    def _free_place(self) -> int:
        taken = self._crew.places()
        return next(place for place in itertools.count() if place not in taken)

    def _connect(self) -> None:
        self._readers.listen(self._link.connect().fileno(), self._read_link)

    def _disconnect(self) -> None:
        self._crew.forget_all()
        self._hang_up()
        self._link.finish()

    def _hang_up(self) -> None:
        if self._link.channel is not None:
            self._readers.silence(self._link.channel.fileno())

    def _refresh(self, changes: Changes) -> None:
        payload, descriptors = to_shared(sent(changes))
        refresh = Refresh(payload, (*changes.attributes, *changes.removed))
        self._link.refresh(refresh, descriptors)
        self._crew.refresh(refresh, descriptors)

    def _read_link(self) -> list[Event]:
        try:
            received = self._link.received()
        except Closed:
            return self._template_died()
        if received is None:
            return []
        message, descriptors = received
        match message:
            case Forked(name, pid):
                self._crew.forked(self._crew.find(name), pid, descriptors[0])
            case NotForked(name, number):
                remote = self._crew.find(name)
                if remote is not None:
                    self._crew.bury(remote)
                    return [NotStarted(name, not_started(remote.place, number))]
            case Exited(name, status):
                remote = self._crew.find(name)
                return [] if remote is None else self._crew.exited(remote, status)
            case LoadFailed(error):
                return [Lost(unpack(error, loads))]
            case Loaded(threads, files, imported):
                self._link.loaded = True
                if threads or files:
                    self._link.threads, self._link.files, self._link.imports = threads, files, imported
                    self._start_late()
        return []

    def _template_died(self) -> list[Event]:
        """Its workers die with it (PDEATHSIG); what they reported before is good."""
        events = self._crew.read_all()
        loaded, error = self._link.loaded, self._link.obituary()
        self._hang_up()
        self._link.leave(retire=True)
        self._crew.end_all()
        return [*events, TemplateDied(loaded, lambda: error)]

    def _start_late(self) -> None:
        """Begin again from a fresh template, where each worker loads the source after its fork."""
        self._link.late = True
        self._hang_up()
        self._link.leave(retire=True)
        self._connect()
        self._crew.start_anew(self._link)
