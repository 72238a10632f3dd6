"""Frameworks, devices, threads: what the source drags into each worker, and what does not work there."""

from __future__ import annotations

import ast
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from procession.doctor.check import Chart, Check, Patient, Results
from procession.doctor.checks import gpu, starts
from procession.doctor.checks.starts import Start, Starts, children, python_threads
from procession.doctor.code.assigned import attributes, is_users_module
from procession.doctor.code.reading import MISSING, Reading
from procession.doctor.findings import Code, Finding, Place
from procession.doctor.seen.weigh import weight
from procession.engine.limits import megabytes
from procession.engine.surroundings import files, threads

FRAMEWORKS = ("tensorflow", "torch", "jax", "keras")
SLOW_IMPORT = 0.2  # seconds

USED = Code(
    "PRC401",
    "The source uses a framework in the workers",
    "note",
    why="Its import is paid once, in the process that workers are forked from, where the source's code names it; one "
    "that a library imports on first use, each worker pays. What is computed runs on one core of the CPU.",
    fix="""\
import tensorflow as tf         # at the top of the source's module: imported once, shared by all workers
# or without: numpy, Pillow and OpenCV decode and augment too, and need no such import""",
    how="The modules of a worker are compared before and after some items; the code of `__getitem__` is read.",
)
UNUSED = Code(
    "PRC405",
    "The source's module imports a framework that its items do not use",
    "note",
    why="The process that workers are forked from imports the module: seconds before the first batch, and memory.",
    fix="""\
# data.py: the source alone, with what it needs
# train.py: import tensorflow as tf; from data import Photos""",
    how="The modules in a worker are compared with what the source's code names, and its classes inherit from.",
)


class Seen(NamedTuple):
    """What was seen of a worker."""

    before: tuple[str, ...]  # frameworks that were there
    after: tuple[str, ...]
    first_seconds: float  # of the first item
    second_seconds: float  # of the same once more
    own_bytes: int  # of the worker's own that the items have added
    threads: tuple[str, ...]  # at the beginning
    files: tuple[str, ...]
    starts: tuple[tuple[Start, int], ...]  # and how often
    items: int
    left_threads: tuple[str, ...]
    left_children: tuple[str, ...]


def surroundings_of_items(patient: Patient) -> Seen:
    """Look around before and after some items."""
    before, running, opened = _loaded(), threads(), _opened()
    own, known = weight().own, python_threads()
    hears = Starts(patient.source)
    seconds = []
    for index in (patient.sample[0], *patient.sample):
        start = time.perf_counter()
        patient.item(index)
        seconds.append(time.perf_counter() - start)
    left = Counter(python_threads()) - Counter(known)
    return Seen(
        before,
        _loaded(),
        seconds[0],
        seconds[1],
        weight().own - own,
        running,
        opened,
        tuple(Counter(hears.seen).items()),
        len(seconds),
        tuple(left.elements()),
        children(),
    )


def _loaded() -> tuple[str, ...]:
    return tuple(name for name in FRAMEWORKS if name in sys.modules)


def _opened() -> tuple[str, ...]:
    """Files, but for the standard streams, and for those that are mapped, which is done anew without a copy."""
    found = {name for number, name in files().items() if number > 2 and name.startswith("/")}
    mapped = Path("/proc/self/maps").read_text() if found else ""
    return tuple(sorted(name for name in found if f" {name}\n" not in mapped))


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """What it drags along."""
    seen: Seen | None = results.of(surroundings_of_items)
    yield from gpu.judge(chart)
    used = _uses(chart.item_code)
    if seen is None:
        yield from _read_only_judgement(used)
        return
    chart.figures["frameworks in workers"] = list(seen.after)
    yield from _late(seen, used)
    yield from _used(seen, used)
    yield from _unused(chart, seen, used)
    yield from starts.unpickled(chart, seen)
    yield from starts.started(seen)


def _read_only_judgement(used: dict[str, Place]) -> Iterator[Finding]:
    if used:
        yield USED.found(f"its code names {' and '.join(used)}; no item could be made to see more", *used.values())


# --- frameworks ---


def _uses(code: Iterable[Reading]) -> dict[str, Place]:
    """Which frameworks some code names, and where first."""
    places: dict[str, Place] = {}
    for reading in code:
        for node in ast.walk(reading.node):
            name = _framework(reading, node)
            if name is not None:
                places.setdefault(name, reading.place(node))
    return places


