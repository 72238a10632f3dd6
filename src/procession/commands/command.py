"""What a command is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple


class Command(NamedTuple):
    """A word behind `procession`."""

    name: str
    help: str  # one line
    description: str
    examples: str
    options: Callable[[argparse.ArgumentParser], None]  # adds them
    run: Callable[[argparse.Namespace], int]  # returns the exit status
