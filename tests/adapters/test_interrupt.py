"""Ctrl-C while a batch does not come, in a script of its own on each backend."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.adapters.conftest import NEWEST, ROOT, SETTINGS

LONGEST = 2.0  # seconds from the signal to KeyboardInterrupt


@contextmanager
def training(backend: str, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the script, and give it back once it waits for the batch that does not come."""
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    os.mkfifo(folder / "fifo.go")
    reading = os.open(fifo, os.O_RDWR)  # for writing too: so that there is no end of file between two lines
    executor, handler = arguments
    with subprocess.Popen(
        [sys.executable, "-m", "tests.adapters.waiting", executor, str(fifo), handler],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, **SETTINGS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as script:
        try:
            wait_until_it_waits(script, reading)
            yield script
        finally:
            script.kill()
            os.close(reading)


def wait_until_it_waits(script: subprocess.Popen[str], reading: int) -> None:
    """Read both lines from the FIFO, unless the script ends before."""
    ended = os.pidfd_open(script.pid)
    heard = b""
    try:
        while heard.count(b"\n") < 2:
            ready, _, _ = select.select([reading, ended], [], [], 60)
            if reading not in ready:
                script.kill()
                pytest.fail(f"the script did not come to wait; heard {heard!r}\n{script.communicate()[1]}")
            heard += os.read(reading, 1000)
    finally:
        os.close(ended)
    assert sorted(heard.split(b"\n")) == [b"", b"before the batch", b"in the batch"]


@pytest.mark.parametrize("executor", ["processes", "threads"])
@pytest.mark.parametrize("backend", NEWEST)
def test_ctrl_c_ends_the_training(backend: str, executor: str, tmp_path: Path) -> None:
    with training(backend, tmp_path, executor, "default") as script:
        children = psutil.Process(script.pid).children(recursive=True)
        assert bool(children) == (executor == "processes")
        sent = time.monotonic()
        script.send_signal(signal.SIGINT)
        out, err = script.communicate(timeout=90)
        assert "KeyboardInterrupt" in err.splitlines()[-1], err
        assert float(out) - sent < LONGEST
        assert script.returncode == -signal.SIGINT
        assert psutil.wait_procs(children, timeout=20)[1] == []


@pytest.mark.parametrize("backend", NEWEST)
def test_a_handler_that_does_not_raise_ends_nothing(backend: str, tmp_path: Path) -> None:
    with training(backend, tmp_path, "processes", "own") as script:
        script.send_signal(signal.SIGINT)
        (tmp_path / "fifo.go").write_text("go")
        out, err = script.communicate(timeout=60)
        assert script.returncode == 0, err
        assert out == "[0, 1, 2, 3, 4, 5, 6] ['SIGINT']\n"


LEAVING = """
import sys
import keras
import procession
from tests.adapters import kit

class Leaves(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            sys.exit(3)

loader = procession.Loader(kit.Numbered(40), workers=2)
kit.make_model("unbuilt").fit(loader, epochs=2, verbose=0, callbacks=[Leaves()])
"""


@pytest.mark.parametrize("backend", NEWEST)
def test_the_script_exits_in_the_middle_of_fit(backend: str) -> None:
    """What it leaves behind would be seen by the fixture that looks after every test."""
    done = subprocess.run(
        [sys.executable, "-c", LEAVING],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, **SETTINGS},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr
