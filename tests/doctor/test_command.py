"""`procession doctor` and `procession explain`: what they print, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from procession.doctor import Diagnosis
from procession.doctor.codes import CODES
from procession.doctor.consulting import consult
from tests.support import environment, finished

DOCTOR = [sys.executable, "-m", "procession", "doctor"]
EXPLAIN = [sys.executable, "-m", "procession", "explain"]

SOURCES = """
import numpy as np
print("imported")

class Clean:
    def __init__(self, length=8):
        self.length = length
    def __len__(self):
        return self.length
    def __getitem__(self, i):
        return np.full((4, 3), i, np.float32), np.full(4, i)

class Holds(Clean):
    def __init__(self):
        super().__init__()
        self.lines = (line for line in "abc")

class Kills(Clean):
    def __getitem__(self, i):
        if i == 7:
            import ctypes
            ctypes.string_at(0)
        return super().__getitem__(i)

class Stuck(Clean):
    def __getitem__(self, i):
        if i == 7:
            import threading
            threading.Event().wait()
        return super().__getitem__(i)

class Doubles(Clean):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return np.ones((400, 500)) * x[0, 0], y

class Needs(Clean):
    def __init__(self, folder, size):
        ...

def made():
    return Clean(5)

def nothing():
    Clean(5)

clean = Clean(6)
numbers = (number for number in range(3))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.py").write_text(SOURCES)
    return tmp_path


def line_of(text: str) -> int:
    """Where something stands in the sources."""
    return next(number for number, line in enumerate(SOURCES.splitlines(), start=1) if text in line)


def diagnosed(folder: Path, target: str, *options: str) -> dict[str, Any]:
    """The diagnosis as JSON; nothing else may be on standard output."""
    done = finished([*DOCTOR, target, "--json", *options], folder)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == any(finding["severity"] == "error" for finding in found["findings"])
    return found


@pytest.mark.parametrize("target", ["data.py:Clean", "data.py:made", "data.py:clean", "data:clean", "./data.py:Clean"])
def test_a_target_is_an_instance_a_class_or_a_function(target: str, folder: Path) -> None:
    found = diagnosed(folder, target)
    assert found["target"] == target
    assert all(check["outcome"] == "done" for check in found["checks"]), found["checks"]
    assert Diagnosis.from_dict(found).to_dict() == found | {
        "findings": tuple(found["findings"]) and Diagnosis.from_dict(found).to_dict()["findings"],
        "checks": Diagnosis.from_dict(found).to_dict()["checks"],
        "profile": Diagnosis.from_dict(found).to_dict()["profile"],
    }


