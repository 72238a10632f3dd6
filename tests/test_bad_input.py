"""Bad input: each gets a clear error, and nothing is left behind."""

from __future__ import annotations

import errno
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import procession
from procession import (
    BatchError,
    CaptureError,
    ConfigError,
    EmptySourceError,
    Loader,
    ProcessionError,
    SourceExitError,
    SourceTypeError,
)
from tests.conftest import ExecutorName
from tests.support import Made, run_script

ARRAY = np.zeros((4, 2))
WAYS_OUT = ("Two ways out", "__getitem__", "list")


def numbers() -> Iterator[int]:
    yield from range(3)


class NoLength:
    def __getitem__(self, i: int) -> int:
        return i


class Length:
    """A source whose length is what it is told."""

    def __init__(self, length: Any) -> None:
        self.length = length

    def __len__(self) -> Any:
        return self.length

    def __getitem__(self, i: int) -> int:
        return i


class NumBatches(NoLength):
    @property
    def num_batches(self) -> Any:
        return 2.5


REFUSED: dict[str, tuple[Any, dict[str, Any], type[Exception], tuple[str, ...]]] = {
    # the source, the options, the exception, and the words its message has to have
    "an object": (object(), {}, SourceTypeError, ("object", "cannot be indexed", *WAYS_OUT)),
    "a number": (5, {}, SourceTypeError, ("int", "cannot be indexed", *WAYS_OUT)),
    "None": (None, {}, SourceTypeError, ("None", "cannot be indexed")),
    "a set": ({1, 2}, {}, SourceTypeError, ("set", "cannot be indexed", *WAYS_OUT)),
    "a generator": (numbers(), {}, SourceTypeError, ("generator", "no index", *WAYS_OUT)),
    "a generator function": (numbers, {}, SourceTypeError, ("generator", "no index", *WAYS_OUT)),
    "an iterator": (iter([1]), {}, SourceTypeError, ("list_iterator", "no index", *WAYS_OUT)),
    "a map": (map(abs, [1]), {}, SourceTypeError, ("iterator (map)", "no index", *WAYS_OUT)),
    "a class": (Made, {}, SourceTypeError, ("class Made", "not an instance", "Made(...)")),
    "no length": (NoLength(), {}, SourceTypeError, ("NoLength", "no length", "__len__", "num_batches")),
    "float length": (Length(2.5), {}, SourceTypeError, ("Length", "2.5", "int", "math.ceil")),
    "negative length": (Length(-3), {}, ProcessionError, ("Length", "-3")),
    "text length": (Length("3"), {}, SourceTypeError, ("Length", "'3'", "int")),
    "float num_batches": (NumBatches(), {}, SourceTypeError, ("NumBatches", "2.5", "math.ceil")),
    "length 0": (Length(0), {}, EmptySourceError, ("Length", "length 0", "nothing to deliver", "__len__")),
    "an empty list": ([], {}, EmptySourceError, ("list", "length 0", "nothing to deliver")),
    "an empty tuple": ((), {"batch_size": 2}, EmptySourceError, ("empty tuple", "no arrays")),
    "arrays without rows": (
        (np.zeros((0, 2)),),
        {"batch_size": 2},
        EmptySourceError,
        ("length 0", "nothing to deliver"),
    ),
    "no whole batch": (
        Length(3),
        {"batch_size": 8, "drop_remainder": True},
        EmptySourceError,
        ("batch_size=8", "3 items", "no whole batch", "smaller batch_size"),
    ),
    "arrays without batch_size": ((ARRAY, ARRAY), {}, SourceTypeError, ("tree of arrays", "length 4", "batch_size=32")),
    "arrays of different length": (
        {"x": ARRAY, "y": np.zeros(3)},
        {"batch_size": 2},
        SourceTypeError,
        ("differ in length", "source['x'] has 4", "source['y'] has 3"),
    ),
    "a tree with a number": ((ARRAY, 3), {"batch_size": 2}, SourceTypeError, ("source[1] is a int", "tree of arrays")),
    "a tree with a 0-d array": (
        (ARRAY, np.array(3)),
        {"batch_size": 2},
        SourceTypeError,
        ("source[1]", "tree of arrays"),
    ),
    "workers=-1": (ARRAY, {"workers": -1}, ConfigError, ("workers", "at least 0", "-1", "'auto'")),
    "workers=100000": (ARRAY, {"workers": 100_000}, ConfigError, ("workers=100000", "1024", "usable cores")),
    "workers=True": (ARRAY, {"workers": True}, ConfigError, ("workers", "True", "bool", "int")),
    "workers='4'": (ARRAY, {"workers": "4"}, ConfigError, ("workers", "'4'", "str", "int")),
    "workers=2.0": (ARRAY, {"workers": 2.0}, ConfigError, ("workers", "2.0", "float", "int")),
    "workers=None": (ARRAY, {"workers": None}, ConfigError, ("workers", "None", "'auto'")),
    "executor='fork'": (ARRAY, {"executor": "fork"}, ConfigError, ("executor", "'fork'", "'serial'", "'processes'")),
    "executor=None": (ARRAY, {"executor": None}, ConfigError, ("executor", "None", "'threads'")),
    "batch_size=0": (ARRAY, {"batch_size": 0}, ConfigError, ("batch_size", "at least 1", "0")),
    "batch_size=2.5": (ARRAY, {"batch_size": 2.5}, ConfigError, ("batch_size", "2.5", "float")),
    "batch_size=True": (ARRAY, {"batch_size": True}, ConfigError, ("batch_size", "True", "bool")),
    "drop_remainder alone": (ARRAY, {"drop_remainder": True}, ConfigError, ("drop_remainder=True", "batch_size=32")),
    "shuffle='batch'": (ARRAY, {"shuffle": "batch"}, ConfigError, ("shuffle", "'batch'", "True, False, None")),
    "seed=-1": (ARRAY, {"seed": -1}, ConfigError, ("seed", "at least 0", "-1")),
    "seed='x'": (ARRAY, {"seed": "x"}, ConfigError, ("seed", "'x'", "str")),
    "prefetch=0": (ARRAY, {"prefetch": 0}, ConfigError, ("prefetch", "at least 1", "0", "'auto'")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_at_once(name: str) -> None:
    source, options, kind, words = REFUSED[name]
    with pytest.raises(kind) as caught:
        Loader(source, **options)
    assert [word for word in words if word not in str(caught.value)] == []
    assert isinstance(caught.value, ValueError if kind in (ConfigError, EmptySourceError) else (TypeError, ValueError))


def test_a_source_that_becomes_empty_is_refused_when_the_epoch_begins(executor: ExecutorName) -> None:
    source = Length(3)
    with Loader(source, executor=executor) as loader:
        assert list(loader) == [0, 1, 2]
        source.length = 0
        with pytest.raises(EmptySourceError, match="length 0"):
            iter(loader)
        source.length = 2
        assert list(loader) == [0, 1]


# --- what the source returns ---


def none_at_two(i: int) -> Any:
    return None if i == 2 else np.zeros(3)


def ragged_at_two(i: int) -> Any:
    return {"x": np.zeros(3), "y": [np.zeros((2, 2) if i != 2 else (2, 5))]}


def another_tree_at_two(i: int) -> Any:
    return {"x": 1, "y": 2} if i != 2 else {"x": 1, "z": 2}


def number_or_array(i: int) -> Any:
    return np.zeros(3) if i == 2 else 1.0


def lock_at_two(i: int) -> Any:
    return [np.zeros(3), threading.Lock() if i == 2 else None]


UNUSABLE: dict[str, tuple[Callable[[int], Any], dict[str, Any], type[Exception], tuple[str, ...]]] = {
    "None": (none_at_two, {}, BatchError, ("source[2] returned None", "return statement")),
    "a None among samples": (none_at_two, {"batch_size": 4}, BatchError, ("source[2] returned None",)),
    "ragged samples": (
        ragged_at_two,
        {"batch_size": 4},
        BatchError,
        ("do not stack", "source[0]['y'][0]", "(2, 2)", "source[2]['y'][0]", "(2, 5)", "crop, resize or pad"),
    ),
    "a number among arrays": (number_or_array, {"batch_size": 4}, BatchError, ("source[0]", "()", "source[2]", "(3,)")),
    "samples of different structure": (
        another_tree_at_two,
        {"batch_size": 4},
        BatchError,
        ("differ in structure", "source[0] is {'x': *, 'y': *}", "source[2] is {'x': *, 'z': *}"),
    ),
    "something that cannot be sent": (lock_at_two, {}, Exception, ("lock", "batch 2")),
}


def everything(error: BaseException) -> str:
    """Return the message and the notes, as a traceback shows them."""
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_delivered_is_named(executor: ExecutorName, name: str) -> None:
    make, options, kind, words = UNUSABLE[name]
    with Loader(Made(make, 8), executor=executor, workers=2, **options) as loader:
        with pytest.raises(kind) as caught:
            list(loader)
        assert [word for word in words if word not in everything(caught.value)] == []
        with pytest.raises(kind):  # the loader is whole, and says the same again
            list(loader)


# --- what the source raises ---


class TwoArguments(Exception):  # noqa: N818
    """An exception that its own arguments do not rebuild."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class HoldsLock(Exception):  # noqa: N818
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class LockInArguments(Exception):  # noqa: N818
    pass


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError("no text")


class WithAttribute(Exception):  # noqa: N818
    extra: Any = None


def raising(make: Callable[[], BaseException]) -> Made:
    """Return a source that raises at index 5."""

    def batch(i: int) -> Any:
        if i == 5:
            helper_that_raises(make)
        return np.full(3, i)

    return Made(batch, 20)


def helper_that_raises(make: Callable[[], BaseException]) -> None:
    raise make()


def caught_from(loader: Loader) -> tuple[list[int], BaseException]:
    """Read an epoch; return what came before the exception, and the exception."""
    before: list[int] = []
    try:
        before.extend(int(batch[0]) for batch in loader)
    except BaseException as error:
        return before, error
    raise AssertionError("nothing was raised")


def local_class() -> type[Exception]:
    class Local(Exception):  # noqa: N818
        pass

    return Local


LOCAL = local_class()


def with_attribute() -> BaseException:
    error = WithAttribute("extra")
    error.extra = {"a": 1}
    return error


RAISED: dict[str, Callable[[], BaseException]] = {
    "KeyError": lambda: KeyError("missing"),
    "FileNotFoundError": lambda: FileNotFoundError(errno.ENOENT, "No such file", "/data/7.png"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "OSError": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "two arguments": lambda: TwoArguments(3, "three"),
    "attribute": with_attribute,
    "local class": lambda: LOCAL("local", 3),
    "group": lambda: ExceptionGroup("several", [ValueError(1), KeyError("two")]),
    "large message": lambda: ValueError("x" * 300_000),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("from the source"),
    "MemoryError": lambda: MemoryError("too much"),
}


@pytest.mark.parametrize("name", RAISED)
def test_an_exception_arrives_as_itself(executor: ExecutorName, name: str) -> None:
    want = RAISED[name]()
    with Loader(raising(RAISED[name]), executor=executor, workers=2) as loader:
        before, error = caught_from(loader)
        assert before == [0, 1, 2, 3, 4]
        assert type(error) is type(want)
        assert str(error) == str(want)
        if not isinstance(error, ExceptionGroup):
            assert error.args == want.args
        mine = {key: value for key, value in vars(want).items() if key != "__notes__"}
        assert {key: value for key, value in vars(error).items() if key != "__notes__"} == mine
        if isinstance(want, OSError):
            assert isinstance(error, OSError)
            assert (error.errno, error.filename) == (want.errno, want.filename)
        notes = "\n".join(error.__notes__)
        assert "raised by source[5]" in notes and "batch 5 of epoch 0" in notes
        where = {"serial": "the training process", "threads": "thread ", "processes": "worker "}[executor]
        assert where in notes
        if executor == "processes":
            assert re.search(r"in worker [01] \(pid \d+\)", notes)
            assert "helper_that_raises" in str(error.__cause__)
        else:
            assert error.__traceback__ is not None


@pytest.mark.parametrize("make", [HoldsLock, LockInArguments])
def test_an_exception_that_cannot_be_pickled_arrives_by_its_class(executor: ExecutorName, make: Any) -> None:
    def error_with_a_lock() -> BaseException:
        made: BaseException = make(*["text", threading.Lock()][: 1 + (make is LockInArguments)])
        return made

    with Loader(raising(error_with_a_lock), executor=executor, workers=2) as loader:
        before, error = caught_from(loader)
    assert before == [0, 1, 2, 3, 4]
    assert type(error) is make
    assert error.args[0] == "text"
    assert "lock" in str(error.args[-1]) or make is HoldsLock
    assert any("source[5]" in note for note in error.__notes__)


def test_an_exception_that_cannot_be_printed_arrives(executor: ExecutorName) -> None:
    with Loader(raising(lambda: Unprintable("what")), executor=executor, workers=2) as loader:
        before, error = caught_from(loader)
    assert before == [0, 1, 2, 3, 4]
    assert type(error) is Unprintable
    assert error.args == ("what",)


def recurse(i: int) -> Any:
    return recurse(i)


def too_large(i: int) -> Any:
    return np.empty(1 << 60, np.uint8)


@pytest.mark.parametrize(("make", "kind"), [(recurse, RecursionError), (too_large, MemoryError)])
def test_errors_of_the_interpreter_arrive(
    executor: ExecutorName, make: Callable[[int], Any], kind: type[Exception]
) -> None:
    with Loader(Made(make, 3), executor=executor, workers=2) as loader, pytest.raises(kind) as caught:
        list(loader)
    assert any("source[0]" in note for note in caught.value.__notes__)


ENDERS: dict[str, tuple[Callable[[], BaseException], type[Exception], tuple[str, ...]]] = {
    # exceptions that would end a loop or a program in silence
    "StopIteration": (lambda: StopIteration("over"), RuntimeError, ("source[5]", "StopIteration", "epoch were over")),
    "SystemExit": (lambda: SystemExit(3), SourceExitError, ("source[5]", "SystemExit(3)", "must not end the process")),
    "GeneratorExit": (GeneratorExit, SourceExitError, ("source[5]", "GeneratorExit")),
}


@pytest.mark.parametrize("name", ENDERS)
def test_what_would_end_a_loop_or_a_program_becomes_an_error(executor: ExecutorName, name: str) -> None:
    make, kind, words = ENDERS[name]
    with Loader(raising(make), executor=executor, workers=2) as loader:
        before, error = caught_from(loader)
    assert before == [0, 1, 2, 3, 4]
    assert isinstance(error, kind)
    assert [word for word in words if word not in str(error)] == []


def test_sys_exit_in_the_source(executor: ExecutorName) -> None:
    with Loader(Made(lambda i: sys.exit("bye"), 3), executor=executor, workers=2) as loader:
        for _ in range(2):
            with pytest.raises(SourceExitError, match=r"SystemExit\('bye'\)"):
                list(loader)


class RaisesWhile:
    """A source that raises while a file is there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> int:
        if i == 4 and self.path.exists():
            raise ValueError(i)
        return i


def test_the_epoch_after_an_exception_is_whole(executor: ExecutorName, tmp_path: Path) -> None:
    flag = tmp_path / "raise"
    flag.touch()
    with Loader(RaisesWhile(flag), executor=executor, workers=2) as loader:
        epoch = iter(loader)
        assert [next(epoch) for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(ValueError, match="4"):
            next(epoch)
        assert list(epoch) == []  # as after any exception of an iterator
        flag.unlink()
        assert list(loader) == list(range(10))
        assert loader.statistics().deaths == 0


class BadHook(Made):
    def on_epoch_begin(self) -> None:
        if self.length == 3:
            raise LookupError("in the hook")


def test_an_exception_in_a_hook_comes_out_and_the_loader_goes_on(executor: ExecutorName) -> None:
    source = BadHook(abs, 3)
    with Loader(source, executor=executor) as loader:
        with pytest.raises(LookupError, match="in the hook"):
            iter(loader)
        source.length = 2
        assert list(loader) == [0, 1]


def test_rng_outside_a_source_says_where_it_belongs() -> None:
    with pytest.raises(RuntimeError, match=r"outside a source.*__getitem__.*default_rng"):
        procession.rng()


def test_a_loader_that_starts_when_its_module_is_imported(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("""
import procession

class Source:
    def __len__(self):
        return 3
    def __getitem__(self, i):
        return i

print(list(procession.Loader(Source(), workers=1)))
""")
    done = run_script("import data", tmp_path, check=False)
    assert done.returncode == 1
    told = done.stderr.splitlines()[-2]
    assert told.startswith("procession.errors.ImportedAgainError: a Loader was to start workers at ")
    assert f"{tmp_path}/data.py:10, which runs while the workers of another one load its source" in told
    assert told.endswith('Put it into a function, or under `if __name__ == "__main__":` [PRC102]')


class Configured:
    """Holds what somebody sets between two epochs."""

    settings: object = None

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return index


def test_what_is_set_between_two_epochs_and_cannot_be_sent_is_named_by_its_path() -> None:
    source = Configured()
    with Loader(source, workers=1) as loader:
        list(loader)
        source.settings = {"lines": (line for line in "ab")}
        with pytest.raises(CaptureError, match=r"^source\.settings\['lines'\] is a generator"):
            iter(loader)
