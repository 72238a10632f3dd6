"""What `install()` does to plain datasets in Keras; each function reports what happened."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import procession
from procession.launch import Defaults, Installation, start
from tests.adapters import kit

Report = dict[str, Any]


class Logged(kit.Numbered):
    """Notes in a file which process made which batch."""

    def __init__(self, length: int, log: str, **keywords: Any) -> None:
        super().__init__(length)
        self.log = log
        for name, value in keywords.items():  # as PyDataset.__init__ does
            setattr(self, name, value)

    def __getitem__(self, i: int) -> Any:
        with Path(self.log).open("a") as log:
            log.write(f"{os.getpid()} {i}\n")
        return super().__getitem__(i)


class Careless(keras.utils.PyDataset):
    """Never calls `super().__init__`, and draws random numbers."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.calls: list[str] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        x, y, _ = kit.arrays(i)
        x[:, 0] = np.random.randint(0, 1_000_000)
        return x, y

    def on_epoch_end(self) -> None:
        self.calls.append("end")


@contextlib.contextmanager
def installed(**defaults: Any) -> Iterator[Installation]:
    """Install for a while; see that Keras is as it was afterwards."""
    before = state_of_keras()
    try:
        yield start(Defaults(**defaults))
    finally:
        procession.uninstall()
        assert state_of_keras() == before


def state_of_keras() -> list[Any]:
    """Return what the hook may exchange."""
    from keras.src.trainers import data_adapters

    return [
        data_adapters.get_data_adapter,
        *(keras.Model.__dict__.get(name) for name in ("fit", "evaluate", "predict")),
    ]


def makers(log: str) -> Report:
    """Return where the batches of a `Logged` were made."""
    lines = [line.split() for line in Path(log).read_text().splitlines()]
    processes = {int(process) for process, _ in lines}
    return {
        "elsewhere": os.getpid() not in processes,
        "here": processes == {os.getpid()},
        "processes": len(processes),
        "indices": sorted({int(index) for _, index in lines}),
    }


def read_by(installation: Installation) -> list[Any]:
    """Return by whom each dataset was read."""
    return [[read.name, read.statistics.executor, read.statistics.workers] for read in installation.read]


def keywords_of_fit(log: str, keywords: Report, own: Report, defaults: Report) -> Report:
    """Fit on a dataset that asks for workers, in the call or as it was made."""
    source = Logged(6, log, **own)
    model = kit.make_model("unbuilt")
    with installed(**defaults) as installation:
        model.fit(source, shuffle=False, verbose=0, **keywords)
    return {"trace": kit.numbers(model), "read": read_by(installation), **makers(log)}


def everything(log: str) -> Report:
    """Fit with validation, evaluate and predict on plain datasets, compared with Keras's own way."""
    found = []
    for ours in (False, True):
        source, validation = kit.Numbered(6), kit.Numbered(3, "weighted")
        model = kit.make_model("unbuilt")
        options: Report = {"verbose": 0, "epochs": 2, "shuffle": False, "validation_data": validation}
        more: Report = {}
        with installed() if ours else contextlib.nullcontext() as installation:
            if ours:
                more = {"workers": 2, "use_multiprocessing": True, "max_queue_size": 4}
            history = model.fit(source, **options, **more).history
            values = model.evaluate(validation, verbose=0, **more)
            predicted = model.predict(source, verbose=0, **more)
            found.append(
                {
                    "trace": kit.numbers(model),
                    "history": {name: [float(value) for value in row] for name, row in history.items()},
                    "values": [float(value) for value in values],
                    "predicted": np.asarray(predicted).tolist(),
                }
            )
    assert installation is not None
    return {"stock": found[0], "ours": found[1], "read": read_by(installation)}


def partitions(log: str) -> Report:
    """Fit on a list of datasets, and validate on another."""
    sources = [Logged(3, f"{log}{part}") for part in range(3)]
    model = kit.make_model("unbuilt")
    with installed() as installation:
        model.fit(
            sources,
            validation_data=[kit.Numbered(2), kit.Numbered(1)],
            shuffle=False,
            verbose=0,
            workers=1,
            use_multiprocessing=False,
        )
    return {
        "trace": kit.numbers(model)[:9],
        "read": read_by(installation),
        "one process each": [makers(f"{log}{part}")["processes"] for part in range(3)],
    }


def calls_in_a_row() -> Report:
    """Fit on the same dataset again and again: its epochs go on, as do its hooks."""
    source, other = Careless(4), Careless(4)
    traces = []
    with installed(workers=2, seed=3) as installation:
        for data in (source, source, other):
            model = kit.make_model("unbuilt")
            model.fit(data, shuffle=False, verbose=0)
            traces.append(kit.numbers(model)[:4])
    return {"traces": traces, "calls": [len(source.calls), len(other.calls)], "read": read_by(installation)}


def notes() -> Report:
    """Give the keywords beside data that they are of no use for."""
    x, y = np.zeros((8, 4), "float32"), np.zeros((8, 1), "float32")
    told = []
    model = kit.make_model("unbuilt")
    with installed():
        for keywords in ({"workers": 2, "use_multiprocessing": True}, {}):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.fit(x, y, validation_data=(x, y), verbose=0, **keywords)
            told.append([str(each.message) for each in caught if each.category is procession.IgnoredWarning])
            files = [each.filename for each in caught if each.category is procession.IgnoredWarning]
            told.append([Path(file).name for file in files])
    return {"told": told}


def after_uninstall() -> Report:
    """See that the keywords are refused again, and that a Loader of the user's own still works."""
    model = kit.make_model("unbuilt")
    with procession.Loader(kit.Numbered(4), workers=2) as loader:
        procession.install(workers=2)
        procession.uninstall()
        procession.uninstall()
        try:
            model.fit(kit.Numbered(2), workers=2, verbose=0)
        except TypeError as error:
            refused = str(error)
        model.fit(loader, shuffle=False, verbose=0)
    return {"refused": "workers" in refused, "trace": kit.numbers(model)}


def calls_within_calls() -> Report:
    """Evaluate and predict in a callback of fit: each is a call of its own, whose workers end with it."""
    source, other = kit.Numbered(3), Careless(2)
    found: list[Any] = []

    class Within(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.evaluate(other, verbose=0, workers=2, use_multiprocessing=True)
            found.append(len(children()))

    def children() -> list[int]:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return [int(child) for pid in text for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    model = kit.make_model("unbuilt")
    with installed() as installation:
        model.fit(source, epochs=4, verbose=0, workers=2, use_multiprocessing=True, callbacks=[Within()])
    return {"processes": found, "read": read_by(installation), "epochs": installation.read[-2].statistics.epochs}
