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

# -- Names the process that holds a lock on a file, where the system tells.


def locked(ledger: Path, files: Iterable[str], waited_s: float, *, noun: str = "ledger") -> LedgerError:
    """Return the error for a lock that others kept for as long as this program was willing to wait."""
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


# -- Bookkeeping that came at a bad time: done as soon as the thread that it interrupted is done with the ledger.
#
# The garbage collector runs finalizers anywhere, also in the middle of a ledger's work, whose locks are then held by
# the
# very thread that would have to wait for them. Handing the work to a new thread is no way out: at the end of the
# interpreter a new thread never begins, and whoever waits for it waits for ever.

_WAITING: deque[Callable[[], None]] = deque()
_busy = threading.local()


@contextmanager
def at_work() -> Iterator[None]:
    """Mark a stretch of work on a ledger; what was put off meanwhile is done when the outermost one ends."""
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
    """Do what was put off, unless this thread is in the middle of a ledger's work."""
    if not getattr(_busy, "depth", 0):
        with suppress(IndexError):  # another thread has taken the last one
            while _WAITING:
                _WAITING.popleft()()


atexit.register(do_waiting)
if hasattr(os, "register_at_fork"):
    # What waits is the parent's to do.
    os.register_at_fork(after_in_child=_WAITING.clear)


# -- Keeps ledgers usable in a process that was forked while threads of its parent were using them.
#
# SQLite would carry a lock into the child, which could then never have it: so a fork waits until no thread has the
# files
# in its hands. Whoever waits for the lock of another process has not, and may wait for long. At the end of the
# interpreter what is still open is closed.


class Forkable(Protocol):
    """What has to know of a fork."""

    def pause(self) -> None:
        """Let other threads end what they are in the middle of."""

    def resume(self) -> None:
        """Go on in the process that has forked."""

    def abandon(self) -> None:
        """Begin anew in the child."""

    def end(self) -> None:
        """Close what is open, at the end of the interpreter."""


_LONGEST_WAIT_S = 10.0


class Gate:
    """What a thread goes through to take the files into its hands, and what a fork shuts."""

    def __init__(self) -> None:
        """Begin open, with nobody inside."""
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
        """Wait until nobody is inside, and let nobody in; what takes very long is not waited for."""
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
    """Tell something of every fork for as long as it is used."""
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


# -- A second lock, on the ledger itself: it holds even where the index, whose lock is the usual one, is deleted.

if os.name == "posix":
    # Not at the first use: a process that is forked in the middle of an import waits for its lock for ever.
    import fcntl

_HELD: set[int] = set()
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.01


@contextlib.contextmanager
def guarded(path: Path, wait_s: float) -> Iterator[None]:
    """Keep other programs from writing a ledger; LedgerError when one of them does not let go in time.

    Where there is no flock, and while there is no file yet, the lock of the index has to do.
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
            return None  # what is wrong with it is told when it is opened to be read
        _HELD.add(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if identity(os.fstat(handle)) == identity(os.lstat(name)):
                return handle
            _let_go(handle)  # it is the lock of a file that was replaced meanwhile
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
        # Closing would not do: a process that was forked off before the handle was in _HELD has a copy of it.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _after_fork() -> None:
    """Close what the parent holds: left open here, it would stay locked when the parent is long gone."""
    while _HELD:
        with contextlib.suppress(OSError):
            os.close(_HELD.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
