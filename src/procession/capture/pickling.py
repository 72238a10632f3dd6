"""A source as bytes: cloudpickle protocol 5, its large buffers out of band in anonymous shared memory, read-only.

Payload in memory:   | stream | padding | buffer 0 | padding | buffer 1 | …     each buffer on a multiple of 64 bytes
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import pickle
import re
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import cloudpickle

from procession.capture.memory import anonymous, mapped
from procession.capture.travel import Along, arriving, leaving, reduced
from procession.errors import CaptureError

OUT_OF_BAND = (
    64 * 1024
)  # bytes from which a buffer is shared; smaller ones are cheaper, and writable, as private copies
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
        return _pickled(value)
    except Exception as error:  # pickling runs the user's __reduce__ and __getstate__: anything can be raised
        raise _cannot_travel(value, what, error) from error


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
        self._modules = along.modules

    def reducer_override(self, value: Any) -> Any:
        """Asked for every object but those of Python's own plain types."""
        found = reduced(value)
        if found is not NotImplemented:
            return found
        if isinstance(value, ModuleType):
            self._modules.add(value.__name__)
        found = super().reducer_override(value)
        if found is NotImplemented and isinstance(value, (type, FunctionType)):
            self._modules.add(value.__module__)
        return found


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
    except Exception:  # pickle raises AttributeError, TypeError or PicklingError for what it cannot find by name
        data: bytes = cloudpickle.dumps(value, protocol=5)
        return data


def loads(data: bytes) -> Any:
    """Undo `dumps`."""
    return pickle.loads(data)


def _cannot_travel(value: Any, what: str, error: Exception) -> CaptureError:
    path, part, told = _culprit(value, what, error, seen=set())
    why = told.rstrip(".")
    kind = f"{type(part).__module__}.{type(part).__qualname__}"
    return CaptureError(
        f"{path} is a {kind}, which cannot be sent to the worker processes: {why.rstrip('.')}. {_remedy(path, kind)}"
    )


def _remedy(path: str, kind: str) -> str:
    # What the user's class has: deeper parts belong to others.
    found = re.match(r"source\.(\w+)", path)
    name = found.group(1) if found else "it"
    if "generator" in kind:
        return "A generator cannot be copied: keep what it is made from (a list, an array, file names) and index that"
    if "→" in path:
        return (
            "Make it inside the function that uses it, or put both into a module of their own, which the workers "
            "import; or use executor='threads', which sends nothing"
        )
    return (
        f"Make it in the worker instead: leave it out with `def __getstate__(self): return {{**vars(self), {name!r}: "
        f"None}}`, and create it on first use, `if self.{name} is None: self.{name} = ...` in __getitem__; or use "
        "executor='threads', which sends nothing"
    )


def _culprit(value: Any, path: str, error: Exception, seen: set[int]) -> tuple[str, Any, str]:
    """Walk down to the innermost part that cannot be pickled by itself."""
    seen.add(id(value))
    for name, part in _parts(value, path):
        if id(part) in seen:
            continue
        try:
            _pickled(part)
        except Exception as inner:
            return _culprit(part, name, inner, seen)
    return path, value, str(error) or type(error).__name__


def _parts(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{path}[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"{path}[{k}]", part) for k, part in enumerate(value)]
    if isinstance(value, type):
        return [] if _by_name(value) else [(f"{value.__qualname__}.{name}", part) for name, part in vars(value).items()]
    attributes = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = getattr(kind, "__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                attributes.setdefault(name, getattr(value, name))
    own = [(f"{path}.{name}", part) for name, part in attributes.items()]
    return [*own, *_closure(value, path), *_globals(value, path), (path, type(value))]


def _closure(value: Any, path: str) -> list[tuple[str, Any]]:
    cells = getattr(value, "__closure__", None) or ()
    names = getattr(getattr(value, "__code__", None), "co_freevars", ())
    return [(f"{path} → {name}", cell.cell_contents) for name, cell in zip(names, cells, strict=False)]


def _globals(value: Any, path: str) -> list[tuple[str, Any]]:
    """What a function that travels by value takes along: the globals that it names."""
    code = getattr(value, "__code__", None)
    if code is None or _by_name(value):
        return []
    known = value.__globals__
    return [(f"{path} → global {name}", known[name]) for name in code.co_names if name in known]


def _by_name(value: Any) -> bool:
    """Whether a class or function is importable where it says, so that nothing in it has to travel."""
    if getattr(value, "__module__", None) == "__main__":
        return False
    try:
        pickle.dumps(value)
    except Exception:  # pickle raises several kinds for what it cannot find
        return False
    return True
