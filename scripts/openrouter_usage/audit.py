"""Notes every change of the account beside the ledger: when, what, which key; never a secret."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from openrouter_usage.errors import LedgerError
from openrouter_usage.exactjson import Json, dumps
from openrouter_usage.files import Distrusted, distrust, make_private_folder
from openrouter_usage.period import iso
from openrouter_usage.text import safe


class Audit:
    """The file audit.jsonl in a folder; a change is noted before it is sent, and again when it is known how it ended.

    What cannot be noted is not sent, and a change that is broken off leaves its first line behind.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is written before the first note."""
        self._path = folder / "audit.jsonl"

    def note(
        self, now: datetime, action: str, outcome: str, *, key_hash: str | None, name: str, fields: dict[str, Json]
    ) -> None:
        """Append one line; LedgerError when that cannot be done."""
        values = {"ts": iso(now), "action": action, "hash": key_hash, "name": name, "fields": fields}
        line = dumps({**values, "outcome": outcome})
        try:
            make_private_folder(self._path.parent)
            self._append(line.encode("ascii") + b"\n")
        except OSError as error:
            what = "nothing was changed" if outcome == "asked" else f"the change is {outcome}"
            raise LedgerError(
                f"{what}, but it cannot be noted in {safe(str(self._path), 300)}: {error.strerror}", hint=line
            ) from None

    def _append(self, line: bytes) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(self._path, flags, 0o600)
        try:
            status = os.fstat(handle)
            why = distrust(status)
            if why:
                raise Distrusted(why)
            size = status.st_size
            # A line that was torn by a full disk must not take this one with it.
            torn = b"\n" if size and os.lseek(handle, -1, os.SEEK_END) >= 0 and os.read(handle, 1) != b"\n" else b""
            whole = torn + line
            if os.write(handle, whole) < len(whole):
                raise OSError(0, "there is no room for a whole line")
            os.fsync(handle)
        finally:
            os.close(handle)
