"""Data sets of other libraries as sources: torch, Hugging Face, Grain; pandas, polars and pyarrow frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import grain
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch.utils.data
from PIL import Image

import procession
from procession import Loader, from_frame
from tests.conftest import ExecutorName
from tests.support import streams

ROWS = 50


# --- torch ---


class Pictures(torch.utils.data.Dataset[Any]):
    """Reads image files, as a torch user writes it."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        with Image.open(self.files[index]) as image:
            x = torch.from_numpy(np.asarray(image, np.float32)) / 255
        return x + 0.1 * torch.randn(x.shape), index


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    for number in range(10):
        Image.fromarray(random.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def torch_map(folder: Path) -> Any:
    return Pictures(folder)


def torch_subset(folder: Path) -> Any:
    parts = torch.utils.data.random_split(Pictures(folder), [7, 3], torch.Generator().manual_seed(1))
    return torch.utils.data.ConcatDataset([parts[1], parts[0]])


def torch_tensors(folder: Path) -> Any:
    return torch.utils.data.TensorDataset(torch.arange(40.0).reshape(20, 2), torch.arange(20))


# --- Hugging Face ---


def hugging_face(folder: Path) -> Any:
    return datasets.Dataset.from_dict({"text": [f"line {i}" * i for i in range(ROWS)], "label": list(range(ROWS))})


def hugging_face_numpy(folder: Path) -> Any:
    data = datasets.Dataset.from_dict({"x": np.arange(2.0 * ROWS).reshape(ROWS, 2), "y": np.arange(ROWS)})
    return data.filter(lambda row: row["y"] % 3 != 1).with_format("numpy")


def hugging_face_on_disk(folder: Path) -> Any:
    data = datasets.Dataset.from_dict({"file": [str(path) for path in sorted(folder.glob("*.png"))]})
    data.cast_column("file", datasets.Image()).save_to_disk(folder / "saved")
    loaded = datasets.load_from_disk(str(folder / "saved"))  # its table is a mapped file
    return loaded.with_transform(lambda rows: {"pixels": [np.asarray(image) for image in rows["file"]]})


# --- Grain ---


def grain_map(folder: Path) -> Any:
    return (
        grain.MapDataset.source(list(range(ROWS)))
        .seed(3)
        .shuffle()
        .map(lambda i: {"i": i, "square": np.float32(i * i)})
    )


def grain_random(folder: Path) -> Any:
    return grain.MapDataset.range(ROWS).seed(3).random_map(lambda i, rng: i + rng.uniform())


OTHERS = [
    torch_map,
    torch_subset,
    torch_tensors,
    hugging_face,
    hugging_face_numpy,
    hugging_face_on_disk,
    grain_map,
    grain_random,
]


@pytest.mark.filterwarnings("ignore:.*")  # of the libraries themselves
@pytest.mark.parametrize("make", OTHERS)
def test_a_data_set_of_another_library(make: Any, folder: Path, tmp_path: Path) -> None:
    source = make(folder)
    options = {"batch_size": 4, "shuffle": True, "seed": 2, "epochs": 2}
    expected = streams(source, "serial", **options)
    assert streams(source, "processes", **options) == expected
    assert sum(len(epoch) for epoch in expected) == 2 * -(-len(source) // 4)


def test_batches_of_grain(executor: ExecutorName) -> None:
    source = grain.MapDataset.range(10).batch(4)
    with Loader(source, executor=executor, workers=2) as loader:
        assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


# --- frames ---

COLUMNS: dict[str, Any] = {
    "age": np.arange(ROWS),
    "height": np.linspace(1.5, 2.0, ROWS),
    "name": [f"n{i}" for i in range(ROWS)],
    "ill": np.arange(ROWS) % 2 == 0,
    "weight": np.ones(ROWS, "float32"),
}
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


@pytest.mark.parametrize("library", FRAMES)
def test_columns_of_a_frame(library: str, executor: ExecutorName) -> None:
    frame = FRAMES[library](COLUMNS)
    spec: Any = {"table": ["age", "height"], "name": "name"}
    source = from_frame(frame, spec, "ill", "weight", dtype="float32")
    with Loader(source, batch_size=16, executor=executor, workers=2) as loader:
        batches = list(loader)
    x = np.concatenate([x["table"] for x, _, _ in batches])
    assert x.dtype == np.float32
    assert np.array_equal(x, np.stack([COLUMNS["age"], COLUMNS["height"]], 1).astype("float32"))
    assert np.concatenate([x["name"] for x, _, _ in batches]).tolist() == COLUMNS["name"]
    assert [y.shape for _, y, _ in batches] == [(16,), (16,), (16,), (2,)]
    assert batches[0][1].dtype == batches[0][2].dtype == np.float32


@pytest.mark.parametrize("library", FRAMES)
def test_a_frame_whose_columns_are_no_arrays(library: str) -> None:
    frame = FRAMES[library]({**COLUMNS, "gap": [None, *COLUMNS["name"][1:]]})
    with pytest.raises(procession.SourceTypeError, match="no column 'agee'; it has 'age', 'height', 'name'"):
        from_frame(frame, "agee")
    with pytest.raises(procession.SourceTypeError, match=r"column 'gap' of the frame holds .* in row 0"):
        from_frame(frame, ["gap"])
    with pytest.raises(procession.SourceTypeError, match="weights='weight' was given without targets"):
        from_frame(frame, "age", weights="weight")
    with pytest.raises(procession.SourceTypeError, match="empty list of columns"):
        from_frame(frame, [])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_source_that_holds_a_frame(library: str, tmp_path: Path) -> None:
    """As people write it: row by row."""
    frame = FRAMES[library](COLUMNS)

    class Rows:
        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, i: int) -> Any:
            row = frame.iloc[i].to_dict() if library == "pandas" else frame.row(i, named=True)
            return np.array([row["age"], row["height"]]), row["name"]

    expected = streams(Rows(), "serial", batch_size=8)
    assert streams(Rows(), "processes", batch_size=8) == expected
