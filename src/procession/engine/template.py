"""The template process: imports and unpickles each loader's source once, and forks workers from what it then has.

It has one thread, runs nothing of a source but its unpickling, and serves any number of loaders, each over a control
channel of its own. It ends, and everything it forked with it, when the training process does.

    bootstrap channel ── Attach ──► one Session a loader ── Load ─► source ── Fork ─► worker
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import time
import traceback
from typing import Any, NamedTuple, NoReturn

from procession.capture.pickling import closed, from_shared
from procession.capture.state import apply
from procession.engine.channel import Channel, Closed
from procession.engine.loading import loading
from procession.engine.messages import (
    Exited,
    Finish,
    Fork,
    Forked,
    Load,
    Loaded,
    NotForked,
    Preload,
    Preloaded,
    Refresh,
)
from procession.engine.readers import Readers
from procession.engine.refreshes import Refreshes
from procession.engine.shutdown import await_end, die_with_parent, flush, kill, leave
from procession.engine.surroundings import files, import_all, opened_since, take_over, threads
from procession.engine.worker import Worker, load_failed

GRACE_SECONDS = 0.25  # for workers to leave by themselves when their loader closes
IDLE_SECONDS = 1.0  # before cycles of sources that have gone are collected: 0.2 s where TensorFlow has been imported


class Child(NamedTuple):
    """A worker as its template knows it."""

    name: int
    pid: int
    watch: int  # a pidfd: readable once the process has ended
    session: Session


class Session:
    """One loader's side of the template."""

    def __init__(self, template: Template, channel: Channel) -> None:
        self.template = template
        self.channel = channel
        self.children: dict[int, Child] = {}  # process id → child
        self._source: Any = None
        self._forks = False  # whether workers may be forked
        self._load: Load | None = None
        self._descriptors: list[int] = []  # that came with it
        self._here = False  # whether the source has been rebuilt here
        self._refreshed = Refreshes()  # what has changed since: workers to come rebuild the source, and catch up

    def serve(self) -> None:
        """Handle one message."""
        received = self.channel.receive()
        assert received is not None
        message, descriptors = received
        match message:
            case Load():
                self._load, self._descriptors = message, descriptors
                self._prepare(message)
            case Fork():
                self._fork(message, *descriptors)
            case Refresh():
                # Not applied here: it may open files and start threads, which a fork would share, or lose.
                self._refreshed.add(message, descriptors)

    def end(self) -> None:
        """Let the workers go: those that are idle leave by themselves, the others are killed after a moment."""
        deadline = time.monotonic() + GRACE_SECONDS
        for child in self.children.values():
            await_end(child.watch, deadline)
            kill(child.watch)
            self.template.reap(child)
        self.children.clear()
        self._refreshed.close()
        closed(self._descriptors)
        self._source = None
        self.channel.close()

    def _prepare(self, load: Load) -> None:
        """Import what the source names and, unless that is left to the workers, rebuild it."""
        take_over(load.surroundings)
        before = files()
        with loading(self.template.trainer):
            import_all(load.modules)
            lost, opened = threads(), opened_since(before)
            imported = not lost and not opened
            if imported and not load.late:
                try:
                    self._source = from_shared(load.payload, list(map(os.dup, self._descriptors)))
                except BaseException as error:
                    self.channel.send(load_failed(error))
                    return
                self._here = True
                lost, opened = threads(), opened_since(before)
        self._forks = not lost and not opened
        # What is here now is shared by all workers: keep their collectors from writing to it (copy-on-write).
        gc.collect()
        gc.freeze()
        self.channel.send(Loaded(lost, opened, imported))

    def _fork(self, fork: Fork, end: int, arena: int, stack: int) -> None:
        ends = (end, arena, stack)
        if self._forks:  # else the training process has been told why, and starts again elsewhere
            flush()
            template = os.getpid()
            try:
                pid = os.fork()
            except OSError as error:
                self.channel.send(NotForked(fork.name, error.errno or 0))
            else:
                if pid == 0:
                    self._become_worker(fork, ends, template)
                self._adopt(fork, pid)
        for descriptor in ends:
            os.close(descriptor)

    def _adopt(self, fork: Fork, pid: int) -> None:
        with contextlib.suppress(OSError):  # the child does it too: whoever comes first
            os.setpgid(pid, pid)
        child = Child(fork.name, pid, os.pidfd_open(pid), self)
        self.children[pid] = child
        self.template.watch(child)
        self.channel.send(Forked(fork.name, pid), [child.watch])

    def _become_worker(self, fork: Fork, ends: tuple[int, int, int], template: int) -> NoReturn:
        status = 1
        try:
            die_with_parent(template)
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)  # so that what the source starts can be found, and ended with it
            load, descriptors, refreshed = self._load, self._descriptors, self._refreshed
            self.template.forget()
            gc.enable()
            end, arena, stack = ends
            channel = Channel.from_descriptor(end)
            try:
                if self._here and not refreshed:
                    source = self._source
                else:
                    assert load is not None
                    with loading():
                        source = from_shared(load.payload, descriptors)
                        for message, those in refreshed:
                            source = apply(from_shared(message.payload, those), source)
            except BaseException as error:
                channel.send(load_failed(error))
            else:
                Worker(channel, arena, stack, source, fork).serve()
            status = 0
        except BaseException:  # nothing may unwind into the template's own frames
            traceback.print_exc()
        finally:
            leave(status)


