"""Travel: can the source be sent to worker processes, and what goes with it?"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from procession.capture.culprit import type_name
from procession.capture.pickling import Pickled, pickled
from procession.doctor.check import Chart, Check, Results
from procession.doctor.checks.reach import unreachable
from procession.doctor.code.assigned import attributes, where
from procession.doctor.findings import Code, Finding, Place
from procession.engine.limits import megabytes
from procession.errors import CaptureError

MOST_STREAM = 32_000_000  # bytes of Python objects; buffers of arrays lie beside the stream, and are shared
MOST_SECONDS = 1.0  # of this thread's time, to pickle them
SHARE_NAMED = 0.1  # of the stream: attributes that are smaller are not named
REFUSED = re.compile(
    r"(?P<path>source.*?) is a (?P<kind>\S+), which cannot be sent to the worker processes: (?P<why>.*)", re.DOTALL
)
OWN_WAY = ("__getstate__", "__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")

CANNOT = Code(
    "PRC101",
    "A part of the source cannot be sent to worker processes",
    "error",
    why="Workers are processes of their own: they get a copy of the source, once, and what cannot be copied cannot be "
    "used there.",
    fix="""\
def __getstate__(self):                 # what travels
    return {**vars(self), "connection": None}

def __getitem__(self, i):
    if self.connection is None:         # made anew in each worker, on first use
        self.connection = connect(self.address)
    ...""",
    how="The source is pickled as for training; what cannot be is looked for down to the innermost attribute.",
)
WRITTEN = Code(
    "PRC103",
    "The source holds something that is open for writing",
    "error",
    why="Several processes that write through one handle mix up what they write, or overwrite each other's. So such a "
    "handle is not sent to workers, and training stops before the first batch.",
    fix="""\
def __getstate__(self):                 # what travels
    return {**vars(self), "log": None}

def __getitem__(self, i):
    if self.log is None:                # a file for each worker
        name = f"log-{procession.worker_info().index}.txt"
        self.log = open(name, "a", buffering=1)     # line by line: a worker may be killed
    ...""",
    how="The source is pickled as for training, which looks at the mode of each file, archive and database.",
)
HEAVY = Code(
    "PRC104",
    "Much of the source travels as Python objects",
    "warning",
    why="Arrays from 64 KiB on are shared, whatever their size. Lists, dicts and strings are pickled object by object, "
    "before the first epoch and again when a hook has changed them, and are rebuilt in memory that workers copy, page "
    "by page, as they read.",
    fix="self.paths = procession.share(self.paths)     # a list of strings becomes a sequence of them in shared memory",
    how="The source is pickled as for training, and measured; then each attribute by itself.",
)
INHERITED = Code(
    "PRC106",
    "The source holds something of `multiprocessing`",
    "warning",
    why="Locks, queues, values and pools of multiprocessing are known only to processes that inherit them from the one "
    "that made them. Workers are forked from a process that has none of them, so that no lock is copied while held.",
    fix="""\
self.lock = procession.Lock()               # for multiprocessing.Lock, RLock
self.count = procession.SharedCounter()     # for Value("q"): self.count.add(1)
self.seen = procession.share(np.zeros(n), writable=True)    # for Array, RawArray
# a Queue or Pool: leave it out; return in the batch what is to reach the training process""",
    how="The source is pickled as for training; its attributes are looked at.",
)


class Refused(NamedTuple):
    """What a CaptureError says."""

    path: str
    kind: str
    why: str  # and what to write instead


def judge(chart: Chart, _: Results) -> Iterator[Finding]:
    """What cannot travel; else what travels, and what that costs."""
    start = time.thread_time()
    try:
        parts = pickled(chart.given, "source")
    except CaptureError as error:
        for refused in _all_refused(chart, error):
            yield _refusal(chart, refused)
        return
    except RecursionError:
        yield CANNOT.found(
            "it is nested deeper than Python can follow", fix="# Keep lists of lists in arrays, or flat."
        )
        return
    seconds = time.thread_time() - start
    chart.figures["pickled objects bytes"] = len(parts.stream)
    chart.figures["shared arrays bytes"] = sum(buffer.nbytes for buffer in parts.buffers)
    chart.figures["pickling seconds"] = seconds
    chart.figures["rebuilt by each worker"] = parts.along.private
    if len(parts.stream) > MOST_STREAM or seconds > MOST_SECONDS:
        yield _heavy(chart, parts, seconds)
    yield from unreachable(chart, parts)
    yield from _proxies(chart)


# --- what is refused ---


def _all_refused(chart: Chart, error: CaptureError) -> list[Refused]:
    """What the error is about, and the other attributes that cannot travel either: all to be mended at once."""
    if chart.given is not chart.source:  # one of several: told by the path from that one, where it is the first
        try:
            pickled(chart.source, "source")
        except CaptureError as inner:
            error = inner
    found = [_read(error)]
    kind = type(chart.source)
    if any(name in vars(each) for each in kind.__mro__[:-1] for name in OWN_WAY):
        return found  # it says itself what travels
    for name, value in attributes(chart.source).items():
        path = f"source.{name}"
        if not re.match(rf"{re.escape(path)}\b", found[0].path):
            try:
                pickled(value, path)
            except CaptureError as inner:
                found.append(_read(inner))
    return found


