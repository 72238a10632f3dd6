"""Which frameworks a source's code names, and which generators it holds: found without running any of that code."""

from __future__ import annotations

import dis
import functools
import random
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
from typing import Any, NamedTuple

import numpy as np
from numpy.random import mtrand

FRAMEWORKS = ("tensorflow", "torch")  # and with them their companions: tensorflow_probability, torchvision
# Not looked into: what is random in them is so through numpy or `random`, or is among `INSIDE`.
CLOSED = sys.stdlib_module_names | {
    *("keras", "tf_keras", "jax", "jaxlib", "procession", "cloudpickle", "optree", "ml_dtypes", "grain", "datasets"),
    *("numpy", "scipy", "pandas", "pyarrow", "sklearn", "skimage", "PIL", "cv2", "h5py", "matplotlib"),
}
# Whose objects hold the user's: looked into, though their code is not.
OPEN = (
    *("procession.", "torch.utils.data.", "torchvision.datasets.", "torchvision.transforms."),
    *("keras.src.legacy.preprocessing.", "tf_keras.src.preprocessing."),
)
# What TensorFlow puts around the lists and dicts of Keras's layers says nothing about the source's own code.
WRAPPERS = "tensorflow.python.trackable"
MOST_OBJECTS = 3000  # that are looked at, the nearest first; some µs each
MOST_ELEMENTS = 64  # of a container
GENERATORS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)  # and torch's
GLOBAL_GENERATORS = (getattr(random.random, "__self__", None), getattr(mtrand, "_rand", None))
# Classes of frameworks, by their modules and names, so that nothing is imported to know them.
SEED_GENERATOR = ("keras.src.random.seed_generator", "SeedGenerator")
TENSORFLOW_GENERATOR = ("tensorflow.python.ops.stateful_random_ops", "Generator")
TRACED = ("tensorflow.python.eager.polymorphic_function.polymorphic_function", "Function")
LAYER = ("keras.src.layers.layer", "Layer")
PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, range})

# Read by the types' own means: an attribute of an object or a class may be code of the user's.
_names_of: Callable[[type], Any] = vars(type)["__dict__"].__get__
_kinds_of: Callable[[type], tuple[type, ...]] = vars(type)["__mro__"].__get__
_home_of: Callable[[type], Any] = vars(type)["__module__"].__get__
_name_of: Callable[[type], str] = vars(type)["__name__"].__get__
_content_of: Callable[[ModuleType], dict[str, Any]] = vars(ModuleType)["__dict__"].__get__


class Holding(NamedTuple):
    """A random generator that a source leads to."""

    generator: Any
    travels: bool  # with the object's own state; else it is a class's or a module's


class Survey(NamedTuple):
    """What a source leads to."""

    frameworks: frozenset[str]  # of "tensorflow" and "torch", those that its own code names
    generators: tuple[Holding, ...]  # the global ones left out
    traced: bool  # there is a `tf.function`


def survey(source: Any) -> Survey:
    """Return what a source leads to.

    That is through the methods of its classes, the functions and classes that they name, wherever those are written,
    and what its attributes hold. Not found: a name in a string, a helper module that is imported when a method first
    runs, and what is beyond the limits above.
    """
    walk = _Walk(source)
    while walk.queue and len(walk.seen) < MOST_OBJECTS:
        try:
            walk.visit(*walk.queue.popleft())
        except Exception:  # an object unlike any other: what it names remains unknown
            continue
    return Survey(frozenset(walk.found), tuple(walk.generators), walk.traced)


def lineage(kind: type) -> list[tuple[Any, str]]:
    """Modules and names of a class and of those it inherits from."""
    return [(_home_of(each), _name_of(each)) for each in _kinds_of(kind)]


def seed_generators(layer: Any) -> list[Any]:
    """The SeedGenerators of a layer of Keras's and of those in it, in the same order for layers that are alike."""
    return [each for inner in layer._flatten_layers() for each in inner._seed_generators]


def named(source: Any) -> frozenset[str]:
    """Return which of "tensorflow" and "torch" the source's own code names."""
    return survey(source).frameworks


