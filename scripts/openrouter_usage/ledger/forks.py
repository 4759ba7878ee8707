"""Keeps ledgers usable in a process that was forked while threads of its parent were using them.

SQLite would carry a lock into the child, which could then never have it: so a fork waits, for a moment, until no
thread is in the middle of work.
"""

from __future__ import annotations

import os
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


_WATCHED: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watch(engine: Forkable) -> None:
    """Tell something of every fork for as long as it is used."""
    _WATCHED.add(engine)


def _each(act: Callable[[Forkable], None]) -> None:
    for engine in list(_WATCHED):
        act(engine)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _each(lambda engine: engine.pause()),
        after_in_parent=lambda: _each(lambda engine: engine.resume()),
        after_in_child=lambda: _each(lambda engine: engine.abandon()),
    )
