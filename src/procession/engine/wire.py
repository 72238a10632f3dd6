"""A batch in memory: what is written into a slot, and how it is read out of it as arrays.

    | array 0 | pad | array 1 | pad | … | pickle of the rest | pad | its buffers … |      each part on a multiple of 64
    bytes

The arrays are raw bytes; what is no array (strings, objects, scipy matrices) is pickled together, with its large
buffers beside it. What a reader needs besides the bytes is the `Layout`, which is the same for batch after batch, and
the sizes of the rest, which are not.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from procession import tree
from procession.capture.pickling import aligned, beside, dumps
from procession.errors import BatchError

Array = npt.NDArray[Any]
BUFFER_IN_REST = (
    1024  # bytes from which a buffer of a pickled leaf lies beside the pickle, so that it is not copied twice
)


class Field(NamedTuple):
    """One array of a layout."""

    dtype: Any
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    offset: int  # from the beginning of the slot


class Layout(NamedTuple):
    """How the bytes of a slot become a batch: equal layouts are sent once."""

    spec: tree.Spec
    fields: tuple[Field | None, ...]  # a leaf each; None: the leaf is in the rest
    end: int  # where the arrays end


class Rows(NamedTuple):
    """An array still to be taken: `array[rows]`."""

    array: Array
    rows: Sequence[int]


# What fills a field: an array, the samples to stack, or the rows to take; None: it is there already.
Part = Array | list[Array] | Rows | None


class Entry(NamedTuple):
    """One leaf that becomes a field."""

    dtype: Any
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    part: Part


class Parcel(NamedTuple):
    """A batch that is ready to be written."""

    layout: Layout
    parts: tuple[Part, ...]  # one for each field that is not None
    rest: tuple[memoryview, ...]  # the pickle of the other leaves, then its buffers; empty if there are none
    reasons: tuple[str, ...]  # why each leaf in the rest is not an array

    @property
    def placed(self) -> int:
        """Bytes that are there already."""
        fields = (field for field in self.layout.fields if field is not None)
        return sum(_nbytes(f.dtype, f.shape) for f, part in zip(fields, self.parts, strict=True) if part is None)

    @property
    def nbytes(self) -> int:
        """Bytes that `write` needs."""
        end = self.layout.end
        for part in self.rest:
            end = aligned(end) + part.nbytes
        return end


def as_before(layout: Layout | None, spec: tree.Spec, leaves: Sequence[Any]) -> bool:
    """Whether a batch of these leaves has that layout: the short way, for batch after batch of the same form."""
    if layout is None or len(leaves) != len(layout.fields) or spec != layout.spec:
        return False
    for field, leaf in zip(layout.fields, leaves):  # noqa: B905 - as many, as was seen; to say it takes 0.3 µs
        if field is None or type(leaf) is not np.ndarray:
            return False
        dtype, shape, order, _ = field
        if leaf.dtype is not dtype or leaf.shape != shape:
            return False
        if not (leaf.flags.c_contiguous if order == "C" else leaf.flags.f_contiguous):
            return False
    return True


def make_parcel(spec: tree.Spec, entries: Sequence[Entry | None], others: list[Any]) -> Parcel:
    """Lay out a batch.

    Args:
        spec: its structure.
        entries: one for each leaf, or None if it goes with `others`.
        others: (value, reason) of the leaves that are pickled, in order.
    """
    fields: list[Field | None] = []
    parts: list[Part] = []
    end = 0
    for entry in entries:
        if entry is None:
            fields.append(None)
            continue
        dtype, shape, order, part = entry
        start = aligned(end)
        fields.append(Field(dtype, shape, order, start))
        parts.append(part)
        end = start + _nbytes(dtype, shape)
    try:
        rest = _pickled([value for value, _ in others]) if others else ()
    except Exception as error:
        raise _unpicklable(spec, entries, others, error) from error
    return Parcel(Layout(spec, tuple(fields), end), tuple(parts), rest, tuple(reason for _, reason in others))


def in_place(parcel: Parcel, offset_of: Callable[[Part], int | None], end: int) -> Parcel:
    """A batch of which some arrays lie in their slot already; the others find room behind the last of those.

    Args:
        parcel: the batch as it would be written.
        offset_of: where a part begins, from the beginning of the slot; None if it is elsewhere, or does not fit there.
        end: where arrays that lie in the slot end: behind it, nothing is overwritten that is still to be copied.
    """
    offsets: list[int | None] = []
    taken: list[tuple[int, int]] = []
    fields = [field for field in parcel.layout.fields if field is not None]
    for field, part in zip(fields, parcel.parts, strict=True):
        size = _nbytes(field.dtype, field.shape)
        offset = offset_of(part) if size else None
        if offset is not None and any(offset < stop and start < offset + size for start, stop in taken):
            offset = None  # the same array twice: the consumer gets two
        if offset is not None:
            taken.append((offset, offset + size))
        offsets.append(offset)
    moved: list[Field] = []
    for field, offset in zip(fields, offsets, strict=True):
        start = aligned(end) if offset is None else offset
        end = max(end, start + _nbytes(field.dtype, field.shape))
        moved.append(field._replace(offset=start))
    parts = tuple(part if offset is None else None for part, offset in zip(parcel.parts, offsets, strict=True))
    rest = iter(moved)
    layout = Layout(
        parcel.layout.spec, tuple(None if field is None else next(rest) for field in parcel.layout.fields), end
    )
    return parcel._replace(layout=layout, parts=parts)


class Writing:
    """Writes batches of one layout to places in one memory, time and again to the same ones."""

    def __init__(self, layout: Layout, memory: Any) -> None:
        self.layout = layout
        self._memory = memory
        self._targets: dict[int, list[Array]] = {}  # by where a batch begins

    def write(self, parcel: Parcel, start: int) -> tuple[int, ...]:
        """Write a parcel from `start` on; return the sizes of the rest."""
        targets = self._targets.get(start)
        if targets is None:
            fields = (field for field in self.layout.fields if field is not None)
            targets = self._targets[start] = [_view(field, self._memory, start) for field in fields]
        for target, part in zip(targets, parcel.parts):  # noqa: B905 - as many, being of this layout
            if type(part) is np.ndarray:
                target[...] = part
            elif part is not None:  # None: it is there already
                _fill(target, part)
        return _write_rest(parcel, self._memory, start) if parcel.rest else ()


def write(parcel: Parcel, memory: Any, start: int) -> tuple[int, ...]:
    """Write one parcel into `memory` from `start` on; return the sizes of the rest."""
    return Writing(parcel.layout, memory).write(parcel, start)


def _write_rest(parcel: Parcel, memory: Any, start: int) -> tuple[int, ...]:
    end = parcel.layout.end
    view = memoryview(memory).cast("B")
    for part in parcel.rest:
        begin = aligned(end)
        end = begin + part.nbytes
        view[start + begin : start + end] = part
    return tuple(part.nbytes for part in parcel.rest)


class Reading:
    """Rebuilds batches of one layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        # The arguments of np.ndarray that are the same each time; an array without bytes may have no room either.
        self._arrays = [
            None if f is None else (f.shape, f.dtype, f.offset if _nbytes(f.dtype, f.shape) else None, f.order)
            for f in layout.fields
        ]
        self._plain = all(entry is not None and entry[2] is not None for entry in self._arrays)

    def read(self, rest: Sequence[int], memory: Any) -> Any:
        """A batch from `memory`, which begins at its slot; the arrays are views that keep `memory` alive."""
        if self._plain:
            arrays: Any = self._arrays
            return tree.unflatten(
                self.layout.spec, [np.ndarray(shape, d, memory, at, None, order) for shape, d, at, order in arrays]
            )
        others = self._others(rest, memory) if rest else None
        leaves: list[Any] = []
        for entry in self._arrays:
            if entry is None:
                leaves.append(next(others) if others else None)
                continue
            shape, dtype, offset, order = entry
            if offset is None:
                leaves.append(np.ndarray(shape, dtype))
            else:
                leaves.append(np.ndarray(shape, dtype, memory, offset, None, order))
        return tree.unflatten(self.layout.spec, leaves)

    def _others(self, rest: Sequence[int], memory: Any) -> Iterator[Any]:
        """The leaves that were pickled."""
        view = memoryview(memory).cast("B")
        spans, end = [], self.layout.end
        for size in rest:
            spans.append(view[aligned(end) : aligned(end) + size])
            end = aligned(end) + size
        return iter(pickle.loads(spans[0], buffers=spans[1:]))


