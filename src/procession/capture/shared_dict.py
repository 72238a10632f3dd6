"""A small dictionary that all workers, threads and the training process share: a log, used as a mapping."""

from __future__ import annotations

import pickle
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, TypeVar

import cloudpickle

from procession.capture.log import Change, Log, size_for
from procession.capture.mutex import Guarded, new_segment
from procession.capture.pickling import dumps
from procession.capture.segments import Segment
from procession.errors import ConfigError

K = TypeVar("K")
V = TypeVar("V")

CAPACITY = 1 << 20
MOST = 1 << 29  # each process holds all of it
_MISSING = object()


class SharedDict(Guarded, MutableMapping[K, V]):
    """A small dictionary that workers, threads and the training process share.

    For what workers learn and the others should know: the sizes of images, files that are broken, weights of hard
    examples. Keep it as an attribute of the source. It has the methods of a dict; each is atomic, and `update_with`
    changes a value in place of a read and a write. A worker that is killed in the middle has made its change or has
    not.

    What is got is a copy: to change a list in it, set the key again. Keys and values are anything that can be pickled;
    small ones, since each process reads every change. Reading takes about 1 µs where nothing has changed, a change
    about 10 µs. A source whose batches depend on what others have written depends on timing: a run is then not the same
    with another number of workers, nor when it is resumed, unless the values do not depend on who computes them (a
    cache). The content is not part of `state_dict()`.

    It can be sent in a source, in no other way; a copy (`copy.deepcopy`) is the same dictionary, `snapshot()` a plain
    one of its own.

    Args:
        initial: a mapping, or pairs of key and value.
        capacity: bytes that the keys and values may have in all, pickled, 8 for each pair included. Up to four times
            as much shared memory is taken, when it is used.

    Raises:
        ConfigError: the capacity is not an int from 64 to 2**29.
        LimitError: `initial` has more than fits.

    Example:
        >>> import procession
        >>> class Source:
        ...     def __init__(self):
        ...         self.lengths = procession.SharedDict()
        ...     def __len__(self):
        ...         return 10
        ...     def __getitem__(self, i):
        ...         length = self.lengths.setdefault(i, 2 * i)  # as if this took long
        ...         self.lengths.update_with("total", lambda total: total + length, 0)
        ...         return length
        >>> source = Source()
        >>> with procession.Loader(source, workers=2) as loader:
        ...     sum(loader), source.lengths["total"], source.lengths[9]
        (90, 90, 18)
    """

    def __init__(self, initial: Mapping[K, V] | Iterable[tuple[K, V]] | None = None, capacity: int = CAPACITY) -> None:
        if type(capacity) is not int or not 64 <= capacity <= MOST:
            raise ConfigError(f"capacity={capacity!r}: it is a number of bytes, an int from 64 to 2**29 (512 MiB)")
        self._open(new_segment(size_for(capacity), "dict"), capacity)
        if initial is not None:
            self.update(initial)

    def _arguments(self) -> tuple[Any, ...]:
        return (self._capacity,)

    def _open(self, segment: Segment, *arguments: Any) -> None:
        self._segment, (self._capacity,) = segment, arguments
        self._log = Log(segment, self._capacity)

    # --- reading ---

    def __getitem__(self, key: K) -> V:
        value: V = pickle.loads(self._log.now()[key][1])
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._log.now()

    def __len__(self) -> int:
        return len(self._log.now())

    def __iter__(self) -> Iterator[K]:
        """Yield the keys of one moment, in the order in which they came; what changes meanwhile is not seen."""
        with self._log.mutex:
            return iter(list(self._log.latest()))

    def snapshot(self) -> dict[K, V]:
        """Return a plain dict of all that is there at one moment."""
        with self._log.mutex:
            pairs = list(self._log.latest().items())
        return {key: pickle.loads(value) for key, (_, value) in pairs}

    def items(self) -> ItemsView[K, V]:
        """Return the pairs of one moment."""
        return self.snapshot().items()

    def values(self) -> ValuesView[V]:
        """Return the values of one moment."""
        return self.snapshot().values()

    def __repr__(self) -> str:
        return f"SharedDict({self.snapshot()!r})"

    # --- changing: each takes the lock once ---

    def __setitem__(self, key: K, value: V) -> None:
        changes: dict[K, Change] = {key: (_dumps(key), _dumps(value))}
        with self._log.mutex:
            self._log.change(changes)

    def __delitem__(self, key: K) -> None:
        self.pop(key)

    def clear(self) -> None:
        """Remove everything."""
        with self._log.mutex:
            self._log.clear()

    def update(self, *others: Any, **more: Any) -> None:
        """Set all keys of a mapping, or of pairs, at once: nobody sees a part of them."""
        pairs: dict[Any, Any] = dict(*others, **more)
        changes: dict[K, Change] = {key: (_dumps(key), _dumps(value)) for key, value in pairs.items()}
        with self._log.mutex:
            self._log.change(changes)

    def update_with(self, key: K, function: Callable[[Any], V], default: Any = None) -> V:
        """Replace the value of a key by `function(value)`, with nobody in between, and return the new value.

        Args:
            key: which.
            function: called with the value, or with `default` where there is none. Others wait meanwhile, so it should
                be quick, and it must not change this dictionary. If it raises, nothing is changed.
            default: see there.

        Raises:
            RuntimeError: `function` has changed this dictionary.
            LimitError: the new value does not fit.
        """
        with self._log.mutex:
            found = self._log.latest().get(key)
            value = function(default if found is None else pickle.loads(found[1]))
            self._log.change({key: (_dumps(key), _dumps(value))})
        return value

    def setdefault(self, key: K, default: Any = None) -> Any:
        """Return the value of a key; where there is none, set it to `default` first."""
        found = self._log.now().get(key)
        if found is None:
            new = _dumps(key), _dumps(default)
            with self._log.mutex:
                found = self._log.latest().get(key)
                if found is None:
                    self._log.change({key: new})
                    found = new
        return pickle.loads(found[1])

    def pop(self, key: K, default: Any = _MISSING) -> Any:
        """Remove a key and return its value; where there is none, return `default`, or raise KeyError without one."""
        with self._log.mutex:
            found = self._log.latest().get(key)
            if found is not None:
                self._log.change({key: (found[0], None)})
        if found is not None:
            return pickle.loads(found[1])
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[K, V]:
        """Remove the pair that came last and return it; raises KeyError if there is none."""
        with self._log.mutex:
            pairs = self._log.latest()
            if not pairs:
                raise KeyError("popitem(): the dictionary is empty")
            key, (name, value) = next(reversed(pairs.items()))
            self._log.change({key: (name, None)})
        return key, pickle.loads(value)

    # --- travelling ---


def _dumps(value: Any) -> bytes:
    data = dumps(value)
    if b"__main__" in data:  # a class of the script: its module is another one in a worker
        data = cloudpickle.dumps(value, protocol=5)
    return data
