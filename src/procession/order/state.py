"""Where a stream is, as a small JSON-able value, and what it must agree in with the loader that goes on from there."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from procession.errors import StateError, StateWarning
from procession.order.rest import Rest
from procession.order.sampler import InOrder

VERSION = 1
_NAMES = {
    "seed": "seed",
    "length": "length of the source",
    "batch_size": "batch_size",
    "drop_remainder": "drop_remainder",
    "order": "shuffle",
    "shard": "shard",
    "source": "source",
}


class Setup(NamedTuple):
    """What decides a stream, beside the epoch."""

    seed: int
    length: int | str | None  # of partitions: of each, or their sum
    batch_size: int | None
    drop_remainder: bool
    order: str  # what the sampler calls itself
    shard: tuple[int, int, str]  # index, count, uneven
    source: str  # its fingerprint


class State(NamedTuple):
    """Where a stream is: in which epoch, and what is left of that."""

    setup: Setup
    epoch: int
    rest: Rest
    hooks: int  # times that the source's epoch hooks have both been called

    @property
    def shuffled(self) -> bool:
        """Whether the epoch was in another order than the source's."""
        return not self.setup.order.startswith(InOrder().describe())

    def to_dict(self) -> dict[str, Any]:
        """As plain values, under 1 kB of JSON."""
        plain: dict[str, Any] = {"version": VERSION, "epoch": self.epoch, "batch": self.rest.first, "hooks": self.hooks}
        if self.rest.early:
            bits = sum(1 << (position - self.rest.first) for position in self.rest.early)
            plain["early"] = base64.b64encode(bits.to_bytes((bits.bit_length() + 7) // 8, "little")).decode()
        return {**plain, **self.setup._asdict(), "shard": list(self.setup.shard)}

    @staticmethod
    def from_dict(plain: Any) -> State:
        """Undo `to_dict`.

        Raises:
            StateError: it is not what `state_dict` returns, or of a later version.
        """
        if not isinstance(plain, Mapping) or "version" not in plain:
            raise StateError(
                f"a state is the dict that Loader.state_dict() returned (or its JSON, read back); got a "
                f"{type(plain).__name__}"
                + (f" with keys {sorted(map(str, plain))[:8]}" if isinstance(plain, Mapping) else "")
            )
        if plain["version"] != VERSION:
            raise StateError(
                f"the state is of version {plain['version']!r}; this release of procession reads version {VERSION}"
            )
        try:
            seed, epoch, first, hooks = (_number(plain, name) for name in ("seed", "epoch", "batch", "hooks"))
            bits = int.from_bytes(base64.b64decode(plain.get("early", ""), validate=True), "little")
            early = tuple(first + k for k in range(bits.bit_length()) if bits >> k & 1)
            known = {name: plain[name] for name in Setup._fields}
            index, count, uneven = known["shard"]
            known |= {"seed": seed, "order": str(known["order"]), "shard": (int(index), int(count), str(uneven))}
            return State(Setup(**known), epoch, Rest(first, early), hooks)
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"the state is damaged: {type(error).__name__}: {error}. Its keys are {sorted(map(str, plain))}"
            ) from error


def _number(plain: Mapping[str, Any], name: str) -> int:
    number = plain[name]
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 128:
        raise ValueError(f"its {name} is {number!r}")
    return number


class Resumed:
    """A state from which a loader is to go on."""

    def __init__(self, state: State, strict: bool) -> None:
        self.state = state
        self._strict = strict
        self._told: set[str] = set()  # differences that have been warned of

    def check(self, now: Setup, stacklevel: int, *, early: bool = False) -> None:
        """Compare it with the loader; `early`: but for what the source's hooks may change before the epoch begins.

        Raises:
            StateError: they differ; or, if it need not be strict, that is only warned of.
        """
        found = differences(self.state, now)
        for name in {*self._told, *(("length", "order") if early else ())} & found.keys():
            del found[name]
        self._told |= found.keys()
        if found and self._strict:
            raise StateError(
                f"the saved state does not fit this loader: {told(found)}. Make the loader as it was; or go on all the "
                "same, as far into the epoch, with load_state_dict(state, strict=False)"
            )
        if found:
            text = f"going on from a state that does not fit this loader: {told(found)}"
            warnings.warn(text, StateWarning, stacklevel=stacklevel + 1)

    def rest(self, now: Setup, positions: int | None) -> Rest:
        """What is left of the epoch, of so many positions.

        Raises:
            StateError: it does not fit.
        """
        self.check(now, 3)
        if not differences(self.state, now):
            if self._strict and positions is not None and self.state.rest.first > positions:
                raise StateError(
                    f"the state is damaged: it is at batch {self.state.rest.first} of an epoch that has {positions}"
                )
            return self.state.rest
        first = carried_over(self.state, now)
        return Rest(first if positions is None else min(first, positions))


def differences(saved: State, now: Setup) -> dict[str, tuple[Any, Any]]:
    """In what a saved state and a loader differ, so that one could not go on where the other stopped.

    Where an epoch begins, it may be shuffled or not, and be cut into another number of shards. One shard's state serves
    the others, which are as far.
    """
    pairs = {name: (getattr(saved.setup, name), getattr(now, name)) for name in Setup._fields}
    (index, count, _), (index_now, count_now, _) = pairs["shard"]
    if saved.rest == Rest():
        del pairs["order"], pairs["shard"]
    elif count == count_now and not (saved.rest.early and index != index_now):
        del pairs["shard"]
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def told(found: Mapping[str, tuple[Any, Any]]) -> str:
    """Differences in words, both sides of each."""
    return "; ".join(f"{_NAMES[name]}: saved {saved!r}, now {now!r}" for name, (saved, now) in found.items())


def carried_over(saved: State, now: Setup) -> int:
    """Batches that a loader that differs passes over: of as many items as had been delivered, rounded down."""
    items = saved.rest.first * (saved.setup.batch_size or 1) * saved.setup.shard[1]
    return items // ((now.batch_size or 1) * now.shard[1])
