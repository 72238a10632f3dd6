"""What `import procession` does, measured in fresh interpreters, and what the wheel contains."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.support import run_script

ROOT = Path(__file__).resolve().parents[1]

HEAVY = {"keras", "tf_keras", "tensorflow", "jax", "torch", "scipy", "pandas"}
LONGEST_IMPORT = 0.2  # seconds, beyond the interpreter and numpy


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter, in an environment that names no Keras backend."""
    inherited = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


# The script looks at everything before and after the import. An environment that writes down what
# it is asked for shows whether KERAS_BACKEND is read.
LOOK = """
import json, os, sys, threading
import numpy

asked = set()
class Recording(type(os.environ)):
    def __getitem__(self, key):
        asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key):
        asked.add(key)
        return super().__contains__(key)

def look():
    return {
        "threads": threading.active_count(),
        "tasks": len(os.listdir("/proc/self/task")),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "environment": dict(os.environ),
        "path": list(sys.path),
    }

before = look()
os.environ.__class__ = Recording
import procession
os.environ.__class__ = Recording.__base__
after = look()
answer = {"before": before, "after": after, "asked": sorted(asked), "modules": list(sys.modules)}
json.dump(answer, sys.stdout)
"""


@pytest.fixture(scope="module")
def looked() -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run_python("-c", LOOK).stdout)
    return answer


def test_import_loads_no_framework(looked: dict[str, Any]) -> None:
    assert "procession" in looked["modules"]
    assert HEAVY.isdisjoint(looked["modules"])


def test_import_leaves_the_choice_of_backend_alone(looked: dict[str, Any]) -> None:
    assert "KERAS_BACKEND" not in looked["asked"]
    assert looked["after"]["environment"] == looked["before"]["environment"]


@pytest.mark.parametrize("what", ["threads", "tasks", "descriptors", "path"])
def test_import_starts_and_changes_nothing(looked: dict[str, Any], what: str) -> None:
    assert looked["after"][what] == looked["before"][what]


def test_import_with_a_backend_named_loads_no_framework_either() -> None:
    script = "import sys, procession; print(*sys.modules)"
    modules = run_python("-c", script, KERAS_BACKEND="jax").stdout.split()
    assert HEAVY.isdisjoint(modules)


def import_times() -> tuple[float, float]:
    """Return the seconds to import procession once numpy is there, and those of numpy."""
    report = run_python("-X", "importtime", "-c", "import numpy; import procession").stderr
    lines = re.findall(r"import time:\s+\d+ \|\s+(\d+) \| ( *)(\S+)", report)
    top = {name: int(microseconds) / 1e6 for microseconds, indent, name in lines if not indent}
    return top["procession"], top["numpy"]


def test_import_is_quick(record_property: Callable[[str, object], None]) -> None:
    measured: list[tuple[float, float]] = []
    while len(measured) < 3 or (len(measured) < 6 and min(measured)[0] >= LONGEST_IMPORT):
        measured.append(import_times())
    seconds, numpy_seconds = min(measured)
    record_property("import_seconds", seconds)
    record_property("import_seconds_numpy", numpy_seconds)
    print(f"procession {seconds * 1e3:.0f} ms, numpy {numpy_seconds * 1e3:.0f} ms")  # noqa: T201
    assert seconds < LONGEST_IMPORT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build the wheel and return the names in it."""
    folder = tmp_path_factory.mktemp("wheel")
    script = f"import os, hatchling.build as b; os.chdir({str(ROOT)!r}); b.build_wheel({str(folder)!r})"
    run_python("-c", script)
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_package_and_its_types(wheel: list[str]) -> None:
    assert "procession/py.typed" in wheel
    files = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    assert files <= set(wheel)


def test_the_wheel_holds_nothing_else(wheel: list[str]) -> None:
    folders = {name.split("/")[0] for name in wheel}
    version = project()["version"]
    assert folders == {"procession", f"procession-{version}.dist-info"}
    assert not [name for name in wheel if "__pycache__" in name]


def project() -> dict[str, Any]:
    answer: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return answer


def test_every_tool_in_use_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line.strip() and not line.startswith("#")]
    loose = [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._!-]+", pin)]
    assert not loose
    names = {_plain(pin.split("==")[0]) for pin in pins}
    asked = [*project()["dependencies"], *chain(*project()["optional-dependencies"].values())]
    wanted = {_plain(re.match(r"[A-Za-z0-9._-]+", requirement)[0]) for requirement in asked}  # type: ignore[index]
    assert wanted - {"procession"} <= names


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


ELSEWHERE = """
import os

for name in ("memfd_create", "pidfd_open", "sched_getaffinity", "eventfd"):  # what Linux alone has
    delattr(os, name)

import numpy as np
import procession

class Source:
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return np.full((300, 300), i)

for executor in ("serial", "threads", "auto"):
    with procession.Loader(Source(), executor=executor, workers=2) as loader:
        print(executor, loader.statistics().executor, [int(batch[0, 0]) for batch in loader])
try:
    procession.Loader(Source(), executor="processes")
except procession.ConfigError as error:
    print(error)
"""


def test_serial_and_threads_need_nothing_that_linux_alone_has(tmp_path: Path) -> None:
    lines = run_script(ELSEWHERE, tmp_path).stdout.splitlines()
    assert lines[:3] == [
        "serial serial [0, 1, 2, 3]",
        "threads threads [0, 1, 2, 3]",
        "auto threads [0, 1, 2, 3]",
    ]
    assert lines[3].startswith("executor='processes' needs Linux 5.3 or newer, and this is linux")
