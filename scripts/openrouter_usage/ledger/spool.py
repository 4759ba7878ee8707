"""A place for lines that could not be written to the ledger, until they can be."""

from __future__ import annotations

import os
import stat
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path


def spool_file(ledger: Path) -> Path:
    """Name the spool of a ledger: in the system's temporary folder, which may be on a disk that still has room."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    mark = zlib.crc32(str(ledger.absolute()).encode("utf-8", "surrogateescape"))
    return Path(tempfile.gettempdir()) / f"openrouter-usage-{user}" / f"{mark:08x}.jsonl"


def save(ledger: Path, lines: bytes) -> Path | None:
    """Keep lines for later, and give where; None when that is not possible either."""
    path = spool_file(ledger)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(path.parent):
            return None
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(path, flags, 0o600)
    except OSError:
        return None
    try:
        return path if os.write(handle, lines) == len(lines) else None
    except OSError:
        return None
    finally:
        os.close(handle)


def waiting(ledger: Path) -> bytes:
    """Give the lines that wait for a ledger; nothing when the spool is not surely this user's."""
    path = spool_file(ledger)
    try:
        if not path.exists() or not _is_ours(path.parent) or not stat.S_ISREG(path.lstat().st_mode):
            return b""
        return path.read_bytes()
    except OSError:
        return b""


def clear(ledger: Path) -> None:
    """Forget the lines that waited, for they are in the ledger now."""
    with suppress(OSError):
        spool_file(ledger).unlink()


def _is_ours(folder: Path) -> bool:
    """Tell whether nobody else can have put something into a folder: the temporary one is everybody's."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return False
    return os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)
