"""How a key of the account is written; its secret is never known here."""

from __future__ import annotations

from datetime import datetime, timedelta

from openrouter_usage.money import Json, format_usd
from openrouter_usage.openrouter.answers.key import KeyRecord
from openrouter_usage.period import iso, spoken
from openrouter_usage.text import named, safe

DORMANT = timedelta(days=30)
SOON = timedelta(days=7)


def key_lines(key: KeyRecord, now: datetime) -> list[str]:
    """Write a key in one or two lines: name, masked label, spent against its limit, last use, and remarks."""
    spent = "unknown" if key.spent_in_window is None else format_usd(key.spent_in_window)
    if key.limit.amount is None:
        money = f"{spent} spent ever, no limit"
    else:
        money = f"{spent} of {format_usd(key.limit.amount)} spent {_window(key.limit.reset)}"
    unseen = "last use unknown" if key.usage else "never used"
    used = f"last used {spoken(key.last_used_at)}" if key.last_used_at else unseen
    marks = remarks(key, now)
    tail = f" ⚠ {', '.join(marks)}" if marks else ""
    byok = f" + {format_usd(key.byok_usage)} BYOK ever" if key.byok_usage else ""
    return [f"• {named(key.name)} ({named(key.label)}): {money}{byok}; {used}{tail}"]


def _window(reset: str | None) -> str:
    known = {None: "ever", "daily": "today", "weekly": "this week", "monthly": "this month"}
    return known.get(reset) or f"({safe(reset)})"


def key_data(key: KeyRecord, now: datetime) -> dict[str, Json]:
    """Return a key as JSON: amounts in USD, null where unknown; a limit of null is no limit."""
    return {
        "hash": key.hash,
        "name": key.name,
        "label": key.label,
        "disabled": key.is_disabled,
        "limit_usd": key.limit.amount,
        "limit_remaining_usd": key.limit.remaining,
        "limit_reset": key.limit.reset,
        "spent_in_window_usd": key.spent_in_window,
        "usage_usd": key.usage,
        "usage_daily_usd": key.daily,
        "usage_weekly_usd": key.weekly,
        "usage_monthly_usd": key.monthly,
        "byok_usage_usd": key.byok_usage,
        "created_at": iso(key.created_at) if key.created_at else None,
        "expires_at": iso(key.expires_at) if key.expires_at else None,
        "last_used_at": iso(key.last_used_at) if key.last_used_at else None,
        "workspace_id": key.workspace or None,
        "remarks": list(remarks(key, now)),
    }


def remarks(key: KeyRecord, now: datetime) -> list[str]:
    """Return what is worth a look about a key."""
    found = []
    if key.is_disabled:
        found.append("disabled")
    if key.limit.amount is None:
        found.append("no limit")
    if key.expires_at and key.expires_at <= now + SOON:
        found.append("expired" if key.expires_at <= now else f"expires {key.expires_at:%Y-%m-%d}")
    # A key that spent something was used, though OpenRouter may not say when.
    last = key.last_used_at or (None if key.usage else key.created_at)
    if last and now - last > DORMANT and not key.is_disabled:
        found.append(f"unused since {last:%Y-%m-%d}")
    return found
