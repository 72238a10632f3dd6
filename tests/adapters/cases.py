"""What is done with a PyDataset given to Keras directly, and with a Loader of it; imports no framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Options = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A source, a model, and what is done with both.

    Stock Keras of the same version is the measure. `expected` says by itself which batches the model has to get: on the
    newest version, since old ones lose a batch here and there, which a Loader cannot give back to them; and on any
    where stock Keras fails.
    """

    source: tuple[str, Options]  # the name of a class in `kit`, and its arguments
    fit: Options = field(default_factory=dict)
    model: str = "ready"
    compiling: Options = field(default_factory=dict)
    validation: tuple[str, Options] | None = None
    validation_stock: bool = False  # hand validation data to Keras without a Loader
    loader: Options = field(default_factory=dict)
    action: str = "fit"  # the name of a function in `differential`
    expected: list[int] | None = None
    measure: tuple[str, Options] | None = None  # what stock Keras gets instead where it fails on the source


def numbered(length: int, form: str = "pair") -> tuple[str, Options]:
    """Return the source that most cases use."""
    return "Numbered", {"length": length, "form": form}


def fit(epochs: int, **options: Any) -> Options:
    """Return the arguments of fit: in the source's order, since stock Keras shuffles by a global generator."""
    return {"epochs": epochs, "shuffle": False, **options}


def epochs(*lengths: int) -> list[int]:
    """Return the numbers of batches, epoch after epoch."""
    return [number for length in lengths for number in range(length)]


UNBUILT = "unbuilt"  # the first batch builds it: Keras looks at one before the epoch begins
ENDLESS: tuple[str, Options] = ("Endless", {})
LONG = numbered(100)  # up to 3.1, Keras wants the length of every PyDataset

FITTING = {
    "plain": Case(numbered(5), fit(3), expected=epochs(5, 5, 5), model=UNBUILT),
    "model called before": Case(numbered(5), fit(2), "called", expected=epochs(5, 5)),
    "model with an input": Case(numbered(5), fit(2), "with an input", expected=epochs(5, 5)),
    "sequential without an input": Case(numbered(5), fit(2), "sequential", expected=epochs(5, 5)),
    "one batch": Case(numbered(1), fit(3), expected=[0, 0, 0], model=UNBUILT),
    "one batch, built": Case(numbered(1), fit(3), expected=[0, 0, 0]),
    "two batches": Case(numbered(2), fit(2), expected=[0, 1, 0, 1], model=UNBUILT),
    "three batches": Case(numbered(3), fit(2), expected=epochs(3, 3), model=UNBUILT),
    "many batches": Case(numbered(30), fit(2), expected=epochs(30, 30)),
    "last batch smaller": Case(numbered(5, "last smaller"), fit(2), expected=epochs(5, 5), model=UNBUILT),
    "eager": Case(numbered(5), fit(2), compiling={"run_eagerly": True}, expected=epochs(5, 5), model=UNBUILT),
    "initial epoch": Case(numbered(3), fit(4, initial_epoch=2), expected=epochs(3, 3)),
    "no epochs": Case(numbered(3), fit(2, initial_epoch=2), expected=[]),
    "fit twice": Case(numbered(4), fit(2), action="fit_twice", expected=epochs(4, 4, 4, 4), model=UNBUILT),
    "stopped, then fit again": Case(numbered(5), fit(2), action="stop_and_fit", model=UNBUILT),
    "callback fails, then fit again": Case(numbered(5), fit(2), action="fail_and_fit", model=UNBUILT),
}

