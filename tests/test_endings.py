"""Every ending ends everything: close, garbage collection, exit, Ctrl-C, kill -9 of the training process, fork."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from procession import Loader, LoaderClosedError
from tests.conftest import ExecutorName
from tests.support import Made, run_script, running_script

PROMPT = 10  # seconds: an ending takes a fraction of one, a busy machine some, a hang for ever


def gone(pids: list[int]) -> bool:
    """Wait until the processes have ended; say whether they have."""
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not psutil.wait_procs(processes, timeout=PROMPT)[1]


def threads_of_loaders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("procession")]


# --- close ---


def test_close_twice(executor: ExecutorName) -> None:
    loader = Loader(Made(abs, 4), executor=executor, workers=2)
    assert list(loader) == [0, 1, 2, 3]
    pids = list(loader.statistics().pids.values())
    loader.close()
    loader.close()
    assert gone(pids)
    assert threads_of_loaders() == []
    assert "closed" in repr(loader)


def test_close_before_the_first_epoch(executor: ExecutorName) -> None:
    loader = Loader(Made(abs, 4), executor=executor)
    loader.close()
    with pytest.raises(LoaderClosedError, match="closed"):
        iter(loader)


def test_iterating_after_close(executor: ExecutorName) -> None:
    with Loader(Made(abs, 4), executor=executor) as loader:
        epoch = iter(loader)
        assert next(epoch) == 0
    for use in (lambda: next(epoch), lambda: iter(loader), lambda: list(loader)):
        with pytest.raises(LoaderClosedError, match=r"has been closed.*new Loader"):
            use()


def test_the_with_block_closes_though_its_body_raises(executor: ExecutorName) -> None:
    def body() -> None:
        with Loader(Made(abs, 4), executor=executor) as loader:
            assert next(iter(loader)) == 0
            raise LookupError

    with pytest.raises(LookupError):
        body()
    gc.collect()
    assert threads_of_loaders() == []


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe: opening it to write returns once somebody has opened it to read, and the other way round."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def waits_at(gate: Path, index: int) -> Made:
    """Return a source that waits at one index until the gate has been opened and closed."""
    return Made(lambda i: len(gate.read_bytes()) + i if i == index else i, 6)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_close_from_another_thread_while_a_batch_is_awaited(executor: ExecutorName, gate: Path) -> None:
    loader = Loader(waits_at(gate, 2), executor=executor, workers=2)
    got: list[Any] = []

    def consume() -> None:
        try:
            got.extend(loader)
        except LoaderClosedError as error:
            got.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    with gate.open("wb"):  # from here on a worker is in source[2]
        loader.close()
        consumer.join(PROMPT)
        assert not consumer.is_alive()
    assert isinstance(got[-1], LoaderClosedError)
    assert got[:-1] == [0, 1][: len(got) - 1]
    for thread in threading.enumerate():
        if thread.name.startswith("procession"):
            thread.join(PROMPT)
    assert threads_of_loaders() == []


def test_close_ends_workers_that_are_stuck(gate: Path) -> None:
    def wait(i: int) -> Any:
        gate.with_name("pid").write_text(str(os.getpid()))
        return gate.read_bytes()

    loader = Loader(Made(wait, 1), workers=1)
    epoch = iter(loader)
    with gate.open("wb"):  # from here on the worker waits
        stuck = int(gate.with_name("pid").read_text())
        loader.close()
        assert gone([stuck])
    with pytest.raises(LoaderClosedError):
        next(epoch)


# --- loaders that nobody holds ---


def test_a_loader_that_is_dropped_ends_its_workers(executor: ExecutorName) -> None:
    loader = Loader(Made(lambda i: np.full(3, i), 100), executor=executor, workers=2)
    epoch = iter(loader)
    held = [next(epoch) for _ in range(3)]
    pids = list(loader.statistics().pids.values())
    del epoch, loader
    gc.collect()
    assert gone(pids)
    assert threads_of_loaders() == []
    assert [batch.tolist() for batch in held] == [[i] * 3 for i in range(3)]


def test_a_loop_over_a_loader_that_nobody_holds(executor: ExecutorName) -> None:
    got = []
    for batch in Loader(Made(abs, 50), executor=executor, workers=2):
        got.append(batch)
        gc.collect(0)
    assert got == list(range(50))
    gc.collect()
    assert threads_of_loaders() == []


def test_a_loader_in_a_cycle_is_collected(executor: ExecutorName) -> None:
    class Trainer:
        loader: Any = None
        me: Any = None

    trainer = Trainer()
    trainer.me = trainer
    trainer.loader = Loader(Made(abs, 10), executor=executor, workers=2)
    assert next(iter(trainer.loader)) == 0
    pids = list(trainer.loader.statistics().pids.values())
    there = weakref.ref(trainer)
    del trainer
    gc.collect()
    assert there() is None
    assert gone(pids)
    assert threads_of_loaders() == []


def test_an_abandoned_iterator_does_not_keep_the_workers(executor: ExecutorName) -> None:
    with Loader(Made(abs, 10), executor=executor, workers=2) as loader:
        abandoned = iter(loader)
        assert next(abandoned) == 0
    assert threads_of_loaders() == []
    with pytest.raises(LoaderClosedError):
        next(abandoned)


# --- the training process ends ---

SCRIPT = """
import os, signal, sys, threading
import procession

