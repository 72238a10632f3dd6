"""The global generators that a source may use, seeded around each item by the item's place.

    place ──BLAKE2b──> 128 bits = the state of one PCG64 ──> | 624 words | 624 words | 624 words |
                                                                `random`    numpy       torch

Each word is 32 bits of a Mersenne Twister's state, which is what all three are. Seeding them by their own `seed` takes
14 µs, half of a worker's time on small batches; to write the words where the generators keep them takes 6. Where they
do is looked up and proven once; where it is not as expected, the same words go in by the official way, so that the
numbers are the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.random import mtrand

from procession.capture.naming import survey
from procession.engine.own_generators import OwnGenerators
from procession.engine.twister import STATE_BYTES, WORDS, Torch, WordMaker, Words
from procession.order.randomness import Place
from procession.sources import Arrays


class Generators:
    """Seeds the global generators of `random`, numpy, torch and TensorFlow for one source.

    torch's wherever torch has been imported. TensorFlow's only for a source whose own code names TensorFlow, since it
    drops what TensorFlow has compiled for its operations, which can cost a millisecond. Those in a `tf.function` keep
    the seeds that they had when it was traced, and would begin anew for each item: a source that has one is seeded once
    in a worker, by the first item made there, so that no two draw alike, and not at all in the training process.
    torch's generators of other devices are left alone.
    """

    def __init__(self, source: Any, fast: bool = True, own: OwnGenerators | None = None) -> None:
        """`fast`: write to memory where that is possible; the numbers are the same. `own`: to be seeded too."""
        self.source = source
        self.own = own
        found = survey(source) if own is None else own
        self._frameworks, self._once = found.frameworks, found.traced
        self._draws_in_tensorflow = "tensorflow" in self._frameworks
        self._done = False  # TensorFlow has had its one seed
        for name in self._frameworks:  # otherwise the item that imports it would go without a seed
            with contextlib.suppress(Exception):  # where it fails, it fails for the source too, which says so
                importlib.import_module(name)
        self._digests = _Digests()
        self._words = WordMaker(fast)
        self._python = _Python(fast)
        self._numpy = _Numpy(fast)
        self._torch: Torch | None = None  # until it is imported

    def seed(self, place: Place) -> None:
        """Seed the generators for the item at `place`."""
        digest = self._digests.of(place)
        torch = self._torch
        if torch is None and "torch" in sys.modules:
            torch = self._torch_now()
        words = self._words.make(digest, 2 if torch is None else 3)
        self._python.seed(words[:WORDS])
        self._numpy.seed(words[WORDS : 2 * WORDS])
        if torch is not None:
            torch.seed(words[2 * WORDS :], int.from_bytes(digest[:8], "little"))
        if self._draws_in_tensorflow and (tensorflow := sys.modules.get("tensorflow")) is not None:
            if not (self._once and self._done):
                tensorflow.random.set_seed(int.from_bytes(digest[:8], "little"))
            self._done = True
        if self.own is not None and self.own.held:
            self.own.seed(place)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Put the generators back as they were: in the training process they are the user's."""
        self._done = True
        torch = self._torch or self._torch_now()
        back = [self._python.keep(), self._numpy.keep()]
        if torch is not None:
            back.append(torch.keep())
        if self._draws_in_tensorflow and not self._once:
            back.append(_keep_tensorflow())
        if self.own is not None and self.own.held:
            back.append(self.own.keep())
        try:
            yield
        finally:
            for put_back in back:
                put_back()

    def _torch_now(self) -> Torch | None:
        generator = getattr(sys.modules.get("torch"), "default_generator", None)  # late: another thread may import it
        if generator is not None:
            self._torch = Torch(generator)
        return self._torch


def generators_for(source: Any, before: Generators | None) -> Generators | None:
    """Those to seed for a source in an epoch that begins, its own too; None for arrays, which run nobody's code.

    `before`: what this returned for the last epoch.
    """
    if isinstance(source, Arrays):
        return None
    if before is not None and before.source is source and before.own is not None:
        before.own.begin()
        return before
    made = Generators(source, own=OwnGenerators(source, None if before is None else before.own))
    made._done = before is not None and before._done
    return made


class _Digests:
    """128 bits for each place."""

    # BLAKE2b keeps any two places apart in 1 µs; SeedSequence does the same in 19, and this runs around every item.

    def __init__(self) -> None:
        self._epoch: tuple[int, int] | None = None  # the seed and the epoch that `_begun` has taken in
        self._begun: Any = None

    def of(self, place: Place) -> bytes:
        seed, epoch, item, turn = place
        if self._epoch != (seed, epoch):
            self._epoch = seed, epoch
            self._begun = hashlib.blake2b(b"%d %d " % self._epoch, digest_size=STATE_BYTES, person=b"procession")
        digest = self._begun.copy()
        digest.update(b"%d %d" % (item, turn) if turn else b"%d" % item)
        found: bytes = digest.digest()
        return found


