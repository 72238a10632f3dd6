"""What a source is: how many items it has, which hooks, and how one batch is fetched from it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from procession import tree
from procession.errors import EmptySourceError, SourceTypeError
from procession.flows import Flow, is_flow

_WAYS_OUT = (
    "Two ways out: (1) give it an index, as a class with __len__ and __getitem__ (a keras.utils.PyDataset) that "
    "makes batch or sample i when asked for it; or (2) read it into a list first and pass Loader(list(...))"
)


class Arrays(NamedTuple):
    """A tree of arrays with one common first axis: item i is row i of each of them."""

    arrays: Any
    length: int

    def __len__(self) -> int:  # the number of rows, not of fields
        return self.length


def check(source: Any, batch_size: int | None) -> Any:
    """Return what the workers will index: the source itself, `Arrays` for a tree of arrays, or a `Flow`.

    Raises:
        SourceTypeError: it has no index or no length; says which, and what to write instead.
    """
    if is_flow(source):
        length(source)
        return Flow(source)
    if inspect.isgenerator(source) or inspect.isgeneratorfunction(source) or _only_iterates(source):
        kind = "generator" if "generator" in type(source).__name__ or inspect.isfunction(source) else "iterator"
        raise SourceTypeError(
            f"the source is a {kind} ({type(source).__name__}), which has no index: several workers cannot share it, "
            f"and each would deliver all of it again. {_WAYS_OUT}"
        )
    if isinstance(source, (tuple, dict)) or _is_array(source):
        return _arrays(source, batch_size)
    if isinstance(source, (str, bytes, os.PathLike)):
        raise SourceTypeError(
            f"the source is {source!r}, a {type(source).__name__}: a path is not read by itself. Make a list of the "
            "files, and a class whose __getitem__(i) reads number i of it"
        )
    if inspect.isclass(source):
        raise SourceTypeError(
            f"the source is the class {source.__name__}, not an instance of it: write {source.__name__}(...)"
        )
    if not hasattr(type(source), "__getitem__"):
        raise SourceTypeError(
            f"the source is a {_kind(source)}, which cannot be indexed: it needs __getitem__(i) and __len__(). "
            f"{_WAYS_OUT}"
        )
    length(source)
    return source


def _only_iterates(source: Any) -> bool:
    return isinstance(source, Iterator) and not hasattr(type(source), "__getitem__")


def length(source: Any) -> int | None:
    """How many items the source has now; None if it is endless (a PyDataset whose `num_batches` is None).

    Raises:
        SourceTypeError: it has neither `num_batches` nor `__len__`.
        EmptySourceError: it has no items.
    """
    declared = _declared(source)
    if declared is None:
        return None
    if isinstance(declared, bool) or not hasattr(type(declared), "__index__"):
        raise SourceTypeError(
            f"the length of the source ({_kind(source)}) is {declared!r} of type {type(declared).__name__}; it must "
            "be an int, or None for an endless one. A division needs math.ceil(n / batch_size) or n // batch_size"
        )
    if int(declared) <= 0:
        raise EmptySourceError(
            f"the source ({_kind(source)}) has length {int(declared)}: there is nothing to deliver. Look at what its "
            "__len__ computes: an empty list of files and `n // batch_size` with n < batch_size are the usual "
            "reasons"
        )
    return int(declared)


def _declared(source: Any) -> Any:
    kind = type(source)
    batches = getattr(kind, "num_batches", None)
    sized = hasattr(kind, "__len__")
    # A property, as PyDataset has (a method of that name means something else); not Keras's own, which asks __len__.
    if isinstance(batches, property) and not (sized and _is_keras(batches.fget)):
        try:
            return source.num_batches
        except NotImplementedError:  # Keras's own, without __len__
            pass
    elif batches is None and hasattr(kind, "num_batches"):
        return None
    if not sized:
        raise SourceTypeError(
            f"the source ({_kind(source)}) has no length: define __len__ (the number of items), or, if it is endless, "
            "a property num_batches that returns None"
        )
    return kind.__len__(source)  # not len(): that would raise an error of its own for what is checked here


def check_positions(positions: int | None, length: int | None, batch_size: int | None) -> None:
    """Raise EmptySourceError if an epoch would have no batch at all."""
    if positions == 0:
        raise EmptySourceError(
            f"with batch_size={batch_size} and drop_remainder=True the {length} items of the source make no whole "
            "batch: there is nothing to deliver. Use a smaller batch_size, or leave drop_remainder out"
        )


def hooks(source: Any) -> tuple[str, ...]:
    """Which of `on_epoch_begin` and `on_epoch_end` the source defines itself (Keras's own do nothing)."""
    return tuple(name for name in ("on_epoch_begin", "on_epoch_end") if _defines(source, name))


def _defines(source: Any, name: str) -> bool:
    hook = getattr(source, name, None)
    return callable(hook) and not _is_keras(hook)


def _is_keras(function: Any) -> bool:
    """Whether a method is Keras's own, of `PyDataset` or `Sequence`."""
    home = (getattr(function, "__module__", None) or "").split(".")[0]
    owner = getattr(function, "__qualname__", "").split(".")[0]
    return home in ("keras", "tf_keras") and owner in ("PyDataset", "Sequence")


def _arrays(source: Any, batch_size: int | None) -> Arrays:
    leaves = tree.leaves(source)
    where = tree.paths(source)
    if not leaves:
        raise EmptySourceError(f"the source is an empty {type(source).__name__}: there are no arrays in it")
    for path, leaf in zip(where, leaves, strict=True):
        if not _is_array(leaf) or leaf.ndim == 0:
            raise SourceTypeError(
                f"the source is a {type(source).__name__}, read as a tree of arrays with a common first axis, but "
                f"source{_shown(path)} is a {_kind(leaf)}. Turn lists into arrays first (np.asarray). For a sequence "
                f"of samples pass a list or an object with "
                "__len__ and __getitem__"
            )
    sizes = {len(leaf) for leaf in leaves}
    if len(sizes) > 1:
        told = ", ".join(f"source{_shown(p)} has {len(leaf)}" for p, leaf in zip(where, leaves, strict=True))
        raise SourceTypeError(f"the arrays of the source differ in length along the first axis: {told}")
    if batch_size is None:
        raise SourceTypeError(
            f"the source is a tree of arrays of length {sizes.pop()}, which has no batches of its own: "
            "say how many rows make one, Loader(source, batch_size=32)"
        )
    rows = sizes.pop()
    if rows == 0:
        raise EmptySourceError("the arrays of the source have length 0: there is nothing to deliver")
    return Arrays(tree.map_leaves(np.asarray, source), rows)


def _is_array(value: Any) -> bool:
    """An array, or what numpy takes for one: a tensor, a data frame."""
    kind = type(value)
    return isinstance(value, np.ndarray) or (hasattr(kind, "__array__") and hasattr(kind, "shape"))


def _shown(path: str) -> str:
    return "" if path == "batch" else path


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
