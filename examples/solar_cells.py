"""Find defective solar cells in real photographs, with the images made by worker processes.

Run it as it stands: `python examples/solar_cells.py`. It needs no ``if __name__ == "__main__"``.

The data are the 2,624 electroluminescence photographs of solar cells in the PyPI package
``elpv-dataset``. The images are licensed CC BY-NC-SA 4.0: NOT FOR COMMERCIAL USE. Nothing of them
is part of Procession. Whoever uses them should cite Buerhop-Lutz et al., "A Benchmark for Visual
Identification of Defective Solar Cells in Electroluminescence Imagery", EU PVSEC 2018.

`SolarCells` is an ordinary ``keras.utils.PyDataset``, written as if there were no Procession: it
opens, turns, crops and scales PNG files with Pillow, which keeps a processor core busy. The only
new words are the two `procession.Loader(...)` further down.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import math
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

import procession

SIZE = 224
BATCH = 32
EPOCHS = 8
LEARNING_RATE = 2e-3
SEED = 7
VALIDATION_SHARE = 0.2
WARM_BATCHES = 6
MEASURED_BATCHES = 16


class SolarCells(keras.utils.PyDataset):
    """Batches of photographs and of labels, 1 where the cell is defective."""

    def __init__(self, files: list[Path], labels: np.ndarray, *, augment: bool) -> None:
        super().__init__()
        self.files = files
        self.labels = labels
        self.augment = augment
        self.order = np.arange(len(files))

    def __len__(self) -> int:
        return math.ceil(len(self.files) / BATCH)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * BATCH : (index + 1) * BATCH]
        images = np.stack([self.read(self.files[i]) for i in chosen])
        return images[..., None], self.labels[chosen].astype("float32")[:, None]

    def read(self, file: Path) -> np.ndarray:
        """Decode one photograph, turn and crop it at random, and scale it to SIZE x SIZE."""
        image = Image.open(file).convert("L")
        if not self.augment:
            return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        # A cell is as defective upside down or in a mirror; a few degrees stand for a crooked shot.
        image = image.rotate(np.random.uniform(-5, 5), Image.Resampling.BICUBIC)
        if np.random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if np.random.random() < 0.5:
            image = image.transpose(Image.Transpose.ROTATE_180)
        side = image.width * np.random.uniform(0.85, 1.0)
        left, top = np.random.uniform(0, image.width - side, size=2)
        box = (left, top, left + side, top + side)
        image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
        noisy = np.asarray(image) + np.random.normal(0, 4, size=(SIZE, SIZE))
        return noisy.clip(0, 255).astype("uint8")

    def on_epoch_end(self) -> None:
        """Put the photographs together into other batches for the next epoch."""
        if self.augment:
            np.random.shuffle(self.order)


@dataclass(frozen=True)
class Photographs:
    """The files of one side of the split, and what is known of them."""

    files: list[Path]
    labels: np.ndarray


def find_photographs() -> Photographs:
    """Read the list of photographs, without importing the package that carries them."""
    package = find_spec("elpv_dataset")
    if package is None or not package.submodule_search_locations:
        sys.exit(
            "The photographs are missing: run `pip install elpv-dataset` (91 MB; the images are "
            "CC BY-NC-SA 4.0, for non-commercial use), or `make demo`, which does it."
        )
    folder = Path(package.submodule_search_locations[0]) / "data"
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines() if line]
    # The labels are the share of experts who saw a defect: 0, 1/3, 2/3 or 1.
    labels = np.array([float(row[1]) >= 0.5 for row in rows])
    return Photographs([folder / row[0] for row in rows], labels)


def split(photographs: Photographs) -> tuple[Photographs, Photographs]:
    """Set a fixed share aside for validation, the same share of either class."""
    draw = np.random.default_rng(SEED)
    aside: list[int] = []
    for label in (False, True):
        members = draw.permutation(np.flatnonzero(photographs.labels == label))
        aside.extend(members[: round(len(members) * VALIDATION_SHARE)])
    held_out = np.zeros(len(photographs.files), dtype=bool)
    held_out[aside] = True

    def side(mask: np.ndarray) -> Photographs:
        indices = np.flatnonzero(mask)
        return Photographs([photographs.files[i] for i in indices], photographs.labels[indices])

    return side(~held_out), side(held_out)


def build_model() -> keras.Model:
    """Build a small network; it halves every image first, so that two cores are enough."""
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    # How bright a photograph is depends on the camera's settings; what matters is the contrast.
    x = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False)(x)
    x = layers.AveragePooling2D(2)(x)
    for filters, width in ((16, 5), (32, 3), (48, 3), (64, 3)):
        x = layers.Conv2D(filters, width, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.Activation("relu")(x)
    # A crack is small: the strongest answer anywhere in the cell says more than the mean of all.
    x = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)])
    x = layers.Dropout(0.3)(x)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


class ProgressLine(keras.callbacks.Callback):
    """One line that says where training is."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        super().__init__()
        self.progress = progress
        self.task_id = task
        self.loss = ""
        self.validation = ""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.progress.update(self.task_id, description=f"epoch {epoch + 1}/{EPOCHS}")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.loss = f"loss {(logs or {}).get('loss', math.nan):.3f}"
        self.progress.update(self.task_id, advance=1, told=self.loss + self.validation)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.validation = f", validation accuracy {(logs or {}).get('val_accuracy', math.nan):.1%}"
        self.progress.update(self.task_id, told=self.loss + self.validation)


