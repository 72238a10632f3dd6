"""A process that imports one Keras backend once and then calls functions by name.

Requests come as lines of JSON on standard input, answers go as lines of JSON to what was standard output; everything
that is printed goes to standard error, which the tests show when an answer is a failure.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys
import traceback
from typing import Any

# One Loader after another in each of these processes: a request that takes longer hangs.
LIMIT = 60.0


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Call what the request names."""
    try:
        module = importlib.import_module(f"tests.adapters.{request['module']}")
        return {"value": getattr(module, request["function"])(**request["arguments"])}
    except BaseException:
        return {"failure": traceback.format_exc()}


def main() -> None:
    """Answer requests until standard input ends."""
    replies = os.fdopen(os.dup(1), "w")  # not inherited, so that it ends with this process
    os.dup2(2, 1)
    for line in sys.stdin:
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        reply = answer(json.loads(line))
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
