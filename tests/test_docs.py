"""The examples in docstrings and the README run, and show what they print."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import procession

ROOT = Path(__file__).parent.parent
FRAMEWORKS = ("procession.adapters",)  # importing these imports a framework
MODULES = [
    module.name
    for module in pkgutil.walk_packages(procession.__path__, "procession.")
    if not module.name.startswith(FRAMEWORKS)
]
WITH_EXAMPLES = (
    "procession.capture.counter",
    "procession.capture.lock",
    "procession.capture.shared",
    "procession.capture.shared_dict",
    "procession.capture.travel",
    "procession.doctor",
    "procession.frames",
    "procession.launch",
    "procession.loader",
    "procession.engine.item",
    "procession.order.randomness",
    "procession.order.sampling",
    "procession.order.sharding",
    "procession.order.shuffle",
    "procession.partitions",
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name), verbose=False)
    assert failed == 0
    assert tried > 0 or name not in WITH_EXAMPLES


def test_readme_example_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks[0].startswith("import"), "the README has an example that can be run as it stands"
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks))  # the others go on where it ends
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