def _read(error: CaptureError) -> Refused:
    text = str(error).removesuffix(f" [{error.code}]")
    match = REFUSED.match(text)
    path = match["path"].replace("source.sources[", "source[") if match else ""  # what the user gave is a list
    return Refused(path, match["kind"], match["why"]) if match else Refused("source", "", text)


def _refusal(chart: Chart, refused: Refused) -> Finding:
    path, kind, why = refused
    said = f"{path} is a {kind}: {why}" if kind else why
    found = re.match(r"source\.(\w+)", path)
    name = found[1] if found else ""
    place = where(chart, path)
    if "open for writing" in why or "it writes (mode" in why:
        return WRITTEN.found(
            said,
            place,
            fix=WRITTEN.fix.replace('"log"', f'"{name}"').replace("self.log", f"self.{name}") if name else WRITTEN.fix,
        )
    if "known only to processes that inherit it" in why:
        fix = _instead_of(why, name) if name else INHERITED.fix
        return INHERITED.found(said, place, severity="error", fix=fix)
    return CANNOT.found(said, place, fix=_left_out(kind, name) if name else CANNOT.fix)


def _left_out(kind: str, name: str) -> str:
    if "generator" in kind:
        return (
            f"self.{name} = list(...)     # what it would yield, or what it is made from: __getitem__(i) indexes that"
        )
    return (
        CANNOT.fix.replace('"connection"', f'"{name}"')
        .replace("self.connection = connect(self.address)", f"self.{name} = ...    # as __init__ makes it")
        .replace("self.connection", f"self.{name}")
    )


def _instead_of(why: str, name: str) -> str:
    if "procession.Lock()" in why and "need not wait" not in why:
        return f"self.{name} = procession.Lock()     # works across the workers: with self.{name}: ..."
    if "SharedCounter" in why:
        return f"self.{name} = procession.SharedCounter()    # and self.{name}.add(1) where it was counted"
    if "procession.share" in why:
        return f"self.{name} = procession.share(np.zeros(n), writable=True)  # an array that all workers see"
    return (
        f"def __getstate__(self):\n    return {{name: part for name, part in vars(self).items() if name != {name!r}}}"
    )


# --- what it costs ---


def _heavy(chart: Chart, parts: Pickled, seconds: float) -> Finding:
    sizes = {name: len(pickled(value, name).stream) for name, value in attributes(chart.source).items()}
    large = sorted((name for name in sizes if sizes[name] > SHARE_NAMED * len(parts.stream)), key=lambda n: -sizes[n])[
        :3
    ]
    held = attributes(chart.source)
    named = [f"source.{name} ({_outline(held[name])}) is {megabytes(sizes[name])}" for name in large]
    total = f"{megabytes(len(parts.stream))} of Python objects are pickled in {seconds:.1f} s"
    shared = sum(buffer.nbytes for buffer in parts.buffers)
    beside = f", beside {megabytes(shared)} of arrays, which are shared" if shared else ""
    fixes = [_shared(name, held[name]) for name in large]
    places = [where(chart, f"source.{name}") for name in large] or [Place(attribute="source")]
    return HEAVY.found(
        f"{total}{beside}: {'; '.join(named)}" if named else f"{total}{beside}",
        *places,
        fix="\n".join(fixes) or HEAVY.fix,
    )


def _outline(value: Any) -> str:
    """`list of 2,000,000 str`."""
    if isinstance(value, np.ndarray):
        return f"array of {value.size:,} {value.dtype}"
    if isinstance(value, (list, tuple, set, frozenset, dict)) and value:
        first = next(iter(value.values() if isinstance(value, dict) else value))
        return f"{type(value).__name__} of {len(value):,} {type(first).__name__}"
    return type_name(type(value))


def _shared(name: str, value: Any) -> str:
    first = value[0] if isinstance(value, (list, tuple)) and value else None
    if isinstance(first, str):
        given = f"self.{name}" if isinstance(value, list) else f"list(self.{name})"
        return f"self.{name} = procession.share({given})     # an immutable sequence of strings, in shared memory"
    if isinstance(value, np.ndarray):
        return f"self.{name} = procession.share(self.{name}.tolist())    # strings; numbers: an array of a plain dtype"
    if isinstance(first, (bool, int, float, tuple, list)):
        return (
            f"self.{name} = procession.share(np.asarray(self.{name}))     # an array, not objects, where it is regular"
        )
    if type(value).__module__.startswith("pandas"):
        return f"source = procession.from_frame(frame, features, label)      # its columns as arrays, for self.{name}"
    return f"# self.{name}: keep numbers in arrays, and texts in procession.share(list): one for keys, one for values"


def _proxies(chart: Chart) -> Iterator[Finding]:
    names = [n for n, value in attributes(chart.source).items() if type(value).__module__ == "multiprocessing.managers"]
    if names:
        shown = ", ".join(f"source.{name} ({type(attributes(chart.source)[name]).__name__})" for name in names)
        yield INHERITED.found(
            f"{shown}: a proxy of a Manager. It works: each worker connects to the manager's process",
            *[where(chart, f"source.{name}") for name in names],
            severity="note",
            why="Each access is pickled, and waits for the manager's process, which serves the workers in turn.",
            fix=f"self.{names[0]} = procession.SharedDict()      # in shared memory, without a process; or "
            "procession.share(array, writable=True)",
        )


CHECK = Check(
    "travel",
    "Can the source be sent to worker processes, and what does that cost?",
    (CANNOT, WRITTEN, HEAVY, INHERITED),
    (),
    judge,
)
