"""Cases E, first part: memory that grows, is copied, runs out, or is gone; with stock tools, and here."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

from procession import Faults, Loader, WorkerDiedError, share
from tests.catalogue.kit import outcome, recognised
from tests.support import Made, arena_bytes

MEGABYTE = 1 << 20


def test_memory_stays_flat_over_epochs() -> None:
    """E1, E19: 20 epochs of 12 batches of 4 MB, the training process and its workers together."""
    with Loader(Made(lambda i: np.full((4, MEGABYTE), i, np.uint8), 12), workers=2, prefetch=4) as loader:

        def epoch() -> int:
            assert [int(batch[0, 0]) for batch in loader] == list(range(12))
            workers = [psutil.Process(pid) for pid in loader.statistics().pids.values()]
            return sum(process.memory_full_info().uss for process in [psutil.Process(), *workers]) + arena_bytes()

        early = [epoch() for _ in range(3)]
        late = [epoch() for _ in range(17)]
        assert late[-1] < max(early) * 1.1 + 8 * MEGABYTE
        assert arena_bytes() < 8 * 4 * MEGABYTE


# E2: how much memory a forked child has of its own, before and after it has only read
OWN = """
import gc, os, sys

def own():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Private_Dirty"))
"""
REFERENCE_COUNTS = (
    OWN
    + """
names = [str(i).zfill(100) for i in range(300_000)]
gc.collect()
gc.freeze()
if os.fork() == 0:
    before = own()
    for name in names:
        pass
    print(own() - before, flush=True)
    os._exit(0)
os.wait()
"""
)
SHARED_STRINGS = (
    OWN
    + """
import procession

class Names:
    def __init__(self):
        self.names = procession.share([str(i).zfill(100) for i in range(300_000)])
    def __len__(self):
        return 1
    def __getitem__(self, i):
        before = own()
        length = 0
        for name in self.names:
            length += len(name)
        return length, own() - before

with procession.Loader(Names(), workers=1) as loader:
    (length, grown), = loader
    assert length == 300_000 * 100
    print(grown)
"""
)


def test_reading_python_objects_copies_their_pages_but_not_shared_strings(tmp_path: Path) -> None:
    stock = outcome(REFERENCE_COUNTS, tmp_path)
    assert int(stock.output) > 30_000  # kB
    here = outcome(SHARED_STRINGS, tmp_path)
    assert here.errors == ""
    assert int(here.output) < 5_000
    assert recognised("memory climbs during the epoch as if every worker had its own copy: copy-on-write?") == "E2"


# E3: the same array, in two workers of each kind
COPIES = """
import multiprocessing, re
import numpy as np

SIZE = 100 << 20

class Held:
    def __init__(self):
        self.x = np.ones(SIZE, np.uint8)
    def __len__(self):
        return 2
    def __getitem__(self, i):
        total = int(self.x[::4096].sum())
        text = open("/proc/self/smaps_rollup").read()
        return total, int(re.search(r"Anonymous: +(\\d+)", text)[1])  # kB that no other process can see

def stock(source, barrier, answers):
    found = source[0]
    barrier.wait()
    answers.put(found)

