"""Where finished batches lie in the training process: parked in the arena, opened as arrays, or given back."""

from __future__ import annotations

import mmap
from typing import Any

from procession.engine.arena import Arena, Slot
from procession.engine.ports import Parked
from procession.engine.wire import Parcel, Reading, write


class Landing:
    """The arena as executors use it."""

    def __init__(self) -> None:
        self.arena = Arena()
        self._reading: Reading | None = None  # of the layout that came last

    def park_here(self, parcel: Parcel, slot: Slot) -> Parked:
        """Write a batch made in this process; may be called from any thread, with a slot that was lent to it."""
        if parcel.nbytes <= slot.capacity:
            rest = write(parcel, self.arena.memory, slot.offset)
            return Parked(parcel.layout, rest, parcel.nbytes, slot, parcel.reasons)
        memory = mmap.mmap(-1, max(1, parcel.nbytes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return Parked(parcel.layout, write(parcel, memory, 0), parcel.nbytes, memory, parcel.reasons)

    def open(self, parked: Parked) -> Any:
        """Read a batch; the lease on its slot ends with its last array."""
        layout, rest, _, memory, _, _ = parked
        reading = self._reading
        if reading is None or reading.layout is not layout:
            reading = self._reading = Reading(layout)
        return reading.read(rest, self.arena.lease(memory) if type(memory) is Slot else memory)

    def discard(self, parked: Parked) -> None:
        """Give back the memory of a batch that is not wanted."""
        if isinstance(parked.memory, Slot):
            self.arena.reclaim(parked.memory)
