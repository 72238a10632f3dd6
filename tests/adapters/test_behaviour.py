"""What a Loader does in fit, evaluate and predict where stock Keras is no measure."""

from __future__ import annotations

from typing import Any

import pytest

from tests.adapters.conftest import NEWEST, OLDEST, Lab
from tests.conftest import EXECUTORS, ExecutorName

# --- hooks of the source ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["in place", "rebinding"])
@pytest.mark.parametrize("at", ["begin", "end", "begin end"])
@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_hooks_are_called_once_an_epoch_and_seen_by_the_workers(
    lab: Lab, at: str, how: str, executor: ExecutorName
) -> None:
    check_hooks(lab, executor=executor, at=at, how=how)


HOOKED: dict[str, dict[str, Any]] = {
    "model built": {"model": "ready"},
    "one batch": {"length": 1},
    "one batch, model built": {"length": 1, "model": "ready"},
    "two batches": {"length": 2},
    "a large array, in place": {"rows": 20_000},
    "a large array, rebinding": {"rows": 20_000, "how": "rebinding"},
}

# With these, an epoch of Keras does not end where the source does.
STEPPED: dict[str, dict[str, Any]] = {
    "steps smaller": {"model": "ready", "steps": 2, "epochs": 4},
    "steps larger": {"model": "ready", "steps": 7},
    "endless": {"model": "ready", "steps": 4, "endless": True},
}
# Up to some version Keras on JAX reads two batches ahead by itself, over the end of an epoch.
STRICT = [*NEWEST, "tensorflow-oldest", "torch-oldest"]


@pytest.mark.parametrize("name", HOOKED)
def test_hooks_in_every_kind_of_epoch(lab: Lab, name: str) -> None:
    check_hooks(lab, executor="processes", **HOOKED[name])


@pytest.mark.parametrize("name", STEPPED)
@pytest.mark.parametrize("lab", STRICT, indirect=True)
def test_hooks_where_fit_counts_steps(lab: Lab, name: str) -> None:
    check_hooks(lab, executor="processes", **STEPPED[name])


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("lab", ["tensorflow", "jax", "tensorflow-oldest"], indirect=True)
def test_hooks_with_several_steps_at_once(lab: Lab, steps: int | None) -> None:
    """Torch takes one step at a time in Keras."""
    check_hooks(lab, executor="processes", model="ready", at_once=2, length=6, steps=steps)


@pytest.mark.parametrize("lab", NEWEST, indirect=True)
@pytest.mark.parametrize("steps", [None, 2])
def test_hooks_where_the_first_batch_builds_the_model(lab: Lab, steps: int | None, executor: ExecutorName) -> None:
    check_hooks(lab, executor=executor, steps=steps, epochs=4)


def check_hooks(lab: Lab, **arguments: Any) -> None:
    report = lab.ask("behaviour.changing", **arguments)
    assert report["calls"] == report["expected calls"]
    assert report["trace"] == report["expected trace"]


def test_hooks_of_validation_data(lab: Lab) -> None:
    report = lab.ask("behaviour.changing_validation", executor="processes")
    assert report == {"training": ["begin", "end"] * 4, "validation": ["begin", "end"] * 4}


