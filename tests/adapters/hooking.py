"""What runs in a process of its own, before Keras is imported there; imports no framework."""

from __future__ import annotations

import importlib.abc
import os
import sys
from typing import Any

import numpy as np

import procession
from procession.adapters.awaiting import Awaiting

FRAMEWORKS = ("keras", "tf_keras", "tensorflow", "torch", "jax")


class Batches:
    """A source that needs no Keras."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        return np.full((2, 3), i, "float32"), np.full((2, 1), i, "float32")


def imported() -> list[str]:
    """Return the frameworks that have been imported."""
    return [name for name in FRAMEWORKS if name in sys.modules]


def loader_first(executor: Any) -> dict[str, Any]:
    """Make and read a Loader, import Keras, then fit on it; and on one made afterwards."""
    before = os.environ["KERAS_BACKEND"]
    with procession.Loader(Batches(), executor=executor, workers=2) as loader:
        batches = [int(x[0, 0]) for x, _ in loader]
        without = imported()
        import keras

        awaited = [finder.name for finder in sys.meta_path if isinstance(finder, Awaiting)]
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=False)
        first = model.fit(loader, epochs=2, verbose=0).history["loss"]
    with procession.Loader(Batches(), executor=executor, workers=2) as loader:
        second = model.fit(loader, epochs=3, verbose=0).history["loss"]
    return {
        "batches": batches,
        "imported": without,
        "backend": [before, os.environ["KERAS_BACKEND"], keras.backend.backend()],
        "awaited": sorted(awaited),
        "epochs": [len(first), len(second)],
    }


class Blocked(importlib.abc.MetaPathFinder):
    """Lets no framework be imported."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.split(".", maxsplit=1)[0] in FRAMEWORKS:
            raise ImportError(f"{name} is not installed")


def without_keras(executor: Any) -> dict[str, Any]:
    """Loop over a Loader where Keras and the frameworks cannot be imported."""
    sys.meta_path.insert(0, Blocked())
    with procession.Loader(Batches(), executor=executor, workers=2, seed=1, shuffle=True) as loader:
        epochs = [[int(x[0, 0]) for x, _ in loader] for _ in range(2)]
    with procession.Loader((np.arange(6.0), np.arange(6)), batch_size=4, executor=executor, workers=2) as loader:
        rows = [part.tolist() for _, part in loader]
    return {"epochs": [sorted(epoch) for epoch in epochs], "rows": rows, "imported": imported()}
