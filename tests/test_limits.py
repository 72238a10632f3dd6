"""Small machines: each limit is enough, or is named in one error with its value and what was needed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import environment, finished, in_namespace, run_script

BODY = """
import numpy as np, procession, resource, sys

class Source:
    def __len__(self):
        return 60
    def __getitem__(self, i):
        return np.full(30_000 + i % 7, i), f"{i}"

def read(workers):
    with procession.Loader(Source(), workers=workers) as loader:
        held = list(loader)
        assert [int(a[0]) for a, _ in held] == list(range(60))
        again = [int(a[0]) for a, _ in loader]
        assert again == list(range(60))

def refused(workers, *words):
    try:
        read(workers)
    except procession.LimitError as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, (missing, str(error))
        assert error.errno
        print("refused")
    else:
        raise AssertionError("it worked")
"""

ENOUGH = {
    "64 descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); read(8)",
    "8 GB of addresses": "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)); read(2)",
    "files of 200 MB": "resource.setrlimit(resource.RLIMIT_FSIZE, (200 << 20, 200 << 20)); read(2)",
    "no core dumps": "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); read(2)",
    "a stack of 1 MB": "resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20)); read(2)",
    "no locked memory": "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)); read(2)",
}


@pytest.mark.parametrize("name", ENOUGH)
def test_it_works_with(name: str, tmp_path: Path) -> None:
    done = run_script(f"{BODY}\n{ENOUGH[name]}\nprint('whole')", tmp_path, check=False)
    assert (done.stdout, done.stderr) == ("whole\n", "")


TOO_LITTLE = {
    "30 descriptors": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (30, 90)); "
        "refused(16, 'RLIMIT_NOFILE', '30 file descriptors', 'ulimit -n 90', 'fewer workers')"
    ),
    "7 descriptors": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (7, 90)); refused(2, 'RLIMIT_NOFILE', '7 file descriptors')"
    ),
    "files of 1 MB": (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); refused(2, 'RLIMIT_FSIZE', 'ulimit -f', '1 MB')"
    ),
    "no address left": (
        "import mmap; used = int(open('/proc/self/statm').read().split()[0]) * mmap.PAGESIZE; "
        "resource.setrlimit(resource.RLIMIT_AS, (used + (40 << 20),) * 2); refused(2, 'RLIMIT_AS', 'ulimit -v')"
    ),
}


@pytest.mark.parametrize("name", TOO_LITTLE)
def test_it_says_what_is_too_little(name: str, tmp_path: Path) -> None:
    done = run_script(f"{BODY}\n{TOO_LITTLE[name]}", tmp_path, check=False)
    assert (done.stdout, done.stderr) == ("refused\n", "")


def test_more_descriptors_later_are_enough(tmp_path: Path) -> None:
    script = """
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 90))
loader = procession.Loader(Source(), workers=16)
try:
    list(loader)
except procession.LimitError:
    resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))
assert len(list(loader)) == 60
loader.close()
print("whole")
"""
    done = run_script(BODY + script, tmp_path, check=False)
    assert (done.stdout, done.stderr) == ("whole\n", "")


# Root is not counted; nobody is, and gets the one right that it needs to read this environment. Its number is of this
# process's own, so that tests beside this one do not count; another user's processes do not in a namespace of its own.
USER = 30_000 + os.getpid() % 30_000
NOBODY = f"setpriv --reuid {USER} --clear-groups --inh-caps +dac_override --ambient-caps +dac_override"


ALONE = "unshare --user --map-current-user"


@pytest.mark.parametrize(
    ("most", "then", "said"),
    [
        (40, "read(2); print('whole')", "whole\n"),
        (3, "read(8); print('whole')", "whole\n"),  # one worker, and a warning for each of the others
        (2, "refused(8, 'RLIMIT_NPROC', 'may have 2 processes', 'ulimit -u', 'fewer workers')", "refused\n"),
        (1, "refused(2, 'RLIMIT_NPROC', 'may have 1 processes')", "refused\n"),
    ],
)
def test_a_bound_on_processes(most: int, then: str, said: str) -> None:
    limit = f"resource.setrlimit(resource.RLIMIT_NPROC, ({most}, {most}))"
    done = subprocess.run(
        [*(NOBODY if os.getuid() == 0 else ALONE).split(), sys.executable, "-c", f"{BODY}\n{limit}\n{then}"],
        cwd="/",
        env=environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == said
    assert bool(done.stderr) == (most in (2, 3))
    assert all("goes on with fewer workers" in line and "ulimit -u" in line for line in done.stderr.splitlines())


def test_no_directory_is_needed(tmp_path: Path) -> None:
    """Neither TMPDIR, long, missing or read-only, nor a home: nothing is written anywhere."""
    for folder in ("/nonexistent", "/proc", str(tmp_path / ("d" * 200))):
        done = subprocess.run(
            [sys.executable, "-c", f"{BODY}\nread(2)\nprint('whole')"],
            cwd=tmp_path,
            env=environment(TMPDIR=folder, HOME="/nonexistent", XDG_CACHE_HOME="/nonexistent"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("whole\n", "")
    assert list(tmp_path.iterdir()) == []


def test_dev_shm_is_not_used(tmp_path: Path) -> None:
    """In a mount namespace of its own, with a /dev/shm of 64 kB, read-only."""
    mount = 'mount -t tmpfs -o size=64k,ro tmpfs /dev/shm && exec "$@"'
    command = in_namespace(mount, sys.executable, "-c", f"{BODY}\nread(4)\nprint('whole')")
    done = finished(command, tmp_path)
    assert (done.stdout, done.stderr) == ("whole\n", "")


def test_a_worker_that_runs_out_of_memory_is_explained() -> None:
    import numpy as np

    from procession import Faults, Loader
    from tests.support import Made

    def hog(i: int) -> object:
        soft = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (soft, soft))
        return np.ones(1 << 28)

    with Loader(Made(hog, 2), workers=1, faults=Faults(retries=0)) as loader, pytest.raises(MemoryError) as caught:
        list(loader)
    assert "source[0]" in "".join(caught.value.__notes__)
