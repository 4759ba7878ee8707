"""Writes tracked calls to a ledger without ever failing: what cannot be written is kept, and said once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from openrouter_usage.entry import Entry
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.text import safe
from openrouter_usage.tracker.loading import load_books

if TYPE_CHECKING:
    from types import FrameType

    from openrouter_usage.ledger.books import Ledger

T = TypeVar("T")
LOGGER = "openrouter_usage"
# A call waits this long for its bookkeeping at most; what is not written then is kept for the next time.
LOCK_TIMEOUT_S = 5.0
_shared: dict[tuple[int, Path], Ledger] = {}
_said: set[str] = set()
_LOCKING = (
    "openrouter_usage.ledger",
    "openrouter_usage.index",
    "openrouter_usage.tracker.session",
    "openrouter_usage.settings",  # while they are imported, for the first call of all
)


def shared_ledger() -> Ledger:
    """Give this process's ledger as the settings name it now, opened at its first use; SettingsError without one."""
    load_books()
    from openrouter_usage.ledger.books import Ledger
    from openrouter_usage.settings import ledger_file

    path = ledger_file()
    # By process, because a lock of the parent may have been held when this process was forked off; without a
    # lock of its own for the same reason: of two ledgers made at once one is kept, and none was opened.
    owner = (os.getpid(), path)
    return _shared.get(owner) or _shared.setdefault(owner, Ledger(path, lock_timeout_s=LOCK_TIMEOUT_S))


def write(entry: Entry, ledger: Ledger | None) -> bool:
    """Write a call to a ledger, None for the shared one; False when it is known there already."""
    try:
        ledger = ledger or shared_ledger()
    except OpenRouterUsageError as error:
        complain("no ledger", f"{error.message}; calls are not recorded")
        return True
    place = safe(str(ledger.path), 300)
    try:
        is_new = ledger.append(entry)
    except Exception as error:
        _keep(entry, ledger.path, error)
        return True
    _said.discard(place)
    return is_new


def _keep(entry: Entry, path: Path, error: Exception) -> None:
    from openrouter_usage.ledger import spool
    from openrouter_usage.lines import write_line

    kept = spool.save(path, write_line(entry))
    where = f"calls are kept in {safe(str(kept), 300)} until it can" if kept else "calls are not recorded"
    why = error.message if isinstance(error, OpenRouterUsageError) else safe(f"{type(error).__name__}: {error}", 300)
    complain(safe(str(path), 300), f"the ledger cannot be written: {why}; {where}")


def guarded(work: Callable[[], T], otherwise: T) -> T:
    """Do work for the books, whose failure is said and goes no further: a strange answer must not break a call."""
    try:
        return work()
    except Exception as error:
        complain("an answer", f"an answer could not be read ({type(error).__name__}); its cost may not be recorded")
        return otherwise


def complain(about: str, text: str) -> None:
    """Tell the log of a problem, once as long as it lasts."""
    if about not in _said:
        _said.add(about)
        warn(text)


def warn(text: str) -> None:
    """Write a warning to the log."""
    load_books()
    import logging

    logging.getLogger(LOGGER).warning("%s", text)


def is_locking() -> bool:
    """Tell whether this code runs in the middle of a ledger's or a session's own, as a finalizer may."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not str(frame.f_globals.get("__name__")).startswith(_LOCKING):
        frame = frame.f_back
    return frame is not None
