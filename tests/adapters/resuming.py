"""Trainings that are stopped or killed and go on; run inside the lab, or in a process that dies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np

import procession

LENGTH = 7  # batches of an epoch


class Noisy:
    """Batches with random numbers in them."""

    def __init__(self, length: int = LENGTH) -> None:
        self.length = length
        self.order = np.arange(length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        fixed = np.random.default_rng(int(self.order[i % self.length]))
        x = fixed.normal(size=(4, 4)) + procession.rng().normal(size=(4, 4)) / 10
        return x.astype("float32"), (x[:, :1] ** 2 + np.random.rand() / 10).astype("float32")


class Reshuffled(Noisy):
    """Has hooks that change it, in place and by rebinding."""

    def on_epoch_begin(self) -> None:
        np.random.shuffle(self.order)

    def on_epoch_end(self) -> None:
        self.order = np.random.permutation(self.length)


class Endless(Noisy):
    """Has no end."""

    num_batches = None


class Broken(Noisy):
    """Cannot make two of its batches."""

    def __getitem__(self, i: int) -> Any:
        if i in (1, 4):
            raise OSError("it is broken")
        return super().__getitem__(i)


SOURCES = {"plain": Noisy, "hooked": Reshuffled, "endless": Endless, "broken": Broken}


class Stop(Exception):  # noqa: N818 - nothing is wrong
    """The training is over, for reasons that nobody knows."""


class Stopping(keras.callbacks.Callback):
    """Ends the training after so many batches: by an exception, or the process by its death."""

    def __init__(self, after: int, how: str) -> None:
        super().__init__()
        self.left, self.how = after, how

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise Stop


class Evaluating(keras.callbacks.Callback):
    """Reads the very loader that is trained on, in the middle of an epoch and between two."""

    def __init__(self, loader: Any) -> None:
        super().__init__()
        self.loader = loader

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 2:
            self.model.predict(self.loader, verbose=0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.evaluate(self.loader, verbose=0)


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adam": keras.optimizers.Adam,
    "accumulating": lambda: keras.optimizers.Adam(gradient_accumulation_steps=2),
    "scaling": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=4.0),
}


def make_model(at_once: int = 1, optimizer: str = "adam", start: int = 7, *, build: bool = True) -> Any:
    """Return a compiled model; without dropout, whose random numbers Keras does not save."""
    keras.utils.set_random_seed(start)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(1)])
    several = {"steps_per_execution": at_once} if at_once > 1 else {}
    model.compile(OPTIMIZERS[optimizer](), "mse", jit_compile=keras.backend.backend() == "jax", **several)
    if build:
        model.optimizer.build(model.trainable_variables)  # which Keras before 3.6 needs to restore it
    return model


def weights(model: Any) -> str:
    """Return what stands for every bit of the model and its optimizer."""
    digest = hashlib.sha256()
    for variable in [*model.variables, *model.optimizer.variables]:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value)).tobytes())
    return digest.hexdigest()


def steps_of(model: Any) -> int:
    """Return how many steps the optimizer has done."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


def train(
    folder: str,
    *,
    source: str = "plain",
    epochs: int = 3,
    stop: int | None = None,
    how: str = "raise",
    save_freq: Any = 3,
    resume: bool = True,
    listed: str = "after",
    seed: int | None = 1,
    executor: Any = "processes",
    workers: int = 2,
    at_once: int = 1,
    optimizer: str = "adam",
    start: int = 7,
    validation: bool = False,
    evaluating: bool = False,
    build: bool = True,
    **fit: Any,
) -> dict[str, Any]:
    """Train with a backup, on from where it was stopped; maybe stop."""
    model = make_model(at_once, optimizer, start, build=build)
    path = Path(folder)
    found: dict[str, Any] = {"ended": "at its end"}
    faults = procession.Faults(on_error="skip") if source == "broken" else procession.Faults()
    options = {"executor": executor, "workers": workers, "seed": seed, "faults": faults}
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(procession.Loader(SOURCES[source](), **options))
        callbacks: list[Any] = [keras.callbacks.BackupAndRestore(str(path / "backup"), save_freq=save_freq)]
        if resume:
            ours = data.resume_callback(path / "backup" / "loader.json")
            callbacks.insert(1 if listed == "after" else 0, ours)
        if stop:
            callbacks.append(Stopping(stop, how))
        if evaluating:
            callbacks.append(Evaluating(data))
        if validation:
            fit["validation_data"] = stack.enter_context(procession.Loader(Noisy(3), **{**options, "seed": 2}))
        told = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        try:
            found["loss"] = model.fit(data, epochs=epochs, callbacks=callbacks, verbose=0, **fit).history["loss"]
        except Stop:
            found["ended"] = "stopped"
    found["told"] = [str(warning.message) for warning in told if about_data(warning)]
    return {**found, "weights": weights(model), "steps": steps_of(model)}