def test_what_a_function_raises_is_not_blamed_on_the_import(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import sys\n\ndef main():\n    sys.exit('no data')\n")
    (finding,) = diagnosed(tmp_path, "train.py:main")["findings"]
    assert finding["code"] == "PRC722"
    assert finding["evidence"] == "calling main() raised SystemExit: no data"
    assert finding["where"][0]["line"] == 4


def test_code_is_never_cut_off(folder: Path) -> None:
    for columns in ("40", "80", "200"):
        for code in ("PRC305", "PRC702", "PRC103"):
            done = finished([*EXPLAIN, code], folder, COLUMNS=columns)
            assert done.returncode == 0
            for line in filter(lambda each: not each.startswith("#"), CODES[code].fix.splitlines()):
                statement = line.partition("  #")[0].strip()
                assert "".join(statement.split()) in "".join(done.stdout.split())
            assert not any(line.endswith(" ") for line in done.stdout.splitlines())


def test_a_job_that_reads_json_is_told_why_it_failed(folder: Path) -> None:
    done = finished([*DOCTOR, "data.py:Holds", "--json"], folder)
    assert json.loads(done.stdout)["findings"]
    place = f"data.py:{line_of('self.lines =')} in Holds.__init__, source.lines"
    assert f"procession: error PRC101 A part of the source cannot be sent to worker processes: {place}" in done.stderr


REFUSED = {
    "data.py": "'data.py' names no source: write path/to/file.py:name or package.module:name, such as data.py:",
    "data.py:Clear": "data.py has no 'Clear'. It has Clean, Holds, Kills, Stuck, Doubles, Needs, clean, made",
    "date.py:Clean": "there is no file 'date.py'",
    "no.such:Clean": "there is no module 'no' for 'no.such:Clean'",
    "data.py:Needs": "data.py:Needs needs folder, size: name an instance, or a function without arguments that returns",
    "data.py:nothing": "data.py:nothing returned None: let it return the source",
}


@pytest.mark.parametrize("target", REFUSED)
def test_what_is_no_target_is_refused(target: str, folder: Path) -> None:
    done = finished([*DOCTOR, target], folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"procession: {REFUSED[target]}" in done.stderr


def test_what_is_printed(folder: Path) -> None:
    done = finished([*DOCTOR, "data.py:Holds"], folder, COLUMNS="100")
    assert done.returncode == 1
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == "data.py:Holds 1 error."
    assert lines[1].startswith("✗ PRC101 ")
    assert f"    where  data.py:{line_of('self.lines =')} in Holds.__init__, source.lines" in lines
    assert '               self.lines = (line for line in "abc")' in lines
    assert [word for word in ("seen", "why") if not any(line.startswith(f"    {word}") for line in lines)] == []
    assert re.search(r"\d+ of \d+ checks in \d+\.\d s", lines[-1])


def test_a_page_is_written(folder: Path) -> None:
    done = finished([*DOCTOR, "data.py:Holds", "--html", "report.html"], folder)
    assert "written to report.html" in done.stderr
    text = (folder / "report.html").read_text()
    assert '<article class="error" id="PRC101">' in text
    assert "self.lines = (line for line in &quot;abc&quot;)" in text
    assert not re.search(r"<script|https?://|<link", text), "it needs nothing from elsewhere"


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--html", "nowhere/report.html"), "there is no folder 'nowhere' for --html"),
        (("--limit", "nan"), "limit must be a number of seconds above 0; got nan"),
        (("--batch-size", "0"), "batch_size must be None (items are batches) or an int of at least 1; got 0"),
    ],
)
def test_an_option_that_cannot_be_used(option: tuple[str, str], told: str, folder: Path) -> None:
    done = finished([*DOCTOR, "data.py:Clean", *option], folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"procession: {told}" in done.stderr


@pytest.mark.parametrize(("fail_on", "status"), [("error", 0), ("warning", 1), ("note", 1), ("never", 0)])
def test_what_makes_it_fail(fail_on: str, status: int, folder: Path) -> None:
    done = finished([*DOCTOR, "data.py:Doubles", "--fail-on", fail_on], folder)
    assert "PRC304" in done.stdout, "a warning, and no error"
    assert done.returncode == status


def test_an_item_that_kills_its_process_is_named(folder: Path) -> None:
    (finding,) = [each for each in diagnosed(folder, "data.py:Kills")["findings"] if each["severity"] == "error"]
    assert finding["code"] == "PRC701"
    assert "source[7]" in finding["evidence"]
    assert "SIGSEGV" in finding["evidence"]
    assert finding["where"][0]["line"] == line_of("string_at(0)")


def test_an_item_that_never_ends_is_named(folder: Path) -> None:
    found = diagnosed(folder, "data.py:Stuck", "--limit", "3")
    (finding,) = [each for each in found["findings"] if each["severity"] == "error"]
    assert finding["code"] == "PRC702"
    assert "source[7]" in finding["evidence"]
    assert finding["where"][0]["line"] == line_of("Event().wait()")


IMPORTS = {
    "raises": ("1 / 0", "its import raised ZeroDivisionError: division by zero"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "while importing the target, its process was ended by SIGSEGV"),
    "exits": ("import os; os._exit(3)", "while importing the target, its process ended with status 3"),
    "leaves": ("import sys; sys.exit('no data')", "its import raised SystemExit: no data"),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_an_import_that_ends_badly_is_a_finding(name: str, tmp_path: Path) -> None:
    line, evidence = IMPORTS[name]
    (tmp_path / "broken.py").write_text(f"first = 1\n{line}\n")
    (finding,) = diagnosed(tmp_path, "broken.py:first")["findings"]
    assert finding["code"] == "PRC722"
    assert evidence in finding["evidence"]
    assert name == "exits" or finding["where"][0]["line"] == 2


def test_an_import_that_does_not_end_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trains.py").write_text("import threading\nprint('begun')\nthreading.Event().wait()\n")
    monkeypatch.chdir(tmp_path)
    (finding,) = consult("trains.py:model", batch_size=None, limit=30, progress=lambda _: None, load_seconds=8).findings
    assert finding.code == "PRC722"
    assert "did not go on for 8 s; its stack:" in finding.evidence
    assert (finding.where[0].file, finding.where[0].line) == (str(tmp_path / "trains.py"), 3)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_leaves_no_process_when_it_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(
        "import os, threading\n"
        "class Waits:\n    def __len__(self): return 4\n"
        "    def __getitem__(self, i):\n"
        "        print(os.getpid(), flush=True, file=open('pid', 'w'))\n"
        "        threading.Event().wait()\n"
        "os.mkfifo('pid')\nprint('loaded', flush=True)\n"
    )
    with subprocess.Popen(
        [*DOCTOR, "waits.py:Waits"], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while "loaded" not in process.stderr.readline():
            pass
        with (tmp_path / "pid").open() as told:
            worker = int(told.readline())
        family = [psutil.Process(worker), *psutil.Process(process.pid).children(recursive=True)]
        os.kill(process.pid, number)
        process.wait(10)
        assert not psutil.wait_procs(family, timeout=10)[1]


def test_explain_a_code(tmp_path: Path) -> None:
    done = finished([*EXPLAIN, "PRC101"], tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("PRC101 A part of the source cannot be sent to worker processes")


def test_explain_a_traceback_of_ours(folder: Path) -> None:
    script = "import data, procession\nlist(procession.Loader(data.Holds()))"
    failed = finished([sys.executable, "-c", script], folder)
    done = finished([*EXPLAIN, "-"], folder, failed.stderr)
    assert done.stdout.startswith("PRC101 ")


def test_explain_what_nobody_knows(tmp_path: Path) -> None:
    done = finished([*EXPLAIN, "the kettle is on"], tmp_path)
    assert done.returncode == 1
    assert "Nothing that is known looks like this" in done.stdout


def test_explain_as_json(tmp_path: Path) -> None:
    done = finished([*EXPLAIN, "PRC101", "--json"], tmp_path)
    assert json.loads(done.stdout)[0]["number"] == "PRC101"


@pytest.mark.parametrize("command", ["doctor", "explain", "run"])
def test_help_has_examples(command: str, tmp_path: Path) -> None:
    done = finished([sys.executable, "-m", "procession", command, "--help"], tmp_path)
    assert done.returncode == 0
    assert f"procession {command} " in done.stdout.partition("examples:")[2]
