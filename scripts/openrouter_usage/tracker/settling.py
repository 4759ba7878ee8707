"""Ends holds whose calls nobody ended: looks up what OpenRouter billed for them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from openrouter_usage.collect import connect
from openrouter_usage.entry import Entry, Hold
from openrouter_usage.errors import NotFound, OpenRouterUsageError
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.period import UTC
from openrouter_usage.settings import load_settings


class Settled(NamedTuple):
    """The calls that were settled, and the holds that are left with the reason."""

    entries: tuple[Entry, ...]
    left: tuple[tuple[Hold, str], ...]


def settle_all(ledger: Ledger, *, timeout_s: float = 30.0) -> Settled:
    """Look up every open hold and settle those that OpenRouter knows; safe to repeat, and beside running calls.

    Raises LedgerError; trouble with OpenRouter leaves the hold, with the reason.
    """
    holds = ledger.health().holds
    if not holds:
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
            entry = generation.entry(datetime.now(UTC), session=hold.session, hold=hold.id, requested=hold.model)
            if ledger.settle(entry):
                entries.append(entry)
    return Settled(tuple(entries), tuple(left))
