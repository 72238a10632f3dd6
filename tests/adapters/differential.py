"""Runs a case with stock Keras or with a Loader, and reports what the model got and became."""

from __future__ import annotations

import contextlib
import functools
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

import procession
from tests.adapters import kit
from tests.adapters.cases import CASES, Case

Report = dict[str, Any]


class Stop(keras.callbacks.Callback):
    """Ends the training, or fails, in the middle of the second epoch."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) != (1, 2):
            return
        if self.error is not None:
            raise self.error
        self.model.stop_training = True


def fit(model: Any, data: Any, options: Any) -> Any:
    return model.fit(data, verbose=0, **options).history


def fit_twice(model: Any, data: Any, options: Any) -> Any:
    return [fit(model, data, options), fit(model, data, options)]


def stop_and_fit(model: Any, data: Any, options: Any) -> Any:
    stopped = fit(model, data, {**options, "epochs": 9, "callbacks": [Stop()]})
    return [stopped, fit(model, data, options)]


def fail_and_fit(model: Any, data: Any, options: Any) -> Any:
    error = LookupError("of the callback")
    with pytest.raises(LookupError) as raised:
        fit(model, data, {**options, "callbacks": [Stop(error)]})
    assert raised.value is error
    return fit(model, data, options)


def evaluate(model: Any, data: Any, options: Any) -> Any:
    return model.evaluate(data, verbose=0, return_dict=True, **options)


def evaluate_twice(model: Any, data: Any, options: Any) -> Any:
    return [evaluate(model, data, options), evaluate(model, data, options)]


def predict(model: Any, data: Any, options: Any) -> Any:
    return model.predict(data, verbose=0, **options)


ACTIONS = {
    function.__name__: function
    for function in (fit, fit_twice, stop_and_fit, fail_and_fit, evaluate, evaluate_twice, predict)
}


@functools.cache
def stock(name: str) -> Report:
    """Run a case with stock Keras."""
    case = CASES[name]
    validation = None if case.validation is None else make(case.validation)
    report = run(case, make(case.source), validation)
    if report["error"] and case.measure is not None:
        report = run(case, make(case.measure), validation)
    return report


def loaded(name: str, executor: Any) -> Report:
    """Run a case with a Loader."""
    case = CASES[name]
    with contextlib.ExitStack() as stack:

        def load(source: tuple[str, Any]) -> Any:
            loader = procession.Loader(make(source), executor=executor, workers=2, **case.loader)
            return stack.enter_context(loader)

        data = load(case.source)
        validation = None
        if case.validation is not None:
            validation = make(case.validation) if case.validation_stock else load(case.validation)
        return run(case, data, validation)


def make(source: tuple[str, Any]) -> Any:
    """Make a source from its class's name in `kit` and its arguments."""
    kind, arguments = source
    return getattr(kit, kind)(**arguments)


def run(case: Case, data: Any, validation: Any) -> Report:
    """Do what the case says with `data`."""
    model = kit.make_model(case.model, **case.compiling)
    options = case.fit if validation is None else {**case.fit, "validation_data": validation}
    error = ""
    with recorded() as told:
        try:
            result = ACTIONS[case.action](model, data, options)
        except Exception as failure:  # stock Keras does not take everything everywhere, and a Loader then fails alike
            error, result = traceback.format_exc(), type(failure).__name__
    return {
        "error": error,
        "trace": kit.numbers(model),
        "weights": plain(list(model.get_weights())),
        "result": plain(result),
        "dtypes": sorted(getattr(model, "dtypes", ())),
        "warnings": told,
    }


@contextlib.contextmanager
def recorded() -> Iterator[list[str]]:
    """Collect the warnings that data has run out."""
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield told
    told += [str(warning.message)[:25] for warning in caught if "ran out of data" in str(warning.message)]


def plain(value: Any) -> Any:
    """Return what JSON can hold, exactly."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return np.asarray(value).tolist()
