"""Cases B1, B2 and B7 to B10: a process with threads is forked. Stock pools hang, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalogue.kit import Outcome, outcome, recognised
from tests.catalogue.scripts import at_once

SECONDS = 5  # that a worker is waited for once it has begun with what takes a fraction of one
LIMIT = 100

# Each script uses its library once, and then again in a worker. STOCK and HERE end it: what the worker makes is said.
SAY = """
import os, sys, threading


def say(*words):  # in one piece, and not through sys.stdout
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

"""

STOCK = """

def item(i):
    begun.set()
    say("begun")
    say("made", data[i])


data = Data()
say("first", data[0])
import multiprocessing, signal
context = multiprocessing.get_context("fork")
begun = context.Event()
with context.Pool(1) as pool:
    result = pool.map_async(item, [1])
    begun.wait()
    result.wait(SECONDS)
    if not result.ready():
        say("still waiting")
        os.killpg(0, signal.SIGKILL)
    result.get()
"""

HERE = """

data = Data()
say("first", data[0])
import procession
with procession.Loader(data, workers=2) as loader:
    for batch in loader:
        say("made", batch)
"""

TENSORFLOW = """
import numpy as np
import tensorflow as tf


class Data:
    def __len__(self):
        return 4

    def __getitem__(self, i):
        x = tf.cast(tf.convert_to_tensor(np.full((3, 700, 700), i, "uint8")), tf.float32)
        return int(tf.reduce_sum(tf.reduce_mean(x, [1, 2])).numpy())  # too large to be done by one thread
"""

OPENMP = """
import numpy as np
import torch

torch.set_num_threads(2)


class Data:
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return int((torch.ones(600, 600) @ torch.full((600, 600), float(i))).mean())
"""

OPENCV = """
import cv2
import numpy as np

cv2.setNumThreads(2)
cv2.GaussianBlur(np.zeros((2000, 2000, 3), "uint8"), (9, 9), 2)


class Data:
    def __len__(self):
        return 4

    def __getitem__(self, i):
        image = cv2.warpAffine(np.full((2000, 2000, 3), i, "uint8"), np.eye(2, 3), (2000, 2000))
        return int(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean())
"""

POLARS = """
import numpy as np
import polars


class Data:
    def __init__(self):
        self.frame = polars.DataFrame({"key": np.arange(200_000) % 7, "value": np.arange(200_000)})

    def __len__(self):
        return 4

    def __getitem__(self, i):
        sums = self.frame.group_by("key").agg(polars.col("value").sum()).sort("key")
        return i * sums.height
"""

TOKENIZERS = """
from tokenizers import Tokenizer, models, pre_tokenizers


class Data:
    def __init__(self):
        self.tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return i * len(self.tokenizer.encode_batch(["a b"] * 2000)) // 2000
"""

# A thread is in the middle of writing to a log when the process is forked: its lock, locked, is in the worker too.
LOGS = """
import logging

reading, writing = os.pipe()
log = open(writing, "w")
logging.basicConfig(stream=log, level="INFO")
thread = threading.Thread(target=lambda: (log.write("x" * 500_000), log.flush()), daemon=True)
thread.start()
os.read(reading, 1)  # it has begun, and cannot end before the pipe is read


class Data:
    def __len__(self):
        return 4

    def __getitem__(self, i):
        if threading.current_thread() is threading.main_thread() and os.getpid() != HOME:
            logging.warning("item %d", i)
        return i


HOME = os.getpid()
"""

DRAINED = """
def drain():  # so that nobody waits for the pipe
    left = 500_000
    while left > 1:
        left -= len(os.read(reading, 1 << 16))
    thread.join()


"""

REMOTE = """
from fsspec.asyn import AsyncFileSystem


class Remote(AsyncFileSystem):
    cachable = False

    async def _cat_file(self, path, start=None, end=None, **keywords):
        return f"content of {path}".encode()


