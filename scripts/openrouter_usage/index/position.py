"""How far the index has read, and how it notices that the ledger is no longer the file it read."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass

Read = Callable[[int, int], bytes]
_SAMPLE = 64


@dataclass(frozen=True, slots=True)
class Position:
    """The end of what was read, and marks of the file it was read from."""

    offset: int
    device: int
    inode: int
    mtime_ns: int
    head: int
    tail: int

    @classmethod
    def at(cls, offset: int, status: os.stat_result, read: Read) -> Position:
        """Take the marks of a file that has been read up to `offset`."""
        return cls(offset, status.st_dev, status.st_ino, status.st_mtime_ns, *_samples(offset, read))

    def is_current(self, status: os.stat_result) -> bool:
        """Tell whether nothing has happened to the file since."""
        return self._is_same(status) and status.st_size == self.offset and status.st_mtime_ns == self.mtime_ns

    def still_holds(self, status: os.stat_result, read: Read) -> bool:
        """Tell whether the file has only grown since: not replaced, not cut, not rewritten in place."""
        if not self._is_same(status) or status.st_size < self.offset:
            return False
        if status.st_size == self.offset and status.st_mtime_ns != self.mtime_ns:
            return False
        return (self.head, self.tail) == _samples(self.offset, read)

    def _is_same(self, status: os.stat_result) -> bool:
        return (self.device, self.inode) == (status.st_dev, status.st_ino)


def _samples(offset: int, read: Read) -> tuple[int, int]:
    size = min(_SAMPLE, offset)
    return zlib.crc32(read(0, size)), zlib.crc32(read(offset - size, size))


def load_position(connection: sqlite3.Connection) -> Position | None:
    """Read the position from the index; None when nothing has been read yet."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'position'").fetchone()
    return Position(**json.loads(row[0])) if row else None


def save_position(connection: sqlite3.Connection, position: Position) -> None:
    """Write the position into the index, within the running transaction."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('position', ?)", (json.dumps(asdict(position)),))
