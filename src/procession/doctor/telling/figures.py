"""What is measured has a unit by its name: `item seconds`, `stream bytes`, `gil share`, `items per second`."""

from __future__ import annotations

from typing import Any


def label(name: str) -> str:
    """What a figure is called; its unit is shown beside the value."""
    words = name.split(" ")
    return " ".join(words[:-1] if words[-1] in ("seconds", "bytes", "share") and len(words) > 1 else words)


def told(name: str, value: Any) -> str:
    """A figure as people read it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    unit = name.rpartition(" ")[2]
    match unit:
        case "seconds":
            return seconds(value)
        case "bytes":
            return size(value)
        case "share":
            return f"{value:.0%}"
        case _:
            return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.2g}"


def seconds(value: float) -> str:
    """`2.4 ms`."""
    for least, factor, unit in ((1.0, 1.0, "s"), (1e-3, 1e3, "ms")):
        if value >= least:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def size(value: float) -> str:
    """`9.6 MB`."""
    for least, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= least:
            return f"{value / least:.3g} {unit}"
    return f"{value:.0f} bytes"
