"""Which lines of the user's code write to what outlives the call: attributes, class attributes, globals."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from procession.doctor.code.mutators import (
    FIRST_ARGUMENT,
    KEYWORDS,
    POSITIONS,
    asks_for_nothing,
    changes,
    expressions,
    is_drawn,
    is_meant,
)
from procession.doctor.code.reading import MISSING, Reading
from procession.doctor.code.references import Given, Names, Ref
from procession.doctor.findings import Place

How = Literal["bound", "augmented", "stored", "deleted", "called", "read on"]


@dataclass(frozen=True)
class Write:
    """One place in the code that writes."""

    reading: Reading
    node: ast.AST
    ref: Ref  # what is written to: the attribute, or what a view is of
    how: How
    lazy: bool = False  # only where there is nothing yet
    drawn: bool = False  # what is written is a random order
    value: str = ""  # the expression that a name is bound to

    @property
    def path(self) -> str:
        return self.ref.path

    @property
    def place(self) -> Place:
        return self.reading.place(self.node, self.ref.path)

    @property
    def line(self) -> str:
        """As the user wrote it."""
        return self.reading.text(self.node)

    @property
    def is_fresh(self) -> bool:
        """Whether a name is bound to what does not depend on what it was bound to before."""
        return self.how == "bound" and self.ref.text not in self.value

    @property
    def in_array(self) -> bool:
        """Whether the content of an array changes, not which object a name stands for."""
        return self.ref.is_array and self.how in ("augmented", "stored", "called")


def writes(readings: Sequence[Reading], source: Any) -> list[Write]:
    """Find the writes in some code, the nearest function first."""
    given: dict[Any, Given] = {}
    returned: dict[Any, Ref] = {}
    for reading in readings:  # only these are told what they are called with
        given[reading.function.__code__] = Given()
    found: list[Write] = []
    for _ in range(2):  # what a function returns is known only once it has been read
        found = []
        for reading in readings:
            walk = _Walk(reading, source, given, returned)
            walk.body(reading.node.body if isinstance(reading.node.body, list) else [reading.node.body])
            found += walk.found
    return [write for write in found if not is_meant(write.ref.value)]


class _Walk:
    """Reads one function, statement by statement."""

    def __init__(self, reading: Reading, source: Any, given: dict[Any, Given], returned: dict[Any, Ref]) -> None:
        self.found: list[Write] = []
        self._reading = reading
        self._given, self._returned = given, returned
        self._code = reading.function.__code__
        self._names = Names(reading, source, given[self._code], returned)
        self._globals = {name for node in ast.walk(reading.node) if isinstance(node, ast.Global) for name in node.names}
        self._tests: list[str] = []  # of the ifs that we are in

    def body(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self._statement(node)

    def _statement(self, node: ast.AST) -> None:
        for part in expressions(node):
            self._calls(part)
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, value)
            case ast.AugAssign(target=target):
                self._augmented(target, node)
            case ast.Delete(targets=targets):
                self._stored(ast.Tuple(targets), node, "deleted")
            case ast.Return(value=ast.expr() as value) if (ref := self._names.ref(value)) is not None:
                self._returned.setdefault(self._code, ref)
            case ast.For(target=target, iter=over):
                self._loop(target, over)
        self._inside(node)

    def _inside(self, node: ast.AST) -> None:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            return
        test = ast.unparse(node.test) if isinstance(node, (ast.If, ast.While)) else ""
        handles = isinstance(node, ast.Try) and "AttributeError" in " ".join(
            ast.unparse(each.type) for each in node.handlers if each.type is not None
        )
        self._tests.append("AttributeError" if handles else test)
        for name in ("body", "orelse", "handlers", "finalbody", "cases"):
            inner = getattr(node, name, [])
            self.body(inner if isinstance(inner, list) else [])
        self._tests.pop()

    def _loop(self, target: ast.AST, over: ast.AST) -> None:
        call = over.func.id if isinstance(over, ast.Call) and isinstance(over.func, ast.Name) else ""
        if call in ("range", "enumerate"):
            first = target.elts[0] if isinstance(target, ast.Tuple) and target.elts else target
            if isinstance(first, ast.Name):
                self._names.numbers.add(first.id)
        if call == "enumerate" and isinstance(target, ast.Tuple) and len(target.elts) == 2:
            target, over = target.elts[1], over.args[0]  # type: ignore[attr-defined]
        if isinstance(target, ast.Name):
            number: ast.AST = ast.Constant(value=0)
            held = self._names.ref(over)
            self._know(target.id, None if held is None else self._names.element(held, number))

    def _assign(self, target: ast.AST, value: ast.AST) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            for number, part in enumerate(target.elts):
                self._assign(part, values[number] if len(values) == len(target.elts) else ast.Constant(value=None))
        elif isinstance(target, ast.Name) and target.id not in self._globals:
            if isinstance(value, ast.Constant) and isinstance(value.value, int):
                self._names.numbers.add(target.id)
            self._know(target.id, self._names.ref(value))
        else:
            before = len(self.found)
            self._stored(target, target, "bound", drawn=is_drawn(value))
            self.found[before:] = [replace(write, value=ast.unparse(value)) for write in self.found[before:]]

    def _augmented(self, target: ast.AST, node: ast.AST) -> None:
        if isinstance(target, ast.Name) and target.id not in self._globals:
            ref = self._names.ref(target)
            if ref is not None and (ref.is_array or isinstance(ref.value, (list, set, dict, deque))):
                self._add(node, ref, "augmented")
            return
        self._stored(target, node, "augmented")

    def _stored(self, target: ast.AST, node: ast.AST, how: How, drawn: bool = False) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:
                self._stored(part, node, how, drawn)
        elif isinstance(target, ast.Subscript):
            held = self._names.ref(target.value)
            if held is not None and held.kind != "module":
                self._add(node, held, "deleted" if how == "deleted" else "stored", drawn)
        elif isinstance(target, ast.Attribute):
            self._to_attribute(target, node, how, drawn)
        elif isinstance(target, ast.Name) and target.id in self._globals:
            value = self._reading.function.__globals__.get(target.id, MISSING)
            module = self._reading.function.__globals__.get("__name__", "")
            self._add(node, Ref(f"{module}.{target.id}", target.id, value, "global"), how, drawn)

    def _to_attribute(self, target: ast.Attribute, node: ast.AST, how: How, drawn: bool) -> None:
        held = self._names.ref(target.value)
        if held is None or is_meant(held.value):
            return
        if held.is_array:  # array.shape = …, array.flat = …
            self._add(node, held, "stored")
            return
        ref = self._names.attribute(held, target.attr)
        if ref is not None and held.kind == "attribute" and ref.kind == "class":
            ref = Ref(f"{held.path}.{target.attr}", ref.text, MISSING, "attribute")  # its own from then on
        if ref is not None and ref.kind != "module":
            self._add(node, ref, how, drawn)

    def _know(self, name: str, ref: Ref | None) -> None:
        if ref is None:
            self._names.known.pop(name, None)
        else:
            self._names.known[name] = ref

    def _add(self, node: ast.AST, ref: Ref, how: How, drawn: bool = False) -> None:
        last = ref.path.rpartition(".")[2]
        lazy = any((last in test and asks_for_nothing(test)) or test == "AttributeError" for test in self._tests)
        lazy = lazy or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".setdefault"))
        self.found.append(Write(self._reading, node, ref, how, lazy, drawn))

    def _calls(self, node: ast.AST) -> None:
        for call in ast.walk(node):
            if isinstance(call, ast.NamedExpr):
                self._know(call.target.id, self._names.ref(call.value))
            if isinstance(call, ast.Call):
                self._call(call)

    def _call(self, call: ast.Call) -> None:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        held = self._names.ref(call.func.value) if isinstance(call.func, ast.Attribute) else None
        if held is not None and changes(held.value, name, call):
            self._add(call, held, "called")
        elif held is not None and name in POSITIONS and held.value is not MISSING:
            self._add(call, held, "read on")
        for each in call.keywords:
            if each.arg in KEYWORDS and (ref := self._names.ref(each.value)) is not None:
                self._add(call, ref, "called")
        first = self._names.ref(call.args[0]) if call.args else None
        code = getattr(getattr(called := self._names.called(call), "__func__", called), "__code__", None)
        if code in self._given:
            self._give(call, called, code)
        elif first is not None and name in FIRST_ARGUMENT and first.kind != "module":
            self._add(call, first, "called", drawn=name == "shuffle")
        elif first is not None and name == "next":
            self._add(call, first, "read on")
        elif name == "setattr" and len(call.args) == 3 and isinstance(call.args[1], ast.Constant):
            self._to_attribute(
                ast.Attribute(call.args[0], str(call.args[1].value)), call, "bound", is_drawn(call.args[2])
            )

    def _give(self, call: ast.Call, called: Any, code: Any) -> None:
        """Note what a function of the user's is called with."""
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        shift = 1 if hasattr(called, "__func__") else 0
        pairs = list(zip(names[shift:], call.args, strict=False))
        pairs += [(each.arg, each.value) for each in call.keywords if each.arg in names]
        for name, value in pairs:
            if (ref := self._names.ref(value)) is not None and ref.kind != "module":
                self._given[code].refs.setdefault(name, ref)
            elif self._names.is_number(value):
                self._given[code].numbers.add(name)
