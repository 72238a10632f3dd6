"""Every exception the library raises of its own, and how an exception crosses a process border.

A message says what happened with its values, why, and what to write instead. An exception of the user's source is never
replaced by one of these: it arrives as itself (see `pack` and `unpack`).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, NamedTuple

_NOT_THE_USERS = ("procession", "keras", "tf_keras", "tensorflow", "weakref", "contextlib", "functools", "runpy")


class _Coded:
    """Something that is told with the code of its page in `docs/errors`; `procession explain` shows it."""

    code: ClassVar[str] = ""

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} [{self.code}]" if self.code else text


class ProcessionError(_Coded, Exception):
    """Base of the library's own exceptions. `code` names the page that explains it, `docs/errors/PRCnnn.md`."""


class ConfigError(ProcessionError, ValueError):
    """A parameter of `Loader` has a value that cannot be used."""

    code = "PRC712"


class SourceTypeError(ProcessionError, TypeError):
    """What was given as a source cannot be indexed, or has no length."""

    code = "PRC105"


class EmptySourceError(ProcessionError, ValueError):
    """The source has nothing to deliver."""

    code = "PRC313"


class CaptureError(ProcessionError, TypeError):
    """Something in the source cannot be sent to another process; names the attribute path."""

    code = "PRC101"


class BatchError(ProcessionError, ValueError):
    """A batch or sample has a form that cannot be delivered; names the index."""

    code = "PRC302"
    unlike: tuple[int, ...] = ()  # samples that are not as most of their batch are; empty: it is the batch's fault


class WorkerDiedError(ProcessionError, RuntimeError):
    """A worker process ended while it was making a batch; names worker, signal and index."""

    code = "PRC701"


class StalledError(WorkerDiedError, TimeoutError):
    """A worker took longer over a batch than `Faults.timeout` allows; has its Python stack."""

    code = "PRC702"


class RestartsError(WorkerDiedError):
    """More workers died in an epoch than `Faults.max_restarts` allows to replace."""

    code = "PRC703"


class LimitError(ProcessionError, OSError):
    """A limit of the machine is in the way; names it, its value and what was needed."""

    code = "PRC410"


class TemplateDiedError(WorkerDiedError):
    """The process that workers are forked from ended."""

    code = "PRC704"


class ImportedAgainError(ProcessionError, RuntimeError):
    """Workers would be started by what runs when workers load a source; names the line."""

    code = "PRC102"


class EpochAbandonedError(ProcessionError, RuntimeError):
    """An iterator was advanced after the loader had begun another epoch."""

    code = "PRC706"


class LoaderClosedError(ProcessionError, RuntimeError):
    """The loader was used after `close()`."""

    code = "PRC707"


class StateError(ProcessionError, ValueError):
    """A saved state cannot be read, or does not fit the loader."""

    code = "PRC708"


class StateWarning(_Coded, UserWarning):
    """A loader goes on from a saved state though it differs from the one that was saved."""

    code = "PRC709"


class SourceExitError(ProcessionError, RuntimeError):
    """The source called `sys.exit()`, or raised another exception that is no error."""

    code = "PRC705"


class IgnoredWarning(_Coded, UserWarning):
    """Something that was asked for has no effect here."""

    code = "PRC710"


class SkippedWarning(_Coded, UserWarning):
    """Items were left out of an epoch because they failed, as `Faults.on_error` said."""

    code = "PRC711"


def harmless(error: BaseException, what: str) -> BaseException:
    """What to raise in the training process for `error`: the same, unless that would end it in silence."""
    if isinstance(error, StopIteration):
        return RuntimeError(
            f"{what} raised StopIteration, which would end the consumer's loop as if the epoch were over"
        )
    if isinstance(error, (Exception, KeyboardInterrupt)):
        return error
    return SourceExitError(
        f"{what} raised {type(error).__name__}({', '.join(map(repr, error.args))}): a source must not end the process "
        "it runs in (sys.exit, exit, quit). Raise an exception that says what is wrong"
    )