def about_data(warning: Any) -> bool:
    """Whether a warning is of the loader, or of Keras about its data."""
    text = str(warning.message)
    skips = issubclass(warning.category, procession.SkippedWarning)
    ours = issubclass(warning.category, procession.StateWarning)
    return not skips and (ours or "ran out of data" in text or "Skipping variable" in text)


@cache
def whole(options: str) -> dict[str, Any]:
    """Train without an interruption."""
    with tempfile.TemporaryDirectory() as folder:
        return train(folder, **json.loads(options))


def compared(folder: str, stops: list[int], again: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Train with stops, each time on with a new model and loader; say whether it comes to what it does without them."""
    for k, stop in enumerate(stops):
        stopped = train(folder, stop=stop, start=7 + k, **options)
        assert stopped["ended"] == "stopped", stopped
    want = whole(json.dumps(options, sort_keys=True))
    got = train(folder, **{**options, "start": 99, **(again or {})})
    same = (
        got["weights"] == want["weights"],
        got["loss"][1:] == want["loss"][len(want["loss"]) + 1 - len(got["loss"]) :],
    )
    return {"same": all(same), "steps": got["steps"] - want["steps"], "told": got["told"], "epochs": len(got["loss"])}


def checkpointed(folder: str, source: str = "plain") -> dict[str, Any]:
    """Train to the end, then go on from each of the models that were saved on the way."""
    path = Path(folder)
    with procession.Loader(SOURCES[source](), seed=1, workers=2) as data:
        saving = keras.callbacks.ModelCheckpoint(str(path / "{epoch}-{batch}.keras"), save_freq=4)
        model = make_model()
        model.fit(data, epochs=3, callbacks=[saving, data.resume_callback(path / "loader.json")], verbose=0)
    found = {}
    for file in sorted(path.glob("*.keras")):
        again = keras.models.load_model(file)
        shutil.copy(path / "loader.json", path / "copy.json")
        with procession.Loader(SOURCES[source](), seed=1, executor="serial") as data:
            callbacks = [data.resume_callback(path / "copy.json")]
            again.fit(data, initial_epoch=int(file.name[0]) - 1, epochs=3, callbacks=callbacks, verbose=0)
        found[file.stem] = weights(again) == weights(model)
    return found


def fitted_again(folder: str) -> dict[str, Any]:
    """Use one callback in three calls of fit, and go on in the second of them from a model saved there."""
    path = Path(folder)
    with procession.Loader(Reshuffled(), seed=1, workers=2) as data:
        saving = keras.callbacks.ModelCheckpoint(str(path / "{batch}.weights.h5"), save_freq=10, save_weights_only=True)
        callbacks = [data.resume_callback(path / "loader.json"), saving]
        model = make_model()
        for _ in range(3):
            model.fit(data, callbacks=callbacks, verbose=0)
    again = make_model(start=8)
    again.load_weights(path / "3.weights.h5")
    with procession.Loader(Reshuffled(), seed=1, executor="serial") as data:
        for _ in range(2):
            again.fit(data, callbacks=[data.resume_callback(path / "loader.json")], verbose=0)
    return {"same": weights(again) == weights(model), "steps": steps_of(again)}


def loaded_by_hand() -> dict[str, Any]:
    """Fit on what is left of an epoch, without the callback: no step is counted that had no batch."""
    model = make_model()
    with procession.Loader(Reshuffled(), seed=1, workers=2, shuffle=True) as data:
        for _ in zip(range(3), data, strict=False):
            pass
        state = data.state_dict()
    with procession.Loader(Reshuffled(), seed=1, workers=2, shuffle=True) as data:
        data.load_state_dict(state)
        model.fit(data, epochs=2, verbose=0)
        return {"steps": steps_of(model), "batch": data.state_dict()["epoch"]}


class Counting(keras.callbacks.Callback):
    """Has the optimizer count another step after each batch, as a train_step with two updates would."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        iterations = self.model.optimizer.iterations
        iterations.assign(keras.ops.convert_to_tensor(iterations) + 1)


def refused(**options: Any) -> str:
    """Train, and return what is said against it."""
    try:
        train(**options)
    except procession.StateError as error:
        return str(error)
    return "nothing"


def odd(folder: str, what: str) -> list[str]:
    """Do something that cannot be resumed, or not well; return what is told."""
    path, model = Path(folder) / "loader.json", make_model()
    callbacks: list[Any] = []
    with contextlib.ExitStack() as stack:
        data, other = (stack.enter_context(procession.Loader(Noisy(), seed=seed)) for seed in (1, 2))
        told = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        try:
            if what == "another's file":
                path.write_text('{"epoch": 1}')
            if what == "missing file":
                model.fit(data, verbose=0)
            if what == "counts twice":
                callbacks = [Counting()]
            ours = (other if what == "another loader" else data).resume_callback(path)
            model.fit(data, callbacks=[ours, *callbacks], verbose=0)
        except procession.StateError as error:
            return [f"StateError: {error}"]
    return [str(warning.message) for warning in told if about_data(warning)]
