"""Removes old calls by replacing the ledger with a new file; lines appended meanwhile are not lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from openrouter_usage.entry import NOTHING, Entry, Hold, Release, Usage, read_line
from openrouter_usage.errors import LedgerError
from openrouter_usage.files import sync_folder
from openrouter_usage.ledger import sums
from openrouter_usage.ledger.engine import Engine
from openrouter_usage.ledger.file import BLOCK
from openrouter_usage.ledger.index import load_position
from openrouter_usage.ledger.ingest import whole_entry
from openrouter_usage.ledger.scan import lines_of
from openrouter_usage.text import plural, safe

# A shell's `>>` may have opened the file before it was replaced, and write a moment later.
_GRACE_S = (0.0, 0.05, 0.15)
_NEW_NAME, _OWN_NAMES = ".new", (".1.new", ".1")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed: calls and their cost; the number of lines left, and the old file (None: nothing changed)."""

    removed: int
    usage: Usage
    kept: int
    kept_as: Path | None


class _Sieve:
    """Decides line by line; open holds and lines that are not understood always stay."""

    def __init__(self, engine: Engine, index: sqlite3.Connection, takes_out: Callable[[Entry], bool]) -> None:
        self._engine = engine
        self._index = index
        self._takes_out = takes_out
        self._open = {hold.id for hold in sums.open_holds(index)}
        self._completed, self._first_of = sums.lines_of_calls(index)
        self._gone: set[int] = set()
        self.removed = self.kept = 0
        self.usage = NOTHING

    def keeps(self, at: int, line: bytes) -> bool:
        """Check whether a line stays, and count it."""
        record = read_line(line)
        if isinstance(record, Entry):
            stays = self._keeps_call(at, record)
        elif isinstance(record, Hold):
            # An ended hold goes whatever its age: without its end it would be open again.
            stays = record.id in self._open
        else:
            stays = not isinstance(record, Release) and record is not None
        self.kept += stays
        return stays

    def _keeps_call(self, at: int, entry: Entry) -> bool:
        """Keep or drop all lines of a call together: a line left alone would count as a call, or know less."""
        if at in self._first_of:
            return self._first_of[at] not in self._gone
        if at in self._completed:
            entry = whole_entry(self._index, at, entry, self._engine.entry_at)
        if not self._takes_out(entry):
            return True
        self._gone.add(at)
        self.removed += 1
        self.usage += entry.usage
        return False


def clean(engine: Engine, before: datetime, *, dry_run: bool) -> Cleaned:
    """Remove the calls before a moment; LedgerError leaves the ledger as it was."""
    return take_out(engine, lambda entry: entry.ts < before, dry_run=dry_run)


def take_out(engine: Engine, takes_out: Callable[[Entry], bool], *, dry_run: bool) -> Cleaned:
    """Remove the calls that a rule names; LedgerError leaves the ledger as it was."""

    def work(index: sqlite3.Connection) -> Cleaned:
        sieve, position = _Sieve(engine, index, takes_out), load_position(index)
        # Lines that came after the index was read have not been judged: they all stay.
        end = position.offset if position else 0
        if not dry_run and end:
            return _rewrite(engine, sieve, end)
        for _ in _kept(engine, sieve, end):
            pass
        return Cleaned(sieve.removed, sieve.usage, sieve.kept, None)

    return engine.reading(work) if dry_run else engine.locked(work)


