"""Anonymous shared memory: it has no name, lives in no file system, and goes with the last process that maps it."""

from __future__ import annotations

import mmap
import os
import tempfile


def anonymous(size: int, label: str) -> int:
    """Return the descriptor of `size` bytes of new shared memory, all zero and none of it resident yet.

    `label` shows in /proc/PID/maps; it is not a name that anything could open.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(f"procession-{label}", os.MFD_CLOEXEC)
    else:  # not Linux: a file that has lost its name
        with tempfile.TemporaryFile(prefix=f"procession-{label}-") as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def mapped(descriptor: int, *, writable: bool) -> mmap.mmap:
    """Map the whole of `descriptor` and close it: from here on the mapping owns the memory."""
    try:
        protection = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
        return mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=protection)
    finally:
        os.close(descriptor)
