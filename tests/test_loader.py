"""`Loader` where Keras is not, and in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from procession import Loader
from tests.conftest import ExecutorName
from tests.support import Made, run_script

WITHOUT_KERAS = """
import sys
for name in ("keras", "tensorflow", "torch", "jax", "tf_keras"):
    sys.modules[name] = None   # as if it were not installed: importing it raises ImportError

import procession
import numpy as np

for executor in ("serial", "threads", "processes"):
    with procession.Loader((np.arange(6.0), np.arange(6)), batch_size=4, workers=2, executor=executor) as loader:
        assert [y.tolist() for x, y in loader] == [[0, 1, 2, 3], [4, 5]]
print("whole")
"""


def test_a_plain_loop_needs_no_keras(tmp_path: Path) -> None:
    done = run_script(WITHOUT_KERAS, tmp_path, check=False)
    assert (done.stdout, done.stderr) == ("whole\n", "")


def test_what_a_loader_says_of_itself(executor: ExecutorName) -> None:
    source = Made(abs, 3)
    with Loader(source, executor=executor, workers=1, seed=4) as loader:
        assert loader.source is source
        assert repr(loader) == f"Loader(Made, executor={executor!r}, workers=1, seed=4)"
    assert repr(loader) == f"Loader(Made, executor={executor!r}, workers=1, seed=4, closed)"


def test_statistics_are_a_snapshot(executor: ExecutorName) -> None:
    with Loader(Made(abs, 3), executor=executor, workers=1) as loader:
        before = loader.statistics()
        list(loader)
        assert (before.batches, before.epochs) == (0, 0)
        assert (loader.statistics().batches, loader.statistics().epochs) == (3, 1)
        frozen: Any = before
        with pytest.raises(AttributeError):
            frozen.batches = 5
