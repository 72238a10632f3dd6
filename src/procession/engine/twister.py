"""The words of a Mersenne Twister's state, made from 128 bits; and torch's Mersenne Twister."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
LITTLE = np.dtype("<u8")
HALVES = np.dtype("<u4")
WORDS = 624  # of a Mersenne Twister; at position 624 it makes new ones before it draws
INCREMENT = 0xDA3E39CB94B95BDB5851F42D4C957F2D | 1  # of the PCG64: which does not matter, but that it is odd


class WordMaker:
    """A PCG64 that is given its state."""

    def __init__(self) -> None:
        self._pcg = np.random.PCG64(0)
        self._inner: dict[str, int] = {"state": 0, "inc": INCREMENT}
        self._state: Any = {"bit_generator": "PCG64", "state": self._inner, "has_uint32": 0, "uinteger": 0}

    def make(self, digest: bytes, twisters: int) -> Words:
        """The words for so many Mersenne Twisters, one behind the other."""
        self._inner["state"] = int.from_bytes(digest, "little")
        self._pcg.state = self._state
        words: Any = self._pcg.random_raw(twisters * WORDS // 2)
        made: Words = words.astype(LITTLE, copy=False).view(HALVES)  # the same on machines of either kind
        return made


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
