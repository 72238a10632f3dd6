"""How a plain dataset is read: decided from what the script says and what was installed."""

from __future__ import annotations

from typing import Any

import pytest

import procession
from procession.adapters.keras_calls import Asked
from procession.config import usable_cores
from procession.launch import Defaults, Reading, decided, is_dataset
from procession.monitoring.summary import summary

P, T = "processes", "threads"
CASES: list[tuple[Asked, Defaults, int | None, Any]] = [
    # asked, installed, partitions; workers, executor, prefetch
    (Asked(), Defaults(), None, None),
    (Asked(1, False, 10), Defaults(), None, None),
    (Asked(4, True, 10), Defaults(), None, (4, P, "auto")),
    (Asked(4, True, 7), Defaults(), None, (4, P, 7)),
    (Asked(4, True, 0), Defaults(), None, (4, P, 1)),
    (Asked(1, True), Defaults(), None, (1, P, "auto")),
    (Asked(None, True), Defaults(), None, (1, P, "auto")),
    (Asked(4), Defaults(), None, (4, T, "auto")),
    (Asked(4), Defaults(executor="serial"), None, (4, "serial", "auto")),
    (Asked(-1, True), Defaults(), None, ("auto", P, "auto")),
    (Asked(0, True), Defaults(), None, None),
    (Asked(0), Defaults("auto"), None, None),
    (Asked(0), Defaults(3, firm=True), None, (3, P, "auto")),
    (Asked(), Defaults("auto"), None, ("auto", P, "auto")),
    (Asked(), Defaults(3), None, (3, P, "auto")),
    (Asked(8, True), Defaults(3), None, (8, P, "auto")),
    (Asked(8, True), Defaults(3, firm=True), None, (3, P, "auto")),
    (Asked(8), Defaults(3, firm=True), None, (3, T, "auto")),
    (Asked(8, False), Defaults(3, executor="processes"), None, (8, P, "auto")),
    (Asked(1, False), Defaults(), 4, (min(4, usable_cores()), P, "auto")),
    (Asked(3, False), Defaults(), 4, (3, P, "auto")),
    (Asked(8, False), Defaults(), 4, (4, P, "auto")),
    (Asked(), Defaults(2), 4, (2, P, "auto")),
]


@pytest.mark.parametrize(("asked", "defaults", "partitions", "expected"), CASES)
def test_decisions(asked: Asked, defaults: Defaults, partitions: int | None, expected: Any) -> None:
    assert decided(asked, defaults, partitions) == (None if expected is None else Reading(*expected))


def test_install_refuses_what_a_loader_would() -> None:
    with pytest.raises(procession.ConfigError, match="workers must be an int of at least 0"):
        procession.install(workers=-2)
    with pytest.raises(procession.ConfigError, match="executor must be one of"):
        procession.install(executor="fork")  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [[1, 2], (1,), {"a": 1}, "text", None, 3, object()])
def test_other_things_are_no_datasets(data: Any) -> None:
    assert not is_dataset(data)


def test_a_summary_has_a_line_for_each_dataset() -> None:
    with procession.Loader([1, 2], workers=0) as loader:
        list(loader)
        figures = loader.statistics()
    told = summary([(0, "Table", figures), (1, "Table", figures), (0, "Table", figures)]).splitlines()
    assert told[0].startswith("procession: Table: 4 batches (0 MB) in 2 epochs by 1 worker (serial); 0.0 s waited")
    assert told[1].startswith("procession: Table: 2 batches (0 MB) in 1 epoch by 1 worker (serial); 0.0 s waited")
    assert f"seed {figures.seed}; pickled, which is slow: type int" in told[1]
