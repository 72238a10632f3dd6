"""What to say of a source that cannot travel: which part of it cannot, why, and what to write instead."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

from procession.errors import CaptureError


class Refusal(TypeError):  # noqa: N818 - it is told as a CaptureError
    """Raised by a reducer: `value` cannot be made anew elsewhere; `instead` is what to write, None: make it later."""

    def __init__(self, value: Any, why: str, instead: str | None = None) -> None:
        super().__init__(why)
        self.value = value
        self.instead = instead


def cannot_travel(value: Any, what: str, error: Exception, send: Callable[[Any], Any]) -> CaptureError:
    """The error for `value`, called `what`, for which `send` raised `error`."""
    path, part, inner = _culprit(value, what, error, send, seen=set())
    path = path.replace("._held.iterator", "")  # a `Flow` is ours: the user's object is what it holds
    why = (str(inner) or type(inner).__name__).rstrip(".")
    instead = (inner.instead if isinstance(inner, Refusal) else None) or _remedy(path, type(part))
    return CaptureError(
        f"{path} is a {type_name(type(part))}, which cannot be sent to the worker processes: {why}. {instead}"
    )


def type_name(kind: type) -> str:
    """How a type is called: `generator`, `h5py._hl.files.File`."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _remedy(path: str, kind: type) -> str:
    if "generator" in kind.__qualname__:
        return "A generator cannot be copied: keep what it is made from (a list, an array, file names) and index that"
    if "→" in path:
        return (
            "Make it inside the function that uses it, or put both into a module of their own, which the workers "
            "import; or use executor='threads', which sends nothing"
        )
    found = re.match(r"source(?:\[\d+\])?\.(\w+)", path)  # what the user's class has: deeper parts belong to others
    name = found.group(1) if found else "it"
    return (
        f"Make it in the worker instead: leave it out with `def __getstate__(self): return {{**vars(self), {name!r}: "
        f"None}}`, and create it on first use, `if self.{name} is None: self.{name} = ...` in __getitem__; or use "
        "executor='threads', which sends nothing"
    )


def _culprit(
    value: Any, path: str, error: Exception, send: Callable[[Any], Any], seen: set[int]
) -> tuple[str, Any, Exception]:
    """Walk down to the innermost part that cannot be sent by itself."""
    seen.add(id(value))
    if isinstance(error, Refusal) and error.value is value:
        return path, value, error
    for name, part in _parts(value, path):
        if id(part) in seen:
            continue
        try:
            send(part)
        except Exception as inner:
            return _culprit(part, name, inner, send, seen)
    return path, value, error


def _parts(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{path}[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"{path}[{k}]", part) for k, part in enumerate(value)]
    if isinstance(value, type):
        return [] if _by_name(value) else [(f"{value.__qualname__}.{name}", part) for name, part in vars(value).items()]
    attributes = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = getattr(kind, "__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                attributes.setdefault(name, getattr(value, name))
    own = [(f"{path}.{name}", part) for name, part in attributes.items()]
    return [*own, *_closure(value, path), *_globals(value, path), (path, type(value))]


def _closure(value: Any, path: str) -> list[tuple[str, Any]]:
    cells = getattr(value, "__closure__", None) or ()
    names = getattr(getattr(value, "__code__", None), "co_freevars", ())
    return [(f"{path} → {name}", cell.cell_contents) for name, cell in zip(names, cells, strict=False)]


def _globals(value: Any, path: str) -> list[tuple[str, Any]]:
    """What a function that travels by value takes along: the globals that it names."""
    code = getattr(value, "__code__", None)
    if code is None or _by_name(value):
        return []
    known = value.__globals__
    return [(f"{path} → global {name}", known[name]) for name in code.co_names if name in known]


def _by_name(value: Any) -> bool:
    """Whether a class or function is importable where it says, so that nothing in it has to travel."""
    if getattr(value, "__module__", None) == "__main__":
        return False
    try:
        pickle.dumps(value)
    except Exception:  # pickle raises several kinds for what it cannot find
        return False
    return True
