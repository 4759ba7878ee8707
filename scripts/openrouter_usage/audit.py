"""Notes every change of the account beside the ledger: when, what, which key; never a secret."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from openrouter_usage.errors import LedgerError
from openrouter_usage.exactjson import Json, dumps
from openrouter_usage.files import make_private_folder
from openrouter_usage.period import iso
from openrouter_usage.text import safe


def note(folder: Path, now: datetime, action: str, *, key_hash: str, name: str, fields: dict[str, Json]) -> None:
    """Append one line to audit.jsonl in a folder; LedgerError when that cannot be done."""
    path = folder / "audit.jsonl"
    line = dumps({"ts": iso(now), "action": action, "hash": key_hash, "name": name, "fields": fields}) + "\n"
    try:
        make_private_folder(folder)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(path, flags, 0o600)
        try:
            os.write(handle, line.encode("ascii"))
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        shown = safe(str(path), 300)
        raise LedgerError(f"the change was made, but {shown} cannot be written: {error.strerror}", hint=line) from None
