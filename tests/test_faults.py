"""Faults: nothing is lost, nothing hangs, nothing is left; the stream stays that of serial."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from procession import (
    BatchError,
    ConfigError,
    Faults,
    Loader,
    RestartsError,
    SkippedWarning,
    StalledError,
    TemplateDiedError,
    WorkerDiedError,
    worker_info,
)
from procession.testing.zoo import ENDINGS, MOMENTS, Mortal
from tests.conftest import ExecutorName
from tests.support import Made, streams

LENGTH = 12


def endings(moment: str) -> list[str]:
    """Return the ways to end at that moment."""
    match moment:
        case "item":
            return list(ENDINGS)
        case "writing":
            return ["SIGBUS", "exit 7"]
        case "soon after":
            return ["SIGALRM"]
        case _:
            return ["SIGKILL", "SIGSEGV", "exit 3"]


ZOO = [(moment, ending, workers) for moment in MOMENTS for ending in endings(moment) for workers in (1, 2, 8)]


@pytest.mark.parametrize(("moment", "ending", "workers"), ZOO)
def test_the_stream_is_that_of_serial(moment: str, ending: str, workers: int, tmp_path: Path) -> None:
    source = Mortal(tmp_path, moment, ending, at=5, length=LENGTH)
    want = streams(source, "serial", 2)
    assert streams(source, "processes", 2, workers=workers) == want
    assert len(list(tmp_path.iterdir())) == (moment != "len")  # it did end a worker; none asks for the length


@pytest.mark.parametrize("moment", ["item", "pickling", "writing", "dropping"])
def test_each_retry_may_die_too(moment: str, tmp_path: Path) -> None:
    ending = endings(moment)[0]
    source = Mortal(tmp_path, moment, ending, at=5, length=LENGTH, times=2)
    with Loader(source, workers=2) as loader:
        assert [int(batch[0][0]) for batch in loader] == list(range(LENGTH))
        assert loader.statistics().deaths == 2


def poisonous(i: int) -> Any:
    if i in (3, 7):
        os.kill(os.getpid(), signal.SIGKILL)
    return np.full(3, i)


def first(batches: Any) -> list[int]:
    return [int(batch[0]) for batch in batches]


def test_a_poisonous_index_is_named_and_the_others_are_not_lost() -> None:
    before: list[Any] = []
    with Loader(Made(poisonous, LENGTH), workers=2) as loader:
        with pytest.raises(WorkerDiedError, match=r"source\[3\].*SIGKILL") as caught:
            before.extend(loader)
        assert loader.statistics().deaths >= 3
    assert first(before) == [0, 1, 2]
    assert type(caught.value) is WorkerDiedError


def test_a_poisonous_index_is_skipped() -> None:
    with Loader(Made(poisonous, LENGTH), workers=2, faults=Faults(on_error="skip", retries=1)) as loader:
        with pytest.warns(SkippedWarning, match=r"2 items.*source\[\d\] \(WorkerDiedError"):
            assert first(loader) == [i for i in range(LENGTH) if i not in (3, 7)]
        statistics = loader.statistics()
        assert sorted(item.index for item in statistics.skipped) == [3, 7]
        assert statistics.deaths == 4


def test_a_poisonous_sample_is_left_out_of_its_batch() -> None:
    faults = Faults(on_error="skip", retries=0)
    with (
        pytest.warns(SkippedWarning),
        Loader(Made(poisonous, LENGTH), workers=2, batch_size=4, faults=faults) as loader,
    ):
        assert [batch[:, 0].tolist() for batch in loader] == [[0, 1, 2], [4, 5, 6], [8, 9, 10, 11]]


def test_more_deaths_than_may_be() -> None:
    def kill(i: int) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    with (
        Loader(Made(kill, 40), workers=2, faults=Faults(retries=100, max_restarts=4)) as loader,
        pytest.raises(RestartsError, match=r"source\[\d+\].*death number 5 .*max_restarts=4") as caught,
    ):
        list(loader)
    assert isinstance(caught.value.__cause__, WorkerDiedError)


def test_after_too_many_deaths_the_next_epoch_is_whole(tmp_path: Path) -> None:
    source = Mortal(tmp_path, "item", "SIGKILL", at=5, length=LENGTH)
    with Loader(source, workers=2, faults=Faults(max_restarts=0)) as loader:
        with pytest.raises(RestartsError):
            list(loader)
        assert [int(batch[0][0]) for batch in loader] == list(range(LENGTH))


def test_a_template_that_always_dies_is_an_error(tmp_path: Path) -> None:
    source = Mortal(tmp_path, "unpickle", "SIGSEGV", at=0, length=LENGTH, times=100)
    with Loader(source, workers=2) as loader, pytest.raises(TemplateDiedError, match=r"template process.*SIGSEGV"):
        list(loader)
    assert len(list(tmp_path.iterdir())) == 3  # it was tried again, twice


# --- what the source raises ---


def faulty(i: int) -> Any:
    if i % 5 == 3:
        raise ValueError(f"bad {i}")
    return np.full(3, i)


def test_exceptions_are_skipped(executor: ExecutorName) -> None:
    with Loader(Made(faulty, LENGTH), executor=executor, workers=2, faults=Faults(on_error="skip")) as loader:
        for epoch in range(2):
            with pytest.warns(SkippedWarning, match=rf"epoch {epoch}: 2 items were.*source\[\d\] \(ValueError"):
                assert first(loader) == [i for i in range(LENGTH) if i % 5 != 3]
        assert loader.statistics().skips == 4
        assert {(item.epoch, item.index) for item in loader.statistics().skipped} == {(0, 3), (0, 8), (1, 3), (1, 8)}


@pytest.mark.parametrize(
    ("drop", "want"),
    [
        (False, [[0, 1, 2], [4, 5, 6, 7], [9, 10, 11], [12]]),
        (True, [[0, 1, 2, 0], [4, 5, 6, 7], [9, 9, 10, 11]]),
    ],
    ids=["smaller", "filled up"],
)
def test_bad_samples_are_left_out(executor: ExecutorName, drop: bool, want: Any) -> None:
    options = {"batch_size": 4, "drop_remainder": drop, "faults": Faults(on_error="skip")}
    with (
        pytest.warns(SkippedWarning),
        Loader(Made(faulty, 13), executor=executor, workers=2, **options) as loader,  # type: ignore[arg-type]
    ):
        assert [batch[:, 0].tolist() for batch in loader] == want


def test_a_batch_of_bad_samples_is_left_out(executor: ExecutorName) -> None:
    def bad(i: int) -> Any:
        if 4 <= i < 8:
            raise ValueError(i)
        return np.full(3, i)

    with (
        pytest.warns(SkippedWarning, match="4 items"),
        Loader(Made(bad, 10), executor=executor, workers=2, batch_size=4, faults=Faults(on_error="skip")) as loader,
    ):
        assert [batch[:, 0].tolist() for batch in loader] == [[0, 1, 2, 3], [8, 9]]


def test_all_is_bad(executor: ExecutorName) -> None:
    def bad(i: int) -> Any:
        raise ValueError(i)

    with (
        pytest.warns(SkippedWarning, match="5 items"),
        Loader(Made(bad, 5), executor=executor, workers=2, faults=Faults(on_error="skip")) as loader,
    ):
        assert list(loader) == []


def sometimes(folder: Path, times: int) -> Callable[[int], Any]:
    """Return a function that raises so many times for index 4."""

    def make(i: int) -> Any:
        for k in range(times if i == 4 else 0):
            try:
                (folder / str(k)).touch(exist_ok=False)
            except FileExistsError:
                continue
            raise OSError(f"the network is away, {k}")
        return np.full(3, i)

    return make


def test_exceptions_are_retried(executor: ExecutorName, tmp_path: Path) -> None:
    source = Made(sometimes(tmp_path, 2), LENGTH)
    with Loader(source, executor=executor, workers=2, faults=Faults(on_error="retry")) as loader:
        assert first(loader) == list(range(LENGTH))


def test_retries_come_to_an_end(executor: ExecutorName, tmp_path: Path) -> None:
    source = Made(sometimes(tmp_path, 5), LENGTH)
    before: list[Any] = []
    with (
        Loader(source, executor=executor, workers=2, faults=Faults(on_error="retry", retries=1)) as loader,
        pytest.raises(OSError, match="the network is away, 1"),
    ):
        before.extend(loader)
    assert first(before) == [0, 1, 2, 3]


def test_a_function_decides(executor: ExecutorName) -> None:
    asked: list[tuple[int, str]] = []
    here = os.getpid()

    def decide(index: int, error: BaseException) -> Any:
        assert os.getpid() == here
        asked.append((index, str(error)))
        return "skip"

    with (
        pytest.warns(SkippedWarning),
        Loader(Made(faulty, LENGTH), executor=executor, workers=2, faults=Faults(on_error=decide)) as loader,
    ):
        assert first(loader) == [i for i in range(LENGTH) if i % 5 != 3]
    assert sorted(asked) == [(3, "bad 3"), (8, "bad 8")]


@pytest.mark.parametrize(
    ("decide", "kind", "words"),
    [
        (lambda i, error: None, ConfigError, r"on_error\(3, ValueError\) returned None"),
        (lambda i, error: 1 / 0, ZeroDivisionError, "division"),
        (lambda i, error: "raise", ValueError, "bad 3"),
        (lambda i, error: "retry", ValueError, "bad 3"),
    ],
    ids=["nonsense", "raises", "raise", "retry for ever"],
)
def test_what_a_function_may_say(executor: ExecutorName, decide: Any, kind: type[Exception], words: str) -> None:
    with (
        Loader(Made(faulty, LENGTH), executor=executor, workers=2, faults=Faults(on_error=decide)) as loader,
        pytest.raises(kind, match=words),
    ):
        list(loader)


# --- stalls ---


def stuck(folder: Path, times: int) -> Callable[[int], Any]:
    """Return a function that does not come back, so many times for index 4."""

    def make(i: int) -> Any:
        for k in range(times if i == 4 else 0):
            try:
                (folder / str(k)).touch(exist_ok=False)
            except FileExistsError:
                continue
            time.sleep(1000)
        return np.full(3, i)

    return make


def test_a_worker_that_is_stuck_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Loader(Made(stuck(tmp_path, 1), LENGTH), workers=2, faults=Faults(timeout=0.5)) as loader:
        assert first(loader) == list(range(LENGTH))
        assert loader.statistics().deaths == 1
    assert "Python stack" in caplog.text and "time.sleep" not in caplog.text and "in make" in caplog.text


def test_a_batch_that_never_comes(tmp_path: Path) -> None:
    before: list[Any] = []
    faults = Faults(timeout=0.3, retries=1)
    with (
        Loader(Made(stuck(tmp_path, 9), LENGTH), workers=2, faults=faults) as loader,
        pytest.raises(StalledError) as caught,
    ):
        before.extend(loader)
    text = str(caught.value)
    assert first(before) == [0, 1, 2, 3]
    assert "source[4]" in text and "timeout=0.3" in text and 'test_faults.py", line' in text and "in make" in text
    assert isinstance(caught.value, TimeoutError)


def test_the_stack_of_a_worker_that_holds_the_interpreter() -> None:
    def hold(i: int) -> Any:
        import ctypes

        while True:
            ctypes.PyDLL(None).pause()  # holds the GIL

    with (
        Loader(Made(hold, 1), workers=1, faults=Faults(timeout=0.3, retries=0)) as loader,
        pytest.raises(StalledError, match="in hold"),
    ):
        list(loader)


def test_a_crash_shows_the_stack() -> None:
    def crash(i: int) -> Any:
        ENDINGS["SIGSEGV"]()

    with (
        Loader(Made(crash, 1), workers=1, faults=Faults(retries=0)) as loader,
        pytest.raises(WorkerDiedError, match=r"(?s)SIGSEGV.*Python stack.*in crash"),
    ):
        list(loader)


def test_stuck_samples_are_skipped_in_threads_too(tmp_path: Path) -> None:
    go = threading.Event()

    def wait(i: int) -> Any:
        if i == 4:
            go.wait()
        return np.full(3, i)

    faults = Faults(timeout=0.3, retries=0, on_error="skip")
    with Loader(Made(wait, LENGTH), executor="threads", workers=2, faults=faults) as loader:
        with pytest.warns(SkippedWarning, match=r"source\[4\] \(StalledError"):
            assert first(loader) == [i for i in range(LENGTH) if i != 4]
        stuck_ones = [thread for thread in threading.enumerate() if thread.name.startswith("procession-worker")]
        go.set()
    for thread in stuck_ones:
        thread.join()


def test_a_worker_that_is_stopped_before_it_takes_up_a_task() -> None:
    with Loader(Made(lambda i: np.array([i]), 50), workers=1, prefetch=1, faults=Faults(timeout=0.5)) as loader:
        epoch = iter(loader)
        assert next(epoch)[0] == 0
        (pid,) = loader.statistics().pids.values()
        os.kill(pid, signal.SIGSTOP)
        assert first(epoch) == list(range(1, 50))


def test_a_hook_waits_for_stuck_threads_no_longer_than_allowed() -> None:
    go = threading.Event()

    class Stuck(Made):
        def on_epoch_begin(self) -> None:
            pass

    source = Stuck(lambda i: go.wait() if i == 3 and not go.is_set() else i, 6)
    with Loader(source, executor="threads", workers=2, faults=Faults(timeout=0.3, on_error="skip")) as loader:
        epoch = iter(loader)
        assert next(epoch) == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkippedWarning)
            again = iter(loader)
            go.set()
            assert list(again) == list(range(6))
    for thread in threading.enumerate():
        if thread.name.startswith("procession-worker"):
            thread.join()


def test_more_changes_than_a_stuck_worker_can_hold(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    class Changing:
        epoch = 0

        def __len__(self) -> int:
            return 5

        def on_epoch_begin(self) -> None:
            self.epoch += 1

        def __getitem__(self, i: int) -> Any:
            if (i, self.epoch) == (4, 1):
                gate.read_bytes()
            return np.array([i, self.epoch])

    with Loader(Changing(), workers=2, prefetch=8) as loader:
        for epoch in range(1, 1200):
            assert next(iter(loader)).tolist() == [0, epoch]


@pytest.mark.parametrize("ordered", [True, False])
def test_what_is_done_is_not_held_back_by_the_task_after_it(tmp_path: Path, ordered: bool) -> None:
    """Tiny batches travel several to a message; in the second epoch one of them does not end."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def make(i: int) -> Any:
        info = worker_info()
        if info is not None and (i, info.epoch) == (70, 1):
            gate.read_bytes()
        return np.array([i])

    with Loader(Made(make, 200), workers=2, ordered=ordered) as loader:
        list(loader)
        batches = iter(loader)
        early = [int(next(batches)[0]) for _ in range(70)]
        gate.write_bytes(b"go on")
        late = [int(batch[0]) for batch in batches]
        assert sorted(early + late) == list(range(200))
        assert not ordered or early == list(range(70))
        assert loader.statistics().deaths == 0


