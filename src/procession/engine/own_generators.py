"""The generators that a source holds, seeded around each item by their own state and the item's place.

    `self.rng = np.random.default_rng(42)`, as it was when the epoch began ──BLAKE2b──┐
                                                     epoch, item, turn ──BLAKE2b──────┴──> its state for this item

So what an item draws depends on the user's seed and on the item, not on what the same process has made before. The
loader's seed has no part in it. Generators in one state go on drawing alike, as those of a picture and its mask do.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.random import mtrand

from procession import sources
from procession.capture.naming import (
    GLOBAL_GENERATORS,
    LAYER,
    PLAIN,
    SEED_GENERATOR,
    TENSORFLOW_GENERATOR,
    lineage,
    seed_generators,
    survey,
)
from procession.capture.travel import reduced
from procession.engine.twister import WORDS, Torch, WordMaker
from procession.order.randomness import Place
from procession.partitions import members


class _Way(NamedTuple):
    """How a generator is read and seeded."""

    read: Callable[[], Any]
    restore: Callable[[Any], Any]  # what was read
    seed: Callable[[bytes], Any]  # 16 bytes


class _Held(NamedTuple):
    generator: Any  # kept, so that no other has its id
    way: _Way
    base: Any  # a hash that has taken in its state


class OwnGenerators:
    """Seeds the generators that one source holds: a worker's copy of it, or, for serial, the user's own object."""

    def __init__(self, source: Any, before: OwnGenerators | None = None) -> None:
        """`before`: of the source that this one comes from, some of whose parts may be part of it still."""
        self._source = source
        self._hooked = any(sources.hooks(member) for member in members(source))
        self._known: dict[int, _Held] = {} if before is None else before._known  # by id
        self._drawn: bool = before is not None and before._drawn  # since their states were read
        self._words = WordMaker()
        self._look()

    def begin(self) -> None:
        """An epoch begins: take up what its hooks, or a refresh from the training process, have put on the source.

        The state from which an epoch is derived is the training process's, which nothing in here changes: serially all
        is put back after each batch, and a refresh brings a worker new objects. Without hooks none is sent for what is
        drawn in place, so that counts nowhere.
        """
        if (self._hooked and not self._drawn) or _bound(self._source) != self._bound:
            self._look()

    def seed(self, place: Place) -> None:
        """Seed them for the item at `place`."""
        self._drawn = True
        name = b"%d %d %d" % (place.epoch, place.item, place.turn)
        for held in self.held:
            digest = held.base.copy()
            digest.update(name)
            held.way.seed(digest.digest())

    def keep(self) -> Callable[[], None]:
        """Read all states; what is returned puts them back."""
        states = [(held.way.restore, held.way.read()) for held in self.held]

        def put_back() -> None:
            for restore, state in states:
                restore(state)
            self._drawn = False

        return put_back

    def _look(self) -> None:
        found = survey(self._source)
        self.frameworks, self.traced = found.frameworks, found.traced
        self._bound = _bound(self._source)
        known: dict[int, _Held] = {}
        for generator, travels in found.generators:
            if isinstance(generator, np.random.Generator):
                generator = generator.bit_generator  # noqa: PLW2901 - which several may share
            held = self._known.get(id(generator))
            if held is None or (travels and self._hooked and not self._drawn):
                held = _held(generator, self._words)
            if held is not None:
                known[id(generator)] = held
        self._known = known
        self.held = list(known.values())


def _bound(source: Any) -> list[tuple[str, int]]:
    """Which object each attribute is, by id: what holds a new one has been made while the old one was there."""
    attributes = ((name, value) for member in members(source) for name, value in _attributes(member))
    return [(name, id(value)) for name, value in attributes if type(value) not in PLAIN]


def _attributes(member: Any) -> list[tuple[str, Any]]:
    try:
        return list(vars(member).items())
    except TypeError:
        return []


def _held(generator: Any, words: WordMaker) -> _Held | None:
    """How to seed a generator, from its present state; None: it cannot be, as one that asks the system."""
    with contextlib.suppress(Exception):
        way = _way(generator, words)
        state = way.read()
        way.restore(state)
        base = hashlib.blake2b(_described(state).encode(), digest_size=16, person=b"procession own")
        base.update(b"\0")
        return _Held(generator, way, base)
    return None


def _described(state: Any) -> str:
    """The same text for the same state, in every process."""
    if isinstance(state, dict):
        return repr([(key, _described(value)) for key, value in state.items()])
    return repr(state.tolist() if hasattr(state, "tolist") else state)


def _way(generator: Any, words: WordMaker) -> _Way:
    if isinstance(generator, np.random.BitGenerator):
        return _of_bits(generator, words)
    if isinstance(generator, np.random.RandomState):
        return _of_legacy(generator)
    if isinstance(generator, random.Random):
        return _Way(generator.getstate, generator.setstate, lambda digest: generator.seed(_number(digest)))
    known = lineage(type(generator))
    if SEED_GENERATOR in known:
        return _of_variable(generator.state, _two_numbers)
    if TENSORFLOW_GENERATOR in known:
        return _of_variable(generator.state, _counter_and_key)
    if generator.device.type != "cpu":
        raise ValueError(generator.device)
    torch = Torch(generator)
    return _Way(
        generator.get_state,
        generator.set_state,
        lambda digest: torch.seed(words.make(digest, 1), _number(digest[:8])),
    )


def _of_bits(bits: Any, words: WordMaker) -> _Way:
    def restore(state: Any) -> None:
        bits.state = state

    def seed_pcg(digest: bytes) -> None:
        bits.state = {**like, "state": {"state": _number(digest), "inc": like["state"]["inc"]}}

    def seed_twister(digest: bytes) -> None:
        bits.state = {"bit_generator": "MT19937", "state": {"key": words.make(digest, 1), "pos": WORDS}}

    def seed(digest: bytes) -> None:
        bits.state = type(bits)(_number(digest)).state

    like = {**bits.state, "has_uint32": 0, "uinteger": 0}
    seeds = {np.random.PCG64: seed_pcg, np.random.PCG64DXSM: seed_pcg, np.random.MT19937: seed_twister}
    chosen = seeds.get(type(bits), seed)
    if chosen is seed:
        type(bits)(0)  # which raises for a kind that is made otherwise
    return _Way(lambda: bits.state, restore, chosen)


def _of_legacy(generator: Any) -> _Way:
    def read() -> Any:
        return generator.get_state(legacy=False)

    def seed(digest: bytes) -> None:
        generator.seed(np.frombuffer(digest, "<u4"))

    def seed_other(digest: bytes) -> None:
        generator.set_state({**kind(_number(digest)).state, "has_gauss": 0, "gauss": 0.0})

    kind = type(generator._bit_generator)
    return _Way(read, generator.set_state, seed if kind is np.random.MT19937 else seed_other)


def _of_variable(state: Any, made: Callable[[bytes, int], list[int]]) -> _Way:
    """A framework's generator, whose state is a variable of integers."""
    length = len(_integers(state))

    def seed(digest: bytes) -> None:
        state.assign(np.array(made(digest, length)))

    return _Way(lambda: _integers(state), state.assign, seed)


