"""`Loader`: the object that people give to `fit` or loop over."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from typing import Any, Literal, Self

from procession.adapters import keras_hook
from procession.adapters.distributed import chosen
from procession.adapters.epochs import Streamed
from procession.config import Faults, make_config
from procession.errors import EpochAbandonedError
from procession.monitoring.stats import Statistics
from procession.order.sharding import Shard
from procession.order.state import State
from procession.stream import EndOfEpoch, Stream


class Loader(Streamed):
    """Makes the batches of any indexable source in parallel, in order, each once.

    Give it to `model.fit`, `evaluate` or `predict` in place of the source, or loop over it: each `iter` begins an
    epoch. Workers start with the first epoch, live until `close()`, and are ended with the loader in every case.

    Args:
        source: an object with `source[i]` and `len(source)` (a Keras `PyDataset` or `Sequence`, a torch map dataset, a
            list), endless if its `num_batches` is None; or, with `batch_size`, a tuple or dict (nested as you like) of
            arrays with one common first axis; or `Partitions`, or a list of objects with `source[i]`, which means the
            same (a list of arrays, tuples, dicts or lists is one source: its items are data). With processes it is sent
            to the workers once, and only its hooks (`on_epoch_begin`, `on_epoch_end`) run in this process.
        batch_size: None: `source[i]` is a batch. An int: `source[i]` is one sample, and this many are stacked.
        drop_remainder: leave out the last batch if it is smaller than `batch_size`.
        shuffle: whether each epoch has an order of its own (of batches, or of samples with `batch_size`); None: as
            `fit` asks, and not at all in plain iteration. `Window(size)` shuffles near things only, `Weighted(weights)`
            and `Balanced(labels)` draw; or your own object, whose `indices(epoch)` returns the indices of an epoch.
        seed: fixes the order and all random numbers (`procession.rng`, and the global generators inside a source), an
            int below 2**128; None: drawn from `random`, and shown in `statistics()` and `state_dict()`.
        shard: which part of each epoch this process reads, where several train together: a `Shard(index, count)`;
            "auto": what Keras's distribution, jax.distributed, torch.distributed, tf.distribute, TF_CONFIG or
            RANK and WORLD_SIZE say; None: all of it. All of them need the same `seed`.
        workers: how many; "auto": the usable cores; 0: no workers, as `executor="serial"`.
        executor: "processes" (as "auto"), "threads", for sources that wait or compute outside of the GIL, or "serial".
        prefetch: batches ready or under way ahead of the consumer; "auto": two for each worker, more where they are
            tiny.
        ordered: False: batches come as they become ready, each once; the order then depends on what takes how long.
        faults: what to do when something goes wrong, see `Faults`. By default an exception of the source is raised, and
            a worker that dies is replaced and its batch made again, without a change in the stream.

    Raises:
        ConfigError: a parameter has an unusable value (a ValueError).
        SourceTypeError: the source has no index or no length (a TypeError).
        EmptySourceError: there is nothing to deliver (a ValueError).

    Example:
        >>> import numpy as np
        >>> import procession
        >>> x, y = np.arange(6.0).reshape(6, 1), np.arange(6)
        >>> with procession.Loader((x, y), batch_size=4, workers=2) as loader:
        ...     [(a.shape, b.tolist()) for a, b in loader]
        [((4, 1), [0, 1, 2, 3]), ((2, 1), [4, 5])]
    """

    def __init__(  # noqa: PLR0913 - each with a default
        self,
        source: Any,
        *,
        batch_size: int | None = None,
        drop_remainder: bool = False,
        shuffle: Any = None,
        seed: int | None = None,
        shard: Shard | Literal["auto"] | None = None,
        workers: int | Literal["auto"] = "auto",
        executor: Literal["auto", "serial", "threads", "processes"] = "auto",
        prefetch: int | Literal["auto"] = "auto",
        ordered: bool = True,
        faults: Faults = Faults(),  # noqa: B008 - it is frozen
    ) -> None:
        config = make_config(
            batch_size=batch_size,
            drop_remainder=drop_remainder,
            shuffle=shuffle,
            seed=seed,
            shard=chosen(shard, seed),
            ordered=ordered,
            workers=workers,
            executor=executor,
            prefetch=prefetch,
            faults=faults,
        )
        self._stream = Stream(source, config)
        keras_hook.ensure()
        # Also at interpreter exit, when nobody dropped the loader; never in a forked child, whose copy owns nothing.
        self._finalizer = weakref.finalize(self, _close_in, os.getpid(), self._stream)

    @property
    def source(self) -> Any:
        """The source, as it was given."""
        return self._stream.source

    def __len__(self) -> int:
        """The number of batches of an epoch.

        Raises:
            TypeError: the source is endless.
        """
        positions = self._stream.positions()
        if positions is None:
            raise TypeError(
                "the source is endless (its num_batches is None), so the loader has no length; fit needs "
                "steps_per_epoch"
            )
        return positions

    def __iter__(self) -> Iterator[Any]:
        """Begin the next epoch; one that was not read to its end counts as begun.

        Raises:
            LoaderClosedError: after `close()`.
            CaptureError: something in the source cannot be sent to the workers; names its attribute path.
        """
        return _Epoch(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Loader cannot be copied, pickled or be part of another's source: it owns workers of this process. "
            "Make it where it is used, from its source"
        )

    def __repr__(self) -> str:
        config = self._stream.config
        kind = type(self._stream.source).__qualname__
        state = ", closed" if self._stream.closed else ""
        return f"Loader({kind}, executor={config.executor!r}, workers={config.workers}, seed={config.seed}{state})"

    def statistics(self) -> Statistics:
        """What has happened so far, as a frozen snapshot: batches, bytes, waiting, work, and what had to be pickled."""
        return self._stream.statistics()

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is: after the last batch that was taken. Plain values, under 1 kB of JSON.

        Under `fit`, batches are taken ahead of the step that trains on them: there, use `resume_callback`.

        Returns:
            A dict for `load_state_dict` of a loader of the same source, here or elsewhere, with any number of workers
            and any executor.

        Example:
            >>> import procession
            >>> with procession.Loader(list("abcdef"), shuffle=True, seed=3, workers=2) as loader:
            ...     batches = iter(loader)
            ...     first, state = [next(batches), next(batches)], loader.state_dict()
            ...     rest = list(batches)
            >>> with procession.Loader(list("abcdef"), shuffle=True, workers=0) as loader:
            ...     loader.load_state_dict(state)
            ...     list(loader) == rest
            True
        """
        return self._stream.state().to_dict()

    def load_state_dict(self, state: dict[str, Any], *, strict: bool = True) -> None:
        """Go on from where `state_dict` was called: the next `iter`, or epoch of `fit`, is what was left of that epoch.

        Nothing is made again. The hooks of the source, if it has any, are called as often as they had been.

        Args:
            state: what `state_dict` returned.
            strict: False: go on, with a warning, as far into the epoch, though length, seed, batch size, order, shard
                or source differ.

        Raises:
            StateError: it is no such state, or differs from this loader; says both sides (a ValueError).
        """
        self._stream.load(State.from_dict(state), strict=strict)

    def resume_callback(self, path: str | os.PathLike[str]) -> Any:
        """Return a Keras callback that keeps this loader's place beside the model's checkpoints.

        `fit` with it goes on exactly where the model was saved, in the middle of an epoch too, whether the model came
        back through `BackupAndRestore` or from a file that `ModelCheckpoint` wrote: the place is found by the number of
        steps that the model's optimizer has done.

            loader = procession.Loader(source, seed=1)
            model.fit(loader, callbacks=[keras.callbacks.BackupAndRestore("backup", save_freq=100),
                                         loader.resume_callback("backup/loader.json")])

        Args:
            path: a file of its own; in the folder of `BackupAndRestore` it is removed with that. List the callback
                behind `BackupAndRestore`: it corrects the epoch to begin with, where that has it wrong. With a model
                from `ModelCheckpoint`, tell `fit` its `initial_epoch`, which the file does not hold.

        Returns:
            A `keras.callbacks.Callback`.
        """
        from procession.adapters.keras_callback import ResumeCallback

        return ResumeCallback(self, path)

    def close(self) -> None:
        """End the workers and give back the memory; batches still held stay valid. May be called twice."""
        self._finalizer()

    def to_tf(self) -> Any:
        """Return a `tf.data.Dataset` of this loader's batches; each pass over it is an epoch.

        Its element spec is taken from real batches, made by the workers; the first axis is left open, as is each other
        one in which they differ. Arrays reach TensorFlow without a copy.

        Returns:
            A `tf.data.Dataset` with the structure of the batches.

        Raises:
            BatchError: the batches hold something that has no TensorFlow type.
        """
        from procession.adapters.tf import dataset

        return dataset(self, self._stream)

    def to_torch(self) -> Any:
        """Return a torch `IterableDataset` of this loader's batches, arrays as tensors on the same memory.

        Returns:
            A `torch.utils.data.IterableDataset`; give it to a `DataLoader` with `batch_size=None` and `num_workers=0`.
        """
        from procession.adapters.torch import iterable_dataset

        return iterable_dataset(self)

    def to_jax(self) -> Iterator[Any]:
        """Begin an epoch and return an iterator over its batches as JAX arrays, on the CPU without a copy.

        Returns:
            An iterator of trees of `jax.Array` on the default device.
        """
        from procession.adapters.jax import device_arrays

        return device_arrays(iter(self))


class _Epoch:
    """One pass over a loader."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader  # `for batch in Loader(...)` keeps nothing but this iterator
        self._stream = loader._stream
        self._plan = self._stream.begin_epoch(shuffle=False)
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        if self._stream.current is not self._plan and not self._stream.closed:
            raise EpochAbandonedError(
                f"this iterator belongs to epoch {self._plan.epoch}, but the loader has begun epoch "
                f"{self._stream.epoch} since: a loader reads one epoch at a time. For two at once make two Loaders "
                "of the source"
            )
        try:
            return self._stream.take()
        except EndOfEpoch:
            self._over = True
            self._stream.end_epoch()
            raise StopIteration from None
        except BaseException:
            self._over = True
            raise


def _close_in(owner: int, stream: Stream) -> None:
    if os.getpid() == owner:
        stream.close()
