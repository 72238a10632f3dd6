"""Sources that hold open files, archives, databases and images: read by workers as by the training process itself."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import logging
import lzma
import mmap
import os
import queue
import signal
import sqlite3
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import procession
from procession import CaptureError, Loader
from procession.capture.pickling import pickled
from tests.conftest import ExecutorName
from tests.support import form, run_script, streams

SIZE = 20_000
DATA = np.random.default_rng(1).integers(0, 256, SIZE, np.uint8).tobytes()
LINES = "première\r\nseconde\ntroisième\rlast"


class Reads:
    """Reads each item out of what it holds."""

    def __init__(self, handle: Any, read: Callable[[Any, int], Any], length: int = 12) -> None:
        self.handle, self.read, self.length = handle, read, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        return self.read(self.handle, i)


def places(i: int) -> list[int]:
    return [(i * 7919 + k * 10_477) % (SIZE - 16) for k in range(5)]


def pieces(file: Any, i: int) -> list[bytes]:
    found = []
    for place in places(i):
        file.seek(place)
        found.append(file.read(16))
    return found


def lines(file: Any, i: int) -> list[str]:
    file.seek(0)
    return [file.readline() for _ in range(i % 5)]


def written(folder: Path) -> Path:
    path = folder / "data"
    path.write_bytes(DATA)
    return path


def text(folder: Path, encoding: str = "latin-1", **options: Any) -> Any:
    (folder / "text").write_bytes(LINES.encode("latin-1"))
    return (folder / "text").open(encoding=encoding, **options)


def decoded(folder: Path) -> Any:
    (folder / "text").write_bytes(LINES.encode("latin-1"))
    return codecs.open(str(folder / "text"), encoding="latin-1")


def compressed(library: Any, folder: Path, mode: str = "rb", data: bytes = DATA) -> Any:
    with library.open(folder / "packed", "wb") as file:
        file.write(data)
    return library.open(folder / "packed", mode)


def mapped(folder: Path) -> mmap.mmap:
    with written(folder).open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def deleted(folder: Path) -> Any:
    file = written(folder).open("rb")
    (folder / "data").unlink()
    return file


def replaced(folder: Path) -> Any:
    file = written(folder).open("rb")
    (folder / "other").write_bytes(b"?" * SIZE)
    (folder / "other").replace(folder / "data")
    return file


def renamed(folder: Path) -> Any:
    file = written(folder).open("rb", buffering=0)
    (folder / "data").rename(folder / "elsewhere")
    return file


def anonymous(folder: Path) -> Any:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(DATA)
        file.flush()
        return Path(f"/proc/self/fd/{file.fileno()}").open("rb")


def of_descriptor(folder: Path) -> Any:
    return os.fdopen(os.open(written(folder), os.O_RDONLY), "rb")


def zipped(folder: Path, over: Callable[[Path], Any] = str) -> zipfile.ZipFile:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(5):
            archive.writestr(f"{i}", DATA[i:])
    return zipfile.ZipFile(over(folder / "a.zip"))


def tarred(folder: Path, mode: str) -> tarfile.TarFile:
    written(folder)
    with tarfile.open(folder / "a.tar", f"w:{mode}") as archive:  # type: ignore[call-overload]
        for i in range(5):
            archive.add(folder / "data", f"{i}")
    return tarfile.open(folder / "a.tar")


def member(archive: Any, i: int) -> bytes:
    if isinstance(archive, tarfile.TarFile):
        file = archive.extractfile(f"{i % 5}")
        assert file is not None
        with file:
            return b"".join(pieces(file, i))
    return bytes(archive.read(f"{i % 5}")[i : i + 100])


def database(folder: Path) -> sqlite3.Connection:
    made = sqlite3.connect(folder / "table.db")
    made.execute("CREATE TABLE rows (number INTEGER, word TEXT)")
    made.executemany("INSERT INTO rows VALUES (?, ?)", [(i, f"word {i}") for i in range(100)])
    made.commit()
    made.row_factory = sqlite3.Row
    return made


def in_memory(folder: Path) -> sqlite3.Connection:
    made = sqlite3.connect(":memory:")
    with closing(database(folder)) as stored:
        stored.backup(made)
    return made


def read_only(folder: Path) -> sqlite3.Connection:
    database(folder).close()
    return sqlite3.connect(f"file:{folder}/table.db?mode=ro", uri=True)


def query(connection: sqlite3.Connection, i: int) -> list[Any]:
    rows = connection.execute("SELECT * FROM rows WHERE number % 7 = ?", (i % 7,)).fetchall()
    return [tuple(row) for row in rows]


def hdf5(folder: Path, take: Callable[[Any], Any] = lambda file: file, **options: Any) -> Any:
    with h5py.File(folder / "a.h5", "w", libver="latest") as file:
        file["group/numbers"] = np.arange(3000).reshape(100, 30)
        file.create_dataset("chunks", data=np.arange(3000).reshape(100, 30), chunks=(7, 7), compression="gzip")
    return take(h5py.File(folder / "a.h5", **options))


def family(folder: Path) -> Any:
    options: Any = {"driver": "family", "memb_size": 4096}
    with h5py.File(folder / "part%d.h5", "w", **options) as file:
        file["numbers"] = np.arange(3000).reshape(100, 30)
    return h5py.File(folder / "part%d.h5", **options)


def chunks(value: Any, i: int) -> Any:
    data = value if isinstance(value, h5py.Dataset) else value["chunks"] if "chunks" in value else value["numbers"]
    return data[i * 7 : i * 7 + 9, i % 20 :]


def picture(folder: Path, kind: str) -> Any:
    pixels = np.frombuffer(DATA, np.uint8)[: 60 * 50 * 3].reshape(60, 50, 3)
    frames = [Image.fromarray(np.roll(pixels, k)) for k in range(3)]
    more = {"save_all": True, "append_images": frames[1:]} if kind in ("gif", "tiff") else {}
    frames[0].save(folder / f"a.{kind}", **more)
    return Image.open(folder / f"a.{kind}")


def pixels(image: Any, i: int) -> Any:
    if getattr(image, "n_frames", 1) > 1:
        image.seek(i % 3)
    return np.asarray(image)[i : i + 5]


def several(folder: Path) -> Any:
    np.savez_compressed(folder / "a.npz", one=np.arange(5000), two=np.arange(300.0).reshape(100, 3))
    return np.load(folder / "a.npz")


def matrix(folder: Path, mode: Any = "r") -> Any:
    np.save(folder / "a.npy", np.arange(50_000).reshape(500, 100))
    return np.load(folder / "a.npy", mmap_mode=mode)


def rows(array: Any, i: int) -> Any:
    return np.array(array[i * 3 : i * 3 + 4])


CASES: dict[str, tuple[Callable[[Path], Any], Callable[[Any, int], Any]]] = {
    "binary": (lambda folder: written(folder).open("rb"), pieces),
    "unbuffered": (lambda folder: written(folder).open("rb", buffering=0), pieces),
    "text": (text, lines),
    "text, its own ends": (partial(text, newline=""), lines),
    "text, ends by return": (partial(text, newline="\r"), lines),
    "text, ends by new line": (partial(text, newline="\n"), lines),
    "text, errors": (partial(text, encoding="utf-8", errors="replace"), lines),
    "deleted": (deleted, pieces),
    "replaced": (replaced, pieces),
    "renamed": (renamed, pieces),
    "anonymous": (anonymous, pieces),
    "of a descriptor": (of_descriptor, pieces),
    "mapped bytes": (mapped, pieces),
    "gzip": (lambda folder: compressed(gzip, folder), pieces),
    "bz2": (lambda folder: compressed(bz2, folder), pieces),
    "lzma": (lambda folder: compressed(lzma, folder), pieces),
    "gzip text": (lambda folder: compressed(gzip, folder, "rt", LINES.encode()), lines),
    "zip": (zipped, member),
    "zip over a file": (lambda folder: zipped(folder, lambda path: path.open("rb")), member),
    "zip over bytes": (lambda folder: zipped(folder, lambda path: io.BytesIO(path.read_bytes())), member),
    "file in a zip": (lambda folder: zipped(folder).open("0"), pieces),
    "tar": (lambda folder: tarred(folder, ""), member),
    "tar.gz": (lambda folder: tarred(folder, "gz"), member),
    "tar.xz": (lambda folder: tarred(folder, "xz"), member),
    "file in a tar": (lambda folder: tarred(folder, "bz2").extractfile("3"), pieces),
    "sqlite": (database, query),
    "sqlite, read-only": (read_only, query),
    "sqlite in memory": (in_memory, query),
    "hdf5": (hdf5, chunks),
    "hdf5 group": (lambda folder: hdf5(folder, lambda file: file["group"]), chunks),
    "hdf5 dataset": (lambda folder: hdf5(folder, lambda file: file["chunks"]), chunks),
    "hdf5, swmr": (lambda folder: hdf5(folder, swmr=True), chunks),
    "hdf5, core": (lambda folder: hdf5(folder, driver="core"), chunks),
    "hdf5, family": (family, chunks),
    "hdf5, options": (lambda folder: hdf5(folder, libver="latest", rdcc_nbytes=0, locking=False), chunks),
    "npz": (several, lambda arrays, i: (arrays["one"][i::12], arrays.f.two[i : i + 9])),
    "decoded": (decoded, lines),
    "png": (partial(picture, kind="png"), pixels),
    "jpeg": (partial(picture, kind="jpeg"), pixels),
    "gif": (partial(picture, kind="gif"), pixels),
    "tiff": (partial(picture, kind="tiff"), pixels),
    "memmap": (matrix, rows),
    "memmap, copy-on-write": (lambda folder: matrix(folder, "c"), rows),
    "slice of a memmap": (lambda folder: matrix(folder)[400:2:-2, 5::3], rows),
    "array on a memmap": (lambda folder: np.asarray(matrix(folder))[7:], rows),
}


@contextmanager
def closed_after(handle: Any) -> Iterator[Any]:
    with ExitStack() as stack:
        if isinstance(handle, zipfile.ZipFile) and handle.fp is not None:
            stack.callback(handle.fp.close)  # which it does not close itself if it has not opened it
        if hasattr(handle, "close"):
            stack.callback(handle.close)
        elif isinstance(handle, (h5py.Dataset, h5py.Group)):
            stack.callback(handle.file.close)
        yield handle


@pytest.mark.parametrize("name", CASES)
def test_workers_read_what_the_training_process_reads(tmp_path: Path, name: str) -> None:
    make, read = CASES[name]
    with closed_after(make(tmp_path)) as handle:
        source = Reads(handle, read)
        expected = streams(source, "serial")
        assert streams(source, "processes", epochs=2) == expected * 2
        assert streams(source, "serial") == expected  # it still does


@pytest.mark.parametrize("name", CASES)
def test_it_looks_the_same_while_nothing_moves_it(tmp_path: Path, name: str) -> None:
    # What looks different after an epoch's hooks is sent again.
    with closed_after(CASES[name][0](tmp_path)) as handle:
        first, again = pickled(handle, "source"), pickled(handle, "source")
        assert first.stream == again.stream
        assert [bytes(buffer) for buffer in first.buffers] == [bytes(buffer) for buffer in again.buffers]


# --- each has its own ---


class Wanders:
    """Reads here and there, and says whether anyone else has moved its file meanwhile."""

    def __init__(self, file: Any) -> None:
        self.file, self.left = file, file.tell()

    def __len__(self) -> int:
        return 100

    def __getitem__(self, i: int) -> tuple[bool, bool, int]:
        moved = self.file.tell() != self.left
        place = places(i)[0]
        self.file.seek(place)
        right = self.file.read(16) == DATA[place : place + 16]
        self.left = self.file.tell()
        return moved, right, os.getpid()


WANDERED = ("unbuffered", "binary", "deleted", "anonymous", "of a descriptor", "mapped bytes", "gzip", "file in a zip")


@pytest.mark.parametrize("name", WANDERED)
def test_no_two_workers_share_an_offset(tmp_path: Path, name: str) -> None:
    with closed_after(CASES[name][0](tmp_path)) as file:
        # Two partitions go to two workers, and as few batches ahead keeps these in step.
        with Loader([Wanders(file), Wanders(file)], workers=2, prefetch=2) as loader:
            batches = list(loader)
        assert file.tell() == 0
    assert {(moved, right) for moved, right, _ in batches} == {(False, True)}
    assert len({pid for _, _, pid in batches}) == 2


def test_the_position_is_kept(tmp_path: Path) -> None:
    with written(tmp_path).open("rb") as file, text(tmp_path) as words:
        file.seek(1234)
        words.readline()
        with Loader(
            Reads((file, words), lambda held, i: (held[0].read(5), held[1].readline()), 1), workers=1
        ) as loader:
            assert list(loader) == [(DATA[1234:1239], "seconde\n")]
        assert file.tell() == 1234


def test_in_threads_and_in_serial_it_is_the_object_itself(tmp_path: Path) -> None:
    with written(tmp_path).open("rb") as file:
        for executor in ("serial", "threads"):
            with Loader(Reads(file, lambda held, i: id(held), 3), executor=executor) as loader:
                assert list(loader) == [id(file)] * 3


# --- deaths and hooks ---


class DiesOnce(Wanders):
    """Ends its worker over one item, the first time."""

    def __init__(self, file: Any, mark: Path) -> None:
        super().__init__(file)
        self.mark = mark

    def __getitem__(self, i: int) -> Any:
        if i == 50 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)[:2]


@pytest.mark.parametrize("name", ["binary", "deleted"])
def test_the_successor_of_a_dead_worker_opens_it_again(tmp_path: Path, name: str) -> None:
    with closed_after(CASES[name][0](tmp_path)) as file:
        source = DiesOnce(file, tmp_path / "mark")
        assert streams(source, "processes", epochs=2) == [[form((False, True))] * 100] * 2
    assert (tmp_path / "mark").exists()


class Turns:
    """Reads on in its file at each epoch's begin, or opens the next one."""

    def __init__(self, folder: Path, *, anew: bool, mark: Path | None = None) -> None:
        for epoch in range(4):
            (folder / f"{epoch}").write_bytes(bytes([epoch]) * 100 + DATA)
        self.folder, self.anew, self.epoch, self.mark = folder, anew, -1, mark
        self.file: Any = (folder / "0").open("rb")
        self.kept = self.file

    def __len__(self) -> int:
        return 20

    def on_epoch_begin(self) -> None:
        self.epoch += 1
        if self.anew:
            if self.file is not self.kept:
                self.file.close()
            self.file = (self.folder / f"{self.epoch}").open("rb")
        else:
            self.file.seek(50 + self.epoch)
        self.header = self.file.read(2)

    def __getitem__(self, i: int) -> Any:
        if self.mark is not None and (self.epoch, i) == (1, 7) and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        place = self.file.tell() if i == 0 and self.epoch == 0 else None
        self.file.seek(90)
        return self.header, place, self.file.read(20), pieces(self.kept, i)

    def close(self) -> None:
        self.file.close()
        self.kept.close()


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("dies", [False, True])
def test_hooks_move_and_exchange_files(tmp_path: Path, *, anew: bool, dies: bool) -> None:
    with closing(Turns(tmp_path, anew=anew)) as source:
        expected = streams(source, "serial", epochs=3)
    with closing(Turns(tmp_path, anew=anew, mark=tmp_path / "mark" if dies else None)) as source:
        assert streams(source, "processes", epochs=3) == expected
    assert (tmp_path / "mark").exists() == dies


