"""The words of the analytics API: its metrics, dimensions, operators and time buckets."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from .activity import ActivityRow


class Metric(NamedTuple):
    """One figure: a count comes as a string, money as a number, and what is not in use as null."""

    value: Callable[[ActivityRow], Any] | None
    format: str = "number"
    days: int = 365


def _byok_only(row: ActivityRow, value: Any) -> Any:
    return value if row.byok_usage_inference else type(value)(0)


METRICS: dict[str, Metric] = {
    "request_count": Metric(lambda row: row.requests),
    "tokens_total": Metric(lambda row: row.prompt_tokens + row.completion_tokens),
    "tokens_prompt": Metric(lambda row: row.prompt_tokens),
    "tokens_completion": Metric(lambda row: row.completion_tokens),
    "reasoning_tokens": Metric(lambda row: row.reasoning_tokens),
    "cached_tokens": Metric(lambda row: row.cached_tokens),
    "byok_request_count": Metric(lambda row: _byok_only(row, row.requests)),
    "total_usage": Metric(lambda row: row.usage + row.byok_usage_inference, "currency"),
    "credits_usage": Metric(lambda row: row.usage, "currency"),
    "byok_usage": Metric(lambda row: row.byok_usage_inference, "currency"),
    "byok_fees": Metric(lambda row: _byok_only(row, row.usage), "currency", 31),
    "openrouter_usage": Metric(lambda row: row.usage - _byok_only(row, row.usage), "currency", 31),
    **{name: Metric(None, "currency") for name in ("usage_upstream", "usage_cache", "usage_data", "usage_web",
                                                   "usage_upstream_web")},
    **{name: Metric(None, "currency", 31) for name in ("usage_file", "usage_upstream_file", "usage_web_fetch",
                                                       "usage_upstream_web_fetch")},
    "cache_hit_rate": Metric(None, "percent"),
}  # fmt: skip

DIMENSIONS = {
    **dict.fromkeys(("model", "variant", "api_key_id", "user", "workspace", "app"), 365),
    **dict.fromkeys(("generation_id", "provider", "origin", "country", "finish_reason", "external_user",
                     "context_length_bucket"), 31),
}  # fmt: skip

GRANULARITIES = ("minute", "hour", "day", "week", "month")

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "in": lambda value, wanted: value in wanted,
    "not_in": lambda value, wanted: value not in wanted,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def bucket(at: datetime, granularity: str) -> datetime:
    """The start of the bucket that a time falls into; weeks start on Sunday here, unlike those of `GET /key`."""
    if granularity == "minute":
        return at.replace(second=0, microsecond=0)
    hour = at.replace(minute=0, second=0, microsecond=0)
    if granularity == "hour":
        return hour
    day = hour.replace(hour=0)
    if granularity == "week":
        return day - timedelta(days=(day.weekday() + 1) % 7)
    return day.replace(day=1) if granularity == "month" else day


def total(metric: str, rows: list[ActivityRow], counts: str) -> Any:
    """A metric over rows, as it is written into the answer."""
    known = METRICS[metric]
    if metric == "cache_hit_rate":
        prompt = sum(row.prompt_tokens for row in rows)
        return Decimal(sum(row.cached_tokens for row in rows)) / prompt if prompt else Decimal(0)
    if known.value is None:
        told = [row.fees[metric] for row in rows if metric in row.fees]
        return sum(told, Decimal(0)) if told else None
    figure = sum(map(known.value, rows))
    return str(figure) if known.format == "number" and counts == "strings" else figure


def label(name: str) -> str:
    """A name as people read it."""
    return name.replace("_", " ").title()


def meta() -> dict[str, Any]:
    """What `GET /analytics/meta` lists."""

    def metric(name: str) -> dict[str, Any]:
        kind = METRICS[name].format
        return {"name": name, "display_label": label(name), "is_rate": kind == "percent", "display_format": kind}

    return {
        "metrics": [metric(name) for name in METRICS],
        "dimensions": [{"name": name, "display_label": label(name)} for name in DIMENSIONS],
        "granularities": [{"name": name, "display_label": label(name)} for name in GRANULARITIES],
        "operators": [{"name": name, "value_type": "array" if "in" in name else "scalar"} for name in OPERATORS],
    }
