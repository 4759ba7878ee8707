"""Results as one JSON envelope with exact numbers; schema version 1, described in references/json.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from openrouter_usage.entry import Usage
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.figures.breakdown import Breakdown, Coverage
from openrouter_usage.figures.summary import Summary, Window
from openrouter_usage.money import Json, dumps
from openrouter_usage.openrouter.answers.key import Limit
from openrouter_usage.period import Period, iso
from openrouter_usage.render.amounts import as_data, compared_data, joined_data

if TYPE_CHECKING:
    from openrouter_usage.figures.summary import Forecast
    from openrouter_usage.openrouter.answers.analytics import AccountFees

SCHEMA_VERSION = 1


def envelope(
    kind: str, now: datetime, data: Json, *, notes: Sequence[str] = (), error: OpenRouterUsageError | None = None
) -> str:
    """Write the envelope that every `--json` answer comes in."""
    told: Json = {"code": error.code, "message": error.message, "hint": error.hint} if error else None
    head: dict[str, Json] = {"schema_version": SCHEMA_VERSION, "kind": kind, "generated_at": iso(now)}
    return dumps({**head, "data": data, "notes": list(notes), "error": told}, indent=2) + "\n"


def summary_as_json(summary: Summary, now: datetime, *, error: OpenRouterUsageError | None = None) -> str:
    """Write the summary; with an error these are older figures, and `age_s` says how old."""
    return envelope("summary", now, summary_data(summary, now), notes=summary.notes, error=error)


def summary_data(summary: Summary, now: datetime) -> Json:
    """Return the data member: amounts in USD, null where unknown."""
    balance = summary.balance
    return {
        "scope": summary.scope,
        "key_label": summary.label,
        "taken_at": iso(summary.taken_at),
        "age_s": max(0, int((now - summary.taken_at).total_seconds())),
        "today": _window(summary.today),
        "week": _window(summary.week),
        "month": _window(summary.month),
        "balance": None
        if balance is None
        else {"left_usd": balance.balance, "purchased_usd": balance.purchased, "used_usd": balance.used},
        "key_limit": _limit(summary.key_limit),
        "tighter_budget": _limit(summary.budget),
        "spendable_usd": summary.spendable,
        "spendable_bound_by": summary.bound_by or None,
        "expires_at": iso(summary.expires_at) if summary.expires_at else None,
        "free_models_today": None
        if summary.free_models is None
        else {"used": summary.free_models.used, "limit": summary.free_models.limit},
        "zone_today": None
        if summary.zone_day is None
        else {**_window(summary.zone_day), "unknown_cost_calls": summary.zone_day.unknown_calls},
        "breakdown": _breakdown(summary.breakdown),
        "forecast": None if summary.ahead is None else forecast_data(summary.ahead),
        "explanation": [
            {"about": fact.code, "text": fact.text, "usd": list(fact.amounts)} for fact in summary.explanation
        ],
        "fees": _fees(summary.fees),
        "partial": summary.is_partial,
        "missing": [
            {"part": g.part, "code": g.code, "message": g.message, "hint": g.hint, "left_out": g.number}
            for g in summary.gaps
        ],
    }


def _fees(found: AccountFees | None) -> Json:
    if found is None:
        return None
    parts: list[Json] = [{"name": name, "usd": found.parts.get(name)} for name in (*found.parts, *found.left_out)]
    return {"usage_usd": found.credits, "parts": parts}


def forecast_data(ahead: Forecast) -> dict[str, Json]:
    """Return what lies ahead, each figure with the words that say how it was made."""
    from openrouter_usage.figures.summary import shown

    month_end = ahead.month_end
    return {
        "outlook": [
            {
                "of": outlook.name,
                "left_usd": outlook.left,
                "usd_per_day": outlook.pace.shown if outlook.pace else None,
                "pace": outlook.pace.how if outlook.pace else None,
                "days_left": None if outlook.days is None else shown(outlook.days),
            }
            for outlook in ahead.outlooks
        ],
        "month_end": None
        if month_end is None
        else {
            "usd": month_end.amount,
            "so_far_usd": month_end.so_far,
            "usd_per_day": month_end.pace.shown,
            "pace": month_end.pace.how,
            "of": month_end.whose,
        },
        "usual_day_usd": ahead.usual,
        "spikes": [
            {"date": spike.day.isoformat(), "usd": spike.amount, "times_usual": spike.times} for spike in ahead.spikes
        ],
    }


def _period(period: Period | None) -> dict[str, Json]:
    return {"start": iso(period.start) if period else None, "end": iso(period.end) if period else None}


def _window(window: Window) -> dict[str, Json]:
    return {"usage_usd": window.usage, "byok_usd": window.byok, **_period(window.period), "source": window.source}


def _limit(limit: Limit | None) -> Json:
    if limit is None:
        return None
    return {
        "scope": limit.scope,
        "unlimited": limit.amount is None,
        "limit_usd": limit.amount,
        "remaining_usd": limit.remaining,
        "reset": limit.reset,
        "resets_at": iso(limit.resets_at) if limit.resets_at else None,
    }


def _breakdown(breakdown: Breakdown | None) -> Json:
    if breakdown is None:
        return None
    rows, more = as_data(breakdown, _usage)
    return {
        "by": breakdown.by,
        "days": breakdown.days,
        **_period(breakdown.period),
        "source": breakdown.source,
        "unattributed_usd": breakdown.unattributed,
        "truncated": breakdown.truncated,
        "coverage": _coverage(breakdown.coverage),
        "compared": compared_data(breakdown.compared, _usage),
        "rows": rows,
        "more": more,
        "total": _usage(breakdown.total),
    }


def _coverage(coverage: Coverage | None) -> Json:
    if coverage is None:
        return None
    sources = [(name, span) for name, spans in coverage.sources for span in spans]
    return {
        "zone": coverage.zone,
        "sources": [{"source": name, **_period(span), "days": span.day_count} for name, span in sources],
        "missing": [{**_period(span), "days": span.day_count} for span in coverage.missing],
        "live_until": iso(coverage.live_until) if coverage.live_until else None,
        "live": _usage(coverage.live) if coverage.live else None,
        "joined": joined_data(coverage.joined, _usage),
    }


def _usage(usage: Usage) -> dict[str, Json]:
    return {
        "usage_usd": usage.cost,
        "byok_usd": usage.byok_cost,
        "requests": usage.requests,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cached_tokens": usage.cached_tokens,
    }