def test_hooks_after_an_epoch_was_stopped(lab: Lab, executor: ExecutorName) -> None:
    report = lab.ask("behaviour.stopped", executor=executor)
    epochs = [number // 100 for number in report["trace"]]
    assert epochs == [1] * 5 + [2] * 3 + [3] * 5 + [4] * 5
    assert report["begun"] == 4


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_shuffle_depends_on_the_seed_alone(lab: Lab) -> None:
    """As fit asks by default: each batch once an epoch, in an order of its own, whoever makes them."""
    orders = [
        lab.ask("behaviour.shuffled", executor=executor, workers=workers)
        for executor, workers in (("serial", 0), ("threads", 3), ("processes", 1), ("processes", 3))
    ]
    assert all(order == orders[0] for order in orders)
    first = orders[0]["fit"]
    assert [sorted(epoch) for epoch in first] == [list(range(6))] * 3
    assert len({tuple(epoch) for epoch in first}) == 3
    assert lab.ask("behaviour.shuffled", executor="serial", seed=2)["fit"] != first


@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_each_batch_comes_once_where_they_come_out_of_order(lab: Lab) -> None:
    assert lab.ask("behaviour.unordered")["epochs"] == [list(range(20))] * 3


def test_only_fit_shuffles(lab: Lab) -> None:
    report = lab.ask("behaviour.shuffled", executor="processes")
    assert [sorted(epoch) for epoch in report["fit"]] == [list(range(6))] * 3
    assert report["fit"][0] != list(range(6))
    assert report["evaluate"] == report["predict"] == list(range(6))


@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_set_random_seed_fixes_the_order(lab: Lab) -> None:
    first, again = (lab.ask("behaviour.shuffled", executor="serial", seed=None) for _ in range(2))
    assert first == again


def test_what_the_loader_is_told_wins_over_fit(lab: Lab) -> None:
    in_order = [list(range(6))] * 3
    assert lab.ask("behaviour.shuffled", executor="processes", told=False, shuffle=True)["fit"] == in_order
    assert lab.ask("behaviour.shuffled", executor="processes", told=True, shuffle=False)["fit"] != in_order


# --- samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop", [False, True], ids=["all", "whole batches"])
@pytest.mark.parametrize("kind", ["samples", "arrays"])
@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_samples_are_collated_as_fit_batches_arrays(lab: Lab, kind: str, drop: bool) -> None:
    report = lab.ask("behaviour.collated", executor="processes", kind=kind, drop=drop)
    assert report["got"] == report["expected"]


# --- errors -----------------------------------------------------------------------------------------------------------

FAILURES: dict[str, dict[str, Any]] = {
    "first batch": {"call": "fit", "index": 0, "epoch": 0},
    "second batch": {"call": "fit", "index": 1, "epoch": 0},
    "in the middle": {"call": "fit", "index": 4, "epoch": 0},
    "in the middle, model built": {"call": "fit", "index": 4, "epoch": 0, "model": "ready"},
    "last batch": {"call": "fit", "index": 6, "epoch": 0},
    "second epoch, first batch": {"call": "fit", "index": 0, "epoch": 1},
    "second epoch": {"call": "fit", "index": 4, "epoch": 1},
    "second epoch, last batch": {"call": "fit", "index": 6, "epoch": 1},
    "eager": {"call": "fit", "index": 4, "epoch": 1, "eager": True},
    "evaluate": {"call": "evaluate", "index": 4, "epoch": 0},
    "predict": {"call": "predict", "index": 4, "epoch": 0},
    "predict, last batch": {"call": "predict", "index": 6, "epoch": 0},
}


@pytest.mark.parametrize("name", FAILURES)
def test_an_exception_of_the_source_comes_out_as_itself(lab: Lab, name: str) -> None:
    check_failure(lab, "processes", name)


@pytest.mark.parametrize("name", ["in the middle", "second epoch", "predict"])
@pytest.mark.parametrize("other", [executor for executor in EXECUTORS if executor != "processes"])
@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_an_exception_comes_out_of_every_executor(lab: Lab, other: ExecutorName, name: str) -> None:
    check_failure(lab, other, name)


def check_failure(lab: Lab, executor: ExecutorName, name: str) -> None:
    failure = FAILURES[name]
    report = lab.ask("behaviour.failing", executor=executor, **failure)
    assert report["type"] == "SourceError", report
    assert report["same"]
    assert report["args"] == ["cannot read a.png", failure["index"]]
    assert "while reading the list of files" in report["notes"]
    assert report["warnings"] == []  # the data has not run out
    assert "raise error" in report["shown"]  # the line of the source
    assert report["again"] == list(range(7))


@pytest.mark.parametrize("lab", ["torch", "torch-oldest"], indirect=True)
def test_what_keras_refuses_comes_out_as_keras_says_it(lab: Lab) -> None:
    report = lab.ask("behaviour.several_steps_at_once")
    assert report["type"] == "ValueError"
    assert "steps_per_execution" in report["message"]


@pytest.mark.parametrize("bad", [[0], [1], [3], [6], [0, 1, 3, 6], [1, 2, 3, 4, 5, 6]], ids=str)
@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_what_is_skipped_is_all_that_is_missing(lab: Lab, bad: list[int]) -> None:
    report = lab.ask("behaviour.skipping", bad=bad, length=7)
    good = [i for i in range(7) if i not in bad]
    assert report["trace"] == good * 4
    assert report["rows"] == 4 * len(good)
    assert report["skips"] == 4 * len(bad)
    assert len(report["told"]) == 4  # once an epoch, the last included
    assert all(f"{len(bad)} item" in text and "whole batch" in text for text in report["told"])
    assert report["others"] == []


# TensorFlow's adapter looks at the first two batches, the middle one and the last before it begins: with 8 batches at
# batch 4 too, which is odd here; with 7 it meets that one in its turn.
LENGTHS = pytest.mark.parametrize("length", [7, 8])


@LENGTHS
@pytest.mark.parametrize(
    ("oddity", "named"),
    [("None", "source[4]"), ("four parts", "batch 4 of epoch 0"), ("text", "batch 4 of epoch 0")],
    ids=["None", "four parts", "text"],
)
def test_what_is_no_batch(lab: Lab, oddity: str, named: str, length: int) -> None:
    report = lab.ask("behaviour.odd", executor="processes", oddity=oddity, length=length)
    assert report["type"] == "BatchError", report
    assert named in report["message"]
    assert report["warnings"] == []


STRUCTURES = {
    "structure": ("structure", "'a'"),
    "fewer": ("structure",),
    "rank": ("[0]", "(4,)"),
    "dtype": ("[0]", "float64", "float32", "astype"),
}
SHAPES = {
    "width": ("[0]", "(4, 3)", "(any, 4)"),
    "rank": ("[0]", "(4,)", "(any, 4)"),
}


@LENGTHS
@pytest.mark.parametrize("oddity", STRUCTURES)
@pytest.mark.parametrize("lab", ["tensorflow", "tensorflow-oldest"], indirect=True)
def test_a_form_that_changes_under_tensorflow(lab: Lab, oddity: str, length: int) -> None:
    """One line tells which batch, where in it, what it is and what the others are."""
    check_form(lab, oddity, length, STRUCTURES[oddity])


@pytest.mark.parametrize("oddity", SHAPES)
@pytest.mark.parametrize("lab", ["tensorflow", "tensorflow-oldest"], indirect=True)
def test_a_shape_that_changes_under_tensorflow(lab: Lab, oddity: str) -> None:
    check_form(lab, oddity, 7, SHAPES[oddity])


def check_form(lab: Lab, oddity: str, length: int, told: tuple[str, ...]) -> None:
    report = lab.ask("behaviour.odd", executor="processes", oddity=oddity, length=length)
    assert report["type"] == "BatchError", report
    assert "batch 4 of epoch 0" in report["message"]
    assert [part for part in told if part not in report["message"]] == []
    assert report["warnings"] == []


@pytest.mark.parametrize("lab", ["tensorflow", "tensorflow-oldest"], indirect=True)
def test_a_size_seen_to_change_is_left_open_under_tensorflow(lab: Lab) -> None:
    assert lab.ask("behaviour.odd", executor="processes", oddity="width", length=8)["type"] == "nothing"


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict"])
def test_a_worker_that_is_killed(lab: Lab, call: str) -> None:
    report = lab.ask("behaviour.killed", call=call)
    assert report["type"] == "WorkerDiedError", report
    assert "SIGKILL" in report["message"]
    assert "4" in report["message"]
    assert report["warnings"] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"y": [1.0]}, "`y`"),
        ({"sample_weight": [1.0]}, "`sample_weight`"),
        ({"class_weight": None}, "class_weight"),
    ],
    ids=["y", "sample_weight", "class_weight beside sample weights"],
)
def test_arguments_that_do_not_go_with_a_loader(lab: Lab, arguments: Any, told: str) -> None:
    report = lab.ask("behaviour.misused", **arguments)
    assert "ValueError" in report["kinds"], report
    assert told in report["message"]
    assert report["warnings"] == []


