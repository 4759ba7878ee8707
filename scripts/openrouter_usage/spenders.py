"""Asks the analytics API what the summary's own endpoints cannot tell: today by model, and who spent it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from openrouter_usage.collect import at_once, connect
from openrouter_usage.credentials import ApiKey
from openrouter_usage.period import UTC, Period, completed_days, today
from openrouter_usage.settings import Settings
from openrouter_usage.summary.options import ACCOUNT_GROUPINGS

if TYPE_CHECKING:
    from openrouter_usage.answers.account import ActivityRow
    from openrouter_usage.answers.analytics import Analytics
    from openrouter_usage.answers.parts import Gap
    from openrouter_usage.summary.model import Breakdown

SOURCE = "/analytics/query"
_DIMENSIONS = {"model": ("model",), "provider": ("provider",), "key": ("api_key_id",), "workspace": ("workspace",)}


class Question(NamedTuple):
    """What is asked about a period: its total, or what each model, provider, key or workspace spent in it."""

    period: Period
    by: str = ""


def questions(
    now: datetime, *, by: str, days: int, only_today: bool, zone: tzinfo | None, explain: bool
) -> dict[str, Question]:
    """Give what the options of a summary ask beyond its usual endpoints: `breakdown`, `zone` and `today`."""
    running = today(now, zone or UTC)._replace(label=f"today, {zone or UTC}")
    asked = {}
    if only_today or by in ACCOUNT_GROUPINGS:
        asked["breakdown"] = Question(running if only_today else completed_days(now, days), by)
    if zone is not None:
        asked["zone"] = Question(running)
    if explain:
        asked["today"] = Question(today(now))
    return asked


def ask(
    settings: Settings, key: ApiKey, asked: Mapping[str, Question], now: datetime, *, timeout_s: float
) -> dict[str, Analytics | Gap]:
    """Ask all questions at the same time, with a management key; what fails becomes a Gap."""
    client = connect(settings, timeout_s=timeout_s)(key)

    def one(question: Question) -> Analytics:
        period = question.period
        return client.analytics(period._replace(end=min(period.end, now)), *_DIMENSIONS.get(question.by, ()))

    return at_once({name: lambda q=q: one(q) for name, q in asked.items()}, timeout_s=timeout_s)  # type: ignore[misc]


def account_breakdown(
    answer: Analytics, question: Question, rows: Iterable[ActivityRow], *, top: int | None
) -> Breakdown:
    """Make a breakdown of an answer; models get the names that /activity has for them, where it has any."""
    from openrouter_usage.archive.breakdown import usual_names
    from openrouter_usage.prices import canonical_names
    from openrouter_usage.summary.breakdown import share_out
    from openrouter_usage.usage import NOTHING, Usage

    usual = usual_names(rows)
    name_of = canonical_names(spend.names[0] for spend in answer.rows if spend.names)
    sums: dict[str, Usage] = {}
    for spend in answer.rows:
        name = spend.names[0] if spend.names else question.period.first_day.isoformat()
        name = usual.get(name) or name_of(name) if question.by == "model" else name
        sums[name] = sums.get(name, NOTHING) + spend.usage
    found = share_out(sums, question.period, days=question.period.day_count, top=top, by=question.by)
    return found._replace(source=SOURCE, truncated=answer.truncated)
