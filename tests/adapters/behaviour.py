"""What a Loader does in Keras where stock Keras is no measure; each function reports what happened."""

from __future__ import annotations

import contextlib
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

import procession
from tests.adapters import kit
from tests.adapters.differential import Stop, plain, recorded

Report = dict[str, Any]


# --- hooks of the source ----------------------------------------------------------------------------------------------


def changing(
    executor: Any,
    *,
    at: str = "begin end",
    how: Any = "in place",
    length: int = 5,
    rows: int = 0,
    model: str = "unbuilt",
    steps: int | None = None,
    at_once: int = 1,
    epochs: int = 3,
    endless: bool = False,
) -> Report:
    """Fit on a source whose hooks change its order, twice over."""
    kind = kit.EndlessChanging if endless else kit.Changing
    source, twin = (kind(length, at=at, how=how, rows=rows) for _ in range(2))
    made = kit.make_model(model, **({"steps_per_execution": at_once} if at_once > 1 else {}))
    with procession.Loader(source, executor=executor, workers=2) as loader:
        made.fit(loader, epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=0)
    return {
        "trace": kit.numbers(made),
        "calls": source.calls,
        "expected trace": list(simulated(twin, epochs, steps)),
        "expected calls": twin.calls,
    }


def simulated(source: Any, epochs: int, steps: int | None) -> Iterator[int]:
    """Do what Keras does with a PyDataset, an epoch at a time and in one place."""
    end = None if isinstance(source, kit.Endless | kit.EndlessChanging) else len(source)
    position = 0
    for _ in range(epochs):
        source.on_epoch_begin()
        taken = 0
        while taken != steps:
            yield source.number(position)
            position, taken = position + 1, taken + 1
            if position == end:
                position = 0
                break
        source.on_epoch_end()


def changing_validation(executor: Any) -> Report:
    """Fit with hooks on both sources, and count their calls."""
    sources = [kit.Changing(length, at="begin end", how="rebinding") for length in (3, 2)]
    with contextlib.ExitStack() as stack:
        loaders = [stack.enter_context(procession.Loader(source, executor=executor, workers=2)) for source in sources]
        model = kit.make_model("unbuilt")
        model.fit(loaders[0], epochs=4, validation_data=loaders[1], validation_freq=2, shuffle=False, verbose=0)
        model.evaluate(loaders[1], verbose=0)
        model.predict(loaders[1], verbose=0)
    return {"training": sources[0].calls, "validation": sources[1].calls}


def stopped(executor: Any) -> Report:
    """Stop in the middle of the second epoch, then fit again: each epoch that was begun is told so once."""
    source = kit.Changing(5, at="begin", how="in place")
    model = kit.make_model("unbuilt")
    with procession.Loader(source, executor=executor, workers=2) as loader:
        model.fit(loader, epochs=5, callbacks=[Stop()], shuffle=False, verbose=0)
        model.fit(loader, epochs=2, shuffle=False, verbose=0)
    return {"trace": kit.numbers(model), "begun": source.calls.count("begin")}


# --- order ------------------------------------------------------------------------------------------------------------


def shuffled(executor: Any, workers: int = 2, seed: int | None = 1, told: bool | None = None, **fit: Any) -> Report:
    """Fit for three epochs, then evaluate and predict; return the order of the batches."""
    model = kit.make_model("unbuilt")  # and fixes the global generators, which an unseeded Loader asks
    with procession.Loader(kit.Numbered(6), executor=executor, workers=workers, seed=seed, shuffle=told) as loader:
        model.fit(loader, epochs=3, verbose=0, **fit)
        model.evaluate(loader, verbose=0)
        model.predict(loader, verbose=0)
    trace = kit.numbers(model)
    return {"fit": [trace[k : k + 6] for k in (0, 6, 12)], "evaluate": trace[18:24], "predict": trace[24:]}


