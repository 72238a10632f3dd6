"""The mutex in shared memory, for threads and processes alike, which the kernel opens when its holder dies.

It is a POSIX mutex: process-shared, robust, error-checking. A waiter is woken by the release or by the holder's death,
threads are told apart as well as processes, a timeout is the kernel's business, and a forked child is a holder of its
own without any care. Rejected: record locks (`fcntl.lockf`), which go as soon as any descriptor of the file is closed
in the process, as happens whenever a source is sent; and open-file-description locks, which know neither threads nor
timeouts, so that a second lock and polling would be needed beside them.
"""

from __future__ import annotations

import abc
import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from procession.capture.segments import Segment, Ticket, attached, created, refusal

ROOM = 64  # bytes at the beginning of a segment: the mutex (40 to 48 on 64-bit systems), and to spare
# A thread in C hears no signal: Ctrl-C has to wait for the end of a turn. It also bounds what a kernel before 5.5 may
# do: forget to wake a waiter when the holder dies in the middle of a release.
TURN_SECONDS = 0.1

_PROCESS_SHARED, _ROBUST, _ERROR_CHECKING = 1, 1, 2  # <pthread.h>, glibc and musl
_THREAD = 0x3FFFFFFF  # FUTEX_TID_MASK of <linux/futex.h>: the holder's thread id, in the word that the kernel looks at
_BUSY = (errno.EBUSY, errno.ETIMEDOUT)

_libc = ctypes.CDLL(None)
_initialise = _libc.pthread_mutex_init
_initialise.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
_lock_by_clock = getattr(_libc, "pthread_mutex_clocklock", None)  # glibc 2.30; else by the clock that may be set
if _lock_by_clock is not None:
    _lock_by_clock.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_swift = ctypes.PyDLL(None)  # keeps the interpreter's lock, which is right for what does not wait
_trylock, _unlock, _consistent = (_swift[f"pthread_mutex_{name}"] for name in ("trylock", "unlock", "consistent"))
for _function in (_trylock, _unlock, _consistent):
    _function.argtypes = (ctypes.c_void_p,)


def _released(status: int, *_: Any) -> None:
    if status:
        raise RuntimeError("a lock is released that this thread does not hold: the one that acquired it has to do it")


# Ctrl-C is raised where a function in Python begins, so an __exit__ in Python might end before it has begun, and leave
# the lock held. This one is C throughout: the mutex's address comes from `_as_parameter_`.
_leave = _swift["pthread_mutex_unlock"]
_leave.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.py_object, ctypes.py_object)
_leave.errcheck = _released  # type: ignore[assignment,unused-ignore]
_method = ctypes.pythonapi.PyInstanceMethod_New
_method.argtypes, _method.restype = (ctypes.py_object,), ctypes.py_object
EXIT: Callable[[Any, Any, Any, Any], None] = _method(_leave)
# A call of this kind needs some depth of recursion, and near the limit it fails before it has released anything. The
# same call of a function that does nothing, one frame further down, finds that out before the lock is taken.
_rehearse = _swift["pthread_self"]
_rehearse.argtypes, _rehearse.restype = _leave.argtypes, None


