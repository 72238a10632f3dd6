"""Who is read, and who is not."""

from __future__ import annotations

import os
import socket

from procession.engine.readers import Readers


def test_who_has_got_the_number_of_one_that_was_closed_in_the_same_round_is_not_read() -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    read: list[str] = []
    made: list[socket.socket] = []
    readers: Readers[None] = Readers()

    def close_and_replace(number: int) -> None:
        """Close the other one; what is opened next has its number."""
        other = pairs[1 - number][0]
        read.append(f"first {number}")
        descriptor = other.fileno()
        readers.silence(descriptor)
        other.close()
        made.extend(socket.socketpair())
        assert made[0].fileno() == descriptor
        readers.listen(descriptor, lambda: read.append("another"))

    for number, (ours, theirs) in enumerate(pairs):
        readers.listen(ours.fileno(), lambda number=number: close_and_replace(number))  # type: ignore[misc]
        theirs.send(b"x")
    readers.wait(None)
    assert len(read) == 1
    assert read[0].startswith("first")
    made[1].send(b"y")
    first = pairs[int(read[0][-1])][0]
    assert os.read(first.fileno(), 1) == b"x"
    readers.wait(None)
    assert read[1:] == ["another"]
    readers.close()
    for end in (*made, *(end for pair in pairs for end in pair)):
        end.close()
