"""`install()`: the engine behind Keras, so that plain datasets given to `fit` run on it."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from typing import Any, Literal, NamedTuple

from procession.adapters import keras_hook
from procession.adapters.keras_calls import Asked
from procession.config import ExecutorName, Faults, make_config, usable_cores
from procession.loader import Loader
from procession.monitoring.stats import Statistics
from procession.partitions import Partitions

KERAS_QUEUE = 10  # Keras's own max_queue_size, which says nothing


class Defaults(NamedTuple):
    """How plain datasets are read, where the script does not say."""

    workers: int | Literal["auto"] | None = None  # None: those that ask for no workers are left to Keras
    executor: Literal["auto"] | ExecutorName = "auto"  # "auto": threads for who asks for threads, else processes
    seed: int | None = None
    firm: bool = False  # `workers` counts whatever the script says


class Reading(NamedTuple):
    """How one dataset is read."""

    workers: int | Literal["auto"]
    executor: Literal["auto"] | ExecutorName
    prefetch: int | Literal["auto"]


class Read(NamedTuple):
    """A dataset that was read on a loader, in one call."""

    dataset: int  # the first, second, … of them
    name: str
    statistics: Statistics


class _Before(NamedTuple):
    """What a dataset has been through: the loader of its next call goes on from there."""

    dataset: int
    objects: tuple[weakref.ref[Any], ...]
    seed: int
    epoch: int
    hooks: int


class Installation:
    """Makes loaders for the datasets that Keras is given; one for each call, which ends with it."""

    def __init__(self, defaults: Defaults) -> None:
        self.defaults = defaults
        self.read: list[Read] = []
        self._before: dict[tuple[int, ...], _Before] = {}  # by the identities of its objects
        self._datasets = itertools.count()

    def loader(self, data: Any, asked: Asked) -> Loader | None:
        """A loader for a dataset, or a list of them, if it is to have workers; None: Keras shall read it."""
        data = self.gathered(data)
        several = isinstance(data, Partitions)
        if not several and not is_dataset(data):
            return None
        objects = tuple(data) if several else (data,)
        reading = decided(said(objects[0], asked), self.defaults, len(objects) if several else None)
        if reading is None:
            return None
        before = self._before.get(tuple(map(id, objects)))
        loader = Loader(data, seed=self.defaults.seed if before is None else before.seed, **reading._asdict())
        if before is not None:
            loader._stream.follow(before.epoch, before.hooks)
        return loader

    def gathered(self, data: Any) -> Any:
        """`Partitions` for a list of datasets, anything else as it is."""
        several = isinstance(data, list) and bool(data) and all(map(is_dataset, data))
        return Partitions(data) if several else data

    def done(self, loader: Loader) -> None:
        """The call that a loader was made for has ended: end its workers, and remember how far it has come."""
        statistics = loader.statistics()
        loader.close()
        source, stream = loader.source, loader._stream
        objects = tuple(source) if isinstance(source, Partitions) else (source,)
        several = f"{len(objects)} times " if len(objects) > 1 else ""
        key = tuple(map(id, objects))
        before = self._before.get(key)
        number = next(self._datasets) if before is None else before.dataset
        self.read.append(Read(number, several + type(objects[0]).__name__, statistics))
        with contextlib.suppress(TypeError):  # one that cannot be referred to weakly begins anew each time
            references = tuple(weakref.ref(each, lambda _: self._before.pop(key, None)) for each in objects)
            self._before[key] = _Before(number, references, stream.config.seed, stream.epoch, stream.hooks.begun)


def said(dataset: Any, asked: Asked) -> Asked:
    """What the call asked for, and where it did not, what the dataset was made with."""
    # Not through PyDataset's properties, which warn where its __init__ has not been called.
    values: list[Any] = [
        getattr(dataset, "_" + name, None) if value is None else value for name, value in asked._asdict().items()
    ]
    return Asked(*values)


def decided(said: Asked, defaults: Defaults, partitions: int | None) -> Reading | None:
    """How to read a dataset, or so many partitions; None: without workers, by Keras itself.

    Keras takes workers for asked for if there are more than one, or processes; 1 is its default, and says nothing.
    """
    asked = 1 if said.workers is None else int(said.workers)
    asks = asked != 0 and (asked != 1 or bool(said.use_multiprocessing))
    workers: int | Literal["auto"] | None = defaults.workers
    if asks and not defaults.firm:
        workers = asked if asked > 0 else "auto"  # -1 is tf.data.AUTOTUNE
    elif said.workers == 0 and not defaults.firm:
        return None
    if partitions is not None:
        workers = min(partitions, workers if isinstance(workers, int) else usable_cores())
    if workers is None:
        return None
    executor = defaults.executor
    if executor == "auto":
        executor = "threads" if asks and partitions is None and not said.use_multiprocessing else "processes"
    queue = said.max_queue_size
    return Reading(workers, executor, "auto" if queue in (None, KERAS_QUEUE) else max(1, int(queue or 1)))


def is_dataset(data: Any) -> bool:
    """Whether it is a `PyDataset` or `Sequence`, of Keras 3 or 2."""
    return any(
        kind.__name__ in ("PyDataset", "Sequence") and kind.__module__.partition(".")[0] in ("keras", "tf_keras")
        for kind in type(data).__mro__
    )


def install(
    workers: int | Literal["auto"] | None = None,
    *,
    executor: Literal["auto", "serial", "threads", "processes"] = "auto",
    seed: int | None = None,
) -> None:
    """Put the engine behind Keras: plain datasets that `fit`, `evaluate` and `predict` are given run on a `Loader`.

    That is each `PyDataset` or `Sequence` (Keras 3, or legacy Keras 2 as `tf_keras`) that asks for workers: as it was
    made, `MyDataset(..., workers=4, use_multiprocessing=True)`, or in the call, `fit(..., workers=4,
    use_multiprocessing=True, max_queue_size=20)`, which Keras 3 itself refuses. A list of datasets is read as
    partitions, one worker for each (at most one for each core, if no number was asked for). A dataset that is given to
    several calls goes on numbering its epochs, so that their random numbers differ.

    May be called again, with other defaults; Keras need not have been imported. `uninstall()` undoes it.

    Args:
        workers: for datasets that ask for none: how many; "auto": the usable cores; None: they are left to Keras.
        executor: "auto": as they ask, threads where `use_multiprocessing` is false, and processes for all others;
            or one for all.
        seed: see `Loader`; None: drawn from `random` for each dataset, which `keras.utils.set_random_seed` fixes.

    Raises:
        ConfigError: a value is unusable (a ValueError).

    Example:
        >>> import procession
        >>> procession.install(workers=2)
        >>> procession.uninstall()
    """
    start(Defaults(workers, executor, seed))


def start(defaults: Defaults) -> Installation:
    """Install, and return what makes the loaders."""
    checked = defaults if defaults.workers is not None else defaults._replace(workers=1)
    make_config(
        batch_size=None,
        drop_remainder=False,
        shuffle=None,
        seed=checked.seed,
        shard=None,
        ordered=True,
        workers=checked.workers,
        executor=checked.executor,
        prefetch="auto",
        faults=Faults(),
    )
    installation = Installation(defaults)
    keras_hook.install(installation)
    return installation


def uninstall() -> None:
    """Undo `install()`: Keras is as it was. Without it, nothing happens; Loaders go on working."""
    keras_hook.uninstall()
