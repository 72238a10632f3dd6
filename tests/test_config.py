"""Parameters as plain values; what is refused is in test_bad_input."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import pytest

from procession.config import Config, Faults, make_config, usable_cores

DEFAULTS: dict[str, Any] = {
    "batch_size": None,
    "drop_remainder": False,
    "shuffle": None,
    "seed": 7,
    "shard": None,
    "ordered": True,
    "workers": "auto",
    "executor": "auto",
    "prefetch": "auto",
    "faults": Faults(),
}


def config(**changes: Any) -> Config:
    return make_config(**{**DEFAULTS, **changes})


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({}, "executor", "processes"),
        ({}, "workers", usable_cores()),
        ({}, "prefetch", None),
        ({}, "seed", 7),
        ({"workers": 0}, "executor", "serial"),
        ({"workers": 0, "executor": "threads"}, "executor", "serial"),
        ({"executor": "serial", "workers": 5}, "workers", 1),
        ({"workers": np.int64(3)}, "workers", 3),
        ({"batch_size": np.int8(3)}, "batch_size", 3),
        ({"seed": 2**80}, "seed", 2**80),
        ({"prefetch": 4}, "prefetch", 4),
        ({"shuffle": False}, "shuffle", False),
    ],
)
def test_what_is_meant(changes: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(config(**changes), name) == value
    assert type(getattr(config(**changes), name)) is type(value)


def test_a_seed_is_drawn_from_random() -> None:
    random.seed(5)
    one = config(seed=None).seed
    assert config(seed=None).seed != one
    random.seed(5)
    assert config(seed=None).seed == one


def test_usable_cores_are_those_of_the_affinity_mask() -> None:
    before = os.sched_getaffinity(0)
    assert 1 <= usable_cores() <= len(before)
    os.sched_setaffinity(0, [min(before)])
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
