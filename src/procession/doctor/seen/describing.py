"""Values in a few words, for evidence."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

SHOWN = 60  # characters of a value
PLAIN = (type(None), bool, int, str, bytes)
CONTAINERS = (list, tuple, dict, set, frozenset, deque)


def described(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, np.ndarray):
        some = f": {_row(value.ravel()[:6].tolist(), value.size)}" if value.size and value.dtype != object else ""
        return f"{value.dtype} array {value.shape}{some}"
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    if isinstance(value, (*PLAIN, np.generic)):
        return short(value.item() if isinstance(value, np.generic) else value)
    if isinstance(value, CONTAINERS):
        if (
            isinstance(value, (list, tuple))
            and len(value) > 0
            and all(isinstance(each, (int, float)) for each in value[:6])
        ):
            return f"{type(value).__name__} of {len(value)}: {_row(value[:6], len(value))}"
        return f"{type(value).__name__} of {len(value)}"
    return f"Tensor {tuple(value.shape)}" if is_tensor(value) else type(value).__qualname__


def is_tensor(value: Any) -> bool:
    """Whether a value is one of torch's tensors, which can be written to."""
    return any(each.__module__ == "torch" and each.__name__ == "Tensor" for each in type(value).__mro__)


def _row(some: Any, length: int) -> str:
    numbers = ", ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in some)
    return f"[{numbers}{', …' if length > len(some) else ''}]"


def short(value: Any) -> str:
    """Its repr, or the beginning of it."""
    text = repr(value[:SHOWN] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
