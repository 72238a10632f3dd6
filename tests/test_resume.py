"""Resume anywhere: a stream goes on where its state was saved, with anything else than the source itself changed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice, permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import procession
from procession import Loader, Partitions, Shard, StateError, StateWarning, Weighted, Window
from procession.order.state import State
from tests.conftest import EXECUTORS, ExecutorName
from tests.support import Form, Made, form

MOST = 1000  # bytes of a state as JSON


class Noted:
    """A source that notes which items it is asked for, in a file, since it may be asked in another process."""

    def __init__(self, length: int, log: Path | None = None, name: str = "") -> None:
        self.length = length
        self.log = log
        self.name = name

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        self.note(index)
        return {"item": self.item(index), "noise": procession.rng().random(3)}

    def item(self, index: int) -> int:
        """Return what the item tells."""
        return index

    def note(self, index: int) -> None:
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{self.name}{index}\n")


class Endless(Noted):
    """A source that has no end."""

    num_batches = None


class InPlace(Noted):
    """Reshuffles an array that it has when an epoch ends."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.order = np.arange(self.length)

    def item(self, index: int) -> int:
        return int(self.order[index])

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.order)


class Rebinding(InPlace):
    """Makes a new array when an epoch ends, and another when it begins."""

    def on_epoch_begin(self) -> None:
        self.order = self.order[::-1].copy()

    def on_epoch_end(self) -> None:
        self.order = np.random.permutation(self.length)


class Rebound(InPlace):
    """Is in another order from its first epoch on."""

    def on_epoch_begin(self) -> None:
        self.order = np.random.permutation(self.length)


class InPlaceNever(Noted):
    """Is another class."""


class Backwards:
    """An order of one's own."""

    def indices(self, epoch: int) -> Any:
        return np.roll(np.arange(6)[::-1], epoch)


def batches(log: Path | None) -> Any:
    return Noted(6, log)


def samples(log: Path | None) -> Any:
    return Noted(10, log)


# What a Loader is made of: a fresh source, and options. Few batches an epoch, so that every cut can be tried.
KINDS: dict[str, tuple[Callable[[Path | None], Any], dict[str, Any]]] = {
    "batches": (batches, {}),
    "samples": (samples, {"batch_size": 4}),
    "whole batches of samples": (samples, {"batch_size": 4, "drop_remainder": True}),
    "arrays": (lambda _: {"x": np.arange(20.0).reshape(10, 2), "y": np.arange(10)}, {"batch_size": 3}),
    "endless": (lambda log: Endless(0, log), {"batch_size": 2}),
    "hooks, in place": (lambda log: InPlace(5, log), {}),
    "hooks, rebinding": (lambda log: Rebinding(7, log), {"batch_size": 3}),
    "partitions": (lambda log: [Noted(n, log, f"{n}.") for n in (4, 1, 2)], {}),
    "partitions with hooks": (lambda log: [InPlace(n, log, f"{n}.") for n in (4, 2)], {}),
    "partitions by weight": (
        lambda log: Partitions([Noted(n, log, f"{n}.") for n in (4, 2)], interleave=[2, 1], until=8),
        {},
    ),
    "window": (samples, {"batch_size": 2, "shuffle": Window(4)}),
    "weighted": (samples, {"batch_size": 4, "shuffle": Weighted(range(10), count=14)}),
    "balanced": (samples, {"batch_size": 3, "shuffle": procession.Balanced([0, 1] * 5)}),
    "own order": (batches, {"shuffle": Backwards()}),
    "shard": (samples, {"batch_size": 2, "shard": Shard(1, 3)}),
}
CASES = [
    (kind, shuffle)
    for kind, (_, options) in KINDS.items()
    for shuffle in ([None] if "shuffle" in options or kind == "endless" else [False, True])
]
cases = pytest.mark.parametrize(("kind", "shuffle"), CASES)


def made(
    kind: str, executor: ExecutorName, *, shuffle: bool | None = None, log: Path | None = None, **changes: Any
) -> Loader:
    """Return a Loader of a fresh source."""
    source, options = KINDS[kind]
    wish = {} if shuffle is None else {"shuffle": shuffle}
    return Loader(source(log), executor=executor, **{"workers": 2, "seed": 5, **options, **wish, **changes})


def endlessly(loader: Any) -> Iterator[Form]:
    """Yield what makes up the batches, epoch after epoch."""
    while True:
        yield from map(form, loader)


