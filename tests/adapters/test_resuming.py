"""A training that is stopped or killed in the middle of an epoch and goes on comes to the very same weights."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.conftest import NEWEST, ROOT, Lab

# Stops after so many batches in each run (7 make an epoch, 3 epochs a training), and how it is trained.
CASES: dict[str, tuple[list[int], dict[str, Any]]] = {
    "in the first epoch": ([5], {}),
    "in the second epoch": ([12], {}),
    "saved at the end of each epoch": ([10], {"save_freq": "epoch"}),
    "saved at the last batch of an epoch": ([8], {"save_freq": 7}),
    "stopped twice": ([4, 6], {"save_freq": 2}),
    "stopped twice in one epoch": ([12, 2], {"save_freq": 2}),
    "listed first": ([12], {"listed": "before"}),
    "hooks": ([12], {"source": "hooked"}),
    "hooks and a drawn seed": ([12], {"source": "hooked", "seed": None}),
    "validation": ([12], {"validation": True}),
    "fewer steps than batches": ([8], {"steps_per_epoch": 3, "epochs": 6, "save_freq": 2}),
    "fewer steps, hooks": ([5], {"steps_per_epoch": 3, "epochs": 6, "save_freq": 2, "source": "hooked"}),
    "fewer steps, saved at the last, hooks": (
        [7],
        {"steps_per_epoch": 3, "epochs": 6, "save_freq": 6, "source": "hooked"},
    ),
    "one step, hooks": ([4], {"steps_per_epoch": 1, "epochs": 9, "source": "hooked"}),
    "more steps than batches": ([12], {"steps_per_epoch": 10, "save_freq": 2}),
    "endless": ([6], {"steps_per_epoch": 4, "source": "endless", "save_freq": 2, "epochs": 4}),
    "items skipped": ([7], {"source": "broken", "save_freq": 2}),
    "not shuffled": ([12], {"shuffle": False}),
    "gradients accumulated": ([12], {"optimizer": "accumulating"}),
    "loss scaled": ([12], {"optimizer": "scaling"}),
}
# With these Keras itself ends an epoch early, and says so.
WARNED = {name for name, (_, options) in CASES.items() if options.get("steps_per_epoch") in (3, 10)}
FEW = ["stopped twice in one epoch", "endless", "items skipped"]
SEVERAL: dict[str, tuple[list[int], dict[str, Any]]] = {
    "several steps at once": ([4], {"at_once": 2, "save_freq": 4}),
    "several steps at once, of an epoch's": ([5], {"at_once": 2, "save_freq": 4, "steps_per_epoch": 4, "epochs": 5}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lab", ["tensorflow", "jax"], indirect=True)
def test_a_stopped_training_goes_on(lab: Lab, case: str, tmp_path: Path) -> None:
    check(lab, case, *CASES[case], tmp_path)


@pytest.mark.parametrize("case", FEW)
@pytest.mark.parametrize("lab", ["torch", "tensorflow-oldest", "jax-oldest"], indirect=True)
def test_a_stopped_training_goes_on_elsewhere(lab: Lab, case: str, tmp_path: Path) -> None:
    check(lab, case, *CASES[case], tmp_path)


@pytest.mark.parametrize("case", SEVERAL)
@pytest.mark.parametrize("lab", ["tensorflow", "jax"], indirect=True)
def test_a_training_of_several_steps_at_once_goes_on(lab: Lab, case: str, tmp_path: Path) -> None:
    check(lab, case, *SEVERAL[case], tmp_path)


def check(lab: Lab, case: str, stops: list[int], options: dict[str, Any], folder: Path) -> None:
    again = {"workers": 3, **({"executor": "serial"} if len(stops) > 1 else {})}
    if options.get("seed", 1) is None:
        again["start"] = 7  # what the optimizer restores is the same from any start, the seed is the file's
    report = lab.ask("resuming.compared", folder=str(folder), stops=stops, again=again, **options)
    assert (report["same"], report["steps"]) == (True, 0), report
    assert report["told"] == [] or case in WARNED, report


# --- killed ---

KILLED: dict[str, tuple[int, dict[str, Any]]] = {
    "after a save": (9, {"source": "hooked"}),
    "between two saves": (11, {"source": "hooked"}),
}


@pytest.mark.parametrize("case", KILLED)
@pytest.mark.parametrize("lab", ["tensorflow", "jax"], indirect=True)
def test_a_killed_training_goes_on(lab: Lab, case: str, tmp_path: Path) -> None:
    """By SIGKILL, in the middle of the second epoch; another process goes on, with other workers."""
    check_killed(lab, case, tmp_path)


@pytest.mark.parametrize("lab", ["torch", "tensorflow-oldest"], indirect=True)
def test_a_killed_training_goes_on_elsewhere(lab: Lab, tmp_path: Path) -> None:
    check_killed(lab, "between two saves", tmp_path)


def check_killed(lab: Lab, case: str, tmp_path: Path) -> None:
    after, options = KILLED[case]
    script = "import json, sys; from tests.adapters.resuming import train; train(**json.loads(sys.argv[1]))"
    arguments = {"folder": str(tmp_path), "stop": after, "how": "kill", **options}
    killed = subprocess.run(
        [sys.executable, "-c", script, json.dumps(arguments)],
        cwd=ROOT,
        env=lab._environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    check(lab, case, [], options, tmp_path)


# --- other ways to save and to fit ---


@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_every_checkpoint_finds_its_place(lab: Lab, tmp_path: Path) -> None:
    report = lab.ask("resuming.checkpointed", folder=str(tmp_path), source="hooked")
    assert report == dict.fromkeys(("1-4", "2-1", "2-5", "3-2", "3-6"), True)


@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_one_callback_in_several_calls_of_fit(lab: Lab, tmp_path: Path) -> None:
    assert lab.ask("resuming.fitted_again", folder=str(tmp_path)) == {"same": True, "steps": 21}


@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_a_state_that_was_loaded_by_hand(lab: Lab) -> None:
    assert lab.ask("resuming.loaded_by_hand") == {"steps": 4 + 7, "batch": 2}


@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_a_finished_training_begins_anew(lab: Lab, tmp_path: Path) -> None:
    first, again = (lab.ask("resuming.train", folder=str(tmp_path), epochs=2) for _ in range(2))
    assert first == again
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lab", NEWEST, indirect=True)
def test_reading_the_same_loader_in_between(lab: Lab, tmp_path: Path) -> None:
    """Each reading begins an epoch of its own, so that those of fit are others: but each batch comes once."""
    stopped = lab.ask("resuming.train", folder=str(tmp_path), evaluating=True, source="hooked", stop=12)
    report = lab.ask("resuming.train", folder=str(tmp_path), evaluating=True, source="hooked")
    assert (stopped["told"], report["told"], report["steps"]) == ([], [], 21)


# --- what cannot be resumed ---

ODD = {
    "another loader": ["StateError: this callback keeps the place of Loader(Noisy", "which is not what fit reads from"],
    "another's file": ["StateError: ", "loader.json is not a file of a loader's places (KeyError: 'entries')"],
    "missing file": ["the model has done 7 steps, but ", "loader.json does not say where the loader was by then"],
    "counts twice": ["the optimizer counts 14 steps after 7 batches", "cannot be resumed exactly"],
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("lab", ["tensorflow", "jax"], indirect=True)
def test_what_cannot_be_resumed_is_told(lab: Lab, what: str, tmp_path: Path) -> None:
    (message,) = lab.ask("resuming.odd", folder=str(tmp_path), what=what)
    assert [part for part in ODD[what] if part not in message] == [], message


@pytest.mark.parametrize("lab", ["tensorflow"], indirect=True)
def test_listed_where_the_epoch_cannot_be_corrected(lab: Lab, tmp_path: Path) -> None:
    options = {"folder": str(tmp_path), "save_freq": 7, "listed": "before"}
    lab.ask("resuming.train", stop=8, **options)
    message = lab.ask("resuming.refused", **options)
    assert "begins with epoch 0, but what it restored is in epoch 1, after 7 steps. List this callback" in message


@pytest.mark.parametrize("lab", ["tensorflow-oldest"], indirect=True)
def test_an_optimizer_that_was_not_restored(lab: Lab, tmp_path: Path) -> None:
    """Keras restores one that has been built."""
    lab.ask("resuming.train", folder=str(tmp_path), stop=5)
    told = lab.ask("resuming.train", folder=str(tmp_path), build=False)["told"]
    assert any("restored the model but not its optimizer" in text and "optimizer.build" in text for text in told)
