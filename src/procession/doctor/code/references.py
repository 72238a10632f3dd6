"""What an expression in the user's code refers to: an attribute of the source, a class's, a global, or a part of one.

batch = self.images[i : i + 8]     batch  →  source.images, a view of it
cache = self.cache                 cache  →  source.cache
Photos.seen, type(self).seen              →  Photos.seen
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from dataclasses import dataclass, field
from types import MemberDescriptorType, MethodType, ModuleType
from typing import Any, Literal

import numpy as np

from procession.doctor.code.reading import MISSING, Reading, is_users_file
from procession.doctor.seen.describing import is_tensor

VIEWS = frozenset({"view", "reshape", "ravel", "transpose", "swapaxes", "squeeze", "diagonal", "numpy", "detach"})
VIEWING = frozenset({"asarray", "asanyarray", "ascontiguousarray", "atleast_1d", "atleast_2d", "reshape", "transpose"})


@dataclass(frozen=True)
class Ref:
    """Something that outlives the call in which it is named."""

    path: str  # source.images, Photos.seen, train.CACHE
    text: str  # as the user wrote it: self.images
    value: Any  # what it is in the training process; MISSING if that is not known
    kind: Literal["attribute", "class", "global", "module"]

    @property
    def is_array(self) -> bool:
        return isinstance(self.value, np.ndarray) or is_tensor(self.value)


@dataclass
class Given:
    """What a function is called with, at the places that are known."""

    refs: dict[str, Ref] = field(default_factory=dict)
    numbers: set[str] = field(default_factory=set)  # parameters that are single indices


class Names:
    """What the names of one function refer to, as far as the reading has come."""

    def __init__(self, reading: Reading, source: Any, given: Given, returned: dict[Any, Ref]) -> None:
        self.reading = reading
        self._source = source
        self.known = dict(given.refs)
        self._returned = returned
        self.numbers = set(given.numbers)  # names of single indices
        if reading.name.endswith("__getitem__"):
            self.numbers.update(each.arg for each in reading.node.args.args[1:2])

    def ref(self, node: ast.AST) -> Ref | None:
        """What an expression refers to; None: a value of its own, or unknown."""
        found: Ref | None = None
        match node:
            case ast.Name(id=name):
                found = self.known[name] if name in self.known else self._name(name)
            case ast.Attribute(value=value, attr=name) if (held := self.ref(value)) is not None:
                found = self.attribute(held, name)
            case ast.Subscript(value=value, slice=index) if (held := self.ref(value)) is not None:
                found = self.element(held, index)
            case ast.Call():
                found = self._call(node)
            case ast.IfExp(body=one, orelse=two):
                found = self.ref(one) or self.ref(two)
            case ast.BoolOp(values=values):
                found = next(filter(None, map(self.ref, values)), None)
            case ast.NamedExpr(value=value) | ast.Starred(value=value):
                found = self.ref(value)
        return found

    def _name(self, name: str) -> Ref | None:
        reading = self.reading
        if name == reading.myself:
            kind: Any = "attribute" if reading.path.startswith("source") else "global"
            return Ref(reading.path, name, reading.owner, kind) if reading.path else None
        value = reading.value(ast.Name(id=name))
        if value is MISSING:
            return None
        if isinstance(value, ModuleType):
            file = getattr(value, "__file__", None)
            return Ref(value.__name__, name, value, "module") if file and is_users_file(file, self._source) else None
        if isinstance(value, type):
            return _of_class(value, name)
        code = reading.function.__code__
        if name in code.co_freevars:
            return None
        return Ref(f"{reading.function.__globals__.get('__name__', '')}.{name}", name, value, "global")

    def attribute(self, held: Ref, name: str) -> Ref | None:
        text = f"{held.text}.{name}"
        if held.is_array:
            return held if name in ("T", "real", "imag", "flat") else None
        if name == "__class__":
            return _of_class(type(held.value), text)
        value = _held(held.value, name)
        if held.kind == "module":
            if isinstance(value, type):
                return _of_class(value, text)
            return Ref(f"{held.path}.{name}", text, value, "module" if isinstance(value, ModuleType) else "global")
        if held.kind == "attribute" and name not in getattr(held.value, "__dict__", {}):
            owner = next((kind for kind in type(held.value).__mro__ if name in vars(kind)), None)
            if owner is not None and _is_data(vars(owner)[name]):
                return Ref(f"{owner.__name__}.{name}", text, vars(owner)[name], "class")
        return Ref(f"{held.path}.{name}", text, value, held.kind)

    def element(self, held: Ref, index: ast.AST) -> Ref | None:
        if held.is_array:
            taken = self._taken(index)
            return None if taken is None or taken >= held.value.ndim else held
        value = MISSING
        if isinstance(held.value, (list, tuple)) and held.value:
            value = held.value[0]
        elif isinstance(held.value, dict) and held.value:
            key = getattr(index, "value", None)
            value = held.value.get(key) if isinstance(key, (str, int)) else next(iter(held.value.values()))
        if value is not MISSING and isinstance(value, (str, bytes, int, float, type(None), tuple)):
            return None
        return Ref(held.path, held.text, value, held.kind)

    def _taken(self, index: ast.AST) -> int | None:
        """How many axes an index takes away; None if it may make a copy."""
        taken: int | None = None
        match index:
            case ast.Slice() | ast.Constant(value=None):
                taken = 0
            case ast.Constant(value=value):
                taken = int(isinstance(value, int) and not isinstance(value, bool))
            case ast.UnaryOp(operand=operand):
                taken = self._taken(operand)
            case ast.Name(id=name) if name in self.numbers:
                taken = 1
            case ast.BinOp(left=one, right=two) if self._taken(one) == 1 == self._taken(two):
                taken = 1
            case ast.Tuple(elts=parts):
                axes = [self._taken(part) for part in parts]
                taken = None if None in axes else sum(each or 0 for each in axes)
        return taken

    def is_number(self, node: ast.AST) -> bool:
        """Whether an expression is a single index."""
        return not isinstance(node, ast.Tuple) and self._taken(node) == 1

    def _call(self, node: ast.Call) -> Ref | None:
        if isinstance(node.func, ast.Name) and node.func.id == "type" and len(node.args) == 1:
            held = self.ref(node.args[0])
            return None if held is None else _of_class(type(held.value), f"type({held.text})")
        called = self.called(node)
        code = getattr(getattr(called, "__func__", called), "__code__", None)
        if code in self._returned:
            return self._returned[code]
        return self._viewed(node, node.func) if isinstance(node.func, ast.Attribute) else None

    def _viewed(self, node: ast.Call, func: ast.Attribute) -> Ref | None:
        """What a method or a function of numpy returns that makes no copy."""
        if func.attr in VIEWING and self.reading.value(func.value) is np:
            held = self.ref(node.args[0]) if len(node.args) == 1 else None
            return held if held is not None and held.is_array else None
        held = self.ref(func.value)
        if held is None:
            return None
        if held.is_array:
            return held if func.attr in VIEWS else None
        if func.attr in ("get", "setdefault") and (held.value is MISSING or isinstance(held.value, dict)):
            return self.element(held, node.args[0] if node.args else node)
        return None

    def called(self, node: ast.Call) -> Any:
        """What a call calls; MISSING if that is not known."""
        called = next((value for call, value in self.reading.calls if call is node), MISSING)
        return called.func if isinstance(called, functools.partial) and not called.args else called


def _of_class(kind: type, text: str) -> Ref | None:
    own = kind.__module__ not in sys.stdlib_module_names
    return Ref(kind.__qualname__.rpartition(".")[2], text, kind, "class") if own else None


def _held(value: Any, name: str) -> Any:
    """An attribute, without running code."""
    if isinstance(value, (ModuleType, type)) or hasattr(value, "__dict__"):
        found = vars(value).get(name, MISSING)
        if found is not MISSING:
            return found
    slot = inspect.getattr_static(type(value), name, None)
    return getattr(value, name, MISSING) if isinstance(slot, MemberDescriptorType) else MISSING


def _is_data(value: Any) -> bool:
    return not callable(value) and not hasattr(type(value), "__get__") and not isinstance(value, MethodType)
