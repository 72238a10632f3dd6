"""The crash zoo: a source whose worker ends at a chosen moment, in a chosen way, so and so many times.

In the training process it is harmless, so `executor="serial"` gives the stream that all others must give too.
"""

from __future__ import annotations

import atexit
import ctypes
import mmap
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MIDDLE = 4 << 20  # bytes of a batch that are written before the end comes "while writing"


def _killed(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def _crash() -> None:
    ctypes.string_at(0)


# How a worker ends.
ENDINGS: dict[str, Callable[[], None]] = {
    **{number.name: _killed(number) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGBUS)},
    **{number.name: _killed(number) for number in (signal.SIGILL, signal.SIGFPE, signal.SIGQUIT, signal.SIGUSR1)},
    "SIGABRT": os.abort,
    "SIGSEGV": _crash,
    "exit 0": lambda: os._exit(0),
    "exit 3": lambda: os._exit(3),
}

# When it ends: at unpickling in the template; when asked for its length (no worker asks); over an item; while its batch
# is pickled; in the middle of writing it to its slot; when it is let go of, just before it is reported; 10 ms after (by
# SIGALRM); at exit.
MOMENTS = ("unpickle", "len", "item", "pickling", "writing", "dropping", "soon after", "exit")


class Mortal:
    """A source of batches of about 100 kB, one of which ends its worker.

    Args:
        folder: an empty directory, where each death leaves a mark, so that there are no more than `times`.
        moment: one of `MOMENTS`.
        ending: one of `ENDINGS`; "writing" knows "SIGBUS" (the end of a truncated file that is mapped) and "exit 7".
        at: the index over which it ends.
        length: number of batches.
        times: how often it ends its worker; after that, it makes the batch.

    Example:
        >>> import pathlib, tempfile
        >>> import procession
        >>> from procession.testing.zoo import Mortal
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = Mortal(pathlib.Path(folder), "item", "SIGKILL", at=3, length=6)
        ...     with procession.Loader(source, workers=2) as loader:
        ...         [int(batch[0][0]) for batch in loader], loader.statistics().deaths
        ([0, 1, 2, 3, 4, 5], 1)
    """

    def __init__(self, folder: Path, moment: str, ending: str, *, at: int, length: int, times: int = 1) -> None:
        self.folder, self.moment, self.ending = folder, moment, ending
        self.at, self.length, self.times = at, length, times
        self.home = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.moment == "unpickle" and self.due():
            self.end()

    def __len__(self) -> int:
        if self.moment == "len" and os.getpid() != self.home and self.due():
            self.end()
        return self.length

    def __getitem__(self, index: int) -> Any:
        batch = np.full(12_500, index), np.random.default_rng(index).normal(size=1000), f"batch {index}"
        if index == self.at and os.getpid() != self.home and self.moment not in ("unpickle", "len") and self.due():
            return self.doomed(batch)
        return batch

    def due(self) -> bool:
        """Whether it has ended too few workers yet; if so, this one counts."""
        for k in range(self.times):
            try:
                (self.folder / f"death-{k}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False

    def end(self) -> None:
        """End this process."""
        ENDINGS[self.ending]()

    def doomed(self, batch: tuple[Any, ...]) -> Any:
        """Do, or have done, what ends the worker."""
        match self.moment:
            case "item":
                self.end()
            case "pickling":
                return (*batch[:2], _EndsWhenPickled(self.ending))
            case "writing":
                return np.ones(MIDDLE, np.uint8), _beyond_its_end(self.ending)
            case "dropping":
                return batch[0].view(_EndsWhenDropped.of(self.ending)), *batch[1:]
            case "soon after":
                signal.setitimer(signal.ITIMER_REAL, 0.01)
            case "exit":
                from multiprocessing import util

                util.Finalize(None, self.end, exitpriority=0)
                atexit.register(self.end)
        return batch


class _EndsWhenPickled:
    def __init__(self, ending: str) -> None:
        self.ending = ending

    def __reduce__(self) -> Any:
        ENDINGS[self.ending]()
        return str, ("unreachable",)


class _EndsWhenDropped(np.ndarray):
    ending = ""

    @classmethod
    def of(cls, ending: str) -> type[_EndsWhenDropped]:
        return type(cls.__name__, (cls,), {"ending": ending})

    def __del__(self) -> None:
        if self.ending:
            ENDINGS[self.ending]()


def _beyond_its_end(ending: str) -> Any:
    """An array on a file that has been cut short: reading it raises SIGBUS, in C, in the middle of a copy."""
    if ending != "SIGBUS":  # have the C library's _exit handle the signal: exit code 7, without Python
        libc = ctypes.CDLL(None)
        libc.signal(signal.SIGBUS, ctypes.cast(libc._exit, ctypes.c_void_p))
    with tempfile.TemporaryFile() as file:
        file.truncate(MIDDLE)
        memory = mmap.mmap(file.fileno(), MIDDLE)
        file.truncate(0)
    return np.frombuffer(memory, np.uint8)
