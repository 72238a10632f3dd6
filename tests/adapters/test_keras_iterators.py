"""Keras's own image iterators (`ImageDataGenerator().flow(...)` and its like) in a Loader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.conftest import Lab
from tests.conftest import ExecutorName
from tests.support import environment, run_script

TENSORFLOW = pytest.mark.parametrize("lab", ["tensorflow"], indirect=True)
BOTH_AGES = pytest.mark.parametrize("lab", ["tensorflow", "tensorflow-oldest"], indirect=True)


def place(folder: Path) -> dict[str, Any]:
    return {"folder": str(folder)}


@BOTH_AGES
@pytest.mark.parametrize("kind", ["arrays", "directory"])
def test_it_gives_what_keras_gives_bit_by_bit(lab: Lab, kind: str, tmp_path: Path) -> None:
    assert lab.ask("flows.as_stock", **place(tmp_path), kind=kind, options={"seed": 7}) == []


@TENSORFLOW
@pytest.mark.parametrize("kind", ["one batch", "weighted", "split", "dataframe", "own transform", "saving"])
def test_iterators_of_every_kind(lab: Lab, kind: str, tmp_path: Path) -> None:
    assert lab.ask("flows.as_stock", **place(tmp_path), kind=kind, options={"seed": 7}) == []


@TENSORFLOW
@pytest.mark.parametrize("kind", ["arrays", "own iterator", "own from the base"])
def test_iterators_that_do_not_shuffle(lab: Lab, kind: str, tmp_path: Path) -> None:
    assert lab.ask("flows.as_stock", **place(tmp_path), kind=kind, options={"seed": 7, "shuffle": False}) == []


@TENSORFLOW
def test_threads_give_the_same_images(lab: Lab, tmp_path: Path) -> None:
    assert lab.ask("flows.as_stock", **place(tmp_path), kind="arrays", options={"seed": 7, "augmented": False}) == []


@TENSORFLOW
def test_an_iterator_that_has_begun_goes_on(lab: Lab, tmp_path: Path) -> None:
    assert lab.ask("flows.begun_before", **place(tmp_path)) == []


@TENSORFLOW
@pytest.mark.parametrize("kind", ["arrays", "dataframe"])
def test_without_a_seed_each_image_comes_once_by_the_seed_of_the_loader(lab: Lab, kind: str, tmp_path: Path) -> None:
    assert lab.ask("flows.unseeded", **place(tmp_path), kind=kind) == []


@TENSORFLOW
@pytest.mark.parametrize("seed", [None, 3])
def test_resumed_in_the_middle(lab: Lab, seed: int | None, tmp_path: Path) -> None:
    assert lab.ask("flows.resumed", **place(tmp_path), seed=seed)


@TENSORFLOW
def test_several_and_parts_of_one(lab: Lab, tmp_path: Path) -> None:
    assert lab.ask("flows.in_partitions", **place(tmp_path)) == []


@TENSORFLOW
def test_workers_save_pictures(lab: Lab, tmp_path: Path) -> None:
    assert lab.ask("flows.saved", **place(tmp_path))


def test_fit_trains_on_what_keras_makes(lab: Lab, tmp_path: Path) -> None:
    trained, measure = lab.ask("flows.fitted", **place(tmp_path), executor="processes")
    assert trained == pytest.approx(measure, rel=1e-4, abs=1e-7) and any(measure)


@TENSORFLOW
def test_fit_with_the_other_executors(lab: Lab, tmp_path: Path, executor: ExecutorName) -> None:
    trained, measure = lab.ask("flows.fitted", **place(tmp_path), executor=executor)
    if executor == "threads":  # they draw from one generator
        assert len(trained) == len(measure) and any(trained)
    else:
        assert trained == pytest.approx(measure, rel=1e-4, abs=1e-7)


def test_those_of_the_legacy_keras(tmp_path: Path) -> None:
    folder = os.environ.get("PROCESSION_LEGACY_KERAS")
    assert folder, "PROCESSION_LEGACY_KERAS must name the folder with tf_keras, as `make test` sets it"
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys\nfrom tests.adapters import flows\nprint(json.dumps(flows.everything(sys.argv[1])))\n"
    )
    path = os.pathsep.join([folder, environment()["PYTHONPATH"]])
    settings = environment(PYTHONPATH=path, PROCESSION_TEST_TF_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3")
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not any(json.loads(done.stdout.splitlines()[-1]).values()), done.stdout


def test_iterators_with_an_index_are_taken(tmp_path: Path) -> None:
    script = """
import sys
from procession import Loader

class Both:
    position = 0
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return i
    def __iter__(self):
        return self
    def __next__(self):
        self.position += 1
        return self.position

if __name__ == "__main__":
    with Loader(Both(), workers=2) as loader:
        assert list(loader) == [0, 1, 2, 3]
    assert "keras" not in sys.modules
"""
    run_script(script, tmp_path)
