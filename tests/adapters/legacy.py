"""Loaders and `install()` in legacy Keras 2 (`tf_keras`); each function reports what happened."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

import procession
from procession.launch import Defaults, start

Report = dict[str, Any]


class Numbered(tf_keras.utils.Sequence):
    """Batch i tells that it is batch i."""

    def __init__(self, length: int, bad: int = -1) -> None:
        self.length, self.bad = length, bad
        self.ended = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        if i == self.bad:
            raise OSError(f"file {i} is broken")
        x = np.full((4, 3), i, "float32")
        x[:, 1] = os.getpid()
        return x, np.array([[0], [0], [1], [1]], "float32")

    def on_epoch_end(self) -> None:
        self.ended += 1


class Witness(tf_keras.Sequential):
    """Notes the batches that it is trained on."""

    def __init__(self) -> None:
        super().__init__([tf_keras.layers.Dense(1)])
        self.seen: list[int] = []
        self.makers: set[int] = set()
        self.weighted: list[float] = []

    def train_step(self, data: Any) -> Any:
        x, _, weights = tf_keras.utils.unpack_x_y_sample_weight(data)
        self.seen.append(int(x[0, 0]))
        self.makers.add(int(x[0, 1]))
        self.weighted = [] if weights is None else [float(one) for one in weights]
        return super().train_step(data)


def model() -> Any:
    """Return a compiled model that runs eagerly, so that it sees its batches."""
    made = Witness()
    made.compile("sgd", "mse", run_eagerly=True)
    return made


def fitted(data: Any, **options: Any) -> Report:
    """Fit on something, and say what the model saw."""
    made = model()
    made.fit(data, verbose=0, **{"shuffle": False, **options})
    return {"seen": made.seen, "elsewhere": os.getpid() not in made.makers, "weighted": made.weighted}


def loaders() -> Report:
    """Give Loaders to fit, evaluate and predict."""
    source, other = Numbered(6), Numbered(3)
    with procession.Loader(source, workers=2, seed=1) as loader, procession.Loader(other, workers=1) as validation:
        report: Report = {
            "plain": fitted(loader, epochs=2, validation_data=validation),
            "hooks": source.ended,
            "shuffled": fitted(loader, epochs=2, shuffle=True)["seen"],
            "few steps": fitted(loader, epochs=2, steps_per_epoch=4)["seen"],
            "many steps": fitted(loader, epochs=2, steps_per_epoch=8)["seen"],
            "weighted": fitted(loader, class_weight={0: 1.0, 1: 3.0})["weighted"],
        }
        made = model()
        report["evaluated"] = made.evaluate(validation, verbose=0) >= 0
        report["predicted"] = made.predict(validation, verbose=0).shape
    return report


def plain() -> Report:
    """Give plain Sequences to fit where install() has been called."""
    installation = start(Defaults())
    many = {"workers": 2, "use_multiprocessing": True}
    report: Report = {
        "processes": fitted(Numbered(6), **many),
        "threads": fitted(Numbered(6), workers=2),
        "left to Keras": fitted(Numbered(6)),
        "partitions": fitted([Numbered(2), Numbered(2)])["seen"],
    }
    report["read"] = [[read.statistics.executor, read.statistics.workers] for read in installation.read]
    procession.uninstall()
    report["uninstalled"] = fitted(Numbered(3))["seen"]
    report["arrays"] = fitted(np.full((8, 3), 7, "float32"), y=np.zeros((8, 1), "float32"), batch_size=4)["seen"]
    return report


def failing() -> Report:
    """Fit on a source whose batch cannot be made: at the beginning, in the middle."""
    told = []
    for bad in (0, 4):
        with procession.Loader(Numbered(8, bad), workers=2) as loader:
            try:
                fitted(loader)
            except Exception as error:
                told.append(f"{type(error).__name__}: {error}")
    return {"told": told, "version": tf_keras.__version__, "tf.keras": tf.keras.__name__}
