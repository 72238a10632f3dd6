"""How a source travels: from scripts and closures, what cannot travel, and what breaks on arrival."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procession import CaptureError, Loader, TemplateDiedError, WorkerDiedError
from procession.capture.pickling import OUT_OF_BAND, from_shared, pickled, to_shared
from tests.support import Made, form, run_script

# --- scripts ---

SCRIPT = """
import sys
import numpy as np
import procession
import neighbour
from collections import namedtuple
from dataclasses import dataclass

with open("runs", "a") as file:
    file.write("run\\n")

factor = 3   # a global that the source uses
Pair = namedtuple("Pair", "x y")

@dataclass
class Settings:
    offset: int = 1

class Base:
    def __len__(self):
        return 5

class Source(Base):
    settings = Settings()
    def __getitem__(self, i):
        return Pair(np.full(2, i * factor + self.settings.offset), helper(i))

class Oops(Exception):
    pass

class Raises(Base):
    def __getitem__(self, i):
        raise Oops(i)

def helper(i):
    return [neighbour.double(i), __name__]

def read(source, **options):
    with procession.Loader(source, workers=2, **options) as loader:
        return list(loader)

batches = read(Source())
assert [type(batch) for batch in batches] == [Pair] * 5, batches
assert [batch.x.tolist() for batch in batches] == [[i * 3 + 1] * 2 for i in range(5)]
assert [batch.y[0] for batch in batches] == [0, 2, 4, 6, 8]
assert read(neighbour.Source(), batch_size=2)[0].tolist() == [0, 2]
try:
    read(Raises())
except Oops as error:
    assert error.args == (0,)
else:
    raise AssertionError
print(open("runs").read().count("run"), sys.argv[1:])
"""
NEIGHBOUR = """
def double(i):
    return 2 * i

