"""Shared arrays, locks, counters and dictionaries across workers, threads and the training process, deaths included."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import procession
from procession import BatchError, Faults, Loader
from procession.capture.counter import SharedCounter
from procession.capture.lock import Lock
from procession.capture.shared import share
from procession.capture.shared_dict import SharedDict
from tests.conftest import ExecutorName
from tests.support import Made, running_script

LENGTH = 40
MANY = Faults(max_restarts=1000)


class Source:
    """Attributes, a function of them and the index, and epoch hooks if wanted."""

    def __init__(self, make: Callable[[Any, int], Any], length: int = LENGTH, **state: Any) -> None:
        self.make, self.length = make, length
        vars(self).update(state)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.make(self, index)


def read(source: Any, executor: str = "processes", **options: Any) -> list[Any]:
    options.setdefault("workers", 4)
    with Loader(source, executor=executor, **options) as loader:  # type: ignore[arg-type]
        return list(loader)


def kill_once(notes: SharedDict[Any, Any], name: Any) -> None:
    """End this worker, but for the one that comes to do the same again."""
    pid = os.getpid()
    if notes.setdefault(name, pid) == pid:
        os.kill(pid, signal.SIGKILL)


# --- arrays ---


def test_all_see_what_anyone_writes(executor: ExecutorName) -> None:
    def make(source: Any, i: int) -> Any:
        source.rows[i] += source.row[i] + i  # a view of each kind, on the same memory
        return source.array[i].copy()

    array = share(np.zeros((LENGTH, 3)), writable=True)
    source = Source(make, array=array, rows=array[:, ::-1], row=share(np.arange(LENGTH)))
    with Loader(source, executor=executor, workers=2) as loader:
        array[:, 0] = 100
        want = np.arange(LENGTH)[:, None] * 2 + [100, 0, 0]
        assert np.array_equal(list(loader), want)
        assert np.array_equal(array, want)
        array[:] = 0
        assert np.array_equal(list(loader), want - [100, 0, 0])


@pytest.mark.parametrize("view", [lambda x: x, lambda x: x[2:, ::-1].T, lambda x: x.view("u1")])
def test_writing_to_what_is_read_only_is_an_error(view: Callable[[Any], Any], executor: ExecutorName) -> None:
    def make(source: Any, i: int) -> Any:
        source.array[0] = 1

    array = share(np.zeros((10, 3)))
    with pytest.raises(ValueError, match="read-only"):
        read(Source(make, array=view(array)), executor)
    assert not array.any()


def where(array: Any) -> str:
    """Name the mapping that an array lies on."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, stop = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < stop:
            return line.split(maxsplit=5)[5]
    raise AssertionError(f"nothing is mapped at {address:x}")


def test_nothing_is_copied_and_nothing_stays() -> None:
    def make(source: Any, i: int) -> Any:
        assert source.whole.sum() == len(source.whole)
        shared = re.findall(r"/memfd:procession-s.*", Path("/proc/self/maps").read_text())
        return where(source.whole), where(source.parts["a"]), shared

    whole = share(np.ones(10_000_000, np.int8))
    source = Source(make, whole=whole, parts={"a": whole[5::7], "b": [whole[-5:], whole]})
    memory = "/memfd:procession-share (deleted)"
    assert read(source) == [(memory, memory, [memory])] * LENGTH  # one mapping, and none of a copy
    with Loader(source) as loader:
        next(iter(loader))
        sizes = [entry.stat().st_size for entry in memfds("source")]
        assert sizes and max(sizes) < 10_000
    del whole, source, loader
    assert memfds("share") == []


def memfds(label: str) -> list[Path]:
    """Return the descriptors of this process of shared memory so labelled."""
    entries = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return [entry for entry in entries if f"procession-{label}" in str(entry.readlink())]


class Hooked(Source):
    """A source whose hooks do what the test says."""

    hook: Callable[[Any], None]

    def on_epoch_end(self) -> None:
        type(self).hook(self)


