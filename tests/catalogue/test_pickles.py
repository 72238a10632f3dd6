"""Cases C, second part: what cannot be pickled, or only slowly; with stock multiprocessing, and here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import procession
from procession import CaptureError, Loader, SourceTypeError
from tests.catalogue.kit import outcome, recognised
from tests.support import Made, run_script

SPAWN = """
import multiprocessing as mp, sys

class Source:
    def __init__(self, held):
        self.held = held
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return i

def worker(source):
    print("in a worker", flush=True)

def send(source, method="spawn"):
    process = mp.get_context(method).Process(target=worker, args=(source,))
    process.start()
    process.join()
"""
SENDING = SPAWN + "if __name__ == '__main__':\n    import {module}\n    send(Source({value}))\n"


@pytest.mark.parametrize("value", ["lambda x: x", "type('Local', (), {'__qualname__': 'f.<locals>.Local'})()"])
def test_a_lambda_and_a_local_class(value: str, tmp_path: Path) -> None:
    stock = outcome(SENDING.format(module="sys", value=value), tmp_path)
    assert "in a worker" not in stock.output
    assert recognised(stock.errors) == "C5"
    scale = 3

    class Local:
        def __init__(self) -> None:
            self.scaled: Any = lambda x: x * scale

        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int) -> Any:
            return self.scaled(i)

    with Loader(Local(), workers=2) as loader:
        assert list(loader) == [0, 3, 6, 9]


OF_OTHER_PYTHONS = {
    "AttributeError: Can't get local object 'DS.__init__.<locals>.<lambda>'": "C5",  # 3.13
    "_pickle.PicklingError: Can't pickle local object <function f.<locals>.g at 0x7f0a>": "C5",  # 3.14
    "_pickle.PicklingError: Can't pickle <function <lambda> at 0x7f0a>: it's not found as __main__.<lambda>": "C5",
    "_pickle.PicklingError: Can't pickle <function <lambda> at 0x7f>: attribute lookup <lambda> on data failed": "C5",
    "TypeError: cannot pickle 'BufferedReader' instances": "C7",  # 3.12
    "TypeError: cannot pickle 'TextIOWrapper' instances": "C7",
    "TypeError: cannot serialize '_io.BufferedReader' object": "C7",  # 3.7
    "TypeError: can't pickle _thread.lock objects": "C7",
    "TypeError: cannot pickle '_thread.RLock' object": "C7",
    "TypeError: can't pickle Environment objects": "C7",  # of lmdb
    "TypeError: cannot pickle 'sqlite3.Connection' object": "C7",
    "TypeError: can't pickle generator objects": "C8",
    "ValueError: Using a generator with `use_multiprocessing=True` is not supported on Windows (no marshalling of "
    "generators across process boundaries). For single thread/process, ...": "C8",
    "OverflowError: cannot serialize a bytes object larger than 4 GiB": "C11",
    "OverflowError: cannot serialize a bytes object larger than 4GiB": "C11",
    '  File "multiprocessing\\reduction.py", line 60, in dump\n    ForkingPickler(file, protocol).dump(obj)\n'
    "BrokenPipeError: [Errno 32] Broken pipe": "C13",
    '  File "multiprocessing\\spawn.py", line 126, in _main\n    self = reduction.pickle.load(from_parent)\n'
    "EOFError: Ran out of input": "C13",
}


@pytest.mark.parametrize("text", OF_OTHER_PYTHONS)
def test_what_other_pythons_and_systems_say(text: str) -> None:
    assert recognised(text) == OF_OTHER_PYTHONS[text]


HANDLES = {
    "a file": ("sys", "open(__file__, 'rb')"),
    "a lock": ("threading", "threading.Lock()"),
    "HDF5": ("h5py", "h5py.File('held.h5')"),
    "SQLite": ("sqlite3", "sqlite3.connect(':memory:')"),
}


@pytest.mark.parametrize("name", HANDLES)
def test_an_open_handle(name: str, tmp_path: Path) -> None:
    module, value = HANDLES[name]
    with h5py.File(tmp_path / "held.h5", "w") as file:
        file["x"] = np.arange(10)
    stock = outcome(SENDING.format(module=module, value=value), tmp_path)
    assert "in a worker" not in stock.output
    assert recognised(stock.errors) == "C7"
    here = SPAWN + f"import procession, {module}\nwith procession.Loader(Source({value}), workers=2) as loader:\n"
    assert run_script(here + "    print(list(loader))", tmp_path).stdout == "[0, 1, 2, 3]\n"


class Reader:
    """One that pickle refuses, as those of libraries that this one does not know."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, path.open("rb")

    def __reduce__(self) -> Any:
        raise TypeError("can't pickle Environment objects")

    def close(self) -> None:
        self.file.close()


class Registered(Reader):
    """One that is made known."""


def test_a_reader_of_another_library_is_registered_or_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"0123")
    procession.register(Registered, lambda reader: (Registered, (reader.path,)))

    class Reads:
        def __init__(self, reader: Reader) -> None:
            self.reader = reader

        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> Any:
            return self.reader.file.name == str(tmp_path / "data")

    with closing(Registered(tmp_path / "data")) as reader, Loader(Reads(reader), workers=2) as loader:
        assert list(loader) == [True] * 3
    with closing(Reader(tmp_path / "data")) as other, Loader(Reads(other), workers=2) as loader:
        with pytest.raises(CaptureError, match=r"source\.reader is a .*Reader.*on first use") as caught:
            iter(loader)
        assert recognised(f"{type(caught.value).__name__}: {caught.value}") == "C7"


