"""What to say when a source writes to an array that is read-only because workers share it: which attribute it is."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from procession.partitions import members

_MOST_SHOWN = 3
_DEEPEST = 4  # lists of dicts of arrays, not whole object graphs


def read_only_hint(error: BaseException, source: Any) -> str | None:
    """Name what `error` was raised for, and the way to mean it; None for an error of another kind.

    Args:
        error: what the source raised, with its traceback.
        source: the one that raised it.
    """
    if not isinstance(error, ValueError) or not re.search("read-only|WRITEABLE flag", str(error)):
        return None
    held = dict(_read_only(source))
    if not held:
        return None
    # From the innermost outwards: those of numpy's own code say nothing.
    named = next(filter(None, (_named(held, *place) for place in reversed(list(_places(error))))), None)
    shown = named or list(held)
    more = " or another one" if len(shown) > _MOST_SHOWN else ""
    return (
        f"{' or '.join(shown[:_MOST_SHOWN])}{more} is read-only here: the workers share one copy, and each would see "
        "what another wrote. Write to a copy (array.copy()); or, where all are meant to see it, make it with "
        "procession.share(array, writable=True)"
    )


def _places(error: BaseException) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line that the error came through, "" if its text is not known, and the variables there."""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        yield linecache.getline(frame.f_code.co_filename, trace.tb_lineno, frame.f_globals), frame.f_locals
        trace = trace.tb_next


def _named(held: dict[str, Any], line: str, values: dict[str, Any]) -> list[str]:
    """Which of the arrays a line writes to, by their attribute or through a variable."""
    words = set(re.findall(r"\w+", line))
    used = [value for name, value in values.items() if name in words and isinstance(value, np.ndarray)]
    return [
        path
        for path, array in held.items()
        if words & set(re.findall(r"\.(\w+)", path)) or any(np.may_share_memory(array, value) for value in used)
    ]


def _read_only(source: Any) -> Iterator[tuple[str, Any]]:
    several = members(source)
    for number, member in enumerate(several):
        shown = "source" if len(several) == 1 else f"source[{number}]"
        for name, value in getattr(member, "__dict__", {}).items():
            yield from _arrays(value, f"{shown}.{name}", _DEEPEST)


def _arrays(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, np.ndarray):
        if not value.flags.writeable:
            yield path, value
    elif depth and isinstance(value, dict):
        for key, part in value.items():
            yield from _arrays(part, f"{path}[{key!r}]", depth - 1)
    elif depth and isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _arrays(part, f"{path}[{number}]", depth - 1)
