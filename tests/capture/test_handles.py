"""What each kind of handle and lock arrives as, and what is said of those that cannot arrive."""

# ruff: noqa: SIM115 - what is opened here is closed by the test, or is what it is about

from __future__ import annotations

import asyncio
import bz2
import codecs
import concurrent.futures
import contextvars
import csv
import functools
import gzip
import io
import logging
import logging.handlers
import lzma
import mmap
import os
import queue
import socket
import sqlite3
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from procession import CaptureError
from procession.capture.pickling import from_shared, pickled, to_shared
from tests.support import run_script

LINES = b"one\r\ntwo\nthree\rfour\n"


def sent(value: Any) -> Any:
    """What `value` is on the other side."""
    return from_shared(*to_shared(pickled(value, "source")))


class Holder:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


# --- files ---


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("read", [0, 1, 2])
def test_text_goes_on_where_it_was(stack: ExitStack, tmp_path: Path, newline: str | None, read: int) -> None:
    (tmp_path / "text").write_bytes(LINES * 1000)
    file = stack.enter_context((tmp_path / "text").open(newline=newline, encoding="utf-16-le", errors="ignore"))
    for _ in range(read):
        file.readline()
    again = stack.enter_context(sent(file))
    assert (again.encoding, again.errors, again.name, again.mode) == (file.encoding, file.errors, file.name, "r")
    assert [again.readline() for _ in range(3)] == [file.readline() for _ in range(3)]
    assert again.read() == file.read()


@pytest.mark.parametrize("held", ["text", "binary", "raw"])
def test_a_file_is_one_object_again_wherever_it_is_held(stack: ExitStack, tmp_path: Path, held: str) -> None:
    (tmp_path / "text").write_bytes(LINES)
    file = stack.enter_context((tmp_path / "text").open())
    whole = {"text": file, "binary": file.buffer, "raw": file.buffer.raw}  # type: ignore[attr-defined]
    source = Holder(first=whole[held], deep={"list": [(whole[held],)]}, **whole)
    again = sent(source)
    stack.callback(again.text.close)
    assert again.first is again.deep["list"][0][0] is getattr(again, held)
    assert again.text.buffer is again.binary and again.binary.raw is again.raw


class Slotted:
    __slots__ = ("file",)

    def __init__(self, file: Any) -> None:
        self.file = file


class Tagged(io.FileIO):
    """A file of the user's own class, with attributes."""

    def __init__(self, path: Path, *, owner: Any) -> None:
        super().__init__(path)
        self.owner = owner


