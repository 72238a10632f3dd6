"""Makes batches in place: numpy allocates the arrays of a batch in the slot they will be read from, so none is copied.

    numpy ── memory for an array? ──► handler ── one that became part of the last batch ──► the slot
                                         └────── any other ──► malloc, and freed after the batch

numpy asks a handler for the memory of every array (NEP 49, numpy 1.22). Ours is set while the source makes a batch. It
watches which of the large allocations, by their number, become arrays of the batch, and puts those of the next batch
into its slot. What it puts there is as good as a copy: a guess that was wrong costs one, as if nothing had been placed.

That an array is let go of, it is not told: numpy may release memory while an exception is on its way, which a call into
Python would wipe out. So the handler's `free` does nothing. Each array holds a reference to the handler, and when none
is left the batch's memory is free, all of it.

Guarantee: the slot is given away only if nothing in this process holds an array in it any more; `all_let_go` says so.
It gives up for good where it does not pay: small batches, arrays that numpy did not allocate or that the source keeps,
sources that make many arrays on the way (each costs a call into Python, and its memory is not used again at once) or
that fork.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import weakref
from typing import Any

import numpy as np

from procession.capture.pickling import ALIGNMENT, aligned
from procession.engine.arena import NO_SLOT, Slot, private
from procession.engine.wire import Array, Parcel, in_place

LEAST_BATCH = 1 << 20  # bytes: copying less costs less than watching
LEAST_ARRAY = 1 << 17
CALL_SECONDS = 3e-6  # what an allocation and its release cost more, measured
CACHE = 1 << 20  # bytes: memory of smaller arrays is quicker where it has just been used, which here it has not
MOST_LENT = 64 << 20  # bytes that one batch may have on the way, or four times its size
COPY_RATE = 1e10  # bytes a second that copying would take
MOST_MISSES = 3  # batches in a row of which nothing came from numpy

HANDLED = (
    *(signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGIO),
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH),
)

# From numpy's C interface: where its functions are in the table, and what a handler looks like.
SET_HANDLER = 304
_malloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_calloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
_realloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_free = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _Handler(ctypes.Structure):
    """PyDataMem_Handler, version 1."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("ctx", ctypes.c_void_p),
        ("malloc", _malloc),
        ("calloc", _calloc),
        ("realloc", _realloc),
        ("free", _free),
    )


