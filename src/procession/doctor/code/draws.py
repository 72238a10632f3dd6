"""Which lines of the user's code make, seed or ask a source of random numbers: found by reading."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Literal, NamedTuple

from procession.doctor.code.reading import MISSING, Reading
from procession.doctor.findings import Place

Kind = Literal["unseeded", "system", "clock", "hash", "seeded", "drawn"]

BITS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64", "SeedSequence")
MAKERS = {*(("numpy", name) for name in ("default_rng", "RandomState", *BITS)), ("random", "Random")}
SEEDERS = {
    *(("numpy", "seed"), ("random", "seed"), ("torch", "manual_seed"), ("tensorflow", "set_seed")),
    *(("keras", "set_random_seed"), ("tf_keras", "set_random_seed")),
}
SYSTEM = {
    *(("os", "urandom"), ("posix", "urandom"), ("uuid", "uuid1"), ("uuid", "uuid4"), ("random", "SystemRandom")),
    *(("tensorflow", "from_non_deterministic_state"), ("torch", "seed")),
}
CLOCK = {
    *(("time", name) for name in ("time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns")),
    *(("datetime", name) for name in ("now", "utcnow", "today")),
    *(("os", "getpid"), ("posix", "getpid"), ("threading", "get_ident"), ("builtins", "id")),
}
GLOBAL = ("numpy.random.", "random.", "torch.", "tensorflow.random.", "tensorflow.image.random", "keras.random.")


class Draw(NamedTuple):
    """One call."""

    reading: Reading
    call: ast.Call
    kind: Kind
    name: str  # numpy.random.default_rng

    @property
    def place(self) -> Place:
        return self.reading.place(self.call)

    @property
    def line(self) -> str:
        return self.reading.text(self.call)

    @property
    def text(self) -> str:
        return ast.unparse(self.call)


def draws(readings: Sequence[Reading], *kinds: Kind) -> list[Draw]:
    """The calls of some kinds, in the order in which they are read."""
    found = (draw for reading in readings for draw in _draws(reading))
    return [draw for draw in found if draw.kind in kinds]


def seed_of(draw: Draw) -> str:
    """What a call is seeded with, as text, the expressions of its local variables included."""
    local = {
        target.id: ast.unparse(node.value)
        for node in ast.walk(draw.reading.node)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    arguments = [*draw.call.args, *(each.value for each in draw.call.keywords)]
    todo = [name.id for each in arguments for name in ast.walk(each) if isinstance(name, ast.Name)]
    texts, known = [ast.unparse(each) for each in arguments], set()
    while todo:
        name = todo.pop()
        if name in local and name not in known:
            known.add(name)
            texts.append(local[name])
            todo += [each.id for each in ast.walk(ast.parse(local[name])) if isinstance(each, ast.Name)]
    return " ".join(texts)


def _draws(reading: Reading) -> Iterator[Draw]:
    imported = _imported(reading)
    for node in ast.walk(reading.node):
        if isinstance(node, ast.Call):
            name = _full_name(reading, node.func, imported)
            kind = _kind(name, node)
            if kind is not None:
                yield Draw(reading, node, kind, name)


def _kind(name: str, call: ast.Call) -> Kind | None:
    top, _, rest = name.partition(".")
    known = (top, rest.rpartition(".")[2])
    if known in MAKERS | SEEDERS:
        return "unseeded" if _without_seed(call) else "seeded"
    if known in SYSTEM or top == "secrets":
        return "system"
    if known in CLOCK:
        return "clock"
    if known == ("builtins", "hash"):
        return "hash"
    return "drawn" if name.startswith(GLOBAL) else None


def _without_seed(call: ast.Call) -> bool:
    given = [*call.args, *(each.value for each in call.keywords)]
    return all(isinstance(each, ast.Constant) and each.value is None for each in given)


def _full_name(reading: Reading, func: ast.AST, imported: dict[str, str]) -> str:
    """`numpy.random.default_rng`, however it is written; "" if it is none of a module's."""
    names = reading.chain(func)
    if not names:
        return ""
    first, rest = names[0], names[1:]
    if first in imported:
        return ".".join([imported[first], *rest])
    value = reading.value(ast.Name(id=first))
    if isinstance(value, ModuleType):
        return ".".join([value.__name__, *rest])
    if value is MISSING:
        code = reading.function.__code__
        return f"builtins.{first}" if not rest and first not in (*code.co_varnames, *code.co_freevars) else ""
    owner = getattr(value, "__self__", None)  # `from random import shuffle`: a method of the global generator
    if owner is not None and type(owner).__name__ in ("Random", "RandomState"):
        module = "random" if type(owner).__name__ == "Random" else "numpy.random"
        return ".".join([module, getattr(value, "__name__", first), *rest])
    module = getattr(value, "__module__", None) or ""
    top = module.partition(".")[0]
    inner = "numpy.random" if module.startswith("numpy.random") else top
    return ".".join([inner, getattr(value, "__name__", first), *rest]) if inner else ""


def _imported(reading: Reading) -> dict[str, str]:
    """What is imported inside the function."""
    found: dict[str, str] = {}
    for node in ast.walk(reading.node):
        if isinstance(node, ast.Import):
            for each in node.names:
                top = each.name.partition(".")[0]
                found[each.asname or top] = each.name if each.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return found
