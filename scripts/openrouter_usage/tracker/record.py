"""A tracked call: where it counts, its tags, its entries; written to the ledger without ever failing."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from openrouter_usage.entry import Entry
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.jobs.loading import load_books
from openrouter_usage.ledger.locks import put_off
from openrouter_usage.openrouter.answers.generation import CallUsage
from openrouter_usage.period import UTC
from openrouter_usage.text import safe
from openrouter_usage.tracker.observe import is_generation
from openrouter_usage.tracker.session import (
    CostSession,
    complete_in_sessions,
    count_in_sessions,
    current_session,
    open_sessions,
)

if TYPE_CHECKING:
    from types import FrameType

    from openrouter_usage.ledger.ledger import Ledger

# -- Writes tracked calls to a ledger without ever failing: what cannot be written is kept, and said once.

T = TypeVar("T")
Clock = Callable[[], datetime]
LOGGER = "openrouter_usage"
# A call waits this long for its bookkeeping at most; what is not written then is kept for the next time.
LOCK_TIMEOUT_S = 5.0
_shared: dict[tuple[int, Path], Ledger] = {}
_said: set[str] = set()
_LOCKING = (
    "openrouter_usage.ledger",
    "openrouter_usage.tracker.session",
    "openrouter_usage.home.settings",  # while they are imported, for the first call of all
)


def utc_now() -> datetime:
    """Return the time in whole seconds, as the file format has them; the day, which is what counts, stays the same."""
    return datetime.now(UTC).replace(microsecond=0)


def shared_ledger() -> Ledger:
    """Return this process's ledger as the settings name it now, opened at its first use; SettingsError without one."""
    load_books()
    from openrouter_usage.ledger.engines import open_ledger

    found = open_ledger(lock_timeout_s=LOCK_TIMEOUT_S)
    # By process, because a lock of the parent may have been held when this process was forked off; without a
    # lock of its own for the same reason: of two ledgers made at once one is kept, and none was opened.
    owner = (os.getpid(), found.path)
    return _shared.get(owner) or _shared.setdefault(owner, found)


def write(entry: Entry, ledger: Ledger | None) -> bool:
    """Write a call to a ledger, None for the shared one; False when it is known there already."""
    try:
        ledger = ledger or shared_ledger()
    except OpenRouterUsageError as error:
        complain("no ledger", f"{error.message}; calls are not recorded")
        return True
    place = safe(ledger.source, 300)
    try:
        is_new = ledger.append(entry)
    except Exception as error:
        _keep(entry, ledger.path, error)
        return True
    _said.discard(place)
    return is_new


def _keep(entry: Entry, path: Path, error: Exception) -> None:
    from openrouter_usage.entry import write_line
    from openrouter_usage.ledger import spool

    kept = spool.save(path, write_line(entry))
    where = f"calls are kept in {safe(str(kept), 300)} until it can" if kept else "calls are not recorded"
    why = error.message if isinstance(error, OpenRouterUsageError) else safe(f"{type(error).__name__}: {error}", 300)
    complain(safe(str(path), 300), f"the ledger cannot be written: {why}; {where}")


def guarded(work: Callable[[], T], otherwise: T) -> T:
    """Do work for the ledger; a failure is logged and never raised: a strange answer must not break a call."""
    try:
        return work()
    except Exception as error:
        complain("an answer", f"an answer could not be read ({type(error).__name__}); its cost may not be recorded")
        return otherwise


def complain(about: str, text: str) -> None:
    """Log a problem, once for as long as it lasts."""
    if about not in _said:
        _said.add(about)
        warn(text)


def warn(text: str) -> None:
    """Write a warning to the log."""
    load_books()
    import logging

    logging.getLogger(LOGGER).warning("%s", text)


def is_locking() -> bool:
    """Check whether this code runs in the middle of a ledger's or a session's own, as a finalizer may."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not str(frame.f_globals.get("__name__")).startswith(_LOCKING):
        frame = frame.f_back
    return frame is not None


# -- One tracked call: where it counts, what it is tagged with, and the entries that come of it.

_under_way: ContextVar[tuple[TrackedCall, ...]] = ContextVar("openrouter_usage_calls", default=())
_REMEMBERED = 1_000


class Remarks:
    """What is said about one decorated function: each thing once, however often it happens."""

    def __init__(self, function: str) -> None:
        """Name the function."""
        self._function = function
        self._unsaid = {"untracked": True, "claimed": True}

    def untracked(self, what: str) -> None:
        """Warn that nothing was found in what the function returned, and say what to do about it."""
        self._say(
            "untracked",
            f"returned {what}, which does not tell what its call cost; the call is not in the ledger. Return "
            "OpenRouter's answer itself (the answer object, its JSON, the response or the stream), or make the call "
            "with CostTracker.chat",
        )

    def claimed(self, is_recorded: bool) -> None:
        """Warn that the cost in an answer is not proven to be OpenRouter's, and say how it was recorded."""
        made_of_it = (
            "it is recorded as an estimate"
            if is_recorded
            else "without tokens it is not a model's answer, and not recorded"
        )
        self._say(
            "claimed",
            "returned a cost without a sign that it is OpenRouter's (an id gen-..., its address, its headers); "
            + made_of_it,
        )

    def _say(self, what: str, text: str) -> None:
        # Taken out in one step, for several threads may have something to say.
        if self._unsaid.pop(what, False):
            warn(f"{self._function} {text}")


