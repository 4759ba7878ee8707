"""Show what is used and left, how fast it is used, and how many days it will last."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from decimal import Decimal

from openrouter_usage.answers.key import KeyInfo, Limit
from openrouter_usage.answers.parts import Gap
from openrouter_usage.cli.output import complain, write
from openrouter_usage.cli.parser import Parser, whole_number
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.exactjson import Json
from openrouter_usage.latest import latest
from openrouter_usage.money import format_usd
from openrouter_usage.period import UTC, spoken
from openrouter_usage.render.as_json import envelope, forecast_data
from openrouter_usage.settings import load_settings
from openrouter_usage.summary.build import build_summary
from openrouter_usage.summary.forecast import (
    Forecast,
    forecast,
    said_of_month_end,
    said_of_outlook,
    said_of_spike,
)
from openrouter_usage.summary.model import Summary
from openrouter_usage.text import safe

EXAMPLES = """examples:
  cost_tracker.py credits
  cost_tracker.py credits --json
"""
PROGRAM = "cost_tracker.py credits"


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait (30)")


def run(options: Namespace) -> int:
    """Print the figures of the key and of the account; a part that is missing is named."""
    now = datetime.now(UTC)
    settings = load_settings()
    settings.require_key()
    for warning in settings.warnings:
        complain(PROGRAM, warning)
    found = latest(settings, now, timeout_s=options.timeout)
    key = None if isinstance(found.parts.key, Gap) else found.parts.key
    summary = build_summary(found.parts)
    ahead = forecast(found.parts, summary)
    write(_as_json(key, summary, ahead, now, found.error) if options.json else _as_text(key, summary, ahead))
    if found.error:
        complain(PROGRAM, f"these figures are old: {found.error.message}", found.error.hint)
        return found.error.exit_code
    return 0


def _as_text(key: KeyInfo | None, summary: Summary, ahead: Forecast) -> str:
    lines = ["💳 OpenRouter Credits"]
    if key and not key.is_management_key:
        limit = summary.key_limit
        used = key.all_time.usage
        lines.append(f"Credits Used: {'unknown' if used is None else format_usd(used)} (this key, ever)")
        remaining = limit.remaining if limit else None
        lines.append(f"Credits Remaining: {_remaining(remaining, limit is not None and limit.amount is None)}")
        lines.append(f"Credit Limit: {_capped(limit)}")
        lines.append(f"Free Tier: {'Yes' if key.is_free_tier else 'No'}")
    if summary.balance:
        balance = summary.balance
        used_up = f"{format_usd(balance.used)} of {format_usd(balance.purchased)} used"
        lines.append(f"Account: {used_up}, {format_usd(balance.balance)} left")
    lines += [said_of_outlook(outlook, summary.taken_at) for outlook in ahead.outlooks]
    if ahead.month_end:
        lines.append(said_of_month_end(ahead.month_end, summary.scope))
    lines += [f"⚠ {said_of_spike(spike, ahead.usual)}" for spike in ahead.spikes if ahead.usual is not None]
    lines += [f"⚠ {gap.message}" for gap in summary.gaps]
    lines += [f"ℹ {note}" for note in summary.notes]
    return "\n".join(lines) + "\n"


def _remaining(remaining: Decimal | None, is_unlimited: bool) -> str:
    if is_unlimited:
        return "unlimited by the key"
    return "unknown" if remaining is None else format_usd(remaining)


def _capped(limit: Limit | None) -> str:
    if limit is None or limit.amount is None:
        return "none"
    if not limit.reset:
        return format_usd(limit.amount)
    when = f", starts anew {spoken(limit.resets_at)}" if limit.resets_at else ""
    return f"{format_usd(limit.amount)} ({safe(limit.reset)}{when})"


def _as_json(
    key: KeyInfo | None,
    summary: Summary,
    ahead: Forecast,
    now: datetime,
    error: OpenRouterUsageError | None,
) -> str:
    limit, balance = summary.key_limit, summary.balance
    data: dict[str, Json] = {
        "used_usd": key.all_time.usage if key else None,
        "limit_usd": limit.amount if limit else None,
        "remaining_usd": limit.remaining if limit else None,
        "is_unlimited": limit.amount is None if limit else None,
        "is_free_tier": key.is_free_tier if key else None,
        "account_purchased_usd": balance.purchased if balance else None,
        "account_used_usd": balance.used if balance else None,
        "account_balance_usd": balance.balance if balance else None,
        **forecast_data(ahead),
        "partial": summary.is_partial,
        "missing": [{"part": gap.part, "code": gap.code, "message": gap.message} for gap in summary.gaps],
    }
    return envelope("credits", now, data, notes=summary.notes, error=error)
