"""`multiprocessing.RawArray` and `RawValue`: ctypes objects, of which one attribute tells that they are shared."""

from __future__ import annotations

import ctypes
from typing import Any

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import travels


@travels(ctypes.Array, ctypes.Structure, ctypes.Union, ctypes._SimpleCData)
def raw(value: Any) -> Any:
    """Others pickle by themselves, unless they hold pointers."""
    if not hasattr(value, "_wrapper"):
        return NotImplemented
    from procession.capture.handles.processes import ARRAY, COUNTER, INHERITED  # only where that is imported already

    raise Refusal(value, INHERITED, ARRAY if isinstance(value, ctypes.Array) else COUNTER)
