"""Cases E, second part: named memory, semaphores, descriptors, threads; with stock tools, and here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procession import BatchError, Faults, Loader
from tests.catalogue.kit import Outcome, outcome, recognised
from tests.support import Made, environment, finished, in_namespace

MEGABYTE = 1 << 20


def with_dev_shm(size: str, text: str, folder: Path) -> Outcome:
    """Run a script in a mount namespace of its own, with another /dev/shm: what it leaves there is nobody's."""
    script = folder / "in_a_small_place.py"
    script.write_text(text)
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && "$@"; exit $?'  # the shell tells of a signal
    done = finished(in_namespace(mount, sys.executable, str(script)), folder)
    return Outcome(done.returncode, done.stdout, done.stderr)


BLOCK = """
from multiprocessing.shared_memory import SharedMemory

block = SharedMemory(create=True, size=8 << 20)
print("made", flush=True)
block.buf[: 4 << 20] = bytes(4 << 20)
"""
SEMAPHORES = """
import multiprocessing

print("begun", flush=True)
locks = [multiprocessing.Lock() for _ in range(2000)]
"""
TENSORS = """
import torch.utils.data

class Dataset(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, i):
        return torch.zeros(1 << 20)

for batch in torch.utils.data.DataLoader(Dataset(), num_workers=1):
    pass
"""
LARGE_BATCHES = """
import numpy as np, procession

class Source:
    def __init__(self):
        self.lock = procession.Lock()
    def __len__(self):
        return 8
    def __getitem__(self, i):
        with self.lock:
            return np.full(8 << 20, i, np.uint8)

with procession.Loader(Source(), workers=2) as loader:
    print([int(batch[-1]) for batch in loader])
"""


@pytest.mark.parametrize(
    ("size", "text", "status", "words", "number"),
    [
        ("1m", BLOCK, 128 + signal.SIGBUS, "Bus error", "E4"),
        ("1m", TENSORS, 1, "unable to allocate shared memory(shm) for file </torch_", "E4"),
        ("64k", SEMAPHORES, 1, "OSError: [Errno 28] No space left on device", "E5"),
    ],
)
def test_a_small_dev_shm(size: str, text: str, status: int, words: str, number: str, tmp_path: Path) -> None:
    stock = with_dev_shm(size, text, tmp_path)
    assert stock.status == status
    assert words in stock.errors
    assert recognised(stock.text) == number
    here = with_dev_shm(size, LARGE_BATCHES, tmp_path)
    assert (here.status, here.output, here.errors) == (0, f"{list(range(8))}\n", "")


KEPT_BY_TORCH = """
import resource
import torch.utils.data

class Dataset(torch.utils.data.Dataset):
    def __len__(self):
        return 200
    def __getitem__(self, i):
        return torch.zeros(4)

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
print(len(list(torch.utils.data.DataLoader(Dataset(), batch_size=None, num_workers=1))))
"""
KEPT_HERE = """
import resource
import numpy as np, procession

class Source:
    def __len__(self):
        return 200
    def __getitem__(self, i):
        return np.full(10 ** (i % 6), i), f"number {i}"  # larger and smaller than what was before

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
with procession.Loader(Source(), workers=2) as loader:
    kept = list(loader)
    assert loader.statistics().segments > 0
    print(all((numbers == i).all() and text == f"number {i}" for i, (numbers, text) in enumerate(kept)), len(kept))
"""


def test_batches_that_are_kept_while_descriptors_are_few(tmp_path: Path) -> None:
    """E6."""
    stock = outcome(KEPT_BY_TORCH, tmp_path)
    assert (stock.status, stock.output) == (1, "")
    assert "Too many open files" in stock.errors
    assert recognised(stock.text) == "E6"
    here = outcome(KEPT_HERE, tmp_path)
    assert (here.output, here.errors) == ("True 200\n", "")


READER = """
import subprocess, sys
from multiprocessing.shared_memory import SharedMemory

owner = SharedMemory(create=True, size=100)
read = f"from multiprocessing.shared_memory import SharedMemory; SharedMemory({owner.name!r}).close()"
# To the end of its tracker, which has these pipes too.
done = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True)
print(done.stderr, file=sys.stderr)
owner.close()
SharedMemory(owner.name)
"""


