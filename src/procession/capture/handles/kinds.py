"""How this package registers reducers: where to find those of a library, and when a class of the user's goes first."""

from __future__ import annotations

import copyreg
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from procession.capture.travel import private, reduced

R = TypeVar("R", bound=Callable[[Any], Any])

_PACKAGE = "procession.capture.handles"
# By the first name of the module that a class says it is of: the module of this package that knows it. They import the
# libraries, and so are imported only for a source that holds an object of one.
LIBRARIES = {
    **dict.fromkeys(("gzip", "bz2", "lzma", "zipfile", "tarfile", "tempfile"), f"{_PACKAGE}.archives"),
    **dict.fromkeys(("concurrent", "subprocess", "queue", "_queue"), f"{_PACKAGE}.runners"),
    **dict.fromkeys(("asyncio", "_asyncio"), f"{_PACKAGE}.loops"),
    **dict.fromkeys(("codecs", "_csv"), f"{_PACKAGE}.texts"),
    **dict.fromkeys(("weakref", "_weakrefset"), f"{_PACKAGE}.weak"),
    "functools": f"{_PACKAGE}.caches",
    "h5py": f"{_PACKAGE}.hdf5",
    "logging": f"{_PACKAGE}.logs",
    "multiprocessing": f"{_PACKAGE}.processes",
    "_ctypes": f"{_PACKAGE}.shared_ctypes",
    "numpy": f"{_PACKAGE}.npz",
    "PIL": f"{_PACKAGE}.images",
    "pyarrow": f"{_PACKAGE}.arrow",
    "sqlite3": f"{_PACKAGE}.databases",
    "tensorflow": f"{_PACKAGE}.tensorflow_functions",
    "torch": f"{_PACKAGE}.torch_generators",
}
OWN_WAY = ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")


def travels(*kinds: type, each: bool = False) -> Callable[[R], R]:
    """Register what it decorates as the reducer of `kinds` and their subclasses.

    A subclass that says itself how it is pickled is left to do so. `each`: it belongs to one process, and each worker
    makes it for itself.
    """

    def register(reduce: R) -> R:
        for kind in kinds:
            reduced.register(kind, _reducer(kind, reduce, each=each))
        return reduce

    return register


def _reducer(kind: type, reduce: Callable[[Any], Any], *, each: bool) -> Callable[[Any], Any]:
    def reduce_unless_own(value: Any) -> Any:
        if each:
            private()
        own = type(value)
        if own is kind:
            return reduce(value)
        nearer = _of_library(own)
        if nearer is not None and nearer is not reduce_unless_own:
            return nearer(value)
        return NotImplemented if _says_itself(own, kind) else reduce(value)

    return reduce_unless_own


def _says_itself(own: type, kind: type) -> bool:
    nearer = own.__mro__[: own.__mro__.index(kind)]
    return own in copyreg.dispatch_table or any(name in vars(base) for base in nearer for name in OWN_WAY)


@reduced.register(object)
def _any(value: Any) -> Any:
    reduce = _of_library(type(value))
    return NotImplemented if reduce is None or reduce is _any else reduce(value)


def _of_library(kind: type) -> Callable[[Any], Any] | None:
    """The reducer for `kind` once the modules that know it are imported; None: there are none."""
    homes = [LIBRARIES.get(str(base.__module__).partition(".")[0]) for base in kind.__mro__]
    if not any(homes):
        return None
    for home in filter(None, homes):
        importlib.import_module(home)
    return reduced.dispatch(kind)


def anew(kind: Any, base: Any, *arguments: Any) -> Any:
    """An object of `kind`, initialised as its `base` is: its own `__init__` has run already, elsewhere."""
    made = kind.__new__(kind)
    base.__init__(made, *arguments)
    return made


def extras(value: Any, standard: Any) -> dict[str, Any] | None:
    """The attributes that the user has given to `value`, beside those that a `standard` one has."""
    return {name: part for name, part in vars(value).items() if name not in vars(standard)} or None
