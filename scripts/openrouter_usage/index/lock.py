"""The lock of the ledger: the index's write transaction, and who holds it when it cannot be had."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from openrouter_usage.errors import LedgerError
from openrouter_usage.index.schema import delete_index, open_index
from openrouter_usage.text import safe


class Damaged(Exception):
    """The index cannot be used any more and has to be made anew."""


class Index:
    """An open index file that notices when it was deleted, and follows a fork into the child."""

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        """Name the file; nothing is opened yet. `timeout_s` is how long to wait for the lock, in seconds."""
        self.path = path
        self._timeout_s = timeout_s
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int, int] | None = None

    def connection(self) -> sqlite3.Connection:
        """Give the open index; LedgerError when there can be none, Damaged when it has to be made anew."""
        if self._connection is not None and self._opened != self._identity():
            self.close()
        if self._connection is None:
            try:
                self._connection = open_index(self.path, timeout_s=self._timeout_s)
            except sqlite3.Error as error:
                raise self._unusable(error) from error
            except OSError as error:
                raise LedgerError(f"the index {self._shown} cannot be made: {error.strerror}", hint=_HINT) from None
            self._opened = self._identity()
        return self._connection

    def close(self) -> None:
        """Close the index; a connection made before a fork is left to the parent, whose locks it carries."""
        connection, opened = self._connection, self._opened
        self._connection = self._opened = None
        if connection is not None and opened is not None and opened[0] == os.getpid():
            with suppress(sqlite3.Error):
                connection.close()

    def _identity(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return os.getpid(), status.st_dev, status.st_ino

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock of the ledger; what is done to the index is kept when the block ends well."""
        connection = self._begin()
        try:
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(connection)
            raise self._unusable(error) from error
        except BaseException:
            self._roll_back(connection)
            raise

    def _begin(self) -> sqlite3.Connection:
        for _ in range(100):
            connection = self.connection()
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise self._unusable(error) from error
            # Whoever deleted the index meanwhile has another lock than the one just taken.
            if self._opened == self._identity():
                return connection
            self._roll_back(connection)
            self.close()
        raise LedgerError(f"the index {self._shown} keeps being replaced", hint="stop what deletes it")

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")

    def _unusable(self, error: sqlite3.Error) -> Exception:
        """Tell a lock that was not obtained, and a disk that is full, from an index that is damaged."""
        text = str(error).lower()
        if "locked" in text or "busy" in text:
            return LedgerError(
                f"the ledger is locked{self._holder()} and was not released within {self._timeout_s:.0f} s",
                hint="wait for that program or end it, then try again",
                code="locked",
            )
        if isinstance(error, sqlite3.OperationalError) and any(
            sign in text for sign in ("full", "readonly", "unable", "i/o")
        ):
            return LedgerError(f"the index {self._shown} cannot be written: {safe(text)}", hint=_HINT)
        return Damaged(text)

    def _holder(self) -> str:
        """Name the process that holds the lock, where the system tells (Linux)."""
        with suppress(OSError, ValueError):
            inodes = {os.stat(str(self.path) + suffix).st_ino for suffix in ("", "-shm")}
            with open("/proc/locks", encoding="ascii") as locks:
                for fields in (line.split() for line in locks):
                    mode, pid, inode = fields[-5], int(fields[-4]), int(fields[-3].split(":")[2])
                    if mode == "WRITE" and inode in inodes and pid != os.getpid():
                        return f" by process {pid}"
        return ""

    def make_anew(self) -> None:
        """Delete a damaged index, holding its lock where it still has one; the next use makes another."""
        try:
            connection = self.connection()
            with suppress(sqlite3.Error):
                connection.execute("BEGIN IMMEDIATE")
            healthy = connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        except (Damaged, sqlite3.Error):
            healthy = False
        # Somebody else may have made it anew since this process saw the damage.
        if not healthy:
            delete_index(self.path)
        self.close()

    def restore_timeout(self) -> None:
        """Wait for the lock as long as was asked for, after a reader has waited less."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute(f"PRAGMA busy_timeout = {self._timeout_s * 1000:.0f}")

    def copy_into(self, memory: sqlite3.Connection) -> None:
        """Copy the last state that was committed, as far as it can be read; nothing needs the lock for that."""
        with suppress(Damaged, LedgerError, sqlite3.Error):
            self.connection().backup(memory)
            return
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as source:
            source.backup(memory)

    @property
    def _shown(self) -> str:
        return safe(str(self.path), 300)


_HINT = "check the disk and the folder's owner and mode, or set OPENROUTER_USAGE_FILE"
