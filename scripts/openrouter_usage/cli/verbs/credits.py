"""Show the credits used and left, the pace, and how many days they will last."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime

from openrouter_usage.called import as_called
from openrouter_usage.cli.program import Parser, complain, whole_number, write
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.figures.forecast import forecast, said_of_month_end, said_of_outlook, said_of_spike
from openrouter_usage.figures.summary import Forecast, Summary, build_summary
from openrouter_usage.home.settings import load_settings
from openrouter_usage.jobs.snapshot import latest
from openrouter_usage.money import Json, format_usd
from openrouter_usage.openrouter.answers.account import Gap
from openrouter_usage.openrouter.answers.key import KeyInfo
from openrouter_usage.render.amounts import limit_left, remaining
from openrouter_usage.render.envelope import envelope, forecast_data
from openrouter_usage.text import safe

EXAMPLES = """examples:
  cost_tracker.py credits
  cost_tracker.py credits --json
"""
PROGRAM = as_called("cost_tracker.py credits")


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait (30)")


def run(options: Namespace, *, now: datetime) -> int:
    """Print the figures of the key and of the account, and name missing parts."""
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
    # When it runs out is what people ask; the bound that ends first comes first.
    lines = ["💳 OpenRouter Credits", *(said_of_outlook(each, summary.taken_at) for each in ahead.outlooks[:1])]
    # The figure that stops the next call comes before all others.
    left = f"Credits Remaining: {remaining(summary)}"
    if key and not key.is_management_key:
        limit = summary.key_limit
        used = key.all_time.usage
        lines.append(f"Credits Used: {'unknown' if used is None else format_usd(used)} (this key, ever)")
        lines.append(left)
        lines.append(f"Credit Limit: {'unknown' if limit is None else limit_left(limit)}")
        if summary.budget:
            lines.append(f"Budget ({safe(summary.budget.scope, 40)}): {limit_left(summary.budget)}")
        lines.append(f"Free Tier: {'Yes' if key.is_free_tier else 'No'}")
    else:
        lines.append(left)
    if summary.balance:
        balance = summary.balance
        used_up = f"{format_usd(balance.used)} of {format_usd(balance.purchased)} used"
        lines.append(f"Account: {used_up}, {format_usd(balance.balance)} left")
    lines += [said_of_outlook(outlook, summary.taken_at) for outlook in ahead.outlooks[1:]]
    if ahead.month_end:
        lines.append(said_of_month_end(ahead.month_end))
    lines += [f"⚠ {said_of_spike(spike, ahead.usual)}" for spike in ahead.spikes if ahead.usual is not None]
    lines += [f"⚠ {gap.message}" for gap in summary.gaps]
    lines += [f"ℹ {note}" for note in summary.notes]
    return "\n".join(lines) + "\n"


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
        "spendable_usd": summary.spendable,
        "spendable_bound_by": summary.bound_by or None,
        **forecast_data(ahead),
        "partial": summary.is_partial,
        "missing": [{"part": gap.part, "code": gap.code, "message": gap.message} for gap in summary.gaps],
    }
    return envelope("credits", now, data, notes=summary.notes, error=error)
