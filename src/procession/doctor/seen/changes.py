"""What making items changes: a source, its classes and the globals that its code names, before and after."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from procession.capture.views import segment_of
from procession.doctor.code.assigned import attributes
from procession.doctor.code.reading import Reading, is_users_file, read
from procession.doctor.seen.describing import CONTAINERS, PLAIN, described, is_tensor, short
from procession.flows import Flow
from procession.sources import Arrays

MOST_OBJECTS = 3000  # that are looked at, the nearest first
MOST_ELEMENTS = 64  # of a container that are looked into; the others are known by their identity
MOST_BY_VALUE = 2048  # elements of a container; of a larger one it is seen which objects they are
MOST_BYTES = 16 << 20  # of an array that are read; of a larger one a part

_CODE = (ModuleType, FunctionType, BuiltinFunctionType, MethodType, type, property, staticmethod, classmethod)
_SET_BY_FLOW = ("lock", "index_generator", "index_array", "total_batches_seen", "batch_index")


class Change(NamedTuple):
    """Something that differs from before."""

    path: str  # source.cache, source.augment.count, Photos.seen, train.CACHE
    before: str  # a short description
    after: str
    new: bool  # there was nothing, or None
    in_place: bool  # an array that is the same object, with other content
    order: bool  # it is now a row of whole numbers
    handles: bool  # it is now something to be closed, or a dict of things of libraries
    content: bytes  # a digest of what it is now, equal in all processes; b"" if it has none

    @property
    def of_source(self) -> bool:
        """Whether it belongs to the source itself, not to a class or module."""
        return self.path.startswith("source.")

    def __str__(self) -> str:
        return f"{self.path}: {self.before} → {self.after}"


class _Mark(NamedTuple):
    token: Any  # equal if nothing has changed
    value: Any  # kept, so that no other object gets its id
    parts: Any  # kept for the same reason
    after: str
    parent: str


class Snapshot:
    """How things are now; compare it with a later one."""

    def __init__(self, source: Any, readings: Iterable[Reading]) -> None:
        """`readings`: code that may change classes and globals."""
        self._source = source
        self._marks: dict[str, _Mark] = {}
        self._open: dict[str, frozenset[str]] = {}  # paths of objects that were looked into, and their attributes
        self._seen: set[int] = set()
        self._queue: deque[tuple[str, Any, str]] = deque()
        self._look_at_roots(list(readings))
        while self._queue and len(self._marks) < MOST_OBJECTS:
            with contextlib.suppress(Exception):  # an object unlike any other
                self._visit(*self._queue.popleft())

    def changes(self, later: Snapshot) -> tuple[Change, ...]:
        """What differs in a later one, each the outermost part that does."""
        paths = [*self._marks, *(path for path in later._marks if path not in self._marks)]
        changed = [path for path in paths if self._differs(path, later)]
        outermost = [path for path in changed if not any(_is_part(path, other) for other in changed)]
        shown = [self._part(path, changed, later) for path in outermost]
        return tuple(_change(path, self._marks.get(path), later._marks.get(path)) for path in shown)

    def _part(self, path: str, changed: list[str], later: Snapshot) -> str:
        """Of a container in which one thing is in the place of another, that thing."""
        before, after = self._marks.get(path), later._marks.get(path)
        if before is None or after is None or _is_order(after.value) or before.after != after.after:
            return path
        return next((each for each in changed if each.startswith(f"{path}[")), path)

    def _differs(self, path: str, later: Snapshot) -> bool:
        before, after = self._marks.get(path), later._marks.get(path)
        if before is not None and after is not None:
            if before.token == after.token or _is_replaced_handle(before.value, after.value):
                return False
            return not _is_equal_row(before, after)
        known = after if before is None else before
        assert known is not None
        if known.parent not in self._open or known.parent not in later._open:
            return False
        name = path[len(known.parent) :].lstrip(".")
        return (name in self._open[known.parent]) != (name in later._open[known.parent])

    def _look_at_roots(self, readings: list[Reading]) -> None:
        outside = dict(_globals(readings)) | dict(_class_attributes(self._source, readings))
        self._open[""] = frozenset(outside)
        source = self._source.iterator if isinstance(self._source, Flow) else self._source
        if not isinstance(source, Arrays):
            self._visit("source", source, "")
        self._queue.extend((path, value, "") for path, value in outside.items())

    def _visit(self, path: str, value: Any, parent: str) -> None:
        self._marks[path] = _Mark(_token(value), value, _parts(value), described(value), parent)
        if isinstance(value, (*PLAIN, *_CODE, float, np.ndarray)) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, dict):
            some = list(value.items())[:MOST_ELEMENTS]
            self._queue.extend((f"{path}[{short(key)}]", part, path) for key, part in some)
        elif isinstance(value, (list, tuple, deque)):
            some = [(number, value[number]) for number in range(min(len(value), MOST_ELEMENTS))]
            self._queue.extend((f"{path}[{number}]", part, path) for number, part in some)
        if self._is_users(type(value)):
            held = {name: part for name, part in attributes(value).items() if not self._is_set_anew(name)}
            self._open[path] = frozenset(held)
            self._queue.extend((f"{path}.{name}", part, path) for name, part in held.items())

    def _is_set_anew(self, name: str) -> bool:
        return isinstance(self._source, Flow) and name in _SET_BY_FLOW

    def _is_users(self, kind: type) -> bool:
        return is_users_class(kind, self._source)


def surroundings(source: Any, method: str = "__getitem__") -> list[Reading]:
    """The code of a method, read where it runs; nothing for what is not the user's."""
    return [] if isinstance(source, (Arrays, Flow)) else read(source, (method,))


