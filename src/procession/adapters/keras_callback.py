"""The callback that keeps a loader's place beside a model's checkpoints, whoever saves those.

A checkpoint knows how many steps its optimizer has done. The file says which place of the stream that is: it has an
entry where an order begins, and where one is not read batch by batch (something was skipped, or batches come as they
become ready). So it need not be written together with the checkpoint, and an old checkpoint finds its place too.

    iterations   0 ──────────────► 82 ──────────────► 164 ─────      entries: 0 = epoch 0, batch 0; 82 = epoch 1, …
                        ▲ a checkpoint of 57 steps is at batch 57 of epoch 0
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import keras

from procession.errors import StateError, StateWarning
from procession.order.state import State

MOST_ENTRIES = 1024  # the oldest are dropped: of epochs long ago


class Entry(NamedTuple):
    """What the stream's state was after so many steps of the optimizer."""

    iterations: int
    state: dict[str, Any]


class ResumeCallback(keras.callbacks.Callback):
    """See `Loader.resume_callback`."""

    def __init__(self, loader: Any, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._loader = loader
        self._path = Path(path)
        self._entries: list[Entry] = []
        self._begins: list[int] = []  # iterations at which epochs of Keras began
        self._written = 0  # places of the reader that are in the file
        self._base: int | None = None  # iterations when this training began; None: it has not
        self._trained = 0  # batches since

    def on_train_begin(self, logs: Any = None) -> None:
        """Nothing is known yet: callbacks that restore the model may come after this one."""
        self._base = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Go on where the model was saved, the first time; note where the epoch begins."""
        iterations = int(self.model.optimizer.iterations)
        if self._base is None:
            self._begin(iterations)
        self._begins = [*self._begins[-MOST_ENTRIES:], iterations]
        self._write()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """A step, or with `steps_per_execution` some, have been done."""
        assert self._base is not None
        several = (getattr(self._model, "steps_per_execution", 1) or 1) > 1
        self._trained = int(self.model.optimizer.iterations) - self._base if several else self._trained + 1
        if self._loader._reader.noted != self._written:
            self._write()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look whether steps can be counted by the optimizer."""
        assert self._base is not None
        steps = int(self.model.optimizer.iterations) - self._base
        if steps != self._trained:
            warnings.warn(
                f"the optimizer counts {steps} steps after {self._trained} batches, so a checkpoint does not tell how "
                "many batches it has seen: training cannot be resumed exactly. A train_step that applies gradients "
                "other than once a batch does that",
                StateWarning,
                stacklevel=2,
            )

    def _begin(self, iterations: int) -> None:
        if self._loader._reader is None:
            raise StateError(
                f"this callback keeps the place of {self._loader!r}, which is not what fit reads from: give fit that "
                "loader, or take the callback from the one it reads, loader.resume_callback(path)"
            )
        self._base, self._trained, self._written = iterations, 0, 0
        self._read()
        self._entries = [entry for entry in self._entries if entry.iterations <= iterations]
        self._begins = [begin for begin in self._begins if begin <= iterations]
        if iterations and self._entries:
            self._loader.load_state_dict(self._state_at(iterations).to_dict())
            self._shorten(iterations)
        elif iterations:
            warnings.warn(
                f"the model has done {iterations} steps, but {self._path} does not say where the loader was by then: "
                "the data begin anew. Give the callback the path that it had in the run that saved the model",
                StateWarning,
                stacklevel=2,
            )

    def _state_at(self, iterations: int) -> State:
        entry = self._entries[-1]
        state = State.from_dict(entry.state)
        first, epochs, positions = state.rest.first + iterations - entry.iterations, 0, self._positions()
        if positions is not None and first >= positions:  # it was killed before it wrote that an epoch had begun
            epochs, first = divmod(first, positions)
        rest = state.rest._replace(first=first)
        return state._replace(epoch=state.epoch + epochs, hooks=state.hooks + epochs, rest=rest)

    def _positions(self) -> int | None:
        positions: int | None = self._loader._stream.plan().positions
        return positions

    def _shorten(self, iterations: int) -> None:
        """The epoch that goes on has fewer steps left than `steps_per_epoch`."""
        reader = self._loader._reader
        if reader.steps and self._begins:
            done = (iterations - self._begins.pop()) % reader.steps
            reader.quota = reader.steps - done if done else None

    def _read(self) -> None:
        self._entries, self._begins = [], []
        try:
            data = json.loads(self._path.read_text())
            self._entries = [Entry(int(iterations), state) for iterations, state in data["entries"]]
            self._begins = [int(begin) for begin in data["epochs"]]
        except FileNotFoundError:
            return
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"{self._path} is not a file of a loader's places ({type(error).__name__}: {error}). Give the callback "
                "a path of its own, or remove the file to begin anew"
            ) from error

    def _write(self) -> None:
        """Write all that is known, at once or not at all."""
        assert self._base is not None
        reader, stream = self._loader._reader, self._loader._stream
        new = reader.noted - self._written
        for place in reader.places()[-new:] if new else ():
            at = self._base + place.handed
            self._entries = [entry for entry in self._entries if entry.iterations < at]
            self._entries.append(Entry(at, stream.state_at(place.plan, place.rest).to_dict()))
        self._written += new
        self._entries = self._entries[-MOST_ENTRIES:]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_text(json.dumps({"entries": self._entries, "epochs": self._begins}))
        new.replace(self._path)
