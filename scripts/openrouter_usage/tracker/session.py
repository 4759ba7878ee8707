"""CostSession: adds up what the calls made inside it cost."""

from __future__ import annotations

import threading
from contextvars import ContextVar, Token
from decimal import Decimal

from openrouter_usage.entry import Entry
from openrouter_usage.usage import NOTHING, Usage

_open: ContextVar[tuple[CostSession, ...]] = ContextVar("openrouter_usage_sessions", default=())


class CostSession:
    """Counts every tracked call made while it is open, nested, in tasks and in threads that inherit its context.

    Its name is written to the ledger as the calls' `session`; amounts are exact USD.
    """

    def __init__(self, name: str) -> None:
        """Begin at nothing."""
        self.name = name
        self._usage = NOTHING
        self._mutex = threading.Lock()
        self._tokens: list[Token[tuple[CostSession, ...]]] = []

    def __enter__(self) -> CostSession:
        """Open the session for the code that runs in this context."""
        self._tokens.append(_open.set((*_open.get(), self)))
        return self

    def __exit__(self, *_: object) -> None:
        """Close the session; its figures stay."""
        _open.reset(self._tokens.pop())

    async def __aenter__(self) -> CostSession:
        """Open the session, as `with` does."""
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        """Close the session, as `with` does."""
        self.__exit__()

    @property
    def usage(self) -> Usage:
        """Everything that is known of its calls."""
        return self._usage

    @property
    def total_cost(self) -> Decimal:
        """What its calls cost in USD; calls of unknown cost are counted in `unknown`."""
        return self._usage.cost

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return self._usage.requests

    @property
    def unknown(self) -> int:
        """How many of its calls have no known cost."""
        return self._usage.unknown

    def count(self, entry: Entry) -> None:
        """Add a call."""
        with self._mutex:
            self._usage += entry.usage


def current_session() -> str:
    """Name the innermost open session, "" outside of all."""
    sessions = _open.get()
    return sessions[-1].name if sessions else ""


def open_sessions() -> tuple[CostSession, ...]:
    """Give the sessions that are open here, so that a call can be counted where it was begun."""
    return _open.get()


def count_in_sessions(entry: Entry, sessions: tuple[CostSession, ...] | None = None) -> None:
    """Add a call to the sessions that are open, or to those that were when it began."""
    for session in dict.fromkeys(_open.get() if sessions is None else sessions):
        session.count(entry)
