"""A second lock, on the ledger itself: it holds even where the index, whose lock is the usual one, is deleted."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from openrouter_usage.index.holder import locked
from openrouter_usage.ledger.file import CAREFUL, identity

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
