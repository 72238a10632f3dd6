"""Sources and models for the tests of the adapters; imported where a backend of Keras is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
import scipy.sparse
from keras import ops

import procession

SIZE = 64  # batches that a model can witness
EPOCH = 100  # what a source adds to the numbers of its batches for each epoch begun


def warm_up() -> str:
    """Start the template, and import there what the sources need."""
    with procession.Loader(Numbered(2), workers=1) as loader:
        assert len(list(loader)) == 2
    return str(keras.__version__)


# --- sources: batch i tells that it is batch i ------------------------------------------------------------------------


def arrays(number: int, rows: int = 4, width: int = 4) -> tuple[Any, Any, Any]:
    """Inputs whose first column is `number`, targets 0 or 1, weights."""
    random = np.random.default_rng(number)
    x = random.normal(size=(rows, width)).astype("float32")
    x[:, 0] = number
    y = random.integers(0, 2, size=(rows, 1)).astype("float32")
    return x, y, random.uniform(0.5, 2.0, size=rows).astype("float32")


def of_type(dtype: str) -> Callable[[int], Any]:
    """Batches with inputs and targets of another type."""

    def form(number: int) -> Any:
        x, y, _ = arrays(number)
        return np.abs(x * np.array([1, 2, 2, 2])).astype(dtype), y.astype(dtype)

    return form


def text(number: int) -> Any:
    """Inputs as strings."""
    x, y, _ = arrays(number)
    return np.array([[f"{value:.3f}" for value in row] for row in x]), y


def sparse(number: int) -> Any:
    """Inputs as a scipy matrix."""
    x, y = half_zero(number)
    return scipy.sparse.csr_matrix(x), y


def half_zero(number: int) -> Any:
    """The same inputs as an array."""
    x, y, _ = arrays(number)
    return np.where(x > 0, x, 0), y


FORMS: dict[str, Callable[[int], Any]] = {
    "pair": lambda number: arrays(number)[:2],
    "list": lambda number: list(arrays(number)[:2]),
    "weighted": arrays,
    "weighted list": lambda number: list(arrays(number)),
    "unweighted": lambda number: (*arrays(number)[:2], None),
    "single": lambda number: (arrays(number)[0],),
    "bare": lambda number: arrays(number)[0],
    "dict in": lambda number: ({"a": arrays(number)[0], "b": arrays(number + 50)[0]}, arrays(number)[1]),
    "nested in": lambda number: ((arrays(number)[0], [arrays(number + 50)[0]]), arrays(number)[1]),
    "nested in, tuples": lambda number: ((arrays(number)[0], (arrays(number + 50)[0],)), arrays(number)[1]),
    "dict out": lambda number: (arrays(number)[0], {"a": arrays(number)[1], "b": arrays(number + 50)[1]}),
    "dict": lambda number: {"a": arrays(number)[0], "b": arrays(number + 50)[0]},
    "flat y": lambda number: (arrays(number)[0], arrays(number)[1][:, 0]),
    "one hot": lambda number: (arrays(number)[0], np.eye(2, dtype="float32")[arrays(number)[1][:, 0].astype(int)]),
    "last smaller": lambda number: arrays(number, rows=2 if number == 4 else 4)[:2],
    "padded": lambda number: arrays(number, width=3 + (2 * number) % 5)[:2],
    "text": text,
    "sparse": sparse,
    "half zero": half_zero,
    **{dtype: of_type(dtype) for dtype in ("float64", "float16", "uint8", "int64", "int32", "bool")},
}


class Numbered(keras.utils.PyDataset):
    """Batch i has the number i."""

    def __init__(self, length: int, form: str = "pair") -> None:
        super().__init__()
        self.length = length
        self.form = form

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        return FORMS[self.form](self.number(i))

    def number(self, i: int) -> int:
        """Return what batch i tells."""
        return i


class Endless(Numbered):
    """Has no length."""

    def __init__(self) -> None:
        super().__init__(0)

    def __len__(self) -> int:
        raise TypeError("an endless source has no length")

    @property
    def num_batches(self) -> None:
        """Return that there is no end."""
        return


class Changing(Numbered):
    """Its hooks change the order: in place or by a new array, at the beginning or at the end of each epoch."""

    def __init__(self, length: int, *, at: str, how: Literal["in place", "rebinding"], rows: int = 0) -> None:
        super().__init__(length)
        self.order = np.arange(max(rows, length))
        self.at, self.how = at, how
        self.calls: list[str] = []

    def number(self, i: int) -> int:
        return int(self.order[i]) + EPOCH * self.calls.count("begin")

    def on_epoch_begin(self) -> None:
        self._change("begin")

    def on_epoch_end(self) -> None:
        self._change("end")

    def _change(self, call: str) -> None:
        self.calls.append(call)
        if call not in self.at:
            return
        random = np.random.default_rng(len(self.calls))
        if self.how == "in place":
            random.shuffle(self.order[: self.length])
        else:
            self.order = np.concatenate([random.permutation(self.length), self.order[self.length :]])


class EndlessChanging(Changing):
    """Has hooks and no length."""

    @property
    def num_batches(self) -> None:
        """Return that there is no end."""
        return

    def number(self, i: int) -> int:
        return i + EPOCH * self.calls.count("begin")


class SourceError(Exception):
    """An exception that pickle alone cannot carry: its arguments are not those of its class."""

    def __init__(self, index: int, *, path: str) -> None:
        super().__init__(f"cannot read {path}", index)


class Failing(Numbered):
    """Raises for one batch of one epoch."""

    def __init__(self, length: int, index: int, epoch: int) -> None:
        super().__init__(length)
        self.index, self.bad_epoch = index, epoch
        self.epoch = -1

    def on_epoch_begin(self) -> None:
        self.epoch += 1

    def __getitem__(self, i: int) -> Any:
        if (i, self.epoch) == (self.index, self.bad_epoch):
            error = SourceError(i, path="a.png")
            error.add_note("while reading the list of files")
            raise error
        return super().__getitem__(i)


class Broken(Numbered):
    """Cannot make some of its batches."""

    def __init__(self, length: int, bad: list[int]) -> None:
        super().__init__(length)
        self.bad = bad

    def __getitem__(self, i: int) -> Any:
        if i in self.bad:
            raise OSError(f"file {i} is broken")
        return super().__getitem__(i)


class Killed(Numbered):
    """Its worker is killed at one batch."""

    def __getitem__(self, i: int) -> Any:
        if i == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


ODD: dict[str, Callable[[Any, Any], Any]] = {
    "dtype": lambda x, y: (x.astype("float64"), y),
    "structure": lambda x, y: ({"a": x}, y),
    "fewer": lambda x, y: (x,),
    "width": lambda x, y: (x[:, :3], y),
    "rank": lambda x, y: (x[:, 0], y),
    "None": lambda x, y: None,
    "four parts": lambda x, y: (x, y, y, y),
    "text": lambda x, y: "batch",
}


class Odd(Numbered):
    """Batch 4 has another form."""

    def __init__(self, length: int, oddity: str) -> None:
        super().__init__(length)
        self.oddity = oddity

    def __getitem__(self, i: int) -> Any:
        x, y, _ = arrays(i)
        return ODD[self.oddity](x, y) if i == 4 else (x, y)


class Samples(keras.utils.PyDataset):
    """Sample i tells that it is sample i: for `Loader(batch_size=…)`."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        x, y, _ = arrays(i, rows=1)
        return x[0], y[0]


