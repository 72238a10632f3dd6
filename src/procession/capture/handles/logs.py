"""Handlers of logging. Loggers travel by their name, which pickle does by itself."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from typing import Any

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import travels


@travels(logging.Handler)
def handler(value: Any) -> Any:
    """Any handler: its attributes, with a lock of its own."""
    return unlocked, (type(value),), {name: part for name, part in vars(value).items() if name != "lock"}


@travels(logging.StreamHandler)
def stream_handler(value: Any) -> Any:
    """To the standard streams, as the worker has them."""
    make, arguments, state = handler(value)
    for name in ("stderr", "stdout"):
        if value.stream is getattr(sys, name):
            del state["stream"]
            return make, (*arguments, name), state
    return make, arguments, state


@travels(logging.FileHandler)
def file_handler(value: Any) -> Any:
    """To the end of the same file, opened at the first record."""
    make, arguments, state = handler(value)
    return make, arguments, {**state, "stream": None, "mode": "a"}


@travels(logging.handlers.BaseRotatingHandler)
def rotating_handler(value: Any) -> Any:
    """Several processes would rotate one file."""
    raise Refusal(
        value,
        f"several processes would rotate {value.baseFilename!r} at once",
        "Use logging.FileHandler, which every worker opens to append, or logging.handlers.WatchedFileHandler, which "
        "follows when another program rotates",
    )


def unlocked(kind: Any, stream: str | None = None) -> Any:
    """A handler with a new lock."""
    made: Any = kind.__new__(kind)
    made.createLock()
    if stream is not None:
        made.stream = getattr(sys, stream)
    return made
