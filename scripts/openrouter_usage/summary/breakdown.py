"""Breaks the completed UTC days down by model, provider or day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from openrouter_usage.answers.account import ActivityRow
from openrouter_usage.period import Period, completed_days
from openrouter_usage.summary.model import Breakdown, Share, dearest_first
from openrouter_usage.summary.options import DEFAULT_TOP
from openrouter_usage.usage import NOTHING, Usage

GROUPS: dict[str, Callable[[ActivityRow], str]] = {
    "model": lambda row: row.model,
    "provider": lambda row: row.provider,
    "day": lambda row: row.day.isoformat(),
}


def break_down(rows: Iterable[ActivityRow], now: datetime, *, days: int, top: int | None, by: str) -> Breakdown:
    """Sum the last `days` completed UTC days by one dimension, the `top` dearest first.

    Days stand newest first and are all shown unless `top` says otherwise. Rows of the running day are
    left out, though OpenRouter promises none: they would be counted again in Today.
    """
    period = completed_days(now, days)
    group = GROUPS[by]
    sums: dict[str, Usage] = {}
    for row in rows:
        if period.first_day <= row.day <= period.last_day:
            name = group(row)
            sums[name] = sums.get(name, NOTHING) + row.usage
    return share_out(sums, period, days=days, top=top, by=by)


def share_out(sums: Mapping[str, Usage], period: Period, *, days: int, top: int | None, by: str) -> Breakdown:
    """Order sums and keep the first `top` of them, the rest added up."""
    shares = [Share(name, usage) for name, usage in sums.items()]
    if by == "day":
        shares.sort(key=lambda share: share.name, reverse=True)
    else:
        shares.sort(key=dearest_first)
    shown = len(shares) if top is None and by == "day" else DEFAULT_TOP if top is None else top
    rest = sum((share.usage for share in shares[shown:]), NOTHING)
    whole = sum((share.usage for share in shares), NOTHING)
    return Breakdown(by, days, period, tuple(shares[:shown]), max(0, len(shares) - shown), rest, whole)
