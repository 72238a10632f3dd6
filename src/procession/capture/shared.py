"""Arrays in shared memory: `share` moves them there, and workers map them instead of getting a copy."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from procession.capture.pickling import aligned
from procession.capture.segments import Segment, created
from procession.capture.strings import Strings
from procession.capture.views import segment_of
from procession.errors import CaptureError
from procession.tree import flatten, paths, unflatten

Array = npt.NDArray[Any]


def share(tree: Any, *, writable: bool = False) -> Any:
    """Move the arrays of a tree into shared memory, once; workers then use that memory itself.

    A source's large arrays are copied into shared memory anyhow when it is first sent to workers, so that they are
    there twice: in the training process and, one copy for all workers, in shared memory. With `share` they are there
    once. Drop the arrays it was given (`x = procession.share(x)`), else they stay as well.

    Args:
        tree: an array (`np.ndarray`, or what numpy converts to one: a tensor, a data frame), or nested dicts, lists
            and tuples that hold arrays of any shape and any dtype but object; and lists of strings (names of files), of
            which there may be millions. Other leaves stay as they are.
        writable: whether the training process and all workers may write to the arrays, and see each other's writing.
            Nothing puts that in order: use a `Lock` where two may write to the same place. A batch then depends on
            when it was made, so a run is no longer the same with another number of workers, nor when it is resumed;
            what was written is not part of `state_dict()`.

    Returns:
        The tree with ordinary `np.ndarray` of the same shapes and dtypes, 64-byte aligned, read-only unless
        `writable`; a list of strings comes back as an immutable sequence of them, whose slices are lists. They, and
        views of the arrays (slices, reshaped, transposed, another dtype), may be anywhere in a source.
        Their memory has no name, and goes when the last of them is dropped, in the last process that has one.
        Subclasses of `np.ndarray` become plain arrays; a view of another class is sent as a copy.

    Raises:
        CaptureError: an array holds Python objects, or is masked, or there is no array at all.
        OSError: there is not enough memory.

    Example:
        >>> import numpy as np
        >>> import procession
        >>> images = procession.share(np.zeros((100, 8, 8), np.uint8))
        >>> images.shape, images.flags.writeable
        ((100, 8, 8), False)
        >>> seen = procession.share(np.zeros(100, np.int64), writable=True)
        >>> class Source:
        ...     def __init__(self, images, seen):
        ...         self.images, self.seen = images, seen
        ...     def __len__(self):
        ...         return len(self.images)
        ...     def __getitem__(self, i):
        ...         self.seen[i] += 1
        ...         return self.images[i]
        >>> with procession.Loader(Source(images, seen), workers=2) as loader:
        ...     len(list(loader)), int(seen.sum())
        (100, 100)
    """
    return _shared(tree, writable)


def _shared(tree: Any, writable: bool) -> Any:
    tree = _with_strings(tree)
    leaves, spec = flatten(tree)
    named = zip(leaves, paths(tree), strict=True)
    arrays = {id(leaf): _checked(leaf, path) for leaf, path in named if _is_array(leaf)}
    strings = {id(leaf): leaf for leaf in leaves if isinstance(leaf, Strings)}
    arrays |= {id(part): part for one in strings.values() for part in (one.text, one.ends)}
    if leaves and not arrays:
        raise CaptureError(
            f"share() was given a {type(tree).__qualname__} without any array or list of strings in it: there is "
            "nothing to move. Share the arrays that a source holds, self.images = procession.share(images)"
        )
    moved = _moved({key: array for key, array in arrays.items() if not _is_shared(array, writable)}, writable)

    def shared(part: Any) -> Any:  # calls nobody, itself included: a cycle would keep the memory
        return moved.get(id(part), arrays.get(id(part), part))

    return unflatten(
        spec,
        [
            Strings(shared(leaf.text), shared(leaf.ends)) if isinstance(leaf, Strings) else shared(leaf)
            for leaf in leaves
        ],
    )


def _with_strings(tree: Any) -> Any:
    """The tree with `Strings` for lists of strings, which would be a leaf each."""
    if isinstance(tree, list) and tree and all(isinstance(one, str) for one in tree):
        return Strings.of(tree)
    if type(tree) in (list, tuple):
        return type(tree)(map(_with_strings, tree))
    if type(tree) is dict:
        return {name: _with_strings(part) for name, part in tree.items()}
    return tree


def _is_array(leaf: Any) -> bool:
    kind = type(leaf)
    return isinstance(leaf, np.ndarray) or (
        hasattr(kind, "__array__") and hasattr(kind, "shape") and not isinstance(leaf, np.generic)
    )


def _checked(leaf: Any, path: str) -> Array:
    shown = "the array" if path == "batch" else f"the array at {path}"
    if isinstance(leaf, np.ma.MaskedArray):
        raise CaptureError(f"{shown} is masked; share its two parts, share((array.data, array.mask))")
    array = np.asarray(leaf)
    if array.dtype.hasobject:
        raise CaptureError(
            f"{shown} has dtype {array.dtype}, which holds references to Python objects of this process; they cannot "
            "be shared. Give it a plain dtype first: array.astype(float), or array.astype('S') or 'U' for texts of "
            "about one length"
        )
    return array


def _is_shared(array: Array, writable: bool) -> bool:
    segment = segment_of(array)
    return segment is not None and segment.writable == array.flags.writeable == writable


def _moved(arrays: dict[int, Array], writable: bool) -> dict[int, Array]:
    """Copy them into one new memory."""
    if not arrays:
        return {}
    offsets, end = {}, 0
    for key, array in arrays.items():
        offsets[key] = aligned(end)
        end = offsets[key] + array.nbytes
    segment = created(max(end, 1), "share")
    for key, array in arrays.items():
        _placed(segment, array, offsets[key])[...] = array
    if not writable:
        segment.freeze()
    return {key: _placed(segment, array, offsets[key]) for key, array in arrays.items()}


def _placed(segment: Segment, like: Array, offset: int) -> Array:
    order: Literal["F", "C"] = "F" if like.flags.f_contiguous and not like.flags.c_contiguous else "C"
    return np.ndarray(like.shape, like.dtype, np.asarray(segment), offset, order=order)
