"""Speed: what an item costs, where its time goes, and what workers would make of it."""

from __future__ import annotations

import linecache
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from procession.config import Faults, make_config, usable_cores
from procession.doctor.check import Chart, Check, Patient, Results
from procession.doctor.findings import Code, Finding, Place
from procession.doctor.seen.profile import MOST_ITEMS, Profile, gil_held, make_for, profiled
from procession.doctor.telling.figures import seconds as shown
from procession.errors import WorkerDiedError
from procession.order.sharding import Shard
from procession.stream import Stream

MEASURE_SECONDS = 0.6  # long enough for a few items of 0.1 s; four things are measured
LEAST_SHARE = 0.01  # of the time, for a line to be listed
MOST_WORKERS = 64  # that are advised
WAITS = 0.5  # share of an item's time off the CPU from which it waits
LEAST_WAIT = 0.0005  # s: an item that takes less gains nothing from company
SLOW = 0.05  # s: an item that holds up others
HANDED_OVER = 0.002  # s: an item that takes longer is not held up by being handed over
GAIN = 1.3  # times as fast, from which another way is worth a word
UNEVEN = 5.0  # times the median

NO_GAIN = Code(
    "PRC601",
    "Workers do not pay off for this source",
    "note",
    why="An item is made in less time than it takes to hand it over: the training process is as fast alone.",
    fix="""\
loader = procession.Loader(source, workers=0)           # in the training process, in the same order
# or give each worker more to do: larger batches, samples with batch_size=..., augmentation in __getitem__""",
    how="Items are made in one process and by workers, each for half a second, and counted.",
)
BY_THREADS = 'loader = procession.Loader(source, executor="threads")     # it computes outside of the GIL'
GIL = Code(
    "PRC602",
    "The source holds the GIL: threads do not make it faster",
    "note",
    why="Python runs one thread at a time. Code that computes in Python gains from processes only; code that computes "
    "in numpy, OpenCV or TensorFlow, or waits, gains from threads too, and saves the copy.",
    fix='loader = procession.Loader(source, executor="processes")        # the default',
    how="Items are made by one thread, by several, and by processes, each for half a second, and counted.",
)
WAITING = Code(
    "PRC603",
    "The source waits most of the time",
    "note",
    why="A worker that waits for a disk or a server leaves its core free: more workers than cores keep it busy.",
    fix='loader = procession.Loader(source, workers={workers}, executor="{executor}")',
    how="The processor time of items is compared with the time that passes.",
)
SPREAD = Code(
    "PRC604",
    "Items take very different times",
    "warning",
    why="Batches come in order: those behind a slow one wait, and `fit` with them, once `prefetch` batches are ready.",
    fix="""\
loader = procession.Loader(source, prefetch=16)         # more batches ready before it, for more memory
loader = procession.Loader(source, ordered=False)       # or as they become ready, each once""",
    how="Some items are each made in a process of their own; the second time counts, without what was imported.",
)
UNSAFE = Code(
    "PRC606",
    "Items fail when threads make them",
    "note",
    why="Something in the source is used by several threads at once: a file's position, a buffer, a cache. Worker "
    "processes each have their own, and are the default; `fit(workers=2)` alone means threads.",
    fix="""\
loader = procession.Loader(source, executor="processes")    # the default
self.lock = threading.Lock()                                # or one thread at a time: with self.lock: ...""",
    how="Several threads make items at the same time, which one after the other do not fail.",
)
PROFILE = Code(
    "PRC605",
    "Most of an item's time goes into one line",
    "note",
    why="What is to become faster is there, whatever the number of workers.",
    fix="# Look at that line: read once what is read again and again, decode to the size that is needed, use numpy "
    "instead of\n# a loop.",
    how="The time of each line of yours is measured while items are made; what it calls in libraries counts for it.",
)


class Pace(NamedTuple):
    """What items take, one after the other."""

    seconds: tuple[float, ...]
    cpu_seconds: float  # of all
    queued_seconds: float  # in which it could have run, but others did


class _Turns:
    """The items of a sample, in turn, without the source's hooks and without an end."""

    num_batches = None

    def __init__(self, patient: Patient) -> None:
        self.patient = patient

    def __getitem__(self, index: int) -> Any:
        sample = self.patient.sample
        if self.patient.begun:
            return self.patient.asked(sample[index % len(sample)])
        raise RuntimeError("the epoch could not be begun")


def pace(patient: Patient) -> Pace:
    """Make items for a while."""
    for index in patient.sample[:2]:
        patient.item(index)  # what the first ones import is not what items cost
    found: list[float] = []
    queued, cpu, end = _queued(), time.process_time(), time.perf_counter() + MEASURE_SECONDS
    for index in cycle(patient.sample):
        start = time.perf_counter()
        patient.item(index)
        now = time.perf_counter()
        found.append(now - start)
        if now > end or len(found) >= MOST_ITEMS:
            break
    return Pace(tuple(found), time.process_time() - cpu, _queued() - queued)


