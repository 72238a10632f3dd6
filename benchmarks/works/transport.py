"""transport: ready arrays from one worker, so that nothing is measured but the way they take."""

import itertools
from collections.abc import Iterator

import numpy as np

from benchmarks import peers
from benchmarks.model import PROCESSION, Contender, Figure, Round, Sample, Target, Work
from benchmarks.sources import Prepared

MIB = 1024 * 1024
MEMCPY = "memcpy"
SPDL = "SPDL segment pool"


def copies(size: int) -> Iterator[None]:
    """The bound: copy into memory that is mapped already, in turns into four places, as slots are."""
    source = Prepared(size).array
    places = [np.zeros_like(source) for _ in range(4)]
    for place in itertools.cycle(places):
        np.copyto(place, source)
        yield


def speed(contender: Contender, size: int) -> Contender:
    """Say of a contender's rounds how many bytes a second they are."""

    def build() -> Round:
        turn = contender.build()

        def measure(seconds: float) -> Sample:
            sample = turn(seconds)
            return sample | {"bytes a second": size / sample["seconds"]}

        return measure

    return Contender(contender.name, build, contender.needs, contender.environment)


def transport(mebibytes: int, targets: tuple[Target, ...]) -> Work:
    """Make the work for one size."""
    size = mebibytes * MIB
    contenders = (
        peers.contender(PROCESSION, lambda: peers.procession(Prepared(size), workers=1), warm=12),
        peers.contender(SPDL, lambda: peers.segment_pool(size), warm=12),
        peers.contender(MEMCPY, lambda: copies(size), warm=8),
    )
    return Work(
        name=f"transport-{mebibytes}",
        quick=bool(targets),
        about=f"arrays of {mebibytes} MiB of float32, ready made, 1 worker",
        contenders=tuple(speed(contender, size) for contender in contenders),
        figures=(
            Figure(
                f"transport, {mebibytes} MiB",
                key="bytes a second",
                unit="GB/s",
                scale=1e-9,
                more_is_better=True,
                targets=targets,
            ),
        ),
    )


WORKS = (transport(32, (Target(3, SPDL), Target(0.8, MEMCPY))), transport(9, ()))
