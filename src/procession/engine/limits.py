"""The limits of the machine that stop a loader, or that may have killed a worker: read, and put into words."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from procession.errors import LimitError

T = TypeVar("T")
CGROUP = Path("/sys/fs/cgroup")
DESCRIPTORS_A_WORKER = 3  # its channel, the pipe for its stack, and what tells of its end


def opened(make: Callable[[], T], what: str) -> T:
    """Call what takes descriptors, memory or processes.

    Raises:
        LimitError: there are none left; names the limit.
    """
    try:
        return make()
    except OSError as error:
        raise limit_error(error.errno or 0, what) from error


def not_started(worker: int, number: int) -> LimitError:
    """The error for a worker that could not be forked, from its errno."""
    return limit_error(number, f"worker {worker}")


def limit_error(number: int, what: str) -> LimitError:
    """Say which limit is in the way of `what`, and its value."""
    return LimitError(number, f"no {what} could be had ({os.strerror(number)}): {_limits(number)}")


def memory_limits() -> str:
    """Which limits there are that could have killed a process for its memory; empty if none is known."""
    found = []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        found.append(f"RLIMIT_AS (ulimit -v) is {megabytes(limit)}")
    bound, used = (cgroup(f"memory.{name}") for name in ("max", "current"))
    if bound is not None:
        found.append(f"the memory limit of its cgroup is {megabytes(bound)}, of which {megabytes(used or 0)} is in use")
    kills = cgroup("memory.events", "oom_kill")
    if kills:
        found.append(f"the kernel has killed {kills} processes of this cgroup for memory")
    free = available()
    if free is not None:
        found.append(f"the machine has {megabytes(free)} available")
    return "; ".join(found)


def megabytes(size: int) -> str:
    """`1,234 MB`."""
    return f"{size / 1e6:,.0f} MB"


def _limits(number: int) -> str:
    match number:
        case errno.EMFILE:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            return (
                f"this process may have {soft} file descriptors open (RLIMIT_NOFILE) and has {open_descriptors()}. A "
                f"loader needs {DESCRIPTORS_A_WORKER} for each worker and about ten besides. Raise the limit "
                f"(`ulimit -n {hard}`), use fewer workers, or close files"
            )
        case errno.ENFILE:
            return "the machine has no file descriptor left (/proc/sys/fs/file-nr): other processes hold them"
        case errno.EAGAIN:
            soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
            bound = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
            pids, used = cgroup("pids.max"), cgroup("pids.current")
            shared = "" if pids is None else f", its cgroup {pids} (pids.max), of which {used} are in use"
            return (
                f"this user may have {bound} processes and threads (RLIMIT_NPROC, ulimit -u){shared}. A loader needs "
                "one for each worker and one besides. Raise the limit, or use fewer workers"
            )
        case errno.ENOMEM:
            return f"there is not enough memory: {memory_limits()}. Use fewer workers, or raise the limit"
        case errno.EFBIG:
            soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
            return f"RLIMIT_FSIZE (ulimit -f) is {megabytes(soft)}, which also holds for shared memory; raise it"
        case _:
            return "the system has refused it"


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    with contextlib.suppress(OSError):  # listing takes a descriptor
        return len(list(Path("/proc/self/fd").iterdir()))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def cgroup(name: str, key: str | None = None) -> int | None:
    """A number from this process's cgroup (version 2); None if there is none, or no limit."""
    try:
        text = (CGROUP / _own_cgroup() / name).read_text()
        if key is None:
            return int(text)
        return next((int(line.split()[1]) for line in text.splitlines() if line.split()[0] == key), None)
    except (OSError, ValueError):
        return None


def _own_cgroup() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:].lstrip("/")
    raise OSError(errno.ENOENT, "no cgroup of version 2")


def available() -> int | None:
    """Bytes of memory that the machine could give to processes; None where it does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
