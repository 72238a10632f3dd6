"""The memory of this process, and what it becomes in a fork."""

from __future__ import annotations

import gc
import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Weight(NamedTuple):
    """The memory of this process."""

    own: int  # bytes that it shares with no other
    written: int  # of these, those that are not of a file
    shared: int


def weight() -> Weight:
    """From /proc/self/smaps_rollup (Linux 4.14); all zero where there is none."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text()
    except OSError:
        return Weight(0, 0, 0)
    sizes = {name: 1024 * int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    own = sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0)
    shared = sizes.get("Shared_Clean", 0) + sizes.get("Shared_Dirty", 0)
    return Weight(own, sizes.get("Private_Dirty", 0) + sizes.get("Swap", 0), shared)


def in_fork(ask: Callable[[], Any]) -> Any:
    """What a child of this process answers, with all of its memory shared at first."""
    gc.freeze()  # a collection would write to it all
    reading, writing = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # of threads: the child takes none of their locks
        child = os.fork()
    if child == 0:
        try:
            gc.disable()
            os.write(writing, pickle.dumps(ask()))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    return pickle.loads(answer)
