"""Which frameworks the code of a source names: found by reading its code objects, without running any of it."""

from __future__ import annotations

import dis
import functools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

FRAMEWORKS = ("tensorflow", "torch")  # and with them their companions: tensorflow_probability, torchvision
# Not looked into: what is random in them is so through numpy or `random`, or has a state of its own. Keras's is in
# SeedGenerators, which are part of the source.
CLOSED = sys.stdlib_module_names | {
    *("keras", "tf_keras", "jax", "jaxlib", "procession", "cloudpickle", "optree", "ml_dtypes"),
    *("numpy", "scipy", "pandas", "pyarrow", "sklearn", "skimage", "PIL", "cv2", "h5py", "matplotlib"),
}
# What TensorFlow puts around the lists and dicts of Keras's layers says nothing about the source's own code.
WRAPPERS = "tensorflow.python.trackable"
MOST_OBJECTS = 3000  # that are looked at, the nearest first; some µs each
MOST_ELEMENTS = 64  # of a container
PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, range})

# Read by the types' own means: an attribute of an object or a class may be code of the user's.
_names_of: Callable[[type], Any] = vars(type)["__dict__"].__get__
_kinds_of: Callable[[type], tuple[type, ...]] = vars(type)["__mro__"].__get__
_home_of: Callable[[type], Any] = vars(type)["__module__"].__get__
_content_of: Callable[[ModuleType], dict[str, Any]] = vars(ModuleType)["__dict__"].__get__


def named(source: Any) -> frozenset[str]:
    """Return which of "tensorflow" and "torch" the source's own code names.

    That is the methods of its classes, the functions and classes that they name, wherever those are written, and what
    its attributes hold. Not found: a name in a string, and a helper module that is imported when a method first runs.
    """
    walk = _Walk(source)
    while walk.queue and len(walk.seen) < MOST_OBJECTS and len(walk.found) < len(FRAMEWORKS):
        try:
            walk.visit(walk.queue.popleft())
        except Exception:  # an object unlike any other: what it names remains unknown
            continue
    return frozenset(walk.found)


class _Walk:
    """Goes from an object to those that it leads to."""

    def __init__(self, start: Any) -> None:
        self.found: set[str] = set()
        self.seen: dict[int, Any] = {}  # by id; the object is held, so that no other gets its id
        self.queue: deque[Any] = deque([start])

    def visit(self, value: Any) -> None:
        """Look at one object."""
        kind = type(value)
        if kind in PLAIN or id(value) in self.seen:
            return
        self.seen[id(value)] = value
        if issubclass(kind, ModuleType):
            self._note(_content_of(value).get("__name__"))
        elif issubclass(kind, FunctionType):
            if not self._note(value.__module__):
                self._function(value)
        elif issubclass(kind, BuiltinFunctionType):
            self._note(value.__module__)
        elif issubclass(kind, type):
            if not self._note(_home_of(value)):
                self._class(value)
        else:
            home = _home_of(kind)
            closed = self._note(home)
            if not closed:
                self.queue.append(kind)
            if not closed or _top(home) == "procession":  # ours may hold the user's sources
                self.queue.extend(_attributes(value, kind))
            self.queue.extend(_parts(value, kind))

    def _note(self, module: Any) -> bool:
        """Whether a module is none of the user's; if it is a framework's, that has been found."""
        framework, closed = _belongs(module)
        if framework and not module.startswith(WRAPPERS):
            self.found.add(framework)
        return closed

    def _class(self, kind: type) -> None:
        for each in _kinds_of(kind):
            if not _belongs(_home_of(each))[1]:  # to inherit from a framework is not to use it
                self.queue.extend(_names_of(each).values())

    def _function(self, function: FunctionType) -> None:
        names: set[str] = set()
        for code in _codes(function.__code__):
            names.update(code.co_names)
            for module in _imports(code):
                self._note(module)
        known = function.__globals__
        for name in names:
            if name in known:
                self._global(known[name], names)
            elif not _belongs(name)[1]:  # a module of the user's, imported inside the function
                self._global(sys.modules.get(name), names)
        self.queue.extend(function.__closure__ or ())
        self.queue.extend(function.__defaults__ or ())
        self.queue.extend((function.__kwdefaults__ or {}).values())
        self.queue.extend(function.__dict__.values())

    def _global(self, value: Any, names: set[str]) -> None:
        """Note what a function names; where that is a module of the user's, what it may take from there."""
        todo, modules = [value], {id(value)}
        while todo:
            each = todo.pop()
            self.queue.append(each)
            if issubclass(type(each), ModuleType) and not self._note(_content_of(each).get("__name__")):
                inside = (_content_of(each)[name] for name in names if name in _content_of(each))
                new = [part for part in inside if id(part) not in modules]
                modules.update(map(id, new))
                todo.extend(new)


def _belongs(module: Any) -> tuple[str | None, bool]:
    """The framework that a module is of, and whether it is none of the user's."""
    top = _top(module)
    framework = next((each for each in FRAMEWORKS if top.startswith(each)), None)
    return framework, framework is not None or top in CLOSED


def _top(module: Any) -> str:
    return module.partition(".")[0] if type(module) is str else ""


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions in it."""
    yield code
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from _codes(constant)


def _imports(code: CodeType) -> list[str]:
    """The frameworks' modules that a function imports; an attribute may have such a name too, so look closely."""
    if not any(name.startswith(FRAMEWORKS) for name in code.co_names):
        return []
    return [step.argval for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME"]


def _attributes(value: Any, kind: type) -> Iterator[Any]:
    """What an object's `__dict__` and slots hold."""
    for each in _kinds_of(kind):
        for name, descriptor in _names_of(each).items():
            if name == "__dict__" and type(descriptor) is GetSetDescriptorType:
                yield from islice(list(descriptor.__get__(value).values()), MOST_OBJECTS)
            elif type(descriptor) is MemberDescriptorType:
                try:
                    yield descriptor.__get__(value)
                except AttributeError:  # a slot that is empty
                    continue


def _parts(value: Any, kind: type) -> Iterable[Any]:
    """What the containers and wrappers of Python itself hold."""
    held = next((_HELD[each] for each in _kinds_of(kind) if each in _HELD), None)
    return list(islice(held(value), MOST_ELEMENTS)) if held else ()


_HELD: dict[type, Callable[[Any], Iterable[Any]]] = {
    list: list.__iter__,
    tuple: tuple.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
    dict: dict.values,
    CellType: lambda cell: (cell.cell_contents,),
    MethodType: lambda method: (method.__func__, method.__self__),
    staticmethod: lambda method: (method.__func__,),
    classmethod: lambda method: (method.__func__,),
    property: lambda made: (made.fget,),
    functools.cached_property: lambda made: (made.func,),
    functools.partial: lambda made: (made.func, made.args, made.keywords),
    type(functools.cache(len)): lambda made: (made.__wrapped__,),
}
