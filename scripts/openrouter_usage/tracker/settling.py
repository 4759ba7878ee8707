"""Ends holds whose calls nobody ended: looks up what OpenRouter billed for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from openrouter_usage.answers.generation import Generation
from openrouter_usage.budget import counted_at
from openrouter_usage.collect import connect
from openrouter_usage.entry import Entry, Hold
from openrouter_usage.errors import NotFound, OpenRouterUsageError
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.period import DAY, Period
from openrouter_usage.settings import load_settings


class Settled(NamedTuple):
    """The calls that were settled, and the holds that are left with the reason."""

    entries: tuple[Entry, ...]
    left: tuple[tuple[Hold, str], ...]


def settle_all(ledger: Ledger, now: datetime, *, timeout_s: float = 30.0) -> Settled:
    """Look up every open hold and settle those that OpenRouter knows; safe to repeat, and beside running calls.

    Calls of the last 30 days whose cost was only estimated are looked up as well. Raises LedgerError; trouble with
    OpenRouter leaves the hold, with the reason.
    """
    holds, estimates = ledger.health().holds, _estimates(ledger, now)
    if not holds and not estimates:
        return Settled((), ())
    settings = load_settings()
    client = connect(settings, timeout_s=timeout_s)(settings.require_key())
    entries: list[Entry] = []
    left: list[tuple[Hold, str]] = []
    for hold in holds:
        if not hold.generation:
            left.append((hold, "its generation is not known: it is running, or ended before OpenRouter answered"))
            continue
        try:
            generation = client.generation(hold.generation)
        except NotFound:
            left.append((hold, "OpenRouter does not know it yet"))
        except OpenRouterUsageError as error:
            left.append((hold, error.message))
        else:
            entry = _held_entry(generation, hold)
            if ledger.settle(entry):
                entries.append(entry)
    for known in estimates:
        try:
            generation = client.generation(known.id)
        except OpenRouterUsageError:
            continue  # it stays what it is: counted, and called an estimate
        entry = generation.entry(known.ts, session=known.session, requested=known.model)
        entry = replace(entry, ts=known.ts, tags=known.tags)
        if ledger.append(entry, durable=True):
            entries.append(entry)
    return Settled(tuple(entries), tuple(left))


def _estimates(ledger: Ledger, now: datetime) -> list[Entry]:
    """Give the calls that were answered without a cost, and counted with all that was held for them."""
    period = Period(now - 30 * DAY, now + DAY, "looked up again")
    if not ledger.totals(period).total.estimated:
        return []
    return [entry for entry in ledger.entries(period) if entry.cost_source == "estimated" and entry.id]


def _held_entry(generation: Generation, hold: Hold) -> Entry:
    entry = generation.entry(hold.ts, session=hold.session, hold=hold.id, requested=hold.model)
    return replace(entry, ts=counted_at(hold, entry.ts))


def record(ledger: Ledger, generation: Generation, now: datetime) -> tuple[Entry, bool]:
    """Write a call that was looked up, ending the hold that is open for it; False when the ledger had it already."""
    hold = next((hold for hold in ledger.health().holds if hold.generation == generation.id), None)
    if hold is None:
        entry = generation.entry(now)
        return entry, ledger.append(entry, durable=True)
    entry = _held_entry(generation, hold)
    return entry, ledger.settle(entry)