class Opens(Wanders):
    """Opens its file at the begin of each epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_epoch_begin(self) -> None:
        self.file, self.left = self.path.open("rb", buffering=0), 0

    def on_epoch_end(self) -> None:
        self.file.close()


def test_a_file_that_a_hook_opens_is_not_shared(tmp_path: Path) -> None:
    source = Opens(written(tmp_path))
    with Loader([source, source], workers=2, prefetch=2) as loader:
        for _ in range(2):
            batches = list(loader)
            assert {(moved, right) for moved, right, _ in batches} == {(False, True)}
            assert len({pid for _, _, pid in batches}) == 2


# --- the user's own ---


class Volume:
    """A reader that cannot be pickled."""

    def __init__(self, path: Path) -> None:
        self.path, self.pid, self.file = path, os.getpid(), os.open(path, os.O_RDONLY)

    def __getstate__(self) -> Any:
        raise TypeError("no")

    def close(self) -> None:
        os.close(self.file)


class Larger(Volume):
    """A kind of it."""


procession.register(Volume, lambda volume: (type(volume), (volume.path,)))


@pytest.mark.parametrize("kind", [Volume, Larger])
def test_a_registered_reader_is_made_by_each_worker(tmp_path: Path, kind: type[Volume]) -> None:
    def read(volume: Any, i: int) -> Any:
        return os.pread(volume.file, 4, i), type(volume).__name__, volume.pid == os.getpid()

    with closing(kind(written(tmp_path))) as volume, Loader(Reads(volume, read), workers=2) as loader:
        assert list(loader) == [(DATA[i : i + 4], kind.__name__, True) for i in range(12)]


class Numbered(io.FileIO):
    """A file that says itself how it is pickled."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(path)
        self.number, self.pid = number, os.getpid()

    def __reduce__(self) -> Any:
        return type(self), (Path(str(self.name)), self.number + 1)


