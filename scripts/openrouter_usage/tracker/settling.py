"""Finds out what calls cost whose cost is not known yet: looks up what OpenRouter billed for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.answers.generation import Generation
from openrouter_usage.budget import counted_at, dated_ahead_from
from openrouter_usage.collect import connect
from openrouter_usage.entry import GENERATION_PREFIX, Entry, Hold
from openrouter_usage.errors import BadAnswer, InvalidValue, NotFound, OpenRouterUsageError, Unbelievable
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.period import FOREVER, Period
from openrouter_usage.settings import load_settings

Ask = Callable[[str], Generation]
_NOT_KNOWN_YET = "OpenRouter does not know it yet"
_LOOK = "its bill is unbelievable: look at it on OpenRouter, then run: settle --id with its id"


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
    reason. A call with an unbelievable bill is left to a person: see `settle_one`.
    """
    holds = ledger.health().holds
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


def _settle_hold(ledger: Ledger, hold: Hold, ask: Ask, now: datetime) -> tuple[Entry | None, str]:
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
        ledger.settle(replace(entry, session=hold.session, hold=hold.id, told=error.told))
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
            "the ledger has no call with this id", hint="cost_tracker.py settle lists those that are left"
        )
    if cost is None:
        entry = _Asking(timeout_s)(identity).entry(known.ts, session=known.session, requested=known.model)
    else:
        entry = replace(known, cost=cost, cost_source="late", told="", hold="")
    _add(ledger, replace(entry, seen=bool(known.told)), known, now)
    return ledger.known(identity) or entry


def _held_entry(generation: Generation, hold: Hold, now: datetime) -> Entry:
    entry = generation.entry(now, session=hold.session, hold=hold.id, requested=hold.model)
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