def test_a_generator(tmp_path: Path) -> None:
    stock = outcome(SENDING.format(module="sys", value="(x for x in [1])"), tmp_path)
    assert recognised(stock.errors) == "C8"

    def batches() -> Iterator[int]:
        yield 1

    for given in (batches, batches()):
        with pytest.raises(SourceTypeError, match=r"generator.*Two ways out"):
            Loader(given, workers=2)
    with Loader(Made(lambda i: i, 3), workers=2) as whole:
        assert list(whole) == [0, 1, 2]
    held = Made(abs, 3)
    held.batches = batches()  # type: ignore[attr-defined]
    with Loader(held, workers=2) as loader:
        with pytest.raises(CaptureError, match=r"source\.batches is a generator") as caught:
            iter(loader)
        assert recognised(str(caught.value)) == "C8"


MIXED = """
if __name__ == "__main__":
    try:
        send(Source(mp.get_context("fork").Value("i")))
    except RuntimeError as error:
        print(error)
    # The training process keeps none: the semaphore is gone before the worker looks for it.
    process = mp.get_context("spawn").Process(target=worker, args=(mp.get_context("spawn").Lock(),))
    process.start()
    process.join()
"""
COUNTED = """
import procession

class Counts(Source):
    def __getitem__(self, i):
        self.held.add(1)
        return i

if __name__ == "__main__":
    try:
        iter(procession.Loader(Source(mp.get_context("spawn").Value("i"))))
    except procession.CaptureError as error:
        print(error)
    source = Counts(procession.SharedCounter())
    with procession.Loader(source, workers=2) as loader:
        print(list(loader), source.held.value)
"""


def test_locks_of_another_start_method(tmp_path: Path) -> None:
    stock = outcome(SPAWN + MIXED, tmp_path)
    assert "in a worker" not in stock.output
    assert recognised(stock.output) == "C10"
    assert recognised(stock.errors) == "C10"
    here = run_script(SPAWN + COUNTED, tmp_path).stdout.splitlines()
    assert here[0].startswith("source.held is a multiprocessing.sharedctypes.Synchronized")
    assert "procession.SharedCounter()" in here[0]
    assert recognised(here[0]) == "C10"
    assert here[1] == "[0, 1, 2, 3] 4"


PROTOCOL_3 = "import pickle\npickle.dumps(bytes(1 << 32), protocol=3)"  # of Python before 3.8; takes no memory
SPARSE = 5 << 30


def test_more_than_4_gib(tmp_path: Path) -> None:
    assert recognised(outcome(PROTOCOL_3, tmp_path).errors) == "C11"
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(SPARSE)  # takes no room on the disk either
    array = np.memmap(tmp_path / "sparse", np.uint8, "r+")
    array[-1] = 7
    with Loader(Made(lambda i: int(array[SPARSE - 1 - i]), 3), workers=2) as loader:
        assert list(loader) == [7, 0, 0]


SENT = """
import multiprocessing as mp, procession

class Source:
    def __init__(self):
        self.paths = [f"/data/{i}.png" for i in range(1000)]
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return self.paths[i]
    def __getstate__(self):
        sent.append(1)
        return vars(self)

def begin(source):
    pass

if __name__ == "__main__":
    sent, source = [], Source()
    for epoch in range(2):  # as in Keras's pools, of which each epoch has its own
        for worker in range(2):
            process = mp.get_context("spawn").Process(target=begin, args=(source,))
            process.start()
            process.join()
    print(len(sent))
    del sent[:]
    with procession.Loader(source, workers=2) as loader:
        for epoch in range(3):
            list(loader)
    print(len(sent))
"""


def test_the_source_is_pickled_once(tmp_path: Path) -> None:
    assert run_script(SENT, tmp_path).stdout == "4\n1\n"
    assert (
        recognised("There is a long pause before the first batch of every epoch while the dataset is pickled") == "C12"
    )


BREAKS = """
import multiprocessing as mp
if __name__ != "__main__":
    raise ImportError("this machine has no decoder")
def worker(data):
    pass
mp.get_context("forkserver").Process(target=worker, args=(bytes(50 << 20),)).start()
"""
BREAKS_HERE = """
import procession, sys, decoding
source = decoding.Source()
with open("decoding.py", "w") as file:  # the machine's own workers cannot import it any more
    file.write("raise ImportError('this machine has no decoder')")
try:
    list(procession.Loader(source, workers=2))
except ImportError as error:
    print(error, *error.__notes__, sep="; ")
"""
DECODING = "class Source(list):\n    def __init__(self):\n        self.append(1)\n        self.data = bytes(50 << 20)\n"


def test_a_worker_that_cannot_begin(tmp_path: Path) -> None:
    stock = outcome(BREAKS, tmp_path)
    assert "no decoder" in stock.errors
    assert recognised(stock.errors) == "C13"
    (tmp_path / "decoding.py").write_text(DECODING)
    here = run_script(BREAKS_HERE, tmp_path, PYTHONDONTWRITEBYTECODE="1").stdout
    assert here.startswith("this machine has no decoder; ")
    assert "while the source was unpickled" in here
