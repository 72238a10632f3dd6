"""torch's generators of random numbers, which not every version of torch can pickle."""

from __future__ import annotations

import importlib
from typing import Any

from procession.capture.handles.kinds import travels

_torch: Any = importlib.import_module("torch")  # there already, where a source holds something of it


@travels(_torch.Generator)
def generator(value: Any) -> Any:
    """On the CPU, as all that workers have; one of a GPU begins from its seed, since its state means nothing there."""
    state = value.get_state() if value.device.type == "cpu" else None
    return restored, (value.initial_seed(), state)


def restored(seed: int, state: Any) -> Any:
    """A generator in the same state."""
    made = _torch.Generator()
    if state is None:
        return made.manual_seed(seed)
    made.set_state(state)
    return made
