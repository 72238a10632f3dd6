"""What `to_tf`, `to_torch` and `to_jax` give; each function reports what came out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

import procession
from procession import tree
from tests.adapters import kit
from tests.adapters.differential import plain

Report = dict[str, Any]


@contextlib.contextmanager
def opened(executor: Any, form: str, length: int = 5, **options: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Open a Loader, and say what its batches have to be."""
    source = kit.Numbered(length, form)
    with procession.Loader(source, executor=executor, workers=2, **options) as loader:
        yield loader, [source[i] for i in range(length)]


def listed(batch: Any) -> Any:
    """Return the values of a batch of any framework as nested lists, tuples as lists."""
    return plain(tree.map_leaves(_values, batch))


def _values(leaf: Any) -> Any:
    if scipy.sparse.issparse(leaf):
        return leaf.toarray().tolist()
    if type(leaf).__name__ == "SparseTensor":
        import tensorflow as tf

        return tf.sparse.to_dense(leaf).numpy().tolist()
    found = np.asarray(leaf).tolist()
    return _decoded(found)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    return value.decode() if isinstance(value, bytes) else value


def tf_values(executor: Any, form: str) -> Report:
    """Pass twice over a dataset."""
    with opened(executor, form) as (loader, expected):
        dataset = loader.to_tf()
        passes = [[listed(batch) for batch in dataset] for _ in range(2)]
        return {
            "spec": tree.map_leaves(str, dataset.element_spec),
            "cardinality": int(dataset.cardinality()),
            "passes": passes,
            "expected": [listed(batch) for batch in expected],
        }


def tf_epochs() -> Report:
    """Pass three times over a dataset of a source with hooks, once only in part."""
    source = kit.Changing(4, at="begin", how="rebinding")
    with procession.Loader(source, executor="processes", workers=2) as loader:
        dataset = loader.to_tf()
        passes = [[int(x[0, 0]) // kit.EPOCH for x, _ in dataset.take(count)] for count in (9, 2, 9)]
    return {"passes": passes, "calls": source.calls}


def tf_memory() -> Report:
    """Look at where the memory of tensors is: in the arena, or in a copy on the heap."""
    with opened("processes", "pair") as (loader, _):
        where = [[_mapping(np.asarray(memoryview(leaf))) for leaf in batch] for batch in loader.to_tf()]
    return {"shared": [["memfd" in name for name in names] for names in where]}


def _mapping(array: Any) -> str:
    """Name the mapping of this process in which an array lies."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(None, 5) if line.count(" ") > 5 else (line.split()[0], "")
        first, last = (int(end, 16) for end in span.split("-"))
        if first <= address < last:
            return name
    return "nowhere"


def tf_failure(executor: Any, index: int) -> Report:
    """Pass over a dataset of a source that raises, which must not look like its end."""
    import tensorflow as tf

    source = kit.Failing(7, index, 1 if index in (0, 1, 3, 6) else 0)
    got: list[int] = []
    with procession.Loader(source, executor=executor, workers=2) as loader:
        dataset = loader.to_tf()
        try:
            for _ in range(2):
                for x, _y in dataset:
                    got.append(int(x[0, 0]))
        except (tf.errors.OpError, kit.SourceError) as error:
            return {"got": got, "message": str(error)}
    return {"got": got, "message": ""}


def tf_fit(executor: Any) -> Report:
    """Fit on a dataset, beside the source itself."""
    model, stock = kit.make_model("unbuilt"), kit.make_model("unbuilt")
    with opened(executor, "pair") as (loader, _):
        history = model.fit(loader.to_tf(), epochs=2, verbose=0).history
    expected = stock.fit(kit.Numbered(5), epochs=2, shuffle=False, verbose=0).history
    return {
        "got": plain([kit.numbers(model), list(model.get_weights()), history]),
        "expected": plain([kit.numbers(stock), list(stock.get_weights()), expected]),
    }


def torch_values(executor: Any, form: str) -> Report:
    """Pass twice over an IterableDataset, by itself and through a DataLoader."""
    import torch.utils.data

    with opened(executor, form) as (loader, expected):
        dataset = loader.to_torch()
        batches = torch.utils.data.DataLoader(dataset, batch_size=None)
        return {
            "kind": isinstance(dataset, torch.utils.data.IterableDataset),
            "tensors": all(isinstance(leaf, torch.Tensor) for batch in dataset for leaf in tree.leaves(batch)),
            "lengths": [len(dataset), len(batches)],
            "passes": [[listed(batch) for batch in batches], [listed(batch) for batch in dataset]],
            "expected": [listed(batch) for batch in expected],
        }


def torch_memory() -> Report:
    """Look at where the memory of tensors is."""
    with opened("processes", "pair") as (loader, _):
        where = [[_mapping(leaf.numpy()) for leaf in batch] for batch in loader.to_torch()]
    return {"shared": [["memfd" in name for name in names] for names in where]}


def torch_failure() -> Report:
    """Pass over the dataset of a source that raises."""
    got: list[int] = []
    with procession.Loader(kit.Failing(7, 4, 0), workers=2) as loader:
        try:
            for x, _ in loader.to_torch():
                got.append(int(x[0, 0]))
        except kit.SourceError as error:
            return {"got": got, "args": list(error.args)}
    return {"got": got, "args": []}


def torch_endless() -> str:
    """Ask the dataset of an endless source for its length."""
    with procession.Loader(kit.Endless(), executor="serial") as loader:
        try:
            return str(len(loader.to_torch()))
        except TypeError as error:
            return str(error)


def jax_values(executor: Any, form: str) -> Report:
    """Iterate twice over device arrays."""
    import jax

    with opened(executor, form) as (loader, expected):
        passes = [list(loader.to_jax()) for _ in range(2)]
        return {
            "arrays": all(isinstance(leaf, jax.Array) for batch in passes[0] for leaf in tree.leaves(batch)),
            "passes": [[listed(batch) for batch in made] for made in passes],
            "expected": [listed(batch) for batch in expected],
        }


def jax_memory() -> Report:
    """Look at where the memory of arrays is; `unsafe_buffer_pointer` tells, on one device."""
    with opened("processes", "pair") as (loader, _):
        where = [[_mapping(np.asarray(leaf)) for leaf in batch] for batch in loader.to_jax()]
        pointers = [
            leaf.unsafe_buffer_pointer() == np.asarray(leaf).__array_interface__["data"][0]
            for batch in loader.to_jax()
            for leaf in batch
        ]
    return {"shared": [["memfd" in name for name in names] for names in where], "pointers": all(pointers)}


def jax_kept() -> Report:
    """Drop the loader and its batches while JAX holds its arrays: what they hold does not change."""
    with opened("processes", "pair", length=12, prefetch=1) as (loader, expected):
        kept = list(loader.to_jax())
        for _ in range(2):
            assert len(list(loader)) == 12
    return {"got": [listed(batch) for batch in kept], "expected": [listed(batch) for batch in expected]}
