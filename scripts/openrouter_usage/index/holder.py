"""Names the process that holds a lock on a file, where the system tells."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from openrouter_usage.errors import LedgerError
from openrouter_usage.text import safe


def locked(ledger: Path, files: Iterable[str], waited_s: float, *, noun: str = "ledger") -> LedgerError:
    """Give the error for a lock that others kept for as long as this program was willing to wait."""
    return LedgerError(
        f"the {noun} {safe(str(ledger), 300)} is locked{_holder(files)} and was not released within {waited_s:.0f} s",
        hint="wait for that program or end it, then try again",
        code="locked",
    )


def _holder(files: Iterable[str]) -> str:
    """Name the process that holds one of the files for writing (Linux keeps a list of all locks)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        inodes = {os.stat(file).st_ino for file in files if os.path.exists(file)}
        with open("/proc/locks", encoding="ascii") as locks:
            for fields in (line.split() for line in locks):
                mode, pid, inode = fields[-5], int(fields[-4]), int(fields[-3].split(":")[2])
                if mode == "WRITE" and inode in inodes and pid > 0 and pid != os.getpid() and "->" not in fields:
                    return f" by process {pid}"
    return ""
