"""Cases B11 to B13 and B15: what does not end. Stock queues and pools hang, all at once, for one limit."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procession import Loader
from tests.catalogue.kit import HUNG, Outcome, outcome, recognised
from tests.catalogue.scripts import at_once
from tests.support import Made

LIMIT = 6  # seconds: these scripts import nothing but multiprocessing

JOIN = """
import multiprocessing, os, time


def say(*words):  # in one piece
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())


def item(i):
    say("at item", i)
    time.sleep(1e6)


if __name__ == "__main__":
    pool = multiprocessing.get_context("fork").Pool(1)
    pool.apply_async(item, (0,))
    pool.close()
    say("shutting down")
    pool.join()
"""

UNDRAINED = """
import faulthandler, multiprocessing, os


def say(*words):  # in one piece
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())


def work(queue):
    faulthandler.dump_traceback_later(3)  # what a user sees who looks where it is
    queue.put(b"x" * 200_000)
    say("worker has finished")


if __name__ == "__main__":
    queue = multiprocessing.get_context("fork").Queue()
    worker = multiprocessing.get_context("fork").Process(target=work, args=(queue,))
    worker.start()
    worker.join()
"""

TRUNCATED = """
import multiprocessing, os, select, time


def say(*words):  # in one piece
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())


def write(queue):
    queue.put(b"x" * 50_000_000)


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    writer, other = [context.Process(target=f, args=(a,)) for f, a in ((write, queue), (time.sleep, 1e6))]
    other.start()  # holds the queue too, so that its end is not noticed
    writer.start()
    select.select([queue._reader], [], [])  # some bytes are there, all cannot be
    writer.kill()
    writer.join()
    say("killed")
    queue.get(timeout=1)
"""

NO_EXIT = """
import queue, threading


def prefetch(batches):
    for number in range(100):
        batches.put(number)


batches = queue.Queue(2)
threading.Thread(target=prefetch, args=(batches,)).start()
assert batches.get() == 0
raise RuntimeError("the model is at fault")
"""

SCRIPTS = {"B11": UNDRAINED, "B12": TRUNCATED, "B13": JOIN, "B15": NO_EXIT}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return at_once(SCRIPTS, tmp_path_factory, LIMIT)


def test_results_that_nobody_reads_hold_up_no_ending(stock: dict[str, Outcome]) -> None:
    assert stock["B11"].output == "worker has finished\n"
    assert stock["B11"].status == HUNG
    assert recognised(stock["B11"].errors) == "B11"
    assert recognised("process.join() never returns after queue.put of a large result") == "B11"
    loader = Loader(Made(lambda i: np.full(1_000_000, i), 100), workers=2)
    epoch = iter(loader)
    assert next(epoch)[0] == 0
    loader.close()  # with batches ready that nobody has asked for


def test_a_half_written_result_blocks_nobody(stock: dict[str, Outcome], tmp_path: Path) -> None:
    assert stock["B12"].output == "killed\n"
    assert stock["B12"].status == HUNG
    assert recognised("queue.get(timeout=1) blocks without end after a worker was killed while writing") == "B12"
    once = tmp_path / "once"

    class Large:
        """Kills its process while it is pickled: in the middle of what is written for the consumer."""

        def __reduce__(self) -> Any:
            if not once.exists():
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return bytes, (b"x" * 1_000_000,)

    source = Made(lambda i: [np.full(1_000_000, i), Large() if i == 3 else b""], 6)
    with Loader(source, workers=2) as loader:
        assert [len(batch[1]) for batch in loader] == [0, 0, 0, 1_000_000, 0, 0]
        assert loader.statistics().deaths == 1


def test_closing_does_not_wait_for_a_stuck_worker(stock: dict[str, Outcome]) -> None:
    assert "shutting down\n" in stock["B13"].output and "at item 0\n" in stock["B13"].output
    assert stock["B13"].status == HUNG
    assert recognised("training hangs at exit in _shutdown_workers, w.join()") == "B13"
    loader = Loader(Made(lambda i: i if i < 3 else time.sleep(1e6), 6), workers=2)
    epoch = iter(loader)
    assert [next(epoch) for _ in range(3)] == [0, 1, 2]
    loader.close()


ABANDONED = """
import numpy as np

import procession


class Data:
    def __len__(self):
        return 100

    def __getitem__(self, i):
        return np.full(3, i)


for executor in ("processes", "threads"):
    loader = procession.Loader(Data(), workers=2, executor=executor)
    epoch = iter(loader)
    print(next(epoch)[0], flush=True)
    globals()[executor] = loader, epoch  # still in use when the script ends
raise RuntimeError("the model is at fault")
"""


def test_a_script_that_fails_in_its_loop_ends(stock: dict[str, Outcome], tmp_path: Path) -> None:
    assert "RuntimeError: the model is at fault" in stock["B15"].errors
    assert stock["B15"].status == HUNG
    said = outcome(ABANDONED, tmp_path)
    assert said.status == 1
    assert said.output == "0\n0\n"
    assert said.errors.count("Traceback") == 1
    assert recognised("the script prints its last line and the process does not exit") == "B15"