def _integers(variable: Any) -> Any:
    value = variable.value() if callable(variable.value) else variable.value
    # Not by `np.asarray`, at which numpy warns of what torch has not learned yet.
    return np.array(value.tolist() if hasattr(value, "tolist") else value.numpy(), np.int64)


def _two_numbers(digest: bytes, _: int) -> list[int]:
    """For Keras: it counts in the second; its backends have them as int32, uint32 or int64."""
    first, second = np.frombuffer(digest, "<u4", 2).tolist()
    return [first >> 1, second >> 2]


def _counter_and_key(digest: bytes, length: int) -> list[int]:
    """For TensorFlow: the key comes last, behind the counter, whatever the algorithm."""
    return [*[0] * (length - 2), *np.frombuffer(digest, "<i8").tolist()]


def _number(digest: bytes) -> int:
    return int.from_bytes(digest, "little")


def _reduced(value: Any) -> Any:
    """A source that holds a global generator, as scikit-learn's `check_random_state(None)` returns it, finds it again.

    Otherwise each worker would have a copy, which is seeded as one of the source's own.
    """
    if isinstance(value, random.SystemRandom):  # which has no state that could travel
        return type(value), ()
    if any(value is each for each in GLOBAL_GENERATORS):
        return (_python, ()) if isinstance(value, random.Random) else (_legacy, ())
    return NotImplemented


def _python() -> Any:
    return getattr(random.random, "__self__", None)


def _legacy() -> Any:
    return getattr(mtrand, "_rand")  # noqa: B009 - numpy's types do not tell it


reduced.register(random.Random, _reduced)
reduced.register(np.random.RandomState, _reduced)


class _Layer(abc.ABC):  # noqa: B024 - known by its name, since to import Keras is not for us
    """A layer or model of Keras's."""

    @classmethod
    def __subclasshook__(cls, kind: type) -> bool:
        return LAYER in lineage(kind)


@reduced.register(_Layer)
def _reduced_layer(layer: Any) -> Any:
    """Keras saves a layer's weights and how it was made, but not how far its SeedGenerators are."""
    states = [_integers(each.state) for each in seed_generators(layer)]
    way = layer.__reduce_ex__(5) if states else ()
    return (_layer, (*way, states)) if len(way) == 2 else NotImplemented  # otherwise its attributes travel


def _layer(make: Callable[..., Any], arguments: tuple[Any, ...], states: list[Any]) -> Any:
    layer = make(*arguments)
    found = seed_generators(layer)
    if len(found) == len(states):
        for each, state in zip(found, states, strict=True):
            each.state.assign(state)
    return layer
