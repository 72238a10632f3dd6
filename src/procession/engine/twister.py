"""The words of a Mersenne Twister's state, made from 128 bits; and torch's Mersenne Twister."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
LITTLE = np.dtype("<u8")
HALVES = np.dtype("<u4")
ORDINARY = sys.byteorder == "little"
STATE_BYTES = 16  # of a PCG64, without its increment
WORDS = 624  # of a Mersenne Twister; at position 624 it makes new ones before it draws
INCREMENT = 0xDA3E39CB94B95BDB5851F42D4C957F2D | 1  # of the PCG64: which does not matter, but that it is odd


class WordMaker:
    """A PCG64 that is given its state: in its memory, or, where that is not as expected, by its setter."""

    def __init__(self, fast: bool = True) -> None:
        """`fast`: write to memory where that is possible; the words are the same."""
        self._pcg = np.random.PCG64(0)
        self._inner: dict[str, int] = {"state": 0, "inc": INCREMENT}
        self._state: Any = {"bit_generator": "PCG64", "state": self._inner, "has_uint32": 0, "uinteger": 0}
        self._set(0)  # and with it the increment, for good
        self._memory = _pcg_memory(self._pcg) if fast and _pcg_is_as_expected() else None

    def make(self, digest: bytes, twisters: int) -> Words:
        """The words for so many Mersenne Twisters, one behind the other."""
        if self._memory is not None:
            self._memory[:] = digest  # a fifteenth of what the setter takes
        else:
            self._set(int.from_bytes(digest, "little"))
        words: Any = self._pcg.random_raw(twisters * WORDS // 2)
        made: Words = (words if ORDINARY else words.astype(LITTLE)).view(HALVES)  # the same on machines of either kind
        return made

    def _set(self, state: int) -> None:
        self._inner["state"] = state
        self._pcg.state = self._state


def _pcg_memory(pcg: Any) -> memoryview | None:
    """The 128 bits of a PCG64's state, which its object holds; its C interface begins with where."""
    place = ctypes.c_void_p.from_address(pcg.ctypes.state_address).value or 0
    if not id(pcg) <= place <= id(pcg) + type(pcg).__basicsize__ - STATE_BYTES:
        return None
    return memoryview((ctypes.c_ubyte * STATE_BYTES).from_address(place)).cast("B")


@functools.cache
def _pcg_is_as_expected() -> bool:
    """Whether one that nobody uses shows in memory what it tells, and tells what is written there."""
    pcg = np.random.PCG64(5489)
    memory = _pcg_memory(pcg)
    if memory is None or memory.tobytes() != pcg.state["state"]["state"].to_bytes(STATE_BYTES, "little"):
        return False
    told = bytes(range(STATE_BYTES))
    memory[:] = told
    return pcg.state["state"]["state"] == int.from_bytes(told, "little")


class Torch:
    """A generator of torch's, by its `set_state`: its `manual_seed` uses only 32 of the bits that it is given.

    The state is bytes: `| uint64 seed | int32 left, seeded | uint64 next | uint64 word[624] | normal numbers kept |`.
    """

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self._state = _torch_state(type(generator))
        if self._state is not None:
            content = self._state.numpy()  # a view
            self._number, self._words = content[:8].view(np.uint64), content[24 : 24 + 8 * WORDS].view(np.uint64)

    def seed(self, words: Words, number: int) -> None:
        if self._state is None:
            self._generator.manual_seed(number)
            return
        self._number[0] = number  # what torch.initial_seed() tells
        self._words[:] = words
        self._generator.set_state(self._state)

    def keep(self) -> Callable[[], None]:
        return functools.partial(self._generator.set_state, self._generator.get_state())


def _torch_state(kind: Any) -> Any:
    """The state of a generator that is freshly seeded, to be filled; None if it does not look as it should."""
    generator = kind()
    generator.manual_seed(5489)
    state = generator.get_state()
    content = state.numpy()
    words = np.random.RandomState(5489).get_state()[1]  # type: ignore[index]  # the same generator, the same seeding
    head = np.array([5489, 1 | 1 << 32, 0], np.uint64).view(np.uint8)  # left 1, seeded 1, next 0
    known = [head, np.asarray(words, np.uint64).view(np.uint8), np.zeros(40, np.uint8)]
    return state if np.array_equal(content, np.concatenate(known)) else None