# --- models that witness which batches they get -----------------------------------------------------------------------


class Witness(keras.Model):
    """Notes the numbers of the batches it is called on, in order, and learns from the rest of them."""

    def __init__(self, outputs: tuple[str, ...] = ()) -> None:
        super().__init__(autocast=False)
        constant = keras.initializers.Constant(0.25)
        self.trace = self.add_weight(shape=(SIZE,), initializer="zeros", trainable=False, dtype="float32")
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, dtype="float32")
        self.heads = [keras.layers.Dense(1, kernel_initializer=constant) for _ in outputs or ("",)]
        self.outputs_named = outputs
        self.dtypes: set[str] = set()

    def call(self, x: Any) -> Any:
        leaves = [self._dense(leaf) for leaf in keras.tree.flatten(x)]
        self.note(leaves[0][0, 0])
        means = [ops.mean(leaf[:, 1:], axis=1, keepdims=True) for leaf in leaves]
        features = ops.concatenate(means + [ops.reshape(leaf[:, 1:3], (-1, 2)) for leaf in leaves], axis=1)
        made = [head(features) for head in self.heads]
        return dict(zip(self.outputs_named, made, strict=True)) if self.outputs_named else made[0]

    def note(self, number: Any) -> None:
        """Add `number` to the trace."""
        place = ops.one_hot(ops.cast(self.seen, "int32"), SIZE, dtype="float32")
        self.trace.assign(self.trace + place * number)
        # As a function of the batch, so that TensorFlow does not count where there was none.
        self.seen.assign(self.seen + ops.cast(number >= 0.0, "float32"))

    def reset(self) -> None:
        """Forget what has been noted."""
        self.trace.assign(ops.zeros(self.trace.shape))
        self.seen.assign(0.0)

    def _dense(self, leaf: Any) -> Any:
        dtype = str(getattr(leaf.dtype, "name", leaf.dtype))
        self.dtypes.add(dtype.removeprefix("torch."))
        if dtype == "string":
            import tensorflow as tf

            return tf.strings.to_number(leaf)
        return ops.cast(ops.convert_to_tensor(leaf, sparse=False), "float32")


def numbers(model: Any) -> list[int]:
    """Return the numbers of the batches that a model was called on."""
    witness = model if isinstance(model, Witness) else model.layers[-1]
    trace = ops.convert_to_numpy(witness.trace)
    return [int(number) for number in trace[: int(ops.convert_to_numpy(witness.seen))]]


def make_model(kind: str, **compiling: Any) -> Any:
    """Return a compiled model in its first state.

    One that is "ready" is the same each time, since compiling it anew takes longer than anything else here.
    """
    if kind == "ready":
        return _ready(tuple(compiling.items()))
    keras.utils.set_random_seed(1)
    model: Any = Witness(("a", "b") if kind == "two outputs" else ())
    if kind == "with an input":
        model = keras.Sequential([keras.Input((4,)), model])
    elif kind == "sequential":
        model = keras.Sequential([model])
    elif kind == "called":
        model(np.zeros((4, 4), "float32"))
        model.reset()
    metrics: Any = {"a": ["mae"], "b": ["mae"]} if kind == "two outputs" else ["mae"]
    # XLA takes its time on TensorFlow; JAX without it is slow.
    compiling.setdefault("jit_compile", keras.backend.backend() == "jax" and not compiling.get("run_eagerly"))
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", weighted_metrics=metrics, **compiling)
    return model


_READY: dict[Any, Any] = {}


def _ready(compiling: tuple[tuple[str, Any], ...]) -> Any:
    model = _READY.get(compiling)
    if model is None:
        model = _READY[compiling] = make_model("called", **dict(compiling))
        model.kept = model.get_weights()
        model.fit(*arrays(0)[:2], verbose=0)  # its first fit builds metrics, for which old versions use up a batch
    model.set_weights(model.kept)
    return model
