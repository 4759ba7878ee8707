"""The second lock on the ledger, the process that holds a lock, and what forks and interruptions do to locks."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from openrouter_usage.errors import LedgerError
from openrouter_usage.ledger.file import CAREFUL, identity
from openrouter_usage.text import safe

# -- The process that holds a lock on a file, where the system knows it.


def locked(ledger: Path, files: Iterable[str], waited_s: float, *, noun: str = "ledger") -> LedgerError:
    """Return the error for a lock that others held longer than this program was willing to wait."""
    return LedgerError(
        f"the {noun} {safe(str(ledger), 300)} is locked{_holder(files)} and was not released within {waited_s:.0f} s",
        hint="wait for that program to finish or end it, then try again",
        code="locked",
    )


def _holder(files: Iterable[str]) -> str:
    """Return the process that holds one of the files for writing, in words (Linux keeps a list of all locks)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        inodes = {os.stat(file).st_ino for file in files if os.path.exists(file)}
        with open("/proc/locks", encoding="ascii") as locks:
            for fields in (line.split() for line in locks):
                mode, pid, inode = fields[-5], int(fields[-4]), int(fields[-3].split(":")[2])
                if mode == "WRITE" and inode in inodes and pid > 0 and pid != os.getpid() and "->" not in fields:
                    return f" by process {pid}"
    return ""


# -- Postponed work: done as soon as the interrupted thread is done with the ledger.
#
# The garbage collector runs finalizers anywhere, also in the middle of a ledger's work, whose locks are then held by
# the very thread that would have to wait for them. A new thread cannot do the work either: at the end of the
# interpreter a new thread never starts, and waiting for it would never end.

_WAITING: deque[Callable[[], None]] = deque()
_busy = threading.local()


@contextmanager
def at_work() -> Iterator[None]:
    """Mark a stretch of work on a ledger; postponed work is done when the outermost stretch ends."""
    _busy.depth = depth = getattr(_busy, "depth", 0) + 1
    try:
        yield
    finally:
        _busy.depth = depth - 1
        if _WAITING:
            do_waiting()


def put_off(work: Callable[[], None]) -> None:
    """Do work later: after this thread's work on a ledger, after another thread's, or at the exit."""
    _WAITING.append(work)


def do_waiting() -> None:
    """Do the postponed work, unless this thread is in the middle of a ledger's work."""
    if not getattr(_busy, "depth", 0):
        with suppress(IndexError):  # another thread has taken the last one
            while _WAITING:
                _WAITING.popleft()()


atexit.register(do_waiting)
if hasattr(os, "register_at_fork"):
    # The postponed work belongs to the parent.
    os.register_at_fork(after_in_child=_WAITING.clear)


# -- Forks: ledgers stay usable in a process that was forked while threads used them.
#
# SQLite would carry a lock into the child, which could then never get it, so a fork waits until no thread uses the
# files. A thread that waits for the lock of another process does not use them, and may wait long. At the end of the
# interpreter all open files are closed.


class Forkable(Protocol):
    """An object that must be informed about forks."""

    def pause(self) -> None:
        """Wait until other threads have finished their work."""

    def resume(self) -> None:
        """Continue in the parent process."""

    def abandon(self) -> None:
        """Start again in the child."""

    def end(self) -> None:
        """Close all files, at the end of the interpreter."""


_LONGEST_WAIT_S = 10.0


class Gate:
    """The gate that a thread passes to use the files, and that a fork shuts."""

    def __init__(self) -> None:
        """Start open, with nobody inside."""
        self._turnstile, self._inside = threading.RLock(), threading.RLock()
        self._is_shut: tuple[bool, bool] = False, False

    def __enter__(self) -> None:
        """Go in, one thread at a time; a fork that waits goes first, however many threads come."""
        with self._turnstile:
            self._inside.acquire()

    def __exit__(self, *_: object) -> None:
        """Go out."""
        self._inside.release()

    def shut(self) -> None:
        """Wait a bounded time until nobody is inside, and let nobody in."""
        deadline = time.monotonic() + _LONGEST_WAIT_S
        turnstile = self._turnstile.acquire(timeout=_LONGEST_WAIT_S)
        self._is_shut = turnstile, self._inside.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def open(self) -> None:
        """Let threads in again, in the process and the thread that has forked."""
        (turnstile, inside), self._is_shut = self._is_shut, (False, False)
        if inside:
            self._inside.release()
        if turnstile:
            self._turnstile.release()


_WATCHED: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watch(engine: Forkable) -> None:
    """Inform an object about every fork for as long as the object is used."""
    _WATCHED.add(engine)


def _each(act: Callable[[Forkable], None]) -> None:
    for engine in list(_WATCHED):
        act(engine)


atexit.register(lambda: _each(lambda engine: engine.end()))
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _each(lambda engine: engine.pause()),
        after_in_parent=lambda: _each(lambda engine: engine.resume()),
        after_in_child=lambda: _each(lambda engine: engine.abandon()),
    )


# -- The second lock, on the ledger itself: it holds even if the index with the first lock is deleted.

if os.name == "posix":
    # Not at the first use: a process that is forked in the middle of an import would wait for the import lock for ever.
    import fcntl

_HELD: set[int] = set()
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.01


@contextlib.contextmanager
def guarded(path: Path, wait_s: float) -> Iterator[None]:
    """Keep other programs from writing a ledger; LedgerError when one of them holds the lock too long.

    Without flock, and before the file exists, only the lock of the index protects the ledger.
    """
    handle = _guard(path, wait_s)
    try:
        yield
    finally:
        if handle is not None:
            _let_go(handle)


def _guard(path: Path, wait_s: float) -> int | None:
    if os.name != "posix":
        return None
    deadline, pause = time.monotonic() + wait_s, _FIRST_PAUSE_S
    name = str(path)
    while True:
        try:
            handle = os.open(name, os.O_RDONLY | CAREFUL)
        except OSError:
            return None  # opening the file for reading reports what is wrong
        _HELD.add(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if identity(os.fstat(handle)) == identity(os.lstat(name)):
                return handle
            _let_go(handle)  # the locked file was replaced meanwhile
        except BlockingIOError:
            _let_go(handle)
            if time.monotonic() > deadline:
                raise locked(path, [name], wait_s) from None
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)
        except FileNotFoundError:
            _let_go(handle)
        except OSError:
            _let_go(handle)
            return None
        except BaseException:
            _let_go(handle)
            raise


def _let_go(handle: int) -> None:
    if handle in _HELD:  # a fork has closed it already
        _HELD.discard(handle)
        # Closing is not enough: a process that was forked before the handle was in _HELD has a copy of the handle.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _after_fork() -> None:
    """Close the parent's locks, which would outlive the parent if they stayed open here."""
    while _HELD:
        with contextlib.suppress(OSError):
            os.close(_HELD.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
