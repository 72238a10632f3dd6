"""Starts templates, and gives each loader a control channel to one. In the training process.

One template serves all loaders of a process. A source that starts threads while it is unpickled spoils it for forking:
that template is left to the loaders it has, and the source's workers load it each by themselves, forked from a fresh
one."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import NamedTuple

from procession.engine.channel import Channel, Closed
from procession.engine.loading import check_not_loading
from procession.engine.messages import Attach, Finish, Preload, Preloaded
from procession.engine.surroundings import surroundings
from procession.errors import TemplateDiedError

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from procession.engine.template import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)
# What Keras reads when it is imported, and never again.
IMPORTED_WITH = ("KERAS_BACKEND", "TF_USE_LEGACY_KERAS")


class Template(NamedTuple):
    """A running template process."""

    process: subprocess.Popen[bytes]
    bootstrap: Channel
    owner: int  # the process that started it: a forked child must not use it

    def status(self) -> int | None:
        """The exit status of a template whose channel has closed; None if it goes on, or is not our child."""
        if self.owner != os.getpid():
            return None
        try:
            return self.process.wait(timeout=1)  # its descriptors close a moment before it can be collected
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it at once; others that have workers from it start another."""
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()

    def end(self) -> int:
        """Have it end, wait for it, and return its exit status."""
        with contextlib.suppress(Closed):  # it is gone already, or retired and on its way
            self.bootstrap.send(Finish())
        self.bootstrap.close()
        try:
            return self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:  # stuck in a source's unpickling
            self.process.kill()
            return self.process.wait()


class Control(NamedTuple):
    """A loader's channel to its template."""

    channel: Channel
    template: Template


class Supervisor:
    """Keeps the template of this process."""

    def __init__(self) -> None:
        # Reentrant: a collection of garbage, or a signal's handler, may end or begin a loader between any two lines.
        self._lock = threading.RLock()
        self._current: Template | None = None
        # Until the current one is first used: in which environment it imported, and which files it should have found.
        self._preloading: tuple[dict[str, str], dict[str, str]] | None = None
        self._retired: list[Template] = []  # spoiled for forking; they end with the last loader they have

    def preload(self, modules: dict[str, str], environment: dict[str, str]) -> None:
        """Start the template, if there is none, and have it import modules meanwhile: name → file of the package."""
        with self._lock, contextlib.suppress(Closed):  # the first loader starts another, and says what is wrong
            self._running().bootstrap.send(Preload(tuple(modules), environment))
            self._preloading = {**os.environ, **environment}, modules

    def attach(self) -> Control:
        """Open a control channel, to the running template if there is one."""
        ours, theirs = Channel.pair()
        try:
            with self._lock:
                self._check_preloaded()
                for _ in range(2):
                    template = self._running()
                    try:
                        template.bootstrap.send(Attach(), [theirs.fileno()])
                        return Control(ours, template)
                    except Closed:  # it died since we looked
                        self._discard()
            raise TemplateDiedError(
                "the template process, from which workers are forked, ends as soon as it is started; its messages are "
                "on standard error"
            )
        finally:
            theirs.close()

    def retire(self, template: Template) -> None:
        """Start no more loaders from this template; it ends with the last one it has."""
        with self._lock:
            if self._current is template:
                template.bootstrap.close()
                self._retired.append(template)
                self._current = None
            self._retired = [old for old in self._retired if old.process.poll() is None]

    def shutdown(self) -> None:
        """End all templates of this process. Loaders in use start a new one with their next epoch."""
        with self._lock:
            if self._current is not None and self._preloading is not None:  # it imports, for nobody
                self._current.kill()
            templates, self._current, self._retired = [*self._retired, self._current], None, []
        for template in templates:
            if template is not None and template.owner == os.getpid():
                template.end()

    def _check_preloaded(self) -> None:
        """Wait for what was to be imported; another template has to do if that has made this one of no use."""
        told, self._preloading = self._preloading, None
        if told is None or self._current is None or self._current.owner != os.getpid():
            return
        try:
            received = self._current.bootstrap.receive()
        except Closed:
            return  # it is gone, which will be noticed
        assert received is not None and isinstance(received[0], Preloaded)
        environment, modules = told
        same = all(os.environ.get(name) == environment.get(name) for name in IMPORTED_WITH)
        if received[0].threads or not same or not all(_is_of(name, file) for name, file in modules.items()):
            self._discard()

    def _running(self) -> Template:
        if self._current is not None and (
            self._current.owner != os.getpid() or self._current.process.poll() is not None
        ):
            self._discard()
        if self._current is None:
            started = start_template()
            if self._current is None:
                self._current = started
            else:  # somebody in between, in this very thread, has started another
                started.kill()
        return self._current

    def _discard(self) -> None:
        current, self._current = self._current, None
        if current is not None and current.owner == os.getpid():
            current.end()


def start_template() -> Template:
    """Start a template process: a new interpreter with its own entry, so that the user's script is not run again."""
    if not sys.executable:
        raise RuntimeError(
            "sys.executable is empty (Python is embedded in another program), so no worker processes can be started; "
            "use Loader(..., executor='threads')"
        )
    ours, theirs = Channel.pair()
    seen = surroundings()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, json.dumps(seen.path), str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=seen.environment,
            start_new_session=True,  # not in the terminal's foreground group: signals of the keyboard are ours
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Template(process, ours, os.getpid())


def _is_of(name: str, file: str) -> bool:
    """Whether a package that has been imported here is of that file; it may be another's that comes first now."""
    module = sys.modules.get(name.partition(".")[0])
    return module is None or getattr(module, "__file__", None) in (None, file)


_SUPERVISOR = Supervisor()
atexit.register(_SUPERVISOR.shutdown)


def attach() -> Control:
    """Open a control channel to this process's template; start one if there is none.

    Raises:
        ImportedAgainError: this runs while a source is loaded.
    """
    check_not_loading()
    return _SUPERVISOR.attach()


def preload(modules: dict[str, str], environment: dict[str, str]) -> None:
    """Start the template of this process before there is a loader, and have it import modules.

    Where `environment`, variables that are expected to be set by then, turns out wrong about Keras, or a package is
    another one by then than that of the file that is given with its name, it is started anew.
    """
    _SUPERVISOR.preload(modules, environment)


def retire(template: Template) -> None:
    """Start no more loaders from `template`."""
    _SUPERVISOR.retire(template)


def shutdown() -> None:
    """End the template of this process, and with it the workers of loaders still open. May be called at any time."""
    _SUPERVISOR.shutdown()
