"""Arrays that lie on a segment: recognised when a source is pickled, and made again on the same memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from procession.capture.segments import SEGMENTS, Segment, Ticket, attached

Array = npt.NDArray[Any]


def reduced_view(array: Array) -> Any:
    """What an array on a segment is made anew from, as `__reduce__` would say; NotImplemented for any other."""
    segment = segment_of(array) if SEGMENTS else None
    if segment is None:
        return NotImplemented
    offset = array.__array_interface__["data"][0] - segment.address
    form = array.shape, array.strides, array.dtype, array.flags.writeable
    return _view, (segment.ticket(), offset, *form)


def segment_of(array: Array) -> Segment | None:
    """The segment that an array lies on. Asked for every array of a source, so most are answered by a look or two."""
    base: Any = array
    while type(base) is np.ndarray:
        base = base.base
    if base is None or not array.size:  # memory of numpy's own, or none
        return None
    return base if type(base) is Segment else _segment_at(*_bounds(array))


def _segment_at(low: int, high: int) -> Segment | None:
    # Other ways lead to the same memory: a framework's tensor and back, stride tricks, a memoryview.
    for known in SEGMENTS.valuerefs():  # a list: other threads may add to them meanwhile
        segment = known()
        if segment is not None and segment.address <= low and high <= segment.address + segment.size:
            return segment
    return None


def _bounds(array: Array) -> tuple[int, int]:
    low = array.__array_interface__["data"][0]
    high = low + array.itemsize
    for count, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            low += (count - 1) * stride
        else:
            high += (count - 1) * stride
    return low, high


def _view(
    ticket: Ticket, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, writeable: bool
) -> Array:
    array: Array = np.ndarray(shape, dtype, np.asarray(attached(ticket)), offset, strides)
    if not writeable:
        array.flags.writeable = False
    return array
