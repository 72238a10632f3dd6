"""How memory is counted."""

from typing import Any

import psutil


def private_bytes(pid: int) -> int:
    """What a process has to itself.

    Unlike the "unique set size" this leaves out shared memory. Its pages count as unique to whoever happens to be the
    only one that has touched them, though they are there once however many processes there are.
    """
    return sum(own(region) for region in psutil.Process(pid).memory_maps(grouped=False))


def own(region: Any) -> int:
    """The part of a mapping that is the process's own."""
    private = int(region.private_clean + region.private_dirty)
    if region.perms.endswith("s") or region.path.startswith(("/memfd:", "/dev/shm/")):
        # Of shared memory only what was written to a private copy of it.
        return min(private, int(region.anonymous))
    return private


def tree_bytes() -> int:
    """The memory of this process and of all that descend from it; what they share is counted once."""
    here = psutil.Process()
    total = 0
    for process in (here, *here.children(recursive=True)):
        try:
            total += int(process.memory_full_info().pss)
        except psutil.NoSuchProcess:
            continue
    return total
