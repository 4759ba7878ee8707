"""Takes old calls out of the ledger by writing it anew; whoever appends meanwhile loses nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from openrouter_usage.entry import Entry, Hold, Release
from openrouter_usage.errors import LedgerError
from openrouter_usage.files import sync_folder
from openrouter_usage.index import query
from openrouter_usage.ledger.engine import Engine
from openrouter_usage.lines import read_line
from openrouter_usage.text import safe
from openrouter_usage.usage import NOTHING, Usage


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What went: calls and their cost; how many lines stay, and where the old file is (None: nothing changed)."""

    removed: int
    usage: Usage
    kept: int
    kept_as: Path | None


class _Sieve:
    """Decides line by line; open holds and lines that are not understood always stay."""

    def __init__(self, index: sqlite3.Connection, before: datetime) -> None:
        self._before = before
        self._open = {hold.id for hold in query.open_holds(index)}
        self._superseded = query.superseded_in(index, 0, 2**62)
        self._ended_old: set[str] = set()
        self.removed = self.kept = 0
        self.usage = NOTHING

    def keeps(self, at: int, line: bytes) -> bool:
        """Tell whether a line stays, and count it."""
        record = read_line(line)
        if isinstance(record, Entry):
            # A second report of a call goes with the first, or it would begin to count.
            stays = record.ts >= self._before and at not in self._superseded
            if not stays and at not in self._superseded:
                self.removed += 1
                self.usage += record.usage
        elif isinstance(record, Hold):
            # An ended hold goes whatever its age: should its end go, it would be open again.
            stays = record.id in self._open
        else:
            stays = not isinstance(record, Release) and record is not None
        self.kept += stays
        return stays


def clean(engine: Engine, before: datetime, *, dry_run: bool) -> Cleaned:
    """Take out the calls before a moment; LedgerError leaves the ledger as it was."""

    def work(index: sqlite3.Connection) -> Cleaned:
        sieve = _Sieve(index, before)
        if dry_run or not _size(engine):
            for at, line in _lines(engine, _size(engine)):
                sieve.keeps(at, line)
            return Cleaned(sieve.removed, sieve.usage, sieve.kept, None)
        return _rewrite(engine, sieve)

    return engine.reading(work) if dry_run else engine.locked(work)


def _size(engine: Engine) -> int:
    status = engine.file.status()
    return status.st_size if status else 0


def _lines(engine: Engine, size: int) -> Iterator[tuple[int, bytes]]:
    return engine.lines(0, size - 1) if size else iter(())


def _rewrite(engine: Engine, sieve: _Sieve) -> Cleaned:
    old = engine.path.with_name(engine.path.name + ".1")
    engine.file.append(b"", durable=False)  # a torn last line becomes whole, and is kept
    size = _size(engine)
    try:
        handle, name = tempfile.mkstemp(dir=engine.path.parent, prefix=engine.path.name)
    except OSError as error:
        raise _unclean(engine, error) from None
    try:
        with os.fdopen(handle, "wb") as new:
            for at, line in _lines(engine, size):
                if sieve.keeps(at, line):
                    new.write(line + b"\n")
            if not sieve.removed:
                os.unlink(name)
                return Cleaned(0, NOTHING, sieve.kept, None)
            new.flush()
            os.fsync(new.fileno())
            _swap(engine.path, old, name, new, size)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise _unclean(engine, error) from None
    engine.rewritten()
    return Cleaned(sieve.removed, sieve.usage, sieve.kept, old)


def _unclean(engine: Engine, error: OSError) -> LedgerError:
    return LedgerError(
        f"the ledger {safe(str(engine.path), 300)} could not be cleaned and is as it was: {error.strerror or error}",
        hint="check the disk and the folder's owner and mode",
    )


def _swap(path: Path, old: Path, name: str, new: BinaryIO, size: int) -> None:
    """Keep the ledger as `.1` and put the new file in its place; there is a ledger at every moment."""
    with path.open("rb") as before:
        spare = old.with_name(old.name + ".new")
        with contextlib.suppress(FileNotFoundError):
            spare.unlink()
        try:
            os.link(path, spare)
        except OSError:
            shutil.copy2(path, spare)  # a file system without links
        os.replace(spare, old)
        os.replace(name, path)
        # A program without the lock may have appended to the file that just became `.1`.
        before.seek(size)
        late = before.read()
        if late:
            new.seek(0, os.SEEK_END)
            new.write(late)
            new.flush()
            os.fsync(new.fileno())
    sync_folder(path.parent)
