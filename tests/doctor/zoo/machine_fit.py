"""A planted fault in the call of `fit`: apart, since all sources of a file may be the one that it is given."""

from __future__ import annotations

from typing import Any

import numpy as np

STEPS = 500


class StepsTooFar:
    """It is trained with more steps an epoch than it has batches."""

    def __init__(self) -> None:
        self.rows = np.arange(256, dtype=np.float32).reshape(64, 4)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        return self.rows[4 * i : 4 * i + 4]

    def train(self, model: Any) -> None:
        """Train a model."""
        model.fit(self, epochs=3, steps_per_epoch=STEPS)  # planted: PRC314
