"""The open index: its write transaction is the lock of the ledger, and it is followed when it is replaced."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from openrouter_usage.errors import LedgerError
from openrouter_usage.index.holder import locked
from openrouter_usage.index.schema import (
    SQLITE_ERRORS,
    Damaged,
    delete_index,
    has_tables,
    make_tables,
    open_index,
    open_read_only,
)
from openrouter_usage.text import safe

_HINT = "check the disk and the folder's owner and mode, or set OPENROUTER_USAGE_FILE"
# What SQLite says of a disk or a folder, as opposed to what is in the file.
_OF_THE_DISK = ("full", "readonly", "unable", "i/o", "locking protocol", "out of memory", "permission")
# A reader does without the lock rather than wait for long.
READ_TIMEOUT_S = 2.0
_PAUSE_S = 0.01
_LOG = "-wal"
_ABANDONED: list[sqlite3.Connection] = []


def close_abandoned() -> None:
    """Close, at the end of a forked process, what is the parent's, except what would undo its work under way."""
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
        """Name the ledger; nothing is opened yet."""
        self.path = ledger.with_name(ledger.name + ".index")
        self._name = str(self.path)
        self._ledger = ledger
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None
        self._has_tables = False
        self._waits_s = READ_TIMEOUT_S

    def __del__(self) -> None:
        """Leave no index open behind an object that nobody closed."""
        self.close()

    def _identity(self, suffix: str = "") -> tuple[int, int] | None:
        try:
            status = os.stat(self._name + suffix)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _is_current(self) -> bool:
        """Tell whether the open index is the one at the path, and its log the one that everybody else writes.

        Whoever closes an index that was deleted takes away the log of the one that was made since.
        """
        return self._opened is not None and (self._opened, self._log) == (self._identity(), self._identity(_LOG))

    def exists(self) -> bool:
        """Tell whether there is an index file."""
        return self._identity() is not None

    def connection(self, wait_s: float = READ_TIMEOUT_S) -> sqlite3.Connection:
        """Give the open index; LedgerError when there can be none, Damaged when it has to be made anew."""
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
                    # Many who open a new index at once: SQLite lets only one make it, and the others not wait.
                    time.sleep(_PAUSE_S)
                    continue
                self._opened = before
                raise self._unusable(error, wait_s) from error
            except OSError as error:
                raise LedgerError(f"the index {self._shown} cannot be made: {error.strerror}", hint=_HINT) from None
            # Were it replaced just now, this would be the name of another file than the one that is open.
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
        """Leave the connection to the process that this one was forked from, whose locks it carries."""
        if self._connection is not None:
            # Closing it, or having it collected, would end what the parent is in the middle of.
            _ABANDONED.append(self._connection)
        self._connection, self._opened, self._has_tables = None, None, False

    @contextmanager
    def locked(self, wait_s: float) -> Iterator[sqlite3.Connection]:
        """Hold the lock of the ledger; what is done to the index is kept when the block ends well."""
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
                self._roll_back(connection)  # what an interrupted block may have left open
                self._wait(connection, wait_s)
                connection.execute("BEGIN IMMEDIATE")
            except SQLITE_ERRORS as error:
                raise self._unusable(error, wait_s) from error
            # Whoever deleted the index meanwhile has another lock than the one just taken.
            if self._is_current():
                return connection
            self._roll_back(connection)
        raise LedgerError(f"the index {self._shown} keeps being replaced", hint="stop what deletes it")

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
        """Give one unchanging state of the index to read, None when there is none yet."""
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
        """Tell a lock that was not obtained, and a disk that is full, from an index that is damaged."""
        text = str(error).lower()
        if "locked" in text or "busy" in text:
            return locked(self._ledger, (f"{self.path}{end}" for end in ("", "-shm")), waited_s)
        if "i/o" in text and self._lacks_log():
            return Damaged("its log was deleted")
        if isinstance(error, sqlite3.OperationalError) and any(sign in text for sign in _OF_THE_DISK):
            return LedgerError(f"the index {self._shown} cannot be used: {safe(text)}", hint=_HINT)
        return Damaged(text)

    def _lacks_log(self) -> bool:
        """Tell whether the log is new and empty, beside what others remember of the one that was deleted."""
        log, memory = (Path(self._name + suffix) for suffix in (_LOG, "-shm"))
        with suppress(OSError):
            return memory.stat().st_size > 0 and not (log.exists() and log.stat().st_size)
        return False

    def discard(self) -> None:
        """Delete the index that was found damaged, unless another has taken its place; LedgerError if it stays."""
        found, now = self._opened, self._identity()
        self.close()
        try:
            if found is None or found == now:
                delete_index(self.path)
        except OSError as error:
            reason = f"is damaged and cannot be deleted: {error.strerror}"
            raise LedgerError(f"the index {self._shown} {reason}", hint=_HINT) from None

    def read_only(self, *, untouched: bool = False) -> sqlite3.Connection | None:
        """Give a connection of its own to the last state that was committed; None when it cannot be read."""
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
