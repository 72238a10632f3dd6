"""`procession run`: a script runs as Python itself runs it, and what it trains on is read by workers."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import procession
from tests.support import environment, finished

PYTHON, RUN = [sys.executable], [sys.executable, "-m", "procession", "run", "--quiet"]

LOOK = """
import os, sys
print(sys.argv, __name__, __file__, __package__, __doc__, __spec__ and __spec__.name)
print(sys.path[0], sorted(name for name in globals() if name not in ("__loader__",)), __builtins__)
print(sys.modules["__main__"].__dict__ is globals(), type(__loader__).__name__)
"""

SCRIPTS: dict[str, str] = {
    "what it sees": LOOK,
    "standard input": "import sys\nprint([line for line in sys.stdin], input.__name__)",
    "an exit status": "import sys\nprint('bye')\nsys.exit(3)",
    "a message": "import sys\nsys.exit('no data')",
    "success": "raise SystemExit",
    "at once": "import os\nos._exit(7)",
    "an exception": "def inner(x):\n    return 1 // x\n\ndef outer():\n    inner(0)\n\nouter()",
    "a cause": "try:\n    {}['a']\nexcept KeyError as error:\n    raise ValueError('no a') from error",
    "a context": "try:\n    {}['a']\nexcept KeyError:\n    raise ValueError('no a')",
    "a group": "raise ExceptionGroup('two', [ValueError(1), TypeError(2)])",
    "a syntax error": "print('begun')\nif True\n    pass\n",
    "an encoding": "# -*- coding: latin-1 -*-\né = ascii('é')\nprint(é)",
    "an interrupt": "raise KeyboardInterrupt",
    "a signal": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "Ctrl-C": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass",
    "a hook of its own": "import sys\nsys.excepthook = lambda *error: print('mine', error[1])\nraise ValueError(1)",
    "the end": "import atexit, sys\natexit.register(lambda: print('end', sys.modules['__main__'].x))\nx = 1",
    "a thread": "import threading, time\nthreading.Thread(target=lambda: print('late', x)).start()\nx = 1",
    "a warning": "import warnings\nwarnings.warn('careful')",
    "pickle": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)",
    "dataclasses": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
        "print(A(1), __annotations__)"
    ),
    "annotations": (
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int = 1\nprint(dataclasses.fields(A)[0].type)"
    ),
    "no output any more": "import sys\nsys.stdout.close()\nsys.exit(5)",
    "a pool": (
        "import multiprocessing as mp\ndef square(x):\n    return x * x\n"
        "if __name__ == '__main__':\n    with mp.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(square, [1, 2]))"
    ),
    "flags": "import sys\nprint(sys.flags.optimize, sys.flags.utf8_mode, sys.stdout.line_buffering)",
    "an import beside it": "import beside\nprint(beside.x)",
}


def both(arguments: list[str], folder: Path, text: str = "") -> tuple[Any, Any]:
    """Return output, errors and status under Python and under `procession run`."""
    found = [finished([*command, *arguments], folder, text) for command in (PYTHON, RUN)]
    return tuple((done.stdout, done.stderr, done.returncode) for done in found)  # type: ignore[return-value]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_as_under_python(name: str, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("x = 1")
    (tmp_path / "script.py").write_bytes(SCRIPTS[name].encode("latin-1"))
    stock, ours = both(["script.py", "--epochs", "3", "-m", "a b"], tmp_path, "one\ntwo\n")
    assert ours == stock


def test_a_script_in_another_folder_and_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "script.py").write_text(LOOK)
    (tmp_path / "link.py").symlink_to(tmp_path / "real" / "script.py")
    for target in ("real/script.py", "link.py", str(tmp_path / "link.py")):
        stock, ours = both([target], tmp_path)
        assert ours == stock


def package(folder: Path) -> list[str]:
    (folder / "tool").mkdir()
    (folder / "tool" / "__init__.py").write_text("print('package')")
    (folder / "tool" / "__main__.py").write_text(LOOK + "from tool import part\nprint(part.x)\n1 // 0")
    (folder / "tool" / "part.py").write_text("x = 1")
    return ["-m", "tool"]


def module(folder: Path) -> list[str]:
    package(folder)
    (folder / "tool" / "train.py").write_text(LOOK + "from . import part\nprint(part.x)")
    return ["-m", "tool.train"]


def directory(folder: Path) -> list[str]:
    (folder / "app").mkdir()
    (folder / "app" / "__main__.py").write_text(LOOK + "import other\nprint(other.x)")
    (folder / "app" / "other.py").write_text("x = 1")
    return ["app"]


def archive(folder: Path) -> list[str]:
    zipapp.create_archive(folder / directory(folder)[0], folder / "app.pyz")
    return ["app.pyz"]


def standard_input(folder: Path) -> list[str]:
    return ["-"]


@pytest.mark.parametrize("make", [package, module, directory, archive, standard_input])
def test_other_programs_run_as_under_python(make: Callable[[Path], list[str]], tmp_path: Path) -> None:
    arguments = make(tmp_path)
    text = "import sys\nprint(sys.argv, __name__, sys.path[0], sys.stdin.read())\n1 // 0"
    stock, ours = both([*arguments, "--x", "1"], tmp_path, text)
    assert ours[0] == stock[0]
    assert ours[2] == stock[2]
    ours_told = [line for line in ours[1].splitlines() if "runpy" not in line]
    assert ours_told == [line for line in stock[1].splitlines() if "runpy" not in line]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.py"], "there is no file 'none.py'"),
        (["-m", "none"], "no module named 'none' can be run"),
        (["-m", "none.at_all"], "no module named 'none.at_all' can be run"),
        (["empty"], "there is no __main__.py in 'empty'"),
        (["--workers", "-3", "script.py"], "workers must be an int of at least 0"),
        (["--workers", "many", "script.py"], "invalid count value: 'many'"),
        ([], "the following arguments are required: TARGET"),
    ],
)
def test_what_cannot_be_run_is_told(arguments: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "script.py").write_text("print('ran')")
    done = finished([*RUN, *arguments], tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("where", ["beside", "vendor"])
def test_a_package_of_the_users_that_is_called_like_an_installed_one(where: str, tmp_path: Path) -> None:
    folder = tmp_path if where == "beside" else tmp_path / "vendor"
    folder.mkdir(exist_ok=True)
    (folder / "datasets.py").write_text(
        "class Data:\n    def __len__(self):\n        return 2\n"
        "    def __getitem__(self, i):\n        return ('mine', i)"
    )
    (tmp_path / "script.py").write_text(
        "import sys, os\nsys.path.insert(0, os.path.abspath('vendor'))\nimport datasets, procession\n"
        "with procession.Loader(datasets.Data(), workers=1) as loader:\n    print(list(loader))"
    )
    done = finished([*RUN, "script.py"], tmp_path)
    assert done.stdout == "[('mine', 0), ('mine', 1)]\n", done.stderr


def test_a_summary_does_not_change_the_exit_status(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys\nsys.stdout.close()\nsys.stderr.close()\nsys.exit(5)")
    assert finished([argument for argument in RUN if argument != "--quiet"] + ["script.py"], tmp_path).returncode == 5


def test_a_forgotten_command_is_told(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('ran')")
    done = finished([sys.executable, "-m", "procession", "script.py", "a b"], tmp_path)
    assert done.returncode == 2
    assert done.stderr == "procession: to run a script, write: procession run script.py 'a b'\n"
    (tmp_path / "run").write_text("")  # a file may be called like a command
    assert finished([*RUN, "script.py"], tmp_path).stdout == "ran\n"


def test_help_has_examples(tmp_path: Path) -> None:
    done = finished([sys.executable, "-m", "procession", "run", "--help"], tmp_path)
    assert "procession run train.py --epochs 3" in done.stdout
    assert (
        finished([sys.executable, "-m", "procession", "--version"], tmp_path).stdout
        == f"procession {procession.__version__}\n"
    )


def test_nothing_is_left_when_the_script_is_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os, procession\n"
        "loader = procession.Loader(list(range(1_000_000)), workers=2)\n"
        "batches = iter(loader)\n"
        "while len(loader.statistics().pids) < 2: next(batches)\n"
        "print(*loader.statistics().pids.values(), flush=True)\ninput()"
    )
    with subprocess.Popen(
        [*RUN, "script.py"], cwd=tmp_path, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        workers = [int(word) for word in process.stdout.readline().split()]
        watches = [os.pidfd_open(worker) for worker in workers]
        os.kill(process.pid, signal.SIGKILL)
        for watch in watches:
            assert select.select([watch], [], [], 30)[0]  # it has ended
            os.close(watch)
    assert len(workers) == 2
