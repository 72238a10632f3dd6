"""Shared memory in one process: what `share` returns, how it is recognised when a source is sent, when it goes."""

from __future__ import annotations

import contextlib
import copy
import pickle
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from procession import CaptureError, ConfigError, LimitError
from procession.capture.counter import SharedCounter
from procession.capture.lock import Lock
from procession.capture.pickling import MOST_ALONG, from_shared, pickled, to_shared
from procession.capture.shared import share
from procession.capture.shared_dict import SharedDict
from procession.capture.state import Tracker
from procession.capture.strings import Strings
from tests.support import form, run_script

RECORD = np.dtype([("name", "S3"), ("size", "<i4"), ("place", "f8", (2,))])
ARRAYS = {
    "bool": np.array([True, False]),
    "float": np.arange(6.0).reshape(2, 3),
    "big-endian": np.arange(4, dtype=">i2"),
    "complex": np.array([1 + 2j]),
    "text": np.array(["a", "four"]),
    "bytes": np.array([b"abc", b""]),
    "times": np.array(["2024-01-01", "NaT"], "M8[s]"),
    "records": np.array([(b"abc", 3, (1.0, 2.0))], RECORD),
    "0-d": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "Fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
    "strided": np.arange(20)[::-3],
}


def arrived(value: Any) -> Any:
    """Return what comes out where a source is unpickled."""
    return from_shared(*to_shared(pickled(value, "source")))


def shared_memory() -> list[str]:
    """Name the mappings of this process that `share` and the others have made."""
    return re.findall(r"/memfd:procession-(?:share|lock|counter|dict)", Path("/proc/self/maps").read_text())


# --- strings ---

TEXTS = ["", "a", "naïve", "\u4e2d\u6587.png", "x" * 1000, "\udce9.txt", "a\0b"]


def test_a_list_of_strings_is_a_sequence_of_them() -> None:
    strings = share(TEXTS)
    assert len(strings) == len(TEXTS)
    assert list(strings) == TEXTS == strings[:]
    assert [strings[-k] for k in range(1, len(TEXTS) + 1)] == TEXTS[::-1]
    assert strings[np.int64(1)] == "a"
    assert strings[4:0:-2] == TEXTS[4:0:-2]
    assert strings == TEXTS
    assert strings != TEXTS[1:]
    assert strings != "a"
    assert "naïve" in strings
    assert strings.index("a") == 1
    assert repr(strings).startswith("<7 strings: '', 'a', 'naïve', …>")
    assert not strings.ends.flags.writeable


def test_strings_that_are_not_there() -> None:
    strings = Strings.of(TEXTS)
    for wrong in (7, -8):
        with pytest.raises(IndexError, match=f"index {wrong} is out of range: there are 7 strings"):
            strings[wrong]
    with pytest.raises(TypeError):
        strings["a"]  # type: ignore[call-overload]


def test_strings_in_a_tree_travel_without_a_copy() -> None:
    tree = share({"files": [f"{i}.png" for i in range(100_000)], "labels": np.arange(3), "mixed": ["a", 1], "none": []})
    assert tree["mixed"] == ["a", 1]
    assert tree["none"] == []
    parts = pickled(tree, "source")
    assert len(parts.stream) < 5000
    assert len(parts.along.descriptors) == 1
    again = arrived(tree)
    assert again["files"] == tree["files"]
    assert len(shared_memory()) == 1  # what is in this process already is not mapped again
    assert share(again)["files"] == tree["files"]


# --- share ---


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_an_array_is_the_same_in_shared_memory(array: Any, *, writable: bool) -> None:
    shared = share(array, writable=writable)
    assert type(shared) is np.ndarray
    assert not np.shares_memory(shared, array)
    assert form(shared) == form(array.copy(order="A"))
    assert shared.flags.writeable == writable
    assert shared.ctypes.data % 64 == 0
    assert len(shared_memory()) == 1


class Pair(NamedTuple):
    """A tree of two."""

    images: Any
    label: str


class Tensor:
    """What numpy converts to an array."""

    shape = (3,)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.arange(3.0)


