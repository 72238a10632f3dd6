"""Cases G: data that are wrong; with stock multiprocessing, h5py and torch, and here."""

from __future__ import annotations

import hashlib
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from procession import CaptureError, Loader
from tests.catalogue.kit import outcome, recognised
from tests.support import Made, run_script

# --- random numbers ---

FORKED = """
import multiprocessing as mp
import numpy as np

np.random.seed(7)

class Noise:
    def __getitem__(self, i):
        return np.random.randint(10**6)

def work(source, indices, answer):
    answer.send([source[i] for i in indices])

def epoch(workers):
    # What Keras does: workers are forked for each epoch, and each draws from its copy of the generator.
    context = mp.get_context("fork")
    pipes = [context.Pipe() for _ in range(workers)]
    for worker, (_, answer) in enumerate(pipes):
        context.Process(target=work, args=(Noise(), range(worker, 4, workers), answer)).start()
    return [result.recv() for result, _ in pipes]

(alone,) = epoch(1)
one, two = epoch(2)
print(one == two, epoch(2) == [one, two], one[1] == alone[2])
"""


class Noise:
    """The same source, and one that draws from Python's own generator."""

    def __init__(self, length: int = 12) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        return np.random.randint(10**6, size=4), random.random()


def digests(workers: int, epochs: int = 2) -> list[str]:
    """Return a digest of each epoch."""
    with Loader(Noise(), workers=workers, seed=3) as loader:
        return [hashlib.sha256(repr(list(loader)).encode()).hexdigest() for _ in range(epochs)]


def test_random_numbers_of_workers_epochs_and_their_number(tmp_path: Path) -> None:
    # Two workers draw alike; the next epoch draws the same; with one worker the items have other numbers.
    assert outcome(FORKED, tmp_path).output == "True True False\n"
    first, second = want = digests(0)
    assert first != second
    assert [digests(workers) for workers in (1, 2, 4)] == [want] * 3
    with Loader(Noise(), workers=3, seed=3) as loader:
        drawn = [repr(batch) for _ in range(2) for batch in loader]
    assert len(set(drawn)) == 24


SEEN = {
    "All workers produce the same augmentation: 8 identical lines of np.random.randint": "G1",
    "np.random gives the same numbers in every worker": "G1",
    "every epoch repeats the same random crops": "G2",
    "my random augmentations are identical in each epoch": "G2",
    "set_random_seed is reproducible with workers=1 but not with workers=4": "G3",
    "Results are not reproducible with multiple workers although the seed is fixed": "G3",
    "zipfile.BadZipFile: Bad CRC-32 for file 'foo/7.0.0'": "G4",
    "zlib.error: Error -3 while decompressing data: invalid distance too far back": "G4",
    "tarfile.ReadError: unexpected end of data, only with workers": "G4",
    "KeyError: 'Unable to open object (bad object header version number)'": "G5",
    "OSError: Can't read data (inflate() failed)": "G5",
    "OSError: Can't synchronously read data (wrong B-tree signature)": "G5",
    "Segmentation fault after epoch 1: two threads call pandas.read_hdf on the same HDF5 file": "G6",
    "predictions come back in another order when workers > 1": "G7",
    "The order of batches changes with workers=4": "G7",
    "fewer batches than expected with drop_last=True and 3 workers": "G8",
}


@pytest.mark.parametrize("text", SEEN)
def test_what_is_seen(text: str) -> None:
    assert recognised(text) == SEEN[text]


# --- files that processes share ---

ARCHIVE = """
import multiprocessing as mp, zipfile

def read(archive, answer):
    names = archive.namelist()
    for k in range(200_000):
        try:
            archive.read(names[k % len(names)])
        except Exception as error:
            return answer.send(f"{type(error).__module__}.{type(error).__name__}: {error}")
    answer.send("")

context = mp.get_context("fork")
with zipfile.ZipFile("data.zip") as archive:
    pipes = [context.Pipe() for _ in range(2)]
    for _, answer in pipes:
        context.Process(target=read, args=(archive, answer)).start()
    for told, _ in pipes:
        print(told.recv())
"""


def test_an_archive_that_workers_share(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for i in range(40):
            archive.writestr(f"foo/{i}.0.0", f"foo/{i}.0.0" * 300)
    stock = outcome(ARCHIVE, tmp_path)
    assert recognised(stock.output) == "G4"
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist() * 50
        with Loader(Made(lambda i: archive.read(names[i]) == names[i].encode() * 300, len(names)), workers=2) as loader:
            assert all(loader)


class Rows:
    """Reads from an open HDF5 file."""

    def __init__(self, file: h5py.File) -> None:
        self.file = file

    def __len__(self) -> int:
        return 200

    def __getitem__(self, i: int) -> Any:
        return self.file["x"][i], os.getpid()


def test_one_hdf5_file_for_training_and_validation(tmp_path: Path) -> None:
    x = np.arange(200 * 64).reshape(200, 64)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=(3, 64), compression="gzip")
        with Loader(Rows(file), workers=2) as loader, pytest.raises(CaptureError, match="open for writing"):
            iter(loader)  # mode "r+", as of the one that has made it
    with h5py.File(tmp_path / "x.h5") as file:
        file["x"][0]  # its caches are warm, as after Keras's look at the first batch
        source = Rows(file)
        for executor in ("processes", "threads"):
            with Loader(source, executor=executor, workers=2) as training, Loader(source, workers=2) as validation:
                batches = list(zip(training, validation, strict=True))
            assert all((one[0] == x[i]).all() and (two[0] == x[i]).all() for i, (one, two) in enumerate(batches))
            assert os.getpid() not in {two[1] for _, two in batches}


# --- order, and what is left over ---

UNORDERED = """
import multiprocessing as mp

def make(i):
    if i == 0:
        open("gate", "rb").close()  # waits until somebody opens it to write
    return i

with mp.get_context("fork").Pool(2) as pool:
    results = pool.imap_unordered(make, range(2))
    first = next(results)
    open("gate", "wb").close()
    print(first, next(results))
"""


class Waits:
    """Its first item is not ready before the second has been made."""

    def __init__(self, gate: Path) -> None:
        self.gate = gate

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> int:
        self.gate.open("rb" if i == 0 else "wb").close()  # each waits for the other
        return i


def test_the_order_is_that_of_the_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    assert outcome(UNORDERED, tmp_path).output == "1 0\n"
    with Loader(Waits(tmp_path / "gate"), workers=2, prefetch=2) as loader:
        for _ in range(20):
            assert list(loader) == [0, 1]


LEFT_OVER = """
import warnings
warnings.simplefilter("ignore")
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

class Rows(IterableDataset):
    def __iter__(self):
        worker = get_worker_info()
        return iter(range(worker.id, 103, worker.num_workers))

print(sum(len(batch) for batch in DataLoader(Rows(), batch_size=10, drop_last=True, num_workers=3)))
"""


def test_what_is_left_over_is_left_over_once(tmp_path: Path) -> None:
    assert run_script(LEFT_OVER, tmp_path).stdout == "90\n"  # of 103: each worker drops a rest of its own
    for workers in (1, 2, 3):
        for drop, rows in ((True, 100), (False, 103)):
            with Loader(np.arange(103), batch_size=10, drop_remainder=drop, workers=workers) as loader:
                assert np.concatenate(list(loader)).tolist() == list(range(rows))
