"""What every test runs under: it leaves no process, no descriptor and no shared memory behind."""

from __future__ import annotations

import gc
import os
import re
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import pytest

ExecutorName = Literal["serial", "threads", "processes"]
EXECUTORS: tuple[ExecutorName, ...] = ("serial", "threads", "processes")

# Every process started from here inherits this mark in its environment, so an orphan is still known
# as ours, and the processes of another pytest worker, or of anyone else on the machine, are not.
MARK = "PROCESSION_TEST_OWNER"
OWNER = f"{os.getpid()}:{psutil.Process().create_time()}"

# The descriptors that count, by what /proc/self/fd says they are. Plain files are left to
# ResourceWarning; epolls, eventfds and devices are the frameworks', made once for their threads.
KINDS = {
    "socket": re.compile(r"socket:"),
    "pipe": re.compile(r"pipe:"),
    "memfd": re.compile(r"/memfd:"),
    "pidfd": re.compile(r"anon_inode:\[pidfd\]"),
    "shm file": re.compile(r"/dev/shm/"),
    "deleted file": re.compile(r".* \(deleted\)$"),
}
SHM_SECONDS = 3.0  # for the resource trackers of scripts that run beside a test
# By design one template may stay between two loaders, and the socket to it.
TEMPLATE_HOLDS = Counter({"socket": 1})


@dataclass(frozen=True)
class Snapshot:
    """What this process and its descendants hold at one moment."""

    processes: frozenset[psutil.Process]
    template: psutil.Process | None
    descriptors: dict[str, frozenset[str]]  # kind -> "number -> target"
    shm: frozenset[str]

    @classmethod
    def take(cls) -> Snapshot:
        processes = _family()
        template = next((process for process in processes if _is_template(process)), None)
        return cls(processes - {template}, template, _descriptors(), _shm())


@dataclass(frozen=True)
class Leaks:
    """What is there now and was not before."""

    processes: list[psutil.Process]
    descriptors: list[str]
    shm: list[str]

    @classmethod
    def between(cls, before: Snapshot, after: Snapshot) -> Leaks:
        allowed: Counter[str] = Counter()
        if after.template and not before.template:
            allowed = TEMPLATE_HOLDS
        descriptors: list[str] = []
        for kind, now in after.descriptors.items():
            then = before.descriptors[kind]
            if len(now) > len(then) + allowed[kind]:
                descriptors += sorted(now - then)
        shm = [name for name in after.shm - before.shm if _left_in_shm(name, after)]
        return cls(sorted(after.processes - before.processes, key=_pid), descriptors, sorted(shm))

    @property
    def counts(self) -> tuple[int, int, int]:
        return len(self.processes), len(self.descriptors), len(self.shm)

    def describe(self) -> str:
        lines = [f"process {_describe(process)}" for process in self.processes]
        lines += [f"descriptor {descriptor}" for descriptor in self.descriptors]
        lines += [f"/dev/shm/{name}" for name in self.shm]
        return "left behind:\n  " + "\n  ".join(lines)


def _pid(process: psutil.Process) -> int:
    return process.pid


def _family() -> frozenset[psutil.Process]:
    """Return the live descendants of this process, and the orphans among those that it started."""
    pids = {process.pid for process in psutil.Process().children(recursive=True)}
    mark = f"{MARK}={OWNER}".encode()
    for pid in psutil.pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it ended meanwhile, or belongs to someone else
            continue
        if mark in environment.split(b"\0"):
            pids.add(pid)
    pids.discard(os.getpid())
    return frozenset(process for pid in pids if (process := _alive(pid)))


def _alive(pid: int) -> psutil.Process | None:
    """Return the process unless it ended; a zombie that is not ours to reap has ended too."""
    try:
        process = psutil.Process(pid)
        mine = process.ppid() == os.getpid()
        return process if mine or process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _is_template(process: psutil.Process) -> bool:
    """Say whether `process` is the template: a child of ours with the template's entry module."""
    try:
        command = " ".join(process.cmdline())
        return process.ppid() == os.getpid() and bool(re.search(r"procession\S*template", command))
    except psutil.Error:
        return False


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} ({process.status()}): {' '.join(process.cmdline())[:200]}"
    except psutil.NoSuchProcess:
        return f"{process.pid} (it ended since)"


def _descriptors() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            target = str(entry.readlink())
        except OSError:  # the descriptor that listed the folder
            continue
        kind = next((kind for kind, pattern in KINDS.items() if pattern.match(target)), None)
        if kind:
            found[kind].add(f"{entry.name} -> {target}")
    return {kind: frozenset(items) for kind, items in found.items()}


def _shm() -> frozenset[str]:
    return frozenset(path.name for path in Path("/dev/shm").iterdir())


def _left_in_shm(name: str, here: Snapshot) -> bool:
    """Say whether a file in /dev/shm is nobody's: tests that run beside this one make and remove some all the time.

    What stock tools leave there is removed a moment after them, by a process of theirs: so it has to stay for a while.
    """
    until = time.monotonic() + SHM_SECONDS
    while Path("/dev/shm", name).exists() and not _used_by_others(name, here):
        if time.monotonic() > until:
            return True
    return False


def _used_by_others(name: str, here: Snapshot) -> bool:
    """Say whether a process outside this test's family has the file in /dev/shm open or mapped."""
    ours = {process.pid for process in here.processes} | {os.getpid()}
    path = f"/dev/shm/{name}"
    return any(_uses(pid, path) for pid in psutil.pids() if pid not in ours)


