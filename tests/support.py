"""What several tests share: sources, the form of a batch, scripts in processes of their own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import procession

Form = Any  # nested tuples of plain values: equal where two batches are the same


class Made:
    """A source from a function of the index."""

    def __init__(self, make: Callable[[int], Any], length: int) -> None:
        self.make = make
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def form(value: Any) -> Form:
    """Return all that makes up a batch: types, dtypes, shapes, memory order and every byte."""
    if isinstance(value, dict):
        return type(value), [(key, form(part)) for key, part in value.items()]
    if isinstance(value, np.ndarray):
        return _array_form(value)
    if hasattr(value, "tocsr"):
        parts = [getattr(value, name, None) for name in ("data", "row", "col", "indices", "indptr")]
        return type(value), value.format, value.shape, [form(part) for part in parts], form(value.toarray())
    if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)):
        return type(value), [form(part) for part in value]
    return type(value), repr(value) if len(repr(value)) < 200 else _digest(repr(value).encode())


def _array_form(array: Any) -> Form:
    flags = array.flags.c_contiguous, array.flags.f_contiguous
    head = type(array), repr(array.dtype), array.shape, flags
    if isinstance(array, np.ma.MaskedArray):
        return *head, form(np.asarray(array.data)), form(np.ma.getmaskarray(array)), repr(array.fill_value)
    if array.dtype.names:  # field by field: the bytes between them say nothing
        return *head, [form(np.asarray(array[name])) for name in array.dtype.names]
    if array.dtype.hasobject or array.dtype.char in "gG":  # long doubles have bytes that say nothing too
        return *head, [form(item) for item in np.asarray(array).ravel().tolist()]
    return *head, _digest(array.tobytes())


def _digest(data: bytes) -> bytes:
    return data if len(data) <= 64 else hashlib.sha256(data).digest()


def streams(source: Any, executor: Any, epochs: int = 1, **options: Any) -> list[list[Form]]:
    """Return the forms of all batches, epoch by epoch."""
    options.setdefault("workers", 2)
    with procession.Loader(source, executor=executor, **options) as loader:
        return [[form(batch) for batch in loader] for _ in range(epochs)]


def arena_bytes() -> int:
    """Return how much memory the arenas of this process's loaders take."""
    found: dict[int, int] = {}
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            if "memfd:procession-arena" in str(entry.readlink()):
                status = entry.stat()
                found[status.st_ino] = status.st_blocks * 512
        except OSError:  # the descriptor that listed the folder
            continue
    return sum(found.values())


def environment(**changes: str) -> dict[str, str]:
    """Return this environment with the tests' root importable, for a script."""
    root = str(Path(__file__).resolve().parents[1])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        **changes,
    }


def finished(command: list[str], folder: Path, text: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with something on standard input, to its end."""
    return subprocess.run(
        command,
        cwd=folder,
        input=text,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def in_namespace(script: str, *command: str) -> list[str]:
    """Return a command that runs in a mount namespace of its own, where a shell script mounts, and runs it as "$@"."""
    as_root = [] if os.getuid() == 0 else ["-r"]  # of a user namespace, which need not be privileged
    return ["unshare", *as_root, "-m", "sh", "-c", script, "sh", *command]


def run_script(
    text: str, folder: Path, *arguments: str, on_stdin: bool = False, check: bool = True, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, from a file in `folder` or from standard input."""
    script = folder / "script.py"
    script.write_text(text)
    command = [sys.executable, "-" if on_stdin else str(script), *arguments]
    done = finished(command, folder, text if on_stdin else "", **settings)
    if check:
        done.check_returncode()
    return done


@contextmanager
def running_script(text: str, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a script, for tests that talk with it while it runs; end it at the latest on leaving."""
    script = folder / "script.py"
    script.write_text(text)
    with subprocess.Popen(
        [sys.executable, "-u", str(script), *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
