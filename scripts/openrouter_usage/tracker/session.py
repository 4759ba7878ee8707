"""CostSession: adds up what the calls made inside it cost."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from decimal import Context, Decimal

from openrouter_usage.entry import NOTHING, Entry, Usage
from openrouter_usage.ledger.locks import do_waiting
from openrouter_usage.ledger.merge import completing, merged
from openrouter_usage.money import format_usd
from openrouter_usage.text import plural, safe

_open: ContextVar[tuple[CostSession, ...]] = ContextVar("openrouter_usage_sessions", default=())
_REMEMBERED = 10_000


class KnownPart(Decimal):
    """The part of a sum in USD that is known: a number to reckon with, and "unknown" to read and to format."""

    def __str__(self) -> str:
        """Write what is known and that there is more, never a mere 0."""
        return self.__format__("")

    def __repr__(self) -> str:
        """Write the same as `str`."""
        return f"<{self}>"

    def __format__(self, spec: str, context: Context | None = None, /) -> str:
        """Write the known part as a number, with "unknown" beside it."""
        return f"{Decimal(self):{spec}} + unknown" if self else "unknown"

    def __reduce__(self) -> tuple[type[KnownPart], tuple[str]]:
        """Pickle the number, not what it says."""
        return KnownPart, (str(Decimal(self)),)

    def __copy__(self) -> KnownPart:
        """Return itself, as every number does."""
        return self

    def __deepcopy__(self, _: object) -> KnownPart:
        """Return itself, as every number does."""
        return self


class CostSession:
    """Counts every tracked call made while it is open, nested, in tasks and in threads that inherit its context.

    Its name is written to the ledger as the calls' `session`; amounts are exact USD. It may be opened again, also
    within itself and in several tasks at once; a call counts once.
    """

    def __init__(self, name: str) -> None:
        """Begin at nothing."""
        self.name = name
        self._usage = NOTHING
        self._untracked = 0
        self._recent: dict[str, Entry] = {}
        self._mutex, self._process = threading.Lock(), os.getpid()

    def __enter__(self) -> CostSession:
        """Open the session for the code that runs in this context."""
        _open.set((*_open.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        """Close the session; its figures stay."""
        # Not by a token: sessions may close in another order, or another context, than they were opened in.
        sessions = _open.get()
        last = max((at for at, session in enumerate(sessions) if session is self), default=None)
        if last is not None:
            _open.set(sessions[:last] + sessions[last + 1 :])

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
        """What its calls cost in USD; a KnownPart, which is written as "unknown", when not all of them told it."""
        usage = self._usage
        return KnownPart(usage.cost) if usage.unknown else usage.cost

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return self._usage.requests

    @property
    def unknown(self) -> int:
        """How many of its calls have no known cost, the untracked ones among them."""
        return self._usage.unknown

    @property
    def untracked(self) -> int:
        """How often a tracked function returned nothing that tells of its call; each counts as one call."""
        return self._untracked

    def summary(self) -> str:
        """Return one sentence: what the calls cost, and which cost is not known."""
        usage = self._usage
        if not usage.requests:
            return f"{safe(self.name, 80)}: no tracked calls"
        known = usage.requests - usage.unknown
        parts = [f"{safe(self.name, 80)}: {plural(usage.requests, 'call')}"]
        parts.append(format_usd(usage.cost) if known else "cost unknown")
        if usage.byok_cost:
            parts.append(f"{format_usd(usage.byok_cost)} BYOK")
        if usage.unknown and known:
            parts.append(f"{plural(usage.unknown, 'call')} of unknown cost not in it")
        if usage.estimated:
            parts.append(f"{plural(usage.estimated, 'call')} estimated, not billed figures")
        if self._untracked:
            parts.append(f"{plural(self._untracked, 'call')} not tracked")
        return ", ".join(parts)

    def __str__(self) -> str:
        """Write the summary."""
        return self.summary()

    def __repr__(self) -> str:
        """Write the summary."""
        return f"<CostSession {self.summary()}>"

    def count(self, entry: Entry) -> None:
        """Add a call; one that is known by its id is not added again, but completes it, by the ledger's own rule."""
        with self._own_mutex():
            known = self._recent.get(entry.id) if entry.id else None
            if known:
                # The ledger's own rule for the second report of a call.
                line = completing(entry, known)
                if line is None:
                    return
                self._usage -= known.usage
                entry = merged([known, line])
            self._usage += entry.usage
            if entry.id:
                self._recent[entry.id] = entry
            if len(self._recent) > _REMEMBERED:
                # The ledger knows every id; this is only for calls that are reported twice in a short while.
                del self._recent[next(iter(self._recent))]

    def count_untracked(self) -> None:
        """Add a call of which nothing is known but that it was made."""
        with self._own_mutex():
            self._untracked += 1
            self._usage += Usage(requests=1, unknown=1)

    def _own_mutex(self) -> threading.Lock:
        if self._process != os.getpid():
            # A thread of the parent may have held the lock when this process was forked off.
            self._mutex, self._process = threading.Lock(), os.getpid()
        return self._mutex


def current_session() -> str:
    """Name the innermost open session, "" outside of all."""
    sessions = _open.get()
    return sessions[-1].name if sessions else ""


def open_sessions() -> tuple[CostSession, ...]:
    """Return the sessions that are open here, so that a call can be counted where it was begun."""
    return _open.get()


def count_in_sessions(entry: Entry, sessions: tuple[CostSession, ...] | None = None) -> None:
    """Add a call to the sessions that are open, or to those that were when it began."""
    for session in dict.fromkeys(_open.get() if sessions is None else sessions):
        session.count(entry)


def complete_in_sessions(entry: Entry) -> None:
    """Complete a call in the open sessions that have it; it is not added to the others."""
    for session in dict.fromkeys(_open.get()):
        if entry.id in session._recent:
            session.count(entry)
    # A stream that was collected while a session was counting waits for the session's lock.
    do_waiting()
