"""Epoch hooks: do they work, does what they change reach the workers, and what does that cost?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from procession import sources
from procession.capture.pickling import pickled
from procession.capture.views import segment_of
from procession.doctor.check import Chart, Check, Patient, Results
from procession.doctor.checks.failures import stack_place
from procession.doctor.code.assigned import attributes
from procession.doctor.code.reading import Reading, is_users_file, read
from procession.doctor.code.writes import Write, writes
from procession.doctor.findings import Code, Finding, Place
from procession.doctor.runtime import STALLED
from procession.doctor.seen.changes import Change, Snapshot
from procession.doctor.seen.probe import Raised, raised
from procession.engine.hooks import Hooks
from procession.errors import CaptureError, StalledError
from procession.flows import Flow
from procession.sources import Arrays

LARGE = 16 << 20  # bytes that follow a hook to the workers, once an epoch
SLOW = 0.5  # seconds for pickling them
MOST_COPIED = 1 << 29  # bytes of shared arrays that are made writable, as they are in the training process

RAISES = Code(
    "PRC210",
    "An epoch hook raises",
    "error",
    why="on_epoch_begin and on_epoch_end are called in the training process, between two epochs: an exception there "
    "ends the training, after its first epoch at the latest.",
    fix="""\
source = Photos("photos")
source.on_epoch_begin()     # try them so, before a long training
source[0]
source.on_epoch_end()""",
    how="The hooks are called on a copy of the source, in a process that is then thrown away.",
)
ELSEWHERE = Code(
    "PRC211",
    "What a hook changes does not reach the workers",
    "warning",
    why="After a hook, the attributes of the source that differ are sent to the workers. Class attributes and module "
    "globals are not: workers go on with what these were when they started.",
    fix="""\
def on_epoch_end(self):
    self.epoch += 1             # an attribute of the source itself: all workers have it before the next epoch""",
    how="The hooks are called in a process that is then thrown away; class attributes and globals that they name are "
    "compared before and after, and the code is read.",
)
BIG = Code(
    "PRC212",
    "What a hook changes is large",
    "warning",
    why="It is pickled in the training process and sent to the workers between two epochs, and training waits for it.",
    fix="""\
def on_epoch_end(self):
    np.random.shuffle(self.order)       # indices, not data: 8 bytes for each sample

def __getitem__(self, i):
    rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
    return self.x[rows], self.y[rows]""",
    how="The hooks are called on a copy of the source; what differs afterwards is pickled, and that measured.",
)


class Called(NamedTuple):
    """What became of one hook."""

    name: str
    seconds: float
    error: Raised | None
    changes: tuple[Change, ...]
    sizes: dict[str, tuple[int, float]]  # attribute → bytes when pickled, seconds for that
    refused: tuple[str, ...] = ()  # what it leaves and cannot be sent: the errors


def hooked(patient: Patient) -> list[Called]:
    """Call each hook once, as an epoch does."""
    source = patient.source
    if isinstance(source, (Arrays, Flow)):
        return []
    names = sources.hooks(source)
    hooks = Hooks(source, patient.seed)
    calls = {"on_epoch_begin": hooks.begin, "on_epoch_end": hooks.end}
    if "on_epoch_begin" not in names:
        hooks.begin()  # which calls nothing, and counts the epoch
    return [_called(source, name, calls[name]) for name in names]


def _called(source: Any, name: str, call: Callable[[], None]) -> Called:
    code = read(source, (name,))
    before = Snapshot(source, code)
    start = time.perf_counter()
    error = _error(call)
    if error is not None and _is_read_only(error) and _made_writable(source):
        before = Snapshot(source, code)
        start = time.perf_counter()
        error = _error(call)
    seconds = time.perf_counter() - start
    changes = before.changes(Snapshot(source, code))
    told = None if error is None or _is_read_only(error) else raised(error, source)
    tops = dict.fromkeys(_attribute(change.path) for change in changes if change.of_source)
    sizes = {top: _size(source, top) for top in tops}
    refused = tuple(found for found in sizes.values() if isinstance(found, str))
    known = {top: found for top, found in sizes.items() if not isinstance(found, str)}
    return Called(name, seconds, told, changes, known, refused)


