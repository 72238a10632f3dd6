"""The form of items: whether it is one, and what of it costs more than it need."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from procession.doctor.check import Chart
from procession.doctor.code.assigned import attributes, last_return, where
from procession.doctor.findings import Code, Finding, Place
from procession.doctor.seen.batch import Form, Leaf

if TYPE_CHECKING:
    from procession.doctor.checks.batches import Wide

MUCH, SOME, LITTLE = 1_000_000, 64_000, 1_000  # bytes of a batch
TENSOR_HOMES = ("tensorflow", "torch", "jax", "jaxlib")

DIFFERS = Code(
    "PRC303",
    "Batches differ in structure, dtype or rank",
    "error",
    why="Keras takes the form of the first batches for that of all: another structure or rank ends `fit` in the middle "
    "of an epoch, another dtype is cast or compiled anew. With `batch_size`, samples that differ do not stack.",
    fix="""\
def __getitem__(self, i):
    ...
    return image.astype(np.float32), np.int64(label)     # on every path the same parts, dtypes and ranks""",
    how="Some items are made, each in a process of its own, and their forms compared.",
)
WIDE = Code(
    "PRC304",
    "A batch has float64 where float32 would do",
    "warning",
    why="Keras computes in float32 (`keras.config.floatx()`): float64 takes twice the memory and the time to copy, and "
    "is cast in the training process, batch by batch.",
    fix="""\
x = images / np.float32(255)             # not / 255.0 of an integer array, which makes float64
x = images.astype(np.float32)            # or dtype=np.float32 where it is made""",
    how="Some items are made; their values are compared with what float32 holds.",
)
LAST = Code(
    "PRC305",
    "The last batch is smaller",
    "note",
    why="With `jit_compile=True`, JAX, or a `tf.function`, another shape is compiled anew, once. Means over batches "
    "weigh its samples more.",
    fix="""\
loader = procession.Loader(source, batch_size=32, drop_remainder=True)    # samples
def __len__(self):
    return len(self.files) // self.batch_size      # batches: leaves the rest out; shuffled, another one each epoch""",
    how="The first axis of the last batch is compared with that of the others.",
)
PICKLED = Code(
    "PRC306",
    "Parts of a batch have to be pickled",
    "note",
    why="Arrays are written to shared memory as they are. Lists of strings, arrays of objects and objects of classes "
    "are pickled in the worker and unpickled, one by one, in the training process, which waits for that.",
    fix="""\
np.asarray(names, dtype="S64")           # texts of bounded length: an array of bytes; or numbers that stand for them
np.asarray(rows, dtype=np.float32)       # not dtype=object: pad rows of different length
dataclasses.astuple(sample)              # not objects: tuples and dicts of arrays""",
    how="Some items are made ready as for training, and what is pickled is measured.",
)
TENSORS = Code(
    "PRC307",
    "Batches hold tensors of a framework",
    "note",
    why="They are delivered as numpy arrays, which costs nothing on the CPU; but each worker then needs the framework: "
    "its memory, and its import if the source's module does not import it.",
    fix="return batch.numpy()        # or make it with numpy, and let the worker do without the framework",
    how="Some items are made, and their types looked at.",
)


def judge(chart: Chart, made: dict[int, Form]) -> Iterator[Finding]:
    """How the items that were made differ, and what they hold."""
    if made:
        yield from _differences(chart, made)
        yield from _last(chart, made)
        yield from _tensors(chart, made)


# --- differences ---


def _differences(chart: Chart, made: dict[int, Form]) -> Iterator[Finding]:
    structure, others = _usual({index: form.structure for index, form in made.items()})
    if others:
        yield DIFFERS.found(
            f"most items are {_cut(structure)}; "
            + "; ".join(f"{_list(i)} {_are(i)} {_cut(s)}" for s, i in others.items()),
            *filter(None, [last_return(chart)]),
        )
    alike = {index: form for index, form in made.items() if form.structure == structure}
    for column in range(len(next(iter(alike.values())).leaves)):
        leaves = {index: form.leaves[column] for index, form in alike.items()}
        yield from _leaf_differences(chart, leaves)


def _leaf_differences(chart: Chart, leaves: dict[int, Leaf]) -> Iterator[Finding]:
    path = next(iter(leaves.values())).path
    stacks = chart.batch_size is not None and all(leaf.dtype for leaf in leaves.values())
    shapes = {index: str(leaf.shape if stacks else _rank(leaf)) for index, leaf in leaves.items()}
    usual, others = _usual(shapes)
    if others:
        what = "shape" if stacks else "rank"
        shown = "; ".join(f"{_list(i)} {_has(i)} {what} {s} ({leaves[i[0]].shape})" for s, i in others.items())
        yield DIFFERS.found(
            f"{of(path)} has {what} {usual} in most items; {shown}",
            *_returns(chart),
            fix=_STACK if stacks else DIFFERS.fix,
        )
    usual, others = _usual({index: leaf.dtype or leaf.kind for index, leaf in leaves.items()})
    if others:
        shown = "; ".join(f"{_list(i)} {_has(i)} {dtype}" for dtype, i in others.items())
        mixed = any(not leaf.dtype for leaf in leaves.values()) and any(leaf.dtype for leaf in leaves.values())
        yield DIFFERS.found(
            f"{of(path)} is {usual} in most items; {shown}",
            *_returns(chart),
            severity="error" if mixed and not chart.batch_size else "warning",
        )


