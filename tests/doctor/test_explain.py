"""Which case a text is taken for."""

from __future__ import annotations

import re

import pytest

from procession.doctor.catalogue import CASES
from procession.doctor.catalogue.case import Case
from procession.doctor.explain import explain


def numbers(text: str) -> list[str]:
    return [match.case.number for match in explain(text)]


# --- the rows themselves ---


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_a_symptom_shows_its_case(case: Case) -> None:
    assert numbers(case.symptom)[0] == case.number


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_a_sign_is_in_the_symptom(case: Case) -> None:
    assert [sign for sign in case.signs if re.search(sign, case.symptom)], case.signs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_a_case_is_found_by_its_number_and_name(case: Case) -> None:
    for text in (case.number, f" case {case.number}\n", case.name, f"what is {case.name}?"):
        match = explain(text)[0]
        assert (match.case, match.sign) == (case, match.sign)
        assert match.sign in text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_a_case_is_found_by_its_codes(case: Case) -> None:
    for code in case.codes:
        assert case.number in numbers(f"procession.errors.ProcessionError: something has happened [{code}]")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_signs_are_quick_and_need_text(case: Case) -> None:
    for sign in case.signs:
        assert not re.search(sign, "")
        assert not re.search(sign, "the model learns well")


# --- tracebacks ---

AF_UNIX = """Process SyncManager-1:
Traceback (most recent call last):
  File "connection.py", line 607, in __init__
    self._socket.bind(address)
OSError: AF_UNIX path too long
"""
TOO_MANY = """Traceback (most recent call last):
  File "train.py", line 3, in <module>
    read(name)
OSError: [Errno 24] Too many open files: 'a.png'
"""
CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
SEMAPHORES = """tracker.py:254: UserWarning: resource_tracker: There appear to be 6 leaked semaphore objects to \
clean up at shutdown
  warnings.warn('resource_tracker: There appear to be %d '
"""
IGNORED = "Exception ignored in: <function SharedMemory.__del__ at 0x7f>\n" + AF_UNIX.partition("\n")[2]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (AF_UNIX, "E16"),
        (TOO_MANY, "E6"),
        (SEMAPHORES, "E10"),
        (AF_UNIX + CAUSE + TOO_MANY, "E6"),  # the last of a chain
        (TOO_MANY + CAUSE + AF_UNIX, "E16"),
        (AF_UNIX + SEMAPHORES, "E16"),  # warnings are no errors, wherever they stand
        (SEMAPHORES + AF_UNIX, "E16"),
        (TOO_MANY + IGNORED, "E6"),  # nor is what was ignored
        ("Epoch 1/10\n" + TOO_MANY + "2024-01-01 done\n", "E6"),
    ],
)
def test_the_last_error_counts_most(text: str, first: str) -> None:
    found = numbers(text)
    assert found[0] == first
    assert len(found) == len(set(found))


def test_the_piece_that_decided_is_told() -> None:
    assert explain(AF_UNIX)[0].sign == "AF_UNIX path too long"


def test_a_code_decides_before_signs() -> None:
    assert numbers("ValueError: assignment destination is read-only\nprocession: ... [PRC411]")[:2] == ["E6", "E13"]


# --- people's own words ---

WORDS = {
    "my training freezes at the end of the first epoch and the GPU is at 0%": "B3",
    "memory goes up every epoch until the process gets killed": "E1",
    "it just hangs at epoch 1 with use_multiprocessing=True, no error at all": "B2",
    "one worker was killed by the OOM killer and now fit waits forever": "B4",
    "augmentation gives the same random numbers in all workers": "G1",
    "every epoch has exactly the same random crops": "G2",
    "windows: the whole main script runs again in each worker": "C2",
    "using four workers is not faster at all, CPU stays at 100%": "H1",
    "multiprocessing is ten times slower than no workers": "H2",
    "all the workers run on a single core after I import the library": "H6",
    "one slow image holds up all other batches": "H5",
    "docker container, bus error when loading data": "E4",
    "ctrl-c leaves a mess of tracebacks and processes": "F2",
    "I killed the training and its workers remain, as orphans": "F3",
    "opencv functions block in forked workers": "B7",
    "reading hdf5 with several workers gives wrong data": "G5",
    "zip file opened in __init__ returns corrupt data with several processes": "G4",
    "the order of batches differs with the number of workers": "G7",
    "each worker allocates memory on the gpu": "D5",
    "class defined in a jupyter notebook is not found by the workers": "C3",
    "list of a million file names copied into every worker as it is read": "E2",
    "on_epoch_end is never called": "A9",
    "one corrupt jpeg ends the whole run": "A13",
    "RAM usage keeps increasing during training until the machine swaps": "E1",
    "loading data with 8 workers uses 8 times the memory": "E3",
    "error says no space left on device but the disk is empty": "E5",
    "model trains slower with more workers": "H3",
    "each epoch the data set object is pickled again": "C12",
    "too many threads, load is far above the cores": "H3",
    "cpu_count in the container returns the cores of the host": "H4",
    "writing to the array in __getitem__ fails since it is read only": "E13",
}


@pytest.mark.parametrize("text", WORDS)
def test_a_description_finds_its_case(text: str) -> None:
    assert WORDS[text] in numbers(text)[:3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "the and of with",
        "how do I bake bread with rye flour and honey",
        "accuracy of my classifier is 0.93 on the validation set",
        "NameError: name 'foo' is not defined",
        "AttributeError: 'list' object has no attribute 'shape'",
        "loss is nan after the first epoch",
        "I want to use early stopping on the validation accuracy",
        "ImportError: cannot import name 'spam' from 'eggs'",
        "RuntimeError: You must compile your model before training/testing. Use `model.compile(optimizer, loss)`.",
    ],
)
def test_other_texts_are_no_case(text: str) -> None:
    assert explain(text) == []
