"""Random numbers that sources of the tests ask another module for."""

from __future__ import annotations

from typing import Any

import numpy as np


def noisy(rows: Any) -> Any:
    return rows + np.random.RandomState().normal()


def jitter() -> float:
    return np.random.uniform(-1, 1)
