"""Around `Model.fit`, `evaluate` and `predict`: the keywords of Keras 2, and the end of the loaders made there."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from procession.adapters.awaiting import TakeOut, moved, nothing
from procession.errors import IgnoredWarning, users_level

MODELS, LEGACY_MODELS = "keras.src.models.model", "tf_keras.src.engine.training"
METHODS = ("fit", "evaluate", "predict")


class Asked(NamedTuple):
    """What a call of `fit` asked for with the keywords of Keras 2; None: nothing."""

    workers: int | None = None
    use_multiprocessing: bool | None = None
    max_queue_size: int | None = None


class Plain(Protocol):
    """What decides about plain datasets."""

    def loader(self, data: Any, asked: Asked) -> Any:
        """Return a loader for what Keras was given; None: Keras shall read it."""
        ...

    def gathered(self, data: Any) -> Any:
        """Return what Keras shall take for one thing."""
        ...

    def done(self, loader: Any) -> None:
        """The call in which a loader was made has ended."""
        ...


class Call:
    """One call that goes on; a callback may make another one within it."""

    def __init__(self, method: str, asked: Asked, plain: Plain, within: Call | None) -> None:
        self._own = asked
        self.asked: Asked = asked if within is None else Asked(*map(_or, asked, within.asked))
        self._method = method
        self._plain = plain
        self._loaders: list[Any] = []
        self._first = True

    def loader(self, data: Any, asked: Asked) -> Any:
        """A loader for what is read now, which ends with this call; None: Keras shall read it."""
        loader = self._plain.loader(data, asked)
        if loader is not None:
            self._loaders.append(loader)
        elif self._first:
            self._note(data)
        self._first = False
        return loader

    def end(self) -> None:
        """Keras is done with all of it."""
        for loader in self._loaders:
            self._plain.done(loader)

    def _note(self, data: Any) -> None:
        """Say that the keywords do nothing for what the call is about, which is none of ours."""
        names = [name for name, value in self._own._asdict().items() if value is not None]
        if names and data is not None:
            warnings.warn(
                f"{', '.join(names)} of {self._method}() have no effect on a {_kind(data)}: it is read as it is, in "
                f"this process. {_advice(data)}",
                IgnoredWarning,
                stacklevel=users_level(),
            )


_call: ContextVar[Call | None] = ContextVar("procession_call", default=None)


def current() -> Call | None:
    """The call that goes on in this thread."""
    return _call.get()


def stand_around(module: ModuleType, plain: Plain) -> TakeOut:
    """Stand around the three methods of the module's `Model`; return what undoes that."""
    model = getattr(module, "Model", None)
    if model is None or not all(hasattr(model, method) for method in METHODS):
        moved(module.__name__, "Model.fit")
        return nothing
    undo = [_stand_around(model, method, plain, known=module.__name__ == LEGACY_MODELS) for method in METHODS]

    def take_out() -> None:
        for restore in undo:
            restore()

    return take_out


def _stand_around(model: Any, method: str, plain: Plain, *, known: bool) -> TakeOut:
    """Stand around one; `known`: whether it takes the keywords itself."""
    original, own = getattr(model, method), method in vars(model)

    @functools.wraps(original)
    def call(this: Any, *args: Any, **keywords: Any) -> Any:
        asked = Asked() if known else Asked(*(keywords.pop(name, None) for name in Asked._fields))
        if "validation_data" in keywords:  # of a list, Keras would take the second for targets
            keywords["validation_data"] = plain.gathered(keywords["validation_data"])
        with _calling(Call(method, asked, plain, current())):
            return original(this, *args, **keywords)

    setattr(model, method, call)
    return lambda: setattr(model, method, original) if own else delattr(model, method)


@contextlib.contextmanager
def _calling(call: Call) -> Iterator[None]:
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)
        call.end()


def _or(mine: Any, theirs: Any) -> Any:
    return theirs if mine is None else mine


def _kind(data: Any) -> str:
    kind = type(data)
    is_dataset = any(each.__name__ == "DatasetV2" for each in kind.__mro__)
    return "tf.data.Dataset" if is_dataset else f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _advice(data: Any) -> str:
    if _kind(data) == "tf.data.Dataset":
        return "It has threads of its own: map(..., num_parallel_calls=tf.data.AUTOTUNE)"
    if _kind(data) == "generator":
        return "A generator has no index: make it a keras.utils.PyDataset, whose item i is batch i"
    return "Workers are for a keras.utils.PyDataset, and at least one"
