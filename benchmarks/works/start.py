"""start and gap: a worker's first batch, its own memory, and the time from one epoch to the next."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

from benchmarks import peers
from benchmarks.memory import private_bytes
from benchmarks.model import PROCESSION, Contender, Figure, Round, Sample, Target, Work
from benchmarks.sources import Small, Source

EPOCH = 40


def procession_start() -> Round:
    """A second loader, when the template of the first is up: from its construction to its first batch."""
    import procession
    from benchmarks.tensorflow_source import WhoseTensorFlow

    first = iter(procession.Loader(WhoseTensorFlow(), workers=1))
    next(first)

    def measure(_: float) -> Sample:
        # The first loader is in use all the while, and so the template stays up.
        next(first)
        begin = time.perf_counter()
        with procession.Loader(WhoseTensorFlow(), workers=1) as second:
            pid = next(iter(second))
            ready = time.perf_counter() - begin
            return {"ready": ready, "private": private_bytes(int(pid[0]))}

    return measure


def serve(pipe: Connection, source: Source) -> None:
    """Send one batch, and wait to be told that it was enough."""
    pipe.send(source[0])
    pipe.recv()


def spawned_start() -> Round:
    """What a worker costs that is started as a process of its own."""
    from benchmarks.tensorflow_source import WhoseTensorFlow

    context = multiprocessing.get_context("spawn")

    def measure(_: float) -> Sample:
        begin = time.perf_counter()
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, WhoseTensorFlow()))
        process.start()
        pid = here.recv()
        sample = {"ready": time.perf_counter() - begin, "private": private_bytes(int(pid[0]))}
        here.send(None)
        process.join()
        return sample

    return measure


def gaps(epoch: Callable[[], Iterator[Any]]) -> Round:
    """Time the way from the last batch of an epoch to the first of the next."""

    def measure(_: float) -> Sample:
        batches = epoch()
        for _ in range(EPOCH):
            next(batches)
        begin = time.perf_counter()
        # What ends an epoch belongs to the gap.
        for _ in batches:
            raise AssertionError("the epoch is longer than it should be")
        batches = epoch()
        next(batches)
        gap = time.perf_counter() - begin
        for _ in batches:
            pass
        return {"gap": gap}

    measure(0)
    return measure


def procession_gap() -> Round:
    """Two epochs of one Loader."""
    import procession

    loader = ExitStack().enter_context(procession.Loader(Small(EPOCH), workers=2))
    return gaps(lambda: iter(loader))


def keras_gap() -> Round:
    """Two epochs as Keras's adapter runs them."""
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    from benchmarks.keras_dataset import Dataset

    adapter = PyDatasetAdapter(Dataset(Small(EPOCH), workers=2, use_multiprocessing=True))

    def epoch() -> Iterator[Any]:
        adapter.on_epoch_begin()
        yield from adapter.get_numpy_iterator()
        adapter.on_epoch_end()

    return gaps(epoch)


def torch_gap() -> Round:
    """Two epochs of a DataLoader that keeps its workers."""
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(Small(EPOCH), batch_size=None, num_workers=2, persistent_workers=True)
    return gaps(lambda: iter(loader))


START = Work(
    name="start",
    about="1 worker of a source that imports TensorFlow, the template being up",
    contenders=(
        Contender(PROCESSION, procession_start, needs=("procession", "tensorflow")),
        Contender("spawned process", spawned_start, needs=("tensorflow",), quick=False),
    ),
    figures=(
        Figure("start of a worker", key="ready", unit="ms", scale=1e3, targets=(Target(50),)),
        Figure("private memory of a worker", key="private", unit="MB", scale=1e-6, targets=(Target(15),)),
    ),
)
GAP = Work(
    name="gap",
    about="from an epoch's last batch to the next one's first, small batches, 2 workers",
    contenders=(
        Contender(PROCESSION, procession_gap, needs=("procession",)),
        Contender("Keras processes", keras_gap, needs=("keras",), environment=peers.NUMPY_BACKEND),
        Contender("torch DataLoader", torch_gap, needs=("torch",)),
    ),
    figures=(Figure("gap between epochs", key="gap", unit="ms", scale=1e3, targets=(Target(5),)),),
    rounds=15,
)
WORKS = (START, GAP)
