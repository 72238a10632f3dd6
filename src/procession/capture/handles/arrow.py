"""Files that pyarrow has opened. Tables, and datasets of pyarrow.dataset, pickle by themselves."""

from __future__ import annotations

from typing import Any

import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]

from procession.capture.culprit import Refusal
from procession.capture.handles.files import for_writing, path_of
from procession.capture.handles.kinds import travels

try:
    from pyarrow import parquet  # type: ignore[import-untyped,unused-ignore]
except ImportError:  # a pyarrow that was built without it
    parquet = None


@travels(pa.MemoryMappedFile, pa.OSFile, each=True)
def file(value: Any) -> Any:
    """A file that is mapped, or read; by its path."""
    if value.mode != "rb":
        raise for_writing(value, path_of(value.fileno()), value.mode)
    path = path_of(value.fileno())
    if path is None:
        raise Refusal(value, "its file is not there any more", "Keep the file, or read it before it is removed")
    make = pa.memory_map if isinstance(value, pa.MemoryMappedFile) else pa.OSFile
    return opened, (make, path, value.tell())


def opened(make: Any, path: str, position: int) -> Any:
    """The file, at the same place."""
    made = make(path, "r")
    made.seek(position)
    return made


def parquet_file(value: Any) -> Any:
    """It does not know its path."""
    raise Refusal(
        value,
        "it does not say which file it reads",
        "Keep pyarrow.dataset.dataset(path), which travels; or keep the path, and open it in the worker on first use",
    )


if parquet is not None:
    travels(parquet.ParquetFile)(parquet_file)