def test_a_tree_keeps_its_form_and_its_other_leaves() -> None:
    array, thing = np.arange(3), object()
    tree = {"b": [array, "text", 3, np.float32(2)], "a": (Pair(array, "x"), thing, None), "t": Tensor()}
    shared = share(tree)
    assert list(shared) == ["b", "a", "t"]
    assert shared["b"][1:] == ["text", 3, np.float32(2)]
    assert type(shared["a"][0]) is Pair
    assert shared["a"][1] is thing
    assert shared["a"][2] is None
    assert shared["t"].tolist() == [0, 1, 2]
    assert shared["b"][0] is shared["a"][0].images  # one array in the tree is one array in memory
    assert len(shared_memory()) == 1
    assert tree["b"][0] is array  # type: ignore[index]  # the caller's tree is as it was


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([None, 1]), r"the array has dtype object, which holds references"),
        ({"x": [np.zeros(2), np.array(["a", []], object)]}, r"the array at \['x'\]\[1\] has dtype object"),
        (np.zeros(2, [("a", object)]), "dtype .*'O'"),
        (np.ma.masked_equal([1, 2], 2), r"masked; share its two parts"),
        (SimpleNamespace(x=np.zeros(2)), r"a SimpleNamespace without any array .* self\.images = procession\.share"),
    ],
)
def test_what_cannot_be_shared(value: Any, message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        share(value)
    assert shared_memory() == []


def test_what_is_shared_already_is_not_moved_again() -> None:
    fixed, open_ = share(np.arange(4)), share(np.arange(4), writable=True)
    assert share([fixed, np.zeros(2)])[0] is fixed
    assert share(open_, writable=True) is open_
    assert len(shared_memory()) == 2
    # Whoever asks for what does not change, or for what does, gets it.
    kept, changing = share(open_), share(fixed, writable=True)
    open_[0] = changing[0] = 9
    assert (kept[0], fixed[0]) == (0, 0)


def test_read_only_means_it() -> None:
    shared = share(np.arange(4))
    with pytest.raises(ValueError, match="read-only"):
        shared[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        shared.flags.writeable = True
    with pytest.raises(ValueError, match="WRITEABLE"):
        shared[1:].flags.writeable = True


def test_a_copy_is_an_array_of_its_own() -> None:
    shared = share(np.arange(4))
    for made in (copy.deepcopy(shared), shared.copy(), pickle.loads(pickle.dumps(shared))):
        made[0] = 5
    assert shared[0] == 0


def test_memory_goes_with_the_last_array() -> None:
    shared = share([np.zeros(1000), np.zeros(1000)])
    last = shared[1][::2].T
    del shared
    assert len(shared_memory()) == 1
    del last
    assert shared_memory() == []


# --- how a source takes it along ---

VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "slice": lambda x: x[3:7],
    "strided": lambda x: x[::2, 1::3],
    "reversed": lambda x: x[::-1, ::-2],
    "transposed": lambda x: x.T,
    "reshaped": lambda x: x.reshape(-1, 4, 2),
    "another dtype": lambda x: x.view(np.uint8),
    "0-d": lambda x: x[2, 3, ...],
    "broadcast": lambda x: np.broadcast_to(x[0], (5, *x[0].shape)),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x[:, 0], 3),
    "through a memoryview": lambda x: np.asarray(memoryview(x)),
}


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_arrives_on_the_same_memory(view: Callable[[Any], Any], *, writable: bool) -> None:
    shared = share(np.arange(4000.0).reshape(-1, 8), writable=writable)
    sent = view(shared)
    parts = pickled(sent, "source")
    assert not parts.buffers and len(parts.stream) < 2000
    came = from_shared(*to_shared(parts))
    assert np.shares_memory(came, shared)
    assert came.__array_interface__ == sent.__array_interface__ | {"version": 3}
    assert came.flags.writeable == sent.flags.writeable


def test_read_only_views_stay_so() -> None:
    view = share(np.arange(10), writable=True)[2:]
    view.flags.writeable = False
    assert not arrived(view).flags.writeable


def test_what_only_looks_shared_is_copied() -> None:
    shared = share(np.arange(4.0), writable=True)
    for other in (shared[:0], shared + 1, shared.view(np.recarray), np.ma.masked_equal(shared, 1)):
        came = arrived(other)
        assert form(came) == form(other)
        assert type(came) is type(other)
        assert not np.shares_memory(came, shared)


def test_an_array_held_twice_arrives_as_one() -> None:
    shared = share(np.zeros(4), writable=True)
    came = arrived({"a": shared, "b": shared, "c": [shared[1:]]})
    assert came["a"] is came["b"]
    assert np.shares_memory(came["a"], came["c"][0])
    assert len(shared_memory()) == 1


class Source:
    """What holds the attributes."""

    data: Any
    part: Any
    lock: Lock
    count: SharedCounter
    notes: SharedDict[str, int]