def test_hooks_may_put_another_array_in_place() -> None:
    def hook(source: Any) -> None:
        source.epoch += 1
        source.array = source.others[source.epoch % 2]

    Hooked.hook = hook
    others = [share(np.full(LENGTH, k), writable=True) for k in range(2)]
    source = Hooked(lambda source, i: (source.epoch, source.array[i]), epoch=0, others=others, array=others[0])
    with Loader(source, workers=2) as loader:
        for epoch, want in enumerate((0, 1, 10, 11)):
            assert [(int(a), int(b)) for a, b in loader] == [(epoch, want)] * LENGTH
            others[epoch % 2][:] += 10  # for the epoch after the next


def test_a_worker_may_have_a_loader_of_its_own() -> None:
    def inner(source: Any, i: int) -> Any:
        source.array[i] += 1
        with source.lock:
            source.notes[i] = source.count.add()
        return i

    def outer(source: Any, i: int) -> Any:
        return len(read(Source(inner, 5, **source.state), workers=2))

    array = share(np.zeros(10), writable=True)
    state = {"array": array[5:], "lock": Lock(), "count": SharedCounter(), "notes": SharedDict()}
    assert [int(batch) for batch in read(Source(outer, 1, state=state), workers=1)] == [5]
    assert array.tolist() == [0] * 5 + [1] * 5
    assert sorted(state["notes"].values()) == [1, 2, 3, 4, 5]


class Own:
    """Something that each worker makes for itself, so that each unpickles the source for itself."""


procession.register(Own, lambda own: (Own, ()))


def test_where_each_worker_unpickles_the_source() -> None:
    def make(source: Any, i: int) -> Any:
        source.array[i] = source.count.add()
        return i

    array, count = share(np.zeros(LENGTH), writable=True), SharedCounter()
    assert len(read(Source(make, array=array, count=count, own=Own()))) == LENGTH
    assert sorted(array) == list(range(1, LENGTH + 1))


# --- counting, by many at once ---


def in_threads(count: int, function: Callable[[], None]) -> None:
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_nothing_is_lost_by_many_threads_of_many_workers(executor: ExecutorName) -> None:
    def make(source: Any, i: int) -> Any:
        def work() -> None:
            for _ in range(25):
                with source.lock:
                    source.total[0] += 1  # a read and a write
                source.count.add()
                source.notes.update_with("all", lambda x: x + 1, 0)
                source.notes[i] = i
                assert source.notes[i] == i and i in source.notes.snapshot()

        in_threads(3, work)
        return i

    state = {"lock": Lock(), "total": share(np.zeros(1, int), writable=True), "count": SharedCounter()}
    notes: SharedDict[Any, int] = SharedDict(capacity=2000)  # rewritten many times over
    with Loader(Source(make, notes=notes, **state), workers=4, executor=executor) as loader:
        for _ in loader:  # the training process takes part
            with state["lock"]:
                state["total"][0] += 1
            state["count"].add()
            notes.update_with("all", lambda x: x + 1)
    total = LENGTH * (75 + 1)
    assert (state["total"][0], state["count"].value, notes.pop("all")) == (total, total, total)
    assert notes == {i: i for i in range(LENGTH)}


def test_deaths_at_known_moments_lose_nothing() -> None:
    def make(source: Any, i: int) -> Any:
        if i % 10 == 3:
            kill_once(source.notes, ("before", i))
        source.count.add()
        source.seen.update_with(i, lambda times: times + 1, 0)
        if i % 10 == 7:
            kill_once(source.notes, ("after", i))
        return i

    count, seen = SharedCounter(), SharedDict[int, int]()
    source = Source(make, count=count, seen=seen, notes=SharedDict())
    with Loader(source, workers=4, faults=MANY) as loader:
        assert list(loader) == list(range(LENGTH))
        deaths = loader.statistics().deaths
    assert deaths == 2 * LENGTH // 10
    # An item is counted each time that it is made: again where its worker died before it could report it.
    assert all(seen[i] > (i % 10 == 7) for i in range(LENGTH))
    assert count.value == sum(seen.values())