class Data:
    def __init__(self):
        self.remote = Remote()

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return self.remote.cat_file(str(i)).decode()
"""

HANGING = {"B1": TENSORFLOW, "B7": OPENMP, "B8": POLARS, "B9": LOGS + DRAINED}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    scripts = {name: f"SECONDS = {SECONDS}\n{SAY}{text}{STOCK}" for name, text in HANGING.items()}
    scripts["B9"] = scripts["B9"].replace("    begun.wait()\n", "    drain()\n    begun.wait()\n")
    return at_once(scripts, tmp_path_factory, LIMIT)


def hung(said: Outcome) -> bool:
    """Say whether the worker has begun, and never made anything."""
    return said.status == -9 and said.output.endswith("begun\nstill waiting\n")


def made(text: str, folder: Path) -> list[str]:
    """Return what a loader in such a script has made."""
    said = outcome(SAY + text + HERE, folder)
    assert said.status == 0, said.text
    return [line.removeprefix("made ") for line in said.output.splitlines() if line.startswith("made ")]


def test_tensorflow_works_in_workers(stock: dict[str, Outcome], tmp_path: Path) -> None:
    assert hung(stock["B1"])
    assert made(TENSORFLOW, tmp_path) == ["0", "3", "6", "9"]
    assert recognised("tf.cast inside __getitem__ never returns, the epoch stays at step 0") == "B1"
    assert recognised("a TensorFlow op in __getitem__ hangs in the worker processes") == "B1"


def test_a_silent_freeze_is_recognised() -> None:
    assert (
        recognised(
            "WARNING:tensorflow:multiprocessing can interact badly with TensorFlow, causing nondeterministic "
            "deadlocks. For high performance data pipelines tf.data is recommended."
        )
        == "B2"
    )
    assert recognised("with use_multiprocessing=True training freezes at the second epoch, GPU at 0%") == "B2"


def test_openmp_works_in_workers(stock: dict[str, Outcome], tmp_path: Path) -> None:
    assert hung(stock["B7"])
    assert made(OPENMP, tmp_path) == ["0", "600", "1200", "1800"]


def test_opencv_works_in_workers(tmp_path: Path) -> None:
    assert made(OPENCV, tmp_path) == ["0", "1", "2", "3"]
    assert recognised("cv2.resize hangs in the workers for large images") == "B7"
    assert recognised("Terminating: fork() called from a process already using GNU OpenMP, this is unsafe.") == "B7"


def test_polars_works_in_workers(stock: dict[str, Outcome], tmp_path: Path) -> None:
    assert hung(stock["B8"])
    assert made(POLARS, tmp_path) == ["0", "7", "14", "21"]
    assert recognised("RuntimeWarning: Using fork() can cause Polars to deadlock in the child process.") == "B8"


def test_tokenizers_work_in_workers(tmp_path: Path) -> None:
    said = outcome(SAY + TOKENIZERS + HERE, tmp_path, TOKENIZERS_PARALLELISM="true")
    assert [line for line in said.output.splitlines() if "made" in line] == [f"made {i}" for i in range(4)]
    assert said.errors == ""
    assert (
        recognised(
            "huggingface/tokenizers: The current process just got forked, after parallelism has already been used. "
            "Disabling parallelism to avoid deadlocks..."
        )
        == "B8"
    )


def test_workers_log_while_the_training_process_does(stock: dict[str, Outcome], tmp_path: Path) -> None:
    assert hung(stock["B9"])
    ended = HERE + "\ndrain()\n"
    said = outcome(SAY + LOGS + DRAINED + ended, tmp_path)
    assert [line for line in said.output.splitlines() if "made" in line] == [f"made {i}" for i in range(4)]
    assert said.status == 0
    assert recognised("the child process hangs at its first log line") == "B9"


def test_remote_file_systems_work_in_workers(tmp_path: Path) -> None:
    said = outcome(f"SECONDS = {SECONDS}\n{SAY}{REMOTE}{STOCK}", tmp_path)
    assert "RuntimeError: This class is not fork-safe" in said.errors
    assert recognised(said.errors) == "B10"
    assert made(REMOTE, tmp_path) == [f"content of {i}" for i in range(4)]
