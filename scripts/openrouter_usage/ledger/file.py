"""The JSONL file on disk: opened with care, appended whole lines to, read in blocks, replaced at once."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from openrouter_usage.errors import LedgerError
from openrouter_usage.files import distrust, how_to_own
from openrouter_usage.lines import LONGEST_LINE
from openrouter_usage.text import safe

LEDGER = "ledger"
BLOCK = 4 * 1024 * 1024
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# A FIFO would stop the open until somebody writes; a link may point at a file that is not ours to extend.
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
CAREFUL = getattr(os, "O_NONBLOCK", 0) | _NO_LINKS | _BINARY


class LedgerFile:
    """One open ledger file, or one that is kept like it; the caller holds the lock whenever it writes."""

    def __init__(self, path: Path, *, noun: str = LEDGER) -> None:
        """Name the file, and what it is called in messages; nothing is opened yet."""
        self.path = path
        self._noun = noun
        self._name = str(path)
        self._handle: int | None = None
        self._opened = (0, 0)
        self._writable = False

    def __del__(self) -> None:
        """Leave no file open behind an object that nobody closed."""
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
                # Whoever closed all files of the process may have given the number to another one since.
                if identity(os.fstat(handle)) == self._opened:
                    os.close(handle)

    def status(self) -> os.stat_result | None:
        """Look at what is at the path now, reopening it if it was replaced; None when there is no file."""
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
        """Make the ledger's folder, for its owner alone, if it is missing."""
        try:
            # Each by itself, for the mode is that of the last one only when all are made at once.
            for folder in reversed([self.path.parent, *self.path.parent.parents]):
                if not folder.is_dir():
                    folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._failed("cannot be written: its folder cannot be made", error) from None

    def _open(self, flags: int, *, writable: bool) -> None:
        handle = open_with_care(self.path, flags, noun=self._noun)
        self._handle, self._opened, self._writable = handle, identity(os.fstat(handle)), writable

    def read(self, start: int, size: int) -> bytes:
        """Read up to `size` bytes from an offset, fewer only at the end of the file."""
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
        """Read the line that begins at an offset, without its end."""
        size = 4096
        while True:
            text = self.read(start, size)
            line, end, _ = text.partition(b"\n")
            if end or len(text) < size or size > LONGEST_LINE:
                return line
            size *= 8

    def blocks(self, start: int, end: int) -> Iterator[tuple[int, bytes, int]]:
        """Read the whole lines between two offsets in blocks: where a block begins, its text, where it ends."""
        while start < end:
            text = self.read(start, min(BLOCK, end - start))
            cut = text.rfind(b"\n") + 1
            if cut:
                text, stop = text[:cut], start + cut
            else:
                # A line of megabytes is damage; its first bytes suffice to say so.
                text, stop = text[: LONGEST_LINE + 1] + b"\n", self._end_of_line(start + len(text), end)
            if not stop:
                return
            yield start, text, stop
            start = stop

    def _end_of_line(self, start: int, end: int) -> int:
        """Give the offset behind the next line end, 0 when there is none."""
        while start < end:
            text = self.read(start, min(BLOCK, end - start))
            found = text.find(b"\n")
            if found >= 0:
                return start + found + 1
            start += len(text) or end
        return 0

    def append(self, lines: bytes, *, durable: bool) -> None:
        """Append whole lines, a torn one before them made whole; LedgerError leaves no half line behind."""
        handle = self._writing()
        try:
            size = os.fstat(handle).st_size
            if size and self.read(size - 1, 1) != b"\n":
                # Somebody died in the middle of a line. Its bytes are kept: they become a line of their own.
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
        """Take half a line out again, unless somebody has written behind it; then it is repaired later."""
        with contextlib.suppress(OSError):
            if os.fstat(handle).st_size == size + written:
                os.ftruncate(handle, size)

    def _failed(self, what: str, error: OSError) -> LedgerError:
        return _failed(self.path, what, error, self._noun)


def open_with_care(path: Path, flags: int, *, noun: str = LEDGER) -> int:
    """Open a ledger or the like; LedgerError unless it is a regular file, not reached by a link, and nobody else's."""
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
        # Any program may append to a ledger; what else is kept like one is written by this program alone.
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
    """Say how to use another file: whatever is kept like a ledger lies beside it."""
    another = "" if noun == LEDGER else " to a ledger in another folder"
    return f"set OPENROUTER_USAGE_FILE{another}"


def identity(status: os.stat_result) -> tuple[int, int]:
    """Give what tells a file from every other that exists at the same time."""
    return status.st_dev, status.st_ino


def _pread(handle: int, size: int, start: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(handle, size, start)
    os.lseek(handle, start, os.SEEK_SET)
    return os.read(handle, size)
