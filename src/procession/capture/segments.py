"""Shared memory that several processes map and that a source takes along; it goes with the last object that uses it.

owner (an array, a lock, a counter) ──► Segment ──► one mapping and one descriptor in each process
SEGMENTS: token ─ ─ weak ─ ─► Segment               so that what comes twice is mapped once
"""

from __future__ import annotations

import ctypes
import mmap
import os
import secrets
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from procession.capture.memory import anonymous
from procession.capture.travel import arrived, beside


class Ticket(NamedTuple):
    """A segment on its way beside a source."""

    token: str  # unlike its number this tells two segments apart, so that a change from one to another is seen
    number: int  # for `arrived`
    size: int
    writable: bool


class Segment:
    """One shared memory, mapped into this process. numpy takes it for an array of bytes."""

    def __init__(
        self,
        descriptor: int,
        size: int,
        *,
        writable: bool = True,
        token: str | None = None,
        kept: Callable[[int], bool] | None = None,
    ) -> None:
        """Map `descriptor`, which is this object's from now on.

        Args:
            descriptor: of the memory.
            size: bytes, one or more.
            writable: whether this process may write to it, in C too.
            token: what it is called in the process that it comes from.
            kept: asked with the address at the end of this object; True leaves the memory mapped for good.
        """
        self.token = token or secrets.token_hex(8)
        self.descriptor, self.size, self.writable = descriptor, size, writable
        protection = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
        # Not by the module mmap, which keeps a second descriptor of its own.
        address = _mmap(None, size, protection, mmap.MAP_SHARED, descriptor, 0)
        if address == _FAILED:
            os.close(descriptor)
            raise _os_error(f"{size:,} bytes of shared memory cannot be mapped")
        self.address: int = address
        weakref.finalize(self, _let_go, address, size, descriptor, kept).atexit = False
        SEGMENTS[self.token] = self

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": (self.size,), "typestr": "|u1", "data": (self.address, not self.writable)}

    def freeze(self) -> None:
        """Let nobody in this process write any more: numpy refuses from now on, and the kernel too."""
        if _mprotect(self.address, self.size, mmap.PROT_READ):
            raise _os_error("shared memory cannot be made read-only")
        self.writable = False

    def ticket(self) -> Ticket:
        """Take this memory along beside the source that is being pickled.

        Raises:
            LookupError: something else is being pickled.
        """
        return Ticket(self.token, beside(self.descriptor), self.size, self.writable)


# Weak, and filled by `Segment` alone.
SEGMENTS: weakref.WeakValueDictionary[str, Segment] = weakref.WeakValueDictionary()


def created(size: int, label: str, kept: Callable[[int], bool] | None = None) -> Segment:
    """New shared memory, all zero, none of it resident yet."""
    return Segment(anonymous(size, label), size, kept=kept)


def attached(ticket: Ticket, kept: Callable[[int], bool] | None = None) -> Segment:
    """The memory that came along; mapped before, if this process has it already."""
    known = SEGMENTS.get(ticket.token)
    if known is not None:
        return known
    descriptor = arrived(ticket.number)
    return Segment(descriptor, ticket.size, writable=ticket.writable, token=ticket.token, kept=kept)


def refusal(kind: str) -> TypeError:
    """The error for what shares memory and is pickled on any other way than with a source."""
    return TypeError(
        f"a {kind} is shared memory of this process and its workers: it can be sent as a part of a Loader's source, "
        "and in no other way (a batch, a file, another library's processes). Make it an attribute of the source"
    )


def _let_go(address: int, size: int, descriptor: int, kept: Callable[[int], bool] | None) -> None:
    os.close(descriptor)
    if kept is None or not kept(address):
        _munmap(address, size)


def _os_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what} ({os.strerror(number)})")


_libc = ctypes.CDLL(None, use_errno=True)
_mmap, _munmap, _mprotect = _libc.mmap, _libc.munmap, _libc.mprotect
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t)
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_FAILED = ctypes.c_void_p(-1).value
