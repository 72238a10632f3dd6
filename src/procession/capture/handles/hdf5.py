"""HDF5 through h5py: each worker opens the file for itself, and finds its groups and datasets by name."""

from __future__ import annotations

import os
from typing import Any

import h5py

from procession.capture.culprit import Refusal
from procession.capture.handles.files import for_writing, path_of
from procession.capture.handles.kinds import travels
from procession.capture.travel import reduced

PATHS = {"sec2": None, "stdio": "stdio", "core": "core", "family": "family"}  # drivers of files with a path, as given


@travels(h5py.File, each=True)
def file(value: Any) -> Any:
    """A file that is open for reading, with its driver, its cache and its locking."""
    if not value:
        raise Refusal(value, "it is closed", "Set the attribute to None, or leave the file open")
    if value.mode != "r":
        raise for_writing(value, value.filename, value.mode)
    if value.driver not in PATHS:
        raise Refusal(
            value,
            f"the driver {value.driver!r} does not say what it reads from",
            "Open it by its path, h5py.File(path), or open it in the worker on first use",
        )
    state = {name: part for name, part in vars(value).items() if not name.startswith("_")}
    return opened, (type(value), _path(value), _options(value)), state or None


@travels(h5py.Group, h5py.Dataset, h5py.Datatype, each=True)
def member(value: Any) -> Any:
    """What is found in a file by its name."""
    if not value:
        raise Refusal(value, "its file is closed", "Set the attribute to None, or leave the file open")
    if value.file.mode != "r":
        raise for_writing(value, value.file.filename, value.file.mode)
    if value.name is None:
        raise Refusal(value, "it has no name in its file", "Give it a name in the file, and take it from there")
    return found, (value.file, value.name)


@reduced.register(h5py._objects.ObjectID)
def identifier(value: Any) -> Any:
    """What h5py's own objects have as `id`. Not by `travels`: they say how they are pickled, and most cannot be."""
    if isinstance(value, (h5py.h5t.TypeID, h5py.h5s.SpaceID)):
        return NotImplemented
    raise Refusal(
        value,
        "it is a number that means something in this process only",
        "Keep the h5py.File, Group or Dataset that it is of, which travels, and take its `id` in __getitem__",
    )


def _path(value: Any) -> str:
    if value.driver != "sec2":
        return os.path.abspath(str(value.filename))
    path = path_of(value.id.get_vfd_handle())
    if path is None:
        raise Refusal(
            value,
            f"{value.filename!r} has been deleted or replaced since it was opened, and HDF5 opens by name",
            "Open the file that is there now, or keep the old one as long as it is read",
        )
    return path


def _options(value: Any) -> dict[str, Any]:
    access = value.id.get_access_plist()
    _, slots, size, preemption = access.get_cache()
    library = getattr(value, "_libver", None) or (None,)
    pages, least_metadata, least_raw = access.get_page_buffer_size()
    options = {
        "driver": PATHS[value.driver],
        "libver": library if all(library) else None,
        "swmr": value.swmr_mode,
        "rdcc_nslots": slots,
        "rdcc_nbytes": size,
        "rdcc_w0": preemption,
    }
    if pages:
        options |= {"page_buf_size": pages, "min_meta_keep": least_metadata, "min_raw_keep": least_raw}
    if hasattr(access, "get_file_locking"):  # HDF5 1.12.1
        ignore, use = access.get_file_locking()
        options["locking"] = ("best-effort" if ignore else True) if use else False
    if value.driver == "core":
        options["block_size"] = access.get_fapl_core()[0]
    if value.driver == "family":
        options["memb_size"] = access.get_fapl_family()[0]
    return options


def opened(kind: Any, path: str, options: dict[str, Any]) -> Any:
    """The file, opened for this process."""
    made: Any = kind.__new__(kind)
    h5py.File.__init__(made, path, "r", **options)
    return made


def found(owner: Any, name: str) -> Any:
    """What has this name in a file."""
    return owner[name]
