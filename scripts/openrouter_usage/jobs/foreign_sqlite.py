"""Opens databases of other programs for reading, with what is not yet in the main file, and writes nothing there."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from openrouter_usage.figures.logs.logged import Skipped

BUSY = "a database that could not be read this time"


@contextlib.contextmanager
def opened(path: str) -> Iterator[sqlite3.Connection]:
    """Open a database that another program may be writing; Skipped when it cannot be read.

    The newest rows are in the `-wal` file. SQLite would make or change the `-shm` file beside it, so that one is
    opened for reading too, and where it is missing a copy is read, which is deleted at once.
    """
    with contextlib.ExitStack() as stack:
        try:
            yield _connection(path, stack)
        except (sqlite3.Error, OSError, UnicodeDecodeError):
            raise Skipped(BUSY) from None


def _connection(path: str, stack: contextlib.ExitStack) -> sqlite3.Connection:
    if _size(f"{path}-journal"):
        return _copied(path, ("", "-journal"), stack)
    if not _size(f"{path}-wal"):
        return _tried(Path(path), "mode=ro&immutable=1", stack)
    if os.path.exists(f"{path}-shm"):
        try:
            return _tried(Path(path), "mode=ro&readonly_shm=1", stack)
        except sqlite3.Error:
            pass
    return _copied(path, ("", "-wal"), stack)


def _tried(path: Path, mode: str, stack: contextlib.ExitStack) -> sqlite3.Connection:
    db = stack.enter_context(
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=5))
    )
    db.execute("PRAGMA query_only = ON")
    # Texts of others need not be valid UTF-8.
    db.text_factory = lambda data: data.decode("utf-8", "replace")
    db.execute("SELECT count(*) FROM sqlite_master")
    return db


def _copied(path: str, ends: tuple[str, ...], stack: contextlib.ExitStack) -> sqlite3.Connection:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="openrouter-usage-"))
    for end in ends:
        shutil.copyfile(path + end, os.path.join(folder, "copy" + end))
    return _tried(Path(folder) / "copy", "mode=rw", stack)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def columns(db: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of a table's columns, none when there is no such table."""
    return {str(name) for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def rows(db: sqlite3.Connection, query: str, values: tuple[object, ...] = ()) -> Iterator[dict[str, object]]:
    """Yield the rows of a query by the names of their columns, of which newer versions have more."""
    cursor = db.execute(query, values)
    names = [str(column[0]) for column in cursor.description]
    for row in cursor:
        yield dict(zip(names, row, strict=True))
