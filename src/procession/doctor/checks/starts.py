"""What starts threads and processes while items are made, and in which line of the user's."""

from __future__ import annotations

import ast
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from procession.doctor.check import Chart
from procession.doctor.code.assigned import attributes, whole_code
from procession.doctor.code.reading import is_users_file
from procession.doctor.findings import Code, Finding, Place

if TYPE_CHECKING:
    from procession.doctor.checks.frameworks import Seen

UNPICKLED = Code(
    "PRC403",
    "Threads or files are started when the source is unpickled",
    "note",
    why="A fork loses threads and shares the offsets of files. So each worker unpickles such a source for itself: "
    "nothing is shared but arrays, and starting takes longer with each worker.",
    fix="""\
def __setstate__(self, state):
    vars(self).update(state)
    self.reader = None                  # not opened, nor started, here

def __getitem__(self, i):
    if self.reader is None:             # but on first use, in the worker
        self.reader = open_reader(self.path)
    ...""",
    how="A worker is looked at before it makes its first item.",
)
STARTS = Code(
    "PRC404",
    "Threads or processes are started while items are made",
    "warning",
    why="The workers are as many as there are cores. What each starts besides competes with the others; what is "
    "started anew for each item costs more than it saves, and what is left running ends with the worker.",
    fix="""\
def __getitem__(self, i):
    return np.stack([load(path) for path in self.batch(i)])     # one after the other: the workers are the pool
loader = procession.Loader(source, workers=16)                  # where they wait for a disk: more of them""",
    how="Python reports each start of a thread or process, with the line that caused it, while some items are made.",
)
EVENTS = {
    "subprocess.Popen": "a program",
    "os.posix_spawn": "a program",
    "os.system": "a program",
    "os.fork": "a process",
    "os.forkpty": "a process",
}
STANDARD = f"{sysconfig.get_path('stdlib')}/"
PACKAGES = tuple(f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib"))


class Start(NamedTuple):
    """Something that was started."""

    what: str
    file: str
    line: int
    function: str
    direct: bool  # by the user's code through Python's own libraries alone


class Starts:
    """Notes what is started in this process from now on: for good, since an audit hook cannot be taken back."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.seen: list[Start] = []
        sys.addaudithook(self._hear)
        begin = threading.Thread.start  # which Python reports from 3.12 on only

        def start(thread: threading.Thread) -> None:
            self._note("a thread")
            begin(thread)

        threading.Thread.start = start  # type: ignore[method-assign,assignment]

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS:
            self._note(EVENTS[event])

    def _note(self, what: str) -> None:
        start = self._started(what)
        if start is not None:
            self.seen.append(start)

    def _started(self, what: str) -> Start | None:
        frame: FrameType | None = sys._getframe(3)
        direct = True
        while frame is not None:
            file = frame.f_code.co_filename
            if is_users_file(file, self._source):
                return Start(what, file, frame.f_lineno, frame.f_code.co_qualname, direct)
            direct = direct and (not file.startswith(PACKAGES)) and file.startswith((STANDARD, "<frozen"))
            frame = frame.f_back
        return None


def children() -> tuple[str, ...]:
    """The commands of the processes that this one has started, and that are still there."""
    found = []
    for listed in Path("/proc/self/task").glob("*/children"):
        for number in listed.read_text().split():
            try:
                found.append(Path("/proc", number, "comm").read_text().strip())
            except OSError:  # it has ended meanwhile
                continue
    return tuple(found)


def python_threads() -> tuple[str, ...]:
    """The names of the threads that Python knows, but for this one."""
    return tuple(thread.name for thread in threading.enumerate() if thread is not threading.current_thread())


def unpickled(chart: Chart, seen: Seen) -> Iterator[Finding]:
    """What is there before the first item."""
    reopened = chart.figures.get(
        "rebuilt by each worker", False
    )  # handles that are known, and made anew as they should
    opened = () if reopened else seen.files
    if reopened and seen.files:
        chart.figures["files reopened by each worker"] = list(seen.files)
    if seen.threads or opened:
        what = [f"a thread {name!r}" for name in seen.threads[:4]] + [f"the file {name}" for name in opened[:4]]
        yield UNPICKLED.found(
            f"when a worker begins there {'is' if len(what) == 1 else 'are'} {', '.join(what)}",
            *_setstate(chart),
            severity="warning" if seen.threads else "note",
        )


def _setstate(chart: Chart) -> list[Place]:
    """The line that opens or starts something in a method that unpickling calls; else that method."""
    for held in (chart.source, *attributes(chart.source).values()):
        if not hasattr(type(held), "__setstate__"):
            continue
        code = [reading for reading in whole_code(held) if reading.name.endswith("__setstate__")]
        for reading in code:
            lines = [node for node in ast.walk(reading.node) if _opens(node)]
            return [reading.place(lines[0] if lines else None)]
    return []


def _opens(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    text = ast.unparse(node.func).rpartition(".")[2]
    return text in ("open", "start", "Thread", "ThreadPoolExecutor", "File", "connect", "memmap", "Timer")


def started(seen: Seen) -> Iterator[Finding]:
    """What the items start."""
    # What a library starts once, when it is first used, is its own business.
    told = [(start, count) for start, count in seen.starts if start.direct or count >= seen.items]
    left = [f"{len(seen.left_threads)} threads ({', '.join(seen.left_threads[:3])})"] if seen.left_threads else []
    left += [f"{len(seen.left_children)} processes ({', '.join(seen.left_children[:3])})"] if seen.left_children else []
    if told:
        shown = "; ".join(
            f"{start.what} is started {count} times in {seen.items} items, at {Path(start.file).name}:{start.line}"
            for start, count in told[:4]
        )
        places = dict.fromkeys(Place(start.file, start.line, start.function) for start, _ in told)
        after = f"; still running afterwards: {' and '.join(left)}" if left else ""
        once = all(count == 1 for _, count in told)  # a pool that is made when it is first used
        yield STARTS.found(f"{shown}{after}", *places, severity="note" if once else "warning")
