"""The summary as one line for a status bar."""

from __future__ import annotations

from datetime import datetime

from openrouter_usage.money import ZERO, format_usd
from openrouter_usage.render.amounts import window_amount
from openrouter_usage.summary.model import Summary
from openrouter_usage.text import ago

_STALE_S = 120


def render_summary(summary: Summary, now: datetime) -> str:
    """Write today's and the month's spend and what is left; figures older than two minutes tell their age."""
    pieces = [f"{window_amount(w)} {w.period.label}" for w in (summary.today, summary.month) if w.usage is not None]
    pieces += [_left(summary)] if _left(summary) else []
    age_s = (now - summary.taken_at).total_seconds()
    if age_s >= _STALE_S:
        pieces.append(f"{ago(age_s)} old")
    return "💰 " + (" · ".join(pieces) or "no figures") + (" ⚠ partial" if summary.is_partial else "") + "\n"


def _left(summary: Summary) -> str:
    """Write what can still be spent, or the one bound that is known."""
    if summary.spendable is not None:
        return f"{format_usd(summary.spendable)} left"
    if summary.balance:
        return f"{format_usd(summary.balance.balance)} balance"
    limit = summary.key_limit
    if limit is None or limit.remaining is None:
        return ""
    return f"{format_usd(max(limit.remaining, ZERO))} of key limit left"
