"""What changes what it is called on, or given: methods of containers and arrays, and functions with a destination."""

from __future__ import annotations

import ast
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from procession.capture.views import segment_of
from procession.doctor.code.reading import MISSING
from procession.doctor.seen.describing import is_tensor

OF_CONTAINERS = {
    *(
        "append",
        "extend",
        "insert",
        "pop",
        "popitem",
        "popleft",
        "appendleft",
        "extendleft",
        "rotate",
        "remove",
        "clear",
    ),
    *("add", "discard", "update", "setdefault", "sort", "reverse", "move_to_end", "subtract", "difference_update"),
    *("intersection_update", "symmetric_difference_update"),
}
OF_ARRAYS = {"sort", "fill", "resize", "partition", "put", "itemset", "setfield"}
FIRST_ARGUMENT = {  # of functions, and of methods of other objects, that write to what they are given
    *("shuffle", "copyto", "put", "place", "putmask", "fill_diagonal", "put_along_axis", "at", "heappush", "heappop"),
    *("heapify", "heapreplace", "heappushpop", "insort", "insort_left", "insort_right"),
    *("readinto", "readinto1", "read_direct"),
}
POSITIONS = {"readline", "read", "readlines", "__next__", "fetchone", "fetchmany", "send"}
KEYWORDS = {"out", "dst"}
DRAWN = {"permutation", "permuted", "shuffle", "sample", "choice", "randperm", "argsort", "randint", "integers"}
_CONTAINERS = (list, dict, set, deque, bytearray)


def expressions(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions of a statement itself, not those of the statements in it."""
    if isinstance(node, ast.expr):
        yield node
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.expr):
            yield part
        elif isinstance(part, ast.withitem):
            yield part.context_expr


def changes(value: Any, name: str, call: ast.Call) -> bool:
    """Whether a method changes what it is called on."""
    if any(each.arg == "inplace" and getattr(each.value, "value", False) is True for each in call.keywords):
        return True
    if isinstance(value, np.ndarray):
        return name in OF_ARRAYS
    if is_tensor(value):
        return name.endswith("_") and not name.endswith("__")
    return name in OF_CONTAINERS and (value is MISSING or value is None or isinstance(value, _CONTAINERS))


def is_meant(value: Any) -> bool:
    """Whether something is there to be written to, by all or by each for itself."""
    if isinstance(value, np.ndarray):
        segment = segment_of(value)
        return segment is not None and segment.writable
    return isinstance(value, threading.local) or type(value).__module__.startswith("procession.capture.")


def is_drawn(value: ast.AST) -> bool:
    """Whether an expression draws a random order."""
    return any(
        isinstance(node, ast.Call) and (getattr(node.func, "attr", "") or getattr(node.func, "id", "")) in DRAWN
        for node in ast.walk(value)
    )


def asks_for_nothing(test: str) -> bool:
    return any(sign in test for sign in ("None", "not ", "hasattr", "getattr", "vars(", "__dict__"))
