"""A Keras in which the places are elsewhere: it is told, and left as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adapters.conftest import OLDEST_VARIABLES, ROOT, SETTINGS, folder_with

SCRIPT = """
import numpy as np
import procession

procession.install(workers=2)
import keras


class Numbered(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return np.full((2, 3), i, "float32"), np.zeros((2, 1), "float32")


model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse", run_eagerly=True)
print(len(model.fit(Numbered(), epochs=2, verbose=0).history["loss"]), keras.__file__)
"""


def replaced(folder: Path, files: list[str], old: str, new: str) -> None:
    """Replace a text in files, in each of which it is."""
    for name in files:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))


def function_renamed(keras: Path) -> str:
    files = ["src/trainers/data_adapters/__init__.py", "src/trainers/epoch_iterator.py"]
    replaced(keras, files, "get_data_adapter", "adapter_for")
    return "has no keras.src.trainers.data_adapters.get_data_adapter"


def module_renamed(keras: Path) -> str:
    (keras / "src/trainers/data_adapters").rename(keras / "src/trainers/adapters")
    for path in keras.rglob("*.py"):
        text = path.read_text()
        if "data_adapters" in text:
            path.write_text(text.replace("data_adapters", "adapters"))
    return "has no keras.src.trainers.data_adapters.py"


@pytest.mark.parametrize("change", [function_renamed, module_renamed])
def test_a_keras_with_other_places_is_left_as_it_is(change: Callable[[Path], str], tmp_path: Path) -> None:
    shutil.copytree(Path(folder_with(OLDEST_VARIABLES["torch"], "keras"), "keras"), tmp_path / "keras")
    told = change(tmp_path / "keras")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, **SETTINGS, "KERAS_BACKEND": "torch", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", str(tmp_path / "keras" / "__init__.py")]
    assert told in done.stderr
    assert done.stderr.count("IgnoredWarning") == 1
