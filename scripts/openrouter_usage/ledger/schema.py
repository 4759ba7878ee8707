"""Opens the index file, creates its tables, and recognises an unusable one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from openrouter_usage.files import distrust

# Raised whenever the meaning of a table changes: an index of another version is rebuilt.
VERSION = 7
_OURS = 0x4F52_5549  # "ORUI": tells an index from any other database
# The figures of `sums` and `quarters` are the columns of `COLUMNS`, in its order.
_TABLES = """
CREATE TABLE position (id INTEGER PRIMARY KEY, mark INTEGER, offset INTEGER, size INTEGER, device INTEGER,
    inode INTEGER, mtime_ns INTEGER, head INTEGER, tail INTEGER, whole INTEGER);
CREATE TABLE sums (slot INTEGER, grouping INTEGER, name TEXT, mark INTEGER NOT NULL,
    requests INTEGER NOT NULL, unknown INTEGER NOT NULL, estimated INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, cost_high INTEGER NOT NULL,
    cost_mid INTEGER NOT NULL, cost_low INTEGER NOT NULL, byok_high INTEGER NOT NULL,
    byok_mid INTEGER NOT NULL, byok_low INTEGER NOT NULL,
    PRIMARY KEY (slot, grouping, name)) WITHOUT ROWID;
CREATE TABLE quarters (slot INTEGER PRIMARY KEY, first_offset INTEGER, last_offset INTEGER, mark INTEGER NOT NULL,
    requests INTEGER NOT NULL, unknown INTEGER NOT NULL, estimated INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, cost_high INTEGER NOT NULL,
    cost_mid INTEGER NOT NULL, cost_low INTEGER NOT NULL, byok_high INTEGER NOT NULL,
    byok_mid INTEGER NOT NULL, byok_low INTEGER NOT NULL);
CREATE TABLE ids (mark INTEGER, start INTEGER, PRIMARY KEY (mark, start)) WITHOUT ROWID;
CREATE TABLE fresh_ids (mark INTEGER, start INTEGER, PRIMARY KEY (mark, start)) WITHOUT ROWID;
CREATE TABLE merged (start INTEGER PRIMARY KEY, first INTEGER NOT NULL, mark INTEGER NOT NULL);
CREATE INDEX merged_first ON merged (first);
CREATE TABLE unsettled (start INTEGER PRIMARY KEY, is_doubtful INTEGER NOT NULL, mark INTEGER NOT NULL);
CREATE INDEX unsettled_doubtful ON unsettled (start) WHERE is_doubtful;
CREATE TABLE holds (id TEXT PRIMARY KEY, mark INTEGER NOT NULL, ts TEXT NOT NULL, model TEXT NOT NULL,
    max_cost TEXT NOT NULL, generation TEXT NOT NULL, session TEXT NOT NULL, tags TEXT NOT NULL,
    measured TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE unread (start INTEGER PRIMARY KEY, why TEXT NOT NULL, is_damaged INTEGER NOT NULL);
"""
_CLEAR = """
DELETE FROM position; DELETE FROM sums; DELETE FROM quarters; DELETE FROM ids; DELETE FROM fresh_ids;
DELETE FROM merged; DELETE FROM unsettled; DELETE FROM holds; DELETE FROM unread
"""

# A damaged file can make even the message of an error unreadable.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)


class Damaged(Exception):
    """The index is unusable and has to be rebuilt."""


def open_index(path: Path, *, timeout_s: float) -> sqlite3.Connection:
    """Open an index file for writing; sqlite3.Error or OSError when that fails, Damaged when it is not an index."""
    _make_private(path)
    connection = _connect(str(path), timeout_s=timeout_s)
    try:
        # WAL: readers never wait for a writer. NORMAL: after a power cut the index may be older than the
        # ledger, never wrong; what it lacks it reads again.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def open_in_memory() -> sqlite3.Connection:
    """Open an index that is forgotten when it is closed, with its tables."""
    connection = _connect(":memory:", timeout_s=0)
    make_tables(connection)
    return connection


def open_read_only(path: Path, *, untouched: bool = False) -> sqlite3.Connection:
    """Open an index that may be on a read-only disk; sqlite3.Error when that fails.

    With `untouched`, SQLite leaves no empty file beside the index.
    """
    uri = path.absolute().as_uri()
    # A pipe would keep SQLite waiting for somebody to write into it.
    why = distrust(os.stat(path))
    if why:
        raise sqlite3.OperationalError(why)
    modes = ("mode=ro", "mode=ro&immutable=1")
    failed: Exception = sqlite3.OperationalError("unable to open database file")
    for mode in reversed(modes) if untouched and not os.path.exists(f"{path}-wal") else modes:
        # It is treated as immutable only when no other program has left changes beside it.
        if "immutable" in mode and _size(f"{path}-wal"):
            break
        connection = _connect(f"{uri}?{mode}", timeout_s=0, uri=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
            return connection
        except SQLITE_ERRORS as error:
            failed = error
        connection.close()
    raise failed


def _connect(name: str, *, timeout_s: float, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name, timeout=timeout_s, isolation_level=None, check_same_thread=False, uri=uri, cached_statements=64
    )
    # The ids of a million calls fit in it, so that rebuilding the index of a large ledger does not wait for the disk.
    connection.execute("PRAGMA cache_size = -32000")
    # Without it SQLite trusts the sizes on a damaged page.
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _make_private(path: Path) -> None:
    # Those of an index that was deleted without them. What comes afterwards belongs to a program that has opened the
    # new index at once, and would read half a file if they were taken from it.
    left_behind = [side for side in _side_files(path) if os.path.lexists(side)]
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _delete(left_behind)
        return
    # SQLite would follow a link and write into its target; and sums that somebody else may have
    # written bound nothing, where the ledger has the true ones.
    why = distrust(os.lstat(path))
    if why:
        raise Damaged(why)


def has_tables(connection: sqlite3.Connection) -> bool:
    """Check whether the tables are there; Damaged when something else is."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if (version, owner) == (VERSION, _OURS):
        return True
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise Damaged("it is of another version" if owner == _OURS else "it is another database")
    return False


def make_tables(connection: sqlite3.Connection) -> None:
    """Create the tables, within the running transaction if there is one."""
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_OURS}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def clear_tables(connection: sqlite3.Connection) -> None:
    """Empty the tables, within the running transaction, so that the ledger is read from its beginning."""
    for statement in _CLEAR.split(";"):
        connection.execute(statement)


def delete_index(path: Path) -> None:
    """Delete a damaged index; OSError when that is not allowed."""
    # The side files first, so that the next index does not use them.
    _delete([*_side_files(path), str(path)])


def _side_files(path: Path) -> list[str]:
    return [str(path) + suffix for suffix in ("-shm", "-wal", "-journal")]


def _delete(names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
