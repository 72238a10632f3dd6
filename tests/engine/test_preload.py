"""What a template imports before there is a loader, and when it is of no use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import finished, run_script
from tests.test_run import RUN

SOURCE = """
import os, sys, threading
import procession

class Source:
    def __len__(self):
        return 2
    def __getitem__(self, i):
        modules = ["colorsys" in sys.modules, "noisy" in sys.modules]
        return [*modules, os.environ.get("KERAS_BACKEND"), threading.active_count()]
"""
LOOK = (
    SOURCE.replace("import os,", "import colorsys, os,")
    + """
{before}
with procession.Loader(Source(), workers=1) as loader:
    print(next(iter(loader)), loader.statistics().threads)
"""
)
CASES = {
    "nothing said": ("", "[True, False, None, 1] ()"),
    "a backend that can be read off": ("os.environ['KERAS_BACKEND'] = 'jax'", "[True, False, 'jax', 1] ()"),
    "a default": ("os.environ.setdefault('KERAS_BACKEND', 'jax')", "[True, False, 'jax', 1] ()"),
    # what was imported under another backend may be wrong: another template is started
    "a backend that cannot": ("os.environ['KERAS_BACKEND'] = 'ja' + 'x'", "[False, False, 'jax', 1] ()"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_template_has_what_the_script_imports(case: str, tmp_path: Path) -> None:
    before, expected = CASES[case]
    (tmp_path / "script.py").write_text(LOOK.format(before=before))
    done = finished([*RUN, "script.py"], tmp_path)
    assert done.stdout == expected + "\n", done.stderr


def test_a_template_in_which_an_import_has_started_threads_is_not_used(tmp_path: Path) -> None:
    noisy = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    (tmp_path / "noisy.py").write_text(noisy)
    done = run_script(
        SOURCE
        + "import colorsys\nfrom procession.engine import supervisor\n"
        + "supervisor.preload({'colorsys': colorsys.__file__, 'noisy': '', 'none_such': ''}, {})\n"
        + "with procession.Loader(Source(), workers=1) as loader:\n"
        + "    print(next(iter(loader)), loader.statistics().threads)\n",
        tmp_path,
    )
    assert done.stdout == "[False, False, None, 1] ()\n"


def test_what_is_imported_meanwhile_does_not_hold_up_the_end(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import threading\nthreading.Event().wait()")
    done = run_script(
        "from procession.engine import supervisor\nsupervisor.preload({'endless': ''}, {})\nprint('end')", tmp_path
    )
    assert done.stdout == "end\n"