def test_a_reader_that_ends_destroys_named_memory(tmp_path: Path) -> None:
    stock = outcome(READER, tmp_path)
    assert stock.status == 1
    assert "leaked shared_memory objects to clean up at shutdown" in stock.errors
    assert "FileNotFoundError: [Errno 2] No such file or directory: '/psm_" in stock.errors
    assert recognised(stock.text) == "E9"
    assert recognised(stock.errors.partition("Traceback")[0]) == "E9"


def test_a_reader_that_ends() -> None:
    """E9: each worker ends after two batches; the array that they read, and the batches, stay."""

    class Held:
        def __init__(self) -> None:
            self.x = np.arange(MEGABYTE)

        def __len__(self) -> int:
            return 12

        def __getitem__(self, i: int) -> Any:
            return self.x[i::12].copy(), os.getpid()

    source = Held()
    with Loader(source, workers=2, faults=Faults(recycle_after=2)) as loader:
        batches = list(loader)
    assert len({pid for _, pid in batches}) >= 6
    for i, (batch, _) in enumerate(batches):
        assert np.array_equal(batch, source.x[i::12])


ABRUPT = """
import multiprocessing, os

if __name__ == "__main__":
    pool = multiprocessing.get_context("spawn").Pool(2)
    print("made", flush=True)
    os._exit(1)
"""
LEAVES = """
import os, signal, subprocess, sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

def make():
    return SharedMemory(create=True, size=100, name="000010_locals")

if sys.argv[1:]:
    block = make()
    resource_tracker.unregister(block._name, "shared_memory")  # as if the tracker had been killed with the rest
    os.kill(os.getpid(), signal.SIGKILL)
print(subprocess.run([sys.executable, __file__, "dies"]).returncode, flush=True)
make()
"""
HERE = """
import os, signal, sys
import numpy as np, procession

class Source:
    def __len__(self):
        return 8
    def __getitem__(self, i):
        return np.full(1 << 20, i)

shared = procession.share(np.zeros(1 << 20))
loader = procession.Loader(Source(), workers=2)
batches = iter(loader)
kept = [next(batches) for _ in range(3)]
names = [target for fd in os.listdir("/proc/self/fd")
         if os.path.lexists(path := f"/proc/self/fd/{fd}") and (target := os.readlink(path)).startswith("/dev/shm")]
maps = [line for line in open("/proc/self/maps") if "/dev/shm" in line]
print(names, maps, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_abrupt_end(tmp_path: Path) -> None:
    """E10, E11: what is said after it, and what is left: here nothing, as every test looks for it in /dev/shm."""
    stock = with_dev_shm("1m", ABRUPT, tmp_path)
    assert (stock.status, stock.output) == (1, "made\n")
    assert "leaked semaphore objects to clean up at shutdown" in stock.errors
    assert recognised(stock.text) == "E10"
    again = with_dev_shm("1m", LEAVES, tmp_path)
    assert again.output == f"{-signal.SIGKILL}\n"
    assert "FileExistsError: [Errno 17] File exists: '/000010_locals'" in again.errors
    assert recognised(again.text) == "E11"
    for _ in range(2):
        here = outcome(HERE, tmp_path)
        assert here == (-signal.SIGKILL, "[] []\n", "")


def test_slots_are_used_again() -> None:
    """E14: 200 batches of 16 arrays make no mapping and no descriptor beyond those of the first ones."""
    source = Made(lambda i: tuple(np.full(2000, i + k) for k in range(16)), 200)
    with Loader(source, workers=2, prefetch=8) as loader:

        def held() -> tuple[int, int]:
            maps = Path("/proc/self/maps").read_text().count("memfd:procession")
            return maps, len(list(Path("/proc/self/fd").iterdir()))

        addresses = set()
        seen = []
        for batch in loader:
            addresses.add(batch[0].__array_interface__["data"][0])
            seen.append(held())
        assert len(seen) == 200
        assert len(addresses) < 40
        assert set(seen[100:]) == {seen[-1]}
        assert loader.statistics().segments <= 8  # before it is known how large batches are
        assert loader.statistics().pickled == {}


UNLINKED = """
import glob, os
import torch

torch.multiprocessing.set_sharing_strategy("file_system")
tensor = torch.zeros(1000).share_memory_()
names = glob.glob(f"/dev/shm/torch_{os.getpid()}_*")
for name in names:
    os.unlink(name)
