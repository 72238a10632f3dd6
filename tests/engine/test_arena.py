"""Slots and leases: a slot is in one place at a time, and memory that is not used goes back."""

from __future__ import annotations

import gc
import os
import resource
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from procession.capture.memory import anonymous
from procession.engine.arena import FIRST_CAPACITY, HEADER, NO_SLOT, PAGE, Arena, Slot, segment_buffer
from tests.support import arena_bytes, run_script


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena()
    yield arena
    arena.close()


def filled(arena: Arena, slot: Slot, value: int) -> Any:
    """Write a slot full, as a worker would, and lease it as an array."""
    np.frombuffer(arena.memory, np.uint8, slot.capacity, slot.offset)[:] = value
    return np.ndarray((slot.capacity,), np.uint8, arena.lease(slot))


def test_slots_that_are_lent_do_not_overlap(arena: Arena) -> None:
    slots = sorted(arena.lend(1)[0] for _ in range(50))
    assert all(a.offset + a.capacity <= b.offset for a, b in pairwise(slots))
    assert all(slot.offset % PAGE == 0 and slot.offset > 0 for slot in slots)


def test_the_warmest_slot_is_lent_first(arena: Arena) -> None:
    one, two = arena.lend(1)[0], arena.lend(1)[0]
    arena.reclaim(one)
    arena.reclaim(two)
    assert [arena.lend(1)[0], arena.lend(1)[0]] == [two, one]


def test_a_lease_lasts_as_long_as_any_view(arena: Arena) -> None:
    slot = arena.lend(1)[0]
    array = filled(arena, slot, 7)
    view = array[10:20].reshape(2, 5).T
    memory = memoryview(view)
    del array, view
    assert arena.lend(1)[0] != slot
    assert memory.tobytes() == bytes([7] * 10)
    del memory
    assert arena.lend(1)[0] == slot


def test_a_lease_that_ends_in_another_thread_or_in_a_cycle(arena: Arena) -> None:
    slots = [arena.lend(1)[0], arena.lend(1)[0]]
    held = [filled(arena, slot, 1) for slot in slots]
    cycle: list[Any] = [held.pop()]
    cycle.append(cycle)
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    del cycle
    gc.collect()
    assert {arena.lend(1)[0], arena.lend(1)[0]} == set(slots)


def test_slots_grow_and_outgrown_memory_goes_back(arena: Arena) -> None:
    slots = [arena.lend(1)[0] for _ in range(8)]
    arrays = [filled(arena, slot, 1) for slot in slots]
    assert arena_bytes() >= 8 * FIRST_CAPACITY
    arena.fit(1_000_000)
    arena.fit(10)  # never smaller again
    arrays.clear()
    larger = arena.lend(1)[0]
    assert larger.capacity >= 1_000_000
    assert larger not in slots
    assert arena_bytes() <= PAGE  # what is written at its head


def test_memory_of_slots_that_were_held_for_long_goes_back(arena: Arena) -> None:
    held = [filled(arena, arena.lend(1)[0], 3) for _ in range(50)]
    slots = {arena.lend(1)[0]}
    full = arena_bytes()
    assert full >= 50 * FIRST_CAPACITY
    assert all((array == 3).all() for array in held)
    held.clear()
    slots |= {arena.lend(1)[0] for _ in range(3)}
    assert arena_bytes() < 20 * FIRST_CAPACITY
    slots |= {arena.lend(1)[0] for _ in range(47)}  # all addresses are used again
    assert max(slot.offset for slot in slots) < HEADER + 51 * FIRST_CAPACITY


def test_closing_gives_back_all_but_what_is_held() -> None:
    arena = Arena()
    held = [filled(arena, arena.lend(1)[0], value) for value in range(10)]
    arena.lend(1)[0]
    kept = held[4]
    del held
    path = f"/proc/self/fd/{arena.descriptor}"
    copy = os.open(path, os.O_RDWR)
    arena.close()
    assert os.fstat(copy).st_blocks * 512 == FIRST_CAPACITY
    os.close(copy)
    assert (kept == 4).all()


def test_what_is_held_outlives_the_arena() -> None:
    arena = Arena()
    array = filled(arena, arena.lend(1)[0], 9)
    view = array[5:8]
    arena.close()
    arena.close()
    del arena, array
    gc.collect()
    assert view.tolist() == [9, 9, 9]


def test_addresses_that_run_out_give_no_slot(arena: Arena) -> None:
    arena.fit(arena.span // 2)
    slots = [arena.lend(1)[0] for _ in range(3)]
    assert NO_SLOT in slots
    arena.reclaim(NO_SLOT)  # which is no slot to keep
    assert arena.lend(1)[0] == NO_SLOT


def test_a_segment_goes_with_its_last_array() -> None:
    descriptor = anonymous(100, "batch")
    os.pwrite(descriptor, b"\5" * 100, 0)
    array = np.ndarray((100,), np.uint8, segment_buffer(descriptor, 100))
    view = array[3:6]
    del array
    assert view.tolist() == [5, 5, 5]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


LIMITED = """
import resource
import numpy as np
import procession
import procession.loader

class Source:
    def __len__(self):
        return 5
    def __getitem__(self, i):
        return np.full(3_000_000, i, np.uint8)

limit, _ = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, limit))
with procession.Loader(Source(), workers=2) as loader:
    for _ in range(2):
        assert [int(batch[-1]) for batch in loader] == [0, 1, 2, 3, 4]
print("whole")
"""


def test_a_limit_on_addresses_is_lived_with(tmp_path: Any) -> None:
    assert resource.RLIMIT_AS
    done = run_script(LIMITED, tmp_path, check=False)
    assert (done.stdout, done.stderr) == ("whole\n", "")