def test_only_what_is_another_memory_has_changed() -> None:
    shared = share(np.zeros(100_000), writable=True)
    source = Source()
    vars(source).update(data=shared, part=shared[5:], lock=Lock(), count=SharedCounter(), notes=SharedDict())
    parts = pickled(source, "source")
    payload, descriptors = to_shared(parts)
    tracker = Tracker(source, parts, payload, descriptors)
    from_shared(payload, descriptors)
    shared[:] = 1
    source.count.add()
    source.notes["a"] = 1
    assert tracker.changes(source) is None
    source.data = share(np.ones(100_000), writable=True)
    source.part = shared[6:]
    source.lock = Lock()
    changes = tracker.changes(source)
    assert changes is not None
    assert {name for _, name in changes.attributes} == {"data", "part", "lock"}
    assert tracker.changes(source) is None


def test_more_than_can_be_sent() -> None:
    locks = [Lock() for _ in range(MOST_ALONG + 1)]
    assert len(arrived(locks[1:])) == MOST_ALONG
    with pytest.raises(CaptureError, match=r"source holds 249 separate pieces of shared memory.*248 can be sent"):
        pickled(locks, "source")


SHARED: dict[str, Callable[[], Any]] = {"Lock": Lock, "SharedCounter": SharedCounter, "SharedDict": SharedDict}


@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED)
def test_no_other_way_to_send_it(make: Callable[[], Any]) -> None:
    one = make()
    with pytest.raises(TypeError, match=r"a procession\.\w+ is shared memory .* part of a Loader's source"):
        pickle.dumps(one)
    assert copy.deepcopy([one])[0] is one
    assert copy.copy(one) is one
    del one
    assert shared_memory() == []


# --- Lock ---


def test_a_lock_is_used_as_that_of_threading() -> None:
    lock = Lock()
    assert not lock.locked()
    with lock as taken:
        assert taken and lock.locked()
        assert not lock.acquire(blocking=False)
        assert "held by thread" in repr(lock)
    assert lock.acquire(timeout=0) and lock.locked()
    lock.release()
    assert repr(lock) == "<procession.Lock, not held>"


def test_a_lock_tells_when_it_cannot_be_used_so() -> None:
    lock = Lock()
    with pytest.raises(RuntimeError, match="this thread does not hold"):
        lock.release()
    with lock, pytest.raises(RuntimeError, match=r"holds the lock already.*not re-entrant"):
        lock.acquire()
    assert not lock.locked()
    with lock, pytest.raises(RuntimeError, match="holds the lock already"):
        lock.acquire(timeout=10)
    for arguments in ({"timeout": -2}, {"blocking": False, "timeout": 1}):
        with pytest.raises(ValueError, match="a timeout is the seconds to wait"):
            lock.acquire(**arguments)  # type: ignore[arg-type]


def in_thread(function: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def release_error(lock: Lock) -> str:
    with pytest.raises(RuntimeError) as caught:
        lock.release()
    return str(caught.value)


def test_threads_are_holders_of_their_own() -> None:
    lock = Lock()
    with lock:
        assert in_thread(lock.locked)
        assert in_thread(lambda: lock.acquire(timeout=0.01)) is False
        assert "this thread does not hold" in in_thread(lambda: release_error(lock))
    for _ in range(3):
        assert in_thread(lock.acquire)  # and ends with it
    assert lock.acquire()
    lock.release()


def test_what_holds_it_may_fail() -> None:
    lock = Lock()
    with contextlib.suppress(KeyError), lock:
        raise KeyError
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock)
        assert lock.locked()
    assert not lock.locked()
    with pytest.raises(RuntimeError, match="does not hold"), lock:
        lock.release()


def interrupt(*_: Any) -> None:
    raise TimeoutError


def interrupted_inside(lock: Lock) -> None:
    numbers = np.zeros(10_000_000)
    with lock:
        signal.setitimer(signal.ITIMER_REAL, 1e-3)
        numbers += 1  # takes longer than that, and nothing in it lets a handler run


def test_an_interrupt_on_the_way_out_releases_it() -> None:
    lock = Lock()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                interrupted_inside(lock)
            assert not lock.locked()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_lock_that_is_dropped_while_it_is_held(tmp_path: Path) -> None:
    # In a process of its own, since the kernel's list of what a thread holds goes through these locks for good.
    text = """
import gc
from procession.capture.lock import Lock
for _ in range(3):
    Lock().acquire()
gc.collect()
lock = Lock()
with lock:
    print(lock.locked())
"""
    assert run_script(text, tmp_path).stdout == "True\n"


# --- SharedCounter ---


def test_a_counter() -> None:
    counter = SharedCounter(5)
    assert (counter.value, counter.add(), counter.add(-10), counter.add(np.int32(3)), counter.value) == (
        5,
        6,
        -4,
        -1,
        -1,
    )
    counter.set(2**63 - 1)
    with pytest.raises(OverflowError, match=r"9223372036854775808 does not fit"):
        counter.add()
    assert counter.value == 2**63 - 1
    assert repr(counter) == "SharedCounter(9223372036854775807)"
    with pytest.raises(TypeError):
        counter.add(0.5)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        SharedCounter(2**63)


