"""Cases A6 and A11 to A14: what comes out of `__getitem__`, in stock Keras and here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procession import BatchError, Faults, Loader, SkippedWarning
from tests.catalogue.kit import outcome, recognised
from tests.catalogue.scripts import HEAD, sections
from tests.conftest import ExecutorName
from tests.support import Made

STOCK_TENSORFLOW = """
section("A11")
model().fit(Where(**MANY), verbose=0)
for name, data in {"A6 rank": Changing(), "A6 structure": Shorter(), "A14": Broken(**MANY)}.items():
    section(name)
    try:
        model().fit(data, shuffle=False, verbose=0)
    except Exception:
        traceback.print_exc()
"""

HERE_TENSORFLOW = """
import procession

for name, kind in {"A11": Where, "A6 rank": Changing, "A6 structure": Shorter, "A14": Broken}.items():
    section(name)
    try:
        with procession.Loader(kind(), workers=2) as loader:
            model().fit(loader, shuffle=False, verbose=0)
    except Exception:
        traceback.print_exc()
"""


@pytest.fixture(scope="module")
def stock_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return sections(STOCK_TENSORFLOW, tmp_path_factory.mktemp("stock"), "tensorflow")


@pytest.fixture(scope="module")
def here_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return sections(HERE_TENSORFLOW, tmp_path_factory.mktemp("here"), "tensorflow")


def test_source_code_runs_in_workers_alone(stock_tensorflow: dict[str, str], here_tensorflow: dict[str, str]) -> None:
    assert stock_tensorflow["A11"].split("\n")[:2] == [
        "item 0 in the training process",
        "item 1 in the training process",
    ]
    said = here_tensorflow["A11"].splitlines()
    assert {line for line in said if line} == {f"item {i} in a worker" for i in range(4)}
    assert recognised("__getitem__ runs twice in the main process before the workers are forked") == "A11"


def test_a_batch_of_another_form_is_named(stock_tensorflow: dict[str, str], here_tensorflow: dict[str, str]) -> None:
    assert "`generator` yielded an element of shape (2,)" in stock_tensorflow["A6 rank"]
    assert "`generator` yielded an element that did not match" in stock_tensorflow["A6 structure"]
    assert "BatchError: " in here_tensorflow["A6 rank"]
    assert "[0] of batch 6 of epoch 0 has shape (2,)" in here_tensorflow["A6 rank"]
    assert "batch 6 of epoch 0 differs in structure from the first one" in here_tensorflow["A6 structure"]
    for said in (stock_tensorflow, here_tensorflow):
        assert recognised(said["A6 rank"]) == "A6"
        assert recognised(said["A6 structure"]) == "A6"


def test_an_exception_arrives_as_itself(stock_tensorflow: dict[str, str], here_tensorflow: dict[str, str]) -> None:
    assert "InvalidArgumentError: Graph execution error" in stock_tensorflow["A14"] or (
        "UnknownError: Graph execution error" in stock_tensorflow["A14"]
    )
    assert "Graph execution error" not in here_tensorflow["A14"]
    assert "\nOSError: image file is truncated (12 bytes not processed)" in here_tensorflow["A14"]
    assert "raised by source[3]" in here_tensorflow["A14"]
    assert "in __getitem__" in here_tensorflow["A14"]


def test_what_tensorflow_makes_of_an_exception_is_recognised(stock_tensorflow: dict[str, str]) -> None:
    assert (
        recognised(stock_tensorflow["A14"].replace("image file is truncated (12 bytes not processed)", "sample 3"))
        == "A14"
    )


NONE = """
import signal, threading

class Gaps(Data):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return None if i == 2 else super().__getitem__(i)


class Telling(keras.callbacks.Callback):
    def on_predict_batch_end(self, batch, logs=None):
        if batch == 6:
            say("seven of eight")
            threading.Timer(6, give_up).start()


def give_up():
    say("still waiting")
    os.killpg(0, signal.SIGKILL)


model().predict(Gaps(**MANY), verbose=0, callbacks=[Telling()])
say("returned")
"""


def none_at_two(i: int) -> Any:
    return None if i == 2 else np.full((2, 2), i)


def test_a_batch_that_is_none_is_named(executor: ExecutorName) -> None:
    source = Made(none_at_two, 8)
    with (
        Loader(source, executor=executor, workers=2) as loader,
        pytest.raises(BatchError, match=r"source\[2\] returned None instead of a batch") as caught,
    ):
        list(loader)
    assert recognised(f"BatchError: {caught.value}") == "A12"
    with (
        Loader(source, executor=executor, workers=2, faults=Faults(on_error="skip")) as loader,
        pytest.warns(SkippedWarning),
    ):
        assert [int(batch[0, 0]) for batch in loader] == [0, 1, 3, 4, 5, 6, 7]


def test_stock_keras_waits_for_a_batch_that_is_none(tmp_path: Path) -> None:
    said = outcome(HEAD + NONE, tmp_path, KERAS_BACKEND="jax")
    assert said.output.endswith("seven of eight\nstill waiting\n")
    assert said.status == -9
    assert recognised("fit stops without a message when __getitem__ returns None for one index") == "A12"


def truncated_at_three(i: int) -> int:
    if i == 3:
        raise OSError("image file is truncated (12 bytes not processed)")
    return i


def test_a_damaged_sample_is_left_out(stock_tensorflow: dict[str, str], executor: ExecutorName) -> None:
    assert "\nOSError: image file is truncated" in stock_tensorflow["A14"]
    assert recognised("OSError: image file is truncated (12 bytes not processed)") == "A13"
    source = Made(truncated_at_three, 6)
    with Loader(source, executor=executor, workers=2, faults=Faults(on_error="skip")) as loader:
        with pytest.warns(SkippedWarning) as caught:
            assert list(loader) == [0, 1, 2, 4, 5]
        assert [skip.index for skip in loader.statistics().skipped] == [3]
    assert recognised(f"SkippedWarning: {caught[0].message}") == "A13"
