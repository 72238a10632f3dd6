"""How what pickle refuses, or would only copy, travels: a registry of types, and what goes along beside a stream.

in the training process      pickled() ──► reduced(value) = (make, arguments)   `beside` takes descriptors along
in the template, or, where something must be every worker's own (an open file: a fork shares its offset),
in each worker               from_shared() ──► make(*arguments)                 `arrived` finds them again
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")


class Along:
    """What goes with one stream."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []  # of shared memory; they belong to the objects that are pickled
        self.private = False  # something in it is made by each worker for itself
        self.modules: set[str] = set()  # that it names: imported before the fork, whoever unpickles it


_leaving: ContextVar[Along] = ContextVar("procession_leaving")
_arriving: ContextVar[Sequence[int]] = ContextVar("procession_arriving")


@contextlib.contextmanager
def leaving(along: Along) -> Iterator[None]:
    """Pickling goes on: `beside` and `private` are about this stream."""
    token = _leaving.set(along)
    try:
        yield
    finally:
        _leaving.reset(token)


@contextlib.contextmanager
def arriving(descriptors: Sequence[int]) -> Iterator[None]:
    """Unpickling goes on, and these came beside the stream."""
    token = _arriving.set(descriptors)
    try:
        yield
    finally:
        _arriving.reset(token)


def beside(descriptor: int) -> int:
    """Take a descriptor along; return its number for `arrived`. Only while a source is pickled for workers.

    Raises:
        LookupError: something else pickles the value.
    """
    descriptors = _leaving.get().descriptors
    if descriptor not in descriptors:
        descriptors.append(descriptor)
    return descriptors.index(descriptor)


def arrived(number: int) -> int:
    """The descriptor that was given to `beside`, as a new one that the caller owns."""
    return os.dup(_arriving.get()[number])


def private() -> None:
    """Have each worker unpickle this stream for itself, after its fork."""
    _leaving.get().private = True


@functools.singledispatch
def reduced(value: Any) -> Any:  # noqa: ARG001 - what is registered takes it
    """What `value` is made anew from, as `__reduce__` would say; NotImplemented: what pickle itself does."""
    return NotImplemented


def register(kind: type[T], reduce: Callable[[T], tuple[Any, ...]]) -> None:
    """Say how objects of a type that cannot be pickled (a reader, a connection) are made anew in each worker.

    Args:
        kind: the type; subclasses are meant too.
        reduce: called with the object in the training process, when its source is sent; returns a callable and a tuple
            of its arguments, which each worker calls (what `object.__reduce__` returns, state included).

    Example:
        >>> import procession
        >>> class Volume:
        ...     def __init__(self, path):
        ...         self.path, self.file = path, open(path, "rb")
        >>> procession.register(Volume, lambda volume: (Volume, (volume.path,)))
    """

    def reduce_privately(value: T) -> tuple[Any, ...]:
        private()
        return reduce(value)

    reduced.register(kind, reduce_privately)