_STACK = """\
def __getitem__(self, i):
    image = load(self.files[i])
    return image[:224, :224]              # crop, resize or pad: samples of one batch have one shape
# or make whole batches in __getitem__, and leave batch_size out"""


def _rank(leaf: Leaf) -> str:
    return str(len(leaf.shape)) if leaf.dtype else "-"


def _usual(values: dict[int, str]) -> tuple[str, dict[str, list[int]]]:
    """What most items have, and which have something else."""
    usual = Counter(values.values()).most_common(1)[0][0]
    others: dict[str, list[int]] = {}
    for index, value in sorted(values.items()):
        if value != usual:
            others.setdefault(value, []).append(index)
    return usual, others


def _list(indices: Sequence[int]) -> str:
    shown = ", ".join(f"source[{index}]" for index in indices[:6])
    return f"{shown} and {len(indices) - 6} more" if len(indices) > 6 else shown


def _are(indices: Sequence[int]) -> str:
    return "is" if len(indices) == 1 else "are"


def _has(indices: Sequence[int]) -> str:
    return "has" if len(indices) == 1 else "have"


def of(path: str) -> str:
    return "the item" if path == "batch" else f"item{path}"


def _cut(text: str) -> str:
    return text if len(text) < 200 else f"{text[:200]}…"


def _returns(chart: Chart) -> list[Place]:
    return list(filter(None, [last_return(chart)]))


# --- the last batch ---


def _last(chart: Chart, made: dict[int, Form]) -> Iterator[Finding]:
    if chart.length is None:
        return
    if chart.batch_size is not None:
        rest = chart.length % chart.batch_size
        if rest and chart.length > chart.batch_size:
            yield LAST.found(
                f"{chart.length:,} samples in batches of {chart.batch_size}: the last one has {rest}",
                fix=f"loader = procession.Loader(source, batch_size={chart.batch_size}, drop_remainder=True)",
            )
        return
    rows = {index: form.leaves[0].shape[0] for index, form in made.items() if form.leaves and form.leaves[0].shape}
    last = rows.pop(chart.length - 1, None)
    if last is not None and len(set(rows.values())) == 1 and 0 <= last < next(iter(rows.values())):
        place = last_return(chart, "__len__")
        usual = next(iter(rows.values()))
        yield LAST.found(f"source[{chart.length - 1}] has {last} rows, those before it {usual}", *filter(None, [place]))


# --- what costs ---


def wide(chart: Chart, made: dict[int, Form], seen: Sequence[Wide]) -> Iterator[Finding]:
    """Leaves of float64 that fit float32, where they are many bytes of a batch."""
    count = chart.batch_size or 1
    sizes: dict[str, int] = {}
    for each in seen:
        sizes[each.path] = max(sizes.get(each.path, 0), each.nbytes * count)
    whole = max((form.nbytes for form in made.values()), default=0) * count
    total = sum(sizes.values())
    if total > MUCH or (total > LITTLE and total > whole / 2):
        paths = ", ".join(of(path) for path in sorted(sizes, key=lambda path: -sizes[path])[:4])
        yield WIDE.found(
            f"{paths}: {total:,} of the {whole:,} bytes of a batch are float64; float32 would save {total // 2:,}",
            *_sources_of_float64(chart),
            severity="warning" if total > SOME else "note",
        )


def _sources_of_float64(chart: Chart) -> list[Place]:
    """Lines that are likely to make it, attributes that are it; else the line that returns it."""
    held = [name for name, value in attributes(chart.source).items() if _is_wide(value)]
    lines = [reading.place(node) for reading in chart.item_code for node in ast.walk(reading.node) if _widens(node)]
    return [*lines[:2], *(where(chart, f"source.{name}") for name in held[:2])] or _returns(chart)


def _is_wide(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float64 and value.nbytes > SOME


def _widens(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(op=ast.Div(), right=right):
            return "float32" not in ast.unparse(right)
        case ast.Call(func=ast.Attribute(attr="astype"), args=[kind, *_]):
            return ast.unparse(kind).strip("'\"") in ("float", "float64", "np.float64", "numpy.float64", "double")
        case ast.Call(func=ast.Attribute(attr="zeros" | "ones" | "empty" | "linspace" | "random" | "rand" | "normal")):
            return len(node.args) < 2 and not any(word.arg == "dtype" for word in node.keywords)
        case _:
            return False


def _tensors(chart: Chart, made: dict[int, Form]) -> Iterator[Finding]:
    form = next(iter(made.values()))
    found = [leaf for leaf in form.leaves if leaf.kind.split(".")[0] in TENSOR_HOMES]
    if found:
        shown = ", ".join(f"{of(leaf.path)} is {_plain(leaf.kind)} of {leaf.dtype}" for leaf in found[:4])
        yield TENSORS.found(shown, *_returns(chart))


def _plain(kind: str) -> str:
    parts = kind.split(".")
    return f"{parts[0]}.{parts[-1]}"


def none_returned(chart: Chart) -> Place | None:
    """Where `__getitem__` returns None: a `return` that says so, else where it begins."""
    reading = next(
        (each for each in chart.item_code if each.path == "source" and each.name.endswith("__getitem__")), None
    )
    if reading is None:
        return None
    for node in ast.walk(reading.node):
        if isinstance(node, ast.Return) and (node.value is None or _says_none(node.value)):
            return reading.place(node)
    return reading.place()


def _says_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
