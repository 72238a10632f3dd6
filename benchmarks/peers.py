"""The peers, each as an iterator of the batches of a source, set up as its own documentation says."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.clock import paced
from benchmarks.model import Contender
from benchmarks.sources import Prepared, Source

# Keras's enqueuer is the same on every backend, and this backend is the quickest to import.
NUMPY_BACKEND = {"KERAS_BACKEND": "numpy"}


def in_process(source: Source) -> Iterator[Any]:
    """The bound: no transport at all."""
    return (source[index] for index in itertools.count())


def procession(source: Source, workers: int = 2) -> Iterator[Any]:
    """Procession with processes."""
    from procession import Loader

    with Loader(source, workers=workers, executor="processes") as loader:
        yield from loader


def keras(source: Source, workers: int = 2, processes: bool = True) -> Iterator[Any]:
    """What `fit` iterates when a PyDataset asks for workers."""
    from keras.src.trainers.data_adapters.py_dataset_adapter import OrderedEnqueuer

    from benchmarks.keras_dataset import Dataset

    enqueuer = OrderedEnqueuer(Dataset(source), workers=workers, use_multiprocessing=processes, max_queue_size=10)
    enqueuer.start()
    try:
        yield from enqueuer.get()
    finally:
        enqueuer.stop()


def torch(source: Source, workers: int = 2) -> Iterator[Any]:
    """A DataLoader over a source whose items are batches."""
    from torch.utils.data import DataLoader

    return iter(DataLoader(source, batch_size=None, num_workers=workers, persistent_workers=True))


def grain(source: Source, workers: int = 2) -> Iterator[Any]:
    """A MapDataset through `mp_prefetch`."""
    import grain.python as pygrain
    from absl import flags

    # Without this it raises UnparsedFlagAccessError outside absl's own `app.run`.
    flags.FLAGS(["benchmarks"])
    # As it comes, each worker reads 500 elements ahead in 16 threads, which with elements this big is 40 times slower
    # and takes gigabytes; one thread that reads one ahead was the best of those tried.
    reading = pygrain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    dataset = pygrain.MapDataset.source(source).to_iter_dataset(reading)
    return iter(dataset.mp_prefetch(pygrain.MultiprocessingOptions(num_workers=workers)))


def from_generator(source: Source) -> Iterator[Any]:
    """tf.data over a Python generator, prefetching; it has no workers for Python."""
    import tensorflow as tf

    spec = tuple(tf.TensorSpec(part.shape, part.dtype) for part in source[0])
    dataset = tf.data.Dataset.from_generator(lambda: in_process(source), output_signature=spec)
    return iter(dataset.prefetch(2))


def segment_pool(size: int) -> Iterator[Any]:
    """SPDL's subprocess iteration over its pool of shared segments."""
    from spdl.pipeline import SharedMemorySegmentPool, iterate_in_subprocess

    # Eight, so that neither side ever waits for a segment of the other.
    pool = SharedMemorySegmentPool(segment_size=size + 4096, count=8)
    return iter(iterate_in_subprocess(functools.partial(Prepared, size), arena=pool))


def contender(name: str, batches: Callable[[], Iterator[Any]], warm: int, quick: bool = True) -> Contender:
    """Make a contender of an iterator that does not end; `warm` batches may be buffered when its turn comes."""
    return Contender(
        name,
        build=lambda: paced(batches(), warm),
        needs=NEEDS.get(name, ()),
        environment=ENVIRONMENT.get(name, {}),
        quick=quick,
    )


NEEDS = {
    "procession": ("procession",),
    "Keras processes": ("keras",),
    "Keras threads": ("keras",),
    "torch DataLoader": ("torch",),
    "Grain mp_prefetch": ("grain",),
    "tf.data from_generator": ("tensorflow",),
    "SPDL segment pool": ("spdl",),
}
ENVIRONMENT = {"Keras processes": NUMPY_BACKEND, "Keras threads": NUMPY_BACKEND}
