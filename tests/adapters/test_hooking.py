"""When Keras is imported, and that it need not be: each test in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.conftest import NEWEST, OLDEST, Lab
from tests.conftest import ExecutorName


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A process that has imported nothing yet."""
    made = Lab(request.param, tmp_path_factory.mktemp(request.param) / "stderr.txt")
    yield made
    made.close()


@pytest.mark.parametrize("fresh", [*NEWEST, *OLDEST], indirect=True)
def test_a_loader_made_before_keras_is_imported(fresh: Lab) -> None:
    assert fresh.ask("hooking.loader_first", executor="processes") == {
        "batches": [0, 1, 2, 3],
        "imported": [],
        "backend": [fresh.backend] * 3,
        "awaited": ["tf_keras", "tf_keras.src.engine.data_adapter"],  # keras need not be awaited any more
        "epochs": [2, 3],
    }


@pytest.mark.parametrize("fresh", ["torch"], indirect=True)
def test_without_keras(fresh: Lab, executor: ExecutorName) -> None:
    assert fresh.ask("hooking.without_keras", executor=executor) == {
        "epochs": [[0, 1, 2, 3]] * 2,
        "rows": [[0, 1, 2, 3], [4, 5]],
        "imported": [],
    }
