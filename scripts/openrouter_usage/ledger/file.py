"""The JSONL file on disk: opened with care, appended whole lines to, read in blocks, replaced at once."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from openrouter_usage.errors import LedgerError
from openrouter_usage.lines import LONGEST_LINE
from openrouter_usage.text import safe

BLOCK = 4 * 1024 * 1024
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# A FIFO would stop the open until somebody writes; a link may point at a file that is not ours to extend.
_CAREFUL = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | _BINARY


class LedgerFile:
    """One open ledger file; the caller holds the lock whenever it writes."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet."""
        self.path = path
        self._handle: int | None = None
        self._writable = False

    @property
    def shown(self) -> str:
        """The path, safe to print."""
        return safe(str(self.path), 300)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def status(self) -> os.stat_result | None:
        """Look at what is at the path now, reopening it if it was replaced; None when there is no file."""
        try:
            now = os.lstat(self.path)
        except FileNotFoundError:
            self.close()
            return None
        except OSError as error:
            raise self._failed("cannot be read", error) from None
        if self._handle is not None and not os.path.samestat(os.fstat(self._handle), now):
            self.close()
        return os.fstat(self._reading()) if self._handle is None else os.fstat(self._handle)

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
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed("cannot be written: its folder cannot be made", error) from None

    def _open(self, flags: int, *, writable: bool) -> None:
        try:
            handle = os.open(self.path, flags | _CAREFUL, 0o600)
        except OSError as error:
            if self.path.is_symlink():
                raise self._not_regular() from None
            raise self._failed("cannot be opened", error) from None
        try:
            self._check(os.fstat(handle))
        except BaseException:
            os.close(handle)
            raise
        self._handle, self._writable = handle, writable

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode) or self.path.is_symlink():
            raise self._not_regular()
        if os.name == "posix" and status.st_uid not in (os.geteuid(), 0):
            raise LedgerError(f"the ledger {self.shown} belongs to another user", hint="set OPENROUTER_USAGE_FILE")

    def _not_regular(self) -> LedgerError:
        return LedgerError(f"the ledger {self.shown} is not a regular file", hint="set OPENROUTER_USAGE_FILE to one")

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

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes from repairing at the same time; where the system has no flock, just go on."""
        try:
            import fcntl
        except ImportError:
            yield
            return
        handle = self._reading()
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)

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
        return LedgerError(
            f"the ledger {self.shown} {what}: {error.strerror or error}",
            hint="check the disk and the file's owner and mode, or set OPENROUTER_USAGE_FILE",
        )


def _pread(handle: int, size: int, start: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(handle, size, start)
    os.lseek(handle, start, os.SEEK_SET)
    return os.read(handle, size)