class WorkerTraceback(Exception):  # noqa: N818 - it is shown as a cause, never raised
    """The formatted traceback of the worker, shown as the cause of the exception that crossed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class PackedError(NamedTuple):
    """An exception on its way between processes; every field is bytes or text, so it always travels."""

    whole: bytes | None  # the exception as pickled, if that can be read back
    kind: bytes | None  # else its class
    args: tuple[bytes | str, ...]  # and its arguments, each pickled or, failing that, its repr
    name: str  # the class's name, when even the class cannot travel
    traceback: str
    notes: tuple[str, ...]
    state: tuple[tuple[str, bytes], ...] = ()  # its attributes, those that travel


def pack(error: BaseException, dumps: Callable[[Any], bytes], loads: Callable[[bytes], Any]) -> PackedError:
    """Make `error` fit to travel, keeping as much of it as can be read back on the other side."""
    text = "".join(traceback.format_exception(type(error), error, _users_part(error.__traceback__)))
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    notes = tuple(str(n) for n in getattr(error, "__notes__", ()))
    whole = _readable(error, dumps, loads)
    if whole is not None:
        return PackedError(whole, None, (), name, text, notes)
    arguments = tuple(_readable(a, dumps, loads) or repr(a) for a in error.args)
    attributes = ((key, _readable(value, dumps, loads)) for key, value in vars(error).items() if key != "__notes__")
    state = tuple((key, data) for key, data in attributes if data is not None)
    return PackedError(None, _readable(type(error), dumps, loads), arguments, name, text, notes, state)


def unpack(packed: PackedError, loads: Callable[[bytes], Any]) -> BaseException:
    """Rebuild the exception; the worker's traceback becomes its cause."""
    error = _rebuild(packed, loads)
    error.__cause__ = WorkerTraceback(packed.traceback)
    if not getattr(error, "__notes__", None):
        for note in packed.notes:
            error.add_note(note)
    return error


def _users_part(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the user's first frame on; the library's own before it say nothing to anybody."""
    found = frames
    while found is not None and found.tb_frame.f_globals.get("__name__", "").startswith("procession."):
        found = found.tb_next
    return found or frames


def _rebuild(packed: PackedError, loads: Callable[[bytes], Any]) -> BaseException:
    try:
        if packed.whole is not None:
            whole = loads(packed.whole)
            if isinstance(whole, BaseException):
                return whole
        if packed.kind is not None:
            args = [a if isinstance(a, str) else loads(a) for a in packed.args]
            kind = loads(packed.kind)
            # Past __init__, which is what failed: its signature differs from args.
            rebuilt = kind.__new__(kind, *args)
            rebuilt.args = tuple(args)
            for key, data in packed.state:
                setattr(rebuilt, key, loads(data))
            if isinstance(rebuilt, BaseException):
                return rebuilt
    except Exception as why:  # a class that cannot be rebuilt must not hide the user's error
        return ProcessionError(f"{packed.name} was raised, and could not be rebuilt here: {why!r}")
    shown = ", ".join(a if isinstance(a, str) else "…" for a in packed.args)
    return ProcessionError(f"{packed.name}({shown}) was raised; its class cannot be sent between processes")


def _readable(value: Any, dumps: Callable[[Any], bytes], loads: Callable[[bytes], Any]) -> bytes | None:
    """The pickle of `value` if it can also be read back, which many exceptions cannot."""
    try:
        data = dumps(value)
        again = loads(data)
        if isinstance(value, BaseException) and (type(again) is not type(value) or str(again) != str(value)):
            return None
        return data
    except Exception:  # whatever it is, it does not travel
        return None


def users_level() -> int:
    """How many frames up the user's code is, as `stacklevel` counts for the function that called this."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _NOT_THE_USERS:
        frame, level = frame.f_back, level + 1
    return level
