"""Arrays that are mapped from a file: workers map it too, so that nothing is copied, and "r+" writes to the same file.

An array that is mapped "c" (copy-on-write) and has been written to differs from its file: it travels by its content. So
does one whose file has been deleted or replaced.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import extras, travels

_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) (\S+) \S+ \d+ *(.*)")


@travels(np.memmap, np.ndarray)
def mapped_array(array: Any) -> Any:
    """A memmap, or an array that looks into one: by file, place and form."""
    root = _root(array) if type(array) is np.ndarray or isinstance(array, np.memmap) else None
    if root is None or not array.size:
        return NotImplemented
    path = file_of(root._mmap)
    if root.mode in ("r+", "w+") and path is None:
        raise Refusal(
            array,
            f"it writes (mode {root.mode!r}) to {root.filename}, which is not there any more",
            "Keep the file, or use procession.share(array, writable=True)",
        )
    if path is None or (root.mode == "c" and differs(root._mmap)):
        return NotImplemented
    state = extras(array, np.empty(0).view(np.memmap)) if isinstance(array, np.memmap) else None
    if root is not array:
        start = array.__array_interface__["data"][0] - _address(root._mmap)
        return viewed, (type(array), root, array.dtype, array.shape, array.strides, start, array.flags.writeable), state
    mode = "r+" if root.mode == "w+" else root.mode  # which would empty it
    order = "C" if root.flags.c_contiguous else "F"
    form = (path, root.dtype, mode, root.offset, root.shape, order)
    return mapped, (type(root), form), state


@travels(mmap.mmap)
def mapping(memory: Any) -> Any:
    """Bytes that are mapped from a file."""
    path = file_of(memory)
    if path is None:
        raise Refusal(
            memory,
            "it is of no file, or of one that is gone, and only a process that is forked from this one has it",
            "Use procession.share(array, writable=True), or np.memmap(path, np.uint8, mode='r')",
        )
    head = next(match for match in _regions("maps", memory) if isinstance(match, re.Match))
    offset = int(head[4], 16) + _address(memory) - int(head[1], 16)
    access = (mmap.ACCESS_WRITE if "w" in head[3] else mmap.ACCESS_READ) if "s" in head[3] else mmap.ACCESS_COPY
    if access == mmap.ACCESS_COPY and differs(memory):
        raise Refusal(
            memory,
            f"it has been written to (ACCESS_COPY), and differs from {path}",
            "Keep the changed bytes themselves, bytes(mapping[...]), or write to the file",
        )
    return bytes_mapped, (path, len(memory), access, offset, memory.tell())


def _root(array: Any) -> Any:
    """The memmap that `array` is or looks into, if any."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    mapped_here = isinstance(array, np.memmap) and isinstance(array._mmap, mmap.mmap)  # type: ignore[attr-defined,unused-ignore]
    return array if mapped_here and array.base is array._mmap else None  # type: ignore[attr-defined,unused-ignore]


def _address(memory: mmap.mmap) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)


def file_of(memory: mmap.mmap) -> str | None:
    """Where the file of a mapping lies now; None if it has been deleted or replaced, or there never was one."""
    start = _address(memory)
    stop = start + -(-len(memory) // mmap.PAGESIZE) * mmap.PAGESIZE
    try:
        path = Path(f"/proc/self/map_files/{start:x}-{stop:x}").readlink()
    except OSError:  # the kernel has made one of it and its neighbour, or does not tell here
        lines = [match[5] for match in _regions("maps", memory) if isinstance(match, re.Match)]
        path = Path(lines[0].replace(r"\012", "\n")) if lines else Path()
    return str(path) if path.is_absolute() and path.exists() else None  # else "... (deleted)"


def differs(memory: mmap.mmap) -> bool:
    """Whether pages of a private mapping have been written to, and so are no longer those of the file."""
    fields = [line for line in _regions("smaps", memory) if isinstance(line, str)]
    return any(line.startswith("Anonymous:") and line.split()[1] != "0" for line in fields)


def _regions(kind: str, memory: mmap.mmap) -> Iterator[re.Match[str] | str]:
    """What the kernel says of a mapping: a head for each part of it, and then the lines about that."""
    begin, inside = _address(memory), False
    with Path("/proc/self", kind).open() as lines:
        for line in lines:
            if head := _HEAD.match(line):
                if int(head[1], 16) >= begin + len(memory):
                    return
                inside = int(head[2], 16) > begin
            if inside:
                yield head or line


def mapped(kind: type, form: tuple[Any, ...]) -> Any:
    """A memmap of a file."""
    path, dtype, mode, offset, shape, order = form
    return np.memmap.__new__(kind, path, dtype, mode, offset, shape, order)


def bytes_mapped(path: str, length: int, access: int, offset: int, position: int) -> mmap.mmap:
    """The same part of a file, mapped."""
    descriptor = os.open(path, os.O_RDWR if access == mmap.ACCESS_WRITE else os.O_RDONLY)
    try:
        memory = mmap.mmap(descriptor, length, access=access, offset=offset)
    finally:
        os.close(descriptor)
    memory.seek(position)
    return memory


def viewed(
    kind: type, root: Any, dtype: Any, shape: tuple[int, ...], strides: tuple[int, ...], start: int, writable: bool
) -> Any:
    """An array that looks into the memmap `root`, from byte `start` of what is mapped."""
    array: Any = np.ndarray.__new__(kind, shape, dtype, root._mmap, start, strides)
    if kind is not np.ndarray:
        for name in ("_mmap", "filename", "offset", "mode"):  # as a slice has them
            setattr(array, name, getattr(root, name))
    if not writable:
        array.flags.writeable = False
    return array
