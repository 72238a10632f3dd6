"""A training whose fifth batch does not come: `python -m tests.adapters.waiting EXECUTOR FIFO HANDLER`.

A line goes to the FIFO from the source when it is in that batch, and one from the training when it has done the batch
before. HANDLER is "default", or "own" for a handler that notes the signal; then the batch comes when SIGINT has been
sent, told by a second FIFO. On KeyboardInterrupt the moment goes to standard output.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import keras

import procession
from tests.adapters import kit

LATE = 4


class Waiting(kit.Numbered):
    """Its batch 4 is never finished, or when the other FIFO says so."""

    def __init__(self, fifo: str, comes: bool) -> None:
        super().__init__(7)
        self.fifo, self.comes = fifo, comes

    def __getitem__(self, i: int) -> Any:
        if i == LATE:
            tell(self.fifo, "in the batch")
            if self.comes:
                Path(f"{self.fifo}.go").read_text()
            else:
                threading.Event().wait()
        return super().__getitem__(i)


class Telling(keras.callbacks.Callback):
    """Tells when the batch before has been trained on."""

    def __init__(self, fifo: str) -> None:
        super().__init__()
        self.fifo = fifo

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == LATE - 1:
            tell(self.fifo, "before the batch")


def tell(fifo: str, line: str) -> None:
    """Write a line; short enough not to be mixed with another."""
    with Path(fifo).open("w") as out:
        out.write(line + "\n")


def main(executor: Any, fifo: str, handler: str) -> None:
    """Train until the signal comes, or beyond."""
    noted: list[int] = []
    own = handler == "own"
    # Set in both cases: a job in the background of a shell is started with SIGINT ignored.
    signal.signal(signal.SIGINT, (lambda number, _: noted.append(number)) if own else signal.default_int_handler)
    model = kit.make_model("unbuilt")
    loader = procession.Loader(Waiting(fifo, comes=own), executor=executor, workers=2)
    try:
        model.fit(loader, epochs=1, shuffle=False, verbose=0, callbacks=[Telling(fifo)])
    except KeyboardInterrupt:
        sys.stdout.write(f"{time.monotonic()}\n")
        raise
    sys.stdout.write(f"{kit.numbers(model)} {[signal.Signals(number).name for number in noted]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
