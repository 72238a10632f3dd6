"""Messages between two processes: whole or not at all, with their descriptors, and never a wait for the dead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from procession.engine.channel import MOST_DESCRIPTORS, PACKET, Channel, Closed

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = Channel.pair()
    yield one, other
    one.close()
    other.close()


def received(channel: Channel) -> tuple[Any, list[int]]:
    got = channel.receive()
    assert got is not None
    return got


@pytest.mark.parametrize("size", [0, 1, PACKET - 100, PACKET, PACKET + 1, 5_000_000])
def test_messages_of_any_size_arrive_whole_and_in_order(pair: Pair, size: int) -> None:
    one, other = pair
    for number in range(3):
        one.send((number, b"x" * size))
    assert [received(other)[0] for _ in range(3)] == [(number, b"x" * size) for number in range(3)]


@pytest.mark.parametrize("size", [10, 5_000_000])
@pytest.mark.parametrize("count", [1, MOST_DESCRIPTORS - 1])
def test_descriptors_come_along_and_stay_open_here(pair: Pair, size: int, count: int) -> None:
    one, other = pair
    reader, writer = os.pipe()
    one.send(b"x" * size, [writer] * count)
    message, descriptors = received(other)
    assert (len(message), len(descriptors)) == (size, count)
    for descriptor in descriptors:
        assert not os.get_inheritable(descriptor)
        os.write(descriptor, b"a")
        os.close(descriptor)
    os.write(writer, b"b")
    assert os.read(reader, 1000) == b"a" * count + b"b"
    os.close(reader)
    os.close(writer)


def test_nothing_there_is_none_without_waiting(pair: Pair) -> None:
    assert pair[1].receive(wait=False) is None


def test_what_was_sent_is_read_before_closed(pair: Pair) -> None:
    one, other = pair
    one.send("last")
    one.close()
    assert received(other)[0] == "last"
    for wait in (True, False):
        with pytest.raises(Closed):
            other.receive(wait=wait)


def test_sending_to_a_closed_end(pair: Pair) -> None:
    one, other = pair
    other.close()
    for message in ("small", b"x" * 1_000_000):
        with pytest.raises(Closed):
            one.send(message)


def test_closed_though_messages_were_never_read(pair: Pair) -> None:
    one, other = pair
    one.send("unread")
    other.send("unread too")
    other.close()
    with pytest.raises(Closed):
        [one.receive() for _ in range(2)]


def test_closing_wakes_who_waits(pair: Pair) -> None:
    one, other = pair
    told: list[type[BaseException]] = []

    def wait() -> None:
        try:
            other.receive()
        except Closed as error:
            told.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    one.close()
    thread.join(10)
    assert told == [Closed]


CHILD = """
import sys
from procession.engine.channel import Channel
channel = Channel.from_descriptor(int(sys.argv[1]))
channel.send("from the child")
channel.receive()
"""


def test_the_end_of_a_process_closes_its_channel(pair: Pair) -> None:
    one, other = pair
    number = other.fileno()
    with subprocess.Popen([sys.executable, "-c", CHILD, str(number)], pass_fds=[number]) as process:
        other.close()
        assert received(one)[0] == "from the child"
        process.kill()
        with pytest.raises(Closed):
            one.receive()


def test_finish_waits_for_the_other_end_and_not_for_ever(pair: Pair) -> None:
    one, other = pair
    assert one.finish(0.0) is False
    other.send("on its way")
    other.close()
    assert one.finish(10.0) is True