def train(
    model: keras.Model,
    training: procession.Loader,
    validation: procession.Loader,
    labels: np.ndarray,
    console: Console,
) -> float:
    """Fit the model and return the seconds it took."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    half = len(labels) / 2
    begin = time.perf_counter()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=EPOCHS * len(training), told="")
        model.fit(
            training,
            validation_data=validation,
            epochs=EPOCHS,
            # Twice as many cells are sound as defective: let either class weigh the same.
            class_weight={0: half / (~labels).sum(), 1: half / labels.sum()},
            callbacks=[
                ProgressLine(progress, task),
                keras.callbacks.LearningRateScheduler(
                    lambda epoch: LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * epoch / EPOCHS))
                ),
            ],
            verbose=0,
        )
    return time.perf_counter() - begin


def area_under_curve(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return how often a defective cell scores above a sound one; ties count half."""
    defective, sound = scores[labels][:, None], scores[~labels][None, :]
    return float(np.mean((defective > sound) + 0.5 * (defective == sound)))


def images_per_second(source: SolarCells, executor: Literal["serial", "processes"]) -> tuple[float, int]:
    """Make a few batches with nobody training; return the speed and the number of workers."""
    with procession.Loader(source, executor=executor) as loader:
        batches = iter(loader)
        # The first ones come from starting up; what counts is the speed that lasts.
        for _ in range(WARM_BATCHES):
            next(batches)
        begin = time.perf_counter()
        images = sum(len(next(batches)[0]) for _ in range(MEASURED_BATCHES))
        return images / (time.perf_counter() - begin), loader.statistics().workers


def quality_rows(labels: np.ndarray, scores: np.ndarray) -> list[tuple[str, str]]:
    """Say how good the answers are, beside what a guess would reach."""
    answers = scores >= 0.5
    majority = max(labels.mean(), 1 - labels.mean())
    balanced = (answers[labels].mean() + (~answers[~labels]).mean()) / 2
    return [
        ("accuracy", f"{(answers == labels).mean():.1%}   (always 'sound': {majority:.1%})"),
        ("balanced accuracy", f"{balanced:.1%}   (guessing: 50%)"),
        ("area under the ROC curve", f"{area_under_curve(labels, scores):.3f}   (guessing: 0.5)"),
    ]


def speed_rows(source: SolarCells, waited: float, seconds: float) -> list[tuple[str, str]]:
    """Say what the workers brought, measured on the same batches with and without them."""
    alone, _ = images_per_second(source, "serial")
    together, workers = images_per_second(source, "processes")
    return [
        ("images a second, no workers", f"{alone:,.0f}"),
        (
            f"images a second, {workers} workers",
            f"{together:,.0f}   ({together / alone:.2f} times as many)",
        ),
        ("time in fit", f"{seconds:.0f} s, of which {waited / seconds:.1%} waiting for data"),
    ]


def main() -> None:
    """Train, then say how well it went and what the workers did."""
    console = Console()
    keras.utils.set_random_seed(SEED)
    seen, unseen = split(find_photographs())
    console.print(
        f"{len(seen.files):,} photographs to learn from, {len(unseen.files):,} held out. "
        "Images: elpv-dataset, CC BY-NC-SA 4.0, non-commercial use only.",
        highlight=False,
        soft_wrap=True,
    )
    source = SolarCells(seen.files, seen.labels, augment=True)
    held_out = SolarCells(unseen.files, unseen.labels, augment=False)
    model = build_model()
    with (
        procession.Loader(source, seed=SEED) as training,
        procession.Loader(held_out, seed=SEED) as validation,
    ):
        seconds = train(model, training, validation, seen.labels, console)
        waited = training.statistics().wait_seconds + validation.statistics().wait_seconds
        scores = model.predict(validation, verbose=0)[:, 0]

    table = Table(show_header=False, box=None, title=f"Held-out cells ({keras.backend.backend()})")
    rows = quality_rows(unseen.labels, scores) + speed_rows(source, waited, seconds)
    for name, value in rows:
        table.add_row(name, value)
    console.print(table, highlight=False)


main()
