"""Devices: where the source's code asks for a GPU, which workers do not have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from procession.doctor.check import Chart
from procession.doctor.checks.blame import is_about_a_device
from procession.doctor.checks.failures import named
from procession.doctor.code.reading import MISSING, Reading
from procession.doctor.findings import Code, Finding

DEVICE = re.compile(r"/?(job:\S*)?(device:)?(cuda|gpu|mps|xpu|rocm|tpu)(:\d+)?$", re.IGNORECASE)
TAKES_DEVICE = (
    "to",
    "device",
    "devices",
    "Generator",
    "tensor",
    "as_tensor",
    "zeros",
    "ones",
    "empty",
    "device_put",
    "from_numpy",
    "rand",
    "randn",
    "full",
    "arange",
    "local_devices",
    "set_device",
    "autocast",
)
ASKED_FIRST = (
    "is_available",
    "device_count",
    "list_physical_devices",
    "list_logical_devices",
    "default_backend",
    "is_gpu_available",
)

TOUCHED = Code(
    "PRC402",
    "The source asks for a GPU, which workers do not have",
    "error",
    why="The GPU belongs to the training process: workers see none (`CUDA_VISIBLE_DEVICES=-1`), since each would take "
    "memory on it for a context of its own, and a context does not survive a fork.",
    fix="""\
device = "cuda" if torch.cuda.is_available() else "cpu"      # cpu in workers
return x.numpy()                # batches are arrays; the training step moves them to the device, as Keras does""",
    how="The code of `__getitem__` is read for devices; what items raise is looked at.",
)


def judge(chart: Chart) -> Iterator[Finding]:
    """One finding for all places: an error if items fail for it."""
    places = [reading.place(node) for reading in chart.item_code for node in _touches(reading)]
    shown = [reading.text(node) for reading in chart.item_code for node in _touches(reading)]
    failed = {i: p.error for i, p in sorted(chart.probes.items()) if p.error is not None and is_about_a_device(p.error)}
    if failed:
        first = next(iter(failed.values()))
        own = [place for place in places if place.line != first.place.line]
        yield TOUCHED.found(
            f"{named(failed)} ({len(failed)} of {len(chart.probes)} items that were asked for) raised {first}, at "
            f"`{first.line}`",
            first.place,
            *own,
        )
    elif places:
        made = any(probed.error is None for probed in chart.probes.values())
        told = "the items that were made did without" if made else "no item could be made to see what becomes of it"
        yield TOUCHED.found(f"`{'`, `'.join(dict.fromkeys(shown[:3]))}`; {told}", *places[:4], severity="warning")


def _touches(reading: Reading) -> list[ast.Call]:
    guarded = {id(inner) for node in ast.walk(reading.node) if _asks(node) for inner in ast.walk(node)}
    return [
        node
        for node in ast.walk(reading.node)
        if isinstance(node, ast.Call) and id(node) not in guarded and _names_device(reading, node)
    ]


def _asks(node: ast.AST) -> bool:
    return isinstance(node, (ast.If, ast.IfExp)) and any(word in ast.unparse(node.test) for word in ASKED_FIRST)


def _names_device(reading: Reading, node: ast.Call) -> bool:
    name = ast.unparse(node.func).rpartition(".")[2]
    if name == "cuda" and isinstance(node.func, ast.Attribute):
        return True
    given = [*node.args, *(word.value for word in node.keywords if word.arg in ("device", "backend", "device_name"))]
    by_keyword = any(word.arg == "device" for word in node.keywords)
    return (name in TAKES_DEVICE or by_keyword) and any(_is_device(reading, value) for value in given)


def _is_device(reading: Reading, node: ast.expr) -> bool:
    value: Any = node.value if isinstance(node, ast.Constant) else reading.value(node)
    if value is MISSING:
        return False
    text = value if isinstance(value, str) else getattr(value, "type", None)  # torch.device
    return isinstance(text, str) and bool(DEVICE.match(text))