class LateProbes(kit.Numbered):
    """The batches that TensorFlow's spec is looked up from are late: two that it begins with are there first."""

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.late = {length // 2, length - 1}
        self.begun = threading.Event()

    def __getitem__(self, index: int) -> Any:
        if index in self.late and not self.begun.is_set():
            self.begun.wait(30)
        if index == 3:
            self.begun.set()
        return super().__getitem__(index)


def unordered() -> Report:
    """Fit where batches come as they become ready."""
    model = kit.make_model("unbuilt")
    with procession.Loader(LateProbes(20), executor="threads", workers=4, prefetch=8, ordered=False) as loader:
        model.fit(loader, epochs=3, verbose=0, shuffle=False)
    trace = kit.numbers(model)
    return {"epochs": [sorted(trace[k : k + 20]) for k in range(0, len(trace), 20)]}


# --- samples ----------------------------------------------------------------------------------------------------------


def collated(executor: Any, kind: str, drop: bool) -> Report:
    """Fit on samples, beside fit on the arrays that they are rows of."""
    rows = [kit.arrays(i, rows=1) for i in range(10)]
    x, y = (np.concatenate([row[part] for row in rows]) for part in (0, 1))
    source = kit.Samples(10) if kind == "samples" else (x, y)
    model, stock = kit.make_model("unbuilt"), kit.make_model("unbuilt")
    with procession.Loader(source, batch_size=4, drop_remainder=drop, executor=executor, workers=2) as loader:
        history = model.fit(loader, epochs=2, shuffle=False, verbose=0).history
    kept = 8 if drop else 10
    expected = stock.fit(x[:kept], y[:kept], batch_size=4, epochs=2, shuffle=False, verbose=0).history
    return {
        "got": plain([kit.numbers(model), list(model.get_weights()), history]),
        "expected": plain([kit.numbers(stock), list(stock.get_weights()), expected]),
    }


# --- errors -----------------------------------------------------------------------------------------------------------


def failing(executor: Any, call: str, index: int, epoch: int, eager: bool = False, model: str = "unbuilt") -> Report:
    """Read from a source that fails once, and then again."""
    made = kit.make_model(model, **({"run_eagerly": True} if eager else {}))
    with procession.Loader(kit.Failing(7, index, epoch), executor=executor, workers=2) as loader:
        report = caught(call, made, loader)
        made = kit.make_model(model)
        made.fit(loader, epochs=1, shuffle=False, verbose=0)
    return {**report, "again": kit.numbers(made)}


def odd(executor: Any, oddity: str, length: int) -> Report:
    """Fit on a source whose batch 4 has another form."""
    with procession.Loader(kit.Odd(length, oddity), executor=executor, workers=2) as loader:
        return caught("fit", kit.make_model("unbuilt"), loader)


def skipping(bad: list[int], length: int, model: str = "unbuilt") -> Report:
    """Fit, evaluate and predict where some batches are left out."""
    made = kit.make_model(model)
    faults = procession.Faults(on_error="skip")
    with (
        warnings.catch_warnings(record=True) as told,
        procession.Loader(kit.Broken(length, bad), executor="processes", workers=2, faults=faults) as loader,
    ):
        warnings.simplefilter("always")
        made.fit(loader, epochs=2, shuffle=False, verbose=0)
        made.evaluate(loader, verbose=0)
        rows = len(made.predict(loader, verbose=0))
        skips = loader.statistics().skips
    ours = [str(warning.message) for warning in told if warning.category is procession.SkippedWarning]
    others = [str(warning.message) for warning in told if "ran out of data" in str(warning.message)]
    return {"trace": kit.numbers(made), "rows": rows, "skips": skips, "told": ours, "others": others}


def killed(call: str) -> Report:
    """Read from a source that kills its worker."""
    with procession.Loader(kit.Killed(7), executor="processes", workers=2) as loader:
        return caught(call, kit.make_model("unbuilt"), loader)


def several_steps_at_once() -> Report:
    """Fit with several steps in one execution, where the backend may refuse."""
    with procession.Loader(kit.Numbered(4), executor="processes", workers=2) as loader:
        return caught("fit", kit.make_model("unbuilt", steps_per_execution=2), loader)


def misused(**arguments: Any) -> Report:
    """Fit with an argument that does not go with a Loader of batches with sample weights."""
    given = {name: np.asarray(value) if name != "class_weight" else {1: 2.0} for name, value in arguments.items()}
    with procession.Loader(kit.Numbered(3, "weighted"), executor="serial") as loader:
        return caught("fit", kit.make_model("unbuilt"), loader, **given)


def caught(call: str, model: Any, data: Any, **options: Any) -> Report:
    """Call fit, evaluate or predict, and report the error that comes out."""
    if call == "fit":
        options = {"epochs": 3, "shuffle": False, **options}
    error: BaseException | None = None
    with recorded() as told:
        try:
            getattr(model, call)(data, verbose=0, **options)
        except Exception as raised:
            error = raised
    if error is None:
        return {"type": "nothing", "kinds": []}
    return {
        "type": type(error).__name__,
        "kinds": [kind.__name__ for kind in type(error).__mro__],
        "same": type(error) is kit.SourceError,
        "args": plain(error.args),
        "message": str(error),
        "notes": getattr(error, "__notes__", []),
        "shown": "".join(traceback.format_exception(error)),
        "warnings": told,
    }


# --- what the hook leaves alone ---------------------------------------------------------------------------------------


def others() -> Report:
    """Fit on what Keras takes besides, once a Loader has set the hook, and hand it what it does not take."""
    procession.Loader(kit.Numbered(2)).close()
    x, y, w = kit.arrays(1)
    model = kit.make_model("unbuilt")
    losses = {
        "arrays": model.fit(x, y, sample_weight=w, batch_size=2, epochs=2, verbose=0).history["loss"],
        "PyDataset": model.fit(kit.Numbered(3), epochs=2, verbose=0).history["loss"],
        "generator": model.fit((kit.arrays(i)[:2] for i in range(6)), steps_per_epoch=3, epochs=2, verbose=0).history[
            "loss"
        ],
        "framework": model.fit(framework_data(x, y), epochs=2, verbose=0).history["loss"],
    }
    return {"epochs": {name: len(found) for name, found in losses.items()}, **caught("fit", model, object())}


def framework_data(x: Any, y: Any) -> Any:
    """Return the backend's own kind of data set."""
    if keras.backend.backend() == "torch":
        from torch.utils.data import DataLoader

        return DataLoader([(x[i], y[i]) for i in range(4)], batch_size=2)
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(2)


def set_once() -> Report:
    """Make some Loaders, and look at the hook."""
    from keras.src.trainers import data_adapters

    from procession.adapters import keras_hook

    procession.Loader(kit.Numbered(2)).close()
    first = data_adapters.get_data_adapter
    procession.Loader(kit.Numbered(2)).close()
    keras_hook.ensure()
    return {
        "same": data_adapters.get_data_adapter is first,
        "name": first.__name__,
        "wraps": first.__wrapped__.__module__,
        "wraps a hook": hasattr(first.__wrapped__, "__wrapped__"),
    }


class Raised(kit.Numbered):
    """Adds to the numbers of its batches what a callback has set."""

    more = 0

    def number(self, i: int) -> int:
        return i + self.more


def set_by_a_callback(executor: Any) -> Report:
    """Fit with a callback that sets something on the source as each epoch begins."""
    source = Raised(4)
    schedule = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: setattr(source, "more", 10 * epoch + 10))
    traces = []
    for model in (kit.make_model("unbuilt"), kit.make_model("ready")):
        source.more = 0
        with procession.Loader(source, executor=executor, workers=2) as loader:
            model.fit(loader, epochs=3, shuffle=False, verbose=0, callbacks=[schedule])
        traces.append(kit.numbers(model)[-12:])
    return {"traces": traces}