class Slow:
    def __init__(self, gate):
        self.gate = gate
    def __len__(self):
        return 10
    def __getitem__(self, i):
        if i >= 4:
            open(self.gate).read()   # waits until the test opens the gate and closes it again
        return i, os.getpid(), os.getppid()

executor, ending = sys.argv[1:3]
loader = procession.Loader(Slow(sys.argv[3]), workers=2, executor=executor)
epoch = iter(loader)
batches = [next(epoch) for _ in range(4)]
assert [batch[0] for batch in batches] == [0, 1, 2, 3]
print(*{pid for batch in batches for pid in batch[1:]} - {os.getpid(), os.getppid()}, flush=True)
match ending:
    case "waits for a batch":
        next(epoch)
    case "falls off its end":
        pass
    case "sys.exit":
        sys.exit(0)
    case "raises":
        raise LookupError("by the script")
    case "exits in the middle of a loop":
        for batch in procession.Loader(list(range(1000)), workers=2, executor=executor):
            if batch == 3:
                sys.exit(0)
    case "closes":
        loader.close()
"""
PARALLEL = ("threads", "processes")


@contextmanager
def script_at_index_4(tmp_path: Path, gate: Path, executor: str, ending: str) -> Iterator[tuple[Any, list[int]]]:
    """Run the script until it has printed its processes; they have all ended on leaving, or the test fails."""
    with running_script(SCRIPT, tmp_path, executor, ending, str(gate)) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == (3 if executor == "processes" else 0)
        yield process, pids
    assert gone(pids), "a process outlived the training process"


@pytest.mark.parametrize("executor", PARALLEL)
def test_ctrl_c_in_the_middle_of_an_epoch(executor: str, tmp_path: Path, gate: Path) -> None:
    with script_at_index_4(tmp_path, gate, executor, "waits for a batch") as (process, _), gate.open("wb"):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PROMPT)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1


INTERRUPTED = """
import os, sys
import procession

class Waits:
    def __len__(self):
        return 10
    def __getitem__(self, i):
        if i == 4 and os.path.exists("gate"):
            open("gate").read()
        return i

loader = procession.Loader(Waits(), workers=2, executor=sys.argv[1])
try:
    for batch in loader:
        print(batch, flush=True)
except KeyboardInterrupt:
    os.rename("gate", "open")
    assert list(loader) == list(range(10))
    print("whole")
os._exit(0) if sys.argv[1] == "threads" else sys.exit(0)   # a thread may still wait at the gate
"""


@pytest.mark.parametrize("executor", ["serial", *PARALLEL])
def test_the_loader_goes_on_after_ctrl_c(executor: str, tmp_path: Path, gate: Path) -> None:
    with running_script(INTERRUPTED, tmp_path, executor) as process, gate.open("wb"):
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(4)] == ["0\n", "1\n", "2\n", "3\n"]
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PROMPT)
    assert (output, errors) == ("whole\n", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_training_process_is_killed(number: signal.Signals, tmp_path: Path, gate: Path) -> None:
    with script_at_index_4(tmp_path, gate, "processes", "waits for a batch") as (process, pids), gate.open("wb"):
        process.send_signal(number)
        assert process.wait(PROMPT) == -number
        assert gone(pids)


ENDINGS = {
    "falls off its end": (0, ""),
    "sys.exit": (0, ""),
    "raises": (1, "LookupError: by the script"),
    "exits in the middle of a loop": (0, ""),
    "closes": (0, ""),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("executor", ["serial", *PARALLEL])
def test_the_script_ends_in_the_middle_of_an_epoch(executor: str, ending: str, tmp_path: Path, gate: Path) -> None:
    status, last_words = ENDINGS[ending]
    with script_at_index_4(tmp_path, gate, executor, ending) as (process, _):
        _, errors = process.communicate(timeout=PROMPT)
    assert process.returncode == status
    assert errors.strip().splitlines()[-1:] == [last_words][: bool(last_words)]


def test_a_worker_stuck_in_native_code_ends_with_the_training_process(tmp_path: Path) -> None:
    script = """
