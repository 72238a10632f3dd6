"""The arena: one anonymous shared memory, the slots in it, and the leases on them. Lives in the training process.

    | hands | slot | slot |  slot  | …                           … nothing resident … |    one mapping, sparse, 1 TiB
      of addresses ▲ lent to a task: one worker writes its bytes
      ▲ leased: the consumer holds arrays on it
      ▲ free: waits for the next task, its pages stay mapped (that is what makes the next copy fast)

Guarantees: a slot is in one of the three states at a time; a batch that is held never changes; memory that has been
outgrown goes back to the system. Relies on: tasks written by one worker each, and only this process moving slots
between the states. So a worker that is killed, in the middle of a write too, can spoil nothing but bytes nobody reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
import weakref
from collections import deque
from typing import Any, NamedTuple

from procession.capture.memory import anonymous, mapped
from procession.engine.limits import limit_error

# Address space only: shared memory of this kind takes no room until it is written to. Halved where a limit forbids it.
SPAN = 1 << 40
LEAST_SPAN = 1 << 26
FIRST_CAPACITY = mmap.PAGESIZE
MEMORY = 256  # small batches in a row after which a large one is forgotten
PAGE = mmap.PAGESIZE
HAND = struct.Struct("=qqd")  # what a worker has in hand: ticket + 1 (0: nothing), item, time.monotonic()
ITEM = struct.Struct("=q")  # the second field of it
HEADER = 64 * 1024  # room for the hands of 1024 workers, and a multiple of any page size in use


class Slot(NamedTuple):
    """One batch's place in the arena, both in bytes; capacity 0 stands for "no room, use a one-off segment"."""

    offset: int
    capacity: int


NO_SLOT = Slot(0, 0)


class Lease(weakref.ref[Any]):
    """Ends with the memory that it refers to; knows its slot."""

    __slots__ = ("slot",)
    slot: Slot


class Hand(NamedTuple):
    """What a worker is at."""

    ticket: int
    item: int  # index in the source; -1: none of them, it takes rows or writes
    since: float  # when it began with this task, of time.monotonic()


class Arena:
    """Lends slots to tasks and leases them to the consumer."""

    def __init__(self) -> None:
        self.descriptor, self.span = _reserve()
        self.memory = mapped(os.dup(self.descriptor), writable=True)
        with contextlib.suppress(OSError, AttributeError):
            self.memory.madvise(mmap.MADV_DONTDUMP)  # a core dump should not carry the batches
        self._capacity = FIRST_CAPACITY  # what a new slot gets; follows the batches seen
        self._seen = self._largest = (
            0  # batches of less than a quarter of that since the last larger one, and their largest
        )
        self._end = HEADER  # where the next new slot begins
        # Invariant: a slot in use is in exactly one of _free, _cold, _lent and _leases; in the last two by its offset,
        # since a number is hashed in no time.
        self._free: list[Slot] = []  # last in, first out: its pages are the warmest
        self._cold: list[Slot] = []  # as _free, but with their memory given back
        self._lent: dict[int, Slot] = {}
        self._leases: dict[int, Lease] = {}
        self._pinned: set[int] = set()  # leased while this process was forked: a child may hold them, never lent again
        self._most_lent = 0
        # Filled by weakref callbacks, which may run in any thread and between any two bytecodes: append is all they do.
        self._ended: deque[Lease] = deque()
        self._buffers: dict[int, Any] = {}  # capacity → the type of a buffer of that size
        _ARENAS.add(self)

    def lend(self, count: int) -> list[Slot]:
        """Take a slot for each of so many tasks."""
        self._collect()
        slots = [self._take() or self._new() for _ in range(count)]
        self._lent.update({slot.offset: slot for slot in slots if slot.capacity})
        self._most_lent = max(self._most_lent, len(self._lent))
        return slots

    def reclaim(self, slot: Slot) -> None:
        """Take back a slot that was lent and will not be leased."""
        if slot.capacity:
            self._lent.pop(slot.offset, None)
            self._free.append(slot)

    def abandon(self, slot: Slot) -> None:
        """Never use a slot again that was lent: somebody may still write there."""
        if slot.capacity:
            self._lent.pop(slot.offset, None)
            self._give_back_memory(slot)

    def lease(self, slot: Slot) -> Any:
        """The memory of a slot that was lent; the lease ends when the last array on it is dropped."""
        offset, capacity = slot
        kind = self._buffers.get(capacity)  # not a memoryview, which numpy looks through: the lease would end at once
        if kind is None:
            kind = self._buffers[capacity] = ctypes.c_char * capacity
        buffer = kind.from_buffer(self.memory, offset)
        lease = self._leases[offset] = Lease(buffer, self._ended.append)
        lease.slot = slot
        self._lent.pop(offset, None)
        return buffer

    def in_hand(self, worker: int) -> Hand | None:
        """What a worker has in hand. Written by the worker, or here while there is none."""
        ticket, index, since = HAND.unpack_from(self.memory, worker * HAND.size)
        return Hand(ticket - 1, index, since) if ticket > 0 else None

    def empty_hand(self, worker: int) -> None:
        """Before a worker starts: it has nothing in hand."""
        HAND.pack_into(self.memory, worker * HAND.size, 0, -1, 0.0)

    def pin(self) -> None:
        """Before this process is forked: leave to the child, as they are, the batches that it inherits."""
        self._pinned.update(self._leases)

    def keep_to_itself(self) -> None:
        """In a forked child: let what it writes to the batches that it inherits be its own."""
        if self.descriptor >= 0 and self._leases:
            base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
            for lease in self._leases.values():
                private(self.descriptor, base, lease.slot)

    def fit(self, nbytes: int) -> None:
        """Learn from the size of a batch how large slots should be: the largest seen, and an eighth to spare.

        After many much smaller ones the largest is forgotten: addresses are many, but not endless.
        """
        if nbytes > self._capacity:
            self._capacity = _spared(nbytes)
        elif 4 * nbytes > self._capacity:
            self._seen = self._largest = 0
        else:
            self._seen += 1
            self._largest = max(self._largest, nbytes)
            if self._seen >= MEMORY:
                self._capacity = max(FIRST_CAPACITY, _spared(self._largest))
                self._seen = self._largest = 0

    def close(self) -> None:
        """Give back all memory but that of batches still held, which stay as they are, and go when they are dropped.

        Nobody may write any more: the workers have ended.
        """
        if self.descriptor >= 0:
            self._collect()
            for slot in (*self._free, *self._lent.values()):
                self._give_back_memory(slot)
            os.close(self.descriptor)
            self.descriptor = -1
            with contextlib.suppress(BufferError):  # batches are held: it goes with the last of them
                self.memory.close()

    def _take(self) -> Slot | None:
        for pool in (self._free, self._cold):
            while pool:
                slot = pool.pop()
                if slot.capacity >= self._capacity:
                    return slot
                self._give_back_memory(slot)  # outgrown: its addresses are not used again
        return None

    def _new(self) -> Slot:
        if self._end + self._capacity > self.span:
            return NO_SLOT  # addresses have run out: this batch travels in a segment of its own
        slot = Slot(self._end, self._capacity)
        self._end += self._capacity
        return slot

    def _collect(self) -> None:
        while self._ended:
            slot = self._ended.popleft().slot
            del self._leases[slot.offset]
            if slot.offset not in self._pinned:
                self._free.append(slot)
        while len(self._free) > 2 * self._most_lent + 2:  # a consumer that held many batches has dropped them
            slot = self._free.pop(0)
            self._give_back_memory(slot)
            self._cold.append(slot)

    def _give_back_memory(self, slot: Slot) -> None:
        self.memory.madvise(mmap.MADV_REMOVE, slot.offset, slot.capacity)