STEPPING = {
    "steps smaller": Case(numbered(5), fit(4, steps_per_epoch=2), model=UNBUILT),
    "steps smaller, a divisor": Case(numbered(6), fit(3, steps_per_epoch=2), expected=epochs(6)),
    "steps smaller, beyond the end": Case(numbered(4), fit(3, steps_per_epoch=2)),
    "steps as many": Case(numbered(3), fit(2, steps_per_epoch=3), expected=epochs(3, 3)),
    "steps larger": Case(numbered(3), fit(2, steps_per_epoch=5), model=UNBUILT),
    "steps smaller, built": Case(numbered(5), fit(4, steps_per_epoch=2)),
    "one step": Case(numbered(3), fit(2, steps_per_epoch=1), expected=[0, 1], model=UNBUILT),
    "two steps at once": Case(numbered(5), fit(2), compiling={"steps_per_execution": 2}, model=UNBUILT),
    "three steps at once": Case(numbered(5), fit(2), compiling={"steps_per_execution": 3}),
    "more steps at once than batches": Case(numbered(2), fit(2), compiling={"steps_per_execution": 3}),
    "two at once, a divisor": Case(numbered(4), fit(2), compiling={"steps_per_execution": 2}, expected=epochs(4, 4)),
    "two at once, fewer steps": Case(
        numbered(7), fit(2, steps_per_epoch=3), compiling={"steps_per_execution": 2}, model=UNBUILT
    ),
    "endless": Case(ENDLESS, fit(3, steps_per_epoch=3), expected=epochs(9), measure=LONG, model=UNBUILT),
    "endless, built": Case(ENDLESS, fit(2, steps_per_epoch=4), expected=epochs(8), measure=LONG),
    "endless, two at once": Case(
        ENDLESS, fit(2, steps_per_epoch=4), compiling={"steps_per_execution": 2}, expected=epochs(8), measure=LONG
    ),
}

WEIGHING = {
    "class weight": Case(numbered(4), fit(2, class_weight={0: 1.0, 1: 3.0}), model=UNBUILT),
    "class weight, targets in a row": Case(numbered(4, "flat y"), fit(2, class_weight={0: 1.0, 1: 3.0})),
    "class weight, one hot": Case(numbered(4, "one hot"), fit(2, class_weight={0: 1.0, 1: 3.0})),
    "class weight, one class": Case(numbered(4), fit(2, class_weight={1: 0.5})),
    "sample weights": Case(numbered(4, "weighted"), fit(2), model=UNBUILT),
    "sample weights in a list": Case(numbered(4, "weighted list"), fit(2)),
    "sample weights None": Case(numbered(4, "unweighted"), fit(2), expected=epochs(4, 4), model=UNBUILT),
}

VALIDATING = {
    "validation": Case(numbered(4), fit(2), validation=numbered(2), model=UNBUILT),
    "validation, eager": Case(numbered(4), fit(2), compiling={"run_eagerly": True}, validation=numbered(2)),
    "validation, built": Case(numbered(4), fit(2), validation=numbered(2)),
    "validation as a PyDataset": Case(numbered(4), fit(2), validation=numbered(2), validation_stock=True),
    "validation every other epoch": Case(numbered(3), fit(4, validation_freq=2), validation=numbered(2)),
    "validation in epochs named": Case(numbered(3), fit(3, validation_freq=[1, 3]), validation=numbered(2)),
    "validation in steps": Case(numbered(3), fit(2, validation_steps=2), validation=numbered(4)),
    "validation, sample weights": Case(numbered(3), fit(2), validation=numbered(2, "weighted")),
    "validation, class weight": Case(numbered(3), fit(2, class_weight={1: 2.0}), validation=numbered(2)),
    "validation, one batch": Case(numbered(1), fit(2), validation=numbered(1), model=UNBUILT),
    "validation, fit twice": Case(numbered(3), fit(2), validation=numbered(2), action="fit_twice"),
}

FORMING = {
    "lists": Case(numbered(4, "list"), fit(2), model=UNBUILT),
    "dict of inputs": Case(numbered(4, "dict in"), fit(2), model=UNBUILT),
    "nested inputs": Case(numbered(4, "nested in"), fit(2), measure=numbered(4, "nested in, tuples"), model=UNBUILT),
    "dict of outputs": Case(numbered(4, "dict out"), fit(2), "two outputs"),
    "padded batch by batch": Case(numbered(6, "padded"), fit(2), expected=epochs(6, 6), model=UNBUILT),
    "float64": Case(numbered(4, "float64"), fit(2), model=UNBUILT),
    "float16": Case(numbered(4, "float16"), fit(2), model=UNBUILT),
    "uint8": Case(numbered(4, "uint8"), fit(2), model=UNBUILT),
    "int64": Case(numbered(4, "int64"), fit(2), model=UNBUILT),
    "int32": Case(numbered(4, "int32"), fit(2), model=UNBUILT),
    "bool": Case(numbered(4, "bool"), fit(2), model=UNBUILT),
}

