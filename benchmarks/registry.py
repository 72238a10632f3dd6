"""All works by name, in the order in which they run."""

from benchmarks.model import Contender, Work
from benchmarks.works import batches, fit, memory, order, parallel, recovery, script, seeding, start, transport

WORKS: dict[str, Work] = {
    work.name: work
    for group in (batches, seeding, order, transport, fit, script, parallel, recovery, start, memory)
    for work in group.WORKS
}


def find(work: str, contender: str) -> Contender:
    """Return a contender by its names, which is all that its process is told."""
    return next(each for each in WORKS[work].contenders if each.name == contender)
