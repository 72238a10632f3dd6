"""Cases B3 to B6 and B14: who waits for a batch that never comes. Stock pools hang, all at once, for one limit."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procession import Faults, Loader, StalledError, WorkerDiedError
from tests.catalogue.kit import HUNG, Outcome, outcome, recognised
from tests.catalogue.scripts import at_once
from tests.support import Made

LIMIT = 6  # seconds: these scripts import nothing but multiprocessing

POOL = """
import multiprocessing, os, signal, time


def say(*words):  # in one piece
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())


class BadError(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def raising():
    raise BadError(7, "no such scan")


def stuck():
    time.sleep(1e6)


def item(i):
    if i == 3:
        say("at item 3")
        FAULT()
    return i


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for made in pool.imap(item, range(6)):
            say("got", made)
"""

SCRIPTS = {
    "B4": POOL.replace("FAULT", "killed"),
    "B5": POOL.replace("FAULT", "raising"),
    "B14": POOL.replace("FAULT", "stuck"),
}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return at_once(SCRIPTS, tmp_path_factory, LIMIT)


# --- B3 ---

EPOCHS = """
import keras
import numpy as np

import procession


class Data(keras.utils.PyDataset):
    def __init__(self, length):
        super().__init__()
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        return np.full((2, 2), i, "float32"), np.zeros((2, 1), "float32")


class Counting(keras.callbacks.Callback):
    steps = validated = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def on_test_batch_end(self, batch, logs=None):
        self.validated += 1


model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
for executor in ("processes", "threads"):
    counting = Counting()
    with (
        procession.Loader(Data(20), workers=3, executor=executor) as train,
        procession.Loader(Data(7), workers=2, executor=executor) as held_out,
    ):
        model.fit(train, validation_data=held_out, epochs=5, callbacks=[counting], verbose=0)
    print(executor, counting.steps, counting.validated)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_epochs_end_and_begin_with_validation(backend: str, tmp_path: Path) -> None:
    said = outcome(EPOCHS, tmp_path, KERAS_BACKEND=backend)
    assert said.output == "processes 100 35\nthreads 100 35\n", said.errors


def test_a_freeze_at_the_end_of_an_epoch_is_recognised() -> None:
    assert recognised("progress bar stuck at 1999/2000 [============>.] - ETA: 0s") == "B3"
    assert recognised("PyDataset with workers=4 hangs at the end of epoch 1") == "B3"
    assert recognised("fit freezes at the last step of the first epoch") == "B3"


# --- B4, B5, B14: one item that kills, raises or never returns ---


def at_three(fault: Any) -> Made:
    return Made(lambda i: fault() if i == 3 else np.full(2, i), 6)


def first(batches: Any) -> list[int]:
    return [int(batch[0]) for batch in batches]


def test_a_killed_worker_is_replaced(stock: dict[str, Outcome], tmp_path: Path) -> None:
    assert "at item 3\n" in stock["B4"].output
    assert "got 2\n" in stock["B4"].output and "got 3\n" not in stock["B4"].output
    assert stock["B4"].status == HUNG
    once = tmp_path / "once"

    def killed() -> Any:
        if not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full(2, 3)

    with Loader(at_three(killed), workers=2) as loader:
        assert first(loader) == [0, 1, 2, 3, 4, 5]
        assert loader.statistics().deaths == 1


def test_an_item_that_always_kills_is_named() -> None:
    with (
        Loader(at_three(lambda: os.kill(os.getpid(), signal.SIGKILL)), workers=2) as loader,
        pytest.raises(WorkerDiedError, match=r"batch 3 of epoch 0 \(source\[3\]\).*SIGKILL"),
    ):
        list(loader)
    assert recognised("a worker was killed with kill -9 and the training process waits for ever") == "B4"
    assert recognised("the OOM killer kills a worker process and fit() hangs without a message") == "B4"


class BadError(Exception):
    """What pickle cannot rebuild from its arguments."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


def raising() -> Any:
    raise BadError(7, "no such scan")


def test_an_exception_that_cannot_be_rebuilt_arrives(stock: dict[str, Outcome]) -> None:
    assert "got 2\n" in stock["B5"].output and "got 3\n" not in stock["B5"].output
    assert stock["B5"].status == HUNG
    assert "__init__() missing 1 required positional argument: 'text'" in stock["B5"].errors
    assert recognised(stock["B5"].errors) == "B5"
    with Loader(at_three(raising), workers=2) as loader, pytest.raises(BadError, match="7: no such scan") as caught:
        list(loader)
    assert any("source[3]" in note for note in caught.value.__notes__)


def test_an_item_that_never_returns_is_ended(stock: dict[str, Outcome]) -> None:
    assert "at item 3\n" in stock["B14"].output
    assert stock["B14"].status == HUNG
    source = at_three(lambda: time.sleep(1e6))
    with (
        Loader(source, workers=2, faults=Faults(timeout=0.5, retries=0)) as loader,
        pytest.raises(StalledError, match=r"batch 3 of epoch 0 \(source\[3\]\)") as caught,
    ):
        list(loader)
    assert "in <lambda>" in str(caught.value)  # its stack
    assert recognised(f"StalledError: {caught.value}") == "B14"
    assert recognised("RuntimeError: DataLoader timed out after 60 seconds") == "B14"
    assert recognised("one sample never returns (a dead NFS mount) and the whole run waits for it") == "B14"


# --- B6 ---


class Hooked(Made):
    """Fails where an epoch ends."""

    def on_epoch_end(self) -> None:
        raise RuntimeError("no more files")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_of_a_hook_arrives(workers: int) -> None:
    with Loader(Hooked(abs, 4), workers=workers) as loader:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no more files"):
                list(loader)
    assert recognised("on_epoch_end raises RuntimeError and the process hangs instead of failing") == "B6"
