"""The examples that people paste: stock Keras 3 fails on them, under `procession run` they train."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.adapters.conftest import LEGACY_VARIABLE, ROOT, SETTINGS, folder_with

EXAMPLES = {
    "race": "procession: Table: 96 batches (2 MB) in 3 epochs by 4 workers (processes)",
    "partitioned": "procession: 4 times Table: 96 batches (2 MB) in 3 epochs by 2 workers (processes)",
    "tf_data": "procession: no plain PyDataset or Sequence was read by workers",
}
TIMES = re.compile(r" - \d+m?s - \d+\w*/\w+")


def trained(example: str, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run an example, under `procession run` if there are options."""
    command = ["-m", "procession", "run", *options] if options else []
    return subprocess.run(
        [sys.executable, *command, f"examples/seed/{example}.py"],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", **SETTINGS, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_fails_with_stock_keras_and_trains_here(example: str) -> None:
    stock = trained(example)
    assert stock.returncode == 1
    assert "unexpected keyword argument" in stock.stderr or "Unrecognized data type" in stock.stderr
    first, second = (trained(example, "--seed", "5") for _ in range(2))
    for done in (first, second):
        assert done.returncode == 0, done.stderr
        assert EXAMPLES[example] in done.stderr
    losses = [TIMES.sub("", done.stdout) for done in (first, second)]
    assert len(re.findall(r"loss: \d", losses[0])) == 3
    assert losses[0] == losses[1]
    noted = "workers, use_multiprocessing of fit() have no effect on a tf.data.Dataset" in first.stderr
    assert noted == (example == "tf_data")


@pytest.mark.parametrize("example", ["race", "partitioned"])
def test_an_example_on_legacy_keras(example: str) -> None:
    path = os.pathsep.join(filter(None, [folder_with(LEGACY_VARIABLE, "tf_keras"), os.environ.get("PYTHONPATH")]))
    done = trained(example, "--seed", "5", TF_USE_LEGACY_KERAS="1", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert EXAMPLES[example] in done.stderr
    assert len(re.findall(r"loss: \d", done.stdout)) == 3


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_an_example_on_another_backend(backend: str) -> None:
    done = trained("race", "--seed", "5", KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr
    assert "in 3 epochs by 4 workers (processes)" in done.stderr
