"""The user's code, read and not run: the methods of a source, and the functions that they call, as syntax trees."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from procession.doctor.findings import Place

MOST_FUNCTIONS = 200  # that are read for one source
Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass
class Reading:
    """One function of the user's, with its syntax tree; line numbers are those of its file."""

    function: FunctionType
    node: Node
    file: str
    owner: Any = None  # the object that it is a method of, if that is known: the source, or something it holds
    path: str = ""  # how the owner is reached: "source", "source.augment"
    calls: list[tuple[ast.Call, Any]] = field(default_factory=list)  # what each call in it calls, where that is known

    @property
    def name(self) -> str:
        """`Photos.__getitem__`."""
        return self.function.__qualname__.replace("<locals>.", "")

    @property
    def myself(self) -> str | None:
        """What the method calls its object; None for a function."""
        arguments = self.node.args
        first = [*arguments.posonlyargs, *arguments.args][:1]
        return first[0].arg if first and self.owner is not None else None

    def place(self, node: ast.AST | None = None, attribute: str = "") -> Place:
        """Where a part of it stands; without one, where it begins."""
        line = getattr(self.node if node is None else node, "lineno", 0)
        return Place(self.file, line, self.name, attribute)

    def text(self, node: ast.AST) -> str:
        """The line that a part of it stands in."""
        return linecache.getline(self.file, getattr(node, "lineno", 0)).strip()

    def chain(self, node: ast.AST) -> tuple[str, ...]:
        """`self.a.b[0]` as ("self", "a", "b"): what an expression starts from; () where that is no name."""
        names: list[str] = []
        while True:
            match node:
                case ast.Attribute(value=value, attr=name):
                    names.append(name)
                    node = value
                case ast.Subscript(value=value) | ast.Starred(value=value):
                    node = value
                case ast.Name(id=name):
                    return (name, *reversed(names))
                case _:
                    return ()

    def value(self, node: ast.AST) -> Any:
        """What a name or `a.b.c` means, as far as that can be looked up; `MISSING` where it cannot."""
        match node:
            case ast.Name(id=name):
                return self.owner if name == self.myself else self._named(name)
            case ast.Attribute(value=value, attr=name):
                held = self.value(value)
                return MISSING if held is MISSING else _looked_up(held, name)
            case _:
                return MISSING

    def _named(self, name: str) -> Any:
        code = self.function.__code__
        if name in code.co_freevars:
            cell = (self.function.__closure__ or ())[code.co_freevars.index(name)]
            try:
                return cell.cell_contents
            except ValueError:  # not bound yet
                return MISSING
        if name in code.co_varnames or name in code.co_cellvars:
            return MISSING
        return self.function.__globals__.get(name, MISSING)


MISSING = object()


def read(source: Any, methods: Iterable[str]) -> list[Reading]:
    """Read some methods of a source and the functions of the user's that they call, the nearest first.

    Code of libraries is not read, nor what cannot be found: what is called through a container, or made at run time.

    Args:
        source: the object.
        methods: their names.
    """
    queue: deque[tuple[Any, Any, str]] = deque()
    for name in methods:
        queue.append((inspect.getattr_static(type(source), name, None), source, "source"))
    found: list[Reading] = []
    seen: set[Any] = set()
    while queue and len(found) < MOST_FUNCTIONS:
        function, owner, path = _function(*queue.popleft())
        if function is None or function.__code__ in seen or not is_users(function, source):
            continue
        seen.add(function.__code__)
        reading = _read(function, owner, path)
        if reading is not None:
            found.append(reading)
            queue.extend(_called(reading))
    return found


def is_unreadable(source: Any, method: str) -> bool:
    """Whether a method is a function of the user's whose text is not to be had."""
    function, owner, path = _function(inspect.getattr_static(type(source), method, None), source, "source")
    return function is not None and is_users(function, source) and _read(function, owner, path) is None


_LIBRARIES = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "purelib", "platlib"))
OURS = f"{Path(__file__).parents[2]}/"


def is_users(function: FunctionType, source: Any) -> bool:
    """Whether a function is the user's: of the package of the source's class, or of none that is installed."""
    return is_users_file(function.__code__.co_filename, source)


def is_users_file(file: str, source: Any) -> bool:
    """The same for a file: it lies outside of the libraries, or in the package that the source's class is from."""
    if not file.startswith(("/", "<")):  # a library's that was compiled elsewhere
        return False
    home = (
        None if _top(type(source)) == "procession" else getattr(sys.modules.get(_top(type(source))), "__file__", None)
    )
    if home is not None and Path(home).name == "__init__.py" and file.startswith(f"{Path(home).parent}/"):
        return True
    return not file.startswith((*_LIBRARIES, OURS, "<frozen"))


def _top(value: Any) -> str:
    return str(value.__module__ or "").partition(".")[0]


