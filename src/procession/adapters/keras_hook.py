"""The places where Keras chooses what reads its data, and the hook that is set there.

    fit(x, …) ─► Keras 3: get_data_adapter(x, …)          a Loader ──────────► its adapter
                 Keras 2: select_data_adapter(x, y)(x, …)  a plain dataset ───► `plain` may make a Loader for it
                                                           anything else ─────► Keras's own
    Model.fit, .evaluate, .predict: around the whole call, for install(): what it asked for, and its end

Without it, Keras does not know the type `Loader`; and a ready-made adapter handed to `fit` loses `class_weight` and
`shuffle`, which only these functions are told. Each is set where Keras has been imported, else as soon as it is.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from procession.adapters.awaiting import Awaiting, when_imported
from procession.adapters.epochs import Streamed
from procession.errors import IgnoredWarning, users_level

# From Keras 3.1 to 3.15, and tf_keras 2.16 to 2.21.
ADAPTERS, MODELS = "keras.src.trainers.data_adapters", "keras.src.models.model"
LEGACY_ADAPTERS, LEGACY_MODELS = "tf_keras.src.engine.data_adapter", "tf_keras.src.engine.training"
PLACES = ((ADAPTERS, "get_data_adapter"), (LEGACY_ADAPTERS, "select_data_adapter"))
METHODS = ("fit", "evaluate", "predict")


class Asked(NamedTuple):
    """What a call of `fit` asked for with the keywords of Keras 2; None: nothing."""

    workers: int | None = None
    use_multiprocessing: bool | None = None
    max_queue_size: int | None = None


class Call:
    """One call of `fit`, `evaluate` or `predict` that goes on."""

    def __init__(self, method: str, asked: Asked) -> None:
        self.method = method
        self.asked = asked
        self.loaders: list[Any] = []  # made for its plain datasets
        self._first = True

    def note(self, data: Any) -> None:
        """Say that the keywords do nothing for what is read first, which is none of ours."""
        names = [name for name, value in self.asked._asdict().items() if value is not None]
        if self._first and names and data is not None:
            warnings.warn(
                f"{', '.join(names)} of {self.method}() have no effect on a {_kind(data)}: it is read as it is, in "
                "this process. " + _advice(data),
                IgnoredWarning,
                stacklevel=users_level(),
            )
        self._first = False


_call: ContextVar[Call | None] = ContextVar("procession_call", default=None)


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


class Hook:
    """What is set in Keras, and how to take it out again."""

    def __init__(self) -> None:
        self._plain: Plain | None = None
        self._loaders = False  # somebody has made a Loader: the places have to be kept
        self._making = False  # a Loader is being made here
        self._undo: list[Callable[[], None]] = []  # what makes Keras as it was
        self._undo_calls: list[Callable[[], None]] = []

    def ensure(self) -> None:
        """See that Keras knows a `Loader`."""
        self._loaders = self._loaders or not self._making
        if not self._undo:
            for module, name in PLACES:
                _set_when_imported(module, functools.partial(self._set_place, name=name), self._undo)
                _set_when_imported(module.partition(".")[0], functools.partial(_check_place, place=module), self._undo)

    def install(self, plain: Plain) -> None:
        """Ask `plain` for a loader of each dataset that Keras is given."""
        self._plain, loaders = plain, self._loaders
        self.ensure()
        self._loaders = loaders
        if not self._undo_calls:
            for module in (MODELS, LEGACY_MODELS):
                _set_when_imported(module, self._set_calls, self._undo_calls)

    def uninstall(self) -> None:
        """Make Keras as it was, but for what a Loader needs, if there is one."""
        self._plain = None
        undo, self._undo_calls = self._undo_calls, []
        if not self._loaders:
            undo, self._undo = [*undo, *self._undo], []
        for take_out in undo:
            take_out()

    def _set_place(self, module: ModuleType, name: str) -> Callable[[], None]:
        original = getattr(module, name, None)
        if original is None:
            _moved(module.__name__, name)
            return _nothing
        choose = self._adapter if name == "get_data_adapter" else self._legacy_adapter
        replacement = functools.wraps(original)(functools.partial(choose, original))
        setattr(module, name, replacement)
        return lambda: setattr(module, name, original)

    def _adapter(self, original: Callable[..., Any], x: Any = None, *args: Any, **keywords: Any) -> Any:
        loader = self._loader(x)
        if loader is None:
            return original(x, *args, **keywords)
        from procession.adapters.keras import LoaderAdapter

        return LoaderAdapter(loader, **_arguments(*args, **keywords))

    def _legacy_adapter(self, original: Callable[..., Any], x: Any, y: Any = None) -> Any:
        def adapter(x: Any, y: Any = None, **keywords: Any) -> Any:
            names = ("workers", "use_multiprocessing", "max_queue_size")
            loader = self._loader(x, Asked(*(keywords.get(name) for name in names)))
            if loader is None:
                return original(x, y)(x, y, **keywords)
            from procession.adapters.tf_keras import LegacyAdapter

            _check_alone(y, keywords.get("sample_weights"))
            return LegacyAdapter(loader, shuffle=bool(keywords.get("shuffle")), steps=keywords.get("steps"))

        return adapter if isinstance(x, Streamed) or self._plain is not None else original(x, y)

    def _loader(self, x: Any, asked: Asked | None = None) -> Any:
        if isinstance(x, Streamed):
            return x
        call = _call.get()
        loader = None
        if self._plain is not None:
            self._making = True
            try:
                loader = self._plain.loader(x, asked or (call.asked if call else Asked()))
            finally:
                self._making = False
        if call is not None:
            if loader is None:
                call.note(x)
            else:
                call.loaders.append(loader)
        return loader

    def _set_calls(self, module: ModuleType) -> Callable[[], None]:
        model = getattr(module, "Model", None)
        if model is None or not all(hasattr(model, method) for method in METHODS):
            _moved(module.__name__, "Model.fit")
            return _nothing
        undo = [self._set_call(model, method, known=module.__name__ == LEGACY_MODELS) for method in METHODS]

        def take_out() -> None:
            for restore in undo:
                restore()

        return take_out

    def _set_call(self, model: Any, method: str, *, known: bool) -> Callable[[], None]:
        """Stand around a method; `known`: whether it takes the keywords itself."""
        original, own = getattr(model, method), method in vars(model)

        @functools.wraps(original)
        def call(this: Any, *args: Any, **keywords: Any) -> Any:
            asked = Asked() if known else Asked(*(keywords.pop(name, None) for name in Asked._fields))
            if self._plain is not None and "validation_data" in keywords:  # Keras takes a list for (x, y, weights)
                keywords["validation_data"] = self._plain.gathered(keywords["validation_data"])
            with self._calling(method, asked):
                return original(this, *args, **keywords)

        setattr(model, method, call)
        return lambda: setattr(model, method, original) if own else delattr(model, method)

    @contextlib.contextmanager
    def _calling(self, method: str, asked: Asked) -> Iterator[None]:
        if _call.get() is not None:  # a callback or validation within: the same call
            yield
            return
        call, plain = Call(method, asked), self._plain
        token = _call.set(call)
        try:
            yield
        finally:
            _call.reset(token)
            if plain is not None:
                for loader in call.loaders:
                    plain.done(loader)


def _set_when_imported(
    name: str, place: Callable[[ModuleType], Callable[[], None]], undo: list[Callable[[], None]]
) -> None:
    """Set something in a module, now or when it is imported; what undoes it goes to a list."""
    waiting: list[Awaiting] = []

    def act(module: ModuleType) -> None:
        take_out = place(module)
        if waiting:
            undo.remove(waiting[0].cancel)
        undo.append(take_out)

    awaiting = when_imported(name, act)
    if awaiting is not None:
        waiting.append(awaiting)
        undo.append(awaiting.cancel)


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


def _check_place(_: ModuleType, place: str) -> Callable[[], None]:
    """Keras has been imported, and with it, as far as is known, the place."""
    if place not in sys.modules:
        _moved(place, "py")
    return _nothing


def _moved(module: str, name: str) -> None:
    """Say that this Keras is none that we know."""
    top = module.partition(".")[0]
    version = getattr(sys.modules[top], "__version__", "of unknown version")
    warnings.warn(
        f"{top} {version} has no {module}.{name}, through which Procession reaches it up to Keras 3.15: it is left as "
        "it is, and reads its data itself. Loop over the Loader, or give fit what loader.to_tf(), to_torch() or "
        "to_jax() return; or use an older Keras",
        IgnoredWarning,
        stacklevel=users_level(),
    )


def _kind(data: Any) -> str:
    kind = type(data)
    is_dataset = any(each.__name__ == "DatasetV2" for each in kind.__mro__)
    return "tf.data.Dataset" if is_dataset else f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _advice(data: Any) -> str:
    if _kind(data) == "tf.data.Dataset":
        return "It has threads of its own: map(..., num_parallel_calls=tf.data.AUTOTUNE)"
    if _kind(data) == "generator":
        return "A generator has no index: make it a keras.utils.PyDataset, whose item i is batch i"
    return "They are for a keras.utils.PyDataset"


def _nothing(*_: Any) -> None:
    """Nothing to do."""


_HOOK = Hook()
ensure, install, uninstall = _HOOK.ensure, _HOOK.install, _HOOK.uninstall