def start():
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.SimpleQueue()
    workers = [context.Process(target=stock, args=(Held(), barrier, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    print(*[answers.get()[1] for _ in workers])
    for worker in workers:
        worker.join()

if __name__ == "__main__":
    start()
"""


def test_spawned_workers_copy_the_dataset_and_ours_do_not(tmp_path: Path) -> None:
    stock = [int(own) for own in outcome(COPIES, tmp_path).output.split()]
    assert len(stock) == 2
    assert min(stock) > 100 << 10  # kB: each has all of it
    here = """
import procession
with procession.Loader(Held(), workers=2) as loader:
    print(*[own for _, own in loader])
"""
    done = outcome(COPIES.partition("if __name__")[0] + here, tmp_path)
    ours = [int(own) for own in done.output.split()]
    assert (len(ours), done.errors) == (2, "")
    assert max(ours) < 40 << 10


# E7. In a process namespace whose first process has ended, the kernel answers a fork with ENOMEM.
NO_FORK = """
import ctypes, multiprocessing

def nothing():
    pass

if __name__ == "__main__":
    assert ctypes.CDLL(None).unshare(0x20000000) == 0, "no process namespace to be had"
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        process = context.Process(target=nothing)
        process.start()
        process.join()
"""


def test_a_fork_without_memory_and_workers_that_know_nothing_of_ours(tmp_path: Path) -> None:
    stock = outcome(NO_FORK, tmp_path)
    assert "self.pid = os.fork()" in stock.errors
    assert "OSError: [Errno 12] Cannot allocate memory" in stock.errors
    assert recognised(stock.text) == "E7"

    def parents(i: int) -> tuple[int, int, int]:
        process = psutil.Process()
        mine = process.parent()
        assert mine is not None
        return process.ppid(), mine.ppid(), process.memory_info().rss

    held = np.ones(1 << 30, np.uint8)  # what the training has allocated
    with Loader(Made(parents, 4), workers=2) as loader:
        for template, training, memory in loader:
            assert (template != os.getpid(), training) == (True, os.getpid())
            assert memory < held.nbytes // 4


TORCH_KILLED = """
import os, signal
import torch.utils.data

class Dataset(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, i):
        if i == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

for batch in torch.utils.data.DataLoader(Dataset(), batch_size=2, num_workers=1):
    pass
"""


def test_a_worker_killed_for_memory(tmp_path: Path) -> None:
    """E8: the run goes on if it was once; if it is always that item, the error says what bounds memory."""
    stock = outcome(TORCH_KILLED, tmp_path)
    assert stock.status == 1
    assert "is killed by signal: Killed" in stock.errors
    assert "emory" not in stock.errors.rpartition("\n\n")[2]
    assert recognised(stock.text) == "E8"
    marker = tmp_path / "was here"

    def once(i: int) -> int:
        if i == 3 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    with Loader(Made(once, 8), workers=2) as loader:
        assert list(loader) == list(range(8))
        assert loader.statistics().deaths == 1

    def always(i: int) -> int:
        if i == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    with (
        Loader(Made(always, 8), workers=2, faults=Faults(retries=1)) as loader,
        pytest.raises(WorkerDiedError, match=r"source\[3\].*SIGKILL.*What bounds memory here: .*\d MB available"),
    ):
        list(loader)


CLOSED = {
    "ndarray": "array = np.ndarray((1 << 20,), 'u1', buffer=block.buf); block.close(); print('closed', flush=True)",
    "frombuffer": "array = np.frombuffer(block.buf, 'u1'); print('made', flush=True); block.close()",
}
BLOCK = """
from multiprocessing.shared_memory import SharedMemory
import numpy as np

block = SharedMemory(create=True, size=1 << 20)
block.unlink()
"""


def test_arrays_on_blocks_that_are_closed(tmp_path: Path) -> None:
    gone = outcome(f"{BLOCK}{CLOSED['ndarray']}\narray[:] = 1", tmp_path)
    assert (gone.status, gone.output) == (-signal.SIGSEGV, "closed\n")
    kept = outcome(BLOCK + CLOSED["frombuffer"], tmp_path)
    assert kept.output == "made\n"
    assert "BufferError: cannot close exported pointers exist" in kept.errors
    assert recognised(kept.text) == "E12"
    loader = Loader(Made(lambda i: np.full(MEGABYTE, i, np.uint8), 6), workers=2)
    batches = list(loader)
    views = [batch[::2] for batch in batches]
    shared = share(np.arange(MEGABYTE))
    loader.close()
    del loader, batches
    gc.collect()
    for number, view in enumerate(views):
        assert (view == number).all()
        view[:] = 100 + number
    assert [int(view[-1]) for view in views] == list(range(100, 106))
    view = shared[-3:]
    del shared
    gc.collect()
    assert view.tolist() == [MEGABYTE - 3, MEGABYTE - 2, MEGABYTE - 1]


READ_ONLY = """
import numpy as np

np.zeros(10).tofile("x")
x = np.memmap("x", mode="r")
"""


@pytest.mark.parametrize(
    ("write", "words"),
    [
        ("x[2:4] *= 2", "ValueError: output array is read-only"),
        ("x[2:4] = 1", "ValueError: assignment destination is read-only"),
    ],
)
def test_writing_to_what_is_shared(write: str, words: str, tmp_path: Path) -> None:
    stock = outcome(READ_ONLY + write, tmp_path)
    assert stock.errors.endswith(f"{words}\n")
    assert recognised(stock.text) == "E13"

    class InPlace:
        def __init__(self) -> None:
            self.x = np.ones((64, 1000))

        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int) -> np.ndarray:
            batch = self.x[i : i + 4]
            batch *= 2
            return batch

    class OnACopy(InPlace):
        def __getitem__(self, i: int) -> np.ndarray:
            batch = self.x[i : i + 4].copy()
            batch *= 2
            return batch

    with Loader(InPlace(), workers=2) as loader, pytest.raises(ValueError, match="read-only") as caught:
        list(loader)
    notes = "\n".join(caught.value.__notes__)
    assert "source.x is read-only here" in notes
    assert "array.copy()" in notes
    assert "procession.share(array, writable=True)" in notes
    assert recognised(f"ValueError: {caught.value}\n{notes}") == "E13"
    with Loader(OnACopy(), workers=2) as loader:
        for batch in loader:
            assert (batch == 2).all()
            batch[:] = 1  # what is delivered may be written to
