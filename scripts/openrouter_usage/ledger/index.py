"""The index beside the ledger: its lock, which is the ledger's, how far it has read, and why it is unusable."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.errors import LedgerError
from openrouter_usage.ledger.locks import locked
from openrouter_usage.ledger.schema import (
    SQLITE_ERRORS,
    Damaged,
    delete_index,
    has_tables,
    make_tables,
    open_index,
    open_read_only,
)
from openrouter_usage.text import safe

# -- Position: how far the index has read, and whether the ledger is still the file it read.

Read = Callable[[int, int], bytes]
_SAMPLE = 4096
_SMALL = 1024 * 1024
_CHUNK = 4 * 1024 * 1024
_INTEGER = 2**63 - 1


class Position(NamedTuple):
    """The end of what was read, the size and time of the file then, and marks of what was read."""

    offset: int
    size: int
    device: int
    inode: int
    mtime_ns: int
    head: int
    tail: int
    whole: int

    def is_current(self, status: os.stat_result) -> bool:
        """Check whether the file is unchanged."""
        return self[1:5] == (status.st_size, *_identity(status), status.st_mtime_ns)

    def has_grown(self, status: os.stat_result) -> bool:
        """Check whether it is the same file, and not shorter."""
        return self[2:4] == _identity(status) and status.st_size >= self.offset

    def still_holds(self, status: os.stat_result, read: Read) -> bool:
        """Check whether the file has only grown: not replaced, not cut, not rewritten in place.

        A small file is compared whole, and so is one that was touched without having grown. Of a large file
        that has grown only its beginning and the end of what was read are: a change in its middle that kept
        its length would be found by reading all of it each time, and so stays unnoticed.
        """
        if not self.has_grown(status) or not self._ends_line(status, read):
            return False
        if self.offset <= _SMALL or status.st_size <= self.size:
            return self.whole == _mark(0, self.offset, read, 0)
        return (self.head, self.tail) == _samples(self.offset, read)

    def _ends_line(self, status: os.stat_result, read: Read) -> bool:
        """Check whether a last line that was counted without its end is still a line of its own."""
        if not self.offset or status.st_size == self.offset:
            return True
        end = read(self.offset - 1, 3)
        return end[:1] == b"\n" or end[1:].startswith((b"\n", b"\r\n"))


NOWHERE = Position(0, 0, 0, 0, 0, 0, 0, 0)


def position_at(offset: int, status: os.stat_result, read: Read, before: Position) -> Position:
    """Return the position of a file that has been read up to an offset, and up to `before` earlier."""
    head, tail = _samples(offset, read) if before.offset < _SAMPLE else (before.head, _tail(offset, read))
    whole = _mark(before.offset, offset, read, before.whole)
    return Position(offset, status.st_size, *_identity(status), status.st_mtime_ns, head, tail, whole)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev & _INTEGER, status.st_ino & _INTEGER


def _samples(offset: int, read: Read) -> tuple[int, int]:
    return zlib.crc32(read(0, min(_SAMPLE, offset))), _tail(offset, read)


def _tail(offset: int, read: Read) -> int:
    size = min(_SAMPLE, offset)
    return zlib.crc32(read(offset - size, size))


def _mark(start: int, end: int, read: Read, mark: int) -> int:
    while start < end:
        size = min(_CHUNK, end - start)
        mark = zlib.crc32(read(start, size), mark)
        start += size
    return mark


def load_position(connection: sqlite3.Connection) -> Position | None:
    """Return the position in the index; None when nothing has been read yet, Damaged when it is implausible."""
    row = connection.execute("SELECT * FROM position").fetchone()
    if row is None:
        return None
    position = Position(*row[2:])
    if row[1] != _seal(position):
        raise Damaged("its position is damaged")
    return position


def save_position(connection: sqlite3.Connection, position: Position) -> None:
    """Write the position into the index, within the running transaction."""
    values = (1, _seal(position), *position)
    connection.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def _seal(position: Position) -> int:
    return zlib.crc32(repr(tuple(position)).encode())


# -- The open index, whose write transaction is the lock of the ledger.

_HINT = "check the disk and the folder's owner and mode, or set OPENROUTER_USAGE_FILE"
# Words in SQLite's messages about a disk or a folder, not about the content of the file.
_OF_THE_DISK = ("full", "readonly", "unable", "i/o", "locking protocol", "out of memory", "permission")
# A reader goes on without the lock rather than wait long.
READ_TIMEOUT_S = 2.0
_PAUSE_S = 0.01
_LOG = "-wal"
_ABANDONED: list[sqlite3.Connection] = []


def close_abandoned() -> None:
    """Close the parent's files at the end of a forked process, except where that would undo the parent's work."""
    kept = [connection for connection in _ABANDONED if connection.in_transaction]
    for connection in _ABANDONED:
        if connection not in kept:
            connection.close()
    _ABANDONED[:] = kept


def _is_locked(error: Exception) -> bool:
    text = str(error).lower()
    return "locked" in text or "busy" in text


class Index:
    """The index beside a ledger."""

    def __init__(self, ledger: Path) -> None:
        """Keep the ledger's path; nothing is opened yet."""
        self.path = ledger.with_name(ledger.name + ".index")
        self._name = str(self.path)
        self._ledger = ledger
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None
        self._has_tables = False
        self._waits_s = READ_TIMEOUT_S

    def __del__(self) -> None:
        """Close the index of an object that nobody closed."""
        self.close()

    def _identity(self, suffix: str = "") -> tuple[int, int] | None:
        try:
            status = os.stat(self._name + suffix)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _is_current(self) -> bool:
        """Check whether the open index is the one at the path, with the log that all others write.

        Closing a deleted index also deletes the log of the index that replaced it.
        """
        return self._opened is not None and (self._opened, self._log) == (self._identity(), self._identity(_LOG))

    def exists(self) -> bool:
        """Check whether the index file exists."""
        return self._identity() is not None

    def connection(self, wait_s: float = READ_TIMEOUT_S) -> sqlite3.Connection:
        """Return the open index; LedgerError when it cannot be opened, Damaged when it has to be rebuilt."""
        deadline = time.monotonic() + wait_s
        while self._connection is None or not self._is_current():
            self.close()
            before = self._identity()
            try:
                self._connection = open_index(self.path, timeout_s=READ_TIMEOUT_S)
            except Damaged:
                self._opened = before
                raise
            except SQLITE_ERRORS as error:
                if _is_locked(error) and time.monotonic() < deadline:
                    # When many programs open a new index at once, SQLite lets only one create it and fails the others.
                    time.sleep(_PAUSE_S)
                    continue
                self._opened = before
                raise self._unusable(error, wait_s) from error
            except OSError as error:
                raise LedgerError(f"the index {self._shown} cannot be created: {error.strerror}", hint=_HINT) from None
            # If the index was replaced just now, this would be the name of another file than the open one.
            self._opened, self._waits_s = self._identity() if before is None else before, READ_TIMEOUT_S
            self._log = self._identity(_LOG)
        return self._connection

    def close(self) -> None:
        """Close the index; the next use opens it again."""
        connection, self._connection, self._opened, self._has_tables = self._connection, None, None, False
        if connection is not None:
            with suppress(*SQLITE_ERRORS):
                connection.close()

    def abandon(self) -> None:
        """Leave the connection to the parent process, whose locks it carries."""
        if self._connection is not None:
            # Closing or collecting it would break off the parent's work.
            _ABANDONED.append(self._connection)
        self._connection, self._opened, self._has_tables = None, None, False

    @contextmanager
    def locked(self, wait_s: float) -> Iterator[sqlite3.Connection]:
        """Hold the lock of the ledger; changes to the index are committed when the block succeeds."""
        connection = self._begin(wait_s)
        try:
            if not self._has_tables and not has_tables(connection):
                make_tables(connection)
            yield connection
            connection.execute("COMMIT")
            self._has_tables = True
        except SQLITE_ERRORS as error:
            self._roll_back(connection)
            raise self._unusable(error) from error
        except BaseException:
            self._roll_back(connection)
            raise

    def _begin(self, wait_s: float) -> sqlite3.Connection:
        for _ in range(100):
            connection = self.connection(wait_s)
            try:
                self._roll_back(connection)  # an interrupted block may have left it open
                self._wait(connection, wait_s)
                connection.execute("BEGIN IMMEDIATE")
            except SQLITE_ERRORS as error:
                raise self._unusable(error, wait_s) from error
            # A program that deleted the index meanwhile uses another lock than the one just taken.
            if self._is_current():
                return connection
            self._roll_back(connection)
        raise LedgerError(f"the index {self._shown} keeps being replaced", hint="stop the program that deletes it")

    def _wait(self, connection: sqlite3.Connection, wait_s: float) -> None:
        if wait_s != self._waits_s:
            connection.execute(f"PRAGMA busy_timeout = {wait_s * 1000:.0f}")
            self._waits_s = wait_s

    @staticmethod
    def _roll_back(connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            with suppress(*SQLITE_ERRORS):
                connection.execute("ROLLBACK")

    @contextmanager
    def looked_at(self) -> Iterator[sqlite3.Connection | None]:
        """Yield one unchanging state of the index to read, None without an index."""
        connection = self.connection()
        try:
            self._roll_back(connection)
            self._wait(connection, READ_TIMEOUT_S)
            connection.execute("BEGIN")
            self._has_tables = self._has_tables or has_tables(connection)
            yield connection if self._has_tables else None
        except SQLITE_ERRORS as error:
            raise self._unusable(error, READ_TIMEOUT_S) from error
        finally:
            self._roll_back(connection)

    def _unusable(self, error: Exception, waited_s: float = 0) -> Exception:
        """Return the error for a lock that was not obtained, a full disk, or a damaged index."""
        text = str(error).lower()
        if "locked" in text or "busy" in text:
            return locked(self._ledger, (f"{self.path}{end}" for end in ("", "-shm")), waited_s)
        if "i/o" in text and self._lacks_log():
            return Damaged("its log was deleted")
        if isinstance(error, sqlite3.OperationalError) and any(sign in text for sign in _OF_THE_DISK):
            return LedgerError(f"the index {self._shown} cannot be used: {safe(text)}", hint=_HINT)
        return Damaged(text)

    def _lacks_log(self) -> bool:
        """Check whether the log is new and empty although others remember one that was deleted."""
        log, memory = (Path(self._name + suffix) for suffix in (_LOG, "-shm"))
        with suppress(OSError):
            return memory.stat().st_size > 0 and not (log.exists() and log.stat().st_size)
        return False

    def discard(self) -> None:
        """Delete a damaged index, unless another has replaced it; LedgerError if it stays."""
        found, now = self._opened, self._identity()
        self.close()
        try:
            if found is None or found == now:
                delete_index(self.path)
        except OSError as error:
            reason = f"is damaged and cannot be deleted: {error.strerror}"
            raise LedgerError(f"the index {self._shown} {reason}", hint=_HINT) from None

    def read_only(self, *, untouched: bool = False) -> sqlite3.Connection | None:
        """Return a separate connection to the last committed state; None when it cannot be read."""
        try:
            connection = open_read_only(self.path, untouched=untouched)
        except (*SQLITE_ERRORS, OSError):
            return None
        with suppress(*SQLITE_ERRORS, Damaged):
            if has_tables(connection):
                return connection
        connection.close()
        return None

    @property
    def _shown(self) -> str:
        return safe(str(self.path), 300)


# -- Examining an index without changing it.


class Examined(NamedTuple):
    """The size of an index, None without one, and why it is unusable; `is_blocked` when no run can repair it."""

    size: int | None = None
    why: str = ""
    is_blocked: bool = False


def examine(path: Path) -> Examined:
    """Examine an index file; the next writer rebuilds a damaged one, but not a blocked one."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return Examined()
    except OSError as error:
        return Examined(0, error.strerror or "it cannot be read", True)
    if not stat.S_ISREG(status.st_mode):
        return Examined(status.st_size, "it is not a regular file", stat.S_ISDIR(status.st_mode))
    if not os.access(path, os.R_OK | os.W_OK):
        return Examined(status.st_size, "it may not be read and written", True)
    try:
        with contextlib.closing(open_read_only(path, untouched=True)) as connection:
            return Examined(status.st_size, _flaw(connection))
    except Damaged as error:
        return Examined(status.st_size, safe(str(error)))
    except (*SQLITE_ERRORS, OSError) as error:
        return Examined(status.st_size, safe(str(error)))


def _flaw(connection: sqlite3.Connection) -> str:
    """Return what is wrong with the pages of an open index, "" for nothing; may raise Damaged or sqlite3.Error."""
    if not has_tables(connection):
        return ""
    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    load_position(connection)
    return "" if said == "ok" else safe(str(said), 200)
