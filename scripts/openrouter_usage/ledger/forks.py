"""Keeps ledgers usable in a process that was forked while threads of its parent were using them.

SQLite would carry a lock into the child, which could then never have it: so a fork waits until no thread has the files
in its hands. Whoever waits for the lock of another process has not, and may wait for long. At the end of the
interpreter what is still open is closed.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol


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
