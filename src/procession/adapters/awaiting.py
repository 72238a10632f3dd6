"""To act on a module as soon as it has been imported, without importing it."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Act = Callable[[ModuleType], None]


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