WIDE = 2**32 + 1  # both halves of the word change alike


def doomed(source: Any, i: int) -> Any:
    """Change all that is shared until the kernel ends this process, at whatever moment that is."""
    pid = os.getpid()
    if source.notes.setdefault(i, pid) == pid:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 1e-3 * (1 + i % 7))
        while True:
            number = source.count.add(WIDE) // WIDE
            source.pairs.update({"a": number, "b": number, "fill": b"x" * (number % 500)})
            with source.lock:
                source.pair[0] += 1
                source.pair[1] += 1
    number = source.pairs.snapshot()
    with source.lock:
        return source.count.value % WIDE, number["a"] - number["b"], len(number["fill"]) - number["a"] % 500


def test_deaths_at_any_moment_leave_what_was_before_or_after() -> None:
    pair = share(np.zeros(2, int), writable=True)
    pairs: SharedDict[str, Any] = SharedDict({"a": 0, "b": 0, "fill": b""}, capacity=1500)
    count = SharedCounter()
    source = Source(doomed, count=count, pairs=pairs, lock=Lock(), pair=pair, notes=SharedDict())
    with Loader(source, workers=4, faults=MANY) as loader:
        assert [tuple(map(int, batch)) for batch in loader] == [(0, 0, 0)] * LENGTH
        assert loader.statistics().deaths == LENGTH
    assert count.value > LENGTH * WIDE
    assert 0 <= pair[0] - pair[1] <= LENGTH  # what a lock protects may be half done, once a death
    with source.lock:  # type: ignore[attr-defined]
        pairs["a"] = count.add()


# --- the lock ---


def test_a_holder_that_is_killed_lets_the_others_go_on() -> None:
    def make(source: Any, i: int) -> Any:
        with source.lock:
            if i % 5 == 0:
                kill_once(source.notes, i)
            source.inside[0] += 1
            alone = int(source.inside[0])
            source.inside[0] -= 1
        return alone

    inside = share(np.zeros(1, int), writable=True)
    source = Source(make, lock=Lock(), inside=inside, notes=SharedDict())
    with Loader(source, workers=4, faults=MANY) as loader:
        assert list(loader) == [1] * LENGTH
        assert loader.statistics().deaths == LENGTH // 5
    assert not source.lock.locked()  # type: ignore[attr-defined]


def test_the_training_process_and_a_worker_shut_each_other_out() -> None:
    def make(source: Any, i: int) -> Any:
        free = source.lock.acquire(blocking=False)
        if free:
            source.lock.release()
        return free, source.lock.locked()

    lock = Lock()
    with Loader(Source(make, lock=lock), workers=1, prefetch=1) as loader:
        with lock:
            assert list(loader) == [(False, True)] * LENGTH
        assert list(loader) == [(True, False)] * LENGTH


def test_one_that_is_forked_while_another_thread_holds_it() -> None:
    def make(source: Any, i: int) -> Any:
        with source.lock:
            # A child of the worker is a holder of its own: it neither has the lock nor can release it.
            pid = os.fork()
            if pid == 0:
                taken = source.lock.acquire(timeout=0.01)
                try:
                    source.lock.release()
                except RuntimeError:
                    os._exit(10 + taken)
                os._exit(1)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return status, source.lock.locked()

    assert read(Source(make, 3, lock=Lock()), workers=2) == [(10, True)] * 3


INTERRUPTED = """
import threading
from procession.capture.lock import Lock

lock, release, held = Lock(), threading.Event(), threading.Event()

def hold():
    with lock:
        held.set()
        release.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
try:
    print("waiting", flush=True)
    with lock:
        print("not reached")
except KeyboardInterrupt:
    print("interrupted", flush=True)
release.set()
thread.join()
with lock:
    print("acquired", lock.acquire(blocking=False))
"""


