"""Cases H: what speed depends on, without a clock: who does the work, by which way data go, on how many cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from procession import Faults, Loader
from procession.config import usable_cores
from tests.catalogue.kit import outcome, recognised
from tests.support import Made, environment, in_namespace

THREADS_OF_KERAS = """
import os
import keras
import numpy as np
import procession

class Data(keras.utils.PyDataset):
    def __len__(self):
        return 8
    def __getitem__(self, i):
        return np.full((2, 1), os.getpid(), np.float64), np.zeros((2, 1))

def pids(data):
    got = model.predict(data, verbose=0)
    return sorted(set(int(pid) for pid in got.ravel()))

keras.config.set_floatx("float64")
model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Identity()])
print(pids(Data(workers=2)) == [os.getpid()])
with procession.Loader(Data(), workers=2) as loader:
    ours = pids(loader)
    figures = loader.statistics()
    print(len(ours), os.getpid() in ours, sorted(figures.pids.values()) == ours)
    print(figures.work_seconds > 0, figures.wait_seconds > 0)
    print("the consumer waited" in str(figures))
"""


def test_keras_makes_all_in_one_process_and_we_do_not(tmp_path: Path) -> None:
    """H1: with `workers=2` alone Keras starts threads, which take turns at the interpreter."""
    done = outcome(THREADS_OF_KERAS, tmp_path, KERAS_BACKEND="jax", JAX_ENABLE_X64="1")
    assert done.output == "True\n2 False True\nTrue True\nTrue\n", done.errors
    assert recognised("workers=4 and there is no speedup: the CPU stays at 100% instead of 400%") == "H1"


# H2: what a process reads from pipes and sockets while it gets 40 batches of 1 MB
PIPED = """
import multiprocessing
import numpy as np

def read():
    return int(open("/proc/self/io").readline().split()[1])

class Source:
    def __len__(self):
        return 40
    def __getitem__(self, i):
        return np.full(1 << 20, i, np.uint8)

source = Source()
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        before = read()
        assert [int(batch[0]) for batch in pool.imap(source.__getitem__, range(40))] == list(range(40))
        stock = read() - before
    import procession
    with procession.Loader(source, workers=2) as loader:
        batches = iter(loader)
        next(batches)
        before = read()
        assert [int(batch[0]) for batch in batches] == list(range(1, 40))
        print(stock, read() - before, loader.statistics().pickled)
"""


def test_stock_pickles_every_batch_and_we_do_not(tmp_path: Path) -> None:
    done = outcome(PIPED, tmp_path)
    stock, here, pickled = done.output.split(maxsplit=2)
    assert int(stock) > 40 << 20
    assert int(here) < 1 << 20
    assert pickled == "{}\n"
    assert recognised("training is slower with use_multiprocessing=True, 10 minutes an epoch instead of 2") == "H2"


NATIVE_THREADS = """
import multiprocessing, os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.pop(name, None)

def threads(i):
    import numpy as np
    np.linalg.svd(np.random.rand(300, 300))
    return len(os.listdir("/proc/self/task"))

class Source:
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return threads(i)

if __name__ == "__main__":
    import procession
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        print(max(pool.map(threads, range(4))))
    with procession.Loader(Source(), workers=2) as loader:
        print(max(loader))
"""


def test_native_threads(tmp_path: Path) -> None:
    """H3: each stock worker has a thread for each core, each of ours has one."""
    done = outcome(NATIVE_THREADS, tmp_path)
    stock, here = (int(word) for word in done.output.split())
    assert stock >= min(2, len(os.sched_getaffinity(0)))
    assert here == 1
    assert recognised("the more workers the slower, load average far above the number of cores") == "H3"


RATIONALITY = "import torch.utils.data as data\ndata.DataLoader([1, 2], num_workers=1000)"
CORES = "import os, procession\nprint(os.cpu_count(), procession.Loader([1] * 9).statistics().workers)"
QUOTA = """
mount -t tmpfs tmpfs /sys/fs/cgroup && echo "$1 100000" > /sys/fs/cgroup/cpu.max && shift && exec "$@"
"""


def test_cores_that_may_be_used(tmp_path: Path) -> None:
    """H4: os.cpu_count() does not see an affinity mask or a quota; workers="auto" does."""
    stock = outcome(RATIONALITY, tmp_path)
    assert "This DataLoader will create 1000 worker processes in total" in stock.errors
    assert recognised(stock.text) == "H4"
    core = str(min(os.sched_getaffinity(0)))
    all_cores = os.cpu_count()
    assert answer("taskset", "-c", core, sys.executable, "-c", CORES) == f"{all_cores} 1\n"
    for quota, workers in (("50000", 1), ("100000", 1), ("max", usable_cores())):
        said = answer(*in_namespace(QUOTA, quota, sys.executable, "-c", CORES))
        assert said == f"{all_cores} {workers}\n"


def answer(*command: str) -> str:
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout


# H5: item 0 waits until somebody opens the gate; the others are made meanwhile
IN_TURN = """
import multiprocessing, os

