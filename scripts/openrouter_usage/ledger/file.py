"""The JSONL file on disk: opened with care, appended in whole lines, read in blocks, replaced at once."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.entry import LONGEST_LINE
from openrouter_usage.errors import LedgerError
from openrouter_usage.files import distrust, how_to_own
from openrouter_usage.text import safe

# -- File systems: which one a path is on, and whether other machines may miss locks there.

# Linux lists the mounted file systems here.
MOUNTS = "/proc/self/mountinfo"
# Locks and appending differ from a local disk there, or did in a version that is still in use.
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "afpfs", "9p", "drvfs", "virtiofs", "ceph", "glusterfs",
    "lustre", "gpfs", "beegfs", "orangefs", "gfs", "gfs2", "ocfs2", "ncpfs", "coda", "webdav", "davfs", "vboxsf",
    "vmhgfs", "prl_fs", "acfs",
}  # fmt: skip
# FUSE may be anything; these are file systems of a local disk.
_LOCAL_FUSE = ("fuseblk", "fuse.ntfs-3g", "fuse.exfat", "fuse.lxcfs", "fuse.gocryptfs", "fuse.encfs")
_OCTAL = re.compile(r"\\([0-7]{3})")
_MACOS = re.compile(r"^.+? on (/.*) \(([\w.-]+)[,)]")
_REMOTE_DRIVE = 4
_LONGEST_S = 5


class Mount(NamedTuple):
    """Where a file system is mounted, and its kind."""

    point: str
    kind: str

    @property
    def is_shared(self) -> bool:
        """True if the file system is on another machine, or provided by a program (FUSE)."""
        return self.kind in _NETWORK or (self.kind.startswith("fuse") and self.kind not in _LOCAL_FUSE)


def find_mount(path: str | os.PathLike[str]) -> Mount | None:
    """Return the file system of a path; None where the system does not say."""
    real = os.path.realpath(path)
    with suppress(OSError):
        if sys.platform == "win32":
            return _windows(real)
        if sys.platform == "darwin":
            return mount_of(real, _told_by_mount())
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            return mount_of(real, mounts.read())
    return None


def mount_of(path: str, table: str) -> Mount | None:
    """Return the nearest mount above a path without links; the table is Linux's mountinfo, or the output of `mount`."""
    best: Mount | None = None
    for line in table.split("\n"):
        mount = _linux(line) or _macos(line)
        is_above = mount and (path == mount.point or path.startswith(mount.point.rstrip("/") + "/"))
        # Of two at the same point the later one hides the earlier.
        if mount and is_above and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _linux(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    fields = before.split(" ")
    if not separator or len(fields) < 6 or not after:
        return None
    # Blanks and backslashes in a name are written as octal numbers there.
    return Mount(_OCTAL.sub(lambda found: chr(int(found.group(1), 8)), fields[4]), after.split(" ")[0])


def _macos(line: str) -> Mount | None:
    found = _MACOS.match(line)
    return Mount(found.group(1), found.group(2)) if found else None


def _told_by_mount() -> str:
    import subprocess  # late: it is slow to load, and only macOS needs it

    try:
        told = subprocess.run(["/sbin/mount"], capture_output=True, timeout=_LONGEST_S, check=True)
    except subprocess.SubprocessError:
        return ""
    return told.stdout.decode("utf-8", "surrogateescape")


def _windows(path: str) -> Mount | None:
    drive = os.path.splitdrive(path)[0]
    if drive.startswith("\\\\"):
        return Mount(drive, "smbfs")
    import ctypes

    # A letter may stand for a folder of another machine.
    kind = getattr(ctypes, "windll").kernel32.GetDriveTypeW(drive + "\\")  # noqa: B009  # mypy knows it on Windows only
    return Mount(drive, "smbfs") if kind == _REMOTE_DRIVE else None


# -- The JSONL file on disk.

LEDGER = "ledger"
BLOCK = 4 * 1024 * 1024
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# A FIFO would block the open until somebody writes; a link may point at a file of somebody else.
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
CAREFUL = getattr(os, "O_NONBLOCK", 0) | _NO_LINKS | _BINARY


class LedgerFile:
    """One open ledger, or a file that is kept like a ledger; the caller holds the lock when it writes."""

    def __init__(self, path: Path, *, noun: str = LEDGER) -> None:
        """Keep the path, and the file's name in messages; nothing is opened yet."""
        self.path = path
        self._noun = noun
        self._name = str(path)
        self._handle: int | None = None
        self._opened = (0, 0)
        self._writable = False

    def __del__(self) -> None:
        """Close the file of an object that nobody closed."""
        self.close()

    @property
    def shown(self) -> str:
        """The path, safe to print."""
        return _shown(self.path)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(OSError):
                # After all files of the process were closed, the number may belong to another file.
                if identity(os.fstat(handle)) == self._opened:
                    os.close(handle)

    def status(self) -> os.stat_result | None:
        """Return the status of the file at the path, reopening it if it was replaced; None without a file."""
        try:
            now = os.lstat(self._name)
        except FileNotFoundError:
            self.close()
            return None
        except OSError as error:
            raise self._failed("cannot be read", error) from None
        if self._handle is not None:
            with contextlib.suppress(OSError):
                status = os.fstat(self._handle)
                if identity(status) == self._opened == identity(now):
                    return status
            self.close()
        return os.fstat(self._reading())

    def _reading(self) -> int:
        if self._handle is None:
            self._open(os.O_RDONLY, writable=False)
        return self._handle if self._handle is not None else -1

    def _writing(self) -> int:
        if self._handle is not None and not self._writable:
            self.close()
        if self._handle is None:
            self.make_folder()
            self._open(os.O_RDWR | os.O_APPEND | os.O_CREAT, writable=True)
        return self._handle if self._handle is not None else -1

    def make_folder(self) -> None:
        """Create the ledger's folder, for its owner alone, if it is missing."""
        try:
            # One by one, because makedirs applies the mode only to the last folder.
            for folder in reversed([self.path.parent, *self.path.parent.parents]):
                if not folder.is_dir():
                    folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._failed("cannot be written, because its folder cannot be created", error) from None

    def _open(self, flags: int, *, writable: bool) -> None:
        handle = open_with_care(self.path, flags, noun=self._noun)
        self._handle, self._opened, self._writable = handle, identity(os.fstat(handle)), writable

    def read(self, start: int, size: int) -> bytes:
        """Return up to `size` bytes from an offset, fewer only at the end of the file."""
        parts = []
        try:
            while size > 0:
                part = _pread(self._reading(), size, start)
                if not part:
                    break
                parts.append(part)
                start += len(part)
                size -= len(part)
        except OSError as error:
            raise self._failed("cannot be read", error) from None
        return b"".join(parts)

    def line_at(self, start: int) -> bytes:
        """Return the line that begins at an offset, without its end."""
        size = 4096
        while True:
            text = self.read(start, size)
            line, end, _ = text.partition(b"\n")
            if end or len(text) < size or size > LONGEST_LINE:
                return line
            size *= 8

    def blocks(self, start: int, end: int) -> Iterator[tuple[int, bytes, int]]:
        """Yield the whole lines between two offsets in blocks: where a block begins, its text, where it ends."""
        while start < end:
            text = self.read(start, min(BLOCK, end - start))
            cut = text.rfind(b"\n") + 1
            if cut:
                text, stop = text[:cut], start + cut
            else:
                # A line of megabytes is damaged; its first bytes are enough.
                text, stop = text[: LONGEST_LINE + 1] + b"\n", self._end_of_line(start + len(text), end)
            if not stop:
                return
            yield start, text, stop
            start = stop

    def _end_of_line(self, start: int, end: int) -> int:
        """Return the offset behind the next line end, 0 when there is none."""
        while start < end:
            text = self.read(start, min(BLOCK, end - start))
            found = text.find(b"\n")
            if found >= 0:
                return start + found + 1
            start += len(text) or end
        return 0

    def append(self, lines: bytes, *, durable: bool) -> None:
        """Append whole lines, after ending a torn line before them; LedgerError leaves no half line behind."""
        handle = self._writing()
        try:
            size = os.fstat(handle).st_size
            if size and self.read(size - 1, 1) != b"\n":
                # A program died in the middle of a line. Its bytes are kept as a line of their own.
                lines = b"\n" + lines
        except OSError as error:
            raise self._failed("cannot be read", error) from None
        self._write(handle, lines, size, durable)

    def _write(self, handle: int, lines: bytes, size: int, durable: bool) -> None:
        written = 0
        try:
            while written < len(lines):
                written += os.write(handle, lines[written:])
            if durable:
                os.fsync(handle)
        except BaseException as error:
            self._roll_back(handle, size, written)
            if isinstance(error, OSError):
                raise self._failed("cannot be written", error) from None
            raise

    def _roll_back(self, handle: int, size: int, written: int) -> None:
        """Remove half a line again, unless another program has written behind it; then it is repaired later."""
        with contextlib.suppress(OSError):
            if os.fstat(handle).st_size == size + written:
                os.ftruncate(handle, size)

    def _failed(self, what: str, error: OSError) -> LedgerError:
        return _failed(self.path, what, error, self._noun)


def open_with_care(path: Path, flags: int, *, noun: str = LEDGER) -> int:
    """Open a ledger or the like; LedgerError unless it is the user's own regular file, and not a link."""
    try:
        handle = os.open(path, flags | CAREFUL, 0o600)
    except OSError as error:
        if path.is_symlink():
            raise _not_regular(path, noun) from None
        raise _failed(path, "cannot be opened", error, noun) from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or (not _NO_LINKS and path.is_symlink()):
            raise _not_regular(path, noun)
        if os.name == "posix" and status.st_uid not in (os.geteuid(), 0):
            raise LedgerError(f"the {noun} {_shown(path)} belongs to another user", hint=_elsewhere(noun))
        # Any program may append to a ledger; other files of this kind are written by this program alone.
        if noun != LEDGER and distrust(status):
            todo = how_to_own(_shown(path), distrust(status))
            raise LedgerError(f"the {noun} {_shown(path)} is not used: {distrust(status)}", hint=f"run: {todo}")
    except BaseException:
        os.close(handle)
        raise
    return handle


def _shown(path: Path) -> str:
    return safe(str(path), 300)


def _not_regular(path: Path, noun: str) -> LedgerError:
    return LedgerError(f"the {noun} {_shown(path)} is not a regular file", hint=_elsewhere(noun))


def _failed(path: Path, what: str, error: OSError, noun: str) -> LedgerError:
    return LedgerError(
        f"the {noun} {_shown(path)} {what}: {error.strerror or error}",
        hint=f"check the disk and the file's owner and mode, or {_elsewhere(noun)}",
    )


def _elsewhere(noun: str) -> str:
    """Return how to use another file; files that are kept like a ledger lie beside it."""
    another = "" if noun == LEDGER else " to a ledger in another folder"
    return f"set OPENROUTER_USAGE_FILE{another}"


def identity(status: os.stat_result) -> tuple[int, int]:
    """Return what identifies a file among all that exist at the same time."""
    return status.st_dev, status.st_ino


def _pread(handle: int, size: int, start: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(handle, size, start)
    os.lseek(handle, start, os.SEEK_SET)
    return os.read(handle, size)
