"""The hook through which Keras learns of `Loader`: its `get_data_adapter` is asked first, and gives anything else on.

Without it, Keras does not know the type; and a ready-made adapter handed to `fit` loses `class_weight` and `shuffle`,
which only `get_data_adapter` is told. The hook is set where Keras has been imported, else as soon as it is.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

MODULE = "keras.src.trainers.data_adapters"  # from Keras 3.0 to 3.15
_MARK = "_procession_hook"


def ensure() -> None:
    """Set the hook, now or when Keras is imported."""
    module = sys.modules.get(MODULE)
    if module is not None and hasattr(module, "get_data_adapter"):
        _set(module)
    elif not any(isinstance(finder, _Awaiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Awaiting())


def _set(module: ModuleType) -> None:
    original = module.get_data_adapter
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def get_data_adapter(x: Any = None, *args: Any, **keywords: Any) -> Any:
        adapter = getattr(type(x), "_keras_adapter", None)  # a Loader's
        if adapter is None:
            return original(x, *args, **keywords)
        return adapter(x, **_arguments(*args, **keywords))

    setattr(get_data_adapter, _MARK, True)
    module.get_data_adapter = get_data_adapter  # type: ignore[attr-defined]


def _arguments(
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,  # noqa: ARG001 - batches have the size that the source gives them
    steps_per_epoch: int | None = None,
    shuffle: bool = False,
    class_weight: Any = None,
) -> dict[str, Any]:
    """What of `get_data_adapter`'s arguments concerns a Loader."""
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"`{name}` was given beside a procession.Loader: its batches hold the targets and weights themselves, "
                "as a PyDataset's do. Return (inputs, targets) or (inputs, targets, sample_weights) from the source"
            )
    return {"shuffle": bool(shuffle), "class_weight": class_weight, "steps_per_epoch": steps_per_epoch}


class _Awaiting(importlib.abc.MetaPathFinder):
    """Waits for Keras's module to be imported, sets the hook, and goes."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Hooking(spec.loader)
        return spec


class _Hooking(importlib.abc.Loader):
    """Runs the module as its own loader does, then sets the hook."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.__loader__ = self._loader
        _set(module)
