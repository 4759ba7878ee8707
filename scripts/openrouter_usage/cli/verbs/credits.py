"""Show what is used and left, how fast it is used, and how many days it will last."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.answers.key import KeyInfo, Limit
from openrouter_usage.answers.parts import Gap, Parts
from openrouter_usage.cli.output import complain, write
from openrouter_usage.cli.parser import Parser, whole_number
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.exactjson import Json
from openrouter_usage.latest import latest
from openrouter_usage.money import format_usd
from openrouter_usage.period import UTC, spoken
from openrouter_usage.render.as_json import envelope
from openrouter_usage.settings import load_settings
from openrouter_usage.summary.build import build_summary
from openrouter_usage.summary.model import Summary
from openrouter_usage.summary.pace import Pace, account_pace, days_left, key_pace
from openrouter_usage.text import safe

EXAMPLES = """examples:
  cost_tracker.py credits
  cost_tracker.py credits --json
"""
PROGRAM = "cost_tracker.py credits"


class Outlook(NamedTuple):
    """What is left somewhere, at which pace it is used, and for how many days it lasts; None is unknown.

    A limit that starts anew at some moment is not used up later than that.
    """

    name: str
    left: Decimal
    pace: Pace | None
    days: Decimal | None
    starts_anew_at: datetime | None = None


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
    outlooks = _outlooks(found.parts, key, summary)
    if options.json:
        write(_as_json(key, summary, outlooks, now, found.error))
    else:
        write(_as_text(key, summary, outlooks))
    if found.error:
        complain(PROGRAM, f"these figures are old: {found.error.message}", found.error.hint)
        return found.error.exit_code
    return 0


def _outlooks(parts: Parts, key: KeyInfo | None, summary: Summary) -> list[Outlook]:
    rows = parts.activity if parts.activity is not None and not isinstance(parts.activity, Gap) else None
    own = key_pace(key, parts.taken_at) if key and not key.is_management_key else None
    account = account_pace(rows, parts.taken_at) if rows is not None else None
    found = []
    if summary.balance:
        pace = account or own
        found.append(Outlook("balance", summary.balance.balance, pace, _days(summary.balance.balance, pace)))
    if summary.key_limit and summary.key_limit.remaining is not None:
        limit, left = summary.key_limit, summary.key_limit.remaining
        found.append(Outlook("key limit", left, own, _days(left, own), limit.resets_at))
    return found


def _days(left: Decimal, pace: Pace | None) -> Decimal | None:
    return days_left(left, pace) if pace else None


def _as_text(key: KeyInfo | None, summary: Summary, outlooks: list[Outlook]) -> str:
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
    for outlook in outlooks:
        lines.append(_outlook(outlook, summary.taken_at))
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


def _outlook(outlook: Outlook, now: datetime) -> str:
    if outlook.pace is None:
        return f"The {outlook.name} lasts: unknown (too little is known of the pace)"
    pace = f"{format_usd(outlook.pace.usd_per_day)} a day ({outlook.pace.how})"
    if outlook.days is None:
        return f"The {outlook.name} lasts as long as nothing is spent: {pace}"
    anew = outlook.starts_anew_at
    if anew and Decimal(int((anew - now).total_seconds())) <= outlook.days * 86_400:
        return f"The {outlook.name} is not used up before it starts anew, {spoken(anew)}, at {pace}"
    return f"The {outlook.name} lasts about {outlook.days:f} days at {pace}"


def _as_json(
    key: KeyInfo | None,
    summary: Summary,
    outlooks: list[Outlook],
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
        "outlook": [
            {
                "of": outlook.name,
                "left_usd": outlook.left,
                "usd_per_day": outlook.pace.usd_per_day if outlook.pace else None,
                "pace": outlook.pace.how if outlook.pace else None,
                "days_left": outlook.days,
            }
            for outlook in outlooks
        ],
        "partial": summary.is_partial,
        "missing": [{"part": gap.part, "code": gap.code, "message": gap.message} for gap in summary.gaps],
    }
    return envelope("credits", now, data, notes=summary.notes, error=error)