# --- what the hook leaves alone ---------------------------------------------------------------------------------------


def test_keras_takes_everything_else_as_before(lab: Lab) -> None:
    report = lab.ask("behaviour.others")
    assert report["epochs"] == dict.fromkeys(("arrays", "PyDataset", "generator", "framework"), 2)
    assert report["type"] == "ValueError"
    assert "Unrecognized data type" in report["message"]


def test_the_hook_is_set_once(lab: Lab) -> None:
    assert lab.ask("behaviour.set_once") == {
        "same": True,
        "name": "get_data_adapter",
        "wraps": "keras.src.trainers.data_adapters",
        "wraps a hook": False,
    }


@pytest.mark.parametrize("lab", OLDEST, indirect=True)
def test_the_oldest_keras_is_the_oldest(lab: Lab) -> None:
    """Otherwise all tests of it say nothing."""
    assert lab.ask("kit.warm_up") == {"jax": "3.10.0"}.get(lab.backend, "3.1.0")


@pytest.mark.parametrize("lab", ["tensorflow", "jax", "torch", "jax-oldest"], indirect=True)  # from Keras 3.5 on
def test_what_a_callback_sets_before_an_epoch_is_for_that_epoch(lab: Lab, executor: ExecutorName) -> None:
    report = lab.ask("behaviour.set_by_a_callback", executor=executor)
    expected = [10 * epoch + 10 + i for epoch in range(3) for i in range(4)]
    assert report["traces"] == [expected, expected]
