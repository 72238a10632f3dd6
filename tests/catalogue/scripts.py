"""What the scripts of the catalogue share: small Keras datasets, output by section, hangs for one limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.catalogue.kit import Outcome, outcome

# What all scripts begin with: one stream, so that what is said stays in its section.
HEAD = """
import os, sys, time, traceback, warnings
sys.stderr = sys.stdout
warnings.simplefilter("always")
import keras
import numpy as np

HOME = os.getpid()


def say(*words):  # in one piece, whoever else is saying something
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())


def section(name):
    say(f"\\n== {name}")


def model():
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


class Data(keras.utils.PyDataset):
    begun = ended = 0

    def __len__(self):
        return 4

    def on_epoch_begin(self):
        self.begun += 1

    def on_epoch_end(self):
        self.ended += 1

    def __getitem__(self, i):
        return np.full((2, 2), i, "float32"), np.zeros((2, 1), "float32")


class Old(Data):
    def __init__(self):
        self.made_by = []


class Late(Data):
    def on_epoch_begin(self):
        time.sleep(0.5)  # to load what the epoch needs
        super().on_epoch_begin()

    def __getitem__(self, i):
        say("epoch of the data:", self.begun)
        return super().__getitem__(i)


class Broken(Data):
    def __getitem__(self, i):
        if i == 3:
            raise OSError("image file is truncated (12 bytes not processed)")
        return super().__getitem__(i)


class Changing(Data):
    def __len__(self):
        return 9

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return (x[0] if i == 6 else x), y


class Shorter(Changing):
    def __getitem__(self, i):
        batch = Data.__getitem__(self, i)
        return batch[:1] if i == 6 else batch


class Where(Data):
    def __getitem__(self, i):
        say("item", i, "in the training process" if os.getpid() == HOME else "in a worker")
        return super().__getitem__(i)


class Counting(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.steps = []

    def on_epoch_begin(self, epoch, logs=None):
        self.steps.append(0)

    def on_train_batch_end(self, batch, logs=None):
        self.steps[-1] += 1


MANY = {"workers": 2, "use_multiprocessing": True}
"""


def sections(script: str, folder: Path, backend: str) -> dict[str, str]:
    """Run a script and return what it said, by section."""
    return by_section(outcome(HEAD + script, folder, KERAS_BACKEND=backend, PYTHONUNBUFFERED="1").output)


def by_section(said: str) -> dict[str, str]:
    parts = [part.partition("\n") for part in said.split("\n== ")[1:]]
    return {name: text for name, _, text in parts}


def at_once(scripts: dict[str, str], folders: pytest.TempPathFactory, limit: float) -> dict[str, Outcome]:
    """Run several scripts that are expected to hang, so that the limit is waited for once."""
    with ThreadPoolExecutor(len(scripts)) as pool:
        ended = {
            name: pool.submit(outcome, text, folders.mktemp("stock"), limit=limit) for name, text in scripts.items()
        }
        return {name: future.result() for name, future in ended.items()}