made, told = os.pipe()
gate, opening = os.pipe()

def make(i):
    os.read(gate, 1) if i == 0 else os.write(told, b"x")
    return i

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        batches = pool.imap(make, range(6))
        for _ in range(5):
            os.read(made, 1)
        try:
            batches.next(timeout=1)
        except multiprocessing.TimeoutError:
            print("five are ready, and none is delivered", flush=True)
        os.write(opening, b"x")
        print(list(batches))
"""


def test_one_slow_item(tmp_path: Path) -> None:
    stock = outcome(IN_TURN, tmp_path)
    assert stock.output == "five are ready, and none is delivered\n[0, 1, 2, 3, 4, 5]\n"
    assert recognised("one slow sample blocks all others although they are ready: head-of-line blocking") == "H5"
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    source = Made(lambda i: gate.read_bytes() and 0 if i == 0 else i, 30)
    slow = Faults(timeout=30, retries=0)  # an error, should the others not come
    with Loader(source, workers=2, prefetch=2, ordered=False, faults=slow) as loader:
        batches = iter(loader)
        assert sorted(next(batches) for _ in range(29)) == list(range(1, 30))
        gate.write_bytes(b"x")
        assert list(batches) == [0]


BOUND = """
import os, sys
import procession

cores = len(os.sched_getaffinity(0))
import torch  # with GNU's OpenMP

class Source:
    def __len__(self):
        return 6
    def __getitem__(self, i):
        import torch
        return len(os.sched_getaffinity(0))

if os.fork() == 0:
    print("a forked worker may use", len(os.sched_getaffinity(0)), flush=True)
    os._exit(0)
os.wait()
with procession.Loader(Source()) as loader:
    print(set(loader) == {cores}, loader.statistics().workers == cores)
"""


def test_a_library_that_binds_to_one_core(tmp_path: Path) -> None:
    """H6: workers are not bound with the training process, nor by what they import."""
    done = outcome(BOUND, tmp_path, OMP_PROC_BIND="true")
    assert done.output == "a forked worker may use 1\nTrue True\n", done.errors
    assert (
        recognised("all workers share one core since I import the package; taskset shows an affinity mask of 1") == "H6"
    )


IN_TENSORFLOW = """
import os
import numpy as np
import tensorflow as tf
import procession

def make(i):
    return np.full(4, os.getpid(), np.int64)

class Source:
    def __len__(self):
        return 16
    def __getitem__(self, i):
        return make(i)

stock = tf.data.Dataset.range(16).map(lambda i: tf.py_function(make, [i], tf.int64), num_parallel_calls=4)
print({int(batch[0]) for batch in stock} == {os.getpid()})
with procession.Loader(Source(), workers=2) as loader:
    pids = {int(batch[0]) for batch in loader.to_tf()}
    print(len(pids), os.getpid() in pids)
"""


def test_python_in_tf_data(tmp_path: Path) -> None:
    """H7: py_function runs in the training process whatever it is told; our batches come from others."""
    done = outcome(IN_TENSORFLOW, tmp_path)
    assert done.output == "True\n2 False\n", done.errors
    assert recognised("tf.data with py_function and num_parallel_calls=8 does not use more than one core") == "H7"


@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_who_waits_is_told(executor: Any) -> None:
    """H1: how long the workers were at work, and the consumer waited."""
    with Loader(Made(lambda i: sum(range(200_000)) and i, 20), workers=2, executor=executor) as loader:
        assert list(loader) == list(range(20))
        figures = loader.statistics()
    assert figures.work_seconds > 0
    assert figures.wait_seconds > 0
    assert f"2 workers ({executor})" in str(figures)
