"""Calls of `fit` in the user's files, and how many steps an epoch they ask for: read, not run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from procession.doctor.findings import Place


class Fit(NamedTuple):
    """A call with `steps_per_epoch`."""

    place: Place
    steps: int


def files_of(source: Any, files: Iterable[str] = ()) -> list[str]:
    """Where `fit` may be called with a source: the files that are given, that of its class, and the script."""
    modules = (sys.modules.get(name) for name in (type(source).__module__, "__main__"))
    known = [*files, *(getattr(module, "__file__", None) or "" for module in modules)]
    return list(dict.fromkeys(str(Path(file).resolve()) for file in known if file.endswith(".py")))


def fits(file: str) -> Iterator[Fit]:
    """The calls in a file whose number of steps is written there, or in a constant of the module."""
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fit":
            for keyword in node.keywords:
                steps = _number(keyword.value, constants) if keyword.arg == "steps_per_epoch" else None
                if steps is not None:
                    yield Fit(Place(file, keyword.value.lineno), steps)


def _number(node: ast.expr, constants: dict[str, Any]) -> int | None:
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(node, ast.Name):
        value = constants.get(node.id)
    return value if type(value) is int else None
