"""The ledger's report as text, JSON, CSV and Markdown: totals, groups with their shares, and a bar for each day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from openrouter_usage.entry import Usage
from openrouter_usage.figures.report import Report, period_of_day
from openrouter_usage.figures.summary import Share
from openrouter_usage.money import Json, format_usd, multiply, plain, ratio, share
from openrouter_usage.period import Period, iso, spoken
from openrouter_usage.render import table
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import columns, named, plural, safe

# -- The ledger's report as JSON, CSV and Markdown, all with exact amounts.

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
    """Return the groups, what is left of them, the trend, the total, OpenRouter's UTC day, and what is not known."""
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


def as_csv(report: Report, now: datetime) -> str:
    """Write the report as CSV with a head line."""
    return table.csv_table(COLUMNS, as_csv_rows(report))


def as_markdown(report: Report, now: datetime) -> str:
    """Write the report as a Markdown table with its source below."""
    head = [f"## OpenRouter cost statistics ({table.escaped(report.title)})", ""]
    notes = [f"- {table.escaped(note)}" for note in report.notes]
    whence, file = table.escaped(report.whence), table.escaped(report.source)
    source = f"Source: {whence} {file}; days of {report.zone}; amounts in USD."
    return "\n".join([*head, *table.markdown_table(COLUMNS, as_csv_rows(report)), "", source, *notes]) + "\n"


# -- The ledger's report as text: totals, groups with their shares, and a bar for each day.

_HEADINGS = {"model": "By Model", "day": "By Day", "session": "By Session", "provider": "By Provider", "tag": "By Tag"}
_MOST_BAR = 40


def as_text(report: Report, width: int) -> str:
    """Write the report for a terminal of `width` columns; amounts in USD."""
    title = f"OpenRouter Cost Statistics ({report.title})"
    lines = [title, _rule(title), *_totals(report.total), *_beside(report)]
    if report.rows or report.more_count:
        lines += ["", f"{_HEADINGS[report.by]}:", *_groups(report)]
    if report.trend:
        lines += ["", *_trend(report, width)]
    lines += ["", f"Source: {safe(report.whence, 300)} {safe(report.source, 300)}; days of {report.zone}"]
    return "\n".join([*lines, *(f"⚠ {note}" for note in report.notes)]) + "\n"


def _rule(title: str) -> str:
    return "=" * columns(title)


def _totals(usage: Usage) -> list[str]:
    lines = [
        f"Total Calls: {usage.requests:,}",
        f"Total Tokens: {usage.total_tokens:,}",
        f"  - Input: {usage.prompt_tokens:,}",
        f"  - Output: {usage.completion_tokens:,}",
    ]
    parts = (
        ("Cached", usage.cached_tokens),
        ("Cache Writes", usage.cache_write_tokens),
        ("Reasoning", usage.reasoning_tokens),
    )
    lines += [f"  - {name}: {count:,} (part of these)" for name, count in parts if count]
    lines.append(f"Total Cost: {format_usd(usage.cost)}")
    if usage.byok_cost:
        lines.append(f"BYOK Cost: {format_usd(usage.byok_cost)} (paid to providers, not in the total)")
    if usage.estimated:
        lines.append(f"Estimated Cost: {plural(usage.estimated, 'call')} (in the total, not billed figures)")
    if usage.unknown:
        lines.append(f"Unknown Cost: {plural(usage.unknown, 'call')} (not in the total)")
    return lines


def _beside(report: Report) -> list[str]:
    """Name both boundaries where the user's own day and OpenRouter's are shown."""
    if report.beside is None or report.period is None:
        return []
    beside = report.beside
    return [
        f"Period in {report.zone}: {_boundaries(report.period)}",
        f"By OpenRouter's UTC {_unit(beside.period)}, {_boundaries(beside.period)}: "
        f"{format_usd(beside.total.cost)} ({plural(beside.total.requests, 'call')})",
    ]


def _boundaries(period: Period) -> str:
    return f"{spoken(period.start)} to {spoken(period.end)}"


def _unit(period: Period) -> str:
    return "day" if period.label == "today" else period.label


def _groups(report: Report) -> list[str]:
    lines = [
        f"  {named(row.name)}: {_cost(row.usage)} ({share(row.usage.cost, report.total.cost)})" for row in report.rows
    ]
    if report.by == "day":
        lines = _with_unknown(report, report.rows, lines, "  ")
    if not report.more_count:
        return lines
    if report.by == "day":
        return [f"  ... {plural(report.more_count, 'earlier day')} ({_cost(report.more)})", *lines]
    return [*lines, f"  ... and {report.more_count:,} more ({_cost(report.more)})"]


def _cost(usage: Usage) -> str:
    byok = f" + {format_usd(usage.byok_cost)} BYOK" if usage.byok_cost else ""
    unknown = f" + {usage.unknown:,} unknown" if usage.unknown else ""
    return format_usd(usage.cost) + byok + unknown


def _trend(report: Report, width: int) -> list[str]:
    heading = "Monthly Cost Trend" if report.period and report.period.label == "month" else "Cost Trend"
    lines = [heading, _rule(heading)]
    if report.earlier_days:
        lines.append(f"... {plural(report.earlier_days, 'earlier day')} with calls ({_cost(report.earlier)})")
    labels = [f"{row.name}: {_cost(row.usage)}" for row in report.trend]
    room = max(1, min(_MOST_BAR, width - max(map(len, labels)) - 1))
    most = max(row.usage.cost for row in report.trend)
    bars = ("█" * _length(row.usage.cost, most, room) for row in report.trend)
    days = [f"{label} {bar}".rstrip() for label, bar in zip(labels, bars, strict=True)]
    return lines + _with_unknown(report, report.trend, days)


def _with_unknown(report: Report, days: tuple[Share, ...], lines: list[str], indent: str = "") -> list[str]:
    """Put a line for each span that is not known among the lines of days, where it belongs by date."""
    dated = [(day.name, line) for day, line in zip(days, lines, strict=True)]
    for span in report.missing:
        first, last = span.first_day.isoformat(), span.last_day.isoformat()
        if days and days[0].name < first < days[-1].name:
            dated.append((first, f"{indent}{first if first == last else f'{first} to {last}'}: unknown"))
    return [line for _, line in sorted(dated)]


def _length(cost: Decimal, most: Decimal, room: int) -> int:
    """Return a bar's length: at least one for any cost at all."""
    return max(1, int(ratio(multiply(cost, room), most))) if cost and most else 0
