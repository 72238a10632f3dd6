"""How a round is timed."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.model import Round, Sample


def pace(batches: Iterator[Any], seconds: float, warm: int) -> Sample:
    """Take batches for so many seconds; return the time and the processor time of one.

    While the other contenders had their turns the buffers filled up, so that the first `warm`
    batches were ready: they would flatter whoever buffers most, and are not counted.
    """
    for _ in itertools.repeat(None, warm):
        next(batches)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    end = begin + seconds
    count = 0
    # Held while the next one is made, as in `for batch in loader`.
    batch = None
    while (now := time.perf_counter()) < end:
        batch = next(batches)
        count += 1
    del batch
    return {"seconds": (now - begin) / count, "cpu": (time.process_time() - begin_cpu) / count}


def paced(batches: Iterator[Any], warm: int) -> Round:
    """Return a contender's rounds over an iterator that does not end."""
    next(batches)
    return lambda seconds: pace(batches, seconds, warm)
