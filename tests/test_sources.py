"""What a source is; what is refused is in test_bad_input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from procession import sources
from procession.sources import Arrays


class Dataset:
    """As Keras's PyDataset: num_batches is the length unless a subclass says otherwise."""

    @property
    def num_batches(self) -> Any:
        raise NotImplementedError

    def __getitem__(self, i: int) -> int:
        return i


class Sized(Dataset):
    def __len__(self) -> int:
        return 4


class Endless(Dataset):
    num_batches = None


class Both(Sized):
    @property
    def num_batches(self) -> Any:
        return 2


class OfItsOwn(Sized):
    def num_batches(self) -> int:  # a method of this name means something else
        return 2


@pytest.mark.parametrize(
    ("source", "length"),
    [(Sized(), 4), (Endless(), None), (Both(), 2), (OfItsOwn(), 4), ([1, 2], 2), (range(5), 5)],
)
def test_length(source: Any, length: int | None) -> None:
    assert sources.length(source) == length
    assert sources.check(source, None) is source


def test_a_tree_of_arrays_becomes_arrays() -> None:
    tree = {"x": np.zeros((3, 2)), "y": (np.ones(3),)}
    checked = sources.check(tree, 2)
    assert isinstance(checked, Arrays)
    assert sources.length(checked) == len(checked) == 3


@pytest.mark.parametrize("tree", [np.zeros(3), (np.zeros(3),), {"a": [np.zeros(3), {"b": np.zeros((3, 1))}]}])
def test_trees_of_any_shape_are_arrays(tree: Any) -> None:
    assert isinstance(sources.check(tree, 1), Arrays)


class WithHooks(Sized):
    def on_epoch_end(self) -> None: ...


class NotCallable(Sized):
    on_epoch_begin = 3


@pytest.mark.parametrize(
    ("source", "hooks"), [(Sized(), ()), (WithHooks(), ("on_epoch_end",)), (NotCallable(), ()), ([1], ())]
)
def test_hooks_that_a_source_defines(source: Any, hooks: tuple[str, ...]) -> None:
    assert sources.hooks(source) == hooks
