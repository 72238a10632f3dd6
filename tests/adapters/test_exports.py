"""`to_tf`, `to_torch` and `to_jax`: the same values, on the same memory."""

from __future__ import annotations

import pytest

from tests.adapters.conftest import Lab
from tests.conftest import ExecutorName

FORMS = ["pair", "weighted", "unweighted", "single", "bare", "dict", "dict in", "last smaller", "float16", "bool"]

on_tensorflow = pytest.mark.parametrize("lab", ["tensorflow"], indirect=True)
on_torch = pytest.mark.parametrize("lab", ["torch"], indirect=True)
on_jax = pytest.mark.parametrize("lab", ["jax"], indirect=True)


def tensor(size: int | None, dtype: str = "float32") -> str:
    """Return a spec whose first axis is open."""
    return f"TensorSpec(shape=(None, {size}), dtype=tf.{dtype}, name=None)"


SHARED = [[True, True]] * 5


# --- tf.data ----------------------------------------------------------------------------------------------------------


@on_tensorflow
@pytest.mark.parametrize("form", [*FORMS, "padded", "text", "sparse", "list", "nested in"])
def test_tf_gives_the_values(lab: Lab, form: str) -> None:
    report = lab.ask("exports.tf_values", executor="processes", form=form)
    assert report["passes"] == [report["expected"]] * 2
    assert report["cardinality"] == 5


@on_tensorflow
def test_tf_on_every_executor(lab: Lab, executor: ExecutorName) -> None:
    report = lab.ask("exports.tf_values", executor=executor, form="pair")
    assert report["passes"] == [report["expected"]] * 2


@on_tensorflow
@pytest.mark.parametrize(
    ("form", "spec"),
    [
        ("pair", [tensor(4), tensor(1)]),
        ("uint8", [tensor(4, "uint8"), tensor(1, "uint8")]),
        ("dict", {"a": tensor(4), "b": tensor(4)}),
        ("padded", [tensor(None), tensor(1)]),
        ("text", [tensor(4, "string"), tensor(1)]),
        ("bare", tensor(4)),
        ("sparse", ["SparseTensorSpec(TensorShape([None, 4]), tf.float32)", tensor(1)]),
    ],
)
def test_tf_has_the_spec_of_the_batches(lab: Lab, form: str, spec: str) -> None:
    assert lab.ask("exports.tf_values", executor="processes", form=form)["spec"] == spec


@on_tensorflow
def test_tf_passes_are_epochs(lab: Lab) -> None:
    report = lab.ask("exports.tf_epochs")
    assert report["passes"] == [[1] * 4, [2] * 2, [3] * 4]
    assert report["calls"].count("begin") == 3


@on_tensorflow
def test_tf_takes_the_memory_as_it_is(lab: Lab) -> None:
    assert lab.ask("exports.tf_memory")["shared"] == SHARED


@on_tensorflow
@pytest.mark.parametrize("index", [0, 4, 6])
def test_tf_does_not_end_silently(lab: Lab, index: int, executor: ExecutorName) -> None:
    """An exception of the source raises, though as one of TensorFlow's; where it is looked at first, as itself."""
    report = lab.ask("exports.tf_failure", executor=executor, index=index)
    before = list(range(4)) if index == 4 else [*range(7), *range(index)]
    assert report["got"] == before[: len(report["got"])]
    assert "cannot read a.png" in report["message"]


@on_tensorflow
def test_fit_on_the_dataset(lab: Lab, executor: ExecutorName) -> None:
    report = lab.ask("exports.tf_fit", executor=executor)
    assert report["got"] == report["expected"]


# --- torch ------------------------------------------------------------------------------------------------------------


@on_torch
@pytest.mark.parametrize("form", [*FORMS, "padded", "list", "nested in"])
def test_torch_gives_the_values(lab: Lab, form: str) -> None:
    report = lab.ask("exports.torch_values", executor="processes", form=form)
    assert report["kind"]
    assert report["tensors"]
    assert report["lengths"] == [5, 5]
    assert report["passes"] == [report["expected"]] * 2


@on_torch
def test_torch_on_every_executor(lab: Lab, executor: ExecutorName) -> None:
    report = lab.ask("exports.torch_values", executor=executor, form="pair")
    assert report["passes"] == [report["expected"]] * 2


@on_torch
def test_torch_leaves_strings_as_they_are(lab: Lab) -> None:
    report = lab.ask("exports.torch_values", executor="processes", form="text")
    assert not report["tensors"]
    assert report["passes"][1] == report["expected"]


@on_torch
def test_torch_takes_the_memory_as_it_is(lab: Lab) -> None:
    assert lab.ask("exports.torch_memory")["shared"] == SHARED


@on_torch
def test_torch_raises_what_the_source_raises(lab: Lab) -> None:
    assert lab.ask("exports.torch_failure") == {"got": [0, 1, 2, 3], "args": ["cannot read a.png", 4]}


@on_torch
def test_torch_knows_no_length_of_an_endless_source(lab: Lab) -> None:
    assert "endless" in lab.ask("exports.torch_endless")


# --- JAX --------------------------------------------------------------------------------------------------------------


@on_jax
@pytest.mark.parametrize("form", [*FORMS, "padded", "list", "nested in"])
def test_jax_gives_the_values(lab: Lab, form: str) -> None:
    report = lab.ask("exports.jax_values", executor="processes", form=form)
    assert report["arrays"]
    assert report["passes"] == [report["expected"]] * 2


@on_jax
def test_jax_on_every_executor(lab: Lab, executor: ExecutorName) -> None:
    report = lab.ask("exports.jax_values", executor=executor, form="pair")
    assert report["passes"] == [report["expected"]] * 2


@on_jax
def test_jax_leaves_strings_as_they_are(lab: Lab) -> None:
    report = lab.ask("exports.jax_values", executor="processes", form="text")
    assert not report["arrays"]
    assert report["passes"][0] == report["expected"]


@on_jax
def test_jax_takes_the_memory_as_it_is(lab: Lab) -> None:
    report = lab.ask("exports.jax_memory")
    assert report["shared"] == SHARED
    assert report["pointers"]


@on_jax
def test_jax_arrays_do_not_change_while_they_are_held(lab: Lab) -> None:
    report = lab.ask("exports.jax_kept")
    assert report["got"] == report["expected"]
