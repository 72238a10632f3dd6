"""What TARGET names: `path.py:name` or `package.module:name`, an instance, a class or a function that returns one."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

import cloudpickle

from procession.errors import ProcessionError

CALLED = "calling"  # how the note begins on what a call of the target raised
FORMS = "path/to/file.py:name or package.module:name"


class TargetError(ProcessionError, ValueError):
    """TARGET does not lead to a source; says how far it leads."""


def load(target: str) -> Any:
    """Import what a target names, and return the source.

    A class or function is called without arguments. A file is imported under its own name, not as `__main__`, so what
    stands under `if __name__ == "__main__":` does not run.

    Args:
        target: `path/to/file.py:name`, or `package.module:name`; the name may have dots.

    Raises:
        TargetError: there is no such file, module or name, or it needs arguments.
        Exception: what the import or the call raised.
    """
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        raise TargetError(f"{target!r} names no source: write {FORMS}{_defined_in(Path(target))}")
    module = _file(Path(where)) if where.endswith(".py") else _module(where, target)
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            raise TargetError(f"{where} has no {name!r}. {_there_are(module)}")
        value = getattr(value, part)
    return _called(value, target, module) if _makes(value) else value


def _file(path: Path) -> Any:
    if not path.is_file():
        raise TargetError(f"there is no file {str(path)!r} (from {Path.cwd()})")
    sys.path.insert(0, str(path.parent.resolve()))  # as Python does for a script
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    cloudpickle.register_pickle_by_value(module)  # as a script's own classes travel: workers do not run it again
    spec.loader.exec_module(module)
    return module


def _module(name: str, target: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(f"there is no module {error.name!r} for {target!r}: write {FORMS}") from None
        raise


def _makes(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def _called(value: Any, target: str, module: Any) -> Any:
    needed = [
        name
        for name, each in _parameters(value).items()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if needed:
        there = ", ".join(name for name, each in vars(module).items() if type(each) is value)
        raise TargetError(
            f"{target} needs {', '.join(needed)}: name an instance{there and f' ({there})'}, or a function without "
            f"arguments that returns one, such as `def source(): return {value.__name__}(...)`"
        )
    try:
        made = value()
    except (Exception, SystemExit) as error:
        error.add_note(f"{CALLED} {value.__name__}()")
        raise
    if made is None:
        raise TargetError(f"{target} returned None: let it return the source")
    return made


def _parameters(value: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(value).parameters)
    except (TypeError, ValueError):  # a built-in one
        return {}


def _there_are(module: Any) -> str:
    public = [(name, value) for name, value in vars(module).items() if not name.startswith("_")]
    sources = [name for name, value in public if _is_source(value)]
    makers = [name for name, value in public if inspect.isfunction(value) and value.__module__ == module.__name__]
    found = [*sources, *makers]
    return f"It has {', '.join(found[:12])}" if found else "It has nothing that looks like a source"


def _defined_in(path: Path) -> str:
    """The sources that a file defines at its top level, found without running it: it may take hours, or train."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return ""
    classes = [
        each.name
        for each in body
        if isinstance(each, ast.ClassDef) and any(getattr(part, "name", "") == "__getitem__" for part in each.body)
    ]
    made = [
        name.id
        for each in body
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Call)
        if isinstance(each.value.func, ast.Name) and each.value.func.id in classes
        for name in each.targets
        if isinstance(name, ast.Name)
    ]
    names = [*dict.fromkeys([*made, *classes])][:12]
    return f", such as {path}:{names[0]}. It defines {', '.join(names)}" if names else ""


def _is_source(value: Any) -> bool:
    """An instance or class of one's own that can be indexed: a list of paths or a name is none."""
    kind = value if inspect.isclass(value) else type(value)
    return kind.__module__ != "builtins" and hasattr(kind, "__getitem__") and hasattr(kind, "__len__")