def is_users_class(kind: type, source: Any) -> bool:
    """Whether a class is the user's, so that its attributes are worth looking at."""
    module: Any = kind.__module__  # which a class may set
    if not isinstance(module, str) or module.partition(".")[0] in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or is_users_file(file, source)


def _globals(readings: list[Reading]) -> Iterator[tuple[str, Any]]:
    for reading in readings:
        known = reading.function.__globals__
        module = known.get("__name__", "")
        for name in reading.function.__code__.co_names:
            if name in known and not isinstance(known[name], _CODE):
                yield f"{module}.{name}", known[name]


def _class_attributes(source: Any, readings: list[Reading]) -> Iterator[tuple[str, Any]]:
    kinds = [kind for owner in [source, *(each.owner for each in readings)] for kind in type(owner).__mro__]
    known = (
        reading.function.__globals__.get(name) for reading in readings for name in reading.function.__code__.co_names
    )
    kinds += [kind for kind in known if isinstance(kind, type)]
    for kind in dict.fromkeys(kinds):
        if is_users_class(kind, source):
            for name, value in list(vars(kind).items()):
                if not name.startswith("__") and not callable(value) and not hasattr(type(value), "__get__"):
                    yield f"{kind.__qualname__.rpartition('.')[2]}.{name}", value


def _token(value: Any) -> Any:
    """What is equal for an unchanged value; of a container only its elements' identities."""
    kind = type(value)
    if kind in PLAIN:
        return kind, value
    if isinstance(value, (float, np.generic)):
        return kind, repr(value)
    if isinstance(value, np.ndarray):
        return _array_token(value)
    if isinstance(value, CONTAINERS):
        return _container_token(value)
    return id(value), _version(value)


def _container_token(value: Any) -> Any:
    kind = type(value)
    if isinstance(value, dict) and len(value) > MOST_BY_VALUE:
        return kind, list(map(id, value)), list(map(id, value.values()))
    if isinstance(value, dict):
        return kind, [_identity(key) for key in value], [_identity(part) for part in value.values()]
    if isinstance(value, (set, frozenset)):
        return kind, {_identity(part) for part in value}
    return kind, [_identity(part) for part in value] if len(value) <= MOST_BY_VALUE else list(map(id, value))


def _version(value: Any) -> Any:
    """What tells that an object of a library has been written to."""
    home = type(value).__module__
    if home.startswith("torch"):
        return getattr(value, "_version", None)  # counts the writes
    if home.startswith("pandas"):
        return getattr(value, "shape", ()), str(list(getattr(value, "columns", ()))[:MOST_ELEMENTS])
    return None


def _parts(value: Any) -> Any:
    if isinstance(value, dict):
        return list(value.items())
    return list(value) if isinstance(value, CONTAINERS) else None


def _identity(value: Any) -> Any:
    return (type(value), value) if type(value) in PLAIN else id(value)


def _array_token(array: np.ndarray[Any, Any]) -> Any:
    head = (array.shape, array.dtype.str)
    if array.dtype.hasobject:
        return (*head, [_identity(part) for part in array.ravel()[:MOST_ELEMENTS].tolist()])
    segment = segment_of(array)
    if segment is not None and segment.writable:  # meant to be written to
        return (*head, "shared")
    if not array.flags.writeable:
        return (*head, array.__array_interface__["data"][0])
    return (*head, _digest(array))


def _digest(array: np.ndarray[Any, Any]) -> bytes:
    if array.nbytes > MOST_BYTES:
        array = array.reshape(-1)[:: array.nbytes // MOST_BYTES + 1] if array.flags.c_contiguous else array[:1]
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


def _change(path: str, before: _Mark | None, after: _Mark | None) -> Change:
    was = before.value if before is not None else None
    value = after.value if after is not None else None
    same = was is value and (isinstance(value, np.ndarray) or is_tensor(value))
    then = before.after if before is not None else "not there"
    text, now = then, after.after if after is not None else "not there"
    if same and text == now:
        text, now = now, "other values"
    return Change(path, text, now, was is None, same, _is_order(value), _is_of_handles(value), _content(value))


def _is_order(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iu" and value.size > 1
    return (
        isinstance(value, (list, tuple))
        and len(value) > 1
        and all(type(each) in (int, np.int64) for each in value[:64])
    )


def _is_of_handles(value: Any) -> bool:
    if not isinstance(value, dict):
        return hasattr(value, "close") and not isinstance(value, ModuleType)
    some = list(value.values())[:MOST_ELEMENTS]
    return bool(some) and not any(
        isinstance(part, (*PLAIN, *CONTAINERS, float, np.generic, np.ndarray)) for part in some
    )


def _content(value: Any) -> bytes:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return _digest(value)
    plain = isinstance(value, (*PLAIN, float)) or _is_order(value)
    return hashlib.blake2b(repr(value).encode(), digest_size=16).digest() if plain else b""


def _is_equal_row(before: _Mark, after: _Mark) -> bool:
    """A long list that has been made anew, of the same numbers or names."""
    if before.parts is None or len(before.parts) != len(after.parts or ()) or len(before.parts) <= MOST_BY_VALUE:
        return False
    try:
        return bool(before.parts == after.parts)
    except Exception:  # of arrays, which have no one answer
        return False


def _is_part(path: str, other: str) -> bool:
    return path.startswith((f"{other}.", f"{other}["))


def _is_replaced_handle(before: Any, after: Any) -> bool:
    """One file, generator or reader in place of another."""
    closed = not isinstance(before, (*PLAIN, float, np.generic, np.ndarray, *CONTAINERS))
    return closed and type(before) is type(after) and not type(before).__module__.startswith(("torch", "pandas"))