class Whole(NamedTuple):
    """An uninterrupted stream of three epochs, or of twelve batches where there is no end."""

    batches: list[Form]
    items: list[list[str]]  # that each batch was made of
    ends: list[int]  # of the epochs, counted in batches


@cache
def whole(kind: str, shuffle: bool | None) -> Whole:
    """Read the stream that all others are compared with."""
    found = Whole([], [], [])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with made(kind, "serial", shuffle=shuffle, log=log) as loader:
            for _ in range(1 if kind == "endless" else 3):
                for batch in islice(loader, 12):
                    found.batches.append(form(batch))
                    found.items.append(told(log))
                found.ends.append(len(found.batches))
    return found


def told(log: Path) -> list[str]:
    """Return the items that have been made since this was last asked."""
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def saved(loader: Loader) -> dict[str, Any]:
    """Return the loader's state, as it comes back from a file."""
    text = json.dumps(loader.state_dict())
    assert len(text) < MOST
    state: dict[str, Any] = json.loads(text)
    return state


def cut(kind: str, shuffle: bool | None, executor: ExecutorName, after: int) -> dict[str, Any]:
    """Read so many batches, and return the state there."""
    with made(kind, executor, shuffle=shuffle) as loader:
        assert list(islice(endlessly(loader), after)) == whole(kind, shuffle).batches[:after]
        return saved(loader)


def check_rest(kind: str, shuffle: bool | None, executor: ExecutorName, after: int, state: Any, folder: Path) -> None:
    """See that a new loader goes on after so many batches, and makes nothing that was delivered."""
    want, log = whole(kind, shuffle), folder / "log"
    log.unlink(missing_ok=True)
    with made(kind, executor, shuffle=shuffle, log=log, workers=3, prefetch=2) as loader:
        loader.load_state_dict(state)
        assert saved(loader) == state
        end = next((end for end in want.ends if end > after), after)
        limit = end - after if kind == "endless" else None
        assert [form(batch) for batch in islice(loader, limit)] == want.batches[after:end] or end == after
        if kind not in ("arrays", "endless") and end > after:
            assert Counter(told(log)) == Counter(item for items in want.items[after:end] for item in items)
        if kind != "endless" and end > after:
            assert list(islice(endlessly(loader), len(want.batches) - end)) == want.batches[end:]


# --- every cut, every kind of source ---


@cases
def test_every_cut_of_the_serial_stream(kind: str, shuffle: bool | None, tmp_path: Path) -> None:
    for after in range(len(whole(kind, shuffle).batches) + 1):
        check_rest(kind, shuffle, "serial", after, cut(kind, shuffle, "serial", after), tmp_path)


