"""How far ahead to work, and how many tasks a message should carry, from what a task takes. Pure."""

from __future__ import annotations

from procession.engine.roster import MOST_QUEUED

MESSAGE_SECONDS = 2e-3  # work worth a message of its own: shorter tasks are sent several at a time
MOST_CHUNK = 32  # 8, 16 and 32 measured: 34, 25 and 20 µs a batch of 26 kB
QUEUE_SECONDS = 4e-3  # work that a worker has before it, two messages at least, while another has the core


class Pace:
    """Two numbers, kept up to date: `chunk` tasks in a message, `depth` batches ready or under way."""

    def __init__(self, prefetch: int | None) -> None:
        self._prefetch = prefetch  # None: two messages' worth for each worker, or more of what is quick
        self._seconds = MESSAGE_SECONDS  # what a task takes, smoothed
        self.chunk = 1
        self.depth = prefetch or 2

    def observe(self, seconds: float) -> None:
        """A task has taken so long."""
        self._seconds += 0.1 * (seconds - self._seconds)

    def resize(self, workers: int) -> None:
        """Set both numbers anew."""
        workers = max(1, workers)
        chunk = min(MOST_CHUNK, max(1, int(MESSAGE_SECONDS / max(self._seconds, 1e-9))))
        if self._prefetch is not None:  # at least two messages for each worker must fit into what was asked for
            chunk = min(chunk, max(1, self._prefetch // (2 * workers)))
        self.chunk = 1 << (chunk.bit_length() - 1)
        queued = min(MOST_QUEUED, int(QUEUE_SECONDS / max(self._seconds, 1e-9)))
        self.depth = self._prefetch or workers * max(2 * self.chunk, queued)
