"""Where in the user's code an attribute of a source is given its value, and what is held where."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from procession.doctor.check import Chart
from procession.doctor.code.reading import MISSING, Reading, is_users_file, read
from procession.doctor.findings import Place

STEP = re.compile(r"\.(\w+)|\[([^\[\]]+)\]")


class Held(NamedTuple):
    """An attribute of an object of the user's."""

    owner: Any
    name: str
    path: str  # of the owner


def attributes(value: Any) -> dict[str, Any]:
    """What an object's `__dict__` and slots hold, without running code of its class."""
    held = getattr(value, "__dict__", None)  # which a class may have made anything
    found = dict(held) if isinstance(held, dict) else {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found.setdefault(name, getattr(value, name))
    return found


def methods(value: Any) -> tuple[str, ...]:
    """The names of all functions of an object's classes, but for those of Python itself."""
    return tuple(dict.fromkeys(name for kind in type(value).__mro__[:-1] for name in vars(kind)))


def whole_code(value: Any) -> list[Reading]:
    """All methods of an object's classes that the user has written, as syntax trees."""
    return read(value, methods(value))


def assigned(chart: Chart, path: str) -> Place | None:
    """Where the attribute that `path` (source.reader.handle[0]) leads to is assigned; None if that cannot be read.

    Of several places the first that gives it another value than None.
    """
    for held in reversed(list(_steps(chart.source, path))):
        found = [
            (reading, node)
            for reading in whole_code(held.owner)
            if reading.owner is held.owner
            for node in ast.walk(reading.node)
            if _assigns(node, reading.myself, held.name)
        ]
        if found:
            reading, node = next((each for each in found if not _is_none(each[1])), found[0])
            return reading.place(node, path)
    return None


def _is_none(node: ast.AST) -> bool:
    value = getattr(node, "value", node)
    return isinstance(value, ast.Constant) and value.value is None


def _assigns(node: ast.AST, myself: str | None, name: str) -> bool:
    match node:
        case ast.Assign(targets=targets):
            parts = [part for each in targets for part in (each.elts if isinstance(each, ast.Tuple) else [each])]
        case ast.AnnAssign(target=target, value=ast.expr()):
            parts = [target]
        case ast.withitem(optional_vars=ast.expr() as target):
            parts = [target]
        case _:
            return False
    return any(
        isinstance(p, ast.Attribute) and isinstance(p.value, ast.Name) and (p.value.id, p.attr) == (myself, name)
        for p in parts
    )


def _steps(source: Any, path: str) -> Iterator[Held]:
    """The attributes of objects of the user's that a path goes through."""
    at, value = "source", source
    for step in STEP.finditer(path.removeprefix("source")):
        name, key = step[1], step[2]
        if name is not None:
            yield Held(value, name, at)
            value = attributes(value).get(name, MISSING)
        else:
            value = _part(value, key)
        at += step[0]
        if value is MISSING:
            return


def _part(value: Any, key: str) -> Any:
    try:
        return value[ast.literal_eval(key)] if isinstance(value, (dict, list, tuple)) else MISSING
    except (ValueError, SyntaxError, KeyError, IndexError):
        return MISSING


def where(chart: Chart, path: str) -> Place:
    """The place of an attribute: its line, where that is known, and its path."""
    return assigned(chart, path) or Place(attribute=path)


def last_return(chart: Chart, method: str = "__getitem__") -> Place | None:
    """The line that a method of the source returns from, or where it begins; None if it cannot be read."""
    code = chart.item_code if method == "__getitem__" else read(chart.source, (method,))
    reading = next((each for each in code if each.path == "source" and each.name.endswith(f".{method}")), None)
    if reading is None:
        return None
    returns = [node for node in ast.walk(reading.node) if isinstance(node, ast.Return)]
    return reading.place(max(returns, key=lambda node: node.lineno) if returns else None)


def is_users_module(module: Any, source: Any) -> bool:
    """Whether a module is the user's."""
    file = getattr(module, "__file__", None)
    return file is not None and is_users_file(file, source)
