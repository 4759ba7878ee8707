"""One call in the ledger: money held before it is sent, exactly one end afterwards, and look-ups of unknown costs."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.budgets import TAG_KINDS, Budget, applying, bounding
from openrouter_usage.called import as_called
from openrouter_usage.entry import (
    GENERATION_PREFIX,
    LONGEST_NAME,
    Entry,
    Hold,
    checked_hold,
    record_values,
    write_line,
)
from openrouter_usage.errors import (
    BadAnswer,
    InvalidValue,
    LedgerError,
    NotFound,
    OpenRouterUsageError,
    Refused,
    Unbelievable,
)
from openrouter_usage.figures.limits import LONGEST_CALL, Asked, check_all, counted_at, dated_ahead_from
from openrouter_usage.home.settings import load_settings
from openrouter_usage.jobs.summary import connect
from openrouter_usage.ledger import spool
from openrouter_usage.ledger.ledger import Committed, Ledger
from openrouter_usage.ledger.refused import remember
from openrouter_usage.money import ZERO, Json, format_usd
from openrouter_usage.openrouter.answers.generation import CallUsage, Generation
from openrouter_usage.period import FOREVER, Period, iso
from openrouter_usage.text import safe
from openrouter_usage.tracker.record import calls_under_way
from openrouter_usage.tracker.session import count_in_sessions, open_sessions

# -- One call in the ledger: money held before it is sent, and exactly one end afterwards.

Clock = Callable[[], datetime]
LookUp = Callable[[str], Generation]
logger = logging.getLogger("openrouter_usage")


class Booking:
    """One call's record in the ledger. Under a budget everything raises; without one, trouble is only logged."""

    def __init__(
        self,
        ledger: Ledger | None,
        *,
        model: str,
        budgets: Iterable[Budget],
        clock: Clock,
        session: str = "",
        tags: Mapping[str, str] = {},
    ) -> None:
        """Prepare to book a call of `model` under those of some budgets that it falls under.

        Without a ledger nothing is ever written.
        """
        self._ledger = ledger
        self._clock = clock
        self._model = model[:LONGEST_NAME]
        self._session = session[:LONGEST_NAME]
        self._tags = tuple(sorted(tags.items()))
        self.budgets, self._is_bounded = falling_under(ledger, budgets, self._session, self._tags)
        self._sessions = open_sessions()
        for call in calls_under_way():
            call.is_accounted_for()
        self._began = clock()
        self.hold: Hold | None = None
        self.entry: Entry | None = None
        self._is_released = False
        # The line that is not in the ledger although the call was made, and where it waits; None when all is well.
        self.unsaved: bytes | None = None
        self.kept_in: Path | None = None

    @property
    def is_bounded(self) -> bool:
        """Check whether a budget has to know what the call can cost."""
        return self._is_bounded

    def open(self, max_cost: Decimal | None, *, measured: Decimal | None = None, remembers: bool = True) -> None:
        """Set `max_cost` USD aside; BudgetExceeded when it does not fit, LedgerError when it cannot be written.

        `measured` is what budgets of that policy count instead. All budgets are checked in one step with the writing.
        A refusal is remembered, unless the caller may try again.
        """
        if self._ledger is None:
            return
        hold = Hold(
            uuid.uuid4().hex, self._began, self._model, max_cost, session=self._session, tags=self._tags,
            measured=measured,
        )  # fmt: skip
        most = max_cost or ZERO
        asked = Asked(most, most if measured is None else measured)

        def fits(books: Committed) -> None:
            check_all(self.budgets, asked, books, self._began)

        try:
            # A hold that nobody can read again would hold nothing.
            hold = checked_hold(record_values(hold))
            self._ledger.hold(hold, fits, self.budgets)
        except (LedgerError, InvalidValue) as error:
            if self.is_bounded:
                raise
            self.warn_of_no_hold(error)
            return
        except Refused as error:
            if remembers:
                self.remember(error)
            raise
        except BaseException:
            # ^C may come when the line is written already; nothing will be sent for it.
            self.hold = hold
            self.release()
            raise
        self.hold = hold

    def remember(self, error: OpenRouterUsageError) -> None:
        """Write down that this call was refused, so that `budget log` can say why; never what it said."""
        if self._ledger is None:
            return
        amounts = {
            f"{name}_usd": getattr(error, name, None) for name in ("asked", "spent", "held", "cap")
        }  # of a budget or a brake
        resets_at = getattr(error, "resets_at", None)
        values: dict[str, Json] = {
            "ts": iso(self._began),
            "code": error.code,
            "kind": getattr(error, "kind", None),
            "name": getattr(error, "name", None) or None,
            "scope": getattr(error, "scope", None),
            "policy": getattr(error, "policy", None),
            "model": self._model,
            "session": self._session or None,
            **{kind: dict(self._tags).get(kind) for kind in TAG_KINDS},
            **amounts,
            "resets_at": iso(resets_at) if resets_at else None,
            "message": safe(error.message, 1_000),
        }
        remember(self._ledger.path, {name: value for name, value in values.items() if value is not None})

    def warn_of_no_hold(self, error: OpenRouterUsageError) -> None:
        """Warn that nothing in the ledger shows the call while it is made."""
        logger.warning("the call is made without an entry beforehand: %s", error.message)

    def warn_of_no_name(self, error: OpenRouterUsageError) -> None:
        """Warn that the ledger does not know which generation the call is."""
        logger.warning("a generation is not written down: %s", error.message)

    @property
    def is_kept(self) -> bool:
        """Check whether the call is in the ledger, as what it cost or as what is held for it."""
        return self._ledger is not None and self.unsaved is None and (self.entry is not None or self.hold is not None)

    @property
    def remark(self) -> str:
        """Return how a call that failed is recorded; "" when it cost nothing, or is not recorded."""
        if self.entry is not None:
            if self.entry.told:
                return f"its bill is implausible; look at it, then run: settle --id {self.entry.id}"
            cost = "an unknown amount" if self.entry.cost is None else format_usd(self.entry.cost)
            return f"the call cost {cost}"
        if self.hold is None or self._is_released:
            return ""
        return "the call may have been billed, and is held until `settle` finds out"

    def name_generation(self, generation: str) -> None:
        """Write down which generation the call is, as soon as that is known."""
        if self._ledger is not None and self.hold is not None and generation and not self.hold.generation:
            self.hold = replace(self.hold, generation=generation)
            try:
                self._ledger.name_generation(self.hold.id, generation)
            except LedgerError as error:
                logger.warning("the generation %s is not written down: %s", generation, error.message)

    def settle(self, usage: CallUsage, *, streamed: bool, latency_ms: int | None) -> Entry:
        """End the hold with what the answer says was used."""
        entry = usage.entry(self._clock(), requested=self._model, session=self._session)
        return self._write(replace(entry, streamed=streamed or None, latency_ms=latency_ms))

    def settle_late(self, generation: Generation) -> Entry:
        """End the hold with what OpenRouter says afterwards."""
        return self._write(generation.entry(self._clock(), session=self._session, requested=self._model))

    def settle_estimated(self, usage: CallUsage, *, streamed: bool, latency_ms: int | None) -> Entry:
        """End the hold of a call whose cost OpenRouter does not tell, or nobody believes: all that was held counts."""
        held = self.hold.max_cost if self.hold else None
        if held is not None and usage.cost is not None:
            held = max(held, usage.cost)
        known = replace(usage, cost=held)
        entry = known.entry(self._clock(), requested=self._model, session=self._session)
        source = "" if held is None else "estimated"
        if usage.told:
            # A person has to look at it, and needs a name for it: a call without an id has its hold's.
            entry = replace(entry, id=entry.id or (self.hold.id if self.hold else ""), told=usage.told)
        return self._write(replace(entry, cost_source=source, streamed=streamed or None, latency_ms=latency_ms))

    def leave(self, usage: CallUsage, *, latency_ms: int | None) -> None:
        """Write down what is known of a stream that nobody ended; what it cost, if unknown, is left to `settle`."""
        if usage.told:
            self.settle_estimated(usage, streamed=True, latency_ms=latency_ms)
            return
        if usage.cost is not None or self.hold is None:
            self.settle(usage, streamed=True, latency_ms=latency_ms)
            return
        self.name_generation(usage.id)
        entry = usage.entry(self._clock(), requested=self._model, session=self._session)
        count_in_sessions(entry, self._sessions)

    def settle_by_asking(self, look_up: LookUp, usage: CallUsage, *, streamed: bool, latency_ms: int | None) -> bool:
        """End the hold with what OpenRouter says when it is asked; False when it does not say yet."""
        try:
            found = looked_up(look_up, usage.id)
        except Unbelievable as error:
            self.settle_estimated(replace(usage, told=error.told), streamed=streamed, latency_ms=latency_ms)
            return True
        if found is not None:
            self.settle_late(found)
        return found is not None

    def _write(self, entry: Entry) -> Entry:
        entry = replace(entry, tags=self._tags)
        if self.hold is not None:
            entry = replace(entry, hold=self.hold.id, ts=counted_at(self.hold, entry.ts))
        self.entry = entry
        if self._ledger is None:
            return entry
        try:
            written = self._ledger.settle(entry) if self.hold else self._ledger.append(entry, durable=True)
        except LedgerError as error:
            self.keep_for_later(error)
            written = True
        if written:
            count_in_sessions(entry, self._sessions)
        return entry

    def keep_for_later(self, error: LedgerError) -> None:
        """Keep the line of a call that is made and paid in another place, until the ledger can take it."""
        if self.entry is None or self._ledger is None:
            return
        self.unsaved = write_line(self.entry)
        self.kept_in = spool.save(self._ledger.path, self.unsaved)
        logger.warning("a call is not in the ledger yet: %s: %s", error.message, self.unsaved.decode().strip())

    def release(self) -> None:
        """End the hold of a call for which nothing can have been billed."""
        if self._ledger is None or self.hold is None:
            return
        self._is_released = True
        try:
            self._ledger.release(self.hold.id, self._clock())
        except LedgerError as error:
            self._is_released = False
            logger.warning("the hold %s stays open: %s", self.hold.id, error.message)

    def end_after(self, error: OpenRouterUsageError) -> None:
        """End the hold of a call that failed: released, or left open where it may have been billed."""
        if error.may_have_arrived:
            self.name_generation(error.generation)
        else:
            self.release()