class Source:
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return double(i)
"""


@pytest.mark.parametrize("on_stdin", [False, True])
def test_classes_of_a_script_without_a_guard(tmp_path: Path, *, on_stdin: bool) -> None:
    (tmp_path / "neighbour.py").write_text(NEIGHBOUR)
    arguments = [] if on_stdin else ["--flag", "value"]
    done = run_script(SCRIPT, tmp_path, *arguments, on_stdin=on_stdin, check=False)
    assert done.stderr == ""
    assert done.stdout == f"1 {arguments}\n"  # the script has run once


# --- closures, lambdas and locally defined classes ---


def test_what_has_no_name_to_import_travels() -> None:
    table = np.arange(5) * 10

    class Base:
        def __len__(self) -> int:
            return 5

    class Local(Base):
        scale = staticmethod(lambda x: x + 1)

        def __init__(self, look: Callable[[int], Any]) -> None:
            self.look = look

        def __getitem__(self, i: int) -> Any:
            return super().__len__(), self.scale(self.look(i))

    with Loader(Local(lambda i: int(table[i])), workers=2) as loader:
        assert list(loader) == [(5, 10 * i + 1) for i in range(5)]


def test_a_source_that_refers_to_itself() -> None:
    source = Made(abs, 3)
    source.me = [source]  # type: ignore[attr-defined]
    with Loader(source, workers=2) as loader:
        assert list(loader) == [0, 1, 2]


# --- arrays of the source ---


class Holds:
    def __init__(self, size: int) -> None:
        self.array = np.arange(size, dtype=np.uint8)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        return np.array(self.array.flags.writeable), self.array[:5] + np.uint8(i), int(self.array.ctypes.data % 64)


@pytest.mark.parametrize(
    ("size", "writable"), [(100, True), (OUT_OF_BAND - 1, True), (OUT_OF_BAND, False), (10**6, False)]
)
def test_large_arrays_are_shared_read_only_and_small_ones_are_copies(size: int, *, writable: bool) -> None:
    with Loader(Holds(size), workers=2) as loader:
        for i, (may_write, head, misaligned) in enumerate(loader):
            assert bool(may_write) is writable
            assert head.tolist() == [i, i + 1, i + 2, i + 3, i + 4]
            assert misaligned == 0 or writable


class Writes(Holds):
    def __getitem__(self, i: int) -> Any:
        self.array[0] = 1
        return self.array[0]


def test_writing_to_a_shared_array_is_an_error_and_changes_nothing() -> None:
    source = Writes(10**6)
    with Loader(source, workers=2) as loader, pytest.raises(ValueError, match="read-only") as caught:
        list(loader)
    assert any("source[0]" in note for note in caught.value.__notes__)
    assert source.array[0] == 0


def test_writing_to_a_small_array_stays_in_the_worker() -> None:
    source = Writes(10)
    with Loader(source, workers=2) as loader:
        assert [int(value) for value in loader] == [1] * 4
    assert source.array[0] == 0


def test_large_arrays_of_every_kind_arrive() -> None:
    source = {
        "fortran": np.asfortranarray(np.arange(40_000.0).reshape(200, 200)),
        "strided": np.arange(80_000)[::2],
        "text": np.array(["word"] * 30_000),
        "object": np.array([{"i": i} for i in range(200)], object),
        "bytes": np.frombuffer(bytes(200_000), np.uint8),
    }
    with Loader(Made(lambda i: {name: np.array(array) for name, array in source.items()}, 1), workers=1) as loader:
        (batch,) = loader
    assert form(batch) == form({name: np.array(array) for name, array in source.items()})


@pytest.mark.parametrize("size", [0, 1, OUT_OF_BAND - 1, OUT_OF_BAND, OUT_OF_BAND + 1, 10**6])
def test_buffers_travel_out_of_band_from_a_size_on(size: int) -> None:
    parts = pickled({"a": np.full(size, 7, np.uint8), "b": bytearray(b"x" * size)}, "source")
    assert len(parts.buffers) == (1 if size >= OUT_OF_BAND else 0)
    payload, descriptors = to_shared(parts)
    again = from_shared(payload, descriptors)
    assert again["a"].tobytes() == b"\7" * size
    assert again["b"] == b"x" * size


# --- what cannot travel ---


def generator() -> Any:
    yield 1


class Holder:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> int:
        return i


class Slots(Holder):
    __slots__ = ("kept",)

    def __init__(self, kept: Any) -> None:
        self.kept = kept


def closing_over(value: Any) -> Made:
    return Made(lambda i: value, 3)


UNSENDABLE: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "weak": (lambda: Holder(weak=weakref.ref(Holder)), ("source.weak", "weakref", "__getstate__", "self.weak is None")),
    "generator": (lambda: Holder(rows=generator()), ("source.rows", "generator", "cannot be copied", "index that")),
    "dict": (lambda: Holder(tables={"a": {"b": [1, weakref.ref(Holder)]}}), ("source.tables['a']['b'][1]", "weakref")),
    "object": (lambda: Holder(inner=Holder(deep=Holder(weak=weakref.ref(Holder)))), ("source.inner.deep.weak",)),
    "closure": (lambda: closing_over(weakref.ref(Holder)), ("source.make → value", "weakref")),
    "closure of a generator": (lambda: closing_over([generator()]), ("source.make → value[0]", "generator")),
    "thread": (lambda: Holder(thread=threading.current_thread()), ("source.thread", "_MainThread")),
    "list": (lambda: [1, generator()], ("source[1]", "generator")),
    "slots": (lambda: Slots(weakref.ref(Holder)), ("source.kept", "weakref")),
}


@pytest.mark.parametrize("name", UNSENDABLE)
def test_what_cannot_be_sent_is_named_by_its_path(name: str) -> None:
    make, words = UNSENDABLE[name]
    source = make()
    with Loader(source, workers=2) as loader:
        for _ in range(2):
            with pytest.raises(CaptureError) as caught:
                iter(loader)
            assert [word for word in words if word not in str(caught.value)] == []


GLOBAL = """
import procession

rows = (i for i in range(3))

def following(i):
    return next(rows)

class Source:
    def __len__(self):
        return 3
    def __getitem__(self, i):
        return following(i)

