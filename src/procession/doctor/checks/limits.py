"""Limits: what the machine allows, against what workers need."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from procession.config import usable_cores
from procession.doctor.check import Chart, Check, Results
from procession.doctor.checks.memory import memory_growth
from procession.doctor.findings import Code, Finding
from procession.engine import limits
from procession.engine.limits import DESCRIPTORS_A_WORKER, megabytes

BESIDES = 10  # descriptors of a loader, whatever the number of workers
SMALL_SHM = 1 << 30
BATCHES_A_WORKER = 4  # that are under way, or ready, at most; about

DESCRIPTORS = Code(
    "PRC411",
    "There are too few file descriptors for the workers",
    "error",
    why="A loader needs three for each worker and about ten besides; where there are none it raises a LimitError, or "
    "something else in the process fails to open a file.",
    fix="""\
ulimit -n 65536                                     # in the shell, before Python
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))    # or in Python: up to the hard limit, without privileges""",
    how="The limit and what is open are compared with what one worker for each core needs.",
)
SHM = Code(
    "PRC412",
    "/dev/shm is small",
    "note",
    why="Procession does not use it: its shared memory is anonymous. Others do (the DataLoader of torch, the locks and "
    "queues of multiprocessing, NCCL), and die of SIGBUS or `No space left on device` where it is full.",
    fix="docker run --shm-size=8g ...       # Kubernetes: an emptyDir with medium: Memory, mounted at /dev/shm",
    how="The file system is asked for its size.",
)
MEMORY = Code(
    "PRC413",
    "The workers may need more memory than there is",
    "warning",
    why="Past the limit the kernel kills a process without a word (SIGKILL): a worker, which is replaced and killed "
    "again, or the training process.",
    fix="""\
loader = procession.Loader(source, workers=2)                       # fewer
loader = procession.Loader(source, faults=procession.Faults(max_memory=2 << 30))    # or replaced before that
docker run --memory 32g ...                                         # or more""",
    how="What one worker needs of its own after some items, and the batches under way, times the cores, against what "
    "is available.",
)
CORES = Code(
    "PRC414",
    "This process may not use all cores of the machine",
    "note",
    why="`workers='auto'` is as many as may be used. More compete with each other, and with the training step.",
    fix="""\
docker run --cpus 8 ...            # a cgroup's quota
taskset -c 0-7 python train.py     # an affinity mask; under Slurm: --cpus-per-task
OMP_NUM_THREADS=1                  # does not matter here: workers have one native thread each""",
    how="The affinity mask and the quota of the cgroup are read.",
)
PROCESSES = Code(
    "PRC415",
    "Too few processes are left for the workers",
    "error",
    why="Each worker is a process. Where none can be started, a loader raises a LimitError.",
    fix="""\
docker run --pids-limit 4096 ...   # a cgroup's limit (pids.max)
ulimit -u 4096                     # the user's: processes and threads together""",
    how="The limit of the cgroup, and what is in use, are read.",
)
PYTHON = Code(
    "PRC416",
    "The start method of multiprocessing is set",
    "note",
    why="Procession's workers are not multiprocessing's: they are forked from a process that has only imported and "
    "unpickled the source, whatever the start method. It counts for what else uses multiprocessing.",
    fix='# multiprocessing.set_start_method("spawn") is not needed for the loader',
    how="multiprocessing is asked for it.",
)


class Machine(NamedTuple):
    """What there is, in bytes and numbers; None: no limit, or not known."""

    cores: int
    usable: int
    descriptors: int
    open: int
    shm: int | None
    available: int | None
    processes: int | None
    running: int | None
    start_method: str | None


FIGURES = (
    *("cores of the machine", "usable cores", "descriptors allowed", "descriptors open", "/dev/shm bytes"),
    *("available memory bytes", "processes allowed", "processes running", "start method"),
)


def machine() -> Machine:
    """Read what this process may have."""
    bound, used = (limits.cgroup(f"memory.{name}") for name in ("max", "current"))
    free = [size for size in (limits.available(), None if bound is None else bound - (used or 0)) if size is not None]
    return Machine(
        cores=os.cpu_count() or 1,
        usable=usable_cores(),
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        open=limits.open_descriptors(),
        shm=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None,
        available=min(free) if free else None,
        processes=limits.cgroup("pids.max"),
        running=limits.cgroup("pids.current"),
        start_method=multiprocessing.get_start_method(allow_none=True),
    )


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """What of this machine is in the way of one worker for each core."""
    found = machine()
    named = zip(FIGURES, found, strict=True)
    chart.figures.update({name: value for name, value in named if value is not None})
    chart.figures["Python"] = sys.version.split()[0]
    growth = results.of(memory_growth)
    own = chart.figures.get("memory of a worker's own bytes", 0) if growth is not None else 0
    batch = max((probed.form.nbytes for probed in chart.probes.values() if probed.form is not None), default=0)
    yield from told(found, own, batch * (chart.batch_size or 1))


def told(found: Machine, own: int, batch: int) -> Iterator[Finding]:
    """What to say of a machine.

    Args:
        found: what it has.
        own: bytes that each worker needs for itself.
        batch: bytes of a batch.
    """
    workers = found.usable
    if found.usable < found.cores:
        yield CORES.found(
            f"{found.usable} of {found.cores} cores may be used, by the affinity mask or the cgroup's quota"
        )
    needed = workers * DESCRIPTORS_A_WORKER + BESIDES
    if found.open + needed > found.descriptors:
        yield DESCRIPTORS.found(
            f"{found.descriptors} may be open (RLIMIT_NOFILE), {found.open} are; {workers} workers need about "
            f"{needed} more"
        )
    if found.shm is not None and found.shm < SMALL_SHM:
        yield SHM.found(f"it has {megabytes(found.shm)}")
    total = workers * (own + BATCHES_A_WORKER * batch)
    if found.available is not None and total > found.available:
        yield MEMORY.found(
            f"{workers} workers need about {megabytes(total)}, each {megabytes(own)} of its own and some batches of "
            f"{megabytes(batch)}; {megabytes(found.available)} are available"
        )
    if found.processes is not None and (found.running or 0) + workers + 1 > found.processes:
        yield PROCESSES.found(
            f"pids.max of the cgroup is {found.processes}, {found.running or 0} are in use; {workers} workers and the "
            f"process they are forked from need {workers + 1}"
        )
    usual = multiprocessing.get_all_start_methods()[0]
    if found.start_method not in (None, usual):
        yield PYTHON.found(f"it is {found.start_method!r}, and {usual!r} if nobody sets it")


CHECK = Check(
    "limits",
    "What does this machine allow, and is it enough for the workers?",
    (DESCRIPTORS, SHM, MEMORY, CORES, PROCESSES, PYTHON),
    (),
    judge,
    alone=(memory_growth,),
)