def falling_under(
    ledger: Ledger | None, budgets: Iterable[Budget], session: str, tags: Iterable[tuple[str, str]]
) -> tuple[tuple[Budget, ...], bool]:
    """Return which of some budgets a call falls under, and whether one has to know what the call can cost.

    Those that are set in a shared ledger are enforced by it: here they only count for the second answer. LedgerError
    where such a ledger cannot be asked, for then nobody knows what may be spent.
    """
    if ledger is None:
        own = tuple(applying(budgets, session, tags))
        return own, bounding(own)
    names = tuple({**dict(tags), **ledger.names()}.items())
    own = tuple(applying(budgets, session, names))
    return own, bounding((*own, *applying(ledger.budgets(), session, names)))


def looked_up(look_up: LookUp, generation: str) -> Generation | None:
    """Ask for a generation; None when OpenRouter does not know it yet, or cannot be asked.

    Raises Unbelievable for an implausible bill.
    """
    try:
        return look_up(generation) if generation else None
    except NotFound:
        return None
    except Unbelievable:
        raise
    except OpenRouterUsageError as error:
        logger.warning("%s could not be looked up: %s", generation, error.message)
        return None


# -- Finds out what calls cost whose cost is not known yet: looks up what OpenRouter billed for them.

Ask = Callable[[str], Generation]
_NOT_KNOWN_YET = "OpenRouter does not know it yet"
_LOOK = "its bill is implausible: look at it on OpenRouter, then run: settle --id with its id"


