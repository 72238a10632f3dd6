"""Cases A1 to A5 and A7 to A10: each as stock Keras has it, and as it is here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from procession import Loader, SourceTypeError
from tests.adapters.conftest import LEGACY_VARIABLE, folder_with
from tests.catalogue.kit import outcome, recognised
from tests.catalogue.scripts import by_section, sections
from tests.conftest import ExecutorName
from tests.support import Made

STOCK = """
section("A1")
for keywords in ({"workers": 2}, {"use_multiprocessing": True}, {"max_queue_size": 4}):
    try:
        model().fit(Data(), **keywords)
    except TypeError:
        traceback.print_exc()
section("A2")
model().fit(Old(), verbose=0)
section("A7")
model().fit(Data(), steps_per_epoch=6, epochs=2, verbose=0)
section("A8")
data = Late(**MANY)
model().fit(data, epochs=2, verbose=0)
say("last epoch of the data:", data.begun)
section("A9")
data, other = Data(), Data()
model().fit(data, validation_data=other, epochs=2, verbose=0)
say("calls:", data.begun, data.ended, other.begun, other.ended)
"""

HERE = """
import procession

section("A1")
procession.install()
model().fit(Data(), verbose=0, workers=2, use_multiprocessing=True, max_queue_size=4)
procession.uninstall()
say("trained")
section("A2")
with procession.Loader(Old(), workers=2) as loader:
    model().fit(loader, verbose=0)
    say("workers:", len(loader.statistics().pids))
section("A7")
counting = Counting()
with procession.Loader(Data(), workers=2) as loader:
    model().fit(loader, steps_per_epoch=3, epochs=4, verbose=0, callbacks=[counting])
say("steps:", *counting.steps)
section("A7 endless")


class Endless(Data):
    num_batches = None

    def __getitem__(self, i):
        return super().__getitem__(i % len(self))


counting = Counting()
with procession.Loader(Endless(), workers=2) as loader:
    model().fit(loader, steps_per_epoch=6, epochs=3, verbose=0, callbacks=[counting])
say("steps:", *counting.steps)
section("A8")
with procession.Loader(Late(), workers=2) as loader:
    model().fit(loader, epochs=2, verbose=0)
section("A9")
data, other = Data(), Data()
with procession.Loader(data, workers=2) as loader, procession.Loader(other, workers=2) as validation:
    model().fit(loader, validation_data=validation, epochs=2, verbose=0)
say("calls:", data.begun, data.ended, other.begun, other.ended)
"""


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return sections(STOCK, tmp_path_factory.mktemp("stock"), "jax")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return sections(HERE, tmp_path_factory.mktemp("here"), "jax")


def test_fit_takes_workers_again(stock: dict[str, str], here: dict[str, str]) -> None:
    for keyword in ("workers", "use_multiprocessing", "max_queue_size"):
        assert f"got an unexpected keyword argument '{keyword}'" in stock["A1"]
    assert recognised(stock["A1"]) == "A1"
    assert here["A1"].strip() == "trained"


def test_the_base_class_need_not_be_initialised(stock: dict[str, str], here: dict[str, str]) -> None:
    assert "should call `super().__init__(**kwargs)`" in stock["A2"]
    assert recognised(stock["A2"]) == "A2"
    assert here["A2"].strip() == "workers: 2"


def test_steps_go_on_where_the_data_begin_again(stock: dict[str, str], here: dict[str, str]) -> None:
    assert "Your input ran out of data; interrupting training" in stock["A7"]
    assert recognised(stock["A7"]) == "A7"
    assert here["A7"].splitlines()[-1] == "steps: 3 1 3 1"  # whole passes: no batch is left out
    assert here["A7 endless"] == "steps: 6 6 6\n"


def test_workers_see_what_on_epoch_begin_has_set(stock: dict[str, str], here: dict[str, str]) -> None:
    last = int(stock["A8"].rsplit("last epoch of the data: ")[1])
    assert "epoch of the data: 0\n" in stock["A8"]  # read by workers that were forked before the hook had run
    assert f"\nepoch of the data: {last}\n" not in stock["A8"]  # each epoch is
    assert here["A8"].split("\n")[:-1] == ["epoch of the data: 1"] * 4 + ["epoch of the data: 2"] * 4
    assert recognised("workers still see the state of the previous epoch when on_epoch_begin is slow") == "A8"


def test_hooks_are_called_once_an_epoch(stock: dict[str, str], here: dict[str, str]) -> None:
    assert stock["A9"].splitlines()[-1] != "calls: 2 2 2 2"
    assert here["A9"].splitlines()[-1] == "calls: 2 2 2 2"
    assert recognised("on_epoch_end is called several times per epoch") == "A9"


LEGACY = """
import os, sys, time, traceback
sys.stderr = sys.stdout
import numpy as np
import tf_keras