def _error(call: Callable[[], None]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


def _size(source: Any, name: str) -> tuple[int, float] | str:
    value = attributes(source).get(name)
    start = time.perf_counter()
    try:
        parts = pickled(value, f"source.{name}")
    except CaptureError as error:
        return str(error).removesuffix(f" [{error.code}]")
    return len(parts.stream) + sum(each.nbytes for each in parts.buffers), time.perf_counter() - start


def _is_read_only(error: Exception) -> bool:
    return isinstance(error, ValueError) and ("read-only" in str(error) or "WRITEABLE" in str(error))


def _made_writable(source: Any) -> bool:
    """Copy the arrays that only workers share: a hook has the user's own ones, in the training process."""
    found = [(name, value) for name, value in attributes(source).items() if isinstance(value, np.ndarray)]
    shared = [(name, value) for name, value in found if not value.flags.writeable and segment_of(value) is None]
    if sum(value.nbytes for _, value in shared) > MOST_COPIED:
        return False
    for name, value in shared:
        setattr(source, name, value.copy())
    return bool(shared)


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """What the hooks do."""
    if isinstance(chart.source, (Arrays, Flow)):
        return
    called: list[Called] = results.of(hooked) or []
    yield from _not_returned(chart, results)
    written = writes(chart.hook_code, chart.source)
    for hook in called:
        chart.figures[f"{hook.name}: seconds"] = hook.seconds
        chart.figures[f"{hook.name}: bytes that it changes"] = sum(size for size, _ in hook.sizes.values())
        if hook.error is not None:
            yield _raises(chart, hook.name, hook.error)
        for refused in hook.refused:
            path = refused.partition(" is a ")[0]
            lines = [write.place for write in written if write.path == path]
            yield RAISES.found(
                f"after {hook.name}, {refused}",
                *(lines or [Place(attribute=path)]),
                title="What an epoch hook leaves cannot be sent to the workers",
                fix=f"def {hook.name}(self):\n    ...     # keep on it what can be pickled: arrays, numbers, names",
            )
    yield from _elsewhere(chart, called, written)
    yield from _large(called, written)


def _not_returned(chart: Chart, results: Results) -> Iterator[Finding]:
    """Hooks that were called and did not come back."""
    failed = results.failed(hooked)
    if failed is not None and isinstance(failed.error, StalledError):
        place = stack_place(chart, failed.error)
        places = [place] if place is not None else [reading.place() for reading in chart.hook_code[:1]]
        yield STALLED.found(
            f"it did not return within {chart.limit:g} s",
            *places,
            title="An epoch hook does not return",
            why="It is called in the training process, between two epochs: training stops there, without a message.",
        )


def _raises(chart: Chart, name: str, error: Raised) -> Finding:
    """What a hook raised; by the call itself, if it takes arguments."""
    own = next((reading.place() for reading in chart.hook_code if reading.name.endswith(name)), None)
    if own is not None and not is_users_file(error.place.file, chart.source):
        return RAISES.found(
            f"calling {name}() raises {error}: it is called without arguments", own, fix=f"def {name}(self):"
        )
    fix = RAISES.fix.replace("Photos", type(chart.source).__name__)
    return RAISES.found(f"{name}: `{error.line}` raises {error}", error.place, fix=fix)


def _elsewhere(chart: Chart, called: list[Called], written: list[Write]) -> Iterator[Finding]:
    changes = {
        change.path.partition("[")[0]: change for hook in called for change in hook.changes if not change.of_source
    }
    lines = [write for write in written if not write.path.startswith("source") and write.how != "read on"]
    for path in dict.fromkeys([*changes, *(write.path for write in lines)]):
        mine = [write for write in lines if write.path == path]
        if path not in changes and (called or not mine):
            continue  # it was called, and nothing has come of that
        evidence = str(changes[path]) if path in changes else f"`{mine[0].line}` stands there"
        used = next((each for each in chart.item_code if _names(each, path)), None)
        if used is not None:
            evidence += f"; {used.name} uses it"
        places = [write.place for write in mine] or [Place(attribute=path)]
        own = f"self.{path.rpartition('.')[2].lower()}"
        fix = ELSEWHERE.fix.replace("self.epoch", own)
        wrong = used is not None and not (mine and all("clear()" in write.line for write in mine))
        yield ELSEWHERE.found(evidence, *places, fix=fix, severity="error" if wrong else "warning")


def _names(reading: Reading, path: str) -> bool:
    return path.rpartition(".")[2] in reading.function.__code__.co_names


def _large(called: list[Called], written: list[Write]) -> Iterator[Finding]:
    for hook in called:
        sizes = hook.sizes.values()
        nbytes, seconds = sum(size for size, _ in sizes), sum(each for _, each in sizes)
        if nbytes < LARGE and seconds < SLOW:
            continue
        worst = sorted(hook.sizes, key=lambda name: hook.sizes[name], reverse=True)
        large = [name for name in worst if hook.sizes[name][0] >= nbytes // 10] or worst[:1]
        each = ", ".join(f"self.{name} {hook.sizes[name][0] / 2**20:.1f} MiB" for name in large)
        evidence = f"after {hook.name} {nbytes / 2**20:.1f} MiB differ and take {seconds:.2f} s to pickle: {each}"
        yield BIG.found(evidence, *_places(large, written))


def _places(names: list[str], written: list[Write]) -> list[Place]:
    paths = [f"source.{name}" for name in names]
    found = [write.place for path in paths for write in written if write.path == path]
    return list(dict.fromkeys(found)) or [Place(attribute=path) for path in paths]


def _attribute(path: str) -> str:
    """`source.order[3]` → `order`."""
    return path.removeprefix("source.").partition("[")[0].partition(".")[0]


CHECK = Check(
    "epoch hooks",
    "Do the epoch hooks work, and do their changes reach the workers?",
    (RAISES, ELSEWHERE, BIG),
    (hooked,),
    judge,
)