class _Walk:
    """Goes from an object to those that it leads to."""

    def __init__(self, start: Any) -> None:
        self.found: set[str] = set()
        self.generators: list[Holding] = []
        self.traced = False
        self.seen: dict[int, Any] = {}  # by id; the object is held, so that no other gets its id
        self.queue: deque[tuple[Any, bool]] = deque([(start, True)])  # and whether it is part of the object's own state
        torch = sys.modules.get("torch")
        kinds = (*GENERATORS, getattr(torch, "Generator", None))
        self._kinds = tuple(kind for kind in kinds if isinstance(kind, type))
        self._global = (*GLOBAL_GENERATORS, getattr(torch, "default_generator", None))

    def visit(self, value: Any, travels: bool) -> None:
        """Look at one object."""
        kind = type(value)
        if kind in PLAIN or id(value) in self.seen:
            return
        self.seen[id(value)] = value
        if issubclass(kind, self._kinds) and not any(value is each for each in self._global):
            self.generators.append(Holding(value, travels))
        if issubclass(kind, ModuleType):
            self._note(_content_of(value).get("__name__"))
        elif issubclass(kind, FunctionType):
            if not self._note(value.__module__):
                self._function(value, travels)
        elif issubclass(kind, BuiltinFunctionType):
            self._note(value.__module__)
            if isinstance(value.__self__, self._kinds):  # `random.Random(1).random`
                self._follow([value.__self__], travels)
        elif issubclass(kind, type):
            if not self._note(_home_of(value)):
                self._class(value)
        else:
            self._object(value, kind, travels)

    def _object(self, value: Any, kind: type, travels: bool) -> None:
        home = _home_of(kind)
        closed = self._note(home)
        for known in lineage(kind):
            self.traced = self.traced or known == TRACED
            if known in (SEED_GENERATOR, TENSORFLOW_GENERATOR):
                self.generators.append(Holding(value, travels))
            elif known in INSIDE:
                self._follow(INSIDE[known](value), travels)
        if not closed:
            self._follow([kind], travels=False)
        if not closed or f"{home}.".startswith(OPEN):
            self._follow(_attributes(value, kind), travels)
        self._follow(_parts(value, kind), travels)

    def _follow(self, values: Iterable[Any], travels: bool) -> None:
        self.queue.extend((value, travels) for value in values)

    def _note(self, module: Any) -> bool:
        """Whether a module is none of the user's; if it is a framework's, that has been found."""
        framework, closed = _belongs(module)
        if framework and not module.startswith(WRAPPERS):
            self.found.add(framework)
        return closed

    def _class(self, kind: type) -> None:
        for each in _kinds_of(kind):
            if not _belongs(_home_of(each))[1]:  # to inherit from a framework is not to use it
                self._follow(_names_of(each).values(), travels=False)

    def _function(self, function: FunctionType, travels: bool) -> None:
        names: dict[str, None] = {}  # in order, so that a limit cuts off the same in each process
        for code in _codes(function.__code__):
            names.update(dict.fromkeys(code.co_names))
            for module in _imports(code):
                self._note(module)
        known = function.__globals__
        for name in names:
            if name in known:
                self._name(known[name], names)
            elif not _belongs(name)[1]:  # a module of the user's, imported inside the function
                self._name(sys.modules.get(name), names)
        self._follow(function.__closure__ or (), travels)
        self._follow(function.__defaults__ or (), travels)
        self._follow((function.__kwdefaults__ or {}).values(), travels)
        self._follow(function.__dict__.values(), travels)

    def _name(self, value: Any, names: dict[str, None]) -> None:
        """Note what a function names; where that is a module of the user's, what it may take from there."""
        todo, modules = [value], {id(value)}
        while todo:
            each = todo.pop()
            self._follow([each], travels=False)
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
    deque: deque.__iter__,
    np.ndarray: lambda array: array.flat if array.dtype == object else (),
    CellType: lambda cell: (cell.cell_contents,),
    MethodType: lambda method: (method.__func__, method.__self__),
    staticmethod: lambda method: (method.__func__,),
    classmethod: lambda method: (method.__func__,),
    property: lambda made: (made.fget,),
    functools.cached_property: lambda made: (made.func,),
    functools.partial: lambda made: (made.func, made.args, made.keywords),
    type(functools.cache(len)): lambda made: (made.__wrapped__,),
}


def _random_state(value: Any) -> Iterable[Any]:
    return (value.random_state,)


# Where objects whose own modules are not looked into keep generators.
INSIDE: dict[tuple[Any, str], Callable[[Any], Iterable[Any]]] = {
    LAYER: seed_generators,
    ("scipy.stats._distn_infrastructure", "rv_frozen"): _random_state,
    ("scipy.stats._distn_infrastructure", "rv_generic"): _random_state,
    ("scipy.stats._multivariate", "multi_rv_frozen"): _random_state,
    ("scipy.stats._multivariate", "multi_rv_generic"): _random_state,
}
