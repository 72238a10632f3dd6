"""What threads use among themselves: made anew, for the threads of one worker; it does nothing across processes."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import anew, extras, travels


@travels(type(threading.Lock()))
def lock(_: Any) -> Any:
    """Unlocked, whatever it was."""
    return threading.Lock, ()


@travels(type(threading.RLock()), threading._PyRLock)  # type: ignore[attr-defined,unused-ignore]
def reentrant_lock(value: Any) -> Any:
    """Unlocked too."""
    return type(value), ()


@travels(threading.Condition)
def condition(value: Any) -> Any:
    """Over the same lock as before, with nobody waiting."""
    return anew, (type(value), threading.Condition, value._lock), extras(value, threading.Condition())


@travels(threading.Event)
def event(value: Any) -> Any:
    """Set if it was."""
    return anew, (type(value), threading.Event), {**(extras(value, threading.Event()) or {}), "_flag": value.is_set()}


@travels(threading.Semaphore)
def semaphore(value: Any) -> Any:
    """With its value."""
    return _semaphore(value, threading.Semaphore, value._value)


@travels(threading.BoundedSemaphore)
def bounded_semaphore(value: Any) -> Any:
    """With its value and its bound."""
    return _semaphore(value, threading.BoundedSemaphore, value._initial_value)


def _semaphore(value: Any, base: type, initial: int) -> Any:
    return anew, (type(value), base, initial), {**(extras(value, base(1)) or {}), "_value": value._value}


@travels(threading.Barrier)
def barrier(value: Any) -> Any:
    """For as many parties, none of them there."""
    arguments = (value._parties, value._action, value._timeout)
    return anew, (type(value), threading.Barrier, *arguments), extras(value, threading.Barrier(1))


@travels(threading.local)
def local(value: Any) -> Any:
    """Empty, as it is to every new thread."""
    return type(value), ()


@travels(threading.Thread)
def thread(value: Any) -> Any:
    """A thread runs in one process."""
    raise Refusal(value, "a thread runs in the process that has started it")


@travels(contextvars.ContextVar, contextvars.Context)
def context(value: Any) -> Any:
    """What belongs to the context of a call."""
    raise Refusal(
        value,
        "its value belongs to the thread and the call that have set it",
        "Keep the value itself on the source; one that is made at the top of a module is found there by workers",
    )
