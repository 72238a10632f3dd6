"""From what a source returns to a parcel: arrays recognised, framework tensors turned into numpy, samples stacked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import numpy as np

from procession import tree
from procession.engine.tensors import to_numpy
from procession.engine.wire import Array, Entry, Layout, Parcel, Rows, as_before, make_parcel
from procession.errors import BatchError
from procession.sources import Arrays


def whole(batch: Any, name: Callable[[int], str], item: int, before: Layout | None = None) -> Parcel:
    """A batch as the source returned it for `item`; `before`: the layout of the one before, which it is likely to have.

    Raises:
        BatchError: it is None.
    """
    if batch is None:
        raise BatchError(
            f"{name(item)} returned None instead of a batch; a __getitem__ without a return statement on some "
            "path does that. To leave a batch out, leave its index out of the source's length"
        )
    leaves, spec = tree.flatten_in_order(batch)
    if before is not None and as_before(before, spec, leaves):
        return tuple.__new__(Parcel, (before, tuple(leaves), (), ()))
    entries: list[Entry | None] = []
    others: list[tuple[Any, str]] = []
    for leaf in leaves:
        array = _as_array(leaf)
        if array is None:
            others.append((to_numpy(leaf), _reason(leaf)))
            entries.append(None)
        else:
            entries.append(Entry(array.dtype, array.shape, _order(array), array))
    return make_parcel(spec, entries, others)


def taken(source: Arrays, items: Sequence[int]) -> Parcel:
    """The rows `items` of a tree of arrays."""
    leaves, spec = tree.flatten(source.arrays)
    entries: list[Entry | None] = []
    others: list[tuple[Any, str]] = []
    for array in leaves:
        if array.dtype.hasobject:
            others.append((array[list(items)], "dtype object"))
            entries.append(None)
        else:
            entries.append(Entry(array.dtype, (len(items), *array.shape[1:]), "C", Rows(array, items)))
    return make_parcel(spec, entries, others)


def stacked(samples: list[Any], items: Sequence[int], name: Callable[[int], str]) -> Parcel:
    """One batch of the samples that the source returned for each of `items`; `name` is what the user calls one.

    Raises:
        BatchError: they do not stack; names path, shapes and indices.
    """
    columns, spec = _columns(samples, items, name)
    entries: list[Entry | None] = []
    others: list[tuple[Any, str]] = []
    for path, column in enumerate(columns):
        arrays = [_as_number(value) for value in column]
        if any(array is None for array in arrays):
            others.append((_objects([to_numpy(value) for value in column]), _reason(column[0])))
            entries.append(None)
            continue
        known: list[Array] = [array for array in arrays if array is not None]
        _check_shapes(known, items, lambda index: f"{name(index)}{_below(samples[0], path)}")  # noqa: B023 - used now
        dtype = known[0].dtype if len({array.dtype for array in known}) == 1 else np.result_type(*known)
        entries.append(Entry(dtype, (len(known), *known[0].shape), "C", known))
    return make_parcel(spec, entries, others)


def _below(sample: Any, leaf: int) -> str:
    path = tree.paths(sample)[leaf]
    return "" if path == "batch" else path


def _columns(samples: list[Any], items: Sequence[int], name: Callable[[int], str]) -> tuple[list[list[Any]], tree.Spec]:
    missing = [index for index, sample in zip(items, samples, strict=True) if sample is None]
    if missing:
        raise _unlike(missing, f"{name(missing[0])} returned None instead of a sample")
    flat = [tree.flatten(sample) for sample in samples]
    specs = [spec for _, spec in flat]
    if any(spec != specs[0] for spec in specs):
        usual, odd = _apart(specs)
        raise _unlike(
            [items[k] for k in odd],
            f"samples of one batch differ in structure: {name(items[usual])} is {_outline(samples[usual])}, "
            f"{name(items[odd[0]])} is {_outline(samples[odd[0]])}. Return the same structure for every index",
        )
    return [list(column) for column in zip(*(leaves for leaves, _ in flat), strict=True)], specs[0]


def _check_shapes(arrays: list[Array], items: Sequence[int], name: Callable[[int], str]) -> None:
    shape = arrays[0].shape
    if any(array.shape != shape for array in arrays):
        usual, odd = _apart([array.shape for array in arrays])
        raise _unlike(
            [items[k] for k in odd],
            f"samples of one batch do not stack: {name(items[usual])} has shape {arrays[usual].shape}, "
            f"{name(items[odd[0]])} has shape {arrays[odd[0]].shape}. Make them equal in __getitem__ (crop, resize or "
            "pad), or make whole batches yourself and leave batch_size out",
        )


def _apart(forms: Sequence[Hashable]) -> tuple[int, list[int]]:
    """Where the first of the most frequent form is, and where those of others are."""
    ((most, _),) = Counter(forms).most_common(1)
    return forms.index(most), [k for k, form in enumerate(forms) if form != most]


def _unlike(items: Sequence[int], text: str) -> BatchError:
    error = BatchError(text)
    error.unlike = tuple(dict.fromkeys(items))
    return error


def _as_array(leaf: Any) -> Array | None:
    """`leaf` as an array whose bytes can be copied as they are, or None."""
    value = leaf if type(leaf) is np.ndarray else to_numpy(leaf)
    if isinstance(value, np.memmap):
        value = np.asarray(value)
    return value if type(value) is np.ndarray and not value.dtype.hasobject else None


def _as_number(leaf: Any) -> Array | None:
    """As `_as_array`, and numbers of Python and numpy, which stack too."""
    return (
        np.asarray(leaf)
        if isinstance(leaf, (bool, int, float, complex, np.generic)) and _fits(leaf)
        else _as_array(leaf)
    )


def _fits(number: Any) -> bool:
    return not isinstance(number, int) or -(2**63) <= number < 2**64


def _objects(values: list[Any]) -> Array:
    column = np.empty(len(values), object)  # np.array(values) would look inside lists and strings
    for k, value in enumerate(values):
        column[k] = value
    return column


def _order(array: Array) -> Literal["C", "F"]:
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _reason(leaf: Any) -> str:
    if isinstance(leaf, np.ndarray):
        return f"dtype {leaf.dtype}" if type(leaf) is np.ndarray else f"type {type(leaf).__name__}"
    return f"type {type(leaf).__name__}"


def _outline(sample: Any) -> str:
    return str(tree.map_leaves(lambda _: "*", sample)).replace("'*'", "*")