import ctypes, os, sys
import procession

class Stuck:
    def __len__(self):
        return 2
    def __getitem__(self, i):
        if i == 0:
            return os.getpid()
        ctypes.PyDLL(None).pause()   # holds the GIL, for ever

loader = procession.Loader(Stuck(), workers=1)
epoch = iter(loader)
print(next(epoch), flush=True)
next(epoch)
"""
    with running_script(script, tmp_path) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
        process.wait(PROMPT)
        assert gone([pid])


@pytest.mark.parametrize("where", ["__setstate__", "import"])
def test_a_template_stuck_in_loading_a_source_ends_with_the_training_process(where: str, tmp_path: Path) -> None:
    (tmp_path / "never.py").write_text(f"""
import ctypes, os, sys

def stuck():
    print(os.getpid(), flush=True)
    ctypes.PyDLL(None).pause()   # holds the GIL, for ever

class Source:
    def __len__(self):
        return 2
    def __getitem__(self, i):
        return i
    def __setstate__(self, state):
        stuck()
    def __getstate__(self):
        return 1

if {where!r} == "import" and os.getppid() != int(os.environ["STARTED_BY"]):
    stuck()
""")
    script = f"""
import os
os.environ["STARTED_BY"] = "{os.getpid()}"
import never, procession
next(iter(procession.Loader(never.Source(), workers=1)))
"""
    with running_script(script, tmp_path) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
        process.wait(PROMPT)
        assert gone([pid])


IN_A_THREAD = """
import os, sys, threading
import procession

class Waits:
    def __len__(self):
        return 10
    def __getitem__(self, i):
        if i >= 4:
            open(sys.argv[1]).read()
        return i, os.getpid()

loader = procession.Loader(Waits(), workers=2)
there = threading.Event()

def consume():
    for i, pid in loader:
        if i == 3:
            print(*loader.statistics().pids.values(), flush=True)
            there.set()

threading.Thread(target=consume, daemon=True).start()
there.wait()
"""


def test_the_interpreter_exits_while_a_thread_waits_for_a_batch(tmp_path: Path, gate: Path) -> None:
    with running_script(IN_A_THREAD, tmp_path, str(gate)) as process, gate.open("wb"):
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        assert process.wait(PROMPT) == 0
        assert gone(pids)


RESTARTED = """
from jupyter_client.manager import start_new_kernel

cell = '''
import os
import procession

class Source:
    def __len__(self):
        return 10**6
    def __getitem__(self, index):
        return os.getpid()

loader = procession.Loader(Source(), workers=2)
epoch = iter(loader)
pids = set()
while len(pids) < 2:
    pids.add(next(epoch))
print(*pids)
'''
manager, client = start_new_kernel()
client.execute_interactive(cell, output_hook=lambda m: print(m["content"].get("text", ""), end="", flush=True))
input()
manager.restart_kernel(now=True)
print("restarted", flush=True)
input()
client.stop_channels()
manager.shutdown_kernel(now=True)
"""


def test_a_notebook_kernel_is_restarted(tmp_path: Path) -> None:
    with running_script(RESTARTED, tmp_path) as process:
        assert process.stdin is not None and process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2 and all(map(psutil.pid_exists, pids))
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "restarted\n"
        assert gone(pids)
        process.communicate("\n", timeout=PROMPT)


# --- a fork of the training process, by the user ---


FORK = """
import os, sys
import procession

loader = procession.Loader(list(range(40)), workers=2, executor=sys.argv[1])
epoch = iter(loader)
got = [next(epoch) for _ in range(3)]
pid = os.fork()
if pid == 0:
    match sys.argv[2]:
        case "exits":
            sys.exit(0)   # runs every atexit function of the parent
        case "drops":
            del loader, epoch
            sys.exit(0)
        case "reads its own":
            with procession.Loader([5, 6, 7], workers=2, executor=sys.argv[1]) as own:
                assert list(own) == [5, 6, 7]
            sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
