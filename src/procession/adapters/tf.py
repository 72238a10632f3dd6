"""tf.data: batches as a dataset, without a copy, without code of the user in the training process.

A map over `numpy_function` costs about half of `from_generator` per element, and numpy_function takes an
array that begins on a multiple of 64 bytes as it is. An element carries a flag in front: false ends the data.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from procession import tree
from procession.adapters.epochs import Epochs
from procession.errors import BatchError, EpochAbandonedError
from procession.stream import EndOfEpoch, Stream


class Signature:
    """The structure, dtypes and shapes that all batches have in common."""

    def __init__(self, named: list[tuple[str, Any]]) -> None:
        """Learn from some batches, each with a name for messages."""
        self._example = named[0][1]
        self._tree = tree.flatten(self._example)[1]
        self._paths = tree.paths(self._example)
        for name, batch in named:
            self._check_structure(batch, partial(str, name))
        leaves = [[_numpy(leaf) for leaf in tree.leaves(batch)] for _, batch in named]
        self._sparse = [_is_sparse(leaf) for leaf in leaves[0]]
        self._dtypes = [tf.as_dtype(leaf.dtype) for leaf in map(self._checked_type, self._paths, leaves[0])]
        self._shapes = [list(leaf.shape) for leaf in leaves[0]]
        for (name, _), found in zip(named, leaves, strict=True):
            for k, leaf in enumerate(found):
                self._check_rank(k, leaf, name)
        self._shapes = [_common([leaf.shape for leaf in column]) for column in zip(*leaves, strict=True)]

    @property
    def flat_dtypes(self) -> list[Any]:
        """What numpy_function returns: a tensor for a dense leaf, three for a sparse one (indices, values, shape)."""
        flat: list[Any] = []
        for dtype, sparse in zip(self._dtypes, self._sparse, strict=True):
            flat.extend([tf.int64, dtype, tf.int64] if sparse else [dtype])
        return flat

    def leaves(self, batch: Any, where: Callable[[], str]) -> list[Any]:
        """The flat arrays of a batch, checked.

        Raises:
            BatchError: it does not have the form of the others; names path and both forms.
        """
        self._check_structure(batch, where)
        flat: list[Any] = []
        for k, leaf in enumerate(map(_numpy, tree.leaves(batch))):
            self._check(k, leaf, where)
            flat.extend(_coordinates(leaf) if self._sparse[k] else [leaf])
        return flat

    def rebuild(self, tensors: list[Any]) -> Any:
        """A batch from the flat tensors, inside the graph."""
        waiting = iter(tensors)
        leaves = []
        for shape, sparse in zip(self._shapes, self._sparse, strict=True):
            if sparse:
                indices, values, dense_shape = next(waiting), next(waiting), next(waiting)
                indices.set_shape((None, len(shape)))
                values.set_shape((None,))
                dense_shape.set_shape((len(shape),))
                # Known sizes as constants: TensorFlow reads the static shape off them.
                sizes = [
                    dense_shape[k] if size is None else tf.constant(size, tf.int64) for k, size in enumerate(shape)
                ]
                leaves.append(tf.SparseTensor(indices, values, tf.stack(sizes)))
            else:
                tensor = next(waiting)
                tensor.set_shape(shape)
                leaves.append(tensor)
        return _without_lists(tree.unflatten(self._tree, leaves))

    def nothing(self) -> list[Any]:
        """Arrays of the right types for the element that ends the data, and is never seen."""
        flat: list[Any] = []
        for dtype, shape, sparse in zip(self._dtypes, self._shapes, self._sparse, strict=True):
            rank, values = len(shape), dtype.as_numpy_dtype
            if sparse:
                flat.extend([np.zeros((0, rank), np.int64), np.zeros(0, values), np.zeros(rank, np.int64)])
            else:
                flat.append(np.zeros((0,) * rank, values))
        return flat

    def _checked_type(self, path: str, leaf: Any) -> Any:
        try:
            tf.as_dtype(leaf.dtype)
        except TypeError:
            raise BatchError(
                f"{path} of the batches has dtype {leaf.dtype}, for which TensorFlow has no type"
            ) from None
        return leaf

    def _check_rank(self, k: int, leaf: Any, name: str) -> None:
        if len(leaf.shape) != len(self._shapes[k]):
            raise BatchError(
                f"{self._paths[k]} of {name} has shape {leaf.shape}, in the batches before it has "
                f"{len(self._shapes[k])} axes; TensorFlow needs the same number throughout"
            )

    def _check_structure(self, batch: Any, where: Callable[[], str]) -> None:
        if tree.flatten(batch)[1] != self._tree:
            raise BatchError(
                f"{where()} differs in structure from the first one: {_outline(batch)} instead of "
                f"{_outline(self._example)}; TensorFlow needs the same structure throughout. Return it for every "
                "index"
            )

    def _check(self, k: int, leaf: Any, where: Callable[[], str]) -> None:
        expected = self._shapes[k]
        fits = len(leaf.shape) == len(expected) and all(
            e in (None, s) for e, s in zip(expected, leaf.shape, strict=True)
        )
        if not fits:
            raise BatchError(
                f"{self._paths[k]} of {where()} has shape {leaf.shape}, but the batches looked at when this began "
                f"(the first two, a middle one and the last) have {_shape(expected)} in common, which TensorFlow's "
                "graph was built for. Give all batches that shape (pad or crop), or have it differ among the first "
                "two, so that this axis is left open"
            )
        if tf.as_dtype(leaf.dtype) != self._dtypes[k]:
            raise BatchError(
                f"{self._paths[k]} of {where()} has dtype {leaf.dtype}, the batches before had "
                f"{self._dtypes[k].name}; TensorFlow's graph "
                f"takes one. Convert it in __getitem__: .astype({self._dtypes[k].name!r})"
            )


class Reader(Protocol):
    """What stands behind a dataset. It is not kept by it: TensorFlow never lets go of a function it has been given."""

    signature: Signature

    def begin(self) -> None:
        """A new iterator reads its first element."""
        ...

    def read(self) -> list[Any] | None:
        """The flat leaves of the next batch; None at the end."""
        ...


def dataset_of(reader: Reader) -> Any:
    """A dataset of what `reader` reads; keep the reader alive as long as the dataset."""
    signature, nothing = reader.signature, reader.signature.nothing()
    true, false = np.array(True), np.array(False)
    alive = weakref.ref(reader)
    turn = itertools.count()
    current = [-1]  # the iterator that reads now; one of the dataset's iterators at a time can

    def begun() -> Any:
        current[0] = next(turn)
        reader = alive()
        if reader is not None:
            reader.begin()
        return np.int64(current[0])

    def flagged(mine: Any) -> list[Any]:
        reader = alive()
        if current[0] != int(mine):
            raise EpochAbandonedError(
                "this iterator of a Loader's dataset was advanced after another one had begun: a loader reads one "
                "epoch at a time. For two at once make two Loaders of the source"
            )
        leaves = None if reader is None else reader.read()
        return [false, *nothing] if leaves is None else [true, *leaves]

    def element(mine: Any) -> Any:
        more, *leaves = tf.numpy_function(flagged, [mine], [tf.bool, *signature.flat_dtypes])
        more.set_shape(())
        return more, signature.rebuild(leaves)

    options = tf.data.Options()
    options.autotune.enabled = False  # there is nothing to tune: one thread waits for batches made elsewhere
    options.threading.private_threadpool_size = 1
    plain = tf.autograph.experimental.do_not_convert  # parses each, and leaves files where the process is killed
    one = tf.data.Dataset.from_tensors(0).map(
        plain(lambda _: tf.ensure_shape(tf.numpy_function(begun, [], tf.int64), ()))
    )
    endless = one.flat_map(plain(lambda mine: tf.data.Dataset.from_tensors(mine).repeat()))
    made = endless.map(plain(element)).take_while(plain(lambda more, _: more)).map(plain(lambda _, batch: batch))
    return made.with_options(options)


class _Passes:
    """Reads a loader for `to_tf`: each pass is an epoch."""

    def __init__(self, loader: Any, stream: Stream) -> None:
        self._loader = loader  # dropped, it would close
        self._epochs = Epochs(stream, shuffle=False, steps_per_epoch=None)
        self.signature = Signature(self._epochs.look())

    def begin(self) -> None:
        self._epochs.again()

    def read(self) -> list[Any] | None:
        try:
            return self.signature.leaves(self._epochs.next(), self._epochs.where)
        except EndOfEpoch:
            self._epochs.end()
            return None


def dataset(loader: Any, stream: Stream) -> Any:
    """See `Loader.to_tf`."""
    reader = _Passes(loader, stream)
    made = dataset_of(reader)
    positions = stream.plan().positions
    if positions is not None and not stream.hooks:  # hooks may change the length
        made = made.apply(tf.data.experimental.assert_cardinality(positions))
    made._procession_reader = reader  # iterators and derived datasets keep the dataset they come from
    return made


def _without_lists(batch: Any) -> Any:
    """Tuples for lists, which tf.data would stack into one tensor."""
    if isinstance(batch, list):
        return tuple(_without_lists(part) for part in batch)
    if isinstance(batch, dict):
        return {key: _without_lists(part) for key, part in batch.items()}
    if type(batch) is tuple:
        return tuple(_without_lists(part) for part in batch)
    return batch


def _numpy(leaf: Any) -> Any:
    return leaf if _is_sparse(leaf) or isinstance(leaf, np.ndarray) else np.asarray(leaf)


def _is_sparse(leaf: Any) -> bool:
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(leaf))


def _coordinates(matrix: Any) -> list[Any]:
    coo = matrix.tocsr().tocoo()  # rows in order, as TensorFlow wants them
    indices = np.stack([coo.row, coo.col], axis=1).astype(np.int64)
    return [indices, coo.data, np.array(coo.shape, np.int64)]


def _common(shapes: list[tuple[int, ...]]) -> list[int | None]:
    """The sizes that all have, None where they differ, and for the first axis, of which the last batch has less."""
    common: list[int | None] = [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)]
    return [None, *common[1:]] if common else common


def _shape(shape: list[int | None]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def _outline(batch: Any) -> str:
    return str(tree.map_leaves(lambda _: "*", batch)).replace("'*'", "*")
