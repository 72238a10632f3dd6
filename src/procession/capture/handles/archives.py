"""Compressed files and archives that are read, and temporary files: over a file that is opened anew."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
from typing import Any

from procession.capture.culprit import Refusal
from procession.capture.handles.files import closed_file, for_writing
from procession.capture.handles.kinds import extras, travels

_OWNED: dict[Any, str] = {
    gzip.GzipFile: "myfileobj",
    bz2.BZ2File: "_closefp",
    lzma.LZMAFile: "_closefp",
}  # what close() looks at
_BELOW: dict[Any, str] = {gzip.GzipFile: "fileobj", bz2.BZ2File: "_fp", lzma.LZMAFile: "_fp"}


@travels(gzip.GzipFile, bz2.BZ2File, lzma.LZMAFile, each=True)
def compressed_file(file: Any) -> Any:
    """One of them; the state of its decompressor is found again by decompressing up to the same place."""
    if file.closed:
        return closed_file, ("rb", -1)
    base = next(kind for kind in _BELOW if isinstance(file, kind))
    below = getattr(file, _BELOW[base])
    if not file.readable():
        raise for_writing(file, getattr(file, "name", getattr(below, "name", None)), "wb")
    options = {} if base is gzip.GzipFile else dict(file._buffer.raw._decomp_args)
    if base is gzip.GzipFile:
        options["filename"] = file.name
    owned = bool(getattr(file, _OWNED[base]))
    return decompressing, (type(file), base, below, options, owned, file.tell()), extras(file, _blank(base))


def _blank(base: Any) -> Any:
    below: Any = io.BytesIO()
    return gzip.GzipFile(fileobj=below, mode="rb") if base is gzip.GzipFile else base(below)


def decompressing(kind: Any, base: Any, below: Any, options: dict[str, Any], owned: bool, position: int) -> Any:
    """A compressed file over the file `below`, from whose beginning it is read."""
    below.seek(0)
    file: Any = kind.__new__(kind)
    if base is gzip.GzipFile:
        gzip.GzipFile.__init__(file, mode="rb", fileobj=below, **options)
    else:
        base.__init__(file, below, "rb", **options)
    if owned:  # it opened the file, and is to close it
        setattr(file, _OWNED[base], below if base is gzip.GzipFile else True)
    file.seek(position)
    return file


@travels(zipfile.ZipFile, each=True)
def zip_file(archive: Any) -> Any:
    """Its directory is pickled as it is, the file below it opened anew, which no opened member keeps open yet."""
    if archive.mode != "r":
        raise for_writing(archive, archive.filename, archive.mode)
    return object.__new__, (type(archive),), {**vars(archive), "_fileRefCnt": int(archive.fp is not None)}


@travels(zipfile.ZipExtFile, each=True)
def zip_member(member: Any) -> Any:
    """A file in an archive: opened from the archive, which travels too, at the same place."""
    if member.closed:
        return closed_file, ("rb", -1)
    archive = member._fileobj._close.__self__
    return opened_member, (archive, member.name, member._pwd, member.tell())


def opened_member(archive: Any, name: str, password: bytes | None, position: int) -> Any:
    """The file `name` in a zip archive."""
    member = archive.open(name, "r", password)
    member.seek(position)
    return member


@travels(tarfile.TarFile, each=True)
def tar_file(archive: Any) -> Any:
    """As a zip archive; a stream has no place to go back to."""
    if archive.mode != "r":
        raise for_writing(archive, archive.name, archive.mode)
    if isinstance(archive.fileobj, tarfile._Stream):  # type: ignore[attr-defined,unused-ignore]
        raise Refusal(
            archive,
            f"it reads {archive.name!r} as a stream (mode 'r|...'), which has no place to go back to",
            "Open it with mode 'r' or 'r:gz', which can seek",
        )
    return NotImplemented


@travels(tempfile._TemporaryFileWrapper, each=True)
def temporary_file(wrapper: Any) -> Any:
    """A named temporary file: only the training process's own removes it."""
    return tempfile._TemporaryFileWrapper, (wrapper.file, wrapper.name, False)