class Settled(NamedTuple):
    """The calls that were settled, and what is left, holds and booked calls, with the reason of each."""

    entries: tuple[Entry, ...]
    left: tuple[tuple[Hold | Entry, str], ...]


class Recorded(NamedTuple):
    """A call that was looked up: whether it, or its certain cost, is new, and whether a booked call is better known."""

    entry: Entry
    is_new: bool
    is_completed: bool


def settle_all(ledger: Ledger, now: datetime, *, timeout_s: float = 30.0) -> Settled:
    """Look up every call whose cost is not known yet, open holds and booked calls alike, and calls dated ahead.

    Safe to repeat, and beside running calls. Raises LedgerError; trouble with OpenRouter leaves the call, with the
    reason. A call with an implausible bill is left to a person: see `settle_one`.
    """
    holds = ledger.holds_to_settle()
    booked = {entry.id: entry for entry in (*ledger.unsettled(), *_dated_ahead(ledger, now))}
    if not holds and not booked:
        return Settled((), ())
    asking = _Asking(timeout_s)
    entries: list[Entry] = []
    left: list[tuple[Hold | Entry, str]] = []
    for hold in holds:
        settled, why = _settle_hold(ledger, hold, asking, now)
        entries += [settled] if settled else []
        left += [(hold, why)] if why else []
    for known in booked.values():
        settled, why = (None, _LOOK) if known.is_doubtful else _settle_booked(ledger, known, asking, now)
        entries += [settled] if settled else []
        left += [(known, why)] if why else []
    return Settled(tuple(entries), tuple(left))


class _Asking:
    """Asks for generations; once OpenRouter cannot be reached or refuses, the rest is not asked for."""

    def __init__(self, timeout_s: float) -> None:
        settings = load_settings()
        self._client = connect(settings, timeout_s=timeout_s)(settings.require_key())
        self._failed: OpenRouterUsageError | None = None

    def __call__(self, generation: str) -> Generation:
        if self._failed is not None:
            raise self._failed
        try:
            return self._client.generation(generation)
        except (NotFound, BadAnswer):
            raise  # of this one call
        except OpenRouterUsageError as error:
            self._failed = error
            raise


