"""Functions with a cache: pickle sends them by name, which leads nowhere for those of a script or of a function."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable
from typing import Any

from procession.capture.handles.kinds import travels


@travels(type(functools.lru_cache(len)))
def cached(function: Any) -> Any:
    """What `lru_cache` and `cache` make: with an empty cache, since what is in it (a file) may be of this process."""
    if _found_by_name(function):
        return NotImplemented
    state = {name: part for name, part in vars(function).items() if name != "cache_parameters"}
    return emptied, (function.__wrapped__, function.cache_parameters()), state


def _found_by_name(function: Any) -> bool:
    module = getattr(function, "__module__", None)
    if module == "__main__" or module not in sys.modules:
        return False
    try:
        return operator.attrgetter(function.__qualname__)(sys.modules[module]) is function
    except AttributeError:
        return False


def emptied(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """The function, with a cache of its own."""
    return functools.lru_cache(**parameters)(function)