def _queued() -> float:
    """Seconds that this thread has waited for a core, from the kernel's scheduler."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):  # not every kernel counts them
        return 0.0


def by_threads(patient: Patient) -> float:
    """Items a second, made by as many threads as there are cores."""
    cores = usable_cores()
    patient.item(patient.sample[0])
    start = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        made = sum(pool.map(lambda _: make_for(patient, MEASURE_SECONDS), range(cores)))
    return made / (time.perf_counter() - start)


def by_workers(chart: Chart) -> float:
    """Items a second, made by as many workers as there are cores."""
    known = [probed.seconds for probed in chart.probes.values()] or [0.0]
    whole = (chart.batch_size or 1) * statistics.fmean(known) < MEASURE_SECONDS / 2
    count = chart.batch_size if whole else None  # of slow samples no whole batch could be waited for
    config = make_config(
        batch_size=count,
        drop_remainder=False,
        shuffle=False,
        seed=chart.seed,
        shard=Shard(0, 1),
        ordered=True,
        workers=usable_cores(),
        executor="processes",
        prefetch="auto",
        faults=Faults(timeout=chart.limit),
    )
    stream = Stream(_Turns(Patient(chart.source, chart.sample, chart.seed)), config)
    try:
        stream.begin_epoch(shuffle=False)
        for _ in range(2 * usable_cores()):
            stream.take()
        made, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < MEASURE_SECONDS:
            stream.take()
            made += count or 1
        return made / passed
    finally:
        stream.close()


def judge(chart: Chart, results: Results) -> Iterator[Finding]:
    """What the figures say."""
    measured, threads, workers = results.of(pace), results.of(by_threads), results.of(by_workers)
    if measured is not None:
        item = statistics.median(measured.seconds)
        passed = max(sum(measured.seconds) - measured.queued_seconds, 1e-9)
        busy = min(1.0, measured.cpu_seconds / passed)
        chart.figures |= {"item seconds": item, "item on the processor share": busy}
        yield from _spread(chart)
        if (held := results.of(gil_held)) is not None:
            chart.figures["GIL held share"] = held
        if workers is not None:
            yield from _executors(chart, measured, busy, threads, workers)
        failed = results.failed(by_threads)
        if failed is not None and not isinstance(failed.error, WorkerDiedError):
            error = failed.error
            yield UNSAFE.found(f"with {usable_cores()} threads: {type(error).__name__}: {error}", *_item(chart))
    yield from _lines(chart, results.of(profiled))


def _executors(chart: Chart, measured: Pace, busy: float, threads: float | None, workers: float) -> Iterator[Finding]:
    item = statistics.fmean(measured.seconds)
    serial = 1 / max(item, 1e-9)
    cores = usable_cores()
    chart.figures |= {
        "alone items per second": serial,
        "threads items per second": threads or 0.0,
        "workers items per second": workers,
        "handing over seconds": max(0.0, cores / workers - item),
        "fit can be given items per second": max(serial, workers, threads or 0.0),
    }
    told = f"{serial:,.0f} items/s alone, {workers:,.0f} with {cores} workers"
    if threads:
        told += f", {threads:,.0f} with {cores} threads"
    if busy < WAITS and item > LEAST_WAIT:
        count = min(MOST_WORKERS, max(2, round(cores / max(busy, 1e-3))))
        way = "threads" if threads and threads > 0.8 * workers else "processes"
        evidence = f"{busy:.0%} of the {shown(item)} that an item takes are spent on the processor; {told}"
        yield WAITING.found(evidence, *_item(chart), fix=WAITING.fix.format(workers=count, executor=way))
    elif chart.figures.get("load of the machine", 0.0) > cores and item > HANDED_OVER:
        return  # what others take, nobody can give to workers: they may do better
    elif threads and threads > GAIN * max(serial, workers):
        title = "Threads are faster for this source than processes"
        yield NO_GAIN.found(told, *_item(chart), title=title, fix=BY_THREADS)
    elif workers < 1.1 * serial and item < HANDED_OVER:
        yield NO_GAIN.found(f"an item takes {shown(item)}; {told}", *_item(chart))
    elif threads and threads < 0.7 * workers:
        yield GIL.found(told, *_item(chart))


def _item(chart: Chart) -> list[Place]:
    """Where `__getitem__` stands."""
    return [reading.place() for reading in chart.item_code[:1]]


def _spread(chart: Chart) -> Iterator[Finding]:
    seconds = {index: probed.seconds for index, probed in chart.probes.items() if probed.form is not None}
    if len(seconds) < 4:
        return
    median, slowest = statistics.median(seconds.values()), max(seconds, key=lambda index: seconds[index])
    chart.figures["slowest item seconds"] = seconds[slowest]
    if seconds[slowest] > max(SLOW, UNEVEN * median):
        yield SPREAD.found(
            f"source[{slowest}] takes {shown(seconds[slowest])}, half of {len(seconds)} items at most {shown(median)}",
            *_item(chart),
        )


def _lines(chart: Chart, profile: Profile | None) -> Iterator[Finding]:
    if profile is None or not profile.lines:
        return
    shares = [(Place(file, line, function), spent / profile.seconds) for file, line, function, spent in profile.lines]
    chart.profile = tuple(
        (f"{place.file}:{place.line}", linecache.getline(place.file, place.line).strip(), share)
        for place, share in shares
        if share >= LEAST_SHARE
    )
    place, share = shares[0]
    if share > 0.5:
        text = linecache.getline(place.file, place.line).strip()
        yield PROFILE.found(f"{share:.0%} of the time is spent in `{text}`", place)


CHECK = Check(
    "speed",
    "What does an item cost, and what would workers make of it?",
    (NO_GAIN, GIL, WAITING, SPREAD, PROFILE, UNSAFE),
    (),
    judge,
    alone=(pace, profiled, gil_held, by_threads),
    trials=(by_workers,),
)
