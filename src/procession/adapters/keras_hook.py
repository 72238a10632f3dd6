"""The two places where Keras chooses what reads its data, and what is set there.

    fit(x, …) ─► Keras 3: get_data_adapter(x, …)           a Loader ──────────► its adapter
                 Keras 2: select_data_adapter(x, y)(x, …)   a plain dataset ───► a Loader, if one is to read it
                                                            anything else ─────► Keras's own

Without it, Keras does not know the type `Loader`; and a ready-made adapter handed to `fit` loses `class_weight` and
`shuffle`, which only these functions are told. Each is set where Keras has been imported, else as soon as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from procession.adapters.awaiting import TakeOut, check_place, moved, nothing, set_when_imported
from procession.adapters.epochs import Streamed
from procession.adapters.keras_calls import LEGACY_MODELS, MODELS, Asked, Plain, current, stand_around

# From Keras 3.1 to 3.15, and tf_keras 2.16 to 2.21.
PLACES = (
    ("keras.src.trainers.data_adapters", "get_data_adapter"),
    ("tf_keras.src.engine.data_adapter", "select_data_adapter"),
)


class Hook:
    """What is set in Keras, and how to take it out again."""

    def __init__(self) -> None:
        self._plain: Plain | None = None
        self._loaders = False  # somebody has made a Loader: the places have to be kept
        self._making = False  # a Loader is being made here
        self._undo: list[TakeOut] = []  # what makes Keras as it was
        self._undo_calls: list[TakeOut] = []

    def ensure(self) -> None:
        """See that Keras knows a `Loader`."""
        self._loaders = self._loaders or not self._making
        self._set_places()

    def install(self, plain: Plain) -> None:
        """Ask `plain` for a loader of each dataset that Keras is given."""
        _run(self._undo_calls)
        self._plain = plain
        self._set_places()
        for module in (MODELS, LEGACY_MODELS):
            set_when_imported(module, functools.partial(stand_around, plain=plain), self._undo_calls)

    def uninstall(self) -> None:
        """Make Keras as it was, but for what a Loader needs, if there is one."""
        self._plain = None
        _run(self._undo_calls)
        if not self._loaders:
            _run(self._undo)

    def _set_places(self) -> None:
        for module, name in PLACES if not self._undo else ():
            set_when_imported(module, functools.partial(self._set_place, name=name), self._undo)
            set_when_imported(module.partition(".")[0], functools.partial(check_place, place=module), self._undo)

    def _set_place(self, module: ModuleType, name: str) -> TakeOut:
        original = getattr(module, name, None)
        if original is None:
            moved(module.__name__, name)
            return nothing
        choose = self._adapter if name == "get_data_adapter" else self._legacy_adapter
        setattr(module, name, functools.wraps(original)(functools.partial(choose, original)))
        return lambda: setattr(module, name, original)

    def _adapter(self, original: Callable[..., Any], x: Any = None, *args: Any, **keywords: Any) -> Any:
        loader = self._loader(x)
        if loader is None:
            return original(x, *args, **keywords)
        from procession.adapters.keras import LoaderAdapter

        return LoaderAdapter(loader, **_arguments(*args, **keywords))

    def _legacy_adapter(self, original: Callable[..., Any], x: Any, y: Any = None) -> Any:
        def adapter(x: Any, y: Any = None, **keywords: Any) -> Any:
            loader = self._loader(x, Asked(*(keywords.get(name) for name in Asked._fields)))
            if loader is None:
                return original(x, y)(x, y, **keywords)
            from procession.adapters.tf_keras import LegacyAdapter

            _check_alone(y, keywords.get("sample_weights"))
            return LegacyAdapter(loader, shuffle=bool(keywords.get("shuffle")), steps=keywords.get("steps"))

        return adapter if isinstance(x, Streamed) or self._plain is not None else original(x, y)

    def _loader(self, x: Any, asked: Asked | None = None) -> Any:
        if isinstance(x, Streamed) or self._plain is None:
            return x if isinstance(x, Streamed) else None
        call = current()
        self._making = True
        try:
            if call is None:
                return self._plain.loader(x, asked or Asked())
            return call.loader(x, asked or call.asked)
        finally:
            self._making = False


def _run(undo: list[TakeOut]) -> None:
    while undo:
        undo.pop()()


def _arguments(
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,  # noqa: ARG001 - batches have the size that the source gives them
    steps_per_epoch: int | None = None,
    shuffle: bool = False,
    class_weight: Any = None,
) -> dict[str, Any]:
    """What of `get_data_adapter`'s arguments concerns a Loader."""
    _check_alone(y, sample_weight)
    return {"shuffle": bool(shuffle), "class_weight": class_weight, "steps_per_epoch": steps_per_epoch}


def _check_alone(y: Any, sample_weight: Any) -> None:
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"`{name}` was given beside a procession.Loader: its batches hold the targets and weights themselves, "
                "as a PyDataset's do. Return (inputs, targets) or (inputs, targets, sample_weights) from the source"
            )


_HOOK = Hook()
ensure, install, uninstall = _HOOK.ensure, _HOOK.install, _HOOK.uninstall