class _Python:
    """The generator of `random`. In memory: `| head of an object | int index | uint32 state[624] |`."""

    def __init__(self, fast: bool) -> None:
        self._generator = getattr(random.random, "__self__", None)
        known = fast and type(self._generator) is random.Random and _random_is_as_expected()
        self._memory = _memory_of(self._generator) if known else None

    def seed(self, words: Words) -> None:
        if self._memory is None:
            random.setstate((random.Random.VERSION, (*words.tolist(), WORDS), None))
            return
        self._memory[0] = WORDS
        self._memory[1:] = words
        self._generator.gauss_next = None  # type: ignore[union-attr]

    @staticmethod
    def keep() -> Callable[[], None]:
        return functools.partial(random.setstate, random.getstate())


def _memory_of(generator: Any) -> Words:
    return _words_at(id(generator) + object.__basicsize__)


def _words_at(address: int) -> Words:
    memory: Any = (ctypes.c_uint32 * (WORDS + 1)).from_address(address)
    return np.frombuffer(memory, np.uint32)


@functools.cache
def _random_is_as_expected() -> bool:
    """Whether one that nobody uses shows in memory what it tells, and tells what is written there."""
    room = object.__basicsize__ + 4 * (WORDS + 1)
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()  # without, objects have other heads, and threads no order
    if sys.implementation.name != "cpython" or not locked or random.Random.__basicsize__ < room:
        return False
    generator = random.Random(5489)
    memory = _memory_of(generator)
    told = np.array(generator.getstate()[1], np.uint32)
    if not (memory[0] == told[WORDS] and (memory[1:] == told[:WORDS]).all()):
        return False
    memory[0] = 7
    memory[1:] = told[WORDS - 1 :: -1]
    return bool(generator.getstate()[1] == (*told[WORDS - 1 :: -1].tolist(), 7))


# In the training process other threads may draw while one generator takes another's place. Who draws holds the lock of
# the one in place, or of the one before if it has waited for that; so both are taken, by one thread at a time.
_ONE_AT_A_TIME = threading.Lock()


class _Numpy:
    """A generator of our own for numpy's global functions. In memory: `| uint32 key[624] | int pos |`.

    It is put in place for every item, which is how numpy forgets the second of a pair of normal numbers. The user's
    generator is not written to, whatever it is; nor is one that the source puts in place.
    """

    def __init__(self, fast: bool) -> None:
        self._generator = np.random.MT19937(0)
        self._before: Any = np.random.MT19937(0)  # the last one that was found in place
        known = fast and _numpy_is_as_expected()
        self._memory = _words_at(self._generator.ctypes.state_address) if known else None

    def seed(self, words: Words) -> None:
        now = mtrand.get_bit_generator()
        if now is not self._generator:
            self._before = now
        with _ONE_AT_A_TIME, self._before.lock, self._generator.lock:
            if self._memory is None:
                self._generator.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": WORDS}}
            else:
                self._memory[:WORDS] = words
                self._memory[WORDS] = WORDS
            mtrand.set_bit_generator(self._generator)

    def keep(self) -> Callable[[], None]:
        return functools.partial(self._put_back, mtrand.get_bit_generator(), np.random.get_state(legacy=False))

    def _put_back(self, theirs: Any, state: Any) -> None:
        locks = {id(each): each.lock for each in (theirs, self._generator, mtrand.get_bit_generator())}
        with contextlib.ExitStack() as held:
            for lock in (_ONE_AT_A_TIME, *locks.values()):
                held.enter_context(lock)
            mtrand.set_bit_generator(theirs)
        if state["has_gauss"] or theirs is self._generator:  # otherwise it is as it was, and setting takes 34 µs
            np.random.set_state(state)


@functools.cache
def _numpy_is_as_expected() -> bool:
    generator = np.random.MT19937(5489)
    memory = _words_at(generator.ctypes.state_address)
    told = generator.state["state"]
    if not (memory[WORDS] == told["pos"] and (memory[:WORDS] == told["key"]).all()):
        return False
    memory[WORDS] = 7
    memory[:WORDS] = told["key"][::-1]
    now = generator.state["state"]
    return bool(now["pos"] == 7 and (now["key"] == told["key"][::-1]).all())


def _keep_tensorflow() -> Callable[[], None]:
    """By names that are private to TensorFlow, which has no others for what `tf.random.set_seed` sets."""
    module = sys.modules.get("tensorflow.python.eager.context")
    state = getattr(getattr(module, "context", dict)(), "__dict__", {})
    before = {name: state[name] for name in ("_seed", "_rng") if name in state}

    def put_back() -> None:
        for name in ("_seed", "_rng"):
            state.pop(name, None)
        state.update(before)

    return put_back