def batches():
    for i in range(6):
        os.write(1, f"made {i}\\n".encode())
        time.sleep(0.05)  # the work of a batch
        yield np.zeros((2, 2)), np.zeros((2, 1))


for processes in (True, False):
    print(f"\\n== {processes}")
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(2,))])
    model.compile("sgd", "mse")
    try:
        model.fit(batches(), steps_per_epoch=6, workers=4, use_multiprocessing=processes, verbose=0)
    except Exception:
        traceback.print_exc()
"""


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = folder_with(LEGACY_VARIABLE, "tf_keras")
    script = f"import sys\nsys.path[:0] = [{folder!r}]\n{LEGACY}"
    return by_section(outcome(script, tmp_path_factory.mktemp("old"), PYTHONUNBUFFERED="1").output)


def squares() -> Iterator[int]:
    yield from (number**2 for number in range(6))


def test_a_generator_is_refused_and_its_index_is_read_once(legacy: dict[str, str], executor: ExecutorName) -> None:
    assert legacy["True"].count("made 1") > 1  # each worker began with its own copy
    with pytest.raises(SourceTypeError, match=r"is a generator .* which has no index") as caught:
        Loader(squares(), executor=executor)
    assert recognised(f"SourceTypeError: {caught.value}") == "A3"
    assert (
        recognised(
            "UserWarning: Using a generator with `use_multiprocessing=True` and multiple workers may duplicate your "
            "data."
        )
        == "A3"
    )
    with Loader(Made(lambda i: i**2, 6), executor=executor, workers=2) as loader:
        assert list(loader) == list(squares())


def test_no_iterator_is_shared_between_threads(legacy: dict[str, str]) -> None:
    assert "generator already executing" in legacy["False"]
    assert "Your generator is NOT thread-safe" in legacy["False"]
    assert recognised(legacy["False"]) == "A4"
    with pytest.raises(SourceTypeError, match="is a generator"):
        Loader(squares(), executor="threads", workers=4)
    with Loader(list(squares()), executor="threads", workers=4) as loader:
        assert list(loader) == list(squares())


class Unending:
    """What can be indexed without end, as a PyDataset can: only its length says where to stop."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        return index


def test_a_loop_stops_at_the_length(executor: ExecutorName) -> None:
    assert len(list(itertools.islice(iter(Unending()), 10))) == 10
    with Loader(Unending(), executor=executor, workers=2) as loader:
        assert [list(loader), list(loader)] == [[0, 1, 2]] * 2
    assert recognised("for x, y in dataset: in my own loop never stops although len(dataset) is right") == "A5"


class Stateful:
    """Changes with the epoch."""

    epoch = 0

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        return self.epoch * 10 + index


BORN_WITH = """
import multiprocessing


class Data:
    epoch = 0


data = Data()


def look(changed):
    changed.wait()
    print("worker sees", data.epoch, flush=True)


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    changed = context.Event()
    worker = context.Process(target=look, args=(changed,))
    worker.start()
    data.epoch = 1
    changed.set()
    worker.join()
"""


def test_what_is_set_between_epochs_reaches_living_workers(tmp_path: Path) -> None:
    assert outcome(BORN_WITH, tmp_path).output == "worker sees 0\n"
    source = Stateful()
    with Loader(source, workers=2) as loader:
        found = []
        for epoch in range(3):
            source.epoch = epoch
            found.append(list(loader))
            assert set(loader.statistics().pids) == {0, 1}
        pids = loader.statistics().pids
        assert list(loader) == [20, 21, 22, 23]
        assert loader.statistics().pids == pids
    assert found == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]
    assert recognised("set_epoch() has no effect in persistent workers, the same samples come each epoch") == "A10"