def _read(function: FunctionType, owner: Any, path: str) -> Reading | None:
    code = function.__code__
    try:
        lines, _ = inspect.findsource(code)
        tree = _parsed("".join(lines))
    except (OSError, SyntaxError, TypeError):  # made at run time, or typed at a prompt
        return None
    named = [node for node in ast.walk(tree) if isinstance(node, Node) and _fits(node, code)]
    return Reading(function, named[0], code.co_filename, owner, path) if named else None


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> ast.Module:
    """Many functions are of one file, whose syntax tree takes some 10 ms."""
    return ast.parse(text)


def _fits(node: Node, code: Any) -> bool:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    first = min([node.lineno, *(each.lineno for each in decorators)])
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    return bool(first == code.co_firstlineno and name == code.co_name)


def _called(reading: Reading) -> Iterator[tuple[Any, Any, str]]:
    """What a function calls, each with the object that it is a method of."""
    for node in ast.walk(reading.node):
        if isinstance(node, ast.Call):
            called = reading.value(node.func)
            if isinstance(node.func, ast.Attribute) and _is_super(node.func.value) and reading.owner is not None:
                called = _inherited(reading, node.func.attr)
            if called is not MISSING:
                reading.calls.append((node, called))
                yield called, *_owner(reading, node.func, called)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            value = reading.value(node.value)
            found = inspect.getattr_static(type(value), node.attr, None) if value is not MISSING else None
            if isinstance(found, (property, functools.cached_property)):
                yield found, *_owner(reading, node, found)


def _owner(reading: Reading, node: ast.AST, called: Any) -> tuple[Any, str]:
    """The object that what is called belongs to, and how that is reached."""
    names = reading.chain(node)
    if isinstance(called, type) or not names:
        return None, ""
    if isinstance(called, MethodType):
        inner = ".".join(names[1:-1]) if names[0] == reading.myself else ".".join(names[:-1])
        base = reading.path if names[0] == reading.myself else ""
        return called.__self__, ".".join(filter(None, [base, inner]))
    if isinstance(called, (property, functools.cached_property)) and isinstance(node, ast.Attribute):
        return reading.value(node.value), reading.path
    if not isinstance(called, (FunctionType, functools.partial)):  # an object with __call__
        inner = ".".join(names[1:]) if names[0] == reading.myself else ".".join(names)
        return called, ".".join(filter(None, [reading.path if names[0] == reading.myself else "", inner]))
    return (reading.owner, reading.path) if _is_super_call(node) else (None, "")


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _is_super_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and _is_super(node.value)


def _inherited(reading: Reading, name: str) -> Any:
    kinds = type(reading.owner).__mro__
    code = reading.function.__code__
    here = next((k for k, kind in enumerate(kinds) if _holds(kind, code)), -1)
    found = next((vars(kind)[name] for kind in kinds[here + 1 :] if name in vars(kind)), MISSING)
    return MethodType(found, reading.owner) if isinstance(found, FunctionType) else MISSING


def _holds(kind: type, code: Any) -> bool:
    return any(getattr(each, "__code__", None) is code for each in vars(kind).values())


# Around a function, and where they keep it.
_AROUND: tuple[tuple[type, str], ...] = (
    (MethodType, "__func__"),
    (functools.partial, "func"),
    (staticmethod, "__func__"),
    (classmethod, "__func__"),
    (property, "fget"),
    (functools.cached_property, "func"),
)


def _function(value: Any, owner: Any, path: str) -> tuple[FunctionType | None, Any, str]:
    """The Python function behind something that can be called, and what it is a method of."""
    while value is not None:
        if isinstance(value, FunctionType):
            inner = getattr(value, "__wrapped__", None)
            if not isinstance(inner, FunctionType):
                return value, owner, path
            value = inner
            continue
        if isinstance(value, MethodType) and owner is None:
            owner = value.__self__
        if isinstance(value, (staticmethod, type)):
            owner, path = None, ""
        held = next((name for kind, name in _AROUND if isinstance(value, kind)), None)
        if held is not None:
            value = getattr(value, held)
        elif isinstance(value, type):
            value = inspect.getattr_static(value, "__init__", None)
        else:
            value = _callable_of(value)
    return None, None, ""


def _callable_of(value: Any) -> Any:
    """The function of an object that can be called: a cache's, or the `__call__` of its class."""
    wrapped = inspect.getattr_static(value, "__wrapped__", None)
    if wrapped is not None:
        return wrapped
    found = inspect.getattr_static(type(value), "__call__", None)
    return found if isinstance(found, FunctionType) else None


def _looked_up(held: Any, name: str) -> Any:
    """An attribute, without running a property or `__getattr__`."""
    if isinstance(held, ModuleType):
        return vars(held).get(name, MISSING)
    found = inspect.getattr_static(held, name, MISSING)
    kind = held if isinstance(held, type) else type(held)
    if isinstance(found, FunctionType) and not isinstance(held, type) and name not in getattr(held, "__dict__", {}):
        return MethodType(found, held)
    if isinstance(found, classmethod):
        return MethodType(found.__func__, kind)
    if isinstance(found, staticmethod):
        return found.__func__
    return MISSING if hasattr(type(found), "__get__") and not callable(found) else found
