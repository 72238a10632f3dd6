"""Legacy Keras 2, as `tf_keras`: each test in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.conftest import Lab

WHOLE = [0, 1, 2, 3, 4, 5]


@pytest.fixture
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A process with tf_keras."""
    made = Lab("tensorflow-legacy", tmp_path_factory.mktemp("legacy") / "stderr.txt")
    yield made
    made.close()


def test_loaders_in_fit_evaluate_and_predict(legacy: Lab) -> None:
    report = legacy.ask("legacy.loaders")
    assert report["plain"] == {"seen": WHOLE * 2, "elsewhere": True, "weighted": []}
    assert report["hooks"] == 2
    one, two = report["shuffled"][:6], report["shuffled"][6:]
    assert sorted(one) == sorted(two) == WHOLE
    assert one != two
    assert report["few steps"] == [0, 1, 2, 3] * 2
    assert report["many steps"] == [*WHOLE, 0, 1] * 2
    assert report["weighted"] == [1, 1, 3, 3]
    assert report["evaluated"]
    assert report["predicted"] == [12, 1]


def test_plain_sequences_after_install(legacy: Lab) -> None:
    report = legacy.ask("legacy.plain")
    assert report["processes"] == {"seen": WHOLE, "elsewhere": True, "weighted": []}
    assert report["threads"] == {"seen": WHOLE, "elsewhere": False, "weighted": []}
    assert report["left to Keras"] == {"seen": WHOLE, "elsewhere": False, "weighted": []}
    assert report["partitions"] == [0, 0, 1, 1]
    assert report["read"] == [["processes", 2], ["threads", 2], ["processes", 2]]
    assert report["uninstalled"] == [0, 1, 2]
    assert report["arrays"] == [7, 7]


def test_an_exception_comes_out_as_itself(legacy: Lab) -> None:
    report = legacy.ask("legacy.failing")
    assert report["told"] == ["OSError: file 0 is broken", "OSError: file 4 is broken"]
