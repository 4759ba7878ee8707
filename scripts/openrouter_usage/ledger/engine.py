"""Reads and writes the ledger and its index together, under one lock, for any number of processes and threads."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from openrouter_usage.entry import LONGEST_LINE, Entry, Unread, read_line
from openrouter_usage.errors import LedgerError
from openrouter_usage.ledger import spool
from openrouter_usage.ledger.file import LedgerFile, find_mount
from openrouter_usage.ledger.index import (
    NOWHERE,
    READ_TIMEOUT_S,
    Index,
    Position,
    close_abandoned,
    load_position,
    position_at,
    save_position,
)
from openrouter_usage.ledger.ingest import Ingest
from openrouter_usage.ledger.locks import Gate, at_work, guarded, watch
from openrouter_usage.ledger.scan import lines_of
from openrouter_usage.ledger.schema import SQLITE_ERRORS, Damaged, clear_tables, open_in_memory
from openrouter_usage.text import plural, safe

# -- Reading new lines of the ledger into the index, or all lines when the file was replaced.

Notice = Callable[[str], None]
Progress = Callable[[int, int], None]


class Tail:
    """The part of a ledger that an index does not have yet."""

    def __init__(self, file: LedgerFile, notice: Notice, progress: Progress) -> None:
        """Keep the ledger, and the callbacks for notices to the user and for progress."""
        self._file = file
        self._notice = notice
        self._progress = progress

    def catch_up(
        self,
        connection: sqlite3.Connection,
        position: Position | None,
        *,
        own: bool = False,
        is_rewritten: bool = False,
    ) -> Position | None:
        """Read what the ledger has gained, or all of it if it is not the file that was read.

        Lines that this process has just appended (`own`) need no check for a file that somebody else rewrote; after
        a rewrite by this process (`rewritten`) no notice is given.
        """
        status = self._file.status()
        if position is not None and status is not None and position.is_current(status):
            return position
        still_holds = (
            position is not None
            and status is not None
            and (position.has_grown(status) if own else position.still_holds(status, self._file.read))
        )
        if position is not None and not still_holds:
            # A ledger that is gone has no lines that could be missing in a sum.
            if not is_rewritten and status is not None:
                self._notice(f"{self._file.shown} was replaced or rewritten; its index is rebuilt")
            clear_tables(connection)
            position = None
        if status is None:
            return None
        before = position or NOWHERE
        offset = self._ingest(connection, before.offset, status.st_size)
        position = position_at(offset, status, self._file.read, before)
        save_position(connection, position)
        return position

    def _ingest(self, connection: sqlite3.Connection, offset: int, end: int) -> int:
        """Add the lines from an offset on and return the offset up to which they were whole."""
        ingest, begin = Ingest(connection), offset
        for start, text, stop in self._file.blocks(offset, end):
            ingest.add(text, start)
            offset = stop
            self._progress(stop - begin, end - begin)
        rest = self._file.read(offset, end - offset) if offset < end <= offset + LONGEST_LINE else b""
        # A last line without its end counts if it is whole: the beginning of a JSON object is never a JSON object.
        if rest.strip() and not isinstance(read_line(rest), Unread):
            ingest.add(rest, offset)
            offset = end
        if rest:
            self._progress(end - begin, end - begin)
        ingest.finish(self.entry_at)
        return offset

    def entry_at(self, start: int) -> Entry | None:
        """Read the call whose line begins at an offset."""
        record = read_line(self._file.line_at(start))
        return record if isinstance(record, Entry) else None


T = TypeVar("T")
_LAST_WAIT_S = 1.0
Work = Callable[[sqlite3.Connection], T]


class Engine:
    """One ledger file with its index; callers pass in the work as functions of the index."""

    def __init__(self, path: Path, *, lock_timeout_s: float, notice: Notice, progress: Progress) -> None:
        """Keep the path; nothing is opened before the first work."""
        # The current folder may have changed when the file is opened again.
        self.path = path.absolute()
        self.file = LedgerFile(self.path)
        self.notice = notice
        self._index = Index(self.path)
        self._mutex, self._gate = threading.RLock(), Gate()
        self._wait_s = lock_timeout_s
        self._tail = Tail(self.file, notice, progress)
        self._inside: sqlite3.Connection | None = None
        self._written = self._is_rewritten = self._has_given_up = False
        self._batch: list[bytes] | None = None
        # Up to where the index has read, after the last work: what was learned of it holds while this is the same.
        self.position: Position | None = None
        watch(self)
        # In a reference cycle the connection could be collected before the object that closes it.
        weakref.finalize(self, self._index.close).atexit = False

    def end(self) -> None:
        """Close the index at the end of the interpreter, unless a remaining thread is using it."""
        if self._mutex.acquire(timeout=_LAST_WAIT_S):
            self._index.close()
            self._mutex.release()
        close_abandoned()

    def close(self) -> None:
        """Close both files; the next work opens them again."""
        with self._mutex:
            self._index.close()
            self.file.close()

    def pause(self) -> None:
        """Wait until no thread uses the files, because the process is about to fork."""
        self._gate.shut()

    def resume(self) -> None:
        """Continue in the parent process after a fork."""
        self._gate.open()

    def abandon(self) -> None:
        """Start again in a forked process."""
        self._mutex, self._gate = threading.RLock(), Gate()
        self._index.abandon()
        self.file.close()
        self._inside = None

    def write(self, lines: bytes, *, durable: bool) -> None:
        """Append lines, from within work that holds the lock."""
        if self._batch is not None:
            self._batch.append(lines)
            return
        self.file.append(lines, durable=durable)
        self._written = True

    def together(self, work: Work[T]) -> T:
        """Do work of several verbs under one lock: all their lines are one append and one sync to the disk.

        LedgerError when they cannot be written: then none of them is in the file.
        """

        def run(index: sqlite3.Connection) -> T:
            batch: list[bytes] = []
            self._batch = batch  # anew each time: with a damaged index the work is done twice
            try:
                done = work(index)
            finally:
                self._batch = None
            if batch:
                self.write(b"".join(batch), durable=True)
            return done

        return self.locked(run)

    def rewritten(self) -> None:
        """Rebuild the index, from within work, because the file was replaced."""
        self._written = self._is_rewritten = True

    def locked(self, work: Work[T], *, wait_s: float | None = None) -> T:
        """Do work under the lock, with the index caught up; LedgerError when that cannot be had."""
        with at_work(), self._mutex:
            if self._inside is not None:
                return work(self._inside)
            wait_s = self._wait_s if wait_s is None else wait_s
            if not self._index.exists():
                self.file.make_folder()
                self.file.status()  # create no index beside a file that is not a ledger
                self._warn_of_network()
            with guarded(self.path, wait_s):
                try:
                    return self._attempt(work, wait_s)
                except Damaged as error:
                    self.notice(f"the index of {self.file.shown} was damaged ({error}) and is rebuilt from the ledger")
                    self._index.discard()
                try:
                    return self._attempt(work, wait_s)
                except Damaged as error:
                    hint = "delete the file; it is rebuilt from the ledger"
                    raise LedgerError(f"the index {self._index.path} cannot be used: {error}", hint=hint) from None

    def _warn_of_network(self) -> None:
        """Warn, once when the index is created, if other machines may not see a lock on the ledger."""
        mount = find_mount(self.path.parent)
        if mount and mount.is_shared:
            self.notice(
                f"{self.file.shown} is on a file system of the kind {safe(mount.kind, 40)}: let one machine at a time"
                " write it, or budgets may not hold; a local disk is better"
            )

    def _attempt(self, work: Work[T], wait_s: float) -> T:
        done: list[T] = []
        self._written = self._is_rewritten = False
        try:
            with self._gate, self._index.locked(wait_s) as connection:
                self._take_spool()
                position = self.position = self._tail.catch_up(connection, load_position(connection))
                self._inside = connection
                try:
                    done.append(work(connection))
                finally:
                    self._inside = None
                if self._written:
                    self.position = self._tail.catch_up(connection, position, own=True, is_rewritten=self._is_rewritten)
        except (Damaged, LedgerError) as error:
            if not self._written:
                raise
            if not done:
                # Repeating the work would write the lines twice.
                raise LedgerError(f"{self.file.shown} was written, but its index failed afterwards: {error}") from None
            # Once the line is in the ledger the work is done; the index reads it there the next time.
            self.notice(f"the index of {self.file.shown} could not be updated; the next run updates it")
        return done[0]

    def _take_spool(self) -> None:
        taken = spool.take(self.path, self.file)
        if taken:
            verb = "is" if taken == 1 else "are"
            self.notice(f"{plural(taken, 'line')} that could not be saved before {verb} in the ledger now")

    def reading(self, work: Work[T]) -> T:
        """Do work that only reads, on the newest available state, if need be without the lock."""
        with at_work(), self._mutex:
            if self._inside is not None:
                return work(self._inside)
            if not self._index.exists():
                if self.file.status() is None and not spool.waiting(self.path):
                    return self._in_memory(work)
            else:
                with contextlib.suppress(Damaged, LedgerError):
                    done = self._if_current(work)
                    if done:
                        return done[0]
            try:
                done_now = self.locked(work, wait_s=0 if self._has_given_up else min(self._wait_s, READ_TIMEOUT_S))
                self._has_given_up = False
                return done_now
            except LedgerError as error:
                self.file.status()  # a ledger that cannot be read is another matter
                if not self._has_given_up:
                    self.notice(f"{error.message}; read without the lock")
                self._has_given_up = True  # a report asks several times, but should wait and give the notice only once
                return self._in_memory(work)

    def _if_current(self, work: Work[T]) -> list[T]:
        """Do work at once if nothing has happened to the ledger since the index was written."""
        status = self.file.status()
        with self._gate, self._index.looked_at() as connection:
            position = load_position(connection) if connection else None
            if connection and status and position and position.is_current(status) and not spool.waiting(self.path):
                return [work(connection)]
        return []

    def looking(self, work: Work[T]) -> T:
        """Do work that only reads, without the lock, and leave all files as they are; for files that may be broken."""
        with at_work(), self._mutex:
            return self._in_memory(work, untouched=True)

    def _in_memory(self, work: Work[T], *, untouched: bool = False) -> T:
        """Do work on a private copy of the index on disk, caught up if need be."""
        with self._gate:
            kept = self._index.read_only(untouched=untouched) if self._index.exists() else None
            if kept is not None:
                with contextlib.closing(kept), contextlib.suppress(Damaged, *SQLITE_ERRORS):
                    return self._on_copy(kept, work)
            with contextlib.closing(open_in_memory()) as memory:
                self._tail.catch_up(memory, None)
                return work(memory)

    def _on_copy(self, kept: sqlite3.Connection, work: Work[T]) -> T:
        status, position = self.file.status(), load_position(kept)
        if status and position and position.is_current(status):
            return work(kept)
        with contextlib.closing(open_in_memory()) as memory:
            kept.backup(memory)
            self._tail.catch_up(memory, position)
            return work(memory)

    def entry_at(self, start: int) -> Entry | None:
        """Read the call whose line begins at an offset."""
        return self._tail.entry_at(start)

    def lines(self, start: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Return the lines that begin between two offsets, whatever happens to the ledger meanwhile."""
        blocks = self.blocks(start, last)
        return (line for at, text in blocks for line in lines_of(text, at))

    def blocks(self, start: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Return the lines that begin between two offsets in blocks; whatever happens to the ledger meanwhile."""
        blocks = self._blocks(start, last)
        next(blocks)  # opens the file before it can be replaced
        return blocks

    def _blocks(self, start: int, last: int) -> Iterator[tuple[int, bytes]]:
        with contextlib.closing(LedgerFile(self.path)) as file:
            status = file.status()
            end = min(status.st_size, last + len(file.line_at(last)) + 1) if status else 0
            yield 0, b""
            for at, text, stop in file.blocks(start, end):
                yield at, text
                start = stop
            # The last line may have no end.
            yield start, file.read(start, min(end - start, LONGEST_LINE)) if start < end else b""
