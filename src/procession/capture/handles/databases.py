"""SQLite: each worker connects for itself to the same files; a database in memory travels by its content."""

from __future__ import annotations

import os
import sqlite3
import urllib.parse
from pathlib import Path
from typing import Any, NamedTuple

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import travels


class Database(NamedTuple):
    """One of those that a connection has attached."""

    name: str
    path: str  # "": in memory
    read_only: bool
    content: bytes  # of one in memory


@travels(sqlite3.Connection, each=True)
def connection(value: Any) -> Any:
    """A connection, with what it has attached and what can be seen of its settings."""
    databases = _databases(value)
    if value.in_transaction and any(database.path for database in databases):
        raise Refusal(
            value,
            "it has an open transaction, whose changes the workers would not see",
            "Call commit() before the loader is iterated",
        )
    settings = {name: getattr(value, name) for name in ("isolation_level", "row_factory", "text_factory")}
    if hasattr(value, "autocommit"):  # Python 3.12
        settings["autocommit"] = value.autocommit
    (timeout,) = _plain(value, "PRAGMA busy_timeout")[0]
    return (
        connected,
        (type(value), databases, timeout / 1000, _detects(value)),
        (getattr(value, "__dict__", None), settings),
    )


@travels(sqlite3.Cursor, sqlite3.Blob)
def cursor(value: Any) -> Any:
    """What is half read of a query."""
    raise Refusal(
        value,
        "how far it has been read belongs to its connection",
        "Keep the connection on the source, which travels, and call execute() in __getitem__",
    )


def _plain(value: Any, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query as SQLite has them, without what the user has set for rows and text."""
    cursor, before = value.cursor(sqlite3.Cursor), value.text_factory
    cursor.row_factory, value.text_factory = None, str
    try:
        rows: list[tuple[Any, ...]] = cursor.execute(query).fetchall()
    finally:
        value.text_factory = before
        cursor.close()
    return rows


def _databases(value: Any) -> list[Database]:
    found = []
    for _, name, path in _plain(value, "PRAGMA database_list"):
        if path:
            found.append(Database(name, path, _read_only(path), b""))
        elif name != "temp":  # which SQLite can neither read out nor fill
            filled = _plain(value, f'PRAGMA "{name}".page_count')[0][0]
            found.append(Database(name, "", False, value.serialize(name=name) if filled else b""))
    return found


def _read_only(path: str) -> bool:
    """Whether this process holds the file open for reading alone: SQLite does not say how it was opened."""
    flags = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if entry.samefile(path):
                told = Path("/proc/self/fdinfo", entry.name).read_text()
                flags.append(int(told.partition("flags:")[2].split()[0], 8))
        except OSError:  # the descriptor that listed the folder
            continue
    return bool(flags) and all(flag & os.O_ACCMODE == os.O_RDONLY for flag in flags)


class _Seen(str):
    """Text that went through a converter."""

    __slots__ = ()


def _detects(value: Any) -> int:
    """Its `detect_types`, which only shows in what it returns."""
    converters: dict[str, Any] = sqlite3.converters  # type: ignore[attr-defined,unused-ignore]
    before = converters.get("TEXT")
    sqlite3.register_converter("TEXT", lambda data: _Seen(data.decode()))
    try:
        named = _plain(value, "SELECT 'x' AS \"x [text]\"")
        declared = _plain(value, "SELECT name FROM sqlite_master WHERE name IS NOT NULL LIMIT 1")
    finally:
        del converters["TEXT"]
        if before is not None:
            converters["TEXT"] = before
    flags = sqlite3.PARSE_COLNAMES if type(named[0][0]) is _Seen else 0
    return flags | (sqlite3.PARSE_DECLTYPES if declared and type(declared[0][0]) is _Seen else 0)


def connected(kind: Any, databases: list[Database], timeout: float, detects: int) -> Any:
    """A connection to the same databases."""
    main = databases[0]
    made = sqlite3.connect(
        _uri(main), timeout=timeout, detect_types=detects, check_same_thread=False, factory=kind, uri=True
    )
    for database in databases:
        if database is not main:
            made.execute("ATTACH DATABASE ? AS ?", (_uri(database), database.name))
        if database.content:
            made.deserialize(database.content, name=database.name)
    return made


def _uri(database: Database) -> str:
    if not database.path:
        return ":memory:"
    return f"file:{urllib.parse.quote(database.path)}?mode={'ro' if database.read_only else 'rw'}"