def test_ctrl_c_ends_the_wait(tmp_path: Path) -> None:
    with running_script(INTERRUPTED, tmp_path) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "waiting\n"
        script.send_signal(signal.SIGINT)
        assert script.communicate(timeout=30)[0] == "interrupted\nacquired False\n"


# --- near the limit of recursion ---


def locked(lock: Lock) -> None:
    with lock:
        pass


def released(lock: Lock) -> None:
    if lock.acquire(timeout=10):
        lock.release()


DEEP: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "add": (SharedCounter, lambda count: count.add()),
    "set": (SharedCounter, lambda count: count.set(5)),
    "item": (SharedDict, lambda notes: notes.__setitem__("a", "long")),
    "update_with": (lambda: SharedDict({"a": 1}), lambda notes: notes.update_with("a", lambda x: x + 1)),
    "setdefault": (SharedDict, lambda notes: notes.setdefault("a", 1)),
    "pop": (lambda: SharedDict({"a": 1}), lambda notes: notes.pop("a")),
    "clear": (lambda: SharedDict({"a": 1}), lambda notes: notes.clear()),
    "snapshot": (lambda: SharedDict({"a": 1}), lambda notes: notes.snapshot()),
    "with": (Lock, locked),
    "release": (Lock, released),
}


def deeper(levels: int, function: Callable[[], Any]) -> Any:
    return deeper(levels - 1, function) if levels else function()


@pytest.mark.parametrize("name", DEEP)
def test_nobody_is_left_waiting_where_recursion_ends(name: str) -> None:
    make, change = DEEP[name]
    errors, left = set(), []
    for warm in range(3):  # the interpreter makes shorter calls of what it has seen often
        for levels in range(sys.getrecursionlimit()):
            shared = make()
            try:
                deeper(levels, lambda: change(shared))  # noqa: B023 - called at once
            except Exception as error:
                errors.add(type(error))
            mutex = shared._log.mutex if isinstance(shared, SharedDict) else shared._mutex
            if mutex.holder():
                left.append((warm, levels))
                mutex.release()
            if isinstance(shared, SharedCounter):
                assert shared.value in (0, 1, 5)
            if isinstance(shared, SharedDict):
                assert shared.snapshot() in ({}, {"a": 1}, {"a": 2}, {"a": "long"})
    assert left == []
    assert errors == {RecursionError}


def test_a_worker_at_the_end_of_its_recursion_does_not_stop_the_others() -> None:
    def make(source: Any, i: int) -> Any:
        if i == 3:
            for levels in range(sys.getrecursionlimit()):
                with contextlib.suppress(RecursionError):
                    deeper(levels, source.count.add)
        source.count.add()
        return i

    assert read(Source(make, count=SharedCounter()), workers=2) == list(range(LENGTH))


# --- dictionaries ---


def test_a_class_of_the_script_in_a_dictionary(tmp_path: Path) -> None:
    text = """
import procession
from procession.capture.shared_dict import SharedDict

class Point:
    def __init__(self, x):
        self.x = x

class Source:
    def __init__(self):
        self.points = SharedDict({0: Point(5)})
    def __len__(self):
        return 3
    def __getitem__(self, i):
        self.points[i + 1] = Point(self.points[0].x + i)
        return i

source = Source()
with procession.Loader(source, workers=2) as loader:
    list(loader)
assert all(type(point) is Point for point in source.points.values())
print([source.points[k].x for k in range(4)])
"""
    script = tmp_path / "script.py"
    script.write_text(text)
    with running_script(text, tmp_path) as running:
        out, error = running.communicate(timeout=60)
    assert (out, error) == ("[5, 5, 6, 7]\n", "")


def test_none_of_it_travels_in_a_batch() -> None:
    count = SharedCounter()
    with pytest.raises(BatchError, match=r"\[0\] of the batch is a .*a procession\.SharedCounter is shared memory"):
        read(Made(lambda i: [count], 2))
