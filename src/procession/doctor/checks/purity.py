"""Purity: is an item the same whenever, and by whomever, it is made? And what does making it change?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from procession.capture.naming import survey
from procession.doctor.check import Chart, Check, Results
from procession.doctor.checks import randomness, shared_data
from procession.doctor.code.writes import Write, writes
from procession.doctor.findings import Code, Finding, Place
from procession.doctor.seen.changes import Change
from procession.doctor.seen.course import OBSERVATIONS, Story, courses, story
from procession.doctor.seen.orders import drawn_orders

DIFFERS = Code(
    "PRC201",
    "The same item is not the same twice",
    "error",
    why="A batch is made again when a worker has died, when a run is resumed, and in another run with the same seed. "
    "If it is another batch then, no result can be repeated, and no two runs can be compared.",
    fix="""\
def __getitem__(self, i):
    rng = procession.rng()          # seeded by (seed, epoch, i): the same for this item in every process
    batch = self.images[self.order[i]].copy()       # and a copy of what is kept, which may be changed
    ...""",
    how="Items are made in several fresh processes, and twice in the same one, with equal seeds; digests are compared.",
)
HISTORY = Code(
    "PRC202",
    "What an item is depends on what was asked for before",
    "error",
    why="Each worker makes only some of the items, in an order that depends on how busy the others are. What depends "
    "on the items before it is then read twice, left out, or mixed up, and differs from run to run.",
    fix="""\
def __getitem__(self, i):
    batch = self.data[i * self.size : (i + 1) * self.size]      # from `i` alone: no counter, no position, no last item

# Data that can only be read one after the other: one worker for each part, which asks for its items in order.
loader = procession.Loader(procession.Partitions([Source(path) for path in paths]))""",
    how="Items are made forwards, backwards and alone, each in a process of its own, with equal seeds; digests are "
    "compared.",
)
ATTRIBUTE = Code(
    "PRC203",
    "__getitem__ changes an attribute of the source",
    "warning",
    why="Each worker has a copy of the source: what it changes there, neither the training process nor the other "
    "workers see; it is lost when the worker ends, and what grows, grows in each of them.",
    fix="""\
self.cache = procession.SharedDict()        # one for all workers (small values); counts: procession.SharedCounter()
self.seen = procession.share(np.zeros(n, np.int64), writable=True)      # an array that all write to
# Or keep it out of __getitem__: a local variable, or on_epoch_end for what changes once an epoch.""",
    how="The attributes are compared before and after some items, and the code is read for what writes to them.",
)
GLOBAL = Code(
    "PRC204",
    "__getitem__ changes a module global or class attribute",
    "warning",
    why="Each worker process has its own: the training process and the other workers do not see the change, and it is "
    "lost when the worker ends.",
    fix="""\
self.seen = procession.SharedCounter()      # on the source: one for all workers
with_cache = functools.lru_cache(maxsize=256)(load)     # or, for a cache that each worker may have for itself""",
    how="The globals and class attributes that the code names are compared before and after some items, and the code "
    "is read for what writes to them.",
)
ORDER = Code(
    "PRC206",
    "The order is drawn in __getitem__",
    "error",
    why="Every worker draws its own order, so that some samples come several times in an epoch and others never. "
    "Nothing is raised.",
    fix="""\
def __init__(self, images):
    self.images = images
    self.order = np.arange(len(self.images))

def on_epoch_begin(self):               # once an epoch, in the training process; all workers get what it leaves
    np.random.shuffle(self.order)       # seeded by (seed, epoch)

# Or leave it to the loader: procession.Loader(source, shuffle=True)""",
    how="Two processes are asked for different items first; the orders that they have drawn are compared.",
)


IN_CONTAINER = """\
{own} = procession.SharedDict()     # in __init__: one for all workers, for small values

@functools.lru_cache(maxsize=256)       # or a cache that each worker has for itself, and that does not grow for ever
def load(path):
    return decode(path)"""
COUNTED = """\
{own} = procession.SharedCounter()      # in __init__: one for all workers, and for the training process
{own}.add(1)                            # in __getitem__
print({own}.value)"""
TRACED_WHY = (
    "A batch that is made again, by another worker or in a resumed run, is not the same. Otherwise nothing is amiss: "
    "the numbers differ from item to item and from worker to worker."
)
TRACED_FIX = """\
@tf.function
def augment(images, seed):
    return tf.image.stateless_random_flip_left_right(images, seed)

def __getitem__(self, i):       # a seed from outside: by (seed, epoch, i)
    return augment(self.images[8 * i : 8 * i + 8], procession.rng().integers(2**31, size=2))"""


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """What depends on more than the index, and what is changed."""
    written = writes(chart.item_code, chart.source)
    orders = drawn_orders(results, written)
    for path, evidence in orders.items():
        yield _order(path, evidence, _of(path, written), bool(courses(results)))
    seen = story(chart, results)
    blamed: set[str] = set(orders)
    if not orders and seen.anything and not shared_data.explains(chart, results):
        finding, blamed = _differing(chart, results, seen, written)
        if finding is not None:
            yield finding
    yield from _changed(results, written, blamed, len(chart.sample))
    yield from _read_only_in_code(results, written, blamed, len(chart.sample))


def _order(path: str, evidence: str, lines: list[Write], observed: bool) -> Finding:
    name = lines[0].ref.text if lines else path.replace("source", "self", 1)
    fix = ORDER.fix.replace("self.order", name)
    return ORDER.found(evidence, *_places(path, lines), fix=fix, severity="error" if observed else "warning")


