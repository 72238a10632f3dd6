"""Tensors of frameworks, and images, as numpy, recognised by name so that no framework is imported for it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def to_numpy(value: Any) -> Any:
    """Turn a tensor of a framework into an array, a sparse one into `scipy.sparse`; return others as they are."""
    home = type(value).__module__.split(".", 1)[0]
    if home == "torch":
        return _from_torch(value)
    if home == "tensorflow":
        return _from_tensorflow(value)
    if home in ("jax", "jaxlib"):
        return _from_jax(value)
    if home == "PIL":
        return np.asarray(value) if hasattr(value, "__array_interface__") else value
    return value


def _from_torch(value: Any) -> Any:
    torch = sys.modules["torch"]
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    if value.layout != torch.strided:
        return _scipy(
            value.to_sparse_coo().coalesce(), lambda t: (t.values().numpy(), t.indices().numpy(), tuple(t.shape))
        )
    value = value.resolve_conj().resolve_neg()
    if value.dtype == torch.bfloat16:  # which numpy knows through ml_dtypes only
        import ml_dtypes

        return value.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


def _from_tensorflow(value: Any) -> Any:
    tf = sys.modules["tensorflow"]
    if isinstance(value, tf.sparse.SparseTensor):
        return _scipy(value, lambda t: (t.values.numpy(), t.indices.numpy().T, tuple(t.dense_shape.numpy())))
    if isinstance(value, tf.RaggedTensor):
        return value.numpy()
    return np.asarray(value) if isinstance(value, (tf.Tensor, tf.Variable)) else value


def _from_jax(value: Any) -> Any:
    if hasattr(value, "indices") and hasattr(value, "todense"):  # jax.experimental.sparse.BCOO and its kin
        return _scipy(value, lambda t: (np.asarray(t.data), np.asarray(t.indices).T, tuple(t.shape)))
    return np.asarray(value) if hasattr(value, "__array__") else value


def _scipy(value: Any, parts: Any) -> Any:
    import scipy.sparse

    data, coordinates, shape = parts(value)
    if len(shape) != 2:
        return np.asarray(value.to_dense() if hasattr(value, "to_dense") else value.todense())
    return scipy.sparse.coo_matrix((data, tuple(coordinates)), shape=shape)