def test_a_subclass_keeps_its_own_way_and_is_not_shared_either(tmp_path: Path) -> None:
    def read(file: Any, i: int) -> Any:
        return file.number, file.pid == os.getpid(), pieces(file, i)

    with Numbered(written(tmp_path), 7) as file:
        expected = [(8, True, pieces(file, i)) for i in range(12)]
        with Loader(Reads(file, read), workers=2) as loader:
            assert list(loader) == expected


# --- writing ---


def test_workers_write_to_a_memmap_that_is_open_for_it(tmp_path: Path) -> None:
    array = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.int64, (20, 3))

    def write(held: Any, i: int) -> int:
        held[i] = i
        return i

    with Loader(Reads(array, write, 20), workers=2) as loader:
        assert list(loader) == list(range(20))
    assert np.array_equal(array, np.arange(20)[:, None].repeat(3, 1))
    assert np.array_equal(np.load(tmp_path / "out.npy"), array)


def test_what_is_changed_in_a_copy_on_write_memmap_travels(tmp_path: Path) -> None:
    array = matrix(tmp_path, "c")
    array[3] = -1
    source = Reads(array, rows)
    assert streams(source, "processes") == streams(source, "serial")


def test_a_file_that_is_written_to_is_an_error_until_it_is_left_out(executor: ExecutorName, tmp_path: Path) -> None:
    with (tmp_path / "log").open("a") as log, Loader(Reads(log, lambda held, i: i, 3), executor=executor) as loader:
        if executor != "processes":
            assert list(loader) == [0, 1, 2]
            return
        with pytest.raises(CaptureError, match=r"source\.handle is a _io\.TextIOWrapper.*log', mode 'a'.*worker_info"):
            iter(loader)


