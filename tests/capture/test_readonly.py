"""Which attribute is named when a source writes to what is read-only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from procession import partition
from procession.capture.readonly import read_only_hint
from procession.capture.shared import share


class Source:
    """Holds arrays, some of which are shared."""

    def __init__(self) -> None:
        self.images, self.labels = share((np.zeros((4, 3)), np.zeros(4)))
        self.tree = {"a": [share(np.arange(3))], "b": np.zeros(3)}
        self.own = np.zeros(3)


def by_attribute(source: Source) -> None:
    source.images[0] = 1


def by_variable(source: Source) -> None:
    row = source.labels[1:]
    row += 1


def by_argument(source: Source) -> None:
    def normalise(x: Any) -> None:
        np.divide(x, 2, out=x)

    normalise(source.tree["a"][0])  # type: ignore[index]


def by_flag(source: Source) -> None:
    source.images.flags.writeable = True


def inside_numpy(source: Source) -> None:
    np.random.default_rng(0).shuffle(source.labels)


def hint(write: Callable[[Any], None], source: Any) -> str | None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what is looked at
        write(source)
    return read_only_hint(caught.value, source)


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (by_attribute, "source.images is"),
        (by_variable, "source.labels is"),
        (by_argument, "source.tree['a'][0] is"),
        (by_flag, "source.images is"),
        (inside_numpy, "source.labels is"),
    ],
)
def test_the_attribute_is_named(write: Callable[[Source], None], named: str) -> None:
    said = hint(write, Source())
    assert said is not None
    assert said.startswith(f"{named} read-only here: the workers share one copy")
    assert "procession.share(array, writable=True)" in said


def test_all_that_it_may_be_where_the_line_tells_nothing() -> None:
    scope: dict[str, Any] = {}
    exec("def write(x):\n    y = vars(x)\n    y[min('images', 'z')][0] = 1", scope)
    said = hint(scope["write"], Source())
    assert said is not None
    assert said.startswith("source.images or source.labels or source.tree['a'][0] is read-only here")


@pytest.mark.parametrize("error", [KeyError("read-only"), ValueError("too many values"), OSError("read-only")])
def test_an_error_of_another_kind_is_left_alone(error: Exception) -> None:
    assert read_only_hint(error, Source()) is None


def test_a_source_without_such_arrays_is_left_alone() -> None:
    error = ValueError("assignment destination is read-only")
    assert read_only_hint(error, [1, 2]) is None
    assert read_only_hint(error, partition(np.arange(4), 2)) is None