def _framework(reading: Reading, node: ast.AST) -> str | None:
    match node:
        case ast.Import(names=names):
            tops = [each.name.partition(".")[0] for each in names]
        case ast.ImportFrom(module=str(module)):
            tops = [module.partition(".")[0]]
        case ast.Name():
            tops = [_home(reading.value(node))]
        case _:
            return None
    return next((top for top in tops if top in FRAMEWORKS), None)


def _home(value: Any) -> str:
    if value is MISSING or value is None:
        return ""
    named = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    named = named if isinstance(named, str) else type(value).__module__
    return named.partition(".")[0]


def _late(seen: Seen, used: dict[str, Place]) -> Iterator[Finding]:
    """Imported by items: each worker pays."""
    late = [name for name in seen.after if name not in seen.before]
    if late:
        yield USED.found(
            f"{' and '.join(late)} {'is' if len(late) == 1 else 'are'} imported when a worker makes its first item: "
            f"that took {seen.first_seconds:.1f} s, the same item {seen.second_seconds:.3f} s once it was there; the "
            f"worker's own memory grew by {megabytes(max(0, seen.own_bytes))}",
            *[used[name] for name in late if name in used],
            severity="warning" if seen.first_seconds - seen.second_seconds > SLOW_IMPORT else "note",
            title="Each worker imports a framework for itself",
            fix=_at_the_top(late),
        )


def _at_the_top(names: Iterable[str]) -> str:
    lines = "\n".join(f"import {name}" for name in names)
    return f"{lines}      # at the top of the source's module, not in a function: once, and shared by all workers"


def _used(seen: Seen, used: dict[str, Place]) -> Iterator[Finding]:
    early = [name for name in used if name in seen.before]
    if early:
        yield USED.found(
            f"{' and '.join(early)}, imported once for all workers; after {seen.items} items a worker has "
            f"{megabytes(max(0, seen.own_bytes))} more memory of its own",
            *[used[name] for name in early],
            fix=f"# Nothing, where {' and '.join(early)} is needed. Without it a source starts sooner.",
        )


def _unused(chart: Chart, seen: Seen, used: dict[str, Place]) -> Iterator[Finding]:
    touched = {*used, *_inherited(chart.source), *_held(chart.source), *_returned(chart)}
    if "keras" in touched:  # which imports its backend
        return
    idle = {name for name in seen.before if name not in touched}
    if "tensorflow" in touched:
        idle.discard("keras")
    modules = [sys.modules.get(name) for name in dict.fromkeys([type(chart.source).__module__, *_modules(chart)])]
    for module in modules:
        if module is None or module.__name__ == "__main__" or not is_users_module(module, chart.source):
            continue
        found = [(name, place) for name, place in _imports(module) if name in idle]
        if found:
            names = " and ".join(dict.fromkeys(name for name, _ in found))
            yield UNUSED.found(
                f"{module.__name__} imports {names}, which no code of `__getitem__` names and no batch holds",
                *[place for _, place in found],
                Place(attribute="source"),
            )
            return


def _modules(chart: Chart) -> list[str]:
    return [reading.function.__module__ for reading in chart.item_code]


def _inherited(source: Any) -> set[str]:
    return {str(kind.__module__).partition(".")[0] for kind in type(source).__mro__}


def _held(source: Any) -> set[str]:
    return {type(value).__module__.partition(".")[0] for value in attributes(source).values()}


def _returned(chart: Chart) -> set[str]:
    forms = (probed.form for probed in chart.probes.values() if probed.form is not None)
    return {leaf.kind.partition(".")[0] for form in forms for leaf in form.leaves}


def _imports(module: ModuleType) -> Iterator[tuple[str, Place]]:
    """The frameworks that a module imports at its top."""
    file = str(getattr(module, "__file__", None))
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return
    for node in tree.body:
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            if name.partition(".")[0] in FRAMEWORKS:
                yield name.partition(".")[0], Place(file, node.lineno)


CHECK = Check(
    "frameworks",
    "What does the source bring into each worker, and does it need what is not there?",
    (USED, gpu.TOUCHED, starts.UNPICKLED, starts.STARTS, UNUSED),
    (surroundings_of_items,),
    judge,
)
