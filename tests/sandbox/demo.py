"""The account that `make demo` shows: a small agent setup that is about to run out of credits."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from .account import Account, utc_now
from .apikey import WINDOWS, ApiKey
from .price_list import models_of_the_guides

DEMO_KEY = "demo-inference-key-7f3a"
DEMO_MGMT_KEY = "demo-management-key-9b2c"

TODAY, WEEK, MONTH = Decimal("4.55"), Decimal("31.85"), Decimal("45.46")


class Line(NamedTuple):
    """What one endpoint cost over the last 7 completed days."""

    model: str
    provider: str
    usage: Decimal
    requests: int
    byok: Decimal = Decimal(0)
    prompt_tokens: int = 4_000
    completion_tokens: int = 450


SEVEN_DAYS = [
    Line("anthropic/claude-sonnet-4.5", "Anthropic", Decimal("16.90"), 655),
    Line("anthropic/claude-sonnet-4.5", "Amazon Bedrock", Decimal("3.55"), 137),
    Line("anthropic/claude-sonnet-4.5", "Google", Decimal("1.25"), 48),
    Line("openai/gpt-5.2", "OpenAI", Decimal("7.61"), 1_826, prompt_tokens=1_300, completion_tokens=130),
    Line("openai/gpt-5.2", "Azure", Decimal("1.14"), 274, prompt_tokens=1_300, completion_tokens=130),
    Line("google/gemini-3-flash", "Google AI Studio", Decimal(0), 350, byok=Decimal("4.20"), prompt_tokens=11_000),
    Line("deepseek/deepseek-v3.2", "DeepInfra", Decimal("0.42"), 126),
    Line("openai/gpt-5-mini", "OpenAI", Decimal("0.31"), 203),
    Line("openai/text-embedding-3-small", "OpenAI", Decimal("0.02"), 41, prompt_tokens=24_000, completion_tokens=0),
    Line("meta-llama/llama-3.3-70b-instruct:free", "Chutes", Decimal(0), 95),
]
WEEK_OF_ROWS = sum((line.usage for line in SEVEN_DAYS), Decimal(0))
CENT_MILLE = Decimal("0.00001")


def demo_account(now: datetime | None = None) -> Account:
    """Today $4.55, week $31.85, month $45.46, and $1.90 of $600 left.

    The rows add up to the key's week and month wherever the calendar lets them: not on a Monday, when the week
    is only hours old, nor in the first days of a month.
    """
    account = Account(now=(lambda: now) if now else utc_now, total_credits=Decimal(600), total_usage=Decimal("598.10"))
    account.models += models_of_the_guides()
    key = _add_keys(account)
    _add_last_seven_days(account)
    _add_older_days(account)
    _add_today(account)
    for row in account.rows():
        row.key_hash = key.hash
    for window in WINDOWS:
        setattr(key, f"byok_usage_{window}", account.truth.spent_in(window, value="byok_usage_inference"))
    account.free_requests_used = 14
    return account


def _add_keys(account: Account) -> ApiKey:
    account.add_key(DEMO_MGMT_KEY, name="spend watcher", is_management_key=True)
    return account.add_key(
        DEMO_KEY,
        name="agents",
        limit=Decimal(500),
        limit_reset="monthly",
        usage=Decimal("571.32"),
        usage_daily=TODAY,
        usage_weekly=WEEK,
        usage_monthly=MONTH,
        byok_usage=Decimal("38.75"),
    )


def spread(total: Decimal, parts: int, unit: str) -> list[Decimal]:
    """A total in so many uneven parts, exact to the last unit."""
    weights = [3 + (2 * part) % 5 for part in range(parts)]
    shares = [(total * weight / sum(weights)).quantize(Decimal(unit)) for weight in weights]
    shares[-1] += total - sum(shares)
    if total >= 0 > shares[-1]:
        # What rounding gave too much comes off the largest share: no day has less than nothing.
        shares[shares.index(max(shares))] += shares[-1]
        shares[-1] -= shares[-1]
    return shares


def scaled(lines: list[Line], wanted: Decimal) -> list[Line]:
    """The lines at another volume, whose usage adds up to exactly what is wanted."""
    part = wanted / sum(line.usage for line in lines)
    usages = [(line.usage * part).quantize(CENT_MILLE) for line in lines]
    usages[0] += wanted - sum(usages)
    return [
        line._replace(usage=usage, byok=(line.byok * part).quantize(CENT_MILLE), requests=int(line.requests * part))
        for line, usage in zip(lines, usages, strict=True)
    ]


def less(line: Line, other: Line) -> Line:
    """What is left of a line when another is taken from it."""
    return line._replace(
        usage=line.usage - other.usage, byok=line.byok - other.byok, requests=line.requests - other.requests
    )


def _add(account: Account, lines: list[Line], days: list[int]) -> None:
    """Spreads lines over days."""
    for line in lines if days else []:
        usages = spread(line.usage, len(days), "0.00001")
        byoks = spread(line.byok, len(days), "0.00001")
        requests = spread(Decimal(line.requests), len(days), "1")
        for days_ago, usage, byok, count in zip(days, usages, byoks, map(int, requests), strict=True):
            account.add_activity(
                line.model,
                days_ago=days_ago,
                provider_name=line.provider,
                usage=usage,
                byok_usage_inference=byok,
                requests=count,
                prompt_tokens=count * line.prompt_tokens,
                completion_tokens=count * line.completion_tokens,
                reasoning_tokens=count * line.completion_tokens // 5,
                cached_tokens=count * line.prompt_tokens // 3,
            )


def _add_last_seven_days(account: Account) -> None:
    days_of_week = account.today().weekday()
    this_week = scaled(SEVEN_DAYS, WEEK - TODAY) if days_of_week else scaled(SEVEN_DAYS, Decimal(0))
    _add(account, this_week, list(range(1, days_of_week + 1)))
    _add(account, list(map(less, SEVEN_DAYS, this_week)), list(range(days_of_week + 1, 8)))


def _add_older_days(account: Account) -> None:
    days_of_month = max(8, account.today().day)
    _add(account, scaled(SEVEN_DAYS, MONTH - WEEK_OF_ROWS - TODAY), list(range(8, days_of_month)))
    _add(account, scaled(SEVEN_DAYS, 4 * WEEK_OF_ROWS - MONTH), list(range(days_of_month, 31)))


def _add_today(account: Account) -> None:
    account.add_activity("anthropic/claude-sonnet-4.5", days_ago=0, usage=Decimal("1.93"), requests=71)
    account.add_activity("openai/gpt-5.2", days_ago=0, usage=TODAY - Decimal("1.93"), requests=310)
    account.add_activity("google/gemini-3-flash", days_ago=0, byok_usage_inference=Decimal("0.60"), requests=44)
