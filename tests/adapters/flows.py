"""Keras's image iterators in a Loader, beside what they give by themselves; runs where a version of Keras is."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from procession import Loader, Partitions, partition
from tests.support import form

ROWS, BATCH, SIDE = 11, 3, 8  # the last batch is smaller
AUGMENTED = {
    "rotation_range": 30,
    "width_shift_range": 0.3,
    "zoom_range": 0.2,
    "horizontal_flip": True,
    "channel_shift_range": 20.0,
    "brightness_range": (0.5, 1.5),
}
EXECUTORS: list[tuple[Any, int]] = [("serial", 0), ("processes", 1), ("processes", 3)]

LEGACY = "PROCESSION_TEST_TF_KERAS" in os.environ
keras: Any = importlib.import_module("tf_keras" if LEGACY else "keras")
image: Any = importlib.import_module(
    "tf_keras.preprocessing.image" if LEGACY else "keras.src.legacy.preprocessing.image"
)


class Transform(image.ImageDataGenerator):
    """A user's own."""

    def get_random_transform(self, *arguments: Any, **options: Any) -> Any:
        """Draw once more."""
        return {**super().get_random_transform(*arguments, **options), "theta": np.random.randint(90)}


class Pairs(image.NumpyArrayIterator):
    """A user's own, which mixes and counts."""

    epochs = 0

    def __getitem__(self, i: int) -> Any:
        x, y = super().__getitem__(i)
        return x * np.random.beta(2, 2), y, np.full(len(y), self.epochs, "float32")

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        self.epochs += 1


class Lasts(image.Iterator):
    """A user's own from the base class."""

    def __init__(self, **options: Any) -> None:
        super().__init__(n=ROWS, **options)
        self.handle: Any = (i for i in range(0))  # which cannot be sent

    def __getstate__(self) -> Any:
        return {**vars(self), "handle": None}

    def _get_batches_of_transformed_samples(self, index_array: Any) -> Any:
        return np.random.random(len(index_array)), index_array


def pictures(folder: Path) -> list[str]:
    """Write some, and return their paths."""
    from PIL import Image

    paths = []
    for row in range(ROWS):
        path = folder / f"class{row % 2}" / f"{row:02d}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        if not path.exists():
            pixels = np.random.default_rng(row).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        paths.append(str(path))
    return paths


def arrays(**options: Any) -> Any:
    """Return arguments of `flow`."""
    x = np.random.default_rng(1).uniform(0, 255, (ROWS, SIDE, SIDE, 3)).astype("float32")
    return {"x": x, "y": np.arange(ROWS, dtype="float32"), **options}


def saving(generator: Any, folder: Path, **options: Any) -> Any:
    """Return one that writes what it makes."""
    (folder / "saved").mkdir(exist_ok=True)
    return generator.flow(**arrays(save_to_dir=str(folder / "saved"), **options))


def directory(generator: Any, folder: Path, **options: Any) -> Any:
    """Return one that reads files."""
    pictures(folder / "pictures")
    options = {"target_size": (SIDE, SIDE), "class_mode": "binary", **options}
    return generator.flow_from_directory(str(folder / "pictures"), **options)


def split(_: Any, folder: Path, **options: Any) -> Any:
    """Return one that reads some of the files."""
    generator = image.ImageDataGenerator(validation_split=0.4, **AUGMENTED)
    return directory(generator, folder, target_size=(6, 5), color_mode="grayscale", subset="training", **options)


def dataframe(generator: Any, folder: Path, **options: Any) -> Any:
    """Return one that has its files from a table."""
    import pandas as pd

    frame = pd.DataFrame({"filename": pictures(folder / "pictures"), "class": np.arange(ROWS) * 1.0})
    return generator.flow_from_dataframe(frame, class_mode="raw", target_size=(SIDE, SIDE), **options)


KINDS: dict[str, Callable[..., Any]] = {
    "arrays": lambda generator, _, **options: generator.flow(**arrays(**options)),
    "one batch": lambda generator, _, **options: generator.flow(**arrays(**{**options, "batch_size": ROWS})),
    "weighted": lambda generator, _, **options: generator.flow(**arrays(sample_weight=np.arange(ROWS), **options)),
    "own transform": lambda *_, **options: Transform(horizontal_flip=True).flow(**arrays(**options)),
    "own iterator": lambda generator, _, **options: Pairs(image_data_generator=generator, **arrays(**options)),
    "own from the base": lambda *_, **options: Lasts(**options),
    "saving": saving,
    "directory": directory,
    "split": split,
    "dataframe": dataframe,
}


def make(kind: str, folder: Path, *, augmented: bool = True, **options: Any) -> Any:
    """Return one of Keras's iterators."""
    generator = image.ImageDataGenerator(**(AUGMENTED if augmented else {}))
    return KINDS[kind](generator, folder, **{"batch_size": BATCH, **options})


def stock(iterator: Any, epochs: int) -> list[list[Any]]:
    """What one process makes of an iterator, as Keras asks it."""
    made = []
    for _ in range(epochs):
        made.append([form(iterator[i]) for i in range(len(iterator))])
        iterator.on_epoch_end()
    return made


def got(iterator: Any, executor: Any, workers: int, epochs: int = 3, **options: Any) -> list[list[Any]]:
    """What a Loader makes of it."""
    with Loader(iterator, executor=executor, workers=workers, **options) as loader:
        assert loader.source is iterator
        return [[form(batch) for batch in loader] for _ in range(epochs)]