# --- SharedDict ---


def test_a_dictionary() -> None:
    shared: SharedDict[Any, Any] = SharedDict({"a": 1, (2, "b"): [3]})
    shared["c"] = np.arange(3)
    assert shared["c"].tolist() == [0, 1, 2]
    del shared["c"]
    shared.update([("d", None)], e=5)
    assert dict(shared) == {"a": 1, (2, "b"): [3], "d": None, "e": 5} == shared.snapshot()
    assert (len(shared), "a" in shared, "x" in shared, shared.get("x", 7)) == (4, True, False, 7)
    assert (list(shared), list(shared.values())) == (["a", (2, "b"), "d", "e"], [1, [3], None, 5])
    assert (shared.pop("a"), shared.pop("a", 0), shared.popitem()) == (1, 0, ("e", 5))
    assert (shared.setdefault("d", 1), shared.setdefault("f", 2), shared["f"]) == (None, 2, 2)
    assert (shared.update_with("f", lambda x: x + 1), shared.update_with("g", lambda x: x + 1, 0)) == (3, 1)
    assert repr(shared) == "SharedDict({(2, 'b'): [3], 'd': None, 'f': 3, 'g': 1})"
    for missing in (lambda: shared["a"], lambda: shared.pop("a"), lambda: shared.__delitem__("a")):
        with pytest.raises(KeyError, match="a"):
            missing()
    shared.clear()
    assert (len(shared), dict(shared)) == (0, {})
    with pytest.raises(KeyError):
        shared.popitem()


def test_what_is_got_is_a_copy() -> None:
    shared: SharedDict[str, list[int]] = SharedDict({"a": []})
    shared["a"].append(1)
    assert shared["a"] == []


def test_a_change_that_fails_changes_nothing() -> None:
    shared: SharedDict[str, Any] = SharedDict({"a": 1})
    with pytest.raises(ZeroDivisionError):
        shared.update_with("a", lambda x: x / 0)
    with pytest.raises(RuntimeError, match="holds the lock already"):
        shared.update_with("a", lambda x: shared.update(a=5))
    with pytest.raises((TypeError, AttributeError)):
        shared.update({"b": 1, "c": threading.Lock()})
    assert shared.snapshot() == {"a": 1}


@pytest.mark.parametrize("capacity", [63, 2**29 + 1, 1e6, True])
def test_a_capacity_that_cannot_be(capacity: Any) -> None:
    with pytest.raises(ConfigError, match="a number of bytes"):
        SharedDict(capacity=capacity)


def test_a_full_dictionary_says_so_and_goes_on() -> None:
    shared: SharedDict[int, bytes] = SharedDict(capacity=10_000)
    held = 85  # 8 bytes, 5 of the key and 111 of the value, 115 of those from 100
    shared.update(dict.fromkeys(range(held - 10), b"x" * 100))
    with pytest.raises(LimitError, match=r"more than its capacity of 10,000.*SharedDict\(capacity"):
        shared.update(dict.fromkeys(range(held), b"x" * 100))
    assert len(shared) == held - 10
    with pytest.raises(LimitError):
        shared.update({0: b"", 1: b"x" * 9_000})  # all or nothing
    assert shared[0] == b"x" * 100
    shared[0] = b"y" * 90
    for k in list(shared):
        del shared[k]
    shared[-1] = b"x" * 9_000
    assert list(shared) == [-1]


def test_it_does_what_a_dictionary_does() -> None:
    """Against a plain dict, through many rewrites of the logs, seen by two readers of the same memory."""
    shared: SharedDict[int, bytes] = SharedDict(capacity=3_000)
    other = SharedDict.__new__(SharedDict)
    other._open(shared._segment, 3_000)
    plain: dict[int, bytes] = {}
    random = np.random.default_rng(0)
    for step in range(3000):
        key, writer = int(random.integers(20)), (shared, other)[step % 2]
        match int(random.integers(6)):
            case 0:
                assert writer.pop(key, None) == plain.pop(key, None)
            case 1 if step % 50 == 0:
                writer.clear()
                plain.clear()
            case 2:
                writer.update({key: b"u", key + 1: b"v"})
                plain |= {key: b"u", key + 1: b"v"}
            case _:
                writer[key] = plain[key] = random.bytes(int(random.integers(100)))
        if random.integers(4) == 0:
            reader = (shared, other)[int(random.integers(2))]
            assert list(reader.items()) == list(plain.items())
            log = reader._log
            assert log._live == sum(8 + len(name) + len(value) for name, value in log._pairs.values())
