"""`install()`: plain datasets in Keras, on every backend, with the installed and with the oldest Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.adapters.conftest import Lab

MANY: dict[str, Any] = {"use_multiprocessing": True}

# What fit is asked for, what the dataset was made with, what was installed; who then reads.
ASKED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], tuple[str, int] | None]] = {
    "processes": ({"workers": 2, **MANY}, {}, {}, ("processes", 2)),
    "threads": ({"workers": 2}, {}, {}, ("threads", 2)),
    "one process": (MANY, {}, {}, ("processes", 1)),
    "one worker": ({"workers": 1}, {}, {}, None),
    "nothing": ({}, {}, {}, None),
    "the dataset's own": ({}, {"_workers": 2, "_use_multiprocessing": True}, {}, ("processes", 2)),
    "the call counts first": ({"workers": 3}, {"_workers": 2, "_use_multiprocessing": True}, {}, ("processes", 3)),
    "a default": ({}, {}, {"workers": 2}, ("processes", 2)),
    "a default, not asked for": ({"workers": 3}, {}, {"workers": 2}, ("threads", 3)),
    "a firm default": ({"workers": 3}, {}, {"workers": 2, "firm": True}, ("threads", 2)),
    "no workers": ({"workers": 0}, {}, {"workers": 2}, None),
    "an executor": ({"workers": 2}, {}, {"executor": "processes"}, ("processes", 2)),
    "AUTOTUNE": ({"workers": -1, **MANY}, {}, {}, ("processes", 2)),
}


@pytest.mark.parametrize("lab", ["tensorflow"], indirect=True)
@pytest.mark.parametrize("asked", ASKED)
def test_who_asks_for_workers_gets_them(lab: Lab, asked: str, tmp_path: Path) -> None:
    keywords, own, defaults, reader = ASKED[asked]
    report = lab.ask(
        "installed.keywords_of_fit", log=str(tmp_path / "log"), keywords=keywords, own=own, defaults=defaults
    )
    assert report["trace"][-6:] == [0, 1, 2, 3, 4, 5]
    assert report["indices"] == [0, 1, 2, 3, 4, 5]
    if reader is None:
        assert report["here"]
        assert report["read"] == []
    else:
        assert report["read"] == [["Logged", *reader]]
        assert report["elsewhere"] == (reader[0] == "processes")


def test_fit_evaluate_and_predict_are_as_without(lab: Lab, tmp_path: Path) -> None:
    report = lab.ask("installed.everything", log=str(tmp_path / "log"))
    ours, stock = report["ours"], report["stock"]
    for name, values in stock["history"].items():
        assert ours["history"][name] == pytest.approx(values, rel=1e-5)
    assert ours["values"] == pytest.approx(stock["values"], rel=1e-5)
    assert ours["trace"] == stock["trace"]
    assert np.allclose(ours["predicted"], stock["predicted"], rtol=1e-5)
    assert report["read"] == [["Numbered", "processes", 2]] * 4


def test_a_list_of_datasets_is_read_as_partitions(lab: Lab, tmp_path: Path) -> None:
    report = lab.ask("installed.partitions", log=str(tmp_path / "log"))
    assert report["trace"] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert report["read"] == [["3 times Logged", "processes", 2], ["2 times Numbered", "processes", 2]]
    assert report["one process each"] == [1, 1, 1]


def test_a_dataset_in_several_calls_goes_on(lab: Lab) -> None:
    report = lab.ask("installed.calls_in_a_row")
    first, second, other = report["traces"]
    assert first == other  # the same seed and epoch
    assert not set(first) & set(second)  # another epoch
    assert report["calls"] == [2, 1]


@pytest.mark.parametrize("lab", ["tensorflow", "jax-oldest"], indirect=True)
def test_keywords_of_no_use_are_noted_once(lab: Lab) -> None:
    with_keywords, files, without, _ = lab.ask("installed.notes")["told"]
    assert len(with_keywords) == 1
    assert "workers, use_multiprocessing of fit() have no effect on a numpy.ndarray" in with_keywords[0]
    assert files == ["installed.py"]
    assert without == []


def test_uninstall_leaves_loaders_to_work(lab: Lab) -> None:
    report = lab.ask("installed.after_uninstall")
    assert report == {"refused": True, "trace": [0, 1, 2, 3]}


@pytest.mark.parametrize("lab", ["tensorflow", "torch-oldest"], indirect=True)
def test_calls_within_calls_end_by_themselves(lab: Lab) -> None:
    report = lab.ask("installed.calls_within_calls")
    assert report["processes"] == [2] * 4  # those of fit itself
    assert report["read"] == [["Careless", "processes", 2]] * 4 + [["Numbered", "processes", 2]]
