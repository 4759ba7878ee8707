"""Reads into an index what the ledger has gained since, or all of it when it is another file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from openrouter_usage.entry import Entry, Unread
from openrouter_usage.index.ingest import Ingest
from openrouter_usage.index.position import NOWHERE, Position, position_at, save_position
from openrouter_usage.index.schema import clear_tables
from openrouter_usage.ledger.file import LedgerFile
from openrouter_usage.lines import LONGEST_LINE, read_line

Notice = Callable[[str], None]
Progress = Callable[[int, int], None]


class Tail:
    """The part of a ledger that an index does not have yet."""

    def __init__(self, file: LedgerFile, notice: Notice, progress: Progress) -> None:
        """Name the ledger, and who is told what the user should know and how much was read."""
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
        """Read what the ledger has gained since, all of it if it is not the file that was read.

        What this process has just appended on its `own` need not be told from a file that somebody else
        rewrote; and when it was this process that has `rewritten` it, nobody need be told.
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
            # A ledger that is gone has nothing that could be missed in a sum.
            if not is_rewritten and status is not None:
                self._notice(f"{self._file.shown} was replaced or rewritten; its index is made anew")
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
        """Add the lines from an offset on, and give the offset up to which they were whole."""
        ingest, begin = Ingest(connection), offset
        for start, text, stop in self._file.blocks(offset, end):
            ingest.add(text, start)
            offset = stop
            self._progress(stop - begin, end - begin)
        rest = self._file.read(offset, end - offset) if offset < end <= offset + LONGEST_LINE else b""
        # A last line without its end counts if it is whole: no beginning of a JSON object is one.
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