class Placement:
    """The memory of one worker's batches."""

    def __init__(self, arena: Any, descriptor: int) -> None:
        """`arena`: the mapping of the shared memory behind `descriptor`, which is this object's from now on."""
        self._arena = descriptor
        self._first = ctypes.addressof(ctypes.c_char.from_buffer(arena))
        self._libc = _c_library()
        own = _malloc(self.malloc), _calloc(self.calloc), _realloc(self.realloc)
        self._handler = _Handler(b"procession", 1, None, *own, _do_nothing())
        self._set = _set_handler()
        self._capsule = _capsule(self._handler)  # each array that was allocated by it has a reference
        self._references = sys.getrefcount(self._capsule)  # where there is none
        self._before: Any = None  # the handler that is set outside of a batch
        counted = getattr(sys, "_is_gil_enabled", lambda: True)()  # else references are not counted in one place
        self.gave_up = self._set is None or not counted  # for good
        self._misses = 0
        self._wanted: dict[int, int] = {}  # number of a large allocation → its size: those become the batch
        self._large: list[int] = []  # addresses of this batch's large allocations
        self._calls = 0  # into the handler, for this batch
        self._sizes: dict[int, int] = {}  # address → size of all that was allocated for this batch
        self._lent: list[int] = []  # those of malloc
        self._total = self._most = 0  # bytes of those
        self._small = 0  # bytes of those that a cache would have held, had their memory been used again
        self._slot = NO_SLOT  # of the batch
        self._kept: list[Slot] = []  # in which arrays may still be held; they are not lent again
        self._next = self._limit = 0  # what is left of it
        self._thread: int | None = None  # the one that makes the batch, while it does
        self.forked = False  # the source has forked while it made the batch
        self._in_slot = False  # whether something has been placed
        there = weakref.ref(self)
        os.register_at_fork(before=lambda: _before_fork(there()), after_in_child=lambda: _in_child(there()))

    def pays(self, nbytes: int) -> bool:
        """Whether to try it, the last batch having been that large."""
        if nbytes < LEAST_BATCH or self.gave_up:
            return False
        # What a handler raises would be raised in the middle of an allocation, which cannot pass it on.
        self.gave_up = any(callable(signal.getsignal(number)) for number in HANDLED)
        self._most = max(MOST_LENT, 4 * nbytes)
        return not self.gave_up

    def begin(self, slot: Slot) -> None:
        """A batch is being made that goes into this slot of the arena."""
        self._slot, self.forked, self._in_slot = slot, False, False
        self._thread = threading.get_ident()
        self._large.clear()
        self._calls = 0
        self._next = self._first + slot.offset
        self._limit = self._next + slot.capacity
        self._before = self._set(self._capsule)

    def end(self) -> None:
        """It has been made, or could not be."""
        self._set(self._before)
        self._thread = None  # whoever has a copy of our context may still call: nothing is placed any more

    def placed(self, parcel: Parcel, slot: Slot) -> tuple[Parcel, bool]:
        """The batch as it lies, and whether it fits into its slot as it does. Learns for the next one.

        Arrays that are in the slot already need not be written; where it does not fit, all have to, elsewhere.
        """
        numbers = {address: number for number, address in enumerate(self._large)}
        self._wanted = {}
        for part in parcel.parts:
            owner = _owner(part)
            if owner is not None and _address(owner) in numbers:
                self._wanted[numbers[_address(owner)]] = owner.nbytes
        self._misses = 0 if self._wanted else self._misses + 1
        too_many = self._calls * CALL_SECONDS > parcel.nbytes / COPY_RATE or self._small > parcel.nbytes
        self.gave_up |= too_many or self._misses >= MOST_MISSES
        if not self._in_slot:
            return parcel, parcel.nbytes <= slot.capacity
        start = self._first + slot.offset
        lying = in_place(parcel, lambda part: self._offset(part, start), self._next - start)
        fits = lying.nbytes <= slot.capacity
        self.gave_up |= not fits and parcel.nbytes <= slot.capacity
        return (lying if fits else parcel), fits

    def leave_to_parent(self) -> None:
        """In a forked child: let what it writes to its arrays in the slot be its own."""
        for slot in (*self._kept, self._slot) if self._in_slot or self._kept else ():
            private(self._arena, self._first, slot)

    def all_let_go(self) -> bool:
        """Whether nothing is held any more of what was allocated; if the source keeps it, nothing is placed again."""
        if sys.getrefcount(self._capsule) > self._references or self.forked:
            self.gave_up = True
            self._kept.append(self._slot)
            return False
        for address in self._lent:
            self._libc.free(address)
        self._lent.clear()
        self._sizes.clear()
        self._total = self._small = 0
        return True

    def _offset(self, part: Any, slot: int) -> int | None:
        if type(part) is not np.ndarray or not (part.flags.c_contiguous or part.flags.f_contiguous):
            return None
        offset = _address(part) - slot
        return offset if 0 <= offset < self._limit - slot and offset % ALIGNMENT == 0 else None

    # --- called by numpy ---

    def malloc(self, _: Any, size: int) -> int | None:
        """Memory for an array."""
        return self._allocate(size, clear=False)

    def calloc(self, _: Any, count: int, size: int) -> int | None:
        """Memory for an array of zeros."""
        return self._allocate(count * size, clear=True)

    def realloc(self, _: Any, address: int | None, size: int) -> int | None:
        """More memory, or less."""
        moved = self._borrow(size, clear=False)
        if moved and address:
            ctypes.memmove(moved, address, min(size, self._sizes[address]))
        return moved

    def _allocate(self, size: int, *, clear: bool) -> int | None:
        self._calls += 1
        if threading.get_ident() != self._thread or self.gave_up or self._total > self._most:
            # The last batch that was served, or a copy of its context, as asyncio makes them among others.
            self.gave_up = self.gave_up or threading.get_ident() == self._thread
            self._set(self._before)
            return self._borrow(size, clear=clear)
        if size < LEAST_ARRAY:
            return self._borrow(size, clear=clear)
        start = aligned(self._next)
        address: int | None
        if self._wanted.get(len(self._large)) == size and start + size <= self._limit:
            address, self._next, self._in_slot = start, start + size, True
            self._sizes[start] = size
            if clear:
                ctypes.memset(start, 0, size)
        else:
            address = self._borrow(size, clear=clear)
        self._large.append(address or 0)
        return address

    def _borrow(self, size: int, *, clear: bool) -> int | None:
        address: int | None = self._libc.calloc(1, size) if clear else self._libc.malloc(size)
        if address:
            self._lent.append(address)
            self._sizes[address] = size
            self._total += size
            self._small += size if size < CACHE else 0
        return address


def _before_fork(placement: Placement | None) -> None:
    # The slot is shared memory, and the child has arrays in it: from here on the slot is theirs, the batch is copied.
    if placement is not None:
        placement.gave_up = placement.forked = True


def _in_child(placement: Placement | None) -> None:
    if placement is not None:
        placement.leave_to_parent()


def _owner(part: Any) -> Array | None:
    """The array whose memory `part` is a view of."""
    if type(part) is not np.ndarray:
        return None
    while isinstance(part.base, np.ndarray):
        part = part.base
    owner: Array = part
    return owner


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _c_library() -> Any:
    library = ctypes.PyDLL(None)  # with the interpreter's lock: these return at once
    for name, result, arguments in (
        ("malloc", ctypes.c_void_p, (ctypes.c_size_t,)),
        ("calloc", ctypes.c_void_p, (ctypes.c_size_t, ctypes.c_size_t)),
        ("realloc", ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t)),
        ("free", None, (ctypes.c_void_p,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _do_nothing() -> Any:
    """A function of the C library that may be called with anything."""
    return ctypes.cast(ctypes.CDLL(None).labs, _free)


def _set_handler() -> Any:
    """numpy's PyDataMem_SetHandler; None where this numpy has none."""
    core = getattr(np, "_core", None) or getattr(np, "core", None)
    table = getattr(getattr(core, "_multiarray_umath", None), "_ARRAY_API", None)
    if table is None:
        return None
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    functions = ctypes.cast(get(table, None), ctypes.POINTER(ctypes.c_void_p))
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(functions[SET_HANDLER])


_NAME = ctypes.create_string_buffer(b"mem_handler")  # as numpy wants it; a capsule does not copy it


def _capsule(handler: _Handler) -> Any:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return new(ctypes.addressof(handler), ctypes.cast(_NAME, ctypes.c_char_p), None)
