"""Which check tells of an item that raised: several see it, one says so."""

from __future__ import annotations

import re

from procession.doctor.check import Chart
from procession.doctor.seen.probe import Raised

_OF_A_DEVICE = re.compile(
    r"CUDA|cuda runtime|\bcuInit\b|Unknown backend:? '?(gpu|cuda|rocm|tpu)|Backend '(gpu|cuda|rocm|tpu)' failed|"
    r"No (CUDA )?GPUs? (is|are) available|device specification .*GPU|\bHIP (error|runtime)|Found no NVIDIA|"
    r"MPS backend|Torch not compiled with",
    re.IGNORECASE,
)


def is_about_a_device(error: Raised) -> bool:
    """Whether an item has raised for want of a device: for the check of frameworks."""
    return bool(_OF_A_DEVICE.search(error.text))


def behind_the_end(chart: Chart) -> tuple[int, ...]:
    """The last of the items that were asked for, if they alone raise IndexError: for the check of the length."""
    found: list[int] = []
    for index in sorted(chart.probes, reverse=True):
        error = chart.probes[index].error
        if error is None or error.kind != "IndexError":
            break
        found.append(index)
    made = any(probed.error is None for probed in chart.probes.values())
    return tuple(sorted(found)) if made else ()