class Mutex:
    """The mutex at the beginning of a segment. Each thread of each process is a holder of its own."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment  # keeps it mapped
        self._as_parameter_ = self._at = segment.address

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for the mutex and take it; False if it could not be had within `timeout` seconds.

        Raises:
            RuntimeError: this thread holds it.
            RecursionError: so near to the limit that it might not be released again.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        nested = self.holder() == threading.get_native_id()
        try:
            self._could_exit(None, None, None)
            status = _trylock(self._at)
            while status in _BUSY and (deadline is None or time.monotonic() < deadline):
                left = TURN_SECONDS if deadline is None else deadline - time.monotonic()
                status = _timed_lock(self._at, min(left, TURN_SECONDS))
            return self._taken(status, timeout)
        except BaseException as error:  # Ctrl-C, perhaps when the lock has just been taken
            if not nested and self.holder() == threading.get_native_id():
                _consistent(self._at)
                _unlock(self._at)
            if isinstance(error, ctypes.ArgumentError):  # so ctypes tells it
                raise RecursionError("maximum recursion depth exceeded while a lock is acquired") from None
            raise

    def release(self) -> None:
        """Let another one have it.

        Raises:
            RuntimeError: this thread does not hold it.
        """
        _released(_unlock(self._at))

    def holder(self) -> int:
        """The id of the thread that holds it at this moment; 0: nobody does, or it has died."""
        return ctypes.c_uint32.from_address(self._at + _WORD).value & _THREAD

    __enter__ = acquire
    __exit__ = EXIT
    _could_exit: Callable[..., None] = _method(_rehearse)

    def _taken(self, status: int, timeout: float | None) -> bool:
        if status == errno.EDEADLK and timeout != 0:
            raise RuntimeError(
                "this thread holds the lock already, and would wait for itself for ever: the lock is not re-entrant. "
                "Release it first, or do both in one `with lock:` block"
            )
        if status in (*_BUSY, errno.EDEADLK):
            return False
        if status not in (0, errno.EOWNERDEAD):
            raise OSError(status, f"a lock in shared memory cannot be acquired ({os.strerror(status)})")
        if status == errno.EOWNERDEAD:
            _consistent(self._at)  # else nobody could ever lock it again
        return True


def new_segment(size: int, label: str) -> Segment:
    """New shared memory with a mutex in its first `ROOM` bytes."""
    segment = created(size, label, _held_here)
    _make(segment.address)
    return segment


def _make(address: int) -> None:
    attributes = (ctypes.c_char * 64)()  # 4 bytes on Linux
    _libc.pthread_mutexattr_init(attributes)
    _libc.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED)
    _libc.pthread_mutexattr_setrobust(attributes, _ROBUST)
    _libc.pthread_mutexattr_settype(attributes, _ERROR_CHECKING)
    status = _initialise(address, attributes)
    _libc.pthread_mutexattr_destroy(attributes)
    if status:
        raise OSError(status, f"this system has no locks that outlive their holder ({os.strerror(status)})")


def _word() -> int:
    """Where in a mutex the word with its holder is, which the C library decides: looked up in one that is held."""
    memory = (ctypes.c_uint32 * (ROOM // 4))()
    _make(ctypes.addressof(memory))
    _trylock(ctypes.addressof(memory))
    found = next(4 * place for place, word in enumerate(memory) if word & _THREAD == threading.get_native_id())
    _unlock(ctypes.addressof(memory))
    return found


_WORD = _word()


def arrived_segment(ticket: Ticket) -> Segment:
    """The same, in another process."""
    return attached(ticket, _held_here)


def ticket_of(segment: Segment, kind: str) -> Ticket:
    """Take a segment along with the source that is being pickled; raises TypeError if something else is."""
    try:
        return segment.ticket()
    except LookupError:
        raise refusal(kind) from None


def _held_here(address: int) -> bool:
    # The kernel has a list of the mutexes that a thread holds, inside these: they must not vanish from it.
    holder = ctypes.c_uint32.from_address(address + _WORD).value & _THREAD
    return holder != 0 and Path(f"/proc/self/task/{holder}").exists()


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _timed_lock(address: int, seconds: float) -> int:
    clock = time.CLOCK_REALTIME if _lock_by_clock is None else time.CLOCK_MONOTONIC
    end = time.clock_gettime_ns(clock) + int(seconds * 1e9)
    until = ctypes.byref(_Time(*divmod(end, 1_000_000_000)))
    if _lock_by_clock is None:
        return int(_libc.pthread_mutex_timedlock(ctypes.c_void_p(address), until))
    return int(_lock_by_clock(address, clock, until))


class Guarded(abc.ABC):
    """What lies on a segment behind a mutex: it travels beside a source, and each copy of it is the same one."""

    _segment: Segment

    @abc.abstractmethod
    def _open(self, segment: Segment, *arguments: Any) -> None:
        """Take up a segment, a new one or one that has arrived."""

    def _arguments(self) -> tuple[Any, ...]:
        """What `_open` needs besides."""
        return ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (type(self), ticket_of(self._segment, f"procession.{type(self).__name__}"), self._arguments())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _arrived(kind: type[Guarded], ticket: Ticket, arguments: tuple[Any, ...]) -> Guarded:
    made = kind.__new__(kind)
    made._open(arrived_segment(ticket), *arguments)
    return made
