"""Readers over a file or over lines: those of `codecs.open` go on where they were, those of csv do not say where."""

from __future__ import annotations

import codecs
import csv
from typing import Any

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import travels


@travels(codecs.StreamReader, codecs.StreamReaderWriter)
def decoder(value: Any) -> Any:
    """By its attributes: what is decoded already, and the file, which travels as any other."""
    return over, (type(value), dict(vars(value)))


@travels(codecs.StreamWriter)
def encoder(value: Any) -> Any:
    """Half of a `codecs.StreamReaderWriter`; a file that is written to is refused by itself."""
    return decoder(value)


@travels(type(csv.reader([])))
def rows(value: Any) -> Any:
    """It tells neither what it reads nor how far."""
    raise Refusal(
        value,
        "a csv reader does not tell what it reads from, and each row can be read only once",
        "Read the rows first, rows = list(csv.reader(file)), and index those; or keep the path, and read in the worker",
    )


def over(kind: Any, attributes: dict[str, Any]) -> Any:
    """The reader; `__setstate__` would be looked for in the file that it does not have yet."""
    made = kind.__new__(kind)
    vars(made).update(attributes)
    return made
