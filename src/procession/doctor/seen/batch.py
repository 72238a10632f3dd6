"""What a batch is, in a form that can be compared and sent: its structure, and of each leaf type, shape and content."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

from procession import tree
from procession.engine.tensors import to_numpy


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf of a batch."""

    path: str  # [0]['image']
    kind: str  # numpy.ndarray, builtins.str
    dtype: str  # "" for what is no array
    shape: tuple[int, ...]
    nbytes: int
    content: bytes  # a digest


@dataclass(frozen=True, slots=True)
class Form:
    """A batch."""

    structure: str  # (*, {'image': *})
    leaves: tuple[Leaf, ...]

    @property
    def nbytes(self) -> int:
        """Of all its arrays."""
        return sum(leaf.nbytes for leaf in self.leaves)

    def differences(self, other: Form) -> list[str]:
        """The paths of the leaves whose content differs, or "structure"."""
        if self.structure != other.structure:
            return ["structure"]
        pairs = zip(self.leaves, other.leaves, strict=True)
        return [one.path for one, two in pairs if one.content != two.content]


def form(batch: Any) -> Form:
    """Describe a batch."""
    leaves, spec = tree.flatten(batch)
    structure = str(spec).removeprefix("PyTreeSpec(").removesuffix(")")
    return Form(structure, tuple(_leaf(path, leaf) for path, leaf in zip(tree.paths(batch), leaves, strict=True)))


def _leaf(path: str, leaf: Any) -> Leaf:
    kind = f"{type(leaf).__module__}.{type(leaf).__qualname__}".removeprefix("builtins.")
    array = _array(leaf)
    if array is None or array.dtype.hasobject:
        return Leaf(path, kind, "", (), 0, _digest(_pickle(leaf)))
    data = np.ascontiguousarray(array).view(np.uint8) if array.dtype.itemsize and array.size else array
    return Leaf(path, kind, str(array.dtype), array.shape, array.nbytes, _digest(data.tobytes()))


def _array(leaf: Any) -> np.ndarray[Any, Any] | None:
    value = to_numpy(leaf)
    return np.asarray(value) if isinstance(value, (np.ndarray, np.generic, bool, int, float, complex)) else None


def _pickle(leaf: Any) -> bytes:
    try:
        return pickle.dumps(leaf, protocol=5)
    except Exception:  # what cannot be pickled is told by another check
        return repr(leaf).encode()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
