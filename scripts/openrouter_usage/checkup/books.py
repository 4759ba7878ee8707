"""Looks at the ledger and what belongs to it, and leaves every byte as it is."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from openrouter_usage.budget import dated_ahead_from
from openrouter_usage.diagnosis.books import Books, Index, Line, Spool, State
from openrouter_usage.errors import LedgerError, OpenRouterUsageError
from openrouter_usage.files import own_files
from openrouter_usage.index.examine import examine
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.ledger.clean import other_names
from openrouter_usage.ledger.guard import guarded
from openrouter_usage.ledger.spool import waiting
from openrouter_usage.period import UTC

# Longer than anybody holds the lock to write a call.
_LOCK_WAIT_S = 2.0


def look(path: Path, now: datetime) -> Books:
    """Look at a ledger by its path."""
    exists = os.path.lexists(path)
    state, error = _state(path, now)
    return Books(
        path=str(path),
        exists=exists,
        state=state,
        error=error,
        lock=_lock(path) if exists and not error else None,
        unwritable=_unwritable(path, exists=exists),
        index=Index(*examine(own_files(path)[1])),
        spool=_spool(path),
        other_names=other_names(path),
    )


def _state(path: Path, now: datetime) -> tuple[State | None, OpenRouterUsageError | None]:
    notices: list[str] = []
    ledger = Ledger(path, notice=notices.append)
    try:
        health = ledger.health(untouched=True)
        ahead = ledger.ahead(dated_ahead_from(now), untouched=True)
    except OpenRouterUsageError as error:
        return None, error
    finally:
        ledger.close()
    unread = tuple(Line(line.offset, line.why, line.is_damaged) for line in health.unread)
    late = (ahead.usage.requests, ahead.usage.cost, ahead.last) if ahead else None
    found = (health.size, unread, health.duplicates, health.holds, tuple(notices))
    return State(*found, health.unsettled, health.doubtful, late), None


def _lock(path: Path) -> LedgerError | None:
    """Take the lock for a moment; the error names who does not let go of it."""
    try:
        with guarded(path, _LOCK_WAIT_S):
            return None
    except LedgerError as error:
        return error


def _unwritable(path: Path, *, exists: bool) -> str:
    """Say why nothing can be written, "" when it can."""
    folder = nearest_folder(path)
    if exists and not os.access(path, os.R_OK | os.W_OK):
        return "it may not be read and written"
    # The index needs the folder as well, and its lock is the ledger's.
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"nothing may be written into {folder}"


def nearest_folder(path: Path) -> Path:
    """Give the folder of a file, or the nearest one above it that is there."""
    return next((folder for folder in path.parents if folder.is_dir()), path.parent)


def _spool(path: Path) -> Spool:
    lines = size = 0
    oldest: float | None = None
    files = waiting(path)
    for file in files:
        with suppress(OSError):  # somebody has just written it to the ledger
            status = file.lstat()
            content = file.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            lines, size = lines + content.count(b"\n"), size + len(content)
            oldest = min(oldest or status.st_mtime, status.st_mtime)
    return Spool(len(files), lines, size, datetime.fromtimestamp(oldest, UTC) if oldest else None)