@dataclass(frozen=True, slots=True)
class Options:
    """What a decorator was told: a session or its name, tags, and the ledger, None for the shared one."""

    session: CostSession | str = ""
    tags: tuple[tuple[str, str], ...] = ()
    ledger: Ledger | None = None
    remarks: Remarks = field(default_factory=lambda: Remarks("a tracked function"))


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
        self._is_seen = False
        # What is being handled already is no part of this call, though it will be the context of its exceptions.
        self.handled: BaseException | None = sys.exc_info()[1]
        self.began_s = time.monotonic()

    def under_way(self) -> UnderWay:
        """Make this the outer call of tracked calls that begin inside."""
        return UnderWay((*self._outer, self))

    def is_accounted_for(self, entry: Entry | None = None) -> None:
        """Mark the call as accounted for: it is recorded here, by a call inside, or by somebody else."""
        self._is_seen = True
        if entry is not None:
            self._within.append(entry)

    def is_untracked(self, what: str) -> None:
        """Warn that `what` was returned and says nothing about the call, unless a call inside has been recorded."""
        if self._is_seen:
            return
        self._options.remarks.untracked(what)
        self._count_untracked()

    def _count_untracked(self) -> None:
        for call in (self, *self._outer):
            call.is_accounted_for()  # once, not by every function on the way
        for session in dict.fromkeys(self._sessions):
            session.count_untracked()

    def record(
        self,
        usage: CallUsage,
        *,
        is_bare: bool = False,
        is_proven: bool = False,
        streamed: bool | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
    ) -> None:
        """Write what an answer used, unless a tracked call inside this one has done so.

        A cost is billed when it is OpenRouter's word: `is_proven`, or by its id; else it is an estimate at most. The
        latency runs between two readings of the monotonic clock, up to now; it is unknown without a beginning.
        """
        latency_s = None if since_s is None else (until_s or time.monotonic()) - since_s
        now = utc_now()
        entry = replace(
            usage.entry(now, requested=self._requested, session=self._session),
            tags=self._options.tags,
            streamed=streamed,
            latency_ms=None if latency_s is None else max(0, round(latency_s * 1000)),
        )
        # A usage without its answer may also be the sum of the calls inside.
        if (is_bare and self._within) or (not entry.id and self._has_within(entry)):
            self.is_accounted_for()
            return
        if entry.cost is not None and not is_proven and not is_generation(entry.id):
            # A bill of something else may look the same.
            is_recorded = bool(entry.prompt_tokens or entry.completion_tokens)
            self._options.remarks.claimed(is_recorded)
            if not is_recorded:
                self._count_untracked()
                return
            entry = replace(entry, cost_source="estimated")
        self.is_accounted_for()
        for outer in self._outer:
            outer.is_accounted_for(entry)
        self._write(entry)

    def _has_within(self, entry: Entry) -> bool:
        """Check whether an answer without an id is one that came from within; each is taken for one only once."""
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


def calls_under_way() -> tuple[TrackedCall, ...]:
    """Return the tracked calls that this code is part of."""
    return _under_way.get()


def count_elsewhere(entry: Entry, *, is_new: bool = True) -> None:
    """Count a call that was written to a ledger by other means than a tracked function, where it was written."""
    for call in _under_way.get():
        call.is_accounted_for(entry)
    if is_new:
        count_in_sessions(entry)
    else:
        complete_in_sessions(entry)


def name_of(function: object) -> str:
    """Name a function as its program knows it."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return safe(f"{getattr(function, '__module__', None) or '?'}.{name}()", 200)


def kind_of(value: object) -> str:
    """Name the type of a value with its module, in words for what is most common."""
    if value is None:
        return "nothing (None)"
    if isinstance(value, str):
        return "a text"
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return safe(f"an object of type {module}{kind.__qualname__}", 200)
