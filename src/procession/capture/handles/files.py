"""Files that are open for reading: each worker opens them for itself, at the same place.

By path where that still leads to the file, else (deleted, replaced, anonymous) through its descriptor, which travels.
"""

from __future__ import annotations

import gc
import io
import os
import stat
import sys
from pathlib import Path
from typing import Any

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import anew, travels
from procession.capture.travel import arrived, beside

_NOT_FILES = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (os.isatty, "a terminal"))


@travels(io.FileIO, each=True)
def raw_file(file: Any) -> Any:
    """A descriptor without a buffer."""
    if file.closed:
        return closed_file, ("rb", 0)
    number = file.fileno()
    if file.mode != "rb":
        raise for_writing(file, file.name, file.mode)
    _refuse_stream(file, number)
    position = file.tell() if file.seekable() else None
    path = path_of(number)
    state = dict(vars(file))
    if isinstance(file.name, int):
        state["name"] = path or f"descriptor {file.name}"
    way = (None, beside(number)) if path is None else (path, None)
    return reopened, (type(file), *way, position), state


@travels(io.BufferedReader, each=True)
def buffered_file(file: Any) -> Any:
    """A buffer over a file, or over whatever else reads."""
    if file.closed:
        return closed_file, ("rb", -1)
    position = file.tell() if file.seekable() else None
    return buffered, (type(file), file.raw, position), vars(file) or None


@travels(io.BufferedWriter, io.BufferedRandom, io.BufferedRWPair)
def written_file(file: Any) -> Any:
    """A buffer that is written to."""
    if file.closed:
        return closed_file, ("rb", -1)
    raw = getattr(file, "raw", None)
    raise for_writing(file, getattr(raw, "name", None), getattr(raw, "mode", "wb"))


@travels(io.TextIOWrapper, each=True)
def text_file(file: Any) -> Any:
    """Text over a buffer."""
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        if file is getattr(sys, name):
            return getattr, (sys, name)
    if file is sys.stdin or file is sys.__stdin__:
        raise _stream(file, "the standard input")
    if file.closed:
        return closed_file, ("r", -1)
    if file.writable() and not isinstance(file.buffer, io.BytesIO):
        raise for_writing(file, getattr(file, "name", None), getattr(file, "mode", "w"))
    position = _position(file) if file.seekable() else None
    wrapping = (file.encoding, file.errors, _newline(file), file.line_buffering, file.write_through)
    return wrapped, (type(file), file.buffer, wrapping, position), vars(file) or None


def for_writing(file: Any, name: Any, mode: Any) -> Refusal:
    """What to say of a file that is written to."""
    return Refusal(
        file,
        f"it is open for writing ({name!r}, mode {mode!r}), and what several processes write to one file gets mixed up",
        "Open it in the worker on first use, one file for each worker, named for instance by "
        "procession.worker_info().index, and leave it out of what is sent (`__getstate__`); or write in the training "
        "process, from what the batches hold; or open it for reading if that is all it is for",
    )


def _stream(file: Any, what: str) -> Refusal:
    return Refusal(
        file,
        f"it is {what}, whose data go to whoever reads them first, and cannot be read again",
        "Read what you need in the training process and keep that on the source, or name a file",
    )


def _refuse_stream(file: Any, number: int) -> None:
    mode = os.fstat(number).st_mode
    if number == 0:
        raise _stream(file, "the standard input")
    for is_it, what in _NOT_FILES:
        if is_it(number if is_it is os.isatty else mode):
            raise _stream(file, what)


def path_of(number: int) -> str | None:
    """Where the file of a descriptor lies now; None if it has no name any more, or never had."""
    path = str(Path(f"/proc/self/fd/{number}").readlink())
    try:
        same = os.path.samestat(Path(path).stat(), os.fstat(number))
    except OSError:
        return None
    return path if same else None


def _position(file: Any) -> int:
    try:
        return int(file.tell())
    except OSError as error:
        raise Refusal(
            file,
            "next() has been called on it, by a loop that was left or to skip a line, and Python does not tell how far "
            "such a file has been read",
            "Read with readline() instead, or call seek() once you have read what you need",
        ) from error


def _newline(file: Any) -> str | None:
    """How it was opened; it does not say so itself, but the garbage collector knows the strings that it holds."""
    if file.seekable():
        file.seek(file.tell())  # drops what is decoded already, which is a string too
    strings = [part for part in gc.get_referents(file) if type(part) is str]
    return strings[1] if len(strings) == 3 else None  # encoding, newline unless it is None, errors


def closed_file(mode: str, buffering: int) -> Any:
    """A file that has been closed."""
    file = Path(os.devnull).open(mode, buffering)  # noqa: SIM115
    file.close()
    return file


def reopened(kind: type, path: str | None, number: int | None, position: int | None) -> Any:
    """The file at `path`, or that of a descriptor which travelled, with an offset of its own."""
    if path is None:
        assert number is not None
        borrowed = arrived(number)
        try:
            descriptor = os.open(f"/proc/self/fd/{borrowed}", os.O_RDONLY)
        finally:
            os.close(borrowed)
    else:
        descriptor = os.open(path, os.O_RDONLY)
    try:
        file = anew(kind, io.FileIO, descriptor, "rb")
        if position is not None:
            file.seek(position)
    except BaseException:
        os.close(descriptor)
        raise
    return file


def buffered(kind: type, raw: Any, position: int | None) -> Any:
    """A buffer of its own over `raw`."""
    return _placed(anew(kind, io.BufferedReader, raw), position)


def wrapped(kind: type, buffer: Any, wrapping: tuple[Any, ...], position: int | None) -> Any:
    """Text over `buffer`."""
    encoding, errors, newline, *others = wrapping
    return _placed(anew(kind, io.TextIOWrapper, buffer, encoding, errors, newline, *others), position)


def _placed(file: Any, position: int | None) -> Any:
    if position is not None:
        file.seek(position)
    return file
