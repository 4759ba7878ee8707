"""How far the index has read, and how it notices that the ledger is no longer the file it read."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Callable
from typing import NamedTuple

from openrouter_usage.index.schema import Damaged

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
        """Tell whether nothing has happened to the file since."""
        return self[1:5] == (status.st_size, *_identity(status), status.st_mtime_ns)

    def has_grown(self, status: os.stat_result) -> bool:
        """Tell whether it is the same file, and not cut."""
        return self[2:4] == _identity(status) and status.st_size >= self.offset

    def still_holds(self, status: os.stat_result, read: Read) -> bool:
        """Tell whether the file has only grown since: not replaced, not cut, not rewritten in place.

        A small file is compared whole, and so is one that was touched without having grown. Of a large one
        that has grown only its beginning and the end of what was read are: a change in its middle that kept
        its length would be found by reading all of it each time, and so stays unnoticed.
        """
        if not self.has_grown(status) or not self._ends_line(status, read):
            return False
        if self.offset <= _SMALL or status.st_size <= self.size:
            return self.whole == _mark(0, self.offset, read, 0)
        return (self.head, self.tail) == _samples(self.offset, read)

    def _ends_line(self, status: os.stat_result, read: Read) -> bool:
        """Tell whether a last line that was counted without its end is still a line of its own."""
        if not self.offset or status.st_size == self.offset:
            return True
        end = read(self.offset - 1, 3)
        return end[:1] == b"\n" or end[1:].startswith((b"\n", b"\r\n"))


NOWHERE = Position(0, 0, 0, 0, 0, 0, 0, 0)


def position_at(offset: int, status: os.stat_result, read: Read, before: Position) -> Position:
    """Take the marks of a file that has been read up to an offset, and up to `before` earlier."""
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
    """Read the position from the index; None when nothing has been read yet, Damaged when it makes no sense."""
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
