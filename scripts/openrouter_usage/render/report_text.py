"""The ledger's report as text: totals, groups with their shares, and a bar for each day."""

from __future__ import annotations

from decimal import Decimal

from openrouter_usage.money import format_usd, multiply, ratio, share
from openrouter_usage.period import Period, spoken
from openrouter_usage.report import Report
from openrouter_usage.summary.model import Share
from openrouter_usage.text import columns, named, plural, safe
from openrouter_usage.usage import Usage

_HEADINGS = {"model": "By Model", "day": "By Day", "session": "By Session", "provider": "By Provider", "tag": "By Tag"}
_MOST_BAR = 40


def render(report: Report, width: int) -> str:
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
    """Give a bar's length: at least one for any cost at all."""
    return max(1, int(ratio(multiply(cost, room), most))) if cost and most else 0
