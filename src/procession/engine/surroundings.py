"""What a worker finds around it: the training process's environment, import path and directory, no GPU, one thread."""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from procession.config import cores
from procession.engine.messages import Surroundings

# What workers and the template see. One native thread each: parallelism is the number of workers; no GPU: the training
# process has it, and a second context on it costs memory or fails.
ENVIRONMENT = {
    **dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "BLIS_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS",
            "NUMEXPR_NUM_THREADS",
            "NUMBA_NUM_THREADS",
            "TF_NUM_INTRAOP_THREADS",
            "TF_NUM_INTEROP_THREADS",
            "RAYON_NUM_THREADS",
            "POLARS_MAX_THREADS",
            "OPENCV_FOR_THREADS_NUM",
        ),
        "1",
    ),
    # A library that binds the process which imports it to one core would bind all workers to the same one.
    "OMP_PROC_BIND": "false",
    "OPENBLAS_MAIN_FREE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "-1",
    "HIP_VISIBLE_DEVICES": "-1",
    "ROCR_VISIBLE_DEVICES": "-1",
    "JAX_PLATFORMS": "cpu",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's allocator: one thread fewer before the fork
}

# For glibc, elsewhere without effect. Large batches are written once and read by another process: past the cache, then
# (from 4 MiB on); and what they were made in is kept for the next one, not given back and faulted in anew.
TUNABLES = (
    f"glibc.cpu.x86_non_temporal_threshold={4 << 20}"
    f":glibc.malloc.mmap_threshold={256 << 20}"
    f":glibc.malloc.trim_threshold={512 << 20}"
)

# Background threads that were seen to survive a fork: memory housekeeping, without a lock that a child would need.
HARMLESS_THREADS = ("jemalloc_bg_thd", "polars-ooc")


def surroundings() -> Surroundings:
    """What workers are to see: the training process's environment, import path and directory as they are now."""
    own = os.environ.get("GLIBC_TUNABLES")
    adjusted = {
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),  # said once, in the training process
        "GLIBC_TUNABLES": f"{TUNABLES}:{own}" if own else TUNABLES,
    }
    try:
        directory = os.getcwd()
    except FileNotFoundError:
        directory = None
    path = tuple(os.path.abspath(entry) if directory else entry for entry in sys.path)
    return Surroundings({**os.environ, **adjusted, **ENVIRONMENT}, path, directory, tuple(sys.argv), cores())


def take_over(seen: Surroundings) -> None:
    """Make this process look at the world as the training process does now."""
    for name in set(os.environ) - set(seen.environment):
        del os.environ[name]
    os.environ.update(seen.environment)
    sys.path[:] = seen.path
    sys.argv[:] = seen.arguments
    if seen.cores:
        with contextlib.suppress(OSError):  # they may have been taken from us since
            os.sched_setaffinity(0, seen.cores)
    if seen.directory is not None:
        with contextlib.suppress(OSError):  # it may have been removed: imports by absolute path still work
            os.chdir(seen.directory)


def import_all(names: Iterable[str]) -> None:
    """Import modules, for those to be forked; what fails here fails where it is needed, and is told there."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def threads() -> tuple[str, ...]:
    """Names of the threads that a fork would lose, from the kernel: libraries start them without Python's knowledge."""
    found = []
    named = {thread.native_id: thread.name for thread in threading.enumerate()}
    for task in Path("/proc/self/task").iterdir():
        number = int(task.name)
        if number != os.getpid():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found.append(named.get(number) or (task / "comm").read_text().strip())
    return tuple(name for name in found if not name.startswith(HARMLESS_THREADS))


def files() -> dict[int, str]:
    """The files and sockets that are open: workers that are forked would share their offsets, and what comes on them.

    A mapping's are among them, since they cannot be told from others of the same file.
    """
    found = {}
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the one that listed them
            name = str(entry.readlink())
            mode = entry.stat().st_mode
            if stat.S_ISSOCK(mode) or (stat.S_ISREG(mode) and not name.startswith("/memfd:")):
                found[int(entry.name)] = name
    return found


def opened_since(before: dict[int, str]) -> tuple[str, ...]:
    """What `files` finds now and did not find before."""
    return tuple(sorted({name for number, name in files().items() if before.get(number) != name}))
