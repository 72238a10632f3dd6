"""What `multiprocessing` shares by inheritance, which workers have none of: what to use instead.

Shared memory with a name and the proxies of a manager can be found again, and travel.
"""

from __future__ import annotations

import multiprocessing.connection
import multiprocessing.managers
import multiprocessing.pool
import multiprocessing.process
import multiprocessing.queues
import multiprocessing.resource_tracker
import multiprocessing.shared_memory
import multiprocessing.sharedctypes
import multiprocessing.synchronize
import sys
from collections.abc import Callable
from multiprocessing import managers, queues, sharedctypes, synchronize
from typing import Any

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import travels

_AuthenticationString: Any = multiprocessing.process.AuthenticationString  # type: ignore[attr-defined,unused-ignore]
INHERITED = "it is known only to processes that inherit it from the one that made it"
WAIT = (
    "Leave it out: workers make their batches independently, and need not wait for one another. To let one at a time "
    "use something: procession.Lock()"
)
LOCK = "Use procession.Lock(), which works across the workers, and is released if its holder dies"
COUNTER = "Use procession.SharedCounter(), which all workers and the training process count with"
ARRAY = "Use procession.share(array, writable=True), an array which all workers and the training process see"
RETURN = "Return what is to reach the training process in the batch; what workers are to get can stay on the source"
POOL = "Leave it out: the workers are the pool already. Do the work of one item in __getitem__"
SERVE = "Keep a proxy of what it manages on the source instead, which travels; or use procession.SharedDict()"

INSTEAD: tuple[tuple[type, str | None], ...] = (
    (synchronize.SemLock, WAIT),  # and semaphores, which are subclasses of it
    (synchronize.Lock, LOCK),
    (synchronize.RLock, LOCK),
    (synchronize.Condition, WAIT),
    (synchronize.Event, WAIT),
    (synchronize.Barrier, WAIT),
    (sharedctypes.Synchronized, COUNTER),
    (sharedctypes.SynchronizedBase, ARRAY),
    (queues.Queue, RETURN),
    (queues.JoinableQueue, RETURN),  # which says itself how it is pickled
    (queues.SimpleQueue, RETURN),
    (multiprocessing.connection.Connection, RETURN),
    (multiprocessing.pool.Pool, POOL),
    (multiprocessing.process.BaseProcess, None),
    (managers.BaseManager, SERVE),
)


def _refusing(instead: str | None) -> Callable[[Any], Any]:
    def refuse(value: Any) -> Any:
        raise Refusal(value, INHERITED, instead)

    return refuse


for _kind, _instead in INSTEAD:
    travels(_kind)(_refusing(_instead))


@travels(managers.BaseProxy, each=True)
def proxy(value: Any) -> Any:
    """What a manager's process keeps: connected to with the manager's key, which pickle leaves out."""
    make, (kind, token, serializer, options) = value.__reduce__()
    return connected, (make, kind, token, serializer, options, bytes(value._authkey))


def connected(make: Any, kind: Any, token: Any, serializer: str, options: dict[str, Any], key: bytes) -> Any:
    """A proxy with its own connection to the manager."""
    return make(kind, token, serializer, {**options, "authkey": _AuthenticationString(key)})


@travels(multiprocessing.shared_memory.SharedMemory)
def shared_memory(memory: Any) -> Any:
    """By its name."""
    return attached, (memory.name,)


def attached(name: str) -> Any:
    """Shared memory that another process owns: this one must not remove it when it ends."""
    if sys.version_info >= (3, 13):
        return multiprocessing.shared_memory.SharedMemory(name, track=False)
    tracker: Any = multiprocessing.resource_tracker
    register, tracker.register = tracker.register, lambda *_: None
    try:
        return multiprocessing.shared_memory.SharedMemory(name)
    finally:
        tracker.register = register