def as_stock(folder: str, kind: str, options: dict[str, Any]) -> list[str]:
    """Where a Loader of a seeded iterator differs from the iterator alone."""
    place = Path(folder)
    np.random.seed(99)
    want = stock(make(kind, place, **options), 3)
    made = {(e, w): got(make(kind, place, **options), e, w) for e, w in EXECUTORS}
    if not options.get("augmented", True):  # threads draw from one generator: what depends on that is not compared
        made["threads", 3] = got(make(kind, place, **options), "threads", 3)
    return [f"{who}, epoch {epoch}" for who, of in made.items() for epoch in range(3) if of[epoch] != want[epoch]]


def begun_before(folder: str) -> list[str]:
    """Where it differs if the iterator has made batches before, and is read by one loader after another."""
    want = make("arrays", Path(folder), seed=5)
    begun = [want[0] for _ in range(2)]
    expected = stock(want, 2)
    wrong = []
    for executor, workers in EXECUTORS:
        iterator = make("arrays", Path(folder), seed=5)
        assert all(np.array_equal(iterator[0][0], batch[0]) for batch in begun)
        made = [got(iterator, executor, workers, 1)[0] for _ in range(2)]
        wrong += [f"{executor} {workers}"] * (made != expected)
    return wrong


def unseeded(folder: str, kind: str) -> list[str]:
    """Where iterators without a seed of their own differ between executors, or deliver an image not exactly once."""
    place, wrong = Path(folder), []
    want = got(make(kind, place), "serial", 0, seed=3)
    wrong += [f"{w}" for e, w in EXECUTORS if got(make(kind, place), e, w, seed=3) != want]
    if want[0] == want[1] or want == got(make(kind, place), "serial", 0, seed=4):
        wrong.append("no other random numbers")
    for executor, workers in [*EXECUTORS, ("threads", 3)]:
        with Loader(make(kind, place), executor=executor, workers=workers) as loader:
            epochs = [np.concatenate([batch[1] for batch in loader]).tolist() for _ in range(3)]
        wrong += [f"{executor} {epoch}" for epoch in epochs if sorted(epoch) != list(range(ROWS))]
        wrong += [f"{executor}: not shuffled"] * (epochs[0] == epochs[1] or epochs[0] == list(range(ROWS)))
    return wrong


def resumed(folder: str, seed: int | None) -> bool:
    """Whether a saved place goes on with the same batches."""
    whole = got(make("arrays", Path(folder), seed=seed), "serial", 0, seed=1)
    with Loader(make("arrays", Path(folder), seed=seed), workers=0, seed=1) as loader:
        list(loader)
        batches = iter(loader)
        next(batches)
        state = loader.state_dict()
    with Loader(make("arrays", Path(folder), seed=seed), workers=2, seed=1) as loader:
        loader.load_state_dict(state)
        rest = [[form(batch) for batch in loader] for _ in range(2)]
    return rest == [whole[1][1:], whole[2]]


def in_partitions(folder: str) -> list[str]:
    """Where several iterators, or parts of one, differ from serial."""
    place = Path(folder)
    both: list[Callable[[], Any]] = [
        lambda: Partitions([make("arrays", place, seed=1), make("directory", place, seed=2)]),
        lambda: [make("arrays", place), make("own from the base", place, shuffle=True, seed=None)],
        lambda: partition(make("arrays", place, seed=1), 2),
    ]
    return [
        f"{number}, {workers}"
        for number, several in enumerate(both)
        for workers in (1, 2)
        if got(several(), "processes", workers, 2, seed=1) != got(several(), "serial", 0, 2, seed=1)
    ]


def saved(folder: str) -> bool:
    """Whether workers write the pictures that they are told to."""
    place = Path(folder)
    iterator = make("saving", place)
    with Loader(iterator, workers=2) as loader:
        labels = [int(label) for _, y in loader for label in y]
    files = sorted(int(path.name.split("_")[1]) for path in (place / "saved").iterdir())
    return files == sorted(labels) == list(range(ROWS))


def fitted(folder: str, executor: Any) -> list[list[float]]:
    """The weights of a model after `fit` on a Loader, and after the batches that the iterator alone makes."""
    alone = make("directory", Path(folder), seed=4)
    batches = []
    for _ in range(2):
        batches += [alone[i] for i in range(len(alone))]
        alone.on_epoch_end()
    trained, measure = model(), model()
    with Loader(make("directory", Path(folder), seed=4), executor=executor, workers=2) as loader:
        trained.fit(loader, epochs=2, shuffle=False, verbose=0)
    for batch in batches:
        measure.train_on_batch(*batch)
    return [each.get_weights()[0].ravel().tolist() for each in (trained, measure)]


def model() -> Any:
    """Return a small one, in its first state."""
    layers = [keras.layers.Flatten(), keras.layers.Dense(1, kernel_initializer="zeros")]
    made = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers])
    made.compile(loss="mse", optimizer=keras.optimizers.SGD(1e-7))
    return made


def everything(folder: str) -> dict[str, Any]:
    """What there is in another package too, for a process of its own."""
    trained, measure = fitted(folder, "processes")
    return {
        "arrays": as_stock(folder, "arrays", {"seed": 7}),
        "directory": as_stock(folder, "directory", {"seed": 7}),
        "unseeded": unseeded(folder, "arrays"),
        "fit": not np.allclose(trained, measure, rtol=1e-4, atol=1e-7),
    }
