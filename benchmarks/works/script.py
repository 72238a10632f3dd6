"""script: one and the same training script, under stock Keras and under `procession run`."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.model import PROCESSION, Contender, Figure, Round, Sample, Work

SCRIPT = Path(__file__).resolve().parent.parent / "script_text.py"
LIMIT = 100.0  # for a script that hangs
ALONE, THREADS, PROCESSES = "stock Keras, no workers", "stock Keras, threads", "stock Keras, processes"


def run(*command: str) -> Callable[[], Round]:
    """Return rounds that each run the script once, whatever time they are given."""

    def measure(_: float) -> Sample:
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        whole = time.perf_counter() - begun
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2000:])
        return {"whole": whole, "epoch": float(done.stdout.split()[-1])}

    return lambda: measure


ENVIRONMENT = {"KERAS_BACKEND": "tensorflow"}
WORK = Work(
    name="script",
    about="a script that counts words in Python, 100 batches of 64 texts, 2 workers, TensorFlow",
    contenders=(
        Contender(
            PROCESSION,
            run("-m", "procession", "run", "--quiet", str(SCRIPT), "2", "processes"),
            ("tensorflow", "keras"),
            ENVIRONMENT,
        ),
        Contender(ALONE, run(str(SCRIPT), "1", "threads"), ("tensorflow", "keras"), ENVIRONMENT),
        Contender(THREADS, run(str(SCRIPT), "2", "threads"), ("tensorflow", "keras"), ENVIRONMENT, quick=False),
        Contender(PROCESSES, run(str(SCRIPT), "2", "processes"), ("tensorflow", "keras"), ENVIRONMENT, quick=False),
    ),
    figures=(
        Figure("script, an epoch", key="epoch", unit="s"),
        Figure("script, start to end", key="whole", unit="s"),
    ),
    rounds=3,
    quick_rounds=1,
)
WORKS = (WORK,)