# --- recycling ---


@pytest.mark.parametrize("executor", ["threads", "processes"])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_are_recycled_without_a_gap(executor: ExecutorName, workers: int) -> None:
    def made_by(i: int) -> Any:
        return np.array([i, os.getpid()])

    with Loader(Made(made_by, 60), executor=executor, workers=workers, faults=Faults(recycle_after=7)) as loader:
        batches = list(loader)
        assert first(batches) == list(range(60))
        if executor == "processes":
            made = [int(batch[1]) for batch in batches]
            assert max(made.count(pid) for pid in made) <= 7
            assert len(set(made)) >= 60 // 7
        assert loader.statistics().deaths == 0


def test_a_worker_that_leaks_is_recycled() -> None:
    leaked: list[bytearray] = []

    def leak(i: int) -> Any:
        leaked.append(bytearray(8 << 20))
        time.sleep(0.05)
        return np.array([i, os.getpid(), len(leaked)])

    faults = Faults(max_memory=200 << 20)
    with Loader(Made(leak, 100), workers=2, faults=faults) as loader:
        batches = list(loader)
        assert first(batches) == list(range(100))
        assert loader.statistics().recycled >= 1
        assert len({int(batch[1]) for batch in batches}) > 2


# --- what is said while nothing comes, without a timeout ---


