"""Keeps lines that could not be written to the ledger until they can be.

Every set of lines is a file of its own. Before it is appended its name is given the size that the ledger
has then: whoever finds such a file looks there, and appends only what is missing. So a program that ends
between appending lines and forgetting them makes nobody count them twice.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from contextlib import suppress
from pathlib import Path

from openrouter_usage.ledger.file import LedgerFile

_BEGUN = ".at"
_SUFFIX = ".jsonl"


def spool_folder() -> str:
    """Return the spool folder: in the system's temporary one, which may be on a disk that still has room."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return f"{_temporary()}/openrouter-usage-{user}"


def _temporary() -> str:
    if os.name == "posix":
        return os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  # a folder of one's own in it, see _is_ours
    import tempfile  # late: it is slow to load, and not needed where the folder is known

    return tempfile.gettempdir()


def spool_file(ledger: Path) -> Path:
    """Return the prefix of the names of a ledger's spool files."""
    return Path(spool_folder()) / f"{zlib.crc32(os.fsencode(ledger.absolute())):08x}"


def save(ledger: Path, lines: bytes) -> Path | None:
    """Save whole lines for later and return the path; None when that is not possible either."""
    lines = lines if lines.endswith(b"\n") else lines + b"\n"
    begin = spool_file(ledger)
    folder, name = begin.parent, f"{begin.name}-{time.time_ns():020d}-{os.getpid()}-{os.urandom(3).hex()}"
    part, path = folder / f"{name}.part", folder / f"{name}{_SUFFIX}"
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if not _is_ours(folder):
            return None
        _write(part, lines)
        # Only now the file gets the name that readers look for, so half a file is never read.
        os.rename(part, path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        return None
    return path


def _write(path: Path, lines: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o600)
    try:
        written = 0
        while written < len(lines):
            written += os.write(handle, lines[written:])
        os.fsync(handle)
    finally:
        os.close(handle)


def waiting(ledger: Path) -> list[Path]:
    """Return the files whose lines wait for a ledger, oldest first; none when the folder is not surely this user's."""
    try:
        names = os.listdir(spool_folder())
        if not names:
            return []
        begin = spool_file(ledger)
        found = sorted(name for name in names if name.startswith(begin.name) and name.endswith(_SUFFIX))
        return [begin.with_name(name) for name in found] if found and _is_ours(begin.parent) else []
    except OSError:
        return []


def take(ledger: Path, file: LedgerFile) -> int:
    """Append what waits for a ledger whose lock is held and return the number of lines; LedgerError on failure."""
    return sum(_take(path, file) for path in waiting(ledger))


def _take(path: Path, file: LedgerFile) -> int:
    try:
        lines = path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else b""
        missing = lines if _begun(path) is None else _missing(lines, file.read(_begun(path) or 0, len(lines) + 1))
        if missing:
            path = _begin(path, missing, lines, file)
    except OSError:
        return 0
    if missing:
        file.append(missing, durable=True)
    with suppress(OSError):
        path.unlink()
    return missing.count(b"\n")


def _begun(path: Path) -> int | None:
    """Return the size the ledger had when these lines were first appended, None when they never were."""
    size = path.name.removesuffix(_SUFFIX).partition(_BEGUN)[2]
    return int(size) if size.isdigit() else None


def _missing(lines: bytes, found: bytes) -> bytes:
    """Return the lines of which the ledger does not have all, when it has `found` where they were appended."""
    found = found.removeprefix(b"\n")  # an end for the torn line before them
    done = 0
    while found.startswith(lines[done : lines.find(b"\n", done) + 1], done) and done < len(lines):
        done = lines.find(b"\n", done) + 1
    return lines[done:]


def _begin(path: Path, missing: bytes, lines: bytes, file: LedgerFile) -> Path:
    """Note that the missing lines are about to be appended, and return the new path of their file."""
    if missing != lines:
        part = path.with_name(path.name + ".part")
        with suppress(FileNotFoundError):
            part.unlink()
        _write(part, missing)
        os.replace(part, path)
    status = file.status()
    base = path.name.removesuffix(_SUFFIX).partition(_BEGUN)[0]
    begun = path.with_name(f"{base}{_BEGUN}{status.st_size if status else 0}{_SUFFIX}")
    os.rename(path, begun)
    return begun


def _is_ours(folder: Path) -> bool:
    """Check whether nobody else can have put something into a folder: the temporary one is everybody's."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return False
    return os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)