print(len(names), flush=True)
del tensor
"""


def test_nothing_is_there_to_be_removed(tmp_path: Path) -> None:
    """E15: there is nothing that could be removed."""
    stock = outcome(UNLINKED, tmp_path)
    assert (stock.status, stock.output) == (-signal.SIGABRT, "1\n")
    assert "could not unlink the shared memory file /torch_" in stock.errors
    assert recognised(stock.text) == "E15"
    looking = LARGE_BATCHES.partition("with procession")[0]
    looking += """
import glob
with procession.Loader(Source(), workers=2) as loader:
    for epoch in range(3):
        got = []
        for batch in loader:
            got.append(int(batch[-1]))
            assert glob.glob("/dev/shm/*") == []
        print(got == list(range(8)))
"""
    here = with_dev_shm("1m", looking, tmp_path)
    assert here == (0, "True\n" * 3, "")


def test_a_long_temporary_folder(tmp_path: Path) -> None:
    """E16."""
    long = tmp_path / ("d" * 100)
    long.mkdir()
    manager = "import multiprocessing\nif __name__ == '__main__':\n    multiprocessing.Manager()"
    stock = outcome(manager, tmp_path, TMPDIR=str(long))
    assert stock.status == 1
    assert "OSError: AF_UNIX path too long" in stock.errors
    assert stock.errors.endswith("EOFError\n")
    assert recognised(stock.text) == "E16"
    text = LARGE_BATCHES.replace("procession.Lock()", "procession.Lock(); self.seen = procession.SharedDict()")
    here = outcome(text, tmp_path, TMPDIR=str(long))
    assert (here.output, here.errors) == (f"{list(range(8))}\n", "")
    assert list(long.iterdir()) == []


NOT_SENT = """
import multiprocessing, threading
import numpy as np

def make(i):
    return np.full((1, 2, 2, 1), 121.781), threading.RLock()

if __name__ == "__main__":
    with multiprocessing.Pool(1) as pool:
        pool.map(make, [0])
"""
TOO_LONG = "import struct\nstruct.pack('!i', 1 << 31)"


def test_a_result_that_cannot_be_sent(tmp_path: Path) -> None:
    """E17."""
    stock = outcome(NOT_SENT, tmp_path)
    assert "MaybeEncodingError: Error sending result: '[(array([[[[121.781]" in stock.errors
    assert recognised(stock.text) == "E17"
    assert recognised(outcome(TOO_LONG, tmp_path).text) == "E17"
    source = Made(lambda i: (np.full((1, 2, 2, 1), 121.781), threading.RLock()), 2)
    with Loader(source, workers=1) as loader, pytest.raises(BatchError) as caught:
        list(loader)
    said = "\n".join([str(caught.value), *caught.value.__notes__])
    assert said.startswith("[1] of the batch is a _thread.RLock, which cannot be sent to the training process")
    assert "batch 0 of epoch 0" in said
    assert "121.781" not in said


# E18. Root is not counted: another user, of a number of this process's own.
USER = 90_000 + os.getpid() % 30_000
NOBODY = f"setpriv --reuid {USER} --clear-groups --inh-caps +dac_override --ambient-caps +dac_override"
MANY_THREADS = """
import os, resource, sys
import numpy  # its own pool is not what this is about

def use():
    import tensorflow as tf
    tf.image.resize(tf.ones((3, 700, 700, 3)), (100, 100))
    return len(os.listdir("/proc/self/task"))

class Source:
    def __len__(self):
        return 6
    def __getitem__(self, i):
        return use()

most, where = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NPROC, (int(most), int(most)))
if where == "stock":
    print(use())
else:
    import procession
    with procession.Loader(Source(), workers=1) as loader:
        print(max(loader))
"""


def limited(most: int, where: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(NOBODY.split() if os.getuid() == 0 else ()), sys.executable, "-c", MANY_THREADS, str(most), where],
        cwd="/",
        env=environment(TF_CPP_MIN_LOG_LEVEL="2", OPENBLAS_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_threads_of_tensorflow() -> None:
    """With the same limit: too low for TensorFlow as it is, and enough for a worker, its template and this process."""
    stock = limited(6, "stock")
    assert stock.returncode == -signal.SIGABRT
    assert "creation via pthread_create() failed" in stock.stderr
    assert recognised(stock.stderr) == "E18"
    here = limited(6, "here")
    assert here.returncode == 0, here.stderr
    assert int(here.stdout) <= 4