# --- multiprocessing ---

SHARED = """
import multiprocessing
import os
import queue
from multiprocessing.shared_memory import SharedMemory
import procession

class Source:
    def __init__(self, memory, seen):
        self.memory, self.seen = memory, seen
    def __len__(self):
        return 20
    def __getitem__(self, i):
        self.memory.buf[i] = i + 1
        self.seen[i] = os.getpid()
        return self.memory.buf[19 - i] in (0, 20 - i)

if __name__ == "__main__":
    memory = SharedMemory(create=True, size=20)
    with multiprocessing.Manager() as manager:
        seen = manager.dict()
        with procession.Loader(Source(memory, seen), workers=2) as loader:
            for epoch in range(2):
                print(all(loader), len(seen), os.getpid() in seen.values())
        again = SharedMemory(memory.name)  # nobody has removed it
        print(bytes(again.buf[:20]) == bytes(range(1, 21)))
        again.close()
    memory.close()
    memory.unlink()
"""


def test_shared_memory_and_what_a_manager_keeps_are_found_again(tmp_path: Path) -> None:
    done = run_script(SHARED, tmp_path, check=False)
    assert done.stderr == ""
    assert done.stdout == "True 20 False\nTrue 20 False\nTrue\n"


# --- functions with a cache ---

CACHED = """
import functools
import procession

@functools.lru_cache
def opened(path):
    return open(path, "rb")

@functools.singledispatch
def name(value):
    return "object"

@name.register
def _(value: int):
    return "int"

class Source:
    def __len__(self):
        return 20
    @functools.cache
    def place(self, i):
        return 3 * i
    def __getitem__(self, i):
        file = opened(__file__)
        file.seek(self.place(i))
        return file.read(5), opened.cache_info().currsize, name(i)

source = Source()
expected = [source[i] for i in range(20)]  # the training process has the file in its cache
with procession.Loader(source, workers=2, executor="processes") as loader:
    print(*(list(loader) == expected for epoch in range(2)))
opened(__file__).close()
"""


