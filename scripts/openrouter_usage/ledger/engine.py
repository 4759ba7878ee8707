"""Reads and writes the ledger and its index together, under one lock, for any number of processes and threads."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from openrouter_usage.entry import Entry, Unread
from openrouter_usage.errors import LedgerError
from openrouter_usage.index.blocks import lines_of
from openrouter_usage.index.ingest import Ingest
from openrouter_usage.index.lock import Damaged, Index
from openrouter_usage.index.position import Position, load_position, save_position
from openrouter_usage.index.schema import clear_tables, open_index
from openrouter_usage.ledger import spool
from openrouter_usage.ledger.file import LedgerFile
from openrouter_usage.lines import read_line

Notice = Callable[[str], None]
Progress = Callable[[int, int], None]
T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
READ_TIMEOUT_S = 2.0


class Engine:
    """One ledger file with its index: work on it is done by functions that are handed the index."""

    def __init__(self, path: Path, *, lock_timeout_s: float, notice: Notice, progress: Progress) -> None:
        """Name the file; nothing is opened before the first work."""
        self.path = path
        self.file = LedgerFile(path)
        self.notice = notice
        self._index = Index(path.with_name(path.name + ".index"), timeout_s=lock_timeout_s)
        self._mutex = threading.RLock()
        self._progress = progress
        self._written = self._is_rewritten = False

    def close(self) -> None:
        """Close both files; the next work opens them again."""
        with self._mutex:
            self._index.close()
            self.file.close()

    def write(self, lines: bytes, *, durable: bool) -> None:
        """Append lines, from within work that holds the lock."""
        self.file.append(lines, durable=durable)
        self._written = True

    def rewritten(self) -> None:
        """Tell, from within work, that the file was replaced: the index is made anew from what is there now."""
        self._written = self._is_rewritten = True

    def locked(self, work: Work[T]) -> T:
        """Do work under the lock, with the index caught up; LedgerError when that cannot be had."""
        with self._mutex:
            try:
                return self._attempt(work)
            except Damaged:
                self._repair()
                return self._attempt(work)

    def _attempt(self, work: Work[T]) -> T:
        done: list[T] = []
        self._written = self._is_rewritten = False
        try:
            self.file.make_folder()
            with self._index.locked() as connection:
                self._take_spool()
                self._catch_up(connection)
                done.append(work(connection))
                if self._written:
                    self._catch_up(connection)
        except (Damaged, LedgerError):
            # Once the line is in the ledger the work is done; the index reads it there the next time.
            if not done or not self._written:
                raise
            self.notice(f"the index of {self.file.shown} could not be updated; it will be the next time")
        return done[0]

    def _repair(self) -> None:
        self.notice(f"the index of {self.file.shown} was damaged and is made anew from the ledger")
        self.file.status()
        with self.file.exclusive():
            self._index.make_anew()

    def _take_spool(self) -> None:
        lines = spool.waiting(self.path)
        if lines:
            self.file.append(lines, durable=True)
            spool.clear(self.path)
            self.notice(f"{lines.count(b'{')} lines that could not be saved before are in the ledger now")

    def reading(self, work: Work[T]) -> T:
        """Do work that only reads, on the newest state that can be had, if need be without the lock."""
        with self._mutex:
            status = self.file.status()
            if status is None and not self._index.path.exists():
                return self._in_memory(work)
            try:
                connection = self._index.connection()
                position = load_position(connection)
                if status is not None and position is not None and position.is_current(status):
                    return work(connection)
                connection.execute(f"PRAGMA busy_timeout = {READ_TIMEOUT_S * 1000:.0f}")
                return self.locked(work)
            except Damaged:
                self._repair()
                return self.locked(work)
            except sqlite3.DatabaseError:
                return self.locked(work)
            except LedgerError as error:
                if error.code != "locked" and self._index.path.exists() and not self._is_read_only():
                    raise
                self.notice(f"{error.message}; read without the lock")
                return self._in_memory(work)
            finally:
                self._index.restore_timeout()

    def _is_read_only(self) -> bool:
        import os

        return not os.access(self._index.path, os.W_OK) or not os.access(self.path.parent, os.W_OK)

    def _in_memory(self, work: Work[T]) -> T:
        """Do work on a copy of the index that is caught up for this one time."""
        with contextlib.closing(open_index(None, timeout_s=0)) as memory:
            self._index.copy_into(memory)
            self._catch_up(memory)
            return work(memory)

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Read what the ledger has gained since, all of it if it is not the file that was read."""
        status, position = self.file.status(), load_position(connection)
        if status is None:
            if position is not None:
                clear_tables(connection)
            return
        if position is not None and position.is_current(status):
            return
        if position is not None and not position.still_holds(status, self.file.read):
            if not self._is_rewritten:
                self.notice(f"{self.file.shown} was replaced or rewritten; its index is made anew")
            clear_tables(connection)
            position = None
        offset = self._ingest(connection, position.offset if position else 0, status.st_size)
        save_position(connection, Position.at(offset, status, self.file.read))

    def _ingest(self, connection: sqlite3.Connection, offset: int, end: int) -> int:
        """Add the lines from an offset on, and give the offset up to which they were whole."""
        ingest = Ingest(connection)
        for start, text, stop in self.file.blocks(offset, end):
            ingest.add(text, start)
            offset = stop
            self._progress(stop, end)
        rest = self.file.read(offset, end - offset) if offset < end else b""
        # A last line without its end counts if it is whole: no beginning of a JSON object is one.
        if rest.strip() and not isinstance(read_line(rest), Unread):
            ingest.add(rest, offset)
            offset = end
        ingest.finish(self.entry_at)
        return offset

    def entry_at(self, start: int) -> Entry | None:
        """Read the call whose line begins at an offset."""
        record = read_line(self.file.line_at(start))
        return record if isinstance(record, Entry) else None

    def lines(self, start: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Give the lines that begin between two offsets; what happens to the ledger meanwhile does not matter."""
        file = LedgerFile(self.path)
        with contextlib.closing(file):
            status = file.status()
            end = min(status.st_size, last + len(file.line_at(last)) + 1) if status else 0
            for at, text, _ in file.blocks(start, end):
                yield from lines_of(text, at)
