"""The checks that are made, in this order."""

from __future__ import annotations

from procession.doctor.check import Check
from procession.doctor.checks import (
    batches,
    descriptors,
    frameworks,
    hooks,
    length,
    limits,
    memory,
    purity,
    randomness,
    shared_data,
    speed,
    travel,
)

CHECKS: tuple[Check, ...] = (
    travel.CHECK,
    batches.CHECK,
    length.CHECK,
    frameworks.CHECK,
    memory.CHECK,
    descriptors.CHECK,
    limits.CHECK,
    speed.CHECK,
    purity.CHECK,
    shared_data.CHECK,
    randomness.CHECK,
    hooks.CHECK,
)
