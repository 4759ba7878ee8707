"""Looks at an index without changing it: whether it is there, how large it is, and why it is of no use."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.index.position import load_position
from openrouter_usage.index.schema import SQLITE_ERRORS, Damaged, has_tables, open_read_only
from openrouter_usage.text import safe


class Examined(NamedTuple):
    """The size of an index, None when there is none, and why it is of no use; `is_blocked` when that stays so."""

    size: int | None = None
    why: str = ""
    is_blocked: bool = False


def examine(path: Path) -> Examined:
    """Examine an index file; a damaged one is made anew by whoever writes next, a blocked one is not."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return Examined()
    except OSError as error:
        return Examined(0, error.strerror or "it cannot be looked at", True)
    if not stat.S_ISREG(status.st_mode):
        return Examined(status.st_size, "it is not a regular file", stat.S_ISDIR(status.st_mode))
    if not os.access(path, os.R_OK | os.W_OK):
        return Examined(status.st_size, "it may not be read and written", True)
    try:
        with contextlib.closing(open_read_only(path, untouched=True)) as connection:
            return Examined(status.st_size, _flaw(connection))
    except Damaged as error:
        return Examined(status.st_size, safe(str(error)))
    except (*SQLITE_ERRORS, OSError) as error:
        return Examined(status.st_size, safe(str(error)))


def _flaw(connection: sqlite3.Connection) -> str:
    """Say what is wrong with the pages of an open index, "" when nothing is; Damaged or sqlite3.Error as well."""
    if not has_tables(connection):
        return ""
    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    load_position(connection)
    return "" if said == "ok" else safe(str(said), 200)
