"""asyncio: what belongs to the loop of one thread."""

from __future__ import annotations

import asyncio
from typing import Any

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import travels


@travels(asyncio.AbstractEventLoop, asyncio.Future)
def of_loop(value: Any) -> Any:
    """A loop, a future or a task."""
    raise Refusal(value, "it belongs to the thread that runs its event loop")