# For the hook below alone. A fork copies private memory; this is shared, so that a slot lent again would change under
# a child.
_ARENAS: weakref.WeakSet[Arena] = weakref.WeakSet()


def _pin_all() -> None:
    for arena in list(_ARENAS):
        arena.pin()


def _keep_all() -> None:
    for arena in list(_ARENAS):
        arena.keep_to_itself()


os.register_at_fork(before=_pin_all, after_in_child=_keep_all)


def segment_buffer(descriptor: int, size: int) -> Any:
    """The memory of a one-off segment, which goes when the last array on it is dropped. Closes the descriptor.

    Not by the module mmap, which keeps a descriptor of its own: held batches must not cost one each.
    """
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    try:
        # Private: nobody writes there any more, and what a forked child writes is its own.
        address = _mmap(None, size, protection, mmap.MAP_PRIVATE, descriptor, 0)
    finally:
        os.close(descriptor)
    if address == FAILED:
        raise limit_error(ctypes.get_errno(), f"memory for a batch of {size:,} bytes")
    buffer = (ctypes.c_char * size).from_address(address)
    weakref.finalize(buffer, _munmap, address, size).atexit = False
    return buffer


def private(descriptor: int, base: int, slot: Slot) -> None:
    """In a forked child: map a slot anew, so that writing to it changes nothing for the parent.

    Args:
        descriptor: the arena's.
        base: the address of its mapping.
        slot: page by page its own, as all slots are.
    """
    protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | MAP_FIXED
    _mmap(base + slot.offset, slot.capacity, protection, flags, descriptor, slot.offset)


MAP_FIXED = 0x10  # <sys/mman.h>, on all of Linux's common architectures
_libc = ctypes.CDLL(None, use_errno=True)
_mmap, _munmap = _libc.mmap, _libc.munmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t)
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
FAILED = ctypes.c_void_p(-1).value


def _reserve() -> tuple[int, int]:
    span = SPAN
    while True:
        descriptor = -1
        try:
            descriptor = anonymous(span, "arena")
            mmap.mmap(descriptor, span).close()
            return descriptor, span
        except (OSError, ValueError):  # RLIMIT_AS, RLIMIT_FSIZE or a machine with fewer address bits
            if descriptor >= 0:
                os.close(descriptor)
            if span <= LEAST_SPAN:
                raise
            span //= 4


def _spared(nbytes: int) -> int:
    wish = nbytes + nbytes // 8
    return (wish + PAGE - 1) // PAGE * PAGE
