"""One contender's process: ``python -m benchmarks.child WORK CONTENDER``.

Each line on standard input is a number of seconds: one round. Each answer is a line of JSON: first that
it is ready, then a sample for each round; or an error, after which it ends.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


def answers() -> Callable[[dict[str, Any]], None]:
    """Keep standard output for the answers; what libraries print goes to standard error."""
    # Not inherited by programs that are started from here.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        answer.write(json.dumps(message) + "\n")
        answer.flush()

    return send


def main() -> None:
    """Build the contender, then run a round for each line."""
    from benchmarks import registry

    send = answers()
    try:
        turn = registry.find(*sys.argv[1:]).build()
        send({"ready": True})
        for line in sys.stdin:
            send({"sample": turn(float(line))})
    except Exception as error:
        traceback.print_exc()
        text = str(error).strip().splitlines()
        send({"error": f"{type(error).__name__}: {text[0] if text else ''}"})
        sys.exit(1)


# Contenders that spawn their workers import this module again.
if __name__ == "__main__":
    main()
