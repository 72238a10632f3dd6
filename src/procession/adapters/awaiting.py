"""To act on a module of Keras once it has been imported, without importing it; to say that it is not there."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from procession.errors import IgnoredWarning, users_level

Act = Callable[[ModuleType], None]
TakeOut = Callable[[], None]


class Awaiting(importlib.abc.MetaPathFinder):
    """Waits in `sys.meta_path` for one module to be imported, has something done to it, and goes."""

    def __init__(self, name: str, act: Act) -> None:
        self.name = name
        self._act = act

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the module as everybody else does, but with a loader that acts on it."""
        if name != self.name:
            return None
        self.cancel()
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Acting(spec.loader, self._act)
        return spec

    def cancel(self) -> None:
        """Wait no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)


class _Acting(importlib.abc.Loader):
    """Runs the module as its own loader does, then acts on it."""

    def __init__(self, loader: Any, act: Act) -> None:
        self._loader = loader
        self._act = act

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._act(module)


def when_imported(name: str, act: Act) -> Awaiting | None:
    """Act on a module, now or when it is imported; return what waits for that, which can be cancelled."""
    module = sys.modules.get(name)
    if module is not None:
        act(module)
        return None
    awaiting = Awaiting(name, act)
    sys.meta_path.insert(0, awaiting)
    return awaiting


def set_when_imported(name: str, place: Callable[[ModuleType], TakeOut], undo: list[TakeOut]) -> None:
    """Set something in a module, now or when it is imported; what undoes it goes to a list."""
    waiting: list[Awaiting] = []

    def act(module: ModuleType) -> None:
        take_out = place(module)
        if waiting:
            undo.remove(waiting[0].cancel)
        undo.append(take_out)

    awaiting = when_imported(name, act)
    if awaiting is not None:
        waiting.append(awaiting)
        undo.append(awaiting.cancel)


def check_place(_: ModuleType, place: str) -> TakeOut:
    """Keras has been imported, and with it, as far as is known, the place."""
    if place not in sys.modules:
        moved(place, "py")
    return nothing


def moved(module: str, name: str) -> None:
    """Say that this Keras is none that is known."""
    top = module.partition(".")[0]
    version = getattr(sys.modules[top], "__version__", "of unknown version")
    warnings.warn(
        f"{top} {version} has no {module}.{name}, through which Procession reaches it up to Keras 3.15: it is left as "
        "it is, and reads its data itself. Loop over the Loader, or give fit what loader.to_tf(), to_torch() or "
        "to_jax() return; or use an older Keras",
        IgnoredWarning,
        stacklevel=users_level(),
    )


def nothing() -> None:
    """Nothing to undo."""
