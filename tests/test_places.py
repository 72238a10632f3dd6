"""Where people write their sources: notebooks, shells, lines on the command line, archives, tests."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from tests.support import environment, finished, run_script

# A class whose parts are spread over the program: a global, a function, a base class, a lambda.
PROGRAM = """
import procession
import numpy as np

scale = 2
def scaled(i):
    return i * scale
class Base:
    def __len__(self):
        return 4
class Source(Base):
    def __init__(self):
        self.after = lambda x: x + 1
    def __getitem__(self, i):
        return self.after(scaled(i)), procession.worker_info() is not None
loader = procession.Loader(Source(), workers=2)
print(list(loader))
loader.close()
"""
PRINTED = "[(1, True), (3, True), (5, True), (7, True)]\n"


def as_lines(text: str) -> str:
    """The program as somebody types it: an empty line ends each block."""
    lines = text.strip().splitlines()
    typed = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        typed.append(line)
        if line.startswith(" ") and not following.startswith(" "):
            typed.append("")
    return "\n".join(typed) + "\n"


@pytest.mark.parametrize("how", ["-", "-c", "-i", "file", "-m", "zipapp", "run -", "run zipapp"])
def test_a_program_in_other_places(how: str, tmp_path: Path) -> None:
    run = ["-m", "procession", "run", "--quiet"] if how.startswith("run") else []
    text = ""
    match how.removeprefix("run "):
        case "-":
            arguments, text = ["-"], PROGRAM
        case "-i":
            arguments, text = ["-i", "-q"], as_lines(PROGRAM)
        case "-c":
            arguments = ["-c", PROGRAM]
        case "file":
            (tmp_path / "program").write_text(PROGRAM)  # without an ending
            arguments = ["program"]
        case "-m":
            (tmp_path / "program.py").write_text(PROGRAM)
            arguments = ["-m", "program"]
        case _:
            (tmp_path / "program").mkdir()
            (tmp_path / "program" / "__main__.py").write_text(PROGRAM + "\nimport part\n" + part_of("part"))
            (tmp_path / "program" / "part.py").write_text(PART)
            zipapp.create_archive(tmp_path / "program", tmp_path / "program.pyz")
            arguments = ["program.pyz"]
    done = finished([sys.executable, *run, *arguments], tmp_path, text=text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(PRINTED)
    if "zipapp" in how:
        assert done.stdout == PRINTED + "[0, 1, 4]\n"


PART = """
class Squares:
    def __len__(self):
        return 3
    def __getitem__(self, i):
        return i * i
"""


def part_of(module: str) -> str:
    """Read a source whose class is in a module beside the program."""
    return f"with procession.Loader({module}.Squares(), workers=2) as loader:\n    print(list(loader))\n"


def test_a_shell_on_a_terminal(tmp_path: Path) -> None:
    """Typed line by line; the shell is left by the end of input."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-q"],
        cwd=tmp_path,
        env=environment(PYTHON_BASIC_REPL="1"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as shell:
        os.close(theirs)
        os.write(ours, as_lines(PROGRAM).encode() + b"\nprint('left', loader)\nexit()\n")
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the terminal has been closed at the other end
                break
            shown += piece
    os.close(ours)
    assert PRINTED.strip() in shown.decode()
    assert "left Loader(Source" in shown.decode()
    assert shell.returncode == 0


SPAWNING = """
import multiprocessing as mp
import procession
scale = 2
class Source:
    def __len__(self):
        return 3
    def __getitem__(self, i):
        return i * scale
def train(queue):
    with procession.Loader(Source(), workers=2) as loader:
        queue.put(list(loader))
if __name__ == "__main__":
    context = mp.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=train, args=(queue,))
    process.start()
    print(queue.get())
    process.join()
"""


@pytest.mark.parametrize("run", [[], ["-m", "procession", "run", "--quiet"]])
def test_a_process_that_the_script_has_spawned(run: list[str], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SPAWNING)
    done = finished([sys.executable, *run, "script.py"], tmp_path)
    assert done.stdout == "[0, 2, 4]\n", done.stderr


def test_ipython(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    settings = {"IPYTHONDIR": str(tmp_path / "home"), "HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner"]
    done = finished(command, tmp_path, as_lines(PROGRAM), **settings)
    assert PRINTED.strip() in done.stdout, done.stderr


def test_classes_in_a_test_of_somebodys(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "class Mine:\n    def __len__(self):\n        return 3\n    def __getitem__(self, i):\n        return [i] * 2\n"
        "import procession, pytest\n"
        "@pytest.fixture\ndef loader():\n    with procession.Loader(Mine(), workers=2) as made:\n        yield made\n"
        "def test_with_a_fixture(loader):\n    assert list(loader) == [[0, 0], [1, 1], [2, 2]]\n"
        "def test_inside(tmp_path):\n"
        "    class Inner(Mine):\n        def __getitem__(self, i):\n            return str(tmp_path / str(i))\n"
        "    with procession.Loader(Inner(), workers=2) as loader:\n"
        "        assert list(loader) == [str(tmp_path / str(i)) for i in range(3)]\n"
    )
    done = finished(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)], tmp_path
    )
    assert "2 passed" in done.stdout, done.stdout


