"""What a reader has to know of a ledger beside its sums: that it is empty, what is held, lines that do not count."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from openrouter_usage.entry import Hold, UnreadLine
from openrouter_usage.ledger.ledger import Health
from openrouter_usage.money import format_usd, total
from openrouter_usage.text import plural, safe


def held(holds: tuple[Hold, ...]) -> Decimal | None:
    """Return the most that open holds may still cost; None when unknown."""
    amounts = [hold.max_cost for hold in holds if hold.max_cost is not None]
    return total(amounts) if len(amounts) == len(holds) else None


def health_notes(health: Health) -> tuple[str, ...]:
    """Return notes on what no sum counts: an empty ledger, open holds, lines that were not understood."""
    notes = [] if health.size else ["no calls yet: `call`, CostTracker, track_cost and `import` record them"]
    if health.holds:
        amount = held(health.holds)
        most = "of unknown cost" if amount is None else f"up to {format_usd(amount)}"
        notes.append(f"{plural(len(health.holds), 'call')} running or unsettled, {most}, not included; see: settle")
    return (*notes, *unread_notes(health.unread))


def unread_notes(unread: Sequence[UnreadLine]) -> list[str]:
    """Return notes on how many lines of a file are not counted, and where the first one is."""
    notes = []
    damaged = [line for line in unread if line.is_damaged]
    foreign = [line for line in unread if not line.is_damaged]
    if damaged:
        notes.append(f"{plural(len(damaged), 'damaged line')} not counted, {_first(damaged)} ({safe(damaged[0].why)})")
    if foreign:
        notes.append(f"{plural(len(foreign), 'line')} of an unknown kind kept and not counted, {_first(foreign)}")
    return notes


def _first(lines: list[UnreadLine]) -> str:
    return f"{'' if len(lines) == 1 else 'the first '}at byte {lines[0].offset:,}"