def other_names(path: Path) -> int:
    """Return how many other names (hard links) a ledger has, without those that a killed `clean` left."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    names = 1
    for suffix in _OWN_NAMES:
        with contextlib.suppress(OSError):
            names += os.path.samestat(status, os.lstat(f"{path}{suffix}"))
    return max(0, status.st_nlink - names)


def _refuse_linked(engine: Engine) -> None:
    if other_names(engine.path):
        raise LedgerError(
            f"nothing was changed: the ledger {safe(str(engine.path), 300)} has "
            f"{plural(other_names(engine.path), 'other name')} (hard links), and cleaning would make two ledgers",
            hint=f"find and delete the others: find / -xdev -samefile '{safe(str(engine.path), 300)}'",
        )


def _kept(engine: Engine, sieve: _Sieve, end: int) -> Iterator[bytes]:
    """Return what stays of the ledger up to an offset, to the byte; a last line without its end gets one."""
    stop = 0
    for start, text, stop in engine.file.blocks(0, end):
        if len(text) == stop - start:
            yield b"".join(line + b"\n" for at, line in lines_of(text, start) if sieve.keeps(at, line))
        elif sieve.keeps(start, text):
            # A line of megabytes, of which the block has only the beginning.
            yield from _pieces(engine, start, stop)
    rest = engine.file.read(stop, end - stop)
    if rest and sieve.keeps(stop, rest):
        yield rest + b"\n"


def _pieces(engine: Engine, start: int, stop: int) -> Iterator[bytes]:
    for at in range(start, stop, BLOCK):
        yield engine.file.read(at, min(BLOCK, stop - at))


def _rewrite(engine: Engine, sieve: _Sieve, end: int) -> Cleaned:
    path = engine.path
    _refuse_linked(engine)
    # The lock is held, so an existing file of this name was left by a killed program.
    new, spare, old = (path.with_name(path.name + suffix) for suffix in (_NEW_NAME, *_OWN_NAMES))
    try:
        copied = _write_new(engine, sieve, new, end)
        if sieve.removed:
            engine.file.close()  # Windows cannot replace an open file
            _keep(path, spare, old)
            os.replace(new, path)
    except BaseException as error:
        _forget(new, spare)
        if isinstance(error, OSError):
            raise _unclean(engine, error) from None
        raise
    if not sieve.removed:
        _forget(new)
        return Cleaned(0, NOTHING, sieve.kept, None)
    engine.rewritten()
    _take_late(engine, old, copied)
    return Cleaned(sieve.removed, sieve.usage, sieve.kept, old)


def _write_new(engine: Engine, sieve: _Sieve, new: Path, end: int) -> int:
    """Write what stays, and what was appended since without the lock; return the offset up to which that goes."""
    _forget(new)
    with open(os.open(new, _NEW, 0o600), "wb") as file:
        for piece in _kept(engine, sieve, end):
            file.write(piece)
        late = engine.file.read(end, _size(engine) - end)
        file.write(late)
        file.flush()
        os.fsync(file.fileno())
    return end + len(late)


def _size(engine: Engine) -> int:
    status = engine.file.status()
    return status.st_size if status else 0


def _keep(path: Path, spare: Path, old: Path) -> None:
    """Keep the ledger as `.1` too; the ledger exists at every moment."""
    _forget(spare)
    try:
        os.link(path, spare)
    except OSError:  # a file system without links
        with path.open("rb") as source, open(os.open(spare, _NEW, 0o600), "wb") as copy:
            shutil.copyfileobj(source, copy)
    os.replace(spare, old)
    # Where both names are one file already, as a killed program leaves them, replacing does nothing.
    _forget(spare)


def _take_late(engine: Engine, old: Path, copied: int) -> None:
    """Move what a program without the lock appended to the file that just became `.1`."""
    try:
        for wait_s in _GRACE_S:
            time.sleep(wait_s)
            with old.open("rb") as before:
                before.seek(copied)
                late = before.read()
            if late:
                with engine.path.open("ab") as file:
                    file.write(late)
                    file.flush()
                    os.fsync(file.fileno())
                copied += len(late)
        sync_folder(engine.path.parent)
    except OSError as error:
        raise LedgerError(
            f"the ledger was cleaned, but lines that were just appended may only be in {safe(str(old), 300)}: "
            f"{error.strerror or error}",
            hint="import that file: calls that are known already are skipped",
        ) from None


def _forget(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _unclean(engine: Engine, error: OSError) -> LedgerError:
    return LedgerError(
        f"the ledger {safe(str(engine.path), 300)} could not be cleaned and is unchanged: {error.strerror or error}",
        hint="check the disk and the folder's owner and mode",
    )