got.extend(epoch)
assert got == list(range(40)), got
assert list(loader) == list(range(40))
print("whole")
"""


@pytest.mark.parametrize("child", ["exits", "drops", "reads its own"])
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_the_user_forks_the_training_process(executor: str, child: str, tmp_path: Path) -> None:
    done = run_script(FORK, tmp_path, executor, child, check=False)
    assert (done.stdout, done.stderr) == ("whole\n", "")


def test_a_user_subprocess_inherits_nothing(executor: ExecutorName) -> None:
    with Loader(Made(lambda i: np.full(100, i), 4), executor=executor, workers=2) as loader:
        epoch = iter(loader)
        assert next(epoch)[0] == 0
        listing = subprocess.check_output(["ls", "-l", "/proc/self/fd"], text=True, close_fds=False)
        assert "memfd:procession" not in listing
        assert len(list(epoch)) == 3


class NeverRebuilt:
    """Its unpickling does not return."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> int:
        return i

    def __getstate__(self) -> dict[str, int]:
        return {"any": 1}

    def __setstate__(self, state: dict[str, int]) -> None:
        threading.Event().wait()


def test_a_loader_that_closes_ends_the_template_that_is_stuck_in_its_source() -> None:
    loader = Loader(NeverRebuilt(), workers=1)
    closing = threading.Timer(0.5, loader.close)
    closing.start()
    with pytest.raises(LoaderClosedError):
        next(iter(loader))
    closing.join()
    with Loader(Made(abs, 4), workers=1) as other:
        assert list(other) == [0, 1, 2, 3]


def test_what_workers_have_written_is_there_when_the_loader_is_closed(tmp_path: Path) -> None:
    class Logs:
        """Each worker writes to a file of its own, and never closes it."""

        log: Any = None

        def __len__(self) -> int:
            return 8

        def __getitem__(self, i: int) -> int:
            if self.log is None:
                self.log = (tmp_path / str(os.getpid())).open("w")
            self.log.write(f"{i}\n")
            return i

    with Loader(Logs(), workers=2) as loader:
        list(loader)
    lines = [line for path in tmp_path.iterdir() for line in path.read_text().split()]
    assert sorted(map(int, lines)) == list(range(8))


# What happens in the middle of starting a loader, in the same thread: a collection of garbage, a signal's handler.
MEANWHILE = """
import gc, os, select, signal, sys
import procession
from procession import Loader, LoaderClosedError

class Source:
    def __len__(self): return 10
    def __getitem__(self, i): return i

def template():
    return int(open(f"/proc/self/task/{os.getpid()}/children").read().split()[0])

def abandoned():
    one = Loader(Source(), workers=1)
    epoch = iter(one)
    next(epoch)
    cycle = [one, epoch]
    cycle.append(cycle)

def killed():
    watch = os.pidfd_open(template())
    os.kill(template(), signal.SIGKILL)
    select.select([watch], [], [])
    os.close(watch)

what, where = sys.argv[1:]
acts = {"collect": gc.collect, "close": lambda: loader.close(), "another": lambda: print(list(other))}
armed = False

def hook(event, arguments):
    global armed
    if armed and event == where:
        armed = False
        acts[what]()

sys.addaudithook(hook)
gc.disable()
list(Loader(Source(), workers=1))
other = Loader(Source(), workers=1)
if what == "collect":
    abandoned()
killed()
loader = Loader(Source(), workers=1)
armed = True
try:
    print(list(loader))
except LoaderClosedError:
    print("closed")
assert not armed
other.close()
loader.close()
del loader, other
gc.collect()
left = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if int(name) > 2 and
        os.path.exists(f"/proc/self/fd/{name}")]
print(sorted({name.split(":")[0] for name in left}))
"""
EVENTS = ("subprocess.Popen", "socket.__new__", "mmap.__new__")


@pytest.mark.parametrize("what", ["collect", "close", "another"])
@pytest.mark.parametrize("where", EVENTS)
def test_what_is_done_while_a_loader_starts_hangs_nothing(what: str, where: str, tmp_path: Path) -> None:
    done = run_script(MEANWHILE, tmp_path, what, where)
    want = str(list(range(10)))
    *batches, left = done.stdout.splitlines()
    assert batches == {"collect": [want], "close": ["closed"], "another": [want, want]}[what], done.stderr
    assert left == "['socket']"  # the template's
