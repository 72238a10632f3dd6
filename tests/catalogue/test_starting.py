"""Cases C, first part: start methods and `__main__`; with stock multiprocessing, and here."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.catalogue.kit import outcome, recognised
from tests.support import run_script

SOURCE = """
import multiprocessing as mp, os, sys

class Source:
    def __init__(self):
        self.scaled = lambda x: 2 * x
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return self.scaled(i)

def worker(source):
    print("in a worker", flush=True)
"""
HERE = """
import procession
with procession.Loader(Source(), workers=2, executor="processes") as loader:
    print(list(loader))
"""
READ = "[0, 2, 4, 6]\n"

# --- what the new process runs ---

SEND = """
process = mp.get_context("spawn").Process(target=worker, args=(1,))
process.start()
process.join()
"""
TWO_WORKERS = """
if __name__ == "__main__":
    for process in [mp.get_context("spawn").Process(target=worker, args=(i,)) for i in range(2)]:
        process.start()
        process.join()
"""
NO_GUARD = SOURCE + SEND
HALF_A_GUARD = SOURCE + ("print('builds the model', flush=True)\n" + TWO_WORKERS)


def test_a_script_without_a_guard(tmp_path: Path) -> None:
    stock = outcome(NO_GUARD, tmp_path)
    assert "in a worker" not in stock.output
    assert recognised(stock.errors) == "C1"
    assert run_script(SOURCE + HERE, tmp_path).stdout == READ


def test_the_script_is_run_once(tmp_path: Path) -> None:
    stock = outcome(HALF_A_GUARD, tmp_path)
    assert stock.output.count("builds the model") == 3
    assert run_script(SOURCE + "print('builds the model')" + HERE, tmp_path).stdout == "builds the model\n" + READ
    assert recognised("My training starts again at epoch 1 in every worker") == "C2"
    assert recognised("Top-level code of the script runs once per worker: the model is built three times") == "C2"
    assert recognised("*** The MPI_Init_thread() function was called before MPI was initialized") == "C2"


COMMAND_LINE = "import subprocess, sys\nsys.exit(subprocess.run([sys.executable, '-c', {text!r}]).returncode)"


def test_a_class_of_a_notebook_or_of_the_command_line(tmp_path: Path) -> None:
    stock = outcome(COMMAND_LINE.format(text=SOURCE + SEND), tmp_path)
    assert "Can't get attribute 'worker' on <module '__main__'" in stock.errors
    assert recognised(stock.errors) == "C3"
    assert (
        recognised("AttributeError: Can't get attribute 'DS' on <module '__mp_main__' from '/home/me/train.py'>")
        == "C3"
    )
    assert run_script(COMMAND_LINE.format(text=SOURCE + HERE), tmp_path).stdout == READ


def test_a_script_on_standard_input(tmp_path: Path) -> None:
    stock = outcome(SOURCE + SEND, tmp_path, on_stdin=True)
    assert f"No such file or directory: '{tmp_path}/<stdin>'" in stock.errors
    assert recognised(stock.errors) == "C4"
    assert run_script(SOURCE + HERE, tmp_path, on_stdin=True).stdout == READ


# --- the start method ---

FORKSERVER = "mp.set_start_method('forkserver')\n"
PYTHON_3_14 = """
  File "/usr/lib/python3.14/multiprocessing/popen_forkserver.py", line 47, in _launch
    reduction.dump(process_obj, buf)
  File "/usr/lib/python3.14/multiprocessing/reduction.py", line 60, in dump
    ForkingPickler(file, protocol).dump(obj)
