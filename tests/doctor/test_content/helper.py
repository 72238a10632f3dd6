"""Functions that sources of the tests call in another module."""

from __future__ import annotations

import os
from typing import Any

asked = 0


def count() -> None:
    global asked
    asked += 1


def note(log: list[int], index: int) -> None:
    log.append(index)


def process() -> int:
    return os.getpid()


def brighten(rows: Any, by: float = 1) -> Any:
    rows += by
    return rows
