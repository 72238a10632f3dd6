"""A Loader of a PyDataset does in fit, evaluate and predict what the PyDataset does there."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.adapters.cases import (
    CASES,
    EVERY_EXECUTOR,
    EVERYWHERE,
    OF_EACH_VERSION,
    ON_TENSORFLOW,
    ON_TENSORFLOW_AND_JAX,
)
from tests.adapters.conftest import NEWEST, OLDEST, Lab
from tests.conftest import ExecutorName


@pytest.mark.parametrize("name", EVERYWHERE)
@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_as_a_py_dataset(lab: Lab, name: str) -> None:
    ours, stock, error = both(lab, name, "processes")
    assert ours == stock, error


@pytest.mark.parametrize("name", EVERY_EXECUTOR)
@pytest.mark.parametrize("other", ["serial", "threads"])
@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_as_a_py_dataset_without_processes(lab: Lab, name: str, other: ExecutorName) -> None:
    ours, stock, error = both(lab, name, other)
    assert ours == stock, error


@pytest.mark.parametrize("name", OF_EACH_VERSION)
@pytest.mark.parametrize("lab", OLDEST, indirect=True)
def test_as_a_py_dataset_on_the_oldest_keras(lab: Lab, name: str) -> None:
    ours, stock, error = both(lab, name, "processes")
    assert ours == stock, error


@pytest.mark.parametrize("name", ON_TENSORFLOW)
@pytest.mark.parametrize("lab", ["tensorflow", "tensorflow-oldest"], indirect=True)
def test_what_only_tensorflow_takes(lab: Lab, name: str, executor: ExecutorName) -> None:
    ours, stock, error = both(lab, name, executor)
    assert ours == stock, error


@pytest.mark.parametrize("name", ON_TENSORFLOW_AND_JAX)
@pytest.mark.parametrize("lab", ["tensorflow", "tensorflow-oldest", "jax", "jax-oldest"], indirect=True)
def test_what_torch_does_not_take(lab: Lab, name: str, executor: ExecutorName) -> None:
    ours, stock, error = both(lab, name, executor)
    assert ours == stock, error


def both(lab: Lab, name: str, executor: ExecutorName) -> tuple[Any, Any, str]:
    """Return what is to be equal, to the last bit: batches in their order, weights, history, results; and our error."""
    report = lab.ask("differential.loaded", name=name, executor=executor)
    stock = lab.ask("differential.stock", name=name)
    error, limit = report.pop("error"), stock.pop("error")
    expected = CASES[name].expected
    if limit and not error:  # a Loader may do more
        assert expected is not None
        return report["trace"], expected, error
    known = expected is not None and not (lab.oldest or limit)
    ours = {**report, "finite": all_finite(report["weights"]), "expected": report["trace"] if known else None}
    return ours, {**stock, "finite": True, "expected": expected if known else None}, error


def all_finite(value: Any) -> bool:
    """Say whether all numbers in nested lists are finite: NaN would equal nothing, and say nothing."""
    return all(map(all_finite, value)) if isinstance(value, list) else math.isfinite(value)
