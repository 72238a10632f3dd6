"""fit-tensorflow, fit-jax, fit-torch: the same batches of images under `model.fit`, each backend apart.

The model looks at one pixel of each image, so that a step costs what Keras and the data cost.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.model import PROCESSION, Contender, Figure, Round, Sample, Target, Work
from benchmarks.sources import ENDLESS, Images, Source

WARM_STEPS = 16
READY = "ready aligned arrays"
READY_SOURCE = "procession, source copies nothing"
READY_NUMPY = "ready numpy arrays"
TF_BOUND = "tf.data from_tensors().repeat()"


class Ready(Source):
    """The same batch again and again, at an address that is a multiple of 64: nothing to make, nothing to move."""

    def __init__(self) -> None:
        images, labels = Images()[0]
        room = np.empty(images.nbytes + 64, dtype=np.uint8)
        start = -room.ctypes.data % 64
        self.images = room[start : start + images.nbytes].reshape(images.shape)
        self.images[...] = images
        self.labels = labels

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images, self.labels


def build_model(jit: bool) -> Any:
    """Build the smallest model that takes images and can be fitted."""
    import keras

    inputs = keras.Input((224, 224, 3), dtype="uint8")
    x = keras.layers.Lambda(lambda batch: keras.ops.cast(batch[:, 0, 0, :], "float32"), output_shape=(3,))(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(optimizer="sgd", loss="mse", jit_compile=jit)
    return model


def stopwatch(seconds: float) -> Any:
    """Make a callback that times the steps after the warm ones, and then ends `fit`."""
    import keras

    class Stopwatch(keras.callbacks.Callback):
        """Looks at the clock before each step: a hook after it would make Keras wait for the loss."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            now = time.perf_counter()
            if batch == WARM_STEPS:
                self.begin, self.begin_cpu = now, time.process_time()
            elif batch > WARM_STEPS and now - self.begin >= seconds and not self.model.stop_training:
                steps = batch - WARM_STEPS
                cpu = time.process_time() - self.begin_cpu
                self.sample: Sample = {"seconds": (now - self.begin) / steps, "cpu": cpu / steps}
                self.model.stop_training = True

    return Stopwatch()


def fitted(feed: Callable[[], Any], jit: bool) -> Round:
    """Return rounds that each call `fit` once, and are timed in the middle of its epoch."""
    data = feed()
    model = build_model(jit)

    def measure(seconds: float) -> Sample:
        watch = stopwatch(seconds)
        # Keras would shuffle a list of all the indices, which takes it seconds where an epoch has no end.
        model.fit(data, shuffle=False, steps_per_epoch=ENDLESS, callbacks=[watch], verbose=0)
        return dict(watch.sample)

    measure(0)
    return measure


def procession() -> Any:
    """A Loader around the PyDataset, as a user writes it."""
    from benchmarks.keras_dataset import Dataset
    from procession import Loader

    return Loader(Dataset(Images()), workers=2, executor="processes")


def procession_ready() -> Any:
    """The same where making a batch costs nothing: what is left is transport."""
    from benchmarks.keras_dataset import Dataset
    from procession import Loader

    return Loader(Dataset(Ready()), workers=2, executor="processes")


def keras_processes() -> Any:
    """The PyDataset itself, asking for processes."""
    from benchmarks.keras_dataset import Dataset

    return Dataset(Images(), workers=2, use_multiprocessing=True)


def keras_threads() -> Any:
    """The PyDataset itself, asking for threads."""
    from benchmarks.keras_dataset import Dataset

    return Dataset(Images(), workers=2)


def torch_loader() -> Any:
    """A DataLoader, which Keras takes as well."""
    from torch.utils.data import DataLoader

    dataset: Any = Images()
    return DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)


def repeated() -> Any:
    """A tf.data.Dataset that has one batch of tensors and nothing to do."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensors(Images()[0]).repeat()


def ready() -> Any:
    """A PyDataset that has its batch ready."""
    from benchmarks.keras_dataset import Dataset

    return Dataset(Ready())


def fit(backend: str, contenders: dict[str, Callable[[], Any]], jit: bool, target: Target) -> Work:
    """Make the work for one backend; the peers among its contenders take part in full runs."""

    def one(name: str, feed: Callable[[], Any]) -> Contender:
        needs = (
            "keras",
            backend,
            *{PROCESSION: ("procession",), READY_SOURCE: ("procession",), "torch DataLoader": ("torch",)}.get(name, ()),
        )
        return Contender(
            name,
            lambda: fitted(feed, jit),
            needs,
            environment={"KERAS_BACKEND": backend},
            quick=name in {PROCESSION, READY_SOURCE, target.against},
        )

    return Work(
        name=f"fit-{backend}",
        about=f"images under model.fit on {backend}, 2 workers, a model that looks at one pixel",
        contenders=tuple(one(name, feed) for name, feed in contenders.items()),
        figures=(Figure(f"fit on {backend}", key="seconds", unit="ms a step", scale=1e3, targets=(target,)),),
    )


KERAS = {"Keras processes": keras_processes, "Keras threads": keras_threads}
WORKS = (
    fit(
        "tensorflow",
        {PROCESSION: procession, **KERAS, "torch DataLoader": torch_loader, TF_BOUND: repeated},
        jit=False,
        target=Target(1 / 1.5, TF_BOUND),
    ),
    fit(
        "jax",
        {
            PROCESSION: procession,
            READY_SOURCE: procession_ready,
            "Keras processes": keras_processes,
            READY: ready,
        },
        jit=True,
        target=Target(0.5, READY),
    ),
    fit(
        "torch",
        {PROCESSION: procession, "torch DataLoader": torch_loader, READY_NUMPY: ready},
        jit=False,
        target=Target(1.0, READY_NUMPY),
    ),
)
