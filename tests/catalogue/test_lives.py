"""Cases F: how workers live and end, in stock pools and here."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procession import Faults, Loader, WorkerDiedError
from tests.catalogue.kit import outcome, recognised
from tests.catalogue.scripts import sections
from tests.support import Made

# What is read once in each process is kept there: how often it is read tells how long processes live.
FIT = """
class Caching(Data):
    cache = None

    def __getitem__(self, i):
        if self.cache is None:
            self.cache = "read"
            say("read by", os.getpid())
        return super().__getitem__(i)


section("stock")
model().fit(Caching(**MANY), validation_data=Caching(**MANY), epochs=4, verbose=0)
section("here")
import procession
with procession.Loader(Caching(), workers=2) as train, procession.Loader(Caching(), workers=1) as held_out:
    model().fit(train, validation_data=held_out, epochs=4, verbose=0)
section("zombies")
import psutil
with procession.Loader(Caching(), workers=2) as train:
    for _ in range(4):
        model().fit(train, epochs=1, verbose=0)
    family = psutil.Process().children(recursive=True)
    say(len(family), sum(process.status() == psutil.STATUS_ZOMBIE for process in family))
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return sections(FIT, tmp_path_factory.mktemp("fit"), "jax")


def readers(said: str) -> set[str]:
    return set(re.findall(r"^read by (\d+)$", said, re.MULTILINE))


def test_workers_are_as_many_as_were_asked_for(fitted: dict[str, str]) -> None:
    assert len(readers(fitted["stock"])) > 8  # at least one a pool, of which there are two an epoch
    assert 2 <= len(readers(fitted["here"])) <= 3
    processes, zombies = fitted["zombies"].splitlines()[-1].split()
    assert (int(processes), zombies) == (3, "0")  # the template and two workers
    assert recognised("the number of processes grows with each epoch, 109 of them at epoch 277") == "F1"
    assert recognised("12345 pts/0 Z 0:00 [classifier-train] <defunct>") == "F1"


def test_what_workers_have_read_stays_over_epochs(fitted: dict[str, str]) -> None:
    assert fitted["here"].count("read by") == len(readers(fitted["here"]))
    assert recognised("it takes a minute at the start of each epoch until the workers are created again") == "F5"
    assert recognised("DataLoader without persistent_workers=True loses seconds at every epoch") == "F5"


CTRL_C = """
import multiprocessing, os, signal, time

context = multiprocessing.get_context("fork")
ready = context.Semaphore(0)


def work():
    ready.release()
    time.sleep(1e6)


if __name__ == "__main__":
    workers = [context.Process(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
        ready.acquire()
    try:
        os.killpg(0, signal.SIGINT)  # what a terminal does at Ctrl-C
        time.sleep(1e6)
    finally:
        for worker in workers:
            worker.join()
"""

CTRL_C_HERE = """
import os, signal, time

import procession


class Data:
    def __init__(self):
        self.group = os.getpgid(0)

    def __len__(self):
        return 8

    def __getitem__(self, i):
        while i == 5:  # in the middle of an item
            os.killpg(self.group, signal.SIGINT)
            time.sleep(1e6)
        return i


for batch in procession.Loader(Data(), workers=2):
    pass
"""


def test_ctrl_c_shows_one_traceback(tmp_path: Path) -> None:
    stock = outcome(CTRL_C, tmp_path)
    assert stock.errors.count("Traceback") == 3  # of two workers and the main process
    assert recognised(stock.errors) == "F2"
    here = outcome(CTRL_C_HERE, tmp_path)
    assert here.errors.count("Traceback") == 1
    assert here.errors.rstrip().endswith("KeyboardInterrupt")
    assert (
        recognised(
            "Fatal Python error: could not acquire lock for <_io.BufferedWriter name='<stderr>'> at interpreter "
            "shutdown, possibly due to daemon threads"
        )
        == "F2"
    )


# A worker that is at work when its parent is killed looks for that, and says that it is still there; the end of the
# pipe that it writes to is what the test waits for.
ORPHAN = """
import multiprocessing, os, signal, time

PARENT = os.getpid()


def item(i):
    while os.getppid() == PARENT:
        os.kill(PARENT, signal.SIGKILL)
        time.sleep(0.01)
    os.write(1, b"still at work\\n")
    os._exit(0)


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.map(item, [0])
"""

ORPHAN_HERE = """
import os, signal, time

import procession


class Data:
    def __init__(self):
        self.parent = os.getpid()

    def __len__(self):
        return 4

    def __getitem__(self, i):
        if i == 3:
            os.write(1, b"at work\\n")
            os.kill(self.parent, signal.SIGKILL)
            while True:  # nobody ends it but what is tested
                time.sleep(1)
        return i


for batch in procession.Loader(Data(), workers=2):
    pass
"""


def test_workers_end_with_the_training_process(tmp_path: Path) -> None:
    stock = outcome(ORPHAN, tmp_path)
    assert stock.output == "still at work\n"
    here = outcome(ORPHAN_HERE, tmp_path)
    assert here.output == "at work\n"
    assert here.status == -9  # and nobody held its output open
    assert recognised("after kill -9 of the parent the orphaned workers go on and hold the memory of the GPU") == "F3"


TORCH = """
import ctypes

from torch.utils.data import DataLoader


class Data:
    def __len__(self):
        return 8

    def __getitem__(self, i):
        if i == 5:
            ctypes.string_at(0)
        return i


for item in DataLoader(Data(), batch_size=None, num_workers=2):
    pass
"""


def crash_once(mark: Path) -> Any:
    if not mark.exists():
        mark.touch()
        ctypes.string_at(0)
    return np.full(2, 5)


def test_a_crash_is_survived_or_named(tmp_path: Path) -> None:
    stock = outcome(TORCH, tmp_path)
    assert stock.status == 1
    assert recognised(stock.errors) == "F4"
    assert (
        recognised(
            "RuntimeError: DataLoader worker (pid 26471) is killed by signal: Segmentation fault. Details are lost "
            "due to multiprocessing. Rerunning with num_workers=0 may give better error trace."
        )
        == "F4"
    )

    def crash_at_five(i: int) -> Any:
        return crash_once(tmp_path / "crashed") if i == 5 else np.full(2, i)

    with Loader(Made(crash_at_five, 8), workers=2) as loader:
        assert [int(batch[0]) for batch in loader] == list(range(8))
        assert loader.statistics().deaths == 1

    def always(i: int) -> Any:
        return ctypes.string_at(0) if i == 5 else i

    with (
        Loader(Made(always, 8), workers=2, faults=Faults(retries=0)) as loader,
        pytest.raises(WorkerDiedError, match=r"source\[5\].*SIGSEGV(?s:.)*in always") as caught,
    ):
        list(loader)
    assert recognised(f"WorkerDiedError: {caught.value}") == "F4"