def test_cached_and_generic_functions_of_the_script(tmp_path: Path) -> None:
    done = run_script(CACHED, tmp_path, check=False)
    assert (done.stderr, done.stdout) == ("", "True True\n")


# --- what pickles by itself ---

ZARR = """
import numpy as np
import zarr
import procession

class Source:
    def __init__(self, array, group):
        self.array, self.group = array, group
    def __len__(self):
        return 20
    def __getitem__(self, i):
        return self.array[i : i + 5], self.group["inner"][i : i + 2]

group = zarr.open_group("data.zarr", mode="w")
for name in ("outer", "inner"):
    group.create_array(name, shape=(100, 30), chunks=(10, 10), dtype="i4")[:] = np.arange(3000).reshape(100, 30)
group = zarr.open_group("data.zarr", mode="r")
source = Source(group["outer"], group)
with procession.Loader(source, workers=2) as loader:
    for epoch in range(2):
        for i, batch in enumerate(loader):
            assert all(np.array_equal(one, other) for one, other in zip(batch, source[i], strict=True)), i
print(i)
"""


def test_arrays_and_groups_of_zarr(tmp_path: Path) -> None:
    done = run_script(ZARR, tmp_path, check=False)
    assert (done.stderr, done.stdout) == ("", "19\n")


# --- locks and logs ---