def test_a_cycle_through_a_file_and_a_class_of_the_users(stack: ExitStack, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(LINES)
    source = Slotted(None)
    source.file = stack.enter_context(Tagged(tmp_path / "data", owner=source))
    again = sent(source)
    stack.callback(again.file.close)
    assert type(again.file) is Tagged and again.file.owner is again
    assert again.file.read(3) == b"one"


def test_a_path_is_that_of_the_file_wherever_the_process_is_now(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_bytes(LINES)
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path)
    file = stack.enter_context(Path("data").open("rb"))
    monkeypatch.chdir(tmp_path / "inside")
    assert stack.enter_context(sent(file)).read() == LINES


@pytest.mark.parametrize("mode", ["r", "rb", "w", "a"])
def test_a_closed_file_arrives_closed(tmp_path: Path, mode: str) -> None:
    with (tmp_path / "data").open("w"):
        pass
    with (tmp_path / "data").open(mode) as file:
        pass
    again = sent(file)
    assert again.closed
    with pytest.raises(ValueError, match="closed"):
        again.read()


def test_files_in_memory_keep_their_place_and_stay_writable() -> None:
    held: Any = Holder(data=io.BytesIO(LINES), text=io.StringIO("abc"), over=io.TextIOWrapper(io.BytesIO(LINES)))
    held.data.seek(3)
    held.text.seek(1)
    held.over.readline()
    again: Any = sent(held)
    assert (again.data.read(4), again.text.read(), again.over.readline()) == (b"\r\ntw", "bc", "two\n")
    assert again.data.write(b"more") == 4


def test_the_standard_streams_are_those_of_the_worker() -> None:
    assert sent(Holder(out=sys.stdout)).out is sys.stdout
    assert sent(sys.stderr) is sys.stderr


@pytest.mark.parametrize("library", [gzip, bz2, lzma])
def test_compressed_files_go_on_and_close_what_they_have_opened(stack: ExitStack, tmp_path: Path, library: Any) -> None:
    with library.open(tmp_path / "packed", "wb") as file:
        file.write(bytes(range(256)) * 100)
    kind = {gzip: gzip.GzipFile, bz2: bz2.BZ2File, lzma: lzma.LZMAFile}[library]
    file = stack.enter_context(kind(tmp_path / "packed"))
    file.read(1003)
    again = sent(file)
    below = again.fileobj if library is gzip else again._fp
    assert again.read(2) == file.read(2) == b"\xeb\xec"
    again.close()
    assert below.closed
    given = stack.enter_context((tmp_path / "packed").open("rb"))
    over = kind(fileobj=given) if library is gzip else kind(given)
    lent = sent(Holder(given=given, file=stack.enter_context(over)))
    lent.file.close()
    assert not lent.given.closed
    lent.given.close()


def test_lzma_without_a_container(stack: ExitStack, tmp_path: Path) -> None:
    options: Any = {"format": lzma.FORMAT_RAW, "filters": [{"id": lzma.FILTER_LZMA2, "preset": 1}]}
    with lzma.open(tmp_path / "raw", "wb", **options) as file:
        file.write(LINES * 10)
    opened = stack.enter_context(lzma.open(tmp_path / "raw", **options))
    assert stack.enter_context(sent(opened)).read() == LINES * 10


def test_an_archive_keeps_its_files_and_its_attributes(stack: ExitStack, tmp_path: Path) -> None:
    class Labelled(zipfile.ZipFile):
        label = ""

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", LINES)
    labelled = stack.enter_context(Labelled(tmp_path / "a.zip"))
    labelled.label = "mine"
    labelled.setpassword(b"secret")
    opened = stack.enter_context(labelled.open("a"))
    opened.read(5)
    again, inner = sent((labelled, opened))
    stack.callback(again.close)
    stack.callback(inner.close)
    assert (again.label, again.pwd, again.namelist()) == ("mine", b"secret", ["a"])
    assert inner.read() == opened.read() == LINES[5:]
    root = zipfile.Path(str(tmp_path / "a.zip"))  # says itself how it is pickled
    stack.callback(root.root.close)
    inside = sent(root)
    stack.callback(inside.root.close)
    assert (inside / "a").read_bytes() == LINES


def test_only_the_training_process_removes_a_temporary_file(stack: ExitStack, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(LINES)
    file = stack.enter_context(tempfile.NamedTemporaryFile("w+b", dir=tmp_path))
    file.write(LINES)
    file.flush()
    reading = tempfile._TemporaryFileWrapper(Path(file.name).open("rb"), file.name, delete=False)
    stack.callback(reading.close)
    again = sent(reading)
    assert again.read() == LINES
    again.close()
    assert Path(file.name).exists()
    folder = stack.enter_context(tempfile.TemporaryDirectory(dir=tmp_path))
    holder = tempfile.TemporaryDirectory(dir=folder)
    name = sent(holder).name
    assert name == holder.name and Path(name).exists()
    holder.cleanup()


# --- locks ---


def held(lock: Any) -> Any:
    lock.acquire()
    return lock


@pytest.mark.parametrize("kind", [threading.Lock, threading.RLock, threading._PyRLock])  # type: ignore[attr-defined]
def test_locks_arrive_unlocked(kind: Any) -> None:
    again = sent(Holder(lock=held(kind()), other=kind())).lock
    assert type(again) is type(kind())
    taken: list[bool] = []
    thread = threading.Thread(target=lambda: taken.append(again.acquire(blocking=False)))
    thread.start()
    thread.join()
    assert taken == [True]


def test_a_condition_is_over_the_same_lock() -> None:
    lock = threading.Lock()
    again = sent(Holder(lock=lock, condition=threading.Condition(lock), own=threading.Condition()))
    with again.lock:
        assert not again.condition.acquire(blocking=False)
    with again.condition, again.own:
        assert again.lock.locked()
        again.condition.notify_all()


def test_events_semaphores_and_barriers_keep_what_they_are() -> None:
    event, semaphore, bounded = threading.Event(), threading.Semaphore(3), threading.BoundedSemaphore(2)
    event.set()
    semaphore.acquire()
    bounded.acquire()
    again = sent(Holder(set=event, unset=threading.Event(), semaphore=semaphore, bounded=bounded))
    assert again.set.is_set() and not again.unset.is_set() and not again.unset.wait(0)
    assert [again.semaphore.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    again.bounded.release()
    with pytest.raises(ValueError, match="released too many times"):
        again.bounded.release()
    assert sent(threading.Barrier(1, timeout=7)).wait() == 0
    assert sent(threading.Barrier(3)).parties == 3


class Counted(threading.Condition):
    """A condition of the user's, which is made from something else."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count


class SaysItself(threading.Event):
    """One that says how it is pickled."""

    def __getstate__(self) -> Any:
        return {"told": True}


def test_classes_of_the_users_keep_their_attributes_and_their_way() -> None:
    again = sent(Counted(7))
    assert type(again) is Counted and again.count == 7
    with again:
        again.notify()
    assert vars(sent(SaysItself())) == {"told": True}


def test_thread_locals_arrive_empty() -> None:
    class Mine(threading.local):
        start = 3

    local = Mine()
    local.value = 1
    again = sent(local)
    assert (again.start, hasattr(again, "value")) == (3, False)
    again.value = 2
    assert again.value == 2


@pytest.mark.parametrize("kind", [queue.Queue, queue.LifoQueue, queue.PriorityQueue])
def test_queues_travel_with_their_items(kind: Any) -> None:
    filled = kind(5)
    for item in (3, 1, 2):
        filled.put(item)
    again = sent(filled)
    assert again.maxsize == 5
    assert [again.get_nowait() for _ in range(3)] == [filled.get_nowait() for _ in range(3)]
    again.put(1, timeout=1)
    with pytest.raises(queue.Empty):
        filled.get_nowait()


# --- logging ---


def test_loggers_travel_by_name_and_handlers_are_made_anew(stack: ExitStack, tmp_path: Path) -> None:
    logger = logging.getLogger("tests.handles")
    file = logging.FileHandler(tmp_path / "log", "w")
    file.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    file.setLevel(logging.ERROR)
    stack.callback(file.close)
    file.handle(logging.makeLogRecord({"levelname": "ERROR", "msg": "first"}))
    again = sent(Holder(logger=logger, file=file, err=logging.StreamHandler(), null=logging.NullHandler()))
    stack.callback(again.file.close)
    assert again.logger is logger
    assert again.err.stream is sys.stderr and again.file.level == logging.ERROR
    again.file.handle(logging.makeLogRecord({"levelname": "ERROR", "msg": "second"}))
    assert (tmp_path / "log").read_text() == "ERROR first\nERROR second\n"


# --- databases ---


def test_a_connection_keeps_what_can_be_seen_of_its_settings(stack: ExitStack, tmp_path: Path) -> None:
    class Named(sqlite3.Connection):
        label = ""

    every = sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES
    made = sqlite3.connect(tmp_path / "a.db", 7, every, None, factory=Named)
    stack.callback(made.close)
    made.label = "mine"
    made.execute("CREATE TABLE words (word TEXT)")
    made.execute("INSERT INTO words VALUES ('x')")
    made.execute("ATTACH DATABASE ? AS second", (str(tmp_path / "b ?.db"),))
    made.execute("CREATE TABLE second.more (number INTEGER)")
    made.execute("ATTACH DATABASE ':memory:' AS third")
    made.execute("CREATE TABLE third.most (number INTEGER)")
    made.execute("ATTACH DATABASE ':memory:' AS empty")
    made.row_factory, made.text_factory = sqlite3.Row, bytes
    again = sent(made)
    stack.callback(again.close)
    assert (type(again), again.label, again.isolation_level) == (Named, "mine", None)
    assert (again.row_factory, again.text_factory) == (sqlite3.Row, bytes)
    again.execute("CREATE TABLE empty.new (number INTEGER)")
    assert again.execute("PRAGMA busy_timeout").fetchone()[0] == 7000
    assert again.execute("SELECT word FROM words").fetchone()["word"] == b"x"
    assert again.execute("SELECT count(*) FROM more, most").fetchone()[0] == 0


@pytest.mark.parametrize("detect", [0, sqlite3.PARSE_DECLTYPES, sqlite3.PARSE_COLNAMES])
def test_a_connection_converts_what_it_converted(stack: ExitStack, tmp_path: Path, detect: int) -> None:
    sqlite3.register_converter("TEXT", lambda data: ("user's", data))  # stays the user's
    sqlite3.register_converter("mark", lambda data: ("marked", data))
    stack.callback(sqlite3.converters.pop, "TEXT")  # type: ignore[attr-defined,unused-ignore]
    stack.callback(sqlite3.converters.pop, "MARK")  # type: ignore[attr-defined,unused-ignore]
    made = sqlite3.connect(tmp_path / "a.db", detect_types=detect)
    stack.callback(made.close)
    made.execute("CREATE TABLE words (word TEXT, other MARK)")
    made.execute("INSERT INTO words VALUES ('x', 'y')")
    made.commit()
    again = sent(made)
    stack.callback(again.close)
    query = "SELECT word, other, 'z' AS 'z [mark]' FROM words"
    assert again.execute(query).fetchall() == made.execute(query).fetchall()


# --- mapped arrays ---


def test_a_mapped_array_whose_file_is_gone_travels_by_its_content(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(100))
    reading, writing = (np.load(tmp_path / "a.npy", mmap_mode=mode) for mode in ("r", "r+"))
    (tmp_path / "a.npy").unlink()
    assert np.array_equal(sent(reading), np.arange(100))
    with pytest.raises(CaptureError, match=r"source\.array is a numpy\.memmap.*not there any more.*procession\.share"):
        pickled(Holder(array=writing), "source")


def test_views_of_one_mapping_look_into_one_mapping_again(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(100).reshape(10, 10))
    array = np.load(tmp_path / "a.npy", mmap_mode="c")
    turned = sent([array[::-1, 2:5].T, array.view(np.uint8)[1:], np.asarray(array)[3], array])
    expected = np.arange(100).reshape(10, 10)
    assert np.array_equal(turned[0], expected[::-1, 2:5].T)
    turned[3][:] = 7  # in memory alone
    assert [np.unique(view).tolist() for view in turned[:3]] == [[7], [0, 7], [7]]
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected)
    assert sent(array[:0]).shape == (0, 10)
    locked = array[2:]
    locked.flags.writeable = False
    assert not sent(locked).flags.writeable


@pytest.mark.parametrize("access", [mmap.ACCESS_READ, mmap.ACCESS_WRITE, mmap.ACCESS_COPY])
def test_mapped_bytes_are_mapped_again(stack: ExitStack, tmp_path: Path, access: int) -> None:
    page = mmap.ALLOCATIONGRANULARITY
    (tmp_path / "data").write_bytes(b"-" * page + LINES + b"+" * page)
    with (tmp_path / "data").open("r+b") as file:
        memory = stack.enter_context(mmap.mmap(file.fileno(), page + 7, access=access, offset=page))
    memory.seek(5)
    again = stack.enter_context(sent(memory))
    assert (len(again), again.read(6), again[:3]) == (page + 7, LINES[5:11], b"one")
    if access == mmap.ACCESS_READ:
        with pytest.raises(TypeError, match="readonly"):
            again[:3] = b"new"
        return
    again[:3] = b"new"
    assert memory[:3] == (b"new" if access == mmap.ACCESS_WRITE else b"one")
    if access == mmap.ACCESS_COPY:
        memory[:3] = b"own"
        with pytest.raises(CaptureError, match=r"source is a mmap\.mmap.*written to \(ACCESS_COPY\)"):
            pickled(memory, "source")


# --- libraries ---


def test_images_travel_unread_or_by_their_pixels(stack: ExitStack, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    unread = stack.enter_context(Image.open(tmp_path / "a.png"))
    again = stack.enter_context(sent(unread))
    assert (again.filename, again.size, bool(unread.tile), bool(again.tile)) == (unread.filename, (40, 30), True, True)
    again.load()
    assert again.fp is None or again.fp.closed  # as Pillow does with what it has opened
    read = stack.enter_context(Image.open(tmp_path / "a.png"))
    read.putpixel((0, 0), (1, 2, 3))
    assert sent(read).getpixel((0, 0)) == (1, 2, 3)
    frames = [Image.new("L", (4, 3), k) for k in range(2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    for name in ("a.png", "a.gif"):
        with Image.open(tmp_path / name) as closed:
            closed.load()
        assert np.array_equal(np.asarray(sent(closed)), np.asarray(closed))
    over = stack.enter_context(Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())))
    assert sent(over).getpixel((3, 3)) == (255, 0, 0)


def test_hdf5_keeps_its_options_and_needs_its_path(stack: ExitStack, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", fs_strategy="page") as file:
        file["deep/er/numbers"] = np.arange(10)
    opened = stack.enter_context(
        h5py.File(tmp_path / "a.h5", libver="latest", rdcc_nslots=17, rdcc_w0=0.5, page_buf_size=8192, locking=False)
    )
    again, inner = sent([opened, opened["deep/er"]])
    stack.callback(again.close)
    stack.callback(inner.file.close)
    access = again.id.get_access_plist()
    assert access.get_cache()[1:] == opened.id.get_access_plist().get_cache()[1:]
    assert access.get_page_buffer_size() == (8192, 0, 0) and access.get_file_locking()[1] == 0
    assert inner["numbers"][3] == 3 and inner.name == "/deep/er"
    (tmp_path / "a.h5").unlink()
    with pytest.raises(CaptureError, match=r"source\.file is .*a\.h5' has been deleted or replaced"):
        pickled(Holder(file=opened), "source")


def test_files_and_tables_of_pyarrow(stack: ExitStack, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import dataset, parquet

    table = pa.table({"number": list(range(100))})
    parquet.write_table(table, tmp_path / "a.parquet")
    for make in (pa.memory_map, pa.OSFile):
        file = stack.enter_context(make(str(tmp_path / "a.parquet")))
        file.read(4)
        again = stack.enter_context(sent(file))
        assert (type(again), again.tell(), again.read()) == (type(file), 4, file.read())
    again = sent(Holder(table=table, data=dataset.dataset(tmp_path / "a.parquet")))
    assert again.table.equals(table) and again.data.to_table().equals(table)
    opened = stack.enter_context(parquet.ParquetFile(tmp_path / "a.parquet"))
    with pytest.raises(CaptureError, match=r"source\.file is a pyarrow\.parquet.*pyarrow\.dataset\.dataset"):
        pickled(Holder(file=opened), "source")


def test_generators_of_torch_keep_their_state() -> None:
    import torch

    generator = torch.Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    again = sent(generator)
    assert again.initial_seed() == 5
    assert torch.equal(torch.rand(3, generator=again), torch.rand(3, generator=generator))


def test_no_library_is_imported_before_a_source_holds_something_of_it(tmp_path: Path) -> None:
    script = """
import sys
import procession
from procession.capture.pickling import pickled
class Holder: pass
libraries = {"h5py", "PIL", "pyarrow", "torch", "sqlite3", "zipfile", "tarfile", "multiprocessing.pool", "asyncio"}
before = libraries & set(sys.modules)
for value in (open(__file__), Holder(), {"a": [1.5, Holder]}):
    pickled(value, "source")
print(sorted(libraries & set(sys.modules) - before), sorted(before & {"h5py", "PIL", "pyarrow", "torch"}))
"""
    assert run_script(script, tmp_path).stdout == "[] []\n"


# --- functions with a cache ---


@functools.lru_cache(maxsize=4, typed=True)
def remembered(name: str) -> io.BytesIO:
    """Makes something once."""
    return io.BytesIO(name.encode())


def test_a_cache_that_has_a_name_is_found_by_it() -> None:
    assert sent(Holder(first=remembered)).first is remembered


def test_a_cache_that_has_none_is_made_anew_and_empty(stack: ExitStack, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(LINES)

    class Opens:
        @functools.lru_cache(maxsize=4, typed=True)  # noqa: B019
        def writing(self, name: str) -> Any:
            """Opens a file."""
            return (tmp_path / name).open("a")

    @functools.cache
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    source = Opens()
    stack.enter_context(source.writing("data"))
    fibonacci.note = "kept"  # type: ignore[attr-defined]
    again = sent(Holder(source=source, bound=source.writing, function=fibonacci, same=[fibonacci]))
    method = type(again.source).writing
    assert (method.cache_info().currsize, method.cache_parameters()) == (0, {"maxsize": 4, "typed": True})
    assert (method.__name__, method.__doc__) == ("writing", "Opens a file.")
    assert again.bound.__self__ is again.source
    assert again.function(30) == 832040 and again.function.cache_info().misses == 31  # it calls itself, not a copy
    assert again.function is again.same[0] and again.function.note == "kept"
    assert fibonacci.cache_info().currsize == 0


def test_generic_functions_of_a_function() -> None:
    @functools.singledispatch
    def kind(value: object) -> str:
        return "object"

    @kind.register
    def _(value: int) -> str:
        return "int"

    class Kinds:
        @functools.singledispatchmethod
        def kind(self, value: object) -> str:
            return "object"

        @kind.register
        def _(self, value: int) -> str:
            return "int"

    source: Any = Holder(kind=kind, kinds=Kinds())
    for one in (source, sent(source)):  # called before it is sent, too
        assert [one.kind(x) for x in ("a", 1, True)] == ["object", "int", "int"]
        assert [one.kinds.kind(x) for x in ("a", 1, True)] == ["object", "int", "int"]


# --- weak references ---


def test_weak_dictionaries_and_sets_hold_what_the_source_holds() -> None:
    kept, other = Holder(name="kept"), Holder(name="other")
    source: Any = Holder(kept=kept)
    source.values = weakref.WeakValueDictionary({"kept": kept, "other": other})
    source.keys, source.all = weakref.WeakKeyDictionary({kept: 1, other: 2}), weakref.WeakSet([kept, other])
    again = sent(source)
    assert dict(again.values) == {"kept": again.kept}
    assert dict(again.keys) == {again.kept: 1}
    assert list(again.all) == [again.kept]
    del again.kept
    assert (len(again.values), len(again.keys), len(again.all)) == (0, 0, 0)


# --- numpy's archives, and decoders ---


@pytest.mark.parametrize("over", [str, Path.open, lambda path: io.BytesIO(path.read_bytes())])
def test_npz_files(stack: ExitStack, tmp_path: Path, over: Callable[[Any], Any]) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.arange(5), b=np.array([{"x": 1}], object))
    file = over(tmp_path / "a.npz") if over is not Path.open else stack.enter_context((tmp_path / "a.npz").open("rb"))
    held = stack.enter_context(np.load(file, allow_pickle=True, encoding="latin1"))
    again = sent(Holder(arrays=held)).arrays
    stack.enter_context(again)
    assert list(again) == ["a", "b"] and again.f.a.tolist() == [0, 1, 2, 3, 4] and again["b"][0] == {"x": 1}
    assert again.pickle_kwargs == held.pickle_kwargs and again.max_header_size == held.max_header_size
    assert (again.fid is None) == (held.fid is None) and again.zip.fp is not held.zip.fp
    if again.fid is None:
        stack.callback(again.zip.fp.close)  # it has been given the file, as its original
    assert held["a"].tolist() == [0, 1, 2, 3, 4]


def test_an_npz_file_that_is_closed_or_refuses_objects(stack: ExitStack, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", b=np.array([{"x": 1}], object))
    held = stack.enter_context(np.load(tmp_path / "a.npz"))
    again = stack.enter_context(sent(held))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        again["b"]
    held.close()
    assert sent(held).zip is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_decoders_go_on_where_they_were(stack: ExitStack, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "text").write_text("première\nseconde\ntroisième\n" * 500, encoding=encoding, newline="\n")
    file = stack.enter_context(codecs.open(str(tmp_path / "text"), encoding=encoding))
    half = codecs.getreader(encoding)(stack.enter_context((tmp_path / "text").open("rb")))
    for held in (file, half):
        held.readline()
        again: Any = stack.enter_context(sent(held))
        assert again.readline() == "seconde\n"
        assert again.read() == "troisième\n" + "première\nseconde\ntroisième\n" * 499
        assert held.readline() == "seconde\n"


# --- what cannot arrive ---


def opened_by_next(path: Path) -> Any:
    path.write_text("header\nrow\n")
    file = path.open()
    next(file)
    return file


def with_transaction(path: Path) -> Any:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (1)")
    return connection


def streamed(path: Path) -> Any:
    with tarfile.open(path, "w:gz"):
        pass
    return tarfile.open(path, "r|gz")


def piped(path: Path) -> Any:
    reading, writing = os.pipe()
    os.close(writing)
    return os.fdopen(reading, "rb")


WRITING = ("open for writing", "procession.worker_info().index", "training process")
FIRST_USE = ("__getstate__", "self.thing is None", "executor='threads'")
REFUSED: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "w": (partial(Path.open, mode="w"), ("/thing'", "mode 'w'", *WRITING)),
    "a": (partial(Path.open, mode="a"), ("/thing'", "mode 'a'", *WRITING)),
    "x": (partial(Path.open, mode="x"), ("/thing'", "mode 'x'", *WRITING)),
    "r+": (lambda path: path.write_bytes(b"") or path.open("r+"), ("mode 'r+'", *WRITING)),
    "wb": (partial(Path.open, mode="wb"), ("io.BufferedWriter", "mode 'wb'", *WRITING)),
    "w+b": (partial(Path.open, mode="w+b"), ("io.BufferedRandom", "mode 'rb+'", *WRITING)),
    "unbuffered": (partial(Path.open, mode="ab", buffering=0), ("io.FileIO", "mode 'ab'", *WRITING)),
    "gzip": (lambda path: gzip.open(path, "wt"), WRITING),
    "zip": (lambda path: zipfile.ZipFile(path, "w"), ("zipfile.ZipFile", "mode 'w'", *WRITING)),
    "tar": (lambda path: tarfile.open(path, "w:gz"), ("tarfile.TarFile", "mode 'w'", *WRITING)),
    "hdf5": (lambda path: h5py.File(path, "w"), ("File", "mode 'r+'", *WRITING)),
    "hdf5 dataset": (lambda path: h5py.File(path, "w").create_dataset("x", data=[1]), ("Dataset", "/thing'", *WRITING)),
    "hdf5 id": (lambda path: h5py.File(path, "w").create_dataset("x", data=[1]).id, ("DatasetID", "which travels")),
    "hdf5 file id": (lambda path: h5py.File(path, "w").id, ("FileID", "which travels")),
    "csv": (lambda path: csv.reader(["a,b"]), ("_csv.reader", "list(csv.reader(file))")),
    "weak": (lambda path: weakref.ref(Holder), ("weakref.ReferenceType", "the object itself travels", *FIRST_USE)),
    "temporary": (lambda path: tempfile.TemporaryFile(), ("mode 'rb+'", *WRITING)),
    "tar stream": (streamed, ("tarfile.TarFile", "as a stream", "'r:gz'")),
    "standard input": (lambda path: sys.__stdin__, ("standard input", "name a file")),
    "pipe": (piped, ("a pipe", "reads them first", "training process")),
    "next": (opened_by_next, ("next() has been called", "readline()", "seek()")),
    "mmap": (lambda path: mmap.mmap(-1, 10), ("mmap.mmap", "of no file", "procession.share(array, writable=True)")),
    "cursor": (lambda path: sqlite3.connect(path).execute("SELECT 1"), ("sqlite3.Cursor", "Keep the connection")),
    "transaction": (with_transaction, ("open transaction", "commit()")),
    "rotating": (logging.handlers.RotatingFileHandler, ("would rotate", "logging.FileHandler")),
    "pool": (lambda path: concurrent.futures.ThreadPoolExecutor(), ("workers are a pool already", *FIRST_USE)),
    "future": (lambda path: concurrent.futures.Future[int](), ("result()",)),
    "program": (lambda path: subprocess.Popen(["true"]), ("subprocess.Popen", "is a child of", *FIRST_USE)),
    "simple queue": (lambda path: queue.SimpleQueue(), ("without taking it out", "queue.Queue")),
    "socket": (lambda path: socket.socket(), ("socket.socket", *FIRST_USE)),
    "ssl": (lambda path: ssl.create_default_context(), ("ssl.SSLContext", *FIRST_USE)),
    "loop": (lambda path: asyncio.new_event_loop(), ("EventLoop", "runs its event loop", *FIRST_USE)),
    "thread": (lambda path: threading.current_thread(), ("threading._MainThread", "has started it", *FIRST_USE)),
    "context": (lambda path: contextvars.ContextVar("x"), ("ContextVar", "Keep the value itself")),
}


def done_with(thing: Any) -> None:
    if isinstance(thing, subprocess.Popen):
        thing.wait()
    if isinstance(thing, h5py.h5d.DatasetID):
        thing = h5py.Dataset(thing)
    if isinstance(thing, h5py.h5f.FileID):
        thing = h5py.File(thing)
    if isinstance(thing, h5py.Dataset):
        thing = thing.file
    if isinstance(thing, sqlite3.Cursor):
        thing = thing.connection
    if hasattr(thing, "close") and thing is not sys.__stdin__:
        thing.close()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_arrive_is_named_with_what_to_write_instead(tmp_path: Path, name: str) -> None:
    make, words = REFUSED[name]
    thing = make(tmp_path / "thing")
    try:
        with pytest.raises(CaptureError) as caught:
            pickled(Holder(a=1, thing=thing, b=2), "source")
        assert str(caught.value).startswith("source.thing is a ")
        assert [word for word in words if word not in str(caught.value)] == []
        with pytest.raises(CaptureError, match=r"^source\.deep\['list'\]\[1\] is a "):
            pickled(Holder(deep={"list": [0, thing]}), "source")
    finally:
        done_with(thing)


MULTIPROCESSING = """
import multiprocessing as mp
import multiprocessing.pool
import procession
from procession.capture.pickling import pickled

class Holder:
    pass

def told(thing):
    source = Holder()
    source.thing = thing
    try:
        pickled(source, "source")
    except procession.CaptureError as error:
        assert str(error).startswith("source.thing is a "), error
        return str(error)
    raise AssertionError(thing)

if __name__ == "__main__":
    for lock in (mp.Lock(), mp.RLock()):
        assert "procession.Lock()" in told(lock)
    for waits in (mp.Semaphore(), mp.BoundedSemaphore(), mp.Condition(), mp.Event(), mp.Barrier(2)):
        assert "need not wait for one another" in told(waits)
    for count in (mp.Value("i"), mp.Value("d", lock=False), mp.RawValue("i")):
        assert "procession.SharedCounter()" in told(count)
    for array in (mp.Array("i", 3), mp.Array("d", 3, lock=False), mp.RawArray("i", 3)):
        assert "procession.share(array, writable=True)" in told(array)
    one, other = mp.Pipe()
    for channel in (mp.Queue(), mp.JoinableQueue(), mp.SimpleQueue(), one, other):
        assert "in the batch" in told(channel)
    with mp.Pool(1) as pool, mp.pool.ThreadPool(1) as threads:
        assert "workers are the pool already" in told(pool)
        assert "workers are the pool already" in told(threads)
    assert "__getstate__" in told(mp.Process())
    with mp.Manager() as manager:
        assert "a proxy" in told(manager) and "procession.SharedDict()" in told(manager)
    print("all")
"""


def test_what_multiprocessing_shares_by_inheritance_is_named(tmp_path: Path) -> None:
    done = run_script(MULTIPROCESSING, tmp_path, check=False)
    assert (done.stderr, done.stdout) == ("", "all\n")