def _differing(chart: Chart, results: Results, seen: Story, written: list[Write]) -> tuple[Finding | None, set[str]]:
    """The one finding for items that differ, and the paths that it blames."""
    if seen.fresh:
        if randomness.unseeded(chart):
            return None, set()  # told there
        evidence = f"{seen}: {seen.how}"
        return DIFFERS.found(evidence, *_item(chart), severity="warning"), set()
    if not seen.history and seen.again:
        lines = [write for write in written if not write.lazy and write.how != "read on"]
        evidence = f"{seen}: {seen.how}"
        return DIFFERS.found(evidence, *(_places("", lines) or _item(chart))), {write.path for write in lines}
    changes = [change for course in courses(results) for change in course.whole]
    if not changes and survey(chart.source).traced:
        evidence = f"{seen}: {seen.how}; there is a tf.function, whose random operations are seeded once, when traced"
        return HISTORY.found(evidence, *_item(chart), severity="warning", why=TRACED_WHY, fix=TRACED_FIX), set()
    paths = dict.fromkeys(_top(change.path) for change in changes)
    lines = [write for path in paths for write in _of(path, written)] or [w for w in written if w.how == "read on"]
    places = [place for path in paths for place in _places(path, _of(path, written))] or _places("", lines)
    evidence = f"{seen}: {seen.how}"
    if changes:
        evidence += f"; meanwhile {_told(changes)}"
    return HISTORY.found(evidence, *(places or _item(chart))), set(paths)


def _changed(results: Results, written: list[Write], blamed: set[str], asked: int) -> Iterator[Finding]:
    """What goes on changing after the first item."""
    changes = [change for course in courses(results) for change in (*course.whole, *course.later)]
    kept: list[Change] = []  # what is bound anew for each item
    for top in dict.fromkeys(_top(change.path) for course in courses(results) for change in course.later):
        mine = [change for change in changes if _top(change.path) == top]
        lines = _of(top, written)
        arrays = mine[0].in_place or any(write.in_array for write in lines)
        if top in blamed or (arrays and mine[0].of_source) or _is_buffer(mine, lines):
            continue
        if mine[0].handles:  # opened on first use, as is right
            continue
        if lines and mine[0].of_source and all(write.is_fresh for write in lines):
            kept += mine[:1]
            continue
        code = ATTRIBUTE if mine[0].of_source else GLOBAL
        evidence = f"{_told(mine[:1])}, while {asked} items were made"
        yield code.found(evidence, *_places(top, lines), fix=_fix(code, lines))
    if kept:
        lines = [write for change in kept for write in _of(_top(change.path), written)]
        evidence = f"{_told(kept)}, while {asked} items were made; bound anew, and the items do not depend on it"
        yield ATTRIBUTE.found(evidence, *_places("", lines), fix=_fix(ATTRIBUTE, lines), severity="note")


def _read_only_in_code(results: Results, written: list[Write], blamed: set[str], asked: int) -> Iterator[Finding]:
    """What the code writes to, and no item that was made has shown."""
    seen = {_top(change.path) for course in courses(results) for change in course.whole}
    lines = [write for write in written if not write.lazy and not write.in_array and write.how != "read on"]
    for path in dict.fromkeys(write.path for write in lines):
        mine = [write for write in lines if write.path == path]
        if path in seen | blamed or any(write.path == path and write.lazy for write in written):
            continue
        code = ATTRIBUTE if path.startswith("source") else GLOBAL
        if courses(results):
            if all(write.how == "bound" for write in mine):
                continue  # always to the same value
            evidence = f"`{mine[0].line}` stands there; none of {asked} items that were made changed it"
            yield code.found(evidence, *_places(path, mine), fix=_fix(code, mine), severity="note")
        else:
            evidence = f"`{mine[0].line}` stands there; no item could be made to see it happen"
            yield code.found(evidence, *_places(path, mine), fix=_fix(code, mine))


def _is_buffer(changes: list[Change], lines: list[Write]) -> bool:
    """An array that a worker makes for itself and fills for each item."""
    return (
        bool(lines)
        and all(" array (" in change.after or change.in_place for change in changes)
        and any(write.lazy for write in lines)
    )


def _fix(code: Code, lines: list[Write]) -> str:
    """What to write in place of the first of some lines."""
    if not lines:
        return code.fix
    name, last = lines[0].ref.text, lines[0].ref.text.rpartition(".")[2]
    own = name if name.startswith("self.") else f"self.{last.lower()}"
    head = f"# line {lines[0].place.line}: {lines[0].line}\n"
    if lines[0].is_fresh:
        return f"{head}{last} = ...       # a local variable, if only this item needs it"
    if lines[0].how == "stored" or lines[0].how == "called":
        return head + IN_CONTAINER.format(own=own)
    if isinstance(lines[0].ref.value, int):
        return head + COUNTED.format(own=own)
    return head + code.fix


def _of(path: str, written: Iterable[Write]) -> list[Write]:
    """The lines that write to an attribute or to a part of it."""
    return [write for write in written if _top(write.path) == path and write.how != "read on"]


def _top(path: str) -> str:
    """`source.cache[3]` → `source.cache`; `source.augment.seen` stays."""
    return path.partition("[")[0]


def _places(path: str, lines: Sequence[Write]) -> list[Place]:
    return list(dict.fromkeys(write.place for write in lines))[:5] or ([Place(attribute=path)] if path else [])


def _item(chart: Chart) -> list[Place]:
    return [reading.place() for reading in chart.item_code[:1]]


def _told(changes: Sequence[Change]) -> str:
    one = {_top(change.path): change for change in reversed(changes)}
    return ", ".join(str(change) for change in list(one.values())[::-1][:3])


CHECK = Check(
    "purity",
    "Is an item the same whenever, and by whomever, it is made?",
    (DIFFERS, HISTORY, ATTRIBUTE, GLOBAL, ORDER),
    OBSERVATIONS,
    judge,
)
