"""One tracked call: where it counts, what it is tagged with, and the entries that come of it."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from openrouter_usage.answers.call import CallUsage
from openrouter_usage.entry import Entry
from openrouter_usage.ledger.later import put_off
from openrouter_usage.period import UTC
from openrouter_usage.tracker.session import CostSession, count_in_sessions, current_session, open_sessions
from openrouter_usage.tracker.written import is_locking, write

if TYPE_CHECKING:
    from openrouter_usage.ledger.books import Ledger

_under_way: ContextVar[tuple[TrackedCall, ...]] = ContextVar("openrouter_usage_calls", default=())
_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class Options:
    """What a decorator was told: a session or its name, tags, and the ledger, None for the shared one."""

    session: CostSession | str = ""
    tags: tuple[tuple[str, str], ...] = ()
    ledger: Ledger | None = None


class UnderWay:
    """The stretch in which tracked calls are under way; no generator, for StopIteration passes through as well."""

    __slots__ = ("_before", "_calls")

    def __init__(self, calls: tuple[TrackedCall, ...]) -> None:
        """Name the calls, the outermost first."""
        self._calls = calls

    def __enter__(self) -> None:
        """Begin."""
        self._before = _under_way.get()
        _under_way.set(self._calls)

    def __exit__(self, *_: object) -> None:
        """End."""
        _under_way.set(self._before)


class TrackedCall:
    """A call of a tracked function: it counts where it began, however late its answer comes."""

    def __init__(self, options: Options, requested: str) -> None:
        """Begin now; `requested` is the model that was asked for, "" when that is not known."""
        session = options.session
        self._options = options
        self._requested = requested
        self._sessions = (*open_sessions(), session) if isinstance(session, CostSession) else open_sessions()
        self._session = (session.name if isinstance(session, CostSession) else session) or current_session()
        self._outer = _under_way.get()
        self._within: deque[Entry] = deque(maxlen=_REMEMBERED)
        # What is being handled already is no part of this call, though it will be the context of its exceptions.
        self.handled: BaseException | None = sys.exc_info()[1]
        self.began_s = time.monotonic()

    def under_way(self) -> UnderWay:
        """Let tracked calls that begin inside know that they are part of this one."""
        return UnderWay((*self._outer, self))

    def record(
        self,
        usage: CallUsage,
        *,
        is_bare: bool = False,
        streamed: bool | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
    ) -> None:
        """Write what an answer used, unless a tracked call inside this one has done so.

        Its latency runs between two readings of the monotonic clock, up to now; it is unknown without a beginning.
        """
        latency_s = None if since_s is None else (until_s or time.monotonic()) - since_s
        now = datetime.now(UTC).replace(microsecond=0)
        entry = replace(
            usage.entry(now, requested=self._requested, session=self._session),
            tags=self._options.tags,
            streamed=streamed,
            latency_ms=None if latency_s is None else max(0, round(latency_s * 1000)),
        )
        # A usage without its answer may also be the sum of the calls inside.
        if (is_bare and self._within) or (not entry.id and self._has_within(entry)):
            return
        for outer in self._outer:
            outer._within.append(entry)
        self._write(entry)

    def _has_within(self, entry: Entry) -> bool:
        """Tell whether an answer without an id is one that came from within; each is taken for one only once."""
        for known in list(self._within):
            same = known.prompt_tokens == entry.prompt_tokens and known.completion_tokens == entry.completion_tokens
            if same and (entry.cost is None or entry.cost == known.cost):
                with suppress(ValueError):
                    self._within.remove(known)
                return True
        return False

    def _write(self, entry: Entry) -> None:
        if not is_locking():
            self._count(entry)
            return
        # The garbage collector ended a stream in the middle of a ledger's work, whose locks this thread holds.
        put_off(lambda: self._count(entry))

    def _count(self, entry: Entry) -> None:
        if write(entry, self._options.ledger):
            count_in_sessions(entry, self._sessions)
