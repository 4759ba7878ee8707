"""The ledger's report as JSON, CSV and Markdown, all with exact amounts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from openrouter_usage.exactjson import Json
from openrouter_usage.money import plain
from openrouter_usage.period import Period, iso
from openrouter_usage.render import as_csv, as_markdown
from openrouter_usage.render.as_json import envelope
from openrouter_usage.report import Report, period_of_day
from openrouter_usage.summary.model import Share
from openrouter_usage.usage import Usage

COUNTS = (
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
COLUMNS = (
    "kind",
    "name",
    "start_utc",
    "end_utc",
    *COUNTS,
    "cost_usd",
    "byok_usd",
    "unknown_cost_calls",
    "estimated_cost_calls",
)


def as_json(report: Report, now: datetime) -> str:
    """Write the report as the data of an envelope of kind `statistics`."""
    period, beside = report.period, report.beside
    data: dict[str, Json] = {
        "title": report.title,
        "start": iso(period.start) if period else None,
        "end": iso(period.end) if period else None,
        "zone": str(report.zone),
        "source": report.source,
        "origin": report.origin,
        "account": report.account,
        "missing": [{"start": iso(span.start), "end": iso(span.end), "days": _days(span)} for span in report.missing],
        "total": _usage(report.total),
        "by": report.by,
        "groups": _shares(report.rows),
        "more": {"count": report.more_count, **_usage(report.more)},
        "open_holds": report.open_holds,
        "held_usd": report.held,
        "unsettled_calls": report.unsettled,
        "ahead": {"calls": report.ahead_calls, "cost_usd": report.ahead},
        "trend": _shares(report.trend),
        "earlier": {"days": report.earlier_days, **_usage(report.earlier)},
        "utc": None
        if beside is None
        else {"start": iso(beside.period.start), "end": iso(beside.period.end), **_usage(beside.total)},
    }
    return envelope("statistics", now, data, notes=report.notes)


def _days(span: Period) -> int:
    return (span.last_day - span.first_day).days + 1


def _shares(shares: tuple[Share, ...]) -> list[Json]:
    return [{"name": share.name, **_usage(share.usage)} for share in shares]


def _usage(usage: Usage) -> dict[str, Json]:
    counts: dict[str, Json] = {name: getattr(usage, name) for name in COUNTS}
    money: dict[str, Json] = {"cost_usd": usage.cost, "byok_usd": usage.byok_cost}
    return counts | money | {"unknown_cost_calls": usage.unknown, "estimated_cost_calls": usage.estimated}


def as_csv_rows(report: Report) -> Iterator[tuple[str, ...]]:
    """Give the groups, what is left of them, the trend, the total, OpenRouter's UTC day, and what is not known."""
    whole = report.period
    for name, usage in report.rows:
        yield _row(report.by, name, period_of_day(report, name) if report.by == "day" else whole, usage)
    if report.more_count:
        which = "earlier days" if report.by == "day" else "more"
        yield _row("more", f"{report.more_count} {which}", whole, report.more)
    if report.earlier_days:
        yield _row("earlier", f"{report.earlier_days} earlier days", whole, report.earlier)
    yield from (_row("trend", day.name, period_of_day(report, day.name), day.usage) for day in report.trend)
    yield _row("total", report.title, whole, report.total)
    if report.beside:
        yield _row("utc", report.beside.period.label, report.beside.period, report.beside.total)
    for span in report.missing:
        yield ("missing", f"{_days(span)} days not known", iso(span.start), iso(span.end), *[""] * (len(COLUMNS) - 4))


def _row(kind: str, name: str, period: Period | None, usage: Usage) -> tuple[str, ...]:
    ends = (iso(period.start), iso(period.end)) if period else ("", "")
    counts = (str(getattr(usage, count)) for count in COUNTS)
    money = (plain(usage.cost), plain(usage.byok_cost))
    return (kind, name, *ends, *counts, *money, str(usage.unknown), str(usage.estimated))


def as_csv_text(report: Report, now: datetime) -> str:
    """Write the report as CSV with a head line."""
    return as_csv.table(COLUMNS, as_csv_rows(report))


def as_markdown_text(report: Report, now: datetime) -> str:
    """Write the report as a Markdown table with its source below."""
    head = [f"## OpenRouter cost statistics ({as_markdown.escaped(report.title)})", ""]
    notes = [f"- {as_markdown.escaped(note)}" for note in report.notes]
    whence, file = as_markdown.escaped(report.whence), as_markdown.escaped(report.source)
    source = f"Source: {whence} {file}; days of {report.zone}; amounts in USD."
    return "\n".join([*head, *as_markdown.table(COLUMNS, as_csv_rows(report)), "", source, *notes]) + "\n"