def _view(field: Field, memory: Any, start: int) -> Array:
    dtype, shape, order, offset = field
    if 0 in shape or dtype.itemsize == 0:
        return np.ndarray(shape, dtype)  # no bytes, and perhaps no room behind the offset either
    return np.ndarray(shape, dtype, memory, start + offset, None, order)


def _fill(target: Array, part: Array | list[Array] | Rows) -> None:
    if isinstance(part, Rows):
        rows = part.rows
        if isinstance(rows, range):
            target[...] = part.array[rows.start : rows.stop : rows.step]
        else:
            np.take(part.array, rows, axis=0, out=target, mode="clip")  # "raise" would make a copy first
    else:
        for k, sample in enumerate(part):
            target[k] = sample


def _nbytes(dtype: Any, shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count * int(dtype.itemsize)


def _unpicklable(spec: tree.Spec, entries: Sequence[Entry | None], others: list[Any], error: Exception) -> BatchError:
    """The error for a batch of which something cannot be pickled: which part it is."""
    paths = [path for path, entry in zip(tree.paths_of(spec), entries, strict=True) if entry is None]
    for path, (value, _) in zip(paths, others, strict=True):
        try:
            _pickled([value])
        except Exception as why:
            kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            return BatchError(
                f"{path} of the batch is a {kind}, which cannot be sent to the training process: {why}. Return arrays, "
                "numbers, strings, and objects that can be pickled"
            )
    return BatchError(f"the batch cannot be sent to the training process: {error}")


def _pickled(values: list[Any]) -> tuple[memoryview, ...]:
    buffers, keep_in_band = beside(BUFFER_IN_REST)
    try:
        stream = pickle.dumps(values, protocol=5, buffer_callback=keep_in_band)
    except Exception:  # a class that only cloudpickle can send, such as one of __main__
        buffers.clear()
        stream = dumps(values)
    return (memoryview(stream), *buffers)
