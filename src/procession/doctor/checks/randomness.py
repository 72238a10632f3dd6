"""Randomness: where do random numbers come from, and are they others in each epoch?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from procession.doctor.check import Chart, Check, Results
from procession.doctor.code.draws import Draw, draws, seed_of
from procession.doctor.code.writes import writes
from procession.doctor.findings import Code, Finding, Place
from procession.doctor.seen.course import OBSERVATIONS, courses, equal_in_next_epoch, indices, next_epoch, story

UNSEEDED = Code(
    "PRC207",
    "Numbers come from a generator without a seed, the clock or the system",
    "warning",
    why="No seed reaches them: another run has other batches, and so has a batch that is made again because a worker "
    "died or a run is resumed.",
    fix="""\
rng = procession.rng()                      # seeded by (seed, epoch, index), in every process

self.rng = np.random.default_rng(42)        # or in __init__: seeded for each item from its own state""",
    how="Items are made in several fresh processes with equal seeds and compared; the code is read for what asks the "
    "system.",
)
REPEATED = Code(
    "PRC208",
    "The same random numbers come in each epoch",
    "note",
    why="An augmentation that is the same in each epoch is none: the model sees the same pictures again. That is right "
    "for validation, and for data that is made up.",
    fix="""\
rng = procession.rng()                      # others for each item and in each epoch, and the same in each run
batch = batch + rng.normal(size=batch.shape)""",
    how="Items are made with the seeds of two epochs and compared; the code is read for what seeds a generator.",
)
GLOBALS = Code(
    "PRC209",
    "Global random generators are used",
    "note",
    why="Procession seeds them for each item, by (seed, epoch, index), so in its worker processes nothing is amiss. "
    "Threads share them, so that numbers depend on who draws first; and in other loaders, forked workers all start "
    "with the same numbers.",
    fix="""\
# Nothing, with worker processes. For threads, in a source that only a Loader reads:
rng = procession.rng()                      # by (seed, epoch, index) with every executor
flip = rng.random() < 0.5                   # instead of np.random.rand() < 0.5""",
    how="The states of the generators of random, numpy, torch and TensorFlow are compared before and after each item.",
)


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """Unseeded, repeated and global numbers."""
    yield from _unseeded(chart, results)
    repeated = list(_repeated(chart, results))
    yield from repeated
    if not repeated:
        yield from _globals(chart, results)


def unseeded(chart: Chart) -> list[Draw]:
    """The calls that differ from process to process: those of generators first, then the clock's."""
    found = draws(chart.item_code, "unseeded", "system")
    return found or draws(chart.item_code, "clock", "hash")


def _unseeded(chart: Chart, results: Results) -> Iterator[Finding]:
    seen, suspects = story(chart, results), unseeded(chart)
    if seen.fresh and suspects:
        evidence = f"{seen}: {seen.how}; {_calls(suspects)}"
        yield UNSEEDED.found(evidence, *_places(suspects), fix=_fix(UNSEEDED, suspects[0]))
        return
    made = draws(chart.item_code, "unseeded")
    if made:
        known = (
            f"in {seen.asked} items that were made nothing differed" if courses(results) else "no item could be made"
        )
        yield UNSEEDED.found(f"{_calls(made)}; {known}", *_places(made), fix=_fix(UNSEEDED, made[0]))
    hashed = draws(chart.item_code, "hash")
    if hashed:
        evidence = f"{_calls(hashed)}: of a str it is another in each run, unless PYTHONHASHSEED is set"
        fix = 'number = zlib.crc32(name.encode())        # the same in every run, where hash("...") is not'
        yield UNSEEDED.found(evidence, *_places(hashed), fix=fix, severity="note")


def _repeated(chart: Chart, results: Results) -> Iterator[Finding]:
    equal = equal_in_next_epoch(chart, results)
    if equal is False:
        return
    moved = {write.ref.text for write in writes(chart.hook_code, chart.source)}
    once = {write.place.line for write in writes(chart.item_code, chart.source) if write.lazy}
    seeds = [draw for draw in draws(chart.item_code, "seeded") if draw.place.line not in once]
    fixed = [draw for draw in seeds if not _goes_on(seed_of(draw), moved)]
    if not fixed:
        return
    which = f"{indices(chart.sample)} are the same with the numbers of epoch 0 and of epoch 1" if equal else "not seen"
    constant = [draw for draw in fixed if not re.search(r"[A-Za-z_]", seed_of(draw))]
    every = f"; `{constant[0].text}` gives every item the same numbers, too" if constant else ""
    evidence = f"{_calls(fixed)}; {which}{every}"
    yield REPEATED.found(evidence, *_places(fixed), fix=_fix(REPEATED, fixed[0]))


def _goes_on(seed: str, moved: set[str]) -> bool:
    """Whether a seed may be another in each epoch: it names the epoch, what a hook changes, or random numbers."""
    return bool(re.search(r"epoch|rng|random|rand|draw|worker_info", seed)) or any(
        re.search(rf"{re.escape(name)}\b", seed) for name in moved
    )


def _globals(chart: Chart, results: Results) -> Iterator[Finding]:
    names = sorted({name for course in courses(results) for name in course.drawn})
    if not names:
        return
    lines = draws(chart.item_code, "drawn")
    item = Place(function=f"{type(getattr(chart.source, 'iterator', chart.source)).__name__}.__getitem__")
    where = _places(lines) or [reading.place() for reading in chart.item_code[:1]] or [item]
    by = f": {_calls(lines)}" if lines else ", by what it calls"
    yield GLOBALS.found(f"{' and '.join(names)} moved on while {len(chart.sample)} items were made{by}", *where)


def _calls(found: list[Draw], most: int = 3) -> str:
    shown = list(dict.fromkeys(f"`{draw.text}`" for draw in found))
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def _places(found: list[Draw]) -> list[Place]:
    return list(dict.fromkeys(draw.place for draw in found))[:5]


def _fix(code: Code, draw: Draw) -> str:
    return f"# line {draw.place.line}: {draw.line}\n{code.fix}"


CHECK = Check(
    "randomness",
    "Do random numbers depend on the seed, the epoch and the index, and on nothing else?",
    (UNSEEDED, REPEATED, GLOBALS),
    (*OBSERVATIONS, next_epoch),
    judge,
)
