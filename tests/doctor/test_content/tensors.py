"""Sources that hold torch's tensors."""

from __future__ import annotations

from typing import Any

import torch


class AddsInPlace:
    def __init__(self) -> None:
        self.x = torch.ones(64, 5)

    def __len__(self) -> int:
        return 64

    def __getitem__(self, i: int) -> Any:
        row = self.x[i]
        row.add_(1)
        return row


class Adds(AddsInPlace):
    def __getitem__(self, i: int) -> Any:
        return self.x[i] + 1
