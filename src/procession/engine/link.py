"""A loader's line to its template: gives it the source, has it fork workers, hears what became of them."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Sequence

from procession.capture.pickling import Pickled, closed, to_shared
from procession.engine import supervisor
from procession.engine.channel import Channel, Closed
from procession.engine.limits import opened
from procession.engine.messages import Load, Message, Refresh
from procession.engine.obituary import template_obituary
from procession.engine.refreshes import Refreshes
from procession.engine.remote import Sent
from procession.engine.surroundings import surroundings
from procession.errors import TemplateDiedError

FINISH_SECONDS = 2.0  # for the template to end the workers of a loader that closes


class Link:
    """One session with a template at a time; the source is kept, so that another template can be given it."""

    def __init__(self) -> None:
        self._sent: Sent | None = None
        self._refreshed = Refreshes()  # what has changed since it was sent: the next template must catch up with it
        self._control: supervisor.Control | None = None
        self._unread: deque[tuple[Message, list[int]]] = deque()  # received while workers were being started
        self.loaded = False  # this template has rebuilt the source
        self.late = False  # each worker loads the source by itself: something in it must be its own, or when loaded
        self.threads: tuple[str, ...] = ()  # it started these, which do not survive a fork, or
        self.files: tuple[str, ...] = ()  # it opened these, whose offsets a fork would share
        self.imports = True  # the template may import what it names

    @property
    def channel(self) -> Channel | None:
        """The control channel, to wait on; None: there is no template."""
        return None if self._control is None else self._control.channel

    def share(self, parts: Pickled) -> Sent:
        """Share a captured source; return where it lies."""
        self._forget_source()
        self._sent = Sent(*opened(lambda: to_shared(parts), "shared memory for the source"))
        self.late = self._sent.payload.private
        return self._sent

    def connect(self) -> Channel:
        """Give the source to a template, the one that runs or a new one; return the control channel."""
        assert self._sent is not None and self._control is None
        self._control = opened(supervisor.attach, "process to fork workers from")
        self.loaded = False
        modules = self._sent.payload.modules if self.imports else ()
        self.tell(Load(self._sent.payload, surroundings(), self.late, modules), self._sent.descriptors)
        for refresh, descriptors in self._refreshed:
            self.tell(refresh, descriptors)
        return self._control.channel

    def refresh(self, refresh: Refresh, descriptors: Sequence[int]) -> None:
        """Tell of changes to the source; the descriptors are this object's from now on."""
        self.tell(refresh, descriptors)
        self._refreshed.add(refresh, descriptors)

    def tell(self, message: Message, descriptors: Sequence[int]) -> None:
        """Send a message; if the template is gone, `received` says so."""
        assert self._control is not None
        with contextlib.suppress(Closed):
            self._control.channel.send(message, descriptors)

    def drain(self) -> None:
        """Take in what the template says while workers are being started: its answers must not fill the channel."""
        with contextlib.suppress(Closed):  # the next call finds the same
            while self._control is not None and (received := self._control.channel.receive(wait=False)) is not None:
                self._unread.append(received)

    def unread(self) -> bool:
        """Whether something has been taken in that nobody has asked for."""
        return bool(self._unread)

    def received(self) -> tuple[Message, list[int]] | None:
        """The next message, with its descriptors; None: there is none.

        Raises:
            Closed: the template is gone.
        """
        if self._unread:
            return self._unread.popleft()
        return None if self._control is None else self._control.channel.receive(wait=False)

    def obituary(self) -> TemplateDiedError:
        """The error that says what the template died of."""
        assert self._control is not None
        template = self._control.template
        return TemplateDiedError(template_obituary(template.process.pid, template.status()))

    def leave(self, *, retire: bool) -> None:
        """End the session at once, and with it its workers; `retire`: nobody else should be given this template."""
        if self._control is None:
            return
        (channel, template), self._control = self._control, None
        self._forget_unread()
        if retire:
            supervisor.retire(template)
        channel.close()

    def finish(self) -> None:
        """End the session, and wait for its workers to be gone."""
        if self._control is None:
            return
        (channel, template), self._control = self._control, None
        self._forget_unread()
        if template.owner == os.getpid():
            finished = channel.finish(FINISH_SECONDS)
            if not finished or template.process.poll() is not None:
                supervisor.retire(template)  # stuck, or dead: not for loaders to come
            if not finished and not self.loaded:
                template.kill()  # stuck in loading this source, and nobody waits for that any more
        channel.close()

    def close(self) -> None:
        """Finish, and let go of the source."""
        self.finish()
        self._forget_source()

    def _forget_source(self) -> None:
        self._refreshed.close()
        if self._sent is not None:
            closed(self._sent.descriptors)
            self._sent = None

    def _forget_unread(self) -> None:
        for _, descriptors in self._unread:
            for descriptor in descriptors:
                os.close(descriptor)
        self._unread.clear()
