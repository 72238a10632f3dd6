"""Processes with a Keras backend each, which the tests ask for one scenario at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.cases import NOT_ON_TORCH

ROOT = Path(__file__).resolve().parents[2]

# What `make test` names for the folder with the oldest Keras that is supported on a backend.
OLDEST_VARIABLES = {
    "tensorflow": "PROCESSION_OLDEST_KERAS",
    "jax": "PROCESSION_OLDEST_KERAS_JAX",
    "torch": "PROCESSION_OLDEST_KERAS",
}
LEGACY_VARIABLE = "PROCESSION_LEGACY_KERAS"
NEWEST = list(OLDEST_VARIABLES)
OLDEST = [f"{backend}-oldest" for backend in NEWEST]

SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


class Lab:
    """A process in which functions of this folder's modules run, on one backend of one version of Keras."""

    def __init__(self, name: str, errors: Path) -> None:
        self.name = name
        self.backend, _, age = name.partition("-")
        self.oldest = age == "oldest"
        self._environment = {**os.environ, "KERAS_BACKEND": self.backend, **SETTINGS}
        # JAX compiles anew for each model; like models, as all here are, then take what was compiled before.
        self._environment["JAX_COMPILATION_CACHE_DIR"] = str(errors.with_name("compiled"))
        self._errors = errors
        self._process: subprocess.Popen[str] | None = None
        if age == "legacy":
            self._put_first(folder_with(LEGACY_VARIABLE, "tf_keras"))
            self._environment["TF_USE_LEGACY_KERAS"] = "1"
        elif self.oldest:
            self._put_first(folder_with(OLDEST_VARIABLES[self.backend], "keras"))

    def _put_first(self, folder: str) -> None:
        path = filter(None, [folder, os.environ.get("PYTHONPATH")])
        self._environment["PYTHONPATH"] = os.pathsep.join(path)

    def ask(self, function: str, **arguments: Any) -> Any:
        """Call `module.function` with arguments that JSON can hold, and return what it returns."""
        process = self._running()
        module, name = function.split(".")
        assert process.stdin is not None and process.stdout is not None
        request = {"module": module, "function": name, "arguments": arguments}
        print(json.dumps(request), file=process.stdin, flush=True)
        line = process.stdout.readline()
        if not line:
            status = self.close()
            pytest.fail(
                f"{self.name}: the process ended with status {status} in {function}({arguments})\n{self._tail()}",
                pytrace=False,
            )
        reply = json.loads(line)
        if "failure" in reply:
            pytest.fail(f"{self.name}: {function}({arguments})\n{reply['failure']}", pytrace=False)
        return reply["value"]

    def close(self) -> int | None:
        """End the process, by the end of its input."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.communicate()
        return process.returncode

    def revive(self) -> None:
        """See that the process runs, with its template, which stays between two loaders."""
        if self._process is None:
            self.ask("kit.warm_up")

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            with self._errors.open("a") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.adapters.server"],
                    cwd=ROOT,
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
        return self._process

    def _tail(self) -> str:
        return self._errors.read_text()[-6000:]


def folder_with(variable: str, package: str) -> str:
    """Return the folder that a variable names, in which another version of Keras is."""
    folder = os.environ.get(variable)
    if not folder or not Path(folder, package).is_dir():
        pytest.fail(
            f"{variable} must name the folder with another {package} that Procession supports; `make test` installs "
            "it there and sets the variable",
            pytrace=False,
        )
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what Keras refuses on a backend, whatever it is given."""
    items[:] = [item for item in items if not _refused(getattr(item, "callspec", None))]


def _refused(call: Any) -> bool:
    parameters = {} if call is None else call.params
    return str(parameters.get("lab")).startswith("torch") and parameters.get("name") in NOT_ON_TORCH


OPEN: list[Lab] = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start again what died in a test before this one looks at the processes that are there."""
    for lab in OPEN:
        lab.revive()


@pytest.fixture(scope="session", params=[*NEWEST, *OLDEST])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run the test on every backend, with the installed and with the oldest Keras."""
    made = Lab(request.param, tmp_path_factory.mktemp(request.param) / "stderr.txt")
    OPEN.append(made)
    try:
        made.revive()
        yield made
    finally:
        OPEN.remove(made)
        made.close()