def test_a_notice_says_what_the_consumer_waits_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr("procession.engine.patience.NOTICE_SECONDS", 0.5)
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def wait(i: int) -> Any:
        return len(gate.read_bytes()) + i if i == 3 else i

    class Opens(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            gate.write_bytes(b"")  # the notice itself lets it go on

    handler = Opens()
    logging.getLogger("procession").addHandler(handler)
    try:
        with Loader(Made(wait, 6), workers=1) as loader:
            assert list(loader) == list(range(6))
    finally:
        logging.getLogger("procession").removeHandler(handler)
    assert "batch 3 of epoch 0" in caplog.text
    assert "source[3]" in caplog.text and "in wait" in caplog.text and "Worker 0 (pid" in caplog.text


# --- deaths of others ---


def kill_templates() -> None:
    """Kill what workers are forked from: children of this process, and no others."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "procession.engine.template" in " ".join(process.cmdline()):
                watch = os.pidfd_open(process.pid)
                process.kill()
                select.select([watch], [], [])  # it has ended; collecting it is the library's business
                os.close(watch)


class Epochs:
    """A source whose hooks change it, by rebinding and in place; batches tell all of it."""

    def __init__(self) -> None:
        self.epoch, self.order, self.large = -1, np.arange(8), np.zeros(100_000, int)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        return self.epoch, int(self.order[i]), self.large[[0, -1]]

    def on_epoch_begin(self) -> None:
        self.epoch += 1
        self.order = np.roll(self.order, 1)

    def on_epoch_end(self) -> None:
        self.large[-1] += 1


@pytest.mark.parametrize("threads", [False, True], ids=["forked", "loaded late"])
def test_what_hooks_have_changed_survives_the_template(threads: bool) -> None:
    class Threaded(Epochs):
        def __setstate__(self, state: dict[str, Any]) -> None:
            vars(self).update(state)
            threading.Thread(target=threading.Event().wait, daemon=True).start()

    kind = Threaded if threads else Epochs
    with Loader(kind(), workers=2) as loader, Loader(kind(), executor="serial") as serial:
        for _ in range(4):
            epoch = iter(loader)
            batches = [next(epoch) for _ in range(3)]
            kill_templates()
            batches.extend(epoch)
            want = [(e, o, large.tolist()) for e, o, large in serial]
            assert [(e, o, large.tolist()) for e, o, large in batches] == want
            loader.source.on_epoch_end()
            serial.source.on_epoch_end()


def test_kills_at_random_while_it_runs() -> None:
    def slow(i: int) -> Any:
        time.sleep(0.002)
        return np.full(20_000, i), os.getpid()

    dice = np.random.default_rng(1)
    with Loader(Made(slow, 300), workers=3, faults=Faults(retries=50, max_restarts=1000)) as loader:
        got = []
        for k, (array, worker) in enumerate(loader):
            got.append(int(array[0]))
            assert (array == array[0]).all()
            if k % 20 == 10 and dice.random() < 0.3:
                kill_templates()
            elif k % 20 == 10:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(worker).kill()
        assert got == list(range(300))
        assert loader.statistics().deaths > 5


def test_nothing_is_warned_about_where_nothing_is_skipped(executor: ExecutorName) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Loader(Made(abs, 5), executor=executor, workers=2, faults=Faults(on_error="skip")) as loader:
            assert list(loader) == list(range(5))


REFUSED = {
    "on_error='ignore'": ({"on_error": "ignore"}, ("on_error", "'raise', 'skip', 'retry'", "'ignore'")),
    "retries=-1": ({"retries": -1}, ("retries", "at least 0")),
    "timeout=0": ({"timeout": 0}, ("timeout", "above 0")),
    "timeout='1'": ({"timeout": "1"}, ("timeout", "'1'")),
    "max_restarts=1.5": ({"max_restarts": 1.5}, ("max_restarts", "1.5")),
    "recycle_after=0": ({"recycle_after": 0}, ("recycle_after", "at least 1", "None")),
    "max_memory=5": ({"max_memory": 5}, ("max_memory", "1048576")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused(name: str) -> None:
    options, words = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        Faults(**options)  # type: ignore[arg-type]
    assert [word for word in words if word not in str(caught.value)] == []


def test_faults_have_to_be_faults() -> None:
    with pytest.raises(ConfigError, match=r"faults must be a procession\.Faults"):
        Loader([1], faults="skip")  # type: ignore[arg-type]


# --- samples that are not like the others of their batch ---

ODD_ONES = (4, 9, 10)  # the first of its batch, and two of one
ODD: dict[str, Callable[[int], Any]] = {
    "another shape": lambda i: np.zeros(4 if i in ODD_ONES else 3) + i,
    "another structure": lambda i: {"x": i} if i in ODD_ONES else i,
    "nothing": lambda i: None if i in ODD_ONES else i,
}


@pytest.mark.parametrize("kind", ODD)
def test_samples_unlike_the_others_are_left_out_alone(executor: ExecutorName, kind: str) -> None:
    source = Made(ODD[kind], 12)
    options: dict[str, Any] = {"executor": executor, "workers": 2, "batch_size": 4}
    with Loader(source, **options, faults=Faults(on_error="skip")) as loader:
        with pytest.warns(SkippedWarning, match="3 items were left out"):
            got = [np.asarray(batch).reshape(len(batch), -1)[:, 0].tolist() for batch in loader]
        assert sorted(item.index for item in loader.statistics().skipped) == [*ODD_ONES]
    assert got == [[0, 1, 2, 3], [5, 6, 7], [8, 11]]
    with Loader(source, **options) as loader, pytest.raises(BatchError, match=r"source\[4\]"):
        list(loader)
