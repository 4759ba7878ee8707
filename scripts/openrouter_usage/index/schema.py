"""Opens the index file, makes its tables, and recognises one that is of no use."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from openrouter_usage.index.vector import COLUMNS

# Raised whenever the meaning of a table changes: an index of another version is made anew.
VERSION = 1
_SUMS = ", ".join(f"{name} INTEGER NOT NULL" for name in COLUMNS)
_TABLES = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE names (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE sums (grouping TEXT, name INTEGER, slot INTEGER, first_offset INTEGER, last_offset INTEGER, {_SUMS},
    PRIMARY KEY (grouping, name, slot)) WITHOUT ROWID;
CREATE TABLE ids (mark INTEGER, start INTEGER, PRIMARY KEY (mark, start)) WITHOUT ROWID;
CREATE TABLE superseded (start INTEGER PRIMARY KEY);
CREATE TABLE holds (id TEXT PRIMARY KEY, ts TEXT NOT NULL, model TEXT NOT NULL, max_cost TEXT NOT NULL,
    generation TEXT NOT NULL, session TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE unread (start INTEGER PRIMARY KEY, why TEXT NOT NULL, is_damaged INTEGER NOT NULL);
"""


def open_index(path: Path | None, *, timeout_s: float) -> sqlite3.Connection:
    """Open the index for writing, in memory when `path` is None; sqlite3.Error when it cannot be used."""
    if path is not None:
        _make_private(path)
    connection = sqlite3.connect(
        ":memory:" if path is None else path, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )
    try:
        # WAL: readers never wait for a writer. NORMAL: after a power cut the index may be older than the
        # ledger, never wrong; what it lacks it reads again.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # The ids of a million calls fit in it, so that reading a large ledger anew does not wait for the disk.
        connection.execute("PRAGMA cache_size = -32000")
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            _make_tables(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have made them while this one waited for the lock.
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            drop_tables(connection)
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def drop_tables(connection: sqlite3.Connection) -> None:
    """Take out every table, of whatever version."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for (name,) in tables.fetchall():
        connection.execute(f'DROP TABLE "{name}"')


def clear_tables(connection: sqlite3.Connection) -> None:
    """Forget everything, within the running transaction, so that the ledger is read from its beginning."""
    for table in ("meta", "sums", "ids", "superseded", "holds", "unread"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  # a name from the line above


def delete_index(path: Path) -> None:
    """Take away a damaged index with its side files."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(str(path) + suffix)