NOTEBOOK = """
import json, sys
import nbformat
from nbclient import NotebookClient

cells = json.loads(sys.argv[1])
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
NotebookClient(notebook, timeout=60).execute()
for cell in notebook.cells:
    for output in cell.outputs:
        print(output.get("data", {}).get("text/plain", output.get("text", "")).strip())
"""
DEFINED_ANEW = [
    (
        "import procession\nclass Source:\n    factor = 2\n    def __len__(self):\n        return 4\n"
        "    def __getitem__(self, i):\n        return i * self.factor"
    ),
    "loader = procession.Loader(Source(), workers=2)\nlist(loader)",
    "class Source(Source):\n    factor = 3\nlist(procession.Loader(Source(), workers=2)), list(loader)",
]
INTERRUPTED = [
    (
        "import os, signal, threading, procession\nclass Stuck:\n    kernel = os.getpid()\n    def __len__(self):\n"
        "        return 1\n    def __getitem__(self, i):\n"
        "        os.kill(self.kernel, signal.SIGINT)  # the kernel's stop button\n        threading.Event().wait()"
    ),
    (
        "loader = procession.Loader(Stuck(), workers=1)\n"
        "try:\n    list(loader)\nexcept KeyboardInterrupt:\n    print('stopped')"
    ),
    "list(procession.Loader([1, 2], workers=2))",
]
FITTED = [
    (
        "import os\nos.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\nimport keras, numpy as np, procession\n"
        "procession.install(workers=2)"
    ),
    (
        "class Data(keras.utils.PyDataset):\n    def __len__(self):\n        return 3\n    def __getitem__(self, i):\n"
        "        assert procession.worker_info() is not None\n"
        "        return np.ones((2, 3), 'float32'), np.ones((2, 1), 'float32')\n"
        "model = keras.Sequential([keras.layers.Dense(1)])\nmodel.compile('sgd', 'mse')"
    ),
    "len(model.fit(Data(), epochs=2, verbose=0).history['loss'])",
]


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        (DEFINED_ANEW, ["[0, 2, 4, 6]", "([0, 3, 6, 9], [0, 2, 4, 6])"]),
        (INTERRUPTED, ["stopped", "[1, 2]"]),
        (FITTED, ["2"]),
    ],
    ids=["defined anew", "interrupted", "fitted"],
)
def test_a_notebook(cells: list[str], shown: list[str], tmp_path: Path) -> None:
    done = run_script(NOTEBOOK, tmp_path, json.dumps(cells))  # in a process of its own: nbclient leaves an event loop
    assert done.stdout.splitlines() == shown
