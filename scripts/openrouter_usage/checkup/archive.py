"""Looks at the archive of OpenRouter's own figures, and leaves every byte as it is."""

from __future__ import annotations

import os
from pathlib import Path

from openrouter_usage.archive_file import Archive
from openrouter_usage.diagnosis.archive import Kept
from openrouter_usage.diagnosis.books import Line
from openrouter_usage.errors import LedgerError
from openrouter_usage.files import archive_beside


def look(ledger: Path) -> Kept | None:
    """Look at the archive beside a ledger; None when there is none, or the ledger itself has its name."""
    path = archive_beside(ledger)
    if path == ledger or not os.path.lexists(path):
        return None
    try:
        contents = Archive(path).read()
    except LedgerError as error:
        return Kept(str(path), error=error)
    return Kept(
        path=str(path),
        days=sum(map(len, contents.accounts.values())),
        accounts=len(contents.accounts),
        unread=tuple(Line(line.offset, line.why, line.is_damaged) for line in contents.unread),
        is_writable=os.access(path, os.W_OK),
    )
