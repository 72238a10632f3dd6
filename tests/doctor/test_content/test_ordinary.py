"""Nothing is found in ordinary sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.doctor.test_content import ordinary
from tests.doctor.test_content.support import codes, content, told

SIMPLE = (
    *(ordinary.Base, ordinary.Remembers, ordinary.Buffers, ordinary.Locks, ordinary.LoadsGlobal, ordinary.SharesState),
    *(
        ordinary.OrderByItsSeed,
        ordinary.ShufflesInHook,
        ordinary.ShufflesBefore,
        ordinary.OwnGenerator,
        ordinary.Frame,
        ordinary.Endless,
    ),
    *(ordinary.Slots, ordinary.Ids),
)


@pytest.mark.parametrize("make", SIMPLE, ids=[make.__name__ for make in SIMPLE])
def test_nothing_is_found_in(make: Any) -> None:
    diagnosis = content(make())

    assert codes(diagnosis) == [], told(diagnosis)
    assert [check.outcome for check in diagnosis.checks] == ["done"] * 4


@pytest.mark.parametrize("make", [ordinary.OpensLazily, ordinary.OpensWhereMissing, ordinary.OpensMany])
def test_nothing_is_found_where_a_file_is_opened_on_first_use(make: Any, tmp_path: Path) -> None:
    diagnosis = content(make(tmp_path / "rows"))

    assert codes(diagnosis) == [], told(diagnosis)


def test_changing_copies_is_no_finding() -> None:
    diagnosis = content(ordinary.Copies())

    assert codes(diagnosis) == ["PRC208"], told(diagnosis)  # rightly: a constant seed


@pytest.mark.parametrize(
    ("source", "batch_size"),
    [
        ({"x": np.zeros((8, 2)), "y": np.zeros(8)}, 2),
        ([np.zeros(3), np.ones(3)], None),
        ([1.0], 1),
        ([ordinary.Base(), ordinary.OwnGenerator()], None),
    ],
    ids=["arrays", "list", "one sample", "partitions"],
)
def test_nothing_is_found_in_sources_that_are_no_class_of_the_users(source: Any, batch_size: int | None) -> None:
    diagnosis = content(source, batch_size)

    assert codes(diagnosis) == [], told(diagnosis)
