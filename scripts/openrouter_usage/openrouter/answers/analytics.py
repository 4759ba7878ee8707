"""POST /analytics/query: what was spent in any period, the running day included, by up to two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.errors import BadAnswer, InvalidValue
from openrouter_usage.money import ZERO, Json
from openrouter_usage.openrouter.answers.fields import Fields, LeftOut
from openrouter_usage.period import UTC, parse_day, parse_moment

# `total_usage` would add BYOK money to credits, which are kept apart.
METRICS = (
    "request_count",
    "credits_usage",
    "byok_usage",
    "tokens_prompt",
    "tokens_completion",
    "reasoning_tokens",
    "cached_tokens",
)
# How many days back the endpoint answers at all, and lists single calls.
MOST_DAYS, LISTED_DAYS = 365, 31
_TIME_COLUMNS = ("date__", "created_at__")


# Parts of what was spent, in credits; OpenRouter tells the second ones for `LISTED_DAYS` only.
FEES, RECENT_FEES = ("usage_web", "usage_cache", "usage_data"), ("usage_web_fetch", "usage_file", "byok_fees")


class AccountFees(NamedTuple):
    """What the credits of a period were taken for beside tokens, in USD by name; None where it was not told.

    `usage_cache` and `usage_data` are what caching and the discount for data use did to the cost. `left_out` names what
    was not asked for, because the period is too old.
    """

    credits: Decimal
    parts: dict[str, Decimal | None]
    left_out: tuple[str, ...] = ()


def read_fees(answer: Json, asked: Sequence[str], left_out: Sequence[str]) -> AccountFees:
    """Read an answer without dimensions: at most one row, and none for a period without spend."""
    found = list(Fields(answer, "/analytics/query").within("data").each("data"))
    if not found:
        return AccountFees(ZERO, dict.fromkeys(asked), tuple(left_out))
    if len(found) > 1:
        raise BadAnswer("one row of /analytics/query was expected, and there are more")
    row = found[0]
    return AccountFees(row.usd("credits_usage"), {name: row.optional_usd(name) for name in asked}, tuple(left_out))


class Spend(NamedTuple):
    """What one combination of dimension values used; `day` is None where no day was asked for.

    `hour` is the hour of that day, in UTC, where hours were asked for.
    """

    day: date | None
    names: tuple[str, ...]
    usage: Usage
    hour: int | None = None


class Analytics(NamedTuple):
    """An answer: its rows, whether some are missing, when it was made if it is a stored one, and what was left out."""

    rows: tuple[Spend, ...]
    truncated: bool = False
    cached_at: datetime | None = None
    left_out: tuple[LeftOut, ...] = ()

    @property
    def total(self) -> Usage:
        """All rows summed."""
        return sum((row.usage for row in self.rows), NOTHING)


def read_analytics(answer: Json, dimensions: Sequence[str] = ()) -> Analytics:
    """Read an answer; its rows are in data.data, and counts may be strings."""
    outer = Fields(answer, "/analytics/query").within("data")
    rows, left_out = _usable(outer, dimensions)
    try:
        truncated = outer.within("metadata").flag("truncated")
    except BadAnswer:
        truncated = False
    return Analytics(rows, truncated, _cached_at(outer), left_out)


def _usable(outer: Fields, dimensions: Sequence[str]) -> tuple[tuple[Spend, ...], tuple[LeftOut, ...]]:
    data = outer.get("data")
    if not isinstance(data, list):
        raise outer.wrong("data", "a list was expected")
    rows: list[Spend] = []
    left_out: list[LeftOut] = []
    for value in data:
        try:
            rows.append(_row(Fields(value, f"{outer.where} (data)"), dimensions))
        except BadAnswer as error:
            left_out.append(LeftOut(error.message))
    if left_out and not rows:
        raise BadAnswer(left_out[0].why)  # not one row is understood, so this is not an answer
    return tuple(rows), tuple(left_out)


def _row(row: Fields, dimensions: Sequence[str]) -> Spend:
    usage = Usage(
        row.count("request_count"),
        row.count("tokens_prompt"),
        row.count("tokens_completion"),
        row.count("reasoning_tokens"),
        row.count("cached_tokens"),
        row.usd("credits_usage"),
        row.usd("byok_usage"),
    )
    return Spend(_day(row), tuple(_name(row, dimension) for dimension in dimensions), usage, _hour(row))


def _name(row: Fields, dimension: str) -> str:
    value = row.get(dimension)
    return value if isinstance(value, str) and value else "unknown" if value is None else str(value)


def _day(row: Fields) -> date | None:
    """Return a row's day from its time column, whose name ends with the granularity."""
    for column in row:
        if column.startswith(_TIME_COLUMNS):
            try:
                return parse_day(row.text(column))
            except InvalidValue as error:
                raise row.wrong(column, str(error)) from None
    return None


def _hour(row: Fields) -> int | None:
    """Return the hour of a row whose time column is one of hours."""
    for column in row:
        if column.startswith(_TIME_COLUMNS) and column.endswith("__hour"):
            try:
                return parse_moment(row.text(column)).hour
            except InvalidValue as error:
                raise row.wrong(column, str(error)) from None
    return None


def _cached_at(outer: Fields) -> datetime | None:
    """Read the moment of a kept answer, in milliseconds since 1970; None for a new one."""
    try:
        milliseconds = outer.optional_count("cachedAt")
    except BadAnswer:
        return None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return None if milliseconds is None else epoch + min(timedelta(milliseconds=milliseconds), _LATEST - epoch)


_LATEST = datetime(9999, 1, 1, tzinfo=UTC)
