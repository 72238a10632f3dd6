"""Planted faults of sources that use a framework, or whose module imports one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


class Rectifies:
    """A framework for what numpy does."""

    def __init__(self) -> None:
        self.rows = np.ones((64, 8), np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        rows = self.rows[4 * i : 4 * i + 4].copy()
        found: np.ndarray = torch.relu(torch.from_numpy(rows)).numpy()  # planted: PRC401
        return found


class MovesToTheGpu:
    """Batches that are put on the device by the source."""

    def __init__(self) -> None:
        self.rows = np.zeros((64, 8), np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> Any:
        rows = torch.tensor(self.rows[4 * i : 4 * i + 4])
        return rows.cuda()  # planted: PRC402


class ReturnsTensors:
    """Tensors instead of arrays."""

    def __init__(self) -> None:
        self.rows = np.zeros((64, 8), np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.tensor(self.rows[4 * i : 4 * i + 4])  # planted: PRC307


class NeedsNoFramework:  # planted: PRC405 source
    """Beside a model that does, in one module."""

    def __init__(self) -> None:
        self.rows = np.zeros((64, 8), np.float32)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> np.ndarray:
        return self.rows[4 * i : 4 * i + 4]
