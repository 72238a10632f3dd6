"""A source as bytes: cloudpickle protocol 5, its large buffers out of band in anonymous shared memory, read-only.

Payload in memory:   | stream | padding | buffer 0 | padding | buffer 1 | …     each buffer on a multiple of 64 bytes
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

import procession.capture.handles  # noqa: F401 - what it registers
from procession.capture.culprit import cannot_travel
from procession.capture.memory import anonymous, mapped
from procession.capture.travel import Along, arriving, leaving, reduced
from procession.capture.views import reduced_view
from procession.errors import CaptureError

OUT_OF_BAND = (
    64 * 1024
)  # bytes from which a buffer is shared; smaller ones are cheaper, and writable, as private copies
MOST_ALONG = 248  # descriptors beside a source: a message takes 250, the source's memory and the message's own included
SPAWNED_MAIN = "__mp_main__"  # what multiprocessing calls the script in a process that it has spawned
_NO_FILE = "<dynamic-code>"
ALIGNMENT = 64  # what TensorFlow and JAX need to take an array without a copy


class Pickled(NamedTuple):
    """An object as a stream and the buffers that it leaves out."""

    stream: bytes
    buffers: list[memoryview]
    along: Along


class Payload(NamedTuple):
    """Where the parts of a `Pickled` lie in a shared memory; its descriptor travels beside it, before the others."""

    size: int
    spans: tuple[tuple[int, int], ...]  # (start, stop) of the stream and then of each buffer
    private: bool  # each worker has to rebuild it for itself
    modules: tuple[str, ...]  # that it names


def aligned(offset: int) -> int:
    """The next multiple of 64."""
    return (offset + ALIGNMENT - 1) & -ALIGNMENT


def beside(least: int) -> tuple[list[memoryview], Callable[[pickle.PickleBuffer], bool]]:
    """A list, and a `buffer_callback` that puts buffers of so many bytes and more into it, beside the stream."""
    buffers: list[memoryview] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < least:
            return True
        buffers.append(view)
        return False

    return buffers, keep_in_band


def pickled(value: Any, what: str) -> Pickled:
    """Pickle `value`, by value where it cannot be imported (`__main__`, notebooks, closures).

    Raises:
        CaptureError: a part of it cannot be pickled; names the path from `what` to the part, its type and the remedy.
    """
    try:
        parts = _pickled(value)
    except Exception as error:  # pickling runs the user's __reduce__ and __getstate__: anything can be raised
        raise cannot_travel(value, what, error, _pickled) from error
    if len(parts.along.descriptors) > MOST_ALONG:
        raise CaptureError(
            f"{what} holds {len(parts.along.descriptors)} separate pieces of shared memory (share() calls, Locks, "
            f"SharedCounters, SharedDicts, files without a name), and {MOST_ALONG} can be sent with it: share many "
            "arrays in one call, share([array, ...]), keep many counts in one SharedDict, and use one Lock for several "
            "things"
        )
    return parts


def _pickled(value: Any) -> Pickled:
    buffers, keep_in_band = beside(OUT_OF_BAND)
    stream, along = io.BytesIO(), Along()
    with leaving(along):
        _Pickler(stream, along, keep_in_band).dump(value)
    return Pickled(stream.getvalue(), buffers, along)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc,unused-ignore]
    """cloudpickle's, which asks the registry first, and notes which modules the stream names."""

    def __init__(self, file: io.BytesIO, along: Along, buffer_callback: Callable[[pickle.PickleBuffer], bool]) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        if (script := sys.modules.get(SPAWNED_MAIN)) is not None:  # by value, as what is of __main__
            cloudpickle.register_pickle_by_value(script)
        self._modules = along.modules

    def reducer_override(self, value: Any) -> Any:
        """Asked for every object but those of Python's own plain types."""
        # Not in the registry, where arrays that look into files are: it knows one way for a type.
        found = reduced_view(value) if type(value) is np.ndarray else NotImplemented
        if found is NotImplemented:
            found = self._code(value) if type(value) is CodeType else reduced(value)
        if found is not NotImplemented:
            return found
        if isinstance(value, ModuleType):
            self._modules.add(value.__name__)
        found = super().reducer_override(value)
        if found is NotImplemented and isinstance(value, (type, FunctionType)):
            self._modules.add(value.__module__)
        return found

    def _code(self, code: CodeType) -> Any:
        """As cloudpickle has it, but with the name of the file, which it leaves out since 3.1.3: tracebacks show it."""
        make, arguments = self.dispatch_table[CodeType](code)
        return make, tuple(code.co_filename if each == _NO_FILE else each for each in arguments)


def to_shared(parts: Pickled) -> tuple[Payload, list[int]]:
    """Copy `parts` into a new shared memory; return where they lie, and the descriptors that travel along."""
    spans, end = [], 0
    pieces = [memoryview(parts.stream), *parts.buffers]
    for part in pieces:
        spans.append((aligned(end), aligned(end) + len(part)))
        end = spans[-1][1]
    with contextlib.ExitStack() as undo:
        descriptors: list[int] = []
        undo.callback(lambda: closed(descriptors))
        descriptors.append(anonymous(max(end, 1), "source"))
        descriptors.extend(map(os.dup, parts.along.descriptors))
        with mmap.mmap(descriptors[0], 0) as memory:
            for (start, stop), part in zip(spans, pieces, strict=True):
                memory[start:stop] = part
        undo.pop_all()
    return Payload(end, tuple(spans), parts.along.private, tuple(sorted(parts.along.modules))), descriptors


def from_shared(payload: Payload, descriptors: Sequence[int]) -> Any:
    """Rebuild the object; its large buffers are read-only views of the shared memory. Closes the descriptors."""
    try:
        memory = memoryview(mapped(os.dup(descriptors[0]), writable=False))
        stream, *buffers = (memory[start:stop] for start, stop in payload.spans)
        with arriving(descriptors[1:]):
            return pickle.loads(stream, buffers=buffers)
    finally:
        closed(descriptors)


def closed(descriptors: Sequence[int]) -> None:
    """Close what came or went along with a payload."""
    for descriptor in descriptors:
        os.close(descriptor)


def dumps(value: Any) -> bytes:
    """Pickle a small value in band; by value only where that is needed, since it is slower."""
    try:
        return pickle.dumps(value, protocol=5)
    except (AttributeError, TypeError, pickle.PicklingError):  # what pickle raises for what it cannot find by name
        data: bytes = cloudpickle.dumps(value, protocol=5)
        return data


def loads(data: bytes) -> Any:
    """Undo `dumps`."""
    return pickle.loads(data)
