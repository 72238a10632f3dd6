"""Modules that workers cannot import, though the source's classes are of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from procession.capture.pickling import Pickled
from procession.doctor.check import Chart
from procession.doctor.code.assigned import attributes, where
from procession.doctor.findings import Finding
from procession.doctor.runtime import REBUILT


def unreachable(chart: Chart, parts: Pickled) -> Iterator[Finding]:
    """Classes and functions that travel by the name of a module which only the training process has."""
    missing = sorted(name for name in parts.along.modules if not _importable(name))
    if missing:
        paths = _of_modules(chart.source, missing)
        shown = ", ".join(map(repr, missing))
        holds = f" (which {' and '.join(paths)} {'is' if len(paths) == 1 else 'are'} of)" if paths else ""
        yield REBUILT.found(
            f"the module {shown}{holds} is in sys.modules here, but cannot be found by its name from sys.path: a "
            "worker that imports it gets ModuleNotFoundError",
            *[where(chart, path) for path in paths],
            fix=f"# Put the code of {shown} into a file on sys.path, and import it; or define the class in the script\n"
            "# itself (__main__), whose classes travel by value. What is loaded by hand has to be found by name:\n"
            "sys.path.insert(0, str(folder))     # before importlib.import_module(name)",
        )


def _importable(name: str) -> bool:
    if name == "__main__":
        return True
    parent, _, _ = name.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    if name in sys.builtin_module_names or (parent and path is None):  # os.path: its parent makes it
        return True
    try:
        return any(finder.find_spec(name, path) is not None for finder in sys.meta_path) or bool(parent)
    except Exception:  # a finder of somebody's: it may well find it in a worker
        return True


def _of_modules(source: Any, missing: list[str]) -> list[str]:
    def is_of(value: Any) -> bool:
        home = getattr(value, "__module__", None) if callable(value) else None
        return type(value).__module__ in missing or home in missing

    if is_of(source):
        return ["source"]
    return [f"source.{name}" for name, value in attributes(source).items() if is_of(value)][:3]
