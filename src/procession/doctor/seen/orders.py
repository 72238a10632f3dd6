"""Orders that a source draws while it makes items: found by comparing those of two processes."""

from __future__ import annotations

from collections.abc import Sequence

from procession.doctor.check import Results
from procession.doctor.code.writes import Write
from procession.doctor.seen.changes import Change
from procession.doctor.seen.course import Course, backward, forward


def drawn_orders(results: Results, written: Sequence[Write]) -> dict[str, str]:
    """Attribute path → what was seen, for each order that is drawn in `__getitem__`.

    An order is a row of whole numbers, which two processes have made differently, or which the code draws at random.
    """
    one, two = results.of(forward), results.of(backward)
    found: dict[str, str] = {}
    for path in dict.fromkeys(write.path for write in written if write.drawn):
        ways = [_order_in(course, path) for course in (one, two) if course is not None]
        if not ways:
            lines = [write for write in written if write.path == path and write.drawn]
            found[path] = f"`{lines[0].line}` stands there; no item could be made to see what it draws"
        elif evidence := _compared(one, two, path):
            found[path] = evidence
    return found


def _compared(one: Course | None, two: Course | None, path: str) -> str:
    if one is None or two is None:
        change = _order_in(one or two, path)
        return f"{change}, while items were made" if change is not None else ""
    first, second = _row(one.first, path), _row(two.first, path)
    begun = [next(iter(course.told), 0) for course in (one, two)]
    if first is not None and second is not None:
        if first.content == second.content:
            return ""  # the same in both: by a seed of its own
        return (
            f"a process that is asked for item {begun[0]} first draws {first.after}; one that is asked for item "
            f"{begun[1]} first draws {second.after} (before: {first.before})"
        )
    change = _order_in(one, path) or _order_in(two, path)
    if change is None:
        return ""
    early = next(
        (f"at once by item {index}" for index, row in zip(begun, (first, second), strict=True) if row), "later"
    )
    return f"{change}; in one process {early}, in another, which is asked in another order, not then"


def _order_in(course: Course | None, path: str) -> Change | None:
    return None if course is None else _row((*course.first, *course.whole), path)


def _row(changes: Sequence[Change], path: str) -> Change | None:
    return next((change for change in changes if change.path.partition("[")[0] == path and change.order), None)