class Template:
    """Waits for its channels and its children; one thread."""

    def __init__(self, bootstrap: Channel, trainer: int) -> None:
        self._bootstrap = bootstrap
        self.trainer = os.pidfd_open(trainer)
        self._readers: Readers[None] = Readers()
        self._sessions: dict[int, Session] = {}  # by the descriptor of their channel
        self._readers.listen(bootstrap.fileno(), self._attach)
        self._readers.listen(self.trainer, self._finish)
        self._finished = False
        self._retired = False  # no more loaders come
        self._left = False  # what a loader has left behind may hold on to itself

    def serve(self) -> None:
        """Serve until told to finish, until the training process is gone, or, once retired, until no loader is left."""
        while not (self._finished or (self._retired and not self._sessions)):
            if not self._readers.wait(IDLE_SECONDS if self._left else None):
                self._collect()
        for session in list(self._sessions.values()):
            session.end()

    def watch(self, child: Child) -> None:
        """Report the end of `child` to its session."""
        self._readers.listen(child.watch, lambda: self._ended(child))

    def reap(self, child: Child) -> int:
        """Collect a child that has ended or been killed, and end what it has started; return its status."""
        self._readers.silence(child.watch)
        os.close(child.watch)
        status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        with contextlib.suppress(OSError):  # nobody left in its group
            os.killpg(child.pid, signal.SIGKILL)
        return status

    def forget(self) -> None:
        """In a child: close all that belongs to the template."""
        self._readers.close()
        os.close(self.trainer)
        self._bootstrap.close()
        for session in self._sessions.values():
            session.channel.close()
            for child in session.children.values():
                os.close(child.watch)

    def _attach(self) -> None:
        try:
            received = self._bootstrap.receive()
        except Closed:
            self._readers.silence(self._bootstrap.fileno())
            self._retired = True
            return
        assert received is not None
        match received[0]:
            case Finish():
                self._finish()
                return
            case Preload(modules, environment):
                os.environ.update(environment)
                with loading(self.trainer):
                    import_all(modules)
                with contextlib.suppress(Closed):  # which the next message would tell
                    self._bootstrap.send(Preloaded(threads()))
                return
        session = Session(self, Channel.from_descriptor(received[1][0]))
        self._sessions[session.channel.fileno()] = session
        self._readers.listen(session.channel.fileno(), lambda: self._serve_session(session))

    def _serve_session(self, session: Session) -> None:
        try:
            session.serve()
        except Closed:
            descriptor = session.channel.fileno()
            self._readers.silence(descriptor)
            del self._sessions[descriptor]
            session.end()
            self._left = True

    def _collect(self) -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._left = False

    def _ended(self, child: Child) -> None:
        status = self.reap(child)
        child.session.children.pop(child.pid, None)
        with contextlib.suppress(Closed):  # its own message will say so
            child.session.channel.send(Exited(child.name, status))

    def _finish(self) -> None:
        self._finished = True


def main(bootstrap: int, trainer: int) -> NoReturn:
    """Run the template; called by `supervisor` in a new interpreter."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training process, which then ends us
    faulthandler.enable()
    gc.disable()  # a collection in a worker would touch, and so copy, what it shares with the others
    status = 1
    try:
        if os.getppid() == trainer:  # else it is gone already
            Template(Channel.from_descriptor(bootstrap), trainer).serve()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        leave(status)
