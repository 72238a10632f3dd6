"""Clean sources, as people write them, over files that are made in a folder: no error may be found in these."""

from __future__ import annotations

import functools
import math
import sqlite3
import string
import wave
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pandas as pd
from PIL import Image


class Photographs(keras.utils.PyDataset):
    """PNG files, decoded, turned and flipped at random; the order is drawn anew after each epoch."""

    def __init__(self, folder: Path, batch_size: int = 4, **options: Any) -> None:
        super().__init__(**options)
        for k in range(24):
            Image.fromarray(np.random.default_rng(k).integers(0, 255, (64, 64, 3), np.uint8)).save(folder / f"{k}.png")
        self.paths = sorted(folder.glob("*.png"))
        self.labels = np.arange(24) % 2
        self.batch_size = batch_size
        self.indices = np.arange(len(self.paths))

    def __len__(self) -> int:
        return math.ceil(len(self.paths) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.indices[index * self.batch_size : (index + 1) * self.batch_size]
        return np.stack([self.read(self.paths[k]) for k in chosen]), self.labels[chosen]

    def read(self, path: Path) -> np.ndarray:
        image = Image.open(path).rotate(np.random.uniform(-10, 10))
        if np.random.rand() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels: np.ndarray = np.asarray(image, np.float32) / 255
        return pixels

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.indices)


class Volumes:
    """Slices of an HDF5 file that is opened once."""

    def __init__(self, folder: Path) -> None:
        with h5py.File(folder / "volumes.h5", "w") as file:
            file["volume"] = np.random.default_rng(0).normal(size=(32, 16, 16, 16)).astype(np.float32)
        self.file = h5py.File(folder / "volumes.h5", "r")

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> np.ndarray:
        block: np.ndarray = self.file["volume"][4 * index : 4 * index + 4]
        scaled: np.ndarray = (block - block.mean()) / block.std()
        return scaled


class Records:
    """Rows of a frame, with noise from a generator of its own."""

    def __init__(self, folder: Path) -> None:
        values = np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float32)
        pd.DataFrame(values, columns=list("abcdef")).to_csv(folder / "records.csv", index=False)
        self.frame = pd.read_csv(folder / "records.csv", dtype=np.float32)
        self.random = np.random.default_rng(7)

    def __len__(self) -> int:
        return len(self.frame) // 50

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.frame.iloc[50 * index : 50 * index + 50]
        x = rows[["a", "b", "c", "d", "e"]].to_numpy()
        return x + self.random.normal(0, 0.01, x.shape).astype(np.float32), rows["f"].to_numpy()


class Sentences:
    """Texts, padded to the longest of their batch."""

    def __init__(self, folder: Path) -> None:
        random = np.random.default_rng(0)
        words = ["".join(random.choice(list(string.ascii_lowercase), 5)) for _ in range(200)]
        (folder / "texts.txt").write_text(
            "\n".join(" ".join(random.choice(words, random.integers(3, 20))) for _ in range(96)), encoding="utf-8"
        )
        self.texts = (folder / "texts.txt").read_text(encoding="utf-8").splitlines()
        self.number_of = {word: number for number, word in enumerate(sorted(words), start=1)}

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> np.ndarray:
        rows = [[self.number_of[word] for word in text.split()] for text in self.texts[8 * index : 8 * index + 8]]
        batch = np.zeros((len(rows), max(map(len, rows))), np.int32)
        for row, numbers in zip(batch, rows, strict=True):
            row[: len(numbers)] = numbers
        return batch


class Remembered:
    """What is decoded is kept by lru_cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for k in range(8):
            np.save(folder / f"{k}.npy", np.full((8, 8), k, np.float32))

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> np.ndarray:
        return _decoded(self.folder / f"{index}.npy").copy()


@functools.lru_cache(maxsize=4)
def _decoded(path: Path) -> np.ndarray:
    """Read a file, unless it has just been read."""
    array: np.ndarray = np.load(path)
    return array


class Mapped:
    """Windows of a file that is mapped."""

    def __init__(self, folder: Path) -> None:
        np.arange(100_000, dtype=np.float32).tofile(folder / "signal.f32")
        self.signal = np.memmap(folder / "signal.f32", np.float32, "r")

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> np.ndarray:
        window = np.array(self.signal[5000 * index : 5000 * (index + 1)])
        window -= window.mean()
        return window.reshape(10, 500)


class Sounds:
    """Spectrograms of WAV files, each opened when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / f"{k}.wav" for k in range(6)]
        for k, path in enumerate(self.paths):
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, 8000, 8000, "NONE", ""))
                file.writeframes((1000 * np.sin(np.arange(8000) * (k + 1) / 50)).astype("<i2").tobytes())
        self.opened: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        if index not in self.opened:
            self.opened[index] = wave.open(str(self.paths[index]), "rb")  # noqa: SIM115 - kept open
        self.opened[index].rewind()
        frames = np.frombuffer(self.opened[index].readframes(8000), "<i2")
        return np.abs(np.fft.rfft(frames.reshape(-1, 400), axis=1)).astype(np.float32)


class Zipped:
    """Pictures in an archive that is opened once."""

    def __init__(self, folder: Path) -> None:
        with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
            for k in range(12):
                with archive.open(f"{k}.png", "w") as file:
                    Image.fromarray(np.full((32, 32), 20 * k, np.uint8)).save(file, "png")
        self.archive = zipfile.ZipFile(folder / "pictures.zip")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> np.ndarray:
        with self.archive.open(f"{index}.png") as file:
            return np.asarray(Image.open(file), np.float32)[None]


class Table:
    """Rows of a database."""

    def __init__(self, folder: Path) -> None:
        with sqlite3.connect(folder / "table.db") as making:
            making.execute("create table points (number integer primary key, x real, y real)")
            making.executemany("insert into points values (?, ?, ?)", [(k, k / 7, k % 3) for k in range(120)])
        making.close()
        self.database = sqlite3.connect(f"file:{folder / 'table.db'}?mode=ro", uri=True)

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.database.execute("select x, y from points where number / 10 = ? order by number", (index,))
        points = np.array(rows.fetchall(), np.float32)
        return points[:, 0], points[:, 1].astype(np.int64)


class Resized:
    """Pictures that TensorFlow cuts and resizes at random."""

    def __init__(self, folder: Path) -> None:
        self.pictures = np.random.default_rng(0).integers(0, 255, (32, 96, 96, 3), np.uint8)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> np.ndarray:
        import tensorflow as tf

        part = tf.image.random_crop(self.pictures[4 * index : 4 * index + 4], (4, 80, 80, 3))
        small: np.ndarray = tf.cast(tf.image.resize(part, (64, 64)), tf.float32).numpy() / 255
        return small


def flowing(folder: Path) -> Any:
    """Keras's own image iterator over a folder of classes."""
    for name in ("cells", "cracks"):
        (folder / name).mkdir()
        for k in range(6):
            Image.fromarray(np.full((40, 40, 3), 20 * k, np.uint8)).save(folder / name / f"{k}.png")
    generator = keras.src.legacy.preprocessing.image.ImageDataGenerator(rotation_range=20, rescale=1 / 255)
    return generator.flow_from_directory(folder, target_size=(32, 32), batch_size=3, seed=1)