def is_stuck(hold: Hold, now: datetime) -> bool:
    """Check whether only a person can end a hold: its call is over, and there is no id to ask about."""
    return not hold.generation and hold.ts < now - LONGEST_CALL


def _settle_hold(ledger: Ledger, hold: Hold, ask: Ask, now: datetime) -> tuple[Entry | None, str]:
    if is_stuck(hold, now):
        return None, (
            "it ended before OpenRouter answered, so there is no id to ask about; once its UTC day is over, `reconcile`"
            " shows whether the account was billed, and `import` of OpenRouter's log records the call if so;"
            f" then `settle --release {hold.id} --yes` frees the held money"
        )
    if not hold.generation:
        return None, "its generation is not known: it is running, or ended before OpenRouter answered"
    try:
        entry = _held_entry(ask(hold.generation), hold, now)
    except NotFound:
        return None, _NOT_KNOWN_YET
    except Unbelievable as error:
        # All that was held counts on, and nothing more is sent under a budget until a person has looked.
        source = "" if hold.max_cost is None else "estimated"
        entry = Entry(hold.ts, hold.model, cost=hold.max_cost, id=hold.generation, cost_source=source)
        ledger.settle(replace(entry, session=hold.session, tags=hold.tags, hold=hold.id, told=error.told))
        return None, _LOOK
    except OpenRouterUsageError as error:
        return None, error.message
    return (entry if ledger.settle(entry) else None), ""


def _settle_booked(ledger: Ledger, known: Entry, ask: Ask, now: datetime) -> tuple[Entry | None, str]:
    try:
        entry = ask(known.id).entry(known.ts, session=known.session, requested=known.model)
    except NotFound:
        return None, _NOT_KNOWN_YET
    except Unbelievable as error:
        ledger.append(replace(known, told=error.told), durable=True)
        return None, _LOOK
    except OpenRouterUsageError as error:
        return None, error.message
    return (entry if _add(ledger, entry, known, now) else None), ""


def _dated_ahead(ledger: Ledger, now: datetime) -> Iterator[Entry]:
    """Yield the booked calls that are dated in the future, and whose time OpenRouter can be asked for."""
    moment = dated_ahead_from(now)
    if ledger.ahead(moment):
        found = ledger.entries(Period(moment, FOREVER, "ahead"))
        yield from (entry for entry in found if entry.id.startswith(GENERATION_PREFIX))


def _add(ledger: Ledger, entry: Entry, known: Entry, now: datetime) -> bool:
    """Add what a look-up knows to a booked call, and its time where it was booked in the future."""
    is_ahead = known.ts >= dated_ahead_from(now) > entry.ts
    return ledger.append(replace(entry, tags=known.tags), durable=True, may_redate=is_ahead)


def settle_one(
    ledger: Ledger, identity: str, now: datetime, *, cost: Decimal | None = None, timeout_s: float = 30.0
) -> Entry:
    """Settle one booked call whose bill a person has looked at: by what OpenRouter says now, or by a `cost` in USD.

    Raises InvalidValue for a call that the ledger does not have, and what the look-up raises.
    """
    known = ledger.known(identity)
    if known is None:
        raise InvalidValue(
            "the ledger has no call with this id", hint=as_called("cost_tracker.py settle lists those that are left")
        )
    if cost is None:
        entry = _Asking(timeout_s)(identity).entry(known.ts, session=known.session, requested=known.model)
    else:
        entry = replace(known, cost=cost, cost_source="late", told="", hold="")
    _add(ledger, replace(entry, seen=bool(known.told)), known, now)
    return ledger.known(identity) or entry


def _held_entry(generation: Generation, hold: Hold, now: datetime) -> Entry:
    found = generation.entry(now, session=hold.session, hold=hold.id, requested=hold.model)
    entry = replace(found, tags=hold.tags)
    if hold.ts >= dated_ahead_from(now):
        return entry  # the clock was wrong when it was held: OpenRouter knows better
    return replace(entry, ts=counted_at(hold, entry.ts if generation.created_at else hold.ts))


def record(ledger: Ledger, generation: Generation, now: datetime) -> Recorded:
    """Write a call that was looked up, ending the hold that is open for it; a booked call is completed instead."""
    hold = next((hold for hold in ledger.health().holds if hold.generation == generation.id), None)
    known = ledger.known(generation.id)
    is_news = known is None or not known.is_certain
    if hold is not None:
        entry = _held_entry(generation, hold, now)
        written = ledger.settle(entry)
    elif known is not None:
        entry = generation.entry(known.ts, requested=known.model)
        written = _add(ledger, entry, known, now)
    else:
        entry = generation.entry(now)
        written = ledger.append(entry, durable=True)
    return Recorded(ledger.known(generation.id) or entry, written and is_news, written and known is not None)
