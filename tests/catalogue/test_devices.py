"""Cases D: devices and backends; with stock tools, and here. No GPU is needed: none is what workers are to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalogue.kit import outcome, recognised
from tests.support import run_script

# --- no fork of what has used a device, and no device in workers ---

OF_GPUS = {
    "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the "
    "'spawn' start method": "D1",
    "F tensorflow/core/platform/default/env.cc] Failed setting context: CUDA_ERROR_NOT_INITIALIZED: initialization "
    "error": "D2",
    "failed call to cuInit: CUDA_ERROR_NOT_INITIALIZED": "D2",
    "RuntimeWarning: os.fork() was called. os.fork() is incompatible with multithreaded code, and JAX is "
    "multithreaded, so this will likely lead to a deadlock.": "D3",
    "torch.cuda.OutOfMemoryError: CUDA out of memory as soon as I set use_multiprocessing=True": "D5",
    "nvidia-smi shows that every data loader worker takes 400 MiB of GPU memory": "D5",
}


@pytest.mark.parametrize("text", OF_GPUS)
def test_what_machines_with_a_gpu_say(text: str) -> None:
    assert recognised(text) == OF_GPUS[text]


HIDDEN = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "JAX_PLATFORMS")
SEES = """
import os

AT_IMPORT = [os.environ.get(name) for name in {names!r}]

class Sees:
    def __len__(self):
        return 2
    def __getitem__(self, i):
        import tensorflow as tf
        return AT_IMPORT, len(tf.config.list_physical_devices("GPU"))
"""
ASKS = """
import procession, sees
with procession.Loader(sees.Sees(), workers=2) as loader:
    print(list(loader))
print(sees.AT_IMPORT)
"""


def test_workers_see_no_gpu_from_the_first_import_on(tmp_path: Path) -> None:
    (tmp_path / "sees.py").write_text(SEES.format(names=HIDDEN))
    set_by_the_user = dict(zip(HIDDEN, ("0,1", "0", "0", "cuda"), strict=True))
    done = outcome(ASKS, tmp_path, **{**set_by_the_user, "TF_CPP_MIN_LOG_LEVEL": "3"})  # type: ignore[arg-type]
    assert done.output.splitlines() == [
        str([(["-1", "-1", "-1", "cpu"], 0)] * 2),
        str(list(set_by_the_user.values())),  # the training process keeps what it was given
    ]


JAX = """
import os, signal
import jax.numpy as jnp

class Products:
    def __len__(self):
        return 3
    def __getitem__(self, i):
        x = jnp.full((700, 700), i + 1.0)
        return (x @ x)[0, :2]

source = Products()
print([source[i].tolist() for i in range(3)], flush=True)
"""
JAX_FORKED = (
    JAX
    + """
pid = os.fork()
if pid == 0:
    signal.alarm(4)  # else it waits for ever
    source[0].tolist()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGALRM)
"""
)
JAX_HERE = (
    "import warnings\nwarnings.simplefilter('error')"
    + JAX
    + """
import procession
with procession.Loader(source, workers=2) as loader:
    print([batch.tolist() for batch in loader])
"""
)


def test_jax_in_workers(tmp_path: Path) -> None:
    products = "[[700.0, 700.0], [2800.0, 2800.0], [6300.0, 6300.0]]"
    stock = outcome(JAX_FORKED, tmp_path)
    assert stock.output == f"{products}\nTrue\n"  # it hung
    assert recognised(stock.errors) == "D3"
    here = run_script(JAX_HERE, tmp_path)
    assert (here.stdout, here.stderr) == (f"{products}\n" * 2, "")


# --- tensors as batches ---

TENSORS = """
import multiprocessing as mp, os
import torch, procession

class Tensors:
    def __len__(self):
        return 20
    def __getitem__(self, i):
        return torch.full((8,), i)

def descriptors():
    return len(os.listdir("/proc/self/fd"))

if __name__ == "__main__":
    with mp.get_context("fork").Pool(1) as pool:
        before = descriptors()
        held = pool.map(Tensors().__getitem__, range(20))
        print("stock:", descriptors() - before)
    with procession.Loader(Tensors(), workers=1) as loader:
        batches = iter(loader)
        held = [next(batches)]
        before = descriptors()
        held.extend(batches)
        print("here:", descriptors() - before, {type(batch).__name__ for batch in held})
"""
KERAS_TENSORS = """
import keras, numpy as np, procession

class Tensors(keras.utils.PyDataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return keras.ops.zeros((4, 2)) + i, keras.ops.ones((4, 1))

model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
with procession.Loader(Tensors(), workers=2) as loader:
    print(len(model.fit(loader, epochs=2, verbose=0).history["loss"]))
    x, y = next(iter(loader))
    print(type(x) is type(y) is np.ndarray, x.dtype, x.shape)
"""


def test_tensors_hold_no_descriptors_here(tmp_path: Path) -> None:
    assert run_script(TENSORS, tmp_path).stdout == "stock: 20\nhere: 0 {'ndarray'}\n"
    assert (
        recognised("My dataset returns torch tensors from __getitem__, and workers run out of file descriptors") == "D4"
    )
    assert (
        recognised("__getitem__ returns keras.ops.zeros(...), and training is stuck with use_multiprocessing") == "D4"
    )


def test_tensors_of_keras_arrive_as_arrays(tmp_path: Path) -> None:
    assert run_script(KERAS_TENSORS, tmp_path, KERAS_BACKEND="jax").stdout == "2\nTrue float32 (4, 2)\n"