_pickle.PicklingError: Can't pickle local object <function DS.__init__.<locals>.<lambda> at 0x7f52c4d8a660>
when serializing dict item 'scaled'
"""


def test_the_default_of_python_3_14(tmp_path: Path) -> None:
    stock = outcome(SOURCE + FORKSERVER + "mp.Process(target=worker, args=(Source(),)).start()", tmp_path)
    assert stock.status == 1
    assert recognised(stock.errors) == "C6"
    assert recognised(PYTHON_3_14) == "C6"
    assert run_script(SOURCE + FORKSERVER + HERE, tmp_path).stdout == READ


SET_LATE = "mp.Value('i', 0)\nmp.set_start_method('spawn')\n"
LEFT_ALONE = HERE + "print(mp.get_start_method(allow_none=True))\nmp.set_start_method('spawn')" + HERE


def test_the_start_method_is_the_programs(tmp_path: Path) -> None:
    stock = outcome(SOURCE + SET_LATE, tmp_path)
    assert recognised(stock.errors) == "C9"
    assert run_script(SOURCE + LEFT_ALONE, tmp_path).stdout == READ + "None\n" + READ


FORKS = """
import threading
forks = []
os.register_at_fork(before=lambda: forks.append(threading.active_count()))
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
FORK_WARNING = (
    "DeprecationWarning: This process (pid=8872) is multi-threaded, use of fork() may lead to deadlocks in the child."
)
OBJC = (
    "objc[4711]: +[__NSCFConstantString initialize] may have been in progress in another thread when fork() was "
    "called. We cannot safely call it or ignore it in the fork() child process. Crashing instead. Set a breakpoint on "
    "objc_initializeAfterForkError to debug."
)


def test_the_training_process_is_never_forked(tmp_path: Path) -> None:
    """Python warns of it from 3.12 on, macOS ends the child, CUDA refuses: none of them has an occasion."""
    stock = outcome(
        SOURCE + FORKS + "with mp.get_context('fork').Pool(1) as pool:\n    pool.map(worker, [1])\nprint(forks)",
        tmp_path,
    )
    assert stock.output == "in a worker\n[2]\n"  # forked while two threads ran
    if sys.version_info >= (3, 12):
        assert recognised(stock.errors) == "C15"
    assert recognised(FORK_WARNING) == "C15"
    assert recognised(OBJC) == "C16"
    here = run_script(
        "import warnings\nwarnings.simplefilter('error')" + SOURCE + FORKS + HERE + "print(forks)", tmp_path
    )
    assert (here.stdout, here.stderr) == (READ + "[]\n", "")


# --- what is already a worker, and what workers import ---

IN_A_POOL = """
def train(_):
    import procession
    with procession.Loader(Source(), workers=2, executor="processes") as loader:
        return mp.current_process().daemon, list(loader)

def start(_):
    mp.Process(target=print).start()

if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with mp.get_context(method).Pool(1) as pool:
            print(pool.map(train, [0]), flush=True)
    with mp.Pool(1) as pool:
        pool.map(start, [0])
"""


def test_a_loader_in_a_daemonic_process(tmp_path: Path) -> None:
    done = outcome(SOURCE + IN_A_POOL, tmp_path)
    assert done.output == f"[(True, {READ.strip()})]\n" * 2
    assert recognised(done.errors) == "C17"


HEAVY = """
import os

with open("imports", "a") as file:
    print(os.getpid(), file=file)

def doubled(x):
    return 2 * x
"""
WITH_HEAVY = SOURCE.replace("import multiprocessing", "import heavy, multiprocessing")
USES_IT = WITH_HEAVY.replace("lambda x: 2 * x", "heavy.doubled")


def imports_of(text: str, folder: Path) -> int:
    """Run a script, and count the processes that have imported the module beside it."""
    (folder / "heavy.py").write_text(HEAVY)
    (folder / "imports").unlink(missing_ok=True)
    run_script(text, folder)
    return len(set((folder / "imports").read_text().split()))


def test_workers_import_what_the_source_uses_and_once_for_all(tmp_path: Path) -> None:
    assert imports_of(WITH_HEAVY + TWO_WORKERS, tmp_path) == 3  # the script, and each worker
    assert imports_of(WITH_HEAVY + HERE, tmp_path) == 1  # the script alone
    assert imports_of(USES_IT + HERE.replace("workers=2", "workers=4"), tmp_path) == 2  # and the process they come from
    assert (
        recognised(
            "OSError: [WinError 1455] The paging file is too small for this operation to complete. Error loading "
            '"C:\\torch\\lib\\caffe2_detectron_ops_gpu.dll" or one of its dependencies.'
        )
        == "C14"
    )
    assert recognised("each loader worker grabs a GPU lock when the model package is imported") == "C18"
    assert (
        recognised("a module that the dataset imports opens a port at import, so the second worker cannot start")
        == "C18"
    )