@cases
@pytest.mark.parametrize(("before", "then"), list(permutations(EXECUTORS, 2)))
def test_another_executor_goes_on(
    kind: str, shuffle: bool | None, before: ExecutorName, then: ExecutorName, tmp_path: Path
) -> None:
    ends = whole(kind, shuffle).ends
    for after in (ends[0] // 2, ends[-1] - 2):
        check_rest(kind, shuffle, then, after, cut(kind, shuffle, before, after), tmp_path)


@cases
def test_at_the_end_of_an_epoch(kind: str, shuffle: bool | None, executor: ExecutorName, tmp_path: Path) -> None:
    """Whether its end has been seen, or only its last batch."""
    end = whole(kind, shuffle).ends[0]
    states = [cut(kind, shuffle, executor, end)]
    if kind != "endless":
        with made(kind, executor, shuffle=shuffle) as loader:
            assert len(list(loader)) == end
            states.append(saved(loader))
            assert states[0] == states[1]
    for state in states:
        check_rest(kind, shuffle, executor, end, state, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_loader_for_every_batch(kind: str) -> None:
    """Each goes on from the state of the one before, and by turns on every executor."""
    shuffle = None if "shuffle" in KINDS[kind][1] else True
    state = None
    for k, batch in enumerate(whole(kind, shuffle).batches):
        with made(kind, EXECUTORS[k % 3], shuffle=shuffle) as loader:
            if state is not None:
                loader.load_state_dict(state)
            assert next(endlessly(loader)) == batch
            state = saved(loader)


@pytest.mark.parametrize("before", ["serial", "processes"])
@pytest.mark.parametrize("then", ["serial", "processes"])
def test_numbers_of_the_global_generators(before: ExecutorName, then: ExecutorName) -> None:
    def draw(index: int) -> Any:
        return random.random(), np.random.rand(2), index

    with Loader(Made(draw, 6), seed=1, executor="serial") as loader:
        want = list(islice(endlessly(loader), 12))
    with Loader(Made(draw, 6), seed=1, executor=before, workers=2) as loader:
        assert list(islice(endlessly(loader), 8)) == want[:8]
        state = saved(loader)
    with Loader(Made(draw, 6), seed=1, executor=then, workers=2) as loader:
        loader.load_state_dict(state)
        assert list(map(form, loader)) == want[8:]


def test_what_was_delivered_out_of_order_is_not_made_again(executor: ExecutorName, tmp_path: Path) -> None:
    with Loader(Noted(300), executor=executor, workers=3, ordered=False) as loader:
        got = [batch["item"] for batch in islice(loader, 150)]
        state = saved(loader)
    with Loader(Noted(300, tmp_path / "log"), executor=executor, workers=3, ordered=False) as loader:
        loader.load_state_dict(state)
        rest = [batch["item"] for batch in loader]
        assert len(list(loader)) == 300
    assert Counter(got + rest) == Counter(range(300))
    assert Counter(told(tmp_path / "log")) == Counter(map(str, [*rest, *range(300)]))


# --- when a state is asked for ---


def letters(**options: Any) -> Loader:
    return Loader(list("abcdef"), **{"executor": "serial", "seed": 1, **options})


def rest_of(state: Any, **options: Any) -> list[Any]:
    """Return what a new loader makes of the epoch that a state is in."""
    with letters(**options) as loader:
        loader.load_state_dict(state)
        return list(loader)


def test_after_ctrl_c_while_a_batch_is_awaited(executor: ExecutorName, tmp_path: Path) -> None:
    gate, reached = tmp_path / "gate", tmp_path / "reached"
    os.mkfifo(gate)
    os.mkfifo(reached)

    def waits(index: int) -> int:
        if index == 3:
            with gate.open("rb") as opened:  # returns when it is opened to be written to
                reached.write_bytes(b"")
                opened.read()
        return index

    over = threading.Event()

    def interrupt() -> None:
        with gate.open("wb"):
            reached.read_bytes()
            os.kill(os.getpid(), signal.SIGINT)
            over.wait()

    interrupter = threading.Thread(target=interrupt)
    with Loader(Made(waits, 6), executor=executor, workers=2) as loader:
        epoch = iter(loader)
        got = [next(epoch) for _ in range(3)]
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the signal may come at once
            interrupter.start()
            next(epoch)
        state = saved(loader)
        over.set()
        interrupter.join()
    assert got == [0, 1, 2]
    with Loader(Made(lambda i: i, 6), executor=executor, workers=2) as loader:
        loader.load_state_dict(state)
        assert list(loader) == [3, 4, 5]
    for thread in threading.enumerate():
        if thread.name.startswith("procession-worker"):
            thread.join()


def test_after_an_exception_of_the_source(executor: ExecutorName) -> None:
    def breaks(index: int) -> int:
        if index == 3:
            raise OSError("it is not there")
        return index

    with Loader(Made(breaks, 6), executor=executor, workers=2) as loader:
        with pytest.raises(OSError, match="not there"):
            list(loader)
        states = [saved(loader)]
        loader.close()
        states.append(saved(loader))
    for state in states:
        with Loader(Made(lambda i: i, 6), executor=executor, workers=2) as loader:
            loader.load_state_dict(state)
            assert list(loader) == [3, 4, 5]


def test_after_close(executor: ExecutorName) -> None:
    loader = letters(executor=executor, workers=2)
    assert list(islice(loader, 2)) == ["a", "b"]
    before = saved(loader)
    loader.close()
    assert saved(loader) == before
    assert rest_of(before) == ["c", "d", "e", "f"]
    never = letters(executor=executor)
    never.close()
    assert rest_of(saved(never)) == list("abcdef")


def test_before_anything_is_read(executor: ExecutorName) -> None:
    with letters(executor=executor) as loader:
        state = saved(loader)
        epoch = iter(loader)
        assert saved(loader) == state
        assert list(epoch) == list("abcdef")
    assert (state["epoch"], state["batch"]) == (0, 0)
    assert rest_of(state) == list("abcdef")


def test_loaded_and_not_read_yet(executor: ExecutorName) -> None:
    with letters(executor=executor) as loader:
        assert list(islice(loader, 4)) == list("abcd")
        state = saved(loader)
    with letters(executor=executor) as loader:
        loader.load_state_dict(state)
        assert saved(loader) == state
        loader.close()
        assert saved(loader) == state


def test_of_two_states_the_last_one_counts(executor: ExecutorName) -> None:
    with letters(executor=executor, workers=2) as loader:
        epoch, states = iter(loader), []
        for _ in range(5):
            next(epoch)
            states.append(saved(loader))
        for state, rest in ((states[3], "ef"), (states[1], "cdef"), (states[4], "f")):
            loader.load_state_dict(states[0])
            loader.load_state_dict(state)
            assert list(loader) == list(rest)
            assert list(loader) == list("abcdef")


def test_the_present_epoch_goes_on_until_the_next_begins(executor: ExecutorName) -> None:
    """As `iter` does: what was loaded is for the next one."""
    with letters(executor=executor, workers=2) as loader:
        epoch = iter(loader)
        assert [next(epoch), next(epoch)] == ["a", "b"]
        state = saved(loader)
        assert next(epoch) == "c"
        loader.load_state_dict(state)
        assert list(loader) == list("cdef")


def test_hooks_cannot_go_back() -> None:
    with made("hooks, in place", "serial") as loader:
        states = [saved(loader)]
        for _ in range(2):
            list(loader)
            states.append(saved(loader))
        loader.load_state_dict(states[2])  # nothing has happened since
        assert len(list(loader)) == 5
        loader.load_state_dict(states[1])
        with pytest.raises(StateError, match=r"epoch hooks.*called for 3.*cannot be undone.*new Loader"):
            iter(loader)


def test_hooks_go_back_within_their_epoch(executor: ExecutorName) -> None:
    with made("hooks, rebinding", executor) as loader:
        epoch, want = iter(loader), whole("hooks, rebinding", None).batches
        assert form(next(epoch)) == want[0]
        state = saved(loader)
        assert form(next(epoch)) == want[1]
        loader.load_state_dict(state)
        assert list(islice(endlessly(loader), 8)) == want[1:]


def test_a_loader_with_hooks_goes_forward(executor: ExecutorName) -> None:
    state = cut("hooks, rebinding", None, executor, 7)
    with made("hooks, rebinding", executor) as loader:
        next(iter(loader))
        loader.load_state_dict(state)
        assert list(map(form, loader)) == whole("hooks, rebinding", None).batches[7:]


# --- its size, and what it is made of ---


class Vast:
    """As many batches as one likes."""

    def __len__(self) -> int:
        return 10**12

    def __getitem__(self, index: int) -> int:
        return index


LongName = type("L" + "ong" * 200 + "Name", (Vast,), {})
AWKWARD = type("Ü" * 250, (Vast,), {})


@pytest.mark.parametrize("shuffle", [False, True, Window(1000)])
@pytest.mark.parametrize("source", [Vast(), LongName(), AWKWARD()], ids=["vast", "long name", "awkward name"])
def test_states_are_small(source: Any, shuffle: Any) -> None:
    with Loader(source, executor="serial", shuffle=shuffle, batch_size=7, shard=Shard(5, 1000), seed=2**128 - 1) as one:
        next(iter(one))
        state = saved(one)
    state["batch"] += 10**8
    assert len(json.dumps(state)) < MOST
    with Loader(source, executor="serial", shuffle=shuffle, batch_size=7, shard=Shard(5, 1000), seed=2**128 - 1) as one:
        one.load_state_dict(state)
        next(iter(one))
        assert saved(one)["batch"] == 10**8 + 2


def test_states_of_many_partitions_are_small(executor: ExecutorName) -> None:
    def parts() -> Partitions:
        return Partitions([LongName() for _ in range(100)], interleave=range(1, 101))

    with Loader(parts(), executor=executor, workers=2, seed=1, shuffle=True) as loader:
        want = list(islice(loader, 6))
    with Loader(parts(), executor=executor, workers=2, seed=1, shuffle=True) as loader:
        assert list(islice(loader, 3)) == want[:3]
        state = saved(loader)
    with Loader(parts(), executor=executor, workers=2, seed=1, shuffle=True) as loader:
        loader.load_state_dict(state)
        assert list(islice(loader, 3)) == want[3:]


def test_a_state_with_all_that_may_come_early_is_small() -> None:
    with letters() as loader:
        state = State.from_dict(saved(loader))
    early = tuple(random.Random(1).sample(range(1, 2048), 1000))
    wide = state._replace(rest=state.rest._replace(first=10**12, early=tuple(sorted(10**12 + k for k in early))))
    assert len(json.dumps(wide.to_dict())) < MOST
    assert State.from_dict(json.loads(json.dumps(wide.to_dict()))) == wide


# --- seeds ---


def test_a_drawn_seed_is_in_the_state_and_adopted(executor: ExecutorName) -> None:
    with letters(executor=executor, workers=2, seed=None, shuffle=True) as loader:
        want = [list(loader) for _ in range(3)]
        seed = loader.statistics().seed
    with letters(executor=executor, seed=seed, shuffle=True) as loader:
        epoch = iter(loader)
        assert [next(epoch), next(epoch)] == want[0][:2]
        state = saved(loader)
    assert state["seed"] == seed
    with letters(executor=executor, seed=None, shuffle=True) as loader:
        loader.load_state_dict(state)
        assert [list(loader) for _ in range(3)] == [want[0][2:], *want[1:]]
        assert loader.statistics().seed == seed
        assert f"seed={seed}" in repr(loader)


def test_another_seed_is_refused() -> None:
    with letters(seed=3) as loader:
        state = saved(loader)
    with letters(seed=4) as loader:
        with pytest.raises(StateError, match="seed: saved 3, now 4"):
            loader.load_state_dict(state)
        assert (list(loader), loader.statistics().seed) == (list("abcdef"), 4)


def test_seeding_the_program_fixes_the_seed_of_the_state() -> None:
    def seed() -> Any:
        random.seed(7)
        return saved(letters(seed=None))["seed"]

    assert seed() == seed()


def test_hooks_that_have_drawn_from_another_seed() -> None:
    """Their random numbers cannot be taken back."""
    with Loader(Rebound(6), executor="serial", seed=1) as loader:
        want = list(map(form, loader))
    with Loader(Rebound(6), executor="serial", seed=1) as loader:
        next(iter(loader))
        state = saved(loader)
    with Loader(Rebound(6), executor="serial") as loader:
        next(iter(loader))
        before = saved(loader)
        with pytest.raises(StateError, match=r"of seed 1.*random numbers of seed \d+.*seed=1"):
            loader.load_state_dict(state)
        assert saved(loader) == before
    with Loader(Rebound(6), executor="serial") as loader:
        loader.load_state_dict(state)
        assert list(map(form, loader)) == want[1:]


# --- states that do not fit ---

MISMATCHES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # options of both loaders, over a common set, and what is told
    "length": ({}, {"source": Noted(11)}, "length of the source: saved 12, now 11"),
    "seed": ({}, {"seed": 2}, "seed: saved 1, now 2"),
    "batch size": ({}, {"batch_size": 4}, "batch_size: saved 2, now 4"),
    "no batch size": ({}, {"batch_size": None}, "batch_size: saved 2, now None"),
    "remainder": ({}, {"drop_remainder": True}, "drop_remainder: saved False, now True"),
    "source": ({}, {"source": InPlaceNever(12)}, "source: saved '…Noted', now '…InPlaceNever'"),
    "arrays": (
        {"source": {"x": np.arange(12)}},
        {"source": {"x": np.arange(12.0)}},
        "source: saved 'arrays, crc …', now 'arrays, crc …'",
    ),
    "order": ({"shuffle": Window(3)}, {"shuffle": Window(4)}, "shuffle: saved '…3…', now '…4…'"),
    "shard": ({"shard": Shard(0, 2)}, {"shard": Shard(0, 3)}, "shard: saved (0, 2, 'pad'), now (0, 3, 'pad')"),
    "partitions": (
        {"source": [Noted(4), Noted(8)]},
        {"source": [Noted(8), Noted(4)]},
        "length of the source: saved '[4, 8]', now '[8, 4]'",
    ),
}


def twelve(**options: Any) -> Loader:
    options = {"source": Noted(12), "batch_size": 2, "seed": 1, "executor": "serial", **options}
    return Loader(options.pop("source"), **options)


@pytest.mark.parametrize("name", MISMATCHES)
def test_a_mismatch_tells_both_sides(name: str) -> None:
    before, now, message = MISMATCHES[name]
    with twelve(**before) as loader:
        next(iter(loader))
        state = saved(loader)
    with twelve(**{**before, **now}) as loader:
        with pytest.raises(StateError, match=pattern(message)) as caught:
            loader.load_state_dict(state)
        assert "strict=False" in str(caught.value)
        first = saved(loader)
        assert first["batch"] == 0  # nothing has changed
        with pytest.warns(StateWarning, match=pattern(message)) as warned:
            loader.load_state_dict(state, strict=False)
        assert Path(warned[0].filename).name == Path(__file__).name
        assert next(iter(loader)) is not None
        assert saved(loader)["batch"] > 0


def pattern(text: str) -> str:
    return re.escape(text).replace("…", r"[^']*")


@pytest.mark.parametrize("hooked", [False, True])
def test_a_mismatch_in_several_things_tells_all(hooked: bool) -> None:
    kind = InPlace if hooked else Noted
    with twelve(source=kind(12)) as loader:
        list(islice(loader, 3))
        state = saved(loader)
    told_of = r"seed: saved 1, now 2; batch_size: saved 2, now 3"
    with twelve(source=kind(12), batch_size=3, seed=2) as loader, pytest.raises(StateError, match=told_of):
        loader.load_state_dict(state)


def test_hooks_that_change_the_length() -> None:
    """Whether it fits is seen when the epoch begins."""

    class Growing(Noted):
        def on_epoch_begin(self) -> None:
            self.length += 1

    with twelve(source=Growing(12)) as loader:
        list(loader)
        list(islice(loader, 2))
        state = saved(loader)
    assert state["length"] == 14
    with twelve(source=Growing(12)) as loader:
        loader.load_state_dict(state)
        assert [batch["item"].tolist() for batch in loader] == [[4, 5], [6, 7], [8, 9], [10, 11], [12, 13]]
    with twelve(source=Growing(11)) as loader:
        loader.load_state_dict(state)
        with pytest.raises(StateError, match="length of the source: saved 14, now 13"):
            iter(loader)
    with twelve(source=Growing(11)) as loader:
        loader.load_state_dict(state, strict=False)
        with pytest.warns(StateWarning, match="length of the source: saved 14, now 13"):
            assert [batch["item"].tolist() for batch in loader] == [[4, 5], [6, 7], [8, 9], [10, 11], [12]]


GOING_ON: dict[str, tuple[dict[str, Any], int, int]] = {
    # what differs, batches of 4 items read before, and items of the epoch that are passed over
    "larger batches": ({"batch_size": 8}, 4, 16),
    "larger batches, rounded down": ({"batch_size": 8}, 3, 8),
    "smaller batches": ({"batch_size": 2}, 3, 12),
    "batches that do not divide": ({"batch_size": 5}, 3, 10),
    "single batches": ({"batch_size": None}, 3, 12),
    "longer": ({"source": Noted(50)}, 3, 12),
    "shorter": ({"source": Noted(16)}, 3, 12),
    "too short": ({"source": Noted(8)}, 3, 8),
    "another seed": ({"seed": 2}, 3, 12),
    "more shards": ({"shard": Shard(0, 2)}, 4, 8),
}


@pytest.mark.parametrize("name", GOING_ON)
def test_going_on_though_it_does_not_fit(name: str, executor: ExecutorName) -> None:
    changes, read, passed = GOING_ON[name]
    options: dict[str, Any] = {"source": Noted(40), "batch_size": 4}
    with twelve(**options) as loader:
        list(islice(loader, read))
        state = saved(loader)
    now = {**options, **changes, "executor": executor, "workers": 2}
    with twelve(**now) as loader:
        want = [item for batch in loader for item in np.atleast_1d(batch["item"]).tolist()]
    with twelve(**now) as loader:
        with pytest.warns(StateWarning, match="does not fit"):
            loader.load_state_dict(state, strict=False)
        rest = [item for batch in loader for item in np.atleast_1d(batch["item"]).tolist()]
        assert rest == want[passed:]
        assert [item for batch in loader for item in np.atleast_1d(batch["item"]).tolist()] == want


@pytest.mark.parametrize("strict", [False, True])
def test_a_state_that_fits_is_not_warned_of(strict: bool) -> None:
    with twelve() as loader:
        list(islice(loader, 3))
        state = saved(loader)
    with warnings.catch_warnings(), twelve(executor="threads") as loader:
        warnings.simplefilter("error")
        loader.load_state_dict(state, strict=strict)
        assert [batch["item"].tolist() for batch in loader] == [[6, 7], [8, 9], [10, 11]]


def test_another_shard_count_where_an_epoch_begins() -> None:
    def items(loader: Loader) -> list[int]:
        return [item for batch in loader for item in batch["item"].tolist()]

    with twelve(shard=Shard(0, 2), shuffle=True) as loader:
        list(loader)
        state = saved(loader)
    with twelve(shuffle=True) as loader:
        want = [items(loader) for _ in range(3)]
    for count in (1, 2, 3, 4):
        loaders = [twelve(shard=Shard(k, count), shuffle=True) for k in range(count)]
        for loader in loaders:
            loader.load_state_dict(state)
        for epoch in (1, 2):
            shares = [items(loader) for loader in loaders]
            assert [item for row in zip(*shares, strict=True) for item in row] == want[epoch]
        for loader in loaders:
            loader.close()


def test_one_shards_state_serves_the_others() -> None:
    with twelve(shard=Shard(0, 3)) as loader:
        next(iter(loader))
        state = saved(loader)
    with twelve(shard=Shard(2, 3)) as loader:
        loader.load_state_dict(state)
        assert [batch["item"].tolist() for batch in loader] == [[8, 11]]


def test_shuffled_or_not_where_an_epoch_begins() -> None:
    with letters(shuffle=True) as loader:
        list(loader)
        state = saved(loader)
    assert rest_of(state, shuffle=False) == list("abcdef")


# --- states that are none ---

DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "None": (lambda state: None, "dict that Loader.state_dict.*NoneType"),
    "text": (json.dumps, "dict that Loader.state_dict.*str"),
    "another's": (lambda state: {"model": 1, "optimizer": 2}, r"dict with keys \['model', 'optimizer'\]"),
    "empty": (lambda state: {}, "dict that Loader.state_dict"),
    "a newer version": (lambda state: {**state, "version": 2}, "version 2; this release.* version 1"),
    "no epoch": (lambda state: {k: v for k, v in state.items() if k != "epoch"}, "damaged: KeyError: 'epoch'"),
    "no seed": (lambda state: {k: v for k, v in state.items() if k != "seed"}, "damaged: KeyError: 'seed'"),
    "no number": (lambda state: {**state, "batch": "many"}, "damaged: ValueError"),
    "a negative number": (lambda state: {**state, "batch": -1}, "damaged: .*batch.*-1"),
    "a negative epoch": (lambda state: {**state, "epoch": -1}, "damaged: .*epoch.*-1"),
    "negative hooks": (lambda state: {**state, "hooks": -2}, "damaged: .*hooks.*-2"),
    "a shard of one part": (lambda state: {**state, "shard": [1]}, "damaged: ValueError"),
    "a shard of nothing": (lambda state: {**state, "shard": None}, "damaged: TypeError"),
    "an order that is none": (lambda state: {**state, "order": None}, "shuffle: saved 'None', now 'shuffled'"),
    "a seed that is none": (lambda state: {**state, "seed": "x"}, "damaged: ValueError"),
    "a seed that is too large": (lambda state: {**state, "seed": 1 << 128}, "damaged: .*seed"),
    "early ones that are none": (lambda state: {**state, "early": "?"}, "damaged: "),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_no_state_is_refused(name: str) -> None:
    damage, message = DAMAGES[name]
    with letters() as loader:
        list(islice(loader, 2))
        damaged = damage(saved(loader))
    for strict in (True, False) if "damaged" in message or "dict" in message else (True,):
        with letters() as loader:
            with pytest.raises(StateError, match=message):
                loader.load_state_dict(damaged, strict=strict)
            assert list(loader) == list("abcdef")


def test_a_place_beyond_the_end() -> None:
    """Of a damaged state: if need be, it is as if the epoch had been read."""
    with letters() as loader:
        state = {**saved(loader), "batch": 10}
        loader.load_state_dict(state)
        with pytest.raises(StateError, match="at batch 10 of an epoch that has 6"):
            list(loader)
        loader.load_state_dict(state, strict=False)
        assert list(loader) == []
        assert list(loader) == list("abcdef")