try:
    list(procession.Loader(Source(), workers=2))
except procession.CaptureError as error:
    print(error)
"""


def test_a_global_of_the_script_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    done = run_script(GLOBAL, tmp_path, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("Source.__getitem__ → global following → global rows is a generator")
    assert "A generator cannot be copied" in done.stdout


def test_what_cannot_be_sent_works_in_threads_and_serial() -> None:
    for executor in ("threads", "serial"):
        with Loader(Holder(weak=weakref.ref(Holder)), executor=executor) as loader:
            assert list(loader) == [0, 1, 2]


def test_a_source_repaired_between_two_epochs_is_sent() -> None:
    source = Holder(weak=weakref.ref(Holder))
    with Loader(source, workers=2) as loader:
        with pytest.raises(CaptureError):
            iter(loader)
        del vars(source)["weak"]
        assert list(loader) == [0, 1, 2]


class RaisesWhenPickled(Holder):
    def __getstate__(self) -> Any:
        raise LookupError("not this one")


def test_getstate_that_raises_is_told() -> None:
    with Loader(RaisesWhenPickled(), workers=2) as loader, pytest.raises(CaptureError) as caught:
        iter(loader)
    assert "not this one" in str(caught.value) and "RaisesWhenPickled" in str(caught.value)
    assert isinstance(caught.value.__cause__, LookupError)


# --- what breaks when it is unpickled, in the template ---


class Arrives(Holder):
    """A source that does something when it is unpickled."""

    def __init__(self, then: Callable[[], Any]) -> None:
        self.then = then

    def __setstate__(self, state: Any) -> None:
        vars(self).update(state)
        self.then()


class Unloadable(Exception):  # noqa: N818
    """Raised by a source while it is unpickled."""


def raise_unloadable() -> None:
    raise Unloadable("no such file", 7)


def exit_quietly() -> None:
    os._exit(5)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    raise SystemExit(4)


BREAKS: dict[str, tuple[Callable[[], Any], type[Exception], tuple[str, ...]]] = {
    "raises": (raise_unloadable, Unloadable, ("no such file", "while the source was unpickled")),
    "sys.exit": (leave, Exception, ("while the source was unpickled",)),
    "os._exit": (exit_quietly, TemplateDiedError, ("template process", "exit code 5", "__setstate__")),
    "crashes": (crash, TemplateDiedError, ("template process", "SIGSEGV", "__setstate__")),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_source_that_breaks_when_unpickled_is_a_prompt_error(name: str) -> None:
    then, kind, words = BREAKS[name]
    with Loader(Made(abs, 3), workers=2) as before, Loader(Arrives(then), workers=2) as loader:
        running = iter(before)
        assert next(running) == 0
        for _ in range(2):
            with pytest.raises(kind) as caught:
                list(loader)
            told = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
            assert [word for word in words if word not in told] == []
            if name == "raises":
                assert caught.value.args == ("no such file", 7)
                assert "raise_unloadable" in str(caught.value.__cause__)
        with Loader(Made(abs, 3), workers=2) as after:  # others go on, from another template if need be
            assert list(after) == [0, 1, 2]
        try:
            assert list(running) == [1, 2]
        except WorkerDiedError:  # it shared the template that died
            assert kind is TemplateDiedError
        assert list(before) == [0, 1, 2]


class NotThere:
    """Pickles as something that no module has."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> int:
        return i

    def __reduce__(self) -> Any:
        return eval, ("__import__('procession_no_such_module')",)


def test_a_module_that_is_missing_in_the_workers_is_named() -> None:
    with Loader(NotThere(), workers=2) as loader, pytest.raises(ModuleNotFoundError, match="procession_no_such_module"):
        list(loader)


def test_code_that_travels_by_value_keeps_the_name_of_its_file() -> None:
    inner = eval(compile("lambda: 1 / 0", "/somewhere/train.py", "eval"))
    again = from_shared(*to_shared(pickled([inner], "source")))[0]
    assert again is not inner
    assert again.__code__.co_filename == "/somewhere/train.py"
