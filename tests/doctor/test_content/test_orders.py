"""Orders that are drawn while items are made: variants that the zoo does not show."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from tests.doctor.test_content.ordinary import Base
from tests.doctor.test_content.support import codes, content, told


class LazyList(Base):
    """A list of indices, drawn where it is missing, by what it calls."""

    def prepare(self) -> None:
        self.order = random.sample(range(64), 64)

    def __getitem__(self, i: int) -> Any:
        if not hasattr(self, "order"):
            self.prepare()
        return self.rows[self.order[4 * i : 4 * i + 4]]


class AtTheBeginning(Base):
    """Draws a new order at item 0."""

    def __init__(self) -> None:
        super().__init__()
        self.order = np.arange(64)

    def __getitem__(self, i: int) -> Any:
        if i == 0:
            np.random.shuffle(self.order)
        return self.rows[self.order[4 * i : 4 * i + 4]]


class CallsItsHook(Base):
    """Ends the epoch itself, as is needed in a loop of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.order = np.arange(64)

    def on_epoch_end(self) -> None:
        self.order = np.random.permutation(64)

    def __getitem__(self, i: int) -> Any:
        rows = self.order[4 * i : 4 * i + 4]
        if i + 1 == len(self):
            self.on_epoch_end()
        return self.rows[rows]


@pytest.mark.parametrize("make", [LazyList, AtTheBeginning, CallsItsHook])
def test_an_order_that_is_drawn_by_items_is_one_error(make: Any) -> None:
    diagnosis = content(make())

    errors = diagnosis.of("error")
    assert [each.code for each in errors] == ["PRC206"], told(diagnosis)
    assert errors[0].where[0].attribute == "source.order"
    assert errors[0].where[0].line > 0
    assert not {"PRC201", "PRC202", "PRC203", "PRC205"} & set(codes(diagnosis)), told(diagnosis)
    assert "self.order" in errors[0].fix