def _uses(pid: int, path: str) -> bool:
    try:
        if path in Path(f"/proc/{pid}/maps").read_text():
            return True
        return any(str(entry.readlink()) == path for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _settle(before: Snapshot) -> Leaks:
    """Return what is left once garbage is collected and processes that are ending have ended."""
    leaks = Leaks.between(before, Snapshot.take())
    if any(leaks.counts):  # collecting only takes away: where nothing is too much there is nothing to collect
        gc.collect()
        psutil.wait_procs(Leaks.between(before, Snapshot.take()).processes, timeout=5)
        leaks = Leaks.between(before, Snapshot.take())
    return leaks


def _end_template() -> None:
    supervisor = sys.modules.get("procession.engine.supervisor")
    if supervisor is not None:
        supervisor.shutdown()


@pytest.fixture(autouse=True)
def hygiene() -> Iterator[None]:
    """Fail a test that leaves a process, a descriptor or a file in /dev/shm behind."""
    before = Snapshot.take()
    yield
    leaks = _settle(before)
    if any(leaks.counts):
        description = leaks.describe()
        for process in leaks.processes:  # so that it disturbs no later test
            process.kill()
        pytest.fail(description, pytrace=False)


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> ExecutorName:
    """Run the test once on every executor."""
    name: ExecutorName = request.param
    return name


SIMULATION_SEED = "PROCESSION_SIMULATION_SEED"
SIMULATED = ("config.py", "events.py", "engine", "executors", "order", "testing")  # in the package


def _seed_of_the_code() -> int:
    """The seed of the simulated schedules: the same in each run of the same code, another with each change to it."""
    package = Path(__file__).parents[1] / "src" / "procession"
    files = (file for name in SIMULATED for file in sorted((package / name).rglob("*.py")) or [package / name])
    return zlib.crc32(b"".join(file.read_bytes() for file in files))


# --- the whole session: nothing at all may remain, the template included ---

STARTED = pytest.StashKey[Snapshot]()
TOTALS = pytest.StashKey[list[tuple[int, int, int]]]()
LOST = pytest.StashKey[list[str]]()


def _distributes(config: pytest.Config) -> bool:
    """Say whether this process only hands tests to pytest-xdist's workers."""
    return bool(config.getoption("numprocesses", default=None)) and not hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault(SIMULATION_SEED, str(_seed_of_the_code()))  # pytest-xdist's workers inherit it
    config.stash[TOTALS] = []
    config.stash[LOST] = []
    if not _distributes(config):
        os.environ[MARK] = OWNER


def pytest_sessionstart(session: pytest.Session) -> None:
    if not _distributes(session.config):
        session.config.stash[STARTED] = Snapshot.take()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """Take over what a pytest-xdist worker found at its end."""
    config: pytest.Config = node.config  # type: ignore[attr-defined]
    output: dict[str, object] = getattr(node, "workeroutput", {})
    if "hygiene" in output:
        config.stash[TOTALS].append(tuple(output["hygiene"]))  # type: ignore[arg-type]
        config.stash[LOST].append(str(output["left"]))
    else:
        config.stash[LOST].append("a pytest worker ended too early to be measured")


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if not _distributes(config) and STARTED in config.stash:
        _end_template()
        leaks = _settle(config.stash[STARTED])
        left = leaks.describe() if any(leaks.counts) else ""
        config.stash[TOTALS].append(leaks.counts)
        config.stash[LOST].append(left)
        if hasattr(config, "workeroutput"):
            config.workeroutput.update(hygiene=leaks.counts, left=left)
    if any(any(counts) for counts in config.stash[TOTALS]) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    totals: list[tuple[int, int, int]] = config.stash[TOTALS]
    lost: list[str] = config.stash[LOST]
    processes, descriptors, shm = (sum(column) for column in zip(*totals, strict=True)) if totals else (0, 0, 0)
    _tell_of_schedules(terminalreporter)
    _tell_of_the_doctor(terminalreporter)
    terminalreporter.write_line(f"hygiene: processes +{processes}, descriptors +{descriptors}, /dev/shm +{shm}")
    for left in filter(None, lost):
        terminalreporter.write_line(left)


def _tell_of_schedules(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much has been simulated, and from which seed."""
    happened: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "simulated":
                happened.update(value)
    if happened:
        schedules = happened.pop("schedules")
        told = ", ".join(f"{count:,} {name}" for name, count in happened.most_common())
        seed = os.environ[SIMULATION_SEED]
        terminalreporter.write_line(f"simulation: {schedules:,} schedules ({SIMULATION_SEED}={seed}): {told}")


def _tell_of_the_doctor(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the doctor found in each source of the zoo, and how the catalogue is answered."""
    told = [item for report in terminalreporter.stats.get("passed", []) for item in report.user_properties]
    zoo = sorted(tuple(value) for name, value in told if name == "zoo")
    if zoo:
        clean = [name for kind, name, *_ in zoo if kind == "clean"]
        terminalreporter.write_line(f"zoo: {len(zoo) - len(clean)} planted faults found, {len(clean)} clean sources")
        for code, name, place, severity in zoo:
            short = place.replace(f"{Path.cwd()}/", "")
            terminalreporter.write_line(f"  {code:<7} {severity:<8} {name:<28} {short}")
    for answers, tested, count in (value for name, value in told if name == "catalogue"):
        counts = ", ".join(f"{name} {number}" for name, number in answers.items())
        terminalreporter.write_line(
            f"catalogue: {count} cases ({counts}); {tested} tested as reported, {count - tested} in part"
        )
