"""GET /credits, GET /activity, POST /analytics/query; and the parts of a summary: each an answer or a gap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Usage
from openrouter_usage.errors import BadAnswer, InvalidValue, OpenRouterUsageError
from openrouter_usage.money import Json, subtract
from openrouter_usage.openrouter.answers.fields import LEFT_OUT, Fields, LeftOut, Rows, left_out_words
from openrouter_usage.openrouter.answers.key import KeyInfo
from openrouter_usage.period import parse_day

# -- Account figures: GET /credits, GET /activity and POST /analytics/query.


class Credits(NamedTuple):
    """The account's prepaid credits in USD: bought and used, ever."""

    purchased: Decimal
    used: Decimal

    @property
    def balance(self) -> Decimal:
        """The credits that are left; may be negative."""
        return subtract(self.purchased, self.used)

    @property
    def is_blank(self) -> bool:
        """Check whether this is the 0/0 that an inference key gets for an account that has credits."""
        return not self.purchased and not self.used


class ActivityRow(NamedTuple):
    """What one model used on one UTC day through one provider.

    `slug` is the dated name that the bill goes by (`model_permaslug`), "" where OpenRouter gave none.
    """

    day: date
    model: str
    provider: str
    usage: Usage
    slug: str = ""


class TodaySpend(NamedTuple):
    """The account's spend of the running UTC day, from the analytics API."""

    usage: Usage
    truncated: bool
    left_out: tuple[LeftOut, ...] = ()


def read_credits(answer: Json) -> Credits:
    """Read the body of GET /credits; BadAnswer for amounts below zero, which no account has."""
    data = Fields(answer, "/credits").within("data")
    return Credits(data.positive_usd("total_credits"), data.positive_usd("total_usage"))


def read_activity(answer: Json) -> Rows[ActivityRow]:
    """Read the body of GET /activity: a row for each day, model and endpoint; unusable rows are left out."""
    data = Fields(answer, "/activity").get("data")
    if not isinstance(data, list):
        raise Fields(answer, "/activity").wrong("data", "a list was expected")
    rows: list[ActivityRow] = []
    left_out: list[LeftOut] = []
    for value in data:
        try:
            row = Fields(value, "/activity (data)")
        except BadAnswer as error:
            left_out.append(LeftOut(error.message))
            continue
        try:
            rows.append(_row(row))
        except BadAnswer as error:
            left_out.append(LeftOut(error.message, _known_day(row)))
    if left_out and not rows:
        raise BadAnswer(left_out[0].why)  # not one row is understood, so this is not an answer
    return Rows.of(rows, left_out)


def _known_day(row: Fields) -> date | None:
    try:
        return _day(row)
    except BadAnswer:
        return None


def _row(row: Fields) -> ActivityRow:
    usage = Usage(
        row.count("requests"),
        row.count("prompt_tokens"),
        row.count("completion_tokens"),
        row.count("reasoning_tokens"),
        row.count("cached_tokens"),
        # A row may be below zero: money that was given back.
        row.usd("usage"),
        row.usd("byok_usage_inference"),
    )
    model, provider = row.text("model") or "unknown model", row.text("provider_name") or "unknown"
    return ActivityRow(_day(row), model, provider, usage, row.text("model_permaslug"))


def _day(row: Fields) -> date:
    """Return a row's day, written as the documented 2026-08-31 or the observed 2026-08-31 00:00:00."""
    try:
        return parse_day(row.text("date"))
    except InvalidValue as error:
        raise row.wrong("date", str(error)) from None


def read_today(answer: Json) -> TodaySpend:
    """Read an analytics answer about the running day."""
    from openrouter_usage.openrouter.answers.analytics import read_analytics

    found = read_analytics(answer)
    return TodaySpend(found.total, found.truncated, found.left_out)


def write_credits(credits: Credits) -> Json:
    """Return a body of GET /credits that `read_credits` reads back the same."""
    return {"data": {"total_credits": credits.purchased, "total_usage": credits.used}}


def write_activity(rows: Iterable[ActivityRow]) -> Json:
    """Return a body of GET /activity with the endpoints of one provider added up."""
    sums: dict[tuple[date, str, str, str], Usage] = {}
    for row in rows:
        key = (row.day, row.model, row.slug, row.provider)
        sums[key] = sums[key] + row.usage if key in sums else row.usage
    return {"data": [_write_row(*key, usage) for key, usage in sums.items()]}


def _write_row(day: date, model: str, slug: str, provider: str, usage: Usage) -> Json:
    return {
        "date": day.isoformat(),
        "model": model,
        "model_permaslug": slug,
        "provider_name": provider,
        "usage": usage.cost,
        "byok_usage_inference": usage.byok_cost,
        "requests": usage.requests,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cached_tokens": usage.cached_tokens,
    }


def write_today(spend: TodaySpend) -> Json:
    """Return an analytics answer that `read_today` reads back the same."""
    usage = spend.usage
    row: Json = {
        "request_count": usage.requests,
        "credits_usage": usage.cost,
        "byok_usage": usage.byok_cost,
        "tokens_prompt": usage.prompt_tokens,
        "tokens_completion": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cached_tokens": usage.cached_tokens,
    }
    return {"data": {"data": [row], "metadata": {"truncated": spend.truncated}}}


# -- The parts of a summary: each one an answer, or a gap.


class Gap(NamedTuple):
    """A part that is missing, why, and what would fill it; `passing` when a later try may succeed.

    For a part that is there, `number` says how many unusable rows or fields were left out.
    """

    part: str
    code: str
    message: str
    hint: str
    exit_code: int
    number: int = 0

    @classmethod
    def of(cls, part: str, error: OpenRouterUsageError) -> Gap:
        """Return the gap that an error leaves."""
        return cls(part, error.code, error.message, error.hint, error.exit_code)

    @classmethod
    def of_left_out(cls, part: str, found: Sequence[LeftOut], noun: str) -> Gap:
        """Return the gap for what was left out of a part, whose rest is used."""
        return cls(part, LEFT_OUT, left_out_words(found, noun), "", BadAnswer.exit_code, len(found))

    @property
    def passing(self) -> bool:
        """Check whether a later try may succeed."""
        return self.exit_code == 5 and self.code not in ("not_found", "bad_answer", LEFT_OUT)


class Parts(NamedTuple):
    """What OpenRouter answered at one time; None for a part that was not asked for.

    `managed` says that a management key was used, whose /credits can be trusted.
    """

    taken_at: datetime
    key: KeyInfo | Gap
    credits: Credits | Gap
    activity: tuple[ActivityRow, ...] | Gap | None = None
    today: TodaySpend | Gap | None = None
    managed: bool = False
    clock_ahead_s: float | None = None

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Return the gap of every part that should be there and is missing."""
        return tuple(part for part in (self.key, self.credits, self.activity, self.today) if isinstance(part, Gap))

    @property
    def is_empty(self) -> bool:
        """Check whether nothing at all was answered."""
        return all(
            part is None or isinstance(part, Gap) for part in (self.key, self.credits, self.activity, self.today)
        )
