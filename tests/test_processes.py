"""What workers see around them, how they persist, and what is said when one of them, or the template, dies."""

from __future__ import annotations

import faulthandler
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from procession import Faults, Loader, WorkerDiedError
from tests.support import Made, run_script

LONGEST = 20  # seconds that an ending process may take on a busy machine; one that hangs takes for ever


def read(make: Callable[[int], Any], length: int = 4, **options: Any) -> list[Any]:
    """Return the batches of a source, made by two workers."""
    with Loader(Made(make, length), workers=2, **options) as loader:
        return list(loader)


# --- surroundings ---


def signal_is_ignored(i: int) -> Any:
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


SEEN: dict[str, tuple[Callable[[int], Any], Any]] = {
    # what a worker is asked, and what it has to answer
    "working directory": (lambda i: os.getcwd(), os.getcwd),
    "import path": (lambda i: list(sys.path), lambda: [os.path.abspath(entry) for entry in sys.path]),
    "executable": (lambda i: sys.executable, lambda: sys.executable),
    "no GPU": (
        lambda i: [os.environ.get(n) for n in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "JAX_PLATFORMS")],
        lambda: ["-1", "-1", "cpu"],
    ),
    "one native thread": (
        lambda i: [os.environ.get(n) for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")],
        lambda: ["1"] * 3,
    ),
    "SIGINT": (signal_is_ignored, lambda: True),
    "faulthandler": (lambda i: faulthandler.is_enabled(), lambda: True),
    "daemonic": (lambda i: multiprocessing.current_process().daemon, lambda: False),
    "threads": (lambda i: sum(1 for _ in Path("/proc/self/task").iterdir()), lambda: 1),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_a_worker_sees(name: str) -> None:
    ask, answer = SEEN[name]
    want = answer()
    assert read(ask) == [want] * 4


def test_the_scripts_environment_is_the_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ask(i: int) -> Any:
        return os.getcwd(), os.environ.get("PROCESSION_TEST_SETTING"), str(tmp_path) in sys.path

    assert set(read(ask)) == {(os.getcwd(), None, False)}
    # The template runs by now: what changes later has to reach the workers of later loaders all the same.
    monkeypatch.setenv("PROCESSION_TEST_SETTING", "late")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert set(read(ask)) == {(str(tmp_path), "late", True)}
    monkeypatch.delenv("PROCESSION_TEST_SETTING")
    assert set(read(ask)) == {(str(tmp_path), None, True)}


def test_a_module_written_after_the_template_started_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read(abs)
    (tmp_path / "procession_written_late.py").write_text(
        "class Source:\n    def __len__(self): return 3\n    def __getitem__(self, i): return i * 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import procession_written_late  # type: ignore[import-not-found]

    monkeypatch.delitem(sys.modules, "procession_written_late")
    sys.modules["procession_written_late"] = procession_written_late
    with Loader(procession_written_late.Source(), workers=2) as loader:
        assert list(loader) == [0, 7, 14]
    del sys.modules["procession_written_late"]


def test_user_code_never_runs_in_the_training_process() -> None:
    here = os.getpid()
    assert here not in read(lambda i: os.getpid(), 20)


def test_a_worker_may_use_multiprocessing() -> None:
    def squares(i: int) -> Any:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, [-1, -2, i])

    assert read(squares, 3) == [[1, 2, i] for i in range(3)]


def test_a_child_that_comes_back_from_the_source_answers_for_nobody() -> None:
    def forks(i: int) -> Any:
        pid = os.fork() if i in (2, 5) else None
        if pid:
            return os.waitpid(pid, 0)[1] >> 8
        return i  # the child too

    assert read(forks, 8) == [0, 1, 1, 3, 4, 1, 6, 7]  # 1: the exit status of the child


def test_a_worker_may_use_threads_and_subprocesses() -> None:
    def work(i: int) -> Any:
        got: list[str] = []
        thread = threading.Thread(target=lambda: got.append(subprocess.check_output(["echo", str(i)], text=True)))
        thread.start()
        thread.join()
        return got

    assert read(work, 3) == [[f"{i}\n"] for i in range(3)]


def test_what_a_worker_started_ends_with_it() -> None:
    def start(i: int) -> Any:
        return subprocess.Popen(["sleep", "1000"]).pid

    processes = [psutil.Process(pid) for pid in read(start, 4)]
    _, alive = psutil.wait_procs(processes, timeout=LONGEST)
    assert not alive


# --- persistence ---


def test_workers_persist_over_epochs() -> None:
    with Loader(Made(lambda i: os.getpid(), 30), workers=3) as loader:
        seen = set(itertools.chain.from_iterable(loader for _ in range(3)))
        assert len(seen) == 3
        assert seen >= set(loader.statistics().pids.values())


def test_one_template_serves_the_loaders_of_a_process() -> None:
    def parent(i: int) -> Any:
        return os.getppid()

    with Loader(Made(parent, 4), workers=2) as one, Loader(Made(parent, 4), workers=2) as two:
        templates = {*one, *two}
    assert templates == set(read(parent))
    assert len(templates) == 1
    assert psutil.Process(templates.pop()).ppid() == os.getpid()


def test_no_more_workers_than_batches() -> None:
    with Loader(Made(lambda i: os.getppid(), 3), workers=8) as loader:
        (template,) = set(loader)
        assert len(psutil.Process(template).children()) == 3


# --- deaths ---


def killed(number: int) -> Callable[[], Any]:
    return lambda: os.kill(os.getpid(), number)


def crash() -> None:
    import ctypes

    ctypes.string_at(0)


DEATHS: dict[str, tuple[Callable[[], Any], str]] = {
    "SIGKILL": (killed(signal.SIGKILL), "killed by SIGKILL"),
    "SIGTERM": (killed(signal.SIGTERM), "killed by SIGTERM"),
    "SIGABRT": (os.abort, "killed by SIGABRT"),
    "SIGSEGV": (crash, "killed by SIGSEGV"),
    "os._exit": (lambda: os._exit(3), "exit code 3"),
    "os._exit(0)": (lambda: os._exit(0), "exit code 0"),
}


def epoch_until_death(loader: Loader) -> tuple[list[int], WorkerDiedError]:
    before: list[int] = []
    with pytest.raises(WorkerDiedError) as caught:
        before.extend(int(batch.flat[0]) for batch in loader)
    return before, caught.value


class Mortal:
    """A source that ends its worker at one index, in its first epoch."""

    def __init__(self, end: Callable[[], Any], last: int, length: int) -> None:
        self.end, self.last, self.length, self.mortal = end, last, length, True

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        if i == self.last and self.mortal:
            self.end()
        return np.full(2, i)


@pytest.mark.parametrize("name", DEATHS)
def test_a_worker_that_dies_is_named(name: str) -> None:
    end, words = DEATHS[name]
    source = Mortal(end, 6, 20)
    with Loader(source, workers=2) as loader, Loader(Made(abs, 5), workers=2) as other:
        unharmed = iter(other)
        assert next(unharmed) == 0
        before, error = epoch_until_death(loader)
        text = str(error)
        assert before == list(range(6))  # all that came before is delivered first
        assert words in text
        assert "source[6]" in text and "batch 6 of epoch 0" in text
        assert text.startswith(("worker 0 (pid", "worker 1 (pid"))
        assert loader.statistics().deaths >= 3  # twice it was tried again
        source.mortal = False
        assert [int(batch[0]) for batch in loader] == list(range(20))  # the next epoch works
        assert list(unharmed) == [1, 2, 3, 4]  # so does the loader beside


@pytest.mark.parametrize(("last", "length"), [(0, 1), (0, 300), (150, 300), (299, 300)])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_index_is_right_where_tasks_travel_together(workers: int, last: int, length: int) -> None:
    source = Mortal(killed(signal.SIGKILL), last, length)
    with Loader(source, workers=workers) as loader:
        before, error = epoch_until_death(loader)
        assert before == list(range(last))
        assert f"source[{last}]" in str(error)
        source.mortal = False
        assert [int(batch[0]) for batch in loader] == list(range(length))


def test_a_death_names_the_samples_of_the_batch() -> None:
    with Loader(Mortal(killed(signal.SIGKILL), 5, 12), workers=2, batch_size=4) as loader:
        before, error = epoch_until_death(loader)
    assert before == [0]
    assert "batch 1 of epoch 0 (source[5])" in str(error)


def test_every_worker_dies_at_once() -> None:
    faults = Faults(max_restarts=1000)  # so that it is the index that has had enough, not the epoch
    with Loader(Made(lambda i: os.kill(os.getpid(), signal.SIGKILL), 20), workers=3, faults=faults) as loader:
        for _ in range(3):
            before, error = epoch_until_death(loader)
            assert before == []
            assert "SIGKILL" in str(error) and "source[0]" in str(error)


def family(i: int) -> tuple[int, int, int]:
    """Return the index, the worker and the template."""
    return i, os.getpid(), os.getppid()


def kill(pids: Iterable[int]) -> None:
    """Kill the processes and wait until they have ended."""
    processes = [psutil.Process(pid) for pid in pids]
    for process in processes:
        process.kill()
    assert not psutil.wait_procs(processes, timeout=LONGEST)[1]


def indices(batches: Iterable[Any]) -> list[int]:
    return [batch[0] for batch in batches]


def test_workers_killed_between_two_epochs() -> None:
    with Loader(Made(family, 10), workers=2) as loader:
        batches = list(loader)
        assert indices(batches) == list(range(10))
        kill({worker for _, worker, _ in batches})
        for _ in range(2):  # they had nothing in hand, so nothing is lost
            assert indices(loader) == list(range(10))


def test_a_source_that_closes_every_descriptor_is_a_death_not_a_hang() -> None:
    def close_all(i: int) -> Any:
        if i == 3:
            os.closerange(3, 1000)
        return np.full(2, i)

    with Loader(Made(close_all, 10), workers=2) as loader:
        before, error = epoch_until_death(loader)
        assert before == [0, 1, 2]
        assert "source[3]" in str(error)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_the_template_dies_in_the_middle_of_an_epoch(number: signal.Signals, caplog: pytest.LogCaptureFixture) -> None:
    with Loader(Made(lambda i: (*family(i), np.full(10_000, i)), 300), workers=2) as loader:
        epoch = iter(loader)
        held = [next(epoch) for _ in range(4)]
        workers = [psutil.Process(worker) for worker in {batch[1] for batch in held}]
        (template,) = {batch[2] for batch in held}
        os.kill(template, number)
        held.extend(epoch)
        assert [int(array[0]) for *_, array in held] == list(range(300))
        assert f"pid {template}" in caplog.text and number.name in caplog.text
        assert not psutil.wait_procs(workers, timeout=LONGEST)[1]
        again = list(loader)
        assert indices(again) == list(range(300))
        assert template not in {batch[2] for batch in again}
    assert read(abs) == [0, 1, 2, 3]


def test_the_template_dies_between_two_epochs() -> None:
    with Loader(Made(family, 10), workers=2) as loader, Loader(Made(family, 10), workers=2) as other:
        batches = [*loader, *other]
        assert indices(batches) == [*range(10)] * 2
        (template,) = {batch[2] for batch in batches}
        workers = [psutil.Process(pid) for pid in {batch[1] for batch in batches}]
        kill([template])
        assert not psutil.wait_procs(workers, timeout=LONGEST)[1]
        for one in (loader, other):
            assert indices(one) == indices(one) == list(range(10))


# --- memory ---


def test_workers_share_a_large_array() -> None:
    size = 200 << 20
    array = np.ones(size, np.uint8)

    class Held:
        def __init__(self) -> None:
            self.array = array

        def __len__(self) -> int:
            return 40

        def __getitem__(self, i: int) -> Any:
            return int(self.array[::4096].sum()), os.getpid()  # touches every page

    with Loader(Held(), workers=4) as loader:
        batches = list(loader)
        assert {total for total, _ in batches} == {size // 4096}
        workers = [psutil.Process(pid) for pid in {pid for _, pid in batches}]
        assert len(workers) == 4
        memory = [process.memory_full_info() for process in workers]
        assert sum(info.uss for info in memory) < 4 * 40 << 20
        assert sum(info.pss for info in memory) < size + (4 * 40 << 20)


def test_statistics_of_a_loader_that_has_not_begun() -> None:
    with Loader(Made(abs, 3), workers=2) as loader:
        assert loader.statistics().pids == {}


def test_many_loaders_one_after_another() -> None:
    for _ in range(10):
        assert read(abs, 2) == [0, 1]


def endless(loader: Loader) -> Iterator[Any]:
    for _ in itertools.count():
        yield from loader


def test_a_thousand_short_epochs() -> None:
    with Loader(Made(abs, 1), workers=2) as loader:
        assert list(itertools.islice(endless(loader), 1000)) == [0] * 1000


SCRIPT_WITH_THREADS = """
import sys, threading
import numpy as np
import procession

class Source:
    def __init__(self):
        self.started = None
    def __getstate__(self):
        return {}
    def __setstate__(self, state):
        stop = threading.Event()
        self.started = threading.Thread(target=stop.wait, daemon=True, name="its-own-thread")
        self.started.start()
    def __len__(self):
        return 6
    def __getitem__(self, i):
        return i, self.started.is_alive()

with procession.Loader(Source(), workers=2) as loader, procession.Loader([1, 2, 3], workers=2) as other:
    assert list(other) == [1, 2, 3]
    for _ in range(3):
        assert list(loader) == [(i, True) for i in range(6)], list(loader)
        assert list(other) == [1, 2, 3]
    print(loader.statistics().threads, other.statistics().threads)
"""


def test_a_source_that_starts_threads_when_unpickled(tmp_path: Path) -> None:
    done = run_script(SCRIPT_WITH_THREADS, tmp_path)
    assert done.stdout == "('its-own-thread',) ()\n"
    assert done.stderr == ""
