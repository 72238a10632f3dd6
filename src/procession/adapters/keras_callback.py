"""The callback that keeps a loader's place beside a model's checkpoints, whoever saves those.

A checkpoint knows how many steps its optimizer has done. The file says which place of the stream that is: it has an
entry where an order begins, and where one is not read batch by batch (something was skipped, or batches come as they
become ready). So it need not be written together with the checkpoint, and an old checkpoint finds its place too.

    iterations   0 ──────────────► 82 ──────────────► 164 ─────      entries: 0 = epoch 0, batch 0; 82 = epoch 1, …
                        ▲ a checkpoint of 57 steps is at batch 57 of epoch 0

It also says at how many steps each epoch of Keras began. `BackupAndRestore` forgets which epoch it is in when it saves
again in the one that it restored, and starts one anew that it saved at its last batch.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import keras

from procession.errors import StateError, StateWarning
from procession.order.rest import Rest
from procession.order.state import State

MOST_ENTRIES = 1024  # the oldest are dropped: of epochs long ago


class Entry(NamedTuple):
    """What the stream's state was after so many steps of the optimizer."""

    iterations: int
    state: dict[str, Any]


class Begin(NamedTuple):
    """After so many steps an epoch of Keras began."""

    iterations: int
    epoch: int


class ResumeCallback(keras.callbacks.Callback):
    """See `Loader.resume_callback`."""

    def __init__(self, loader: Any, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._loader = loader
        self._path = Path(path)
        self._entries: list[Entry] = []
        self._begins: list[Begin] = []
        self._adapter: Any = None  # through which fit reads
        self._begun = False  # whether this training has
        self._written = 0  # places of its reader that are in the file
        self._base = 0  # iterations when this training began
        self._trained = 0  # batches since
        self._read()
        if self._entries:  # before fit looks at a batch, for which hooks draw random numbers
            loader._stream.adopt(State.from_dict(self._entries[-1].state).setup.seed)

    def on_train_begin(self, logs: Any = None) -> None:
        """Correct the epoch that `BackupAndRestore` says to begin with; the rest is done when all have restored."""
        self._adapter = adapter = getattr(_iterator_of_fit(), "data_adapter", None)
        if getattr(adapter, "loader", None) is not self._loader:
            raise StateError(
                f"this callback keeps the place of {self._loader!r}, which is not what fit reads from: give fit that "
                "loader, or take the callback from the one it reads, loader.resume_callback(path)"
            )
        self._begun, iterations = False, self._iterations()
        if self._restored() and iterations:
            self._read(until=iterations)
            self._model._initial_epoch = self._epoch_at(iterations, self._model._initial_epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """Where Keras began is of no use to another training."""
        if self._restored():
            self._model._initial_epoch = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Go on where the model was saved, the first time; note where the epoch begins."""
        iterations = self._iterations()
        if not self._begun:
            self._begin(iterations, epoch)
        self._adapter.ran_out = False
        self._begins = [*self._begins[-MOST_ENTRIES:], Begin(iterations, epoch)]
        self._write()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """A step, or with `steps_per_execution` some, have been done."""
        several = (getattr(self._model, "steps_per_execution", 1) or 1) > 1
        self._trained = self._iterations() - self._base if several else self._trained + 1
        if self._adapter.epochs.noted != self._written:
            self._write()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look whether steps can be counted by the optimizer."""
        more = self._iterations() - self._base - self._trained
        if not more:
            return
        if self._adapter.ran_out:  # on TensorFlow the optimizer may count the step that got no batch
            self._base += more
            self._note(self._iterations(), self._adapter.epochs.state_after(self._trained))
            self._save()
            return
        warnings.warn(
            f"the optimizer counts {self._trained + more} steps after {self._trained} batches, so a checkpoint does "
            "not tell how many batches it has seen: training cannot be resumed exactly. A train_step that applies "
            "gradients other than once a batch does that",
            StateWarning,
            stacklevel=2,
        )

    def _iterations(self) -> int:
        """Steps of the optimizer, those included that only accumulate gradients."""
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        return int(keras.ops.convert_to_numpy(getattr(optimizer, "_iterations", optimizer.iterations)))

    def _restored(self) -> bool:
        """Whether `BackupAndRestore` has restored the model."""
        return getattr(self._model, "_initial_epoch", None) is not None

    def _begin(self, iterations: int, epoch: int) -> None:
        self._begun, self._base, self._trained, self._written = True, iterations, 0, 0
        self._read(until=iterations)
        self._check_restored(iterations, epoch)
        if iterations and self._entries:
            done = 0 if self._is_over(iterations) else self._done(iterations)
            self._loader.load_state_dict(self._state_at(iterations).to_dict())
            self._adapter.begin_epoch(_iterator_of_fit(), done)

    def _check_restored(self, iterations: int, epoch: int) -> None:
        told = ""
        if iterations and not self._entries:
            told = (
                f"the model has done {iterations} steps, but {self._path} does not say where the loader was by then: "
                "the data begin anew. Give the callback the path that it had in the run that saved the model"
            )
        elif not iterations and self._restored():
            told = (
                "BackupAndRestore has restored the model but not its optimizer, which has done no steps: the data "
                "begin anew. Build it before fit: model.optimizer.build(model.trainable_variables)"
            )
        elif self._restored() and epoch != (expected := self._epoch_at(iterations, epoch)):
            raise StateError(
                f"BackupAndRestore begins with epoch {epoch}, but what it restored is in epoch {expected}, after "
                f"{iterations} steps. List this callback behind it, which then corrects that"
            )
        if told:
            warnings.warn(told, StateWarning, stacklevel=4)

    def _epoch_at(self, iterations: int, otherwise: int) -> int:
        """The epoch of Keras that goes on, or begins, after so many steps."""
        if not self._begins or not self._entries:
            return otherwise
        return self._begins[-1].epoch + self._is_over(iterations)

    def _is_over(self, iterations: int) -> bool:
        """Whether the epoch of Keras that was begun last had come to its end by then."""
        done = self._done(iterations)
        return done > 0 and (done == self._adapter.epochs.steps or self._place(iterations)[1] == Rest())

    def _done(self, iterations: int) -> int:
        """Steps since that epoch began."""
        return iterations - self._begins[-1].iterations if self._begins else 0

    def _state_at(self, iterations: int) -> State:
        """Where the stream was; the hooks of the source are called once for each epoch of Keras."""
        entry = self._entries[-1]
        state, (epochs, rest) = State.from_dict(entry.state), self._place(iterations)
        ended = sum(begin.iterations > entry.iterations for begin in self._begins) + self._is_over(iterations)
        return state._replace(epoch=state.epoch + epochs, hooks=state.hooks + ended, rest=rest)

    def _place(self, iterations: int) -> tuple[int, Rest]:
        """How many epochs after that of the last entry, and what is left of it."""
        entry = self._entries[-1]
        rest, positions = State.from_dict(entry.state).rest, self._positions()
        first, epochs = rest.first + iterations - entry.iterations, 0
        if positions is not None and first >= positions:  # it was killed before it wrote that an epoch had begun
            epochs, first = divmod(first, positions)
        return epochs, rest._replace(first=first)

    def _positions(self) -> int | None:
        positions: int | None = self._loader._stream.positions()
        return positions

    def _read(self, until: int | None = None) -> None:
        self._entries, self._begins = [], []
        try:
            data = json.loads(self._path.read_text())
            self._entries = [Entry(int(iterations), state) for iterations, state in data["entries"]]
            self._begins = [Begin(int(iterations), int(epoch)) for iterations, epoch in data["epochs"]]
        except FileNotFoundError:
            return
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"{self._path} is not a file of a loader's places ({type(error).__name__}: {error}). Give the callback "
                "a path of its own, or remove the file to begin anew"
            ) from error
        if until is not None:
            self._entries = [entry for entry in self._entries if entry.iterations <= until]
            self._begins = [begin for begin in self._begins if begin.iterations <= until]

    def _write(self) -> None:
        """Write all that is known."""
        reader, stream = self._adapter.epochs, self._loader._stream
        new = reader.noted - self._written
        for place in reader.places()[-new:] if new else ():
            self._note(self._base + place.handed, stream.state_at(place.plan, place.rest))
        self._written += new
        self._save()

    def _note(self, iterations: int, state: State) -> None:
        known = [entry for entry in self._entries if entry.iterations < iterations]
        self._entries = [*known[1 - MOST_ENTRIES :], Entry(iterations, state.to_dict())]

    def _save(self) -> None:
        """At once or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_text(json.dumps({"entries": self._entries, "epochs": self._begins}))
        new.replace(self._path)


def _iterator_of_fit() -> Any:
    """What the `fit` that calls this reads from, in whatever version of Keras."""
    frame = sys._getframe(1)
    while frame.f_back is not None and "epoch_iterator" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals.get("epoch_iterator")
