"""A descriptor that ends a wait: for a loader that is closed, or a signal that the main thread cannot see."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Waker:
    """A pipe of single bytes; its reading end is waited on beside everything else."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.noted = False  # Ctrl-C has ended a wait in another thread than the main one
        self._previous: int | None = None  # what signals were written to before `watch_signals`; None: not watching

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._read

    def wake(self) -> None:
        """End the wait of another thread."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody waits
            os.write(self._write, b"\0")

    def drain(self) -> bytes:
        """Read what has arrived: numbers of signals, and 0 for `wake`."""
        try:
            data = os.read(self._read, 512)
        except BlockingIOError:
            return b""
        signals = data.replace(b"\0", b"")
        if signals and self._previous is not None and self._previous >= 0:
            with contextlib.suppress(OSError):  # an event loop's end of the same kind: it gets what it would have got
                os.write(self._previous, signals)
        return signals

    def watch_signals(self) -> None:
        """Let signals wake the wait, from now until `ignore_signals`.

        TensorFlow runs a source's reader in a thread of its own while the main thread sits in C++, where Python's
        signal handlers do not run: without this, Ctrl-C would wait for the next batch. Only the main thread may ask
        for it."""
        if self._previous is None and threading.current_thread() is threading.main_thread():
            self._previous = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def defer_interrupts(self) -> None:
        """Until `ignore_signals`, let Ctrl-C that has ended a wait in another thread (`noted`) be raised by its owner.

        Raised by Python itself it would come while TensorFlow's C++ turns the end of that wait into an exception,
        which it does not survive.
        """
        self.noted = False
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupted)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if not self.noted:
            signal.default_int_handler(number, frame)

    def ignore_signals(self) -> None:
        """Undo `watch_signals`."""
        if self._previous is None or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) == self._interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        previous, self._previous = self._previous, None
        try:
            present = signal.set_wakeup_fd(previous)
        except (ValueError, OSError):  # it has been closed since
            present = signal.set_wakeup_fd(-1)
        if present != self._write:  # somebody took over since: leave it to them
            signal.set_wakeup_fd(present)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch signals for one wait.

        In the main thread too: one that arrives just before the wait has set its flag by then, and would not end it.
        """
        outermost = self._previous is None
        self.watch_signals()
        try:
            yield
        finally:
            if outermost:
                self.ignore_signals()

    def close(self) -> None:
        """Close both ends, unless signals still arrive here and this thread cannot change that."""
        self.ignore_signals()
        if self._previous is None and threading.current_thread() is threading.main_thread():
            # An interrupt may have come between setting it and noting that: nothing must be written here any more.
            present = signal.set_wakeup_fd(-1)
            if present != self._write:
                signal.set_wakeup_fd(present)
        if self._previous is None and self._read >= 0:
            os.close(self._read)
            os.close(self._write)
            self._read = self._write = -1


def interrupts(signals: bytes) -> bool:
    """Whether Ctrl-C is among `signals`, and would raise KeyboardInterrupt once the main thread sees it."""
    handler = signal.getsignal(signal.SIGINT)
    ours = isinstance(getattr(handler, "__self__", None), Waker)
    return signal.SIGINT in signals and (ours or handler is signal.default_int_handler)
