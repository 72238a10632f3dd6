"""What the epoch hooks changed on a source, found by comparison, so that only that follows it to the workers."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from procession.capture.memory import mapped
from procession.capture.pickling import Payload, Pickled, pickled
from procession.errors import CaptureError
from procession.partitions import members, with_member

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_memcmp.restype = ctypes.c_int


Name = tuple[int, str]  # which of the source's `members`, and its attribute; "": a member as a whole

WHOLE = ""  # for an object without a plain `__dict__`


class Changes(NamedTuple):
    """Attributes to set and remove on the workers' copies."""

    attributes: dict[Name, Any]
    removed: tuple[Name, ...]


class Tracker:
    """Remembers a source as it was last sent, attribute by attribute.

    Large arrays are compared with the copy that the workers share, so remembering them costs no memory.
    """

    def __init__(self, source: Any, sent: Pickled, payload: Payload, descriptors: Sequence[int]) -> None:
        """`sent` is the source as it went to the workers, `payload` and `descriptors` say where it lies."""
        memory = memoryview(mapped(os.dup(descriptors[0]), writable=False))
        copies = [memory[start:stop] for start, stop in payload.spans[1:]]
        shared = {_key(b): copy for b, copy in zip(sent.buffers, copies, strict=True)}
        self._known = {name: _kept(parts, shared) for name, parts in _attributes(source).items()}

    def changes(self, source: Any) -> Changes | None:
        """What differs from the last call, or None; afterwards the present state is the known one.

        Raises:
            CaptureError: an attribute now holds something that cannot be sent; names it.
        """
        before, now = self._known, _attributes(source)
        changed = [name for name, parts in now.items() if name not in before or not _same(before[name], parts)]
        removed = tuple(name for name in before if name not in now)
        self._known = {name: _kept(parts) if name in changed else before[name] for name, parts in now.items()}
        if not changed and not removed:
            return None
        return Changes({name: _value(source, name) for name in changed}, removed)


class Rebound:
    """Remembers which object each attribute of a source without hooks was: sees `source.epoch = 3`, not `x[:] = 3`."""

    def __init__(self, source: Any) -> None:
        self._known = bound(source)

    def changes(self, source: Any) -> Changes | None:
        """What has been rebound since the last call, or None."""
        now = bound(source)
        missing = object()
        changed = {name: value for name, value in now.items() if self._known.get(name, missing) is not value}
        removed = tuple(name for name in self._known if name not in now)
        self._known = now
        return Changes(changed, removed) if changed or removed else None


def sent(changes: Changes) -> Pickled:
    """Pickle what has changed.

    Raises:
        CaptureError: something in it cannot be sent; names its path from the source.
    """
    try:
        return pickled(changes, "source")
    except CaptureError:
        several = any(number for number, _ in changes.attributes)
        for (number, name), value in changes.attributes.items():
            shown = f"source[{number}]" if several else "source"
            pickled(value, shown if name == WHOLE else f"{shown}.{name}")
        raise


def apply(changes: Changes, source: Any) -> Any:
    """Bring a worker's copy up to date; return the source to use from now on."""
    for (number, name), value in changes.attributes.items():
        if name == WHOLE:
            source = with_member(source, number, value)
        else:
            vars(members(source)[number])[name] = value
    for number, name in changes.removed:
        vars(members(source)[number]).pop(name, None)
    return source


def _value(source: Any, name: Name) -> Any:
    member = members(source)[name[0]]
    return member if name[1] == WHOLE else vars(member)[name[1]]


def bound(source: Any) -> dict[Name, Any]:
    """Which object each attribute is."""
    plain = ((number, member) for number, member in enumerate(members(source)) if _plain(member))
    return {(number, name): value for number, member in plain for name, value in vars(member).items()}


def _plain(source: Any) -> bool:
    """Whether the state of `source` is its `__dict__`, so that setting attributes there is all there is to do."""
    kind = type(source)
    customised = any(
        getattr(kind, name, None) is not getattr(object, name, None)
        for name in ("__getstate__", "__setstate__", "__reduce__", "__reduce_ex__", "__slots__")
    )
    return hasattr(source, "__dict__") and not customised and not isinstance(source, (list, dict, tuple))


def _attributes(source: Any) -> dict[Name, Pickled]:
    """Each attribute pickled by itself; a member without plain attributes counts as one."""
    found: dict[Name, Pickled] = {}
    several = members(source)
    for number, member in enumerate(several):
        shown = "source" if len(several) == 1 else f"source[{number}]"
        if _plain(member):
            found |= {(number, name): pickled(value, f"{shown}.{name}") for name, value in vars(member).items()}
        else:
            found[number, WHOLE] = pickled(member, shown)
    return found


def _kept(parts: Pickled, shared: dict[tuple[int, int], memoryview] | None = None) -> Pickled:
    # The buffers belong to the user's arrays, which may be changed in place: keep what is in them now.
    copies = [(shared or {}).get(_key(b)) or memoryview(bytes(b)) for b in parts.buffers]
    return parts._replace(buffers=copies)


def _same(one: Pickled, other: Pickled) -> bool:
    if one.stream != other.stream or len(one.buffers) != len(other.buffers):
        return False
    return all(_equal(a, b) for a, b in zip(one.buffers, other.buffers, strict=True))


def _equal(one: memoryview, other: memoryview) -> bool:
    return one.nbytes == other.nbytes and _memcmp(_address(one), _address(other), one.nbytes) == 0


def _key(view: memoryview) -> tuple[int, int]:
    return _address(view), view.nbytes


def _address(view: memoryview) -> int:
    # Through numpy, which gives the address of a read-only buffer too; ctypes' from_buffer refuses one.
    return int(np.frombuffer(view, np.uint8).ctypes.data)
