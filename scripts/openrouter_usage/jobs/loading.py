"""Loads what a call needs before the first one is made, so that no fork happens in the middle of an import.

Packages are loaded late, because most programs that import the library make no call themselves. But a process that is
forked off while another thread is importing inherits a lock that nobody will ever release, and waits for it for ever.
So everything is loaded at once, under a lock that every fork waits for.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module

from openrouter_usage.errors import SettingsError

# An import takes a fraction of a second; a disk that hangs must not keep a program from forking.
_LONGEST_WAIT_S = 10.0
# What is loaded late elsewhere: by our own modules, and by the packages at their first request.
_BOOKS = (
    "logging",
    "openrouter_usage.ledger.ledger",
    "openrouter_usage.ledger.spool",
    "openrouter_usage.home.settings",
)
_CLIENT = (
    *_BOOKS,
    "certifi",
    "dotenv",
    "encodings.idna",
    "openrouter_usage.openrouter.answers.account",
    "openrouter_usage.openrouter.answers.analytics",
    "openrouter_usage.openrouter.answers.generation",
    "openrouter_usage.openrouter.answers.key",
    "openrouter_usage.openrouter.refusals",
    "openrouter_usage.openrouter.retry",
    "openrouter_usage.jobs.price_list",
    "openrouter_usage.tracker.lookup",
    "openrouter_usage.tracker.observe",
    "openrouter_usage.tracker.chat",
    "openrouter_usage.tracker.booking",
)


class _Loading:
    """What is loaded, and the lock under which that is done and which a fork takes."""

    def __init__(self) -> None:
        self.done: set[tuple[str, ...]] = set()
        self._lock = threading.RLock()
        self._taken = 0
        self._watch_forks()

    def load(self, names: tuple[str, ...]) -> None:
        if names not in self.done:
            with self._lock:
                self._load_logging()
                for name in names:
                    import_module(name)
                if names is _CLIENT:
                    import_module("certifi").where()  # which loads what it reads files with
                self.done.add(names)

    def _load_logging(self) -> None:
        # Its own hook takes a lock before a fork, for which a thread that is loading a package may have to wait.
        # The hook that was registered last is run first: ours has to be, or either would wait for the other.
        if not self._is_first:
            import_module("logging")
            self._watch_forks()

    def _watch_forks(self) -> None:
        self._is_first = "logging" in sys.modules
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._after_fork_in_child
            )

    def _before_fork(self) -> None:
        self._taken += self._lock.acquire(timeout=_LONGEST_WAIT_S)

    def _after_fork(self) -> None:
        if self._taken:
            self._taken -= 1
            self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock, self._taken = threading.RLock(), 0


_loading = _Loading()


def load_books() -> None:
    """Load what writing a call to the ledger needs."""
    _loading.load(_BOOKS)


def load_client() -> None:
    """Load everything that a call, a look-up or a question to OpenRouter may need.

    Raises SettingsError while Python is being taken down, when nothing can be loaded and no thread begins any more.
    """
    if sys.is_finalizing():
        raise SettingsError(
            "Python is shutting down, and nothing can be asked any more",
            hint="make the call before the end of the program, or in a function registered with atexit",
        )
    _loading.load(_CLIENT)
