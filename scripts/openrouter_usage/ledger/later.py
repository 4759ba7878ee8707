"""Bookkeeping that came at a bad time: done as soon as the thread that it interrupted is done with the ledger.

The garbage collector runs finalizers anywhere, also in the middle of a ledger's work, whose locks are then held by the
very thread that would have to wait for them. Handing the work to a new thread is no way out: at the end of the
interpreter a new thread never begins, and whoever waits for it waits for ever.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

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
