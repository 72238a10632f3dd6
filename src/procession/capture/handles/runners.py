"""Pools, processes and queues: what runs in, or passes between, the threads of one process."""

from __future__ import annotations

import concurrent.futures
import queue
import subprocess
from typing import Any

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import travels


@travels(concurrent.futures.Executor)
def executor(value: Any) -> Any:
    """A pool."""
    raise Refusal(
        value,
        "its threads or processes belong to the process that has started them. The workers are a pool already: what "
        "one does for an item need not be handed on",
    )


@travels(concurrent.futures.Future)
def future(value: Any) -> Any:
    """A result to come."""
    raise Refusal(
        value,
        "what it waits for is done in this process",
        "Keep its result() on the source, or begin that work in __getitem__",
    )


@travels(subprocess.Popen)
def program(value: Any) -> Any:
    """A program that has been started."""
    raise Refusal(value, f"process {value.pid} is a child of the one that has started it, and its pipes end there")


@travels(queue.SimpleQueue)
def simple_queue(value: Any) -> Any:
    """A queue that cannot be looked into."""
    raise Refusal(
        value,
        "what is in it cannot be seen without taking it out",
        "Use queue.Queue, which travels with its items, each worker getting all of them; or a list",
    )