READING = {
    "evaluate": Case(numbered(4), action="evaluate", expected=epochs(4), model=UNBUILT),
    "evaluate, sample weights": Case(numbered(4, "weighted"), action="evaluate"),
    "evaluate in steps": Case(numbered(4), {"steps": 2}, action="evaluate", expected=[0, 1], model=UNBUILT),
    "evaluate in more steps": Case(numbered(2), {"steps": 3}, action="evaluate"),
    "evaluate twice": Case(numbered(3), action="evaluate_twice", expected=epochs(3, 3)),
    "evaluate, built": Case(numbered(4), action="evaluate", expected=epochs(4)),
    "evaluate, two at once": Case(numbered(5), compiling={"steps_per_execution": 2}, action="evaluate"),
    "evaluate, endless": Case(ENDLESS, {"steps": 3}, action="evaluate", expected=[0, 1, 2], measure=LONG),
    "predict": Case(numbered(4), action="predict", expected=epochs(4), model=UNBUILT),
    "predict, one batch": Case(numbered(1), action="predict", expected=[0]),
    "predict, built": Case(numbered(4), action="predict", expected=epochs(4)),
    "predict, inputs only": Case(numbered(4, "single"), action="predict", expected=epochs(4), model=UNBUILT),
    "predict, arrays": Case(numbered(4, "bare"), action="predict", expected=epochs(4), model=UNBUILT),
    "predict, dicts": Case(numbered(4, "dict"), action="predict", expected=epochs(4), model=UNBUILT),
    "predict, dict of inputs": Case(numbered(4, "dict in"), action="predict", model=UNBUILT),
    "predict, two outputs": Case(numbered(4), {}, "two outputs", action="predict"),
    "predict, last smaller": Case(numbered(5, "last smaller"), action="predict", expected=epochs(5)),
    "predict in steps": Case(numbered(4), {"steps": 3}, action="predict", expected=[0, 1, 2]),
    "predict, two at once": Case(numbered(5), compiling={"steps_per_execution": 2}, action="predict"),
    "predict, eager": Case(numbered(4), compiling={"run_eagerly": True}, action="predict", expected=epochs(4)),
}

EVERYWHERE = {**FITTING, **STEPPING, **WEIGHING, **VALIDATING, **FORMING, **READING}

# What one version of Keras does as the other: variants that only the newest is asked for.
ALIKE = {
    *FORMING.keys() - {"dict of inputs", "padded batch by batch", "float64"},
    *WEIGHING.keys() - {"class weight", "sample weights", "sample weights None"},
    *("two batches", "many batches", "validation in epochs named", "validation, sample weights"),
    *("validation, class weight", "predict, dict of inputs", "predict, two outputs", "predict, arrays"),
}
OF_EACH_VERSION = [name for name in EVERYWHERE if name not in ALIKE]

# Keras on torch refuses several steps in one execution, whatever it is given (test_behaviour sees to that).
NOT_ON_TORCH = {name for name, case in EVERYWHERE.items() if "steps_per_execution" in case.compiling}


# What a Loader is asked for in ways of its own; the rest is the same on every executor.
EVERY_EXECUTOR = (
    "plain",
    "one batch",
    "fit twice",
    "stopped, then fit again",
    "callback fails, then fit again",
    "steps smaller",
    "steps larger",
    "two steps at once",
    "endless",
    "validation",
    "class weight",
    "padded batch by batch",
    "evaluate",
    "predict",
)

ON_TENSORFLOW = {
    "compiled by XLA": Case(numbered(4), fit(2), compiling={"jit_compile": True}, expected=epochs(4, 4), model=UNBUILT),
    "strings": Case(numbered(4, "text"), fit(2), expected=epochs(4, 4), model=UNBUILT),
}

# Keras on torch takes no scipy matrices.
ON_TENSORFLOW_AND_JAX = {
    "sparse": Case(numbered(4, "sparse"), fit(2), measure=numbered(4, "half zero"), model=UNBUILT),
    "predict, sparse": Case(numbered(4, "sparse"), action="predict", measure=numbered(4, "half zero"), model=UNBUILT),
}

CASES = {**EVERYWHERE, **ON_TENSORFLOW, **ON_TENSORFLOW_AND_JAX}
