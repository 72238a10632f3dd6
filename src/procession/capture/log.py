"""The memory of a shared dictionary: a log that is changed whole or not at all, whenever its writer is killed.

    | mutex | word | log 0 …              | log 1 …              |     sparse: what is not used takes no memory
              └─ generation (its lowest bit: which log counts) and committed length, in one word

A log is a row of records, each of which sets or removes one key. A change is written behind the committed length, and
counts from the moment the word has moved on; a log that is full is rewritten, without what is overwritten, as the
other one. So a writer that is killed at any moment leaves what was before or what is after. Each process reads only
what is new since it last looked.
"""

from __future__ import annotations

import ctypes
import errno
import pickle
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from procession.capture.mutex import ROOM, Mutex
from procession.capture.segments import Segment
from procession.errors import LimitError

_LOGS = ROOM + 64  # where they begin
_BITS = 40  # of the word for the length; those above are the generation
_LENGTH = (1 << _BITS) - 1
_RECORD = struct.Struct("=II")  # lengths of key and value, which follow
_UNREAD = -1  # instead of a word: another generation than any
_REMOVED = 0xFFFFFFFF  # instead of the length of a value

Pair = tuple[bytes, bytes]  # key and value, pickled
Change = tuple[bytes, bytes | None]  # None: the key is removed


def size_for(capacity: int) -> int:
    """Bytes of the segment: each log has room for as much again, so that it is not rewritten at every change."""
    return _LOGS + 4 * capacity


class Log:
    """The logs of a segment, as this process has read them. All but `now` is for who holds the mutex."""

    def __init__(self, segment: Segment, capacity: int) -> None:
        self.mutex = Mutex(segment)
        self._memory, self._capacity = np.asarray(segment).data, capacity  # keeps it mapped
        self._word = ctypes.c_uint64.from_address(segment.address + ROOM)
        self._seen = 0  # the word as of the next two
        self._pairs: dict[Any, Pair] = {}  # pickled: each reader gets a value of its own
        self._live = 0  # bytes of all pairs

    def now(self) -> dict[Any, Pair]:
        """All pairs, for a look at one of them; without the mutex where nothing has changed."""
        if self._word.value == self._seen:
            return self._pairs
        with self.mutex:
            return self.latest()

    def latest(self) -> dict[Any, Pair]:
        """All pairs."""
        word, seen = self._word.value, self._seen
        if word != seen:
            pairs, live, start = self._pairs, self._live, seen & _LENGTH
            if word >> _BITS != seen >> _BITS:  # rewritten
                pairs, live, start = {}, 0, 0  # not in place: other threads may be looking
            records = bytes(self._memory[self._at(word) + start : self._at(word) + (word & _LENGTH)])
            self._note(_read(records), pairs, live, word)
        return self._pairs

    def change(self, changes: dict[Any, Change]) -> None:
        """Make all of the changes, or none of them.

        Raises:
            LimitError: there would be more than the capacity.
        """
        pairs = self.latest()
        live = self._live + sum(_growth(pairs.get(key), change) for key, change in changes.items())
        if live > self._capacity:
            raise LimitError(
                errno.ENOSPC,
                f"a SharedDict would have {live:,} bytes, more than its capacity of {self._capacity:,}: remove what is "
                "not needed any more, or make it with a larger one, SharedDict(capacity=...)",
            )
        records, word = _written(changes.values()), self._word.value
        if (word & _LENGTH) + len(records) > 2 * self._capacity:
            kept: dict[Any, Change] = {**pairs, **changes}
            self._rewrite({key: change for key, change in kept.items() if change[1] is not None})
            return
        self._put(self._at(word) + (word & _LENGTH), records)
        self._word.value = word + len(records)  # the moment from which they count
        self._note(changes.items(), pairs, self._live, word + len(records))

    def clear(self) -> None:
        """Remove everything."""
        self._rewrite({})

    def _note(self, changes: Iterable[tuple[Any, Change]], pairs: dict[Any, Pair], live: int, word: int) -> None:
        self._seen = _UNREAD  # should Ctrl-C come in between, all is read again
        for key, (name, value) in changes:
            live += _growth(pairs.get(key), (name, value))
            if value is None:
                pairs.pop(key, None)
            else:
                pairs[key] = name, value
        self._pairs, self._live, self._seen = pairs, live, word

    def _rewrite(self, kept: dict[Any, Change]) -> None:
        records, word = _written(kept.values()), self._word.value
        turned = (((word >> _BITS) + 1) & 0xFFFFFF) << _BITS
        self._put(self._at(turned), records)
        self._word.value = turned | len(records)

    def _put(self, at: int, records: bytes) -> None:
        self._memory[at : at + len(records)] = records

    def _at(self, word: int) -> int:
        return _LOGS + (word >> _BITS & 1) * 2 * self._capacity


def _growth(before: Pair | None, change: Change) -> int:
    name, value = change
    more = 0 if value is None else _RECORD.size + len(name) + len(value)
    return more - (0 if before is None else _RECORD.size + len(before[0]) + len(before[1]))


def _written(changes: Iterable[Change]) -> bytes:
    parts: list[bytes] = []
    for name, value in changes:
        parts += (_RECORD.pack(len(name), _REMOVED if value is None else len(value)), name, value or b"")
    return b"".join(parts)


def _read(records: bytes) -> Iterator[tuple[Any, Change]]:
    at = 0
    while at < len(records):
        name_size, value_size = _RECORD.unpack_from(records, at)
        middle = at + _RECORD.size + name_size
        at = middle if value_size == _REMOVED else middle + value_size
        name = records[middle - name_size : middle]
        yield pickle.loads(name), (name, None if value_size == _REMOVED else records[middle:at])
