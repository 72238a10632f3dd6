"""Items that raise, kill their process or do not come back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from procession.doctor.check import Chart
from procession.doctor.checks.blame import behind_the_end, is_about_a_device
from procession.doctor.code.reading import is_users_file
from procession.doctor.findings import Code, Finding, Place
from procession.doctor.runtime import DIED, STALLED, finding_for
from procession.doctor.seen.probe import Raised
from procession.errors import StalledError, WorkerDiedError

MOST_NAMED = 6
FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)')

RAISED = Code(
    "PRC301",
    "An item raises",
    "error",
    why="The exception arrives in the training process as it is, with the worker's traceback, and ends training at "
    "that batch: perhaps in the tenth hour.",
    fix="""\
# Mend the item, or leave it out of the source's length. To train without such items, which are counted and named:
loader = procession.Loader(source, faults=procession.Faults(on_error="skip"))
for skip in loader.statistics().skipped:
    print(skip.index, skip.error)""",
    how="Some items are each asked for in a process of their own.",
)


def named(indices: Iterable[int]) -> str:
    """`source[3], source[5] and 4 more`."""
    known = sorted(indices)
    shown = ", ".join(f"source[{index}]" for index in known[:MOST_NAMED])
    return f"{shown} and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else shown


def judge(chart: Chart) -> Iterator[Finding]:
    """One finding for each kind of failure at one line."""
    asked = len(chart.probes) + len(chart.lost)
    groups: dict[tuple[str, Place], list[int]] = {}
    errors: dict[tuple[str, Place], Raised] = {}
    ends = behind_the_end(chart)
    for index, probed in sorted(chart.probes.items()):
        error = probed.error
        if error is None or error.read_only or index in ends or is_about_a_device(error):
            continue  # told by another check
        key = (error.kind, error.place)
        groups.setdefault(key, []).append(index)
        errors.setdefault(key, error)
    for key, indices in groups.items():
        error = errors[key]
        line = f", at `{error.line}`" if error.line else ""
        yield RAISED.found(
            f"{named(indices)} ({len(indices)} of {asked} items that were asked for) raised {error}{line}", error.place
        )
    yield from _lost(chart, asked)


def _lost(chart: Chart, asked: int) -> Iterator[Finding]:
    groups: dict[tuple[str, Place | None], list[int]] = {}
    for index, error in sorted(chart.lost.items()):
        groups.setdefault((_ending(error), _at(chart, error)), []).append(index)
    for (ending, place), indices in groups.items():
        first = chart.lost[indices[0]]
        code = STALLED if isinstance(first, StalledError) else DIED if isinstance(first, WorkerDiedError) else None
        said = f"{named(indices)} ({len(indices)} of {asked} items that were asked for)"
        places = [place] if place is not None else []
        if code is not None:
            also = f"; it stood in {place}" if place is not None and code is STALLED else ""
            yield code.found(f"{said}: {ending}{also}", *places)
        elif hasattr(first, "code"):
            found = finding_for(first)
            yield Code(found.code, found.title, found.severity, found.why, found.fix, "").found(
                f"{said}: {re.sub(r'source.[0-9]+.', 'it', found.evidence)}", *places
            )
        else:
            yield RAISED.found(f"{said}: {type(first).__name__}: {first}")


def _ending(error: BaseException) -> str:
    if isinstance(error, StalledError):
        limit = re.search(r"Faults\(timeout=(\S+?)\)", str(error))
        return f"not made within {limit[1]} s" if limit else "not made in time"
    if isinstance(error, WorkerDiedError):
        ended = re.search(r"it (was killed by [^.]+|ended with exit code \d+)", str(error))
        return f"the process {ended[1]}" if ended else "the process died"
    return str(error)


def _at(chart: Chart, error: BaseException) -> Place | None:
    """The user's innermost line on the stack that a worker has left; without one, where `__getitem__` begins."""
    return stack_place(chart, error) or next((reading.place() for reading in chart.item_code), None)


def stack_place(chart: Chart, error: BaseException) -> Place | None:
    """The user's innermost line on the stack that a worker has left."""
    frames = [(each["file"], int(each["line"]), each["function"]) for each in FRAME.finditer(str(error))]
    return next((Place(*frame) for frame in frames if is_users_file(frame[0], chart.source)), None)
