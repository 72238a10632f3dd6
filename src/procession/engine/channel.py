"""One message at a time over a socket between two processes of this library, descriptors included.

Sequenced packets keep the borders of messages, so a process that is killed while it sends leaves no half message
behind. A message too large for a packet travels in a memory segment whose descriptor the packet carries.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import select
import socket
import sys
import time
from array import array
from collections.abc import Sequence
from typing import Any

from procession.capture.memory import anonymous
from procession.capture.pickling import dumps
from procession.engine.limits import limit_error

PACKET = 32 * 1024  # well below the kernel's default socket buffer (208 KiB on Linux), several must fit
MOST_DESCRIPTORS = 250  # Linux allows 253 in a packet
GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)  # of the other end, or of this one
_INLINE, _SEGMENT = b"i", b"s"


class Closed(Exception):  # noqa: N818 - an event more than an error: the other process is gone
    """The other end has been closed, on purpose or by the death of its process."""


class Channel:
    """A connected pair's one end. Not thread-safe."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    @staticmethod
    def pair() -> tuple[Channel, Channel]:
        """Two connected ends."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Channel(one), Channel(other)

    @staticmethod
    def from_descriptor(descriptor: int) -> Channel:
        """The end that was passed to this process as `descriptor`, which it owns from now on."""
        return Channel(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def send(self, message: Any, descriptors: Sequence[int] = (), *, wait: bool = True) -> None:
        """Send a message; the descriptors stay open here.

        Raises:
            Closed: the other end is gone.
            BlockingIOError: with `wait` False, if there is no room for it: the other end does not read.
        """
        data = dumps(message)
        if len(data) <= PACKET:
            self._send(_INLINE + data, descriptors, wait)
            return
        segment = anonymous(len(data), "message")
        try:
            with os.fdopen(segment, "r+b", closefd=False) as file:
                file.write(data)
            self._send(_SEGMENT + len(data).to_bytes(8, "little"), (segment, *descriptors), wait)
        finally:
            os.close(segment)

    def receive(self, *, wait: bool = True) -> tuple[Any, list[int]] | None:
        """The next message and its descriptors, which the caller owns; None if there is none and `wait` is False.

        Raises:
            Closed: the other end is gone and all its messages have been read.
        """
        flags = socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT)
        try:
            packet, ancillary, truncated, _ = self._socket.recvmsg(PACKET + 1, _ANCILLARY, flags)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:  # ECONNRESET: it died with messages of ours unread
            raise Closed from error
        if not packet:
            raise Closed
        if truncated & socket.MSG_CTRUNC:
            raise limit_error(errno.EMFILE, "descriptor that was sent")
        descriptors = _descriptors(ancillary)
        if packet[:1] == _INLINE:
            return pickle.loads(memoryview(packet)[1:]), descriptors
        with os.fdopen(descriptors.pop(0), "rb") as file:
            file.seek(0)
            return pickle.loads(file.read(int.from_bytes(packet[1:], "little"))), descriptors

    def finish(self, seconds: float) -> bool:
        """Say that nothing more comes, and wait until the other end closes too; False if it has not in time."""
        with contextlib.suppress(OSError):  # it is gone already
            self._socket.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + seconds
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        try:
            while waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                received = self.receive(wait=False)
                for descriptor in received[1] if received else ():
                    os.close(descriptor)
        except Closed:
            return True
        return False

    def close(self) -> None:
        """Close this end; the other reads what was sent, and then `Closed`."""
        self._socket.close()

    def _send(self, packet: bytes, descriptors: Sequence[int], wait: bool) -> None:
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            if descriptors:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))
                self._socket.sendmsg([packet], [rights], flags)  # socket.send_fds takes flags, and forgets them
            else:
                self._socket.send(packet, flags)
        except OSError as error:
            if error.errno in GONE:
                raise Closed from error
            raise


_ANCILLARY = socket.CMSG_SPACE(MOST_DESCRIPTORS * 4)


def _descriptors(ancillary: list[Any]) -> list[int]:
    found: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(data) - len(data) % 4
            found.extend(int.from_bytes(data[k : k + 4], sys.byteorder, signed=True) for k in range(0, whole, 4))
    return found