class Guarded:
    """Uses each kind of lock for every item, and tells its logger's handler."""

    def __init__(self, path: Path) -> None:
        self.lock, self.condition = threading.RLock(), threading.Condition()
        self.ready, self.few = threading.Event(), threading.Semaphore(2)
        self.ready.set()
        self.local, self.waiting = threading.local(), queue.Queue[int]()
        self.waiting.put(5)
        self.handler = logging.FileHandler(path, delay=True)

    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> tuple[int, int]:
        with self.lock, self.condition, self.few:
            assert self.ready.wait(1)
            self.condition.notify_all()
            self.local.count = getattr(self.local, "count", 0) + 1
            self.handler.handle(logging.makeLogRecord({"msg": f"item {i}"}))
            return i, self.waiting.queue[0]


def test_a_source_with_locks_and_a_log(executor: ExecutorName, tmp_path: Path) -> None:
    source = Guarded(tmp_path / "log")
    with closing(source.handler):
        held = source.lock.acquire() if executor == "processes" else False  # by the training process alone
        with Loader(source, executor=executor, workers=2) as loader:
            assert list(loader) == [(i, 5) for i in range(20)]
        if held:
            source.lock.release()
    assert sorted((tmp_path / "log").read_text().splitlines()) == sorted(f"item {i}" for i in range(20))


# --- what the user's own class opens when it is unpickled ---


class OpensAnew:
    """Says itself how it travels, as the documentation of pickle does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("rb")

    def __getstate__(self) -> Any:
        return {"path": self.path}

    def __setstate__(self, state: Any) -> None:
        self.path = state["path"]
        self.file = self.path.open("rb")

    def __len__(self) -> int:
        return 200

    def __getitem__(self, i: int) -> Any:
        self.file.seek(8 * i)
        first = self.file.tell()
        return first, self.file.read(8), self.file.tell()


def test_a_file_that_the_source_opens_itself_is_every_workers_own(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"".join(b"%8d" % i for i in range(200)))
    source = OpensAnew(path)
    with Loader(source, workers=2) as loader:
        assert list(loader) == [(8 * i, b"%8d" % i, 8 * i + 8) for i in range(200)]
        assert loader.statistics().files == (str(path),)
        assert f"it opens {path}" in str(loader.statistics())
    source.file.close()


class FailsAnew(OpensAnew):
    """Cannot be rebuilt where its file is gone."""


@pytest.mark.parametrize("private", [False, True])
def test_a_source_that_cannot_be_rebuilt_is_told_at_once(tmp_path: Path, *, private: bool) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"1")
    source: Any = FailsAnew(path)
    if private:
        source.__class__ = type("Private", (FailsAnew,), {"__getstate__": lambda self: {"path": path, "f": self.file}})
    path.unlink()
    with Loader(source, workers=2) as loader, pytest.raises(FileNotFoundError) as caught:
        list(loader)
    assert "raised while the source was unpickled for the workers" in "".join(caught.value.__notes__)
    source.file.close()
