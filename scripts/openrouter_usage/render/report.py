"""The ledger's report as text, JSON, CSV and Markdown: totals, groups with their shares, and a bar for each day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from openrouter_usage.entry import Usage
from openrouter_usage.figures.breakdown import Breakdown, break_down, dearest_first
from openrouter_usage.figures.caching import Caching, CachingReport
from openrouter_usage.figures.fees import Fees, FeesReport
from openrouter_usage.figures.report import Report
from openrouter_usage.money import Json, format_usd, multiply, plain, ratio, share
from openrouter_usage.period import Period, iso, spoken
from openrouter_usage.render import table
from openrouter_usage.render.amounts import (
    as_cells,
    as_data,
    as_lines,
    averages,
    compared_data,
    compared_lines,
    earlier_line,
    joined_data,
    joined_lines,
    joined_parts,
    more_line,
    source_spans,
)
from openrouter_usage.render.envelope import envelope
from openrouter_usage.render.paint import AS_LINES, Drawing
from openrouter_usage.text import columns, named, plural, safe
from openrouter_usage.vocabulary import names_of, parts_of

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


NO_TREND = break_down({}, "day", most=0)


def as_json(report: Report, now: datetime) -> str:
    """Write the report as the data of an envelope of kind `statistics`."""
    found, trend = report.breakdown.oldest_first, report.trend or NO_TREND
    period, beside = found.period, report.beside
    groups, more = as_data(found, usage_data)
    days, earlier = as_data(trend.oldest_first, usage_data)
    data: dict[str, Json] = {
        "title": report.title,
        "start": iso(period.start) if period else None,
        "end": iso(period.end) if period else None,
        "zone": str(report.zone),
        "source": report.file,
        "origin": found.source,
        "account": report.account,
        "missing": [{"start": iso(span.start), "end": iso(span.end), "days": _days(span)} for span in found.missing],
        "total": usage_data(found.total),
        "by": found.by,
        "groups": groups,
        "more": more,
        "compared": compared_data(found.compared, usage_data),
        "joined": joined_data(found.coverage.joined if found.coverage else None, usage_data),
        "caching": _parts_data(report.caching, _effect_data),
        "fees": _parts_data(report.fees, _fee_data),
        "open_holds": report.open_holds,
        "held_usd": report.held,
        "unsettled_calls": report.unsettled,
        "ahead": {"calls": report.ahead_calls, "cost_usd": report.ahead},
        "trend": days,
        "earlier": {"days": earlier.pop("count"), **earlier},
        "utc": None
        if beside is None
        else {"start": iso(beside.period.start), "end": iso(beside.period.end), **usage_data(beside.total)},
    }
    return envelope("statistics", now, data, notes=report.notes)


def _parts_data(found: CachingReport | FeesReport | None, data: Callable[[Any], dict[str, Json]]) -> Json:
    """Return a report of one part of the costs: in all, by model and by client."""
    if found is None:
        return None
    groups = {"by_model": found.by_model, "by_client": found.by_client}
    named_groups: dict[str, Json] = {
        name: [{"name": group, **data(each)} for group, each in rows] for name, rows in groups.items()
    }
    return {**data(found.total), **named_groups}


def _fee_data(found: Fees) -> dict[str, Json]:
    parts: dict[str, Json] = {"tools_usd": found.tools, "files_usd": found.files, "byok_fee_usd": found.byok}
    return {"cost_usd": found.cost, **parts, "rest_usd": found.rest, "calls": found.calls}


def _effect_data(found: Caching) -> dict[str, Json]:
    return {
        "prompt_tokens": found.prompt_tokens,
        "cached_tokens": found.cached_tokens,
        "cache_write_tokens": found.cache_write_tokens,
        "saved_usd": found.saved,
        "surcharge_usd": found.surcharge,
        "estimated_calls": found.estimated,
        "unknown_calls": found.unknown,
    }


def _days(span: Period) -> int:
    return (span.last_day - span.first_day).days + 1


def usage_data(usage: Usage) -> dict[str, Json]:
    """Return sums with exact amounts."""
    counts: dict[str, Json] = {name: getattr(usage, name) for name in COUNTS}
    money: dict[str, Json] = {"cost_usd": usage.cost, "byok_usd": usage.byok_cost}
    return counts | money | {"unknown_cost_calls": usage.unknown, "estimated_cost_calls": usage.estimated}


def as_csv_rows(report: Report) -> Iterator[tuple[str, ...]]:
    """Return the groups, what is left of them, the trend, the total, OpenRouter's UTC day, and what is not known."""
    found, trend = report.breakdown.oldest_first, (report.trend or NO_TREND).oldest_first
    for row in as_cells(found, more=f"earlier {found.by}s" if found.is_in_order else "more", zone=report.zone):
        yield _row(*row)
    if trend.more_count:
        yield _row("earlier", f"{trend.more_count} earlier days", found.period, trend.more)
    yield from (_row("trend", day.name, trend.period_of(day.name, report.zone), day.usage) for day in trend.rows)
    yield _row("total", report.title, found.period, found.total)
    if report.beside:
        yield _row("utc", report.beside.period.label, report.beside.period, report.beside.total)
    if found.coverage and found.coverage.joined:
        for name, usage in joined_parts(found.coverage.joined).items():
            yield _row("part", name, found.period, usage)
    for span in found.missing:
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
    origin, file = table.escaped(report.origin), table.escaped(report.file)
    source = f"Source: {origin} {file}; days of {report.zone}; amounts in USD."
    return "\n".join([*head, *table.markdown_table(COLUMNS, as_csv_rows(report)), "", source, *notes]) + "\n"


# -- The ledger's report as text: totals, groups with their shares, and a bar for each day.

_MOST_BAR = 40
_MOST_OF_A_PART = 5


def as_text(report: Report, width: int, drawing: Drawing = AS_LINES) -> str:
    """Write the report for a terminal of `width` columns; amounts in USD."""
    title = f"OpenRouter Cost Statistics ({report.title})"
    caching = _part_lines("Caching", report.caching, _effect) if report.caching else []
    fees = _part_lines("Fees", report.fees, _fee_parts) if report.fees else []
    totals = [*_answer(report.breakdown), *_totals(report.breakdown.total)]
    lines = [title, _rule(title), *caching, *fees, *totals, *_beside(report)]
    if report.breakdown.rows or report.breakdown.more_count:
        lines += ["", f"{heading_of(report.breakdown.by)}:", *_groups(report.breakdown, drawing)]
    if report.trend and report.trend.rows:
        lines += ["", *_trend(report, report.trend.oldest_first, width)]
    coverage = report.breakdown.coverage
    if coverage and coverage.joined:
        lines += ["", *joined_lines(coverage), f"Days: {'; '.join(source_spans(report.breakdown, coverage))}"]
    lines += ["", f"Source: {safe(report.origin, 300)} {safe(report.file, 300)}; days of {report.zone}"]
    return "\n".join([*lines, *(f"⚠ {note}" for note in report.notes)]) + "\n"


def heading_of(by: str) -> str:
    """Return the heading of a table of groups."""
    return f"By {' and '.join(part.title() for part in parts_of(by))}"


def _rule(title: str) -> str:
    return "=" * columns(title)


def _answer(breakdown: Breakdown) -> list[str]:
    """Write in one line what people ask for first: the cost, the calls, the tokens, and what cost most."""
    usage = breakdown.total
    if not usage.requests:
        return ["Total $0.00: no calls"]
    tokens = f"{usage.total_tokens:,} tokens ({usage.prompt_tokens:,} in, {usage.completion_tokens:,} out)"
    dearest = min(breakdown.rows, key=dearest_first, default=None)
    most = ""
    if dearest and dearest.usage.cost:
        name = " · ".join(map(named, names_of(dearest.name)))
        most = f"; most: {name} {_cost(dearest.usage)} ({share(dearest.usage.cost, usage.cost)})"
    lines = [f"Total {_cost(usage)} in {plural(usage.requests, 'call')}, {tokens}{most}"]
    return lines + (compared_lines(breakdown.compared) if breakdown.compared else [])


def _part_lines(what: str, found: CachingReport | FeesReport, words: Callable[[Any], str]) -> list[str]:
    """Write a report of one part of the costs: in all, by model and by client."""
    lines = [f"{what}: {words(found.total)}"]
    for kind, rows in (("model", found.by_model), ("client", found.by_client)):
        lines += [f"  {kind} {named(name)}: {words(each)}" for name, each in rows[:_MOST_OF_A_PART]]
        if len(rows) > _MOST_OF_A_PART:
            lines.append(f"  ... and {plural(len(rows) - _MOST_OF_A_PART, f'more {kind}')}")
    return lines


def _fee_parts(found: Fees) -> str:
    parts = (("web search and tools", found.tools), ("files", found.files), ("BYOK", found.byok))
    told = [f"{name} {format_usd(amount)}" for name, amount in parts if amount]
    calls = f" in {plural(found.calls, 'call')}" if told else "none that an answer has named"
    return f"{', '.join(told)}{calls}; {format_usd(found.rest)} for tokens"


def _effect(found: Caching) -> str:
    part = share(Decimal(found.cached_tokens), Decimal(found.prompt_tokens))
    told = [f"saved {format_usd(found.saved)}"]
    if found.surcharge:
        told.append(f"writes cost {format_usd(found.surcharge)} more")
    told.append(f"{part} of the input was cached")
    if found.estimated:
        told.append(f"{plural(found.estimated, 'call')} estimated from list prices")
    if found.unknown:
        told.append(f"the effect on {plural(found.unknown, 'call')} is unknown")
    return ", ".join(told)


def _share_of_input(name: str, count: int, usage: Usage) -> str:
    is_input = name != "Reasoning" and usage.prompt_tokens
    return f", {share(Decimal(count), Decimal(usage.prompt_tokens))} of the input" if is_input else ""


def _averages(usage: Usage) -> list[str]:
    a_call, thousand = averages(usage)
    more = "" if thousand is None else f", per 1,000 tokens {format_usd(thousand)}"
    return [] if a_call is None else [f"  - Per Call: {format_usd(a_call)}{more}"]


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
    told = ((name, f"{count:,} (part of these{_share_of_input(name, count, usage)})") for name, count in parts if count)
    lines += [f"  - {name}: {words}" for name, words in told]
    lines += [f"Total Cost: {format_usd(usage.cost)}", *_averages(usage)]
    if usage.byok_cost:
        lines.append(f"BYOK Cost: {format_usd(usage.byok_cost)} (paid to providers, not in the total)")
    if usage.estimated:
        lines.append(f"Estimated Cost: {plural(usage.estimated, 'call')} (in the total, not billed figures)")
    if usage.unknown:
        lines.append(f"Unknown Cost: {plural(usage.unknown, 'call')} (not in the total)")
    return lines


def _beside(report: Report) -> list[str]:
    """Name both boundaries where the user's own day and OpenRouter's are shown."""
    beside, period = report.beside, report.breakdown.period
    if beside is None or period is None:
        return []
    return [
        f"Period in {report.zone}: {_boundaries(period)}",
        f"By OpenRouter's UTC {_unit(beside.period)}, {_boundaries(beside.period)}: "
        f"{format_usd(beside.total.cost)} ({plural(beside.total.requests, 'call')})",
    ]


def _boundaries(period: Period) -> str:
    return f"{spoken(period.start)} to {spoken(period.end)}"


def _unit(period: Period) -> str:
    return "day" if period.label == "today" else period.label


def _groups(breakdown: Breakdown, drawing: Drawing) -> list[str]:
    if drawing.has_table:
        from openrouter_usage.render.aligned import table as aligned

        rows = breakdown.oldest_first.rows if breakdown.is_in_order else ()
        spans = _between(breakdown.missing, rows[0].name, rows[-1].name) if rows else []
        return aligned(breakdown, spans, width=drawing.most, paint=drawing.paint)
    whole = breakdown.total.cost
    told = lambda usage: f"{_cost(usage)} ({share(usage.cost, whole)})"  # noqa: E731
    if not breakdown.is_in_order:
        return [*as_lines(breakdown, told, mark="  "), *(f"  {line}" for line in more_line(breakdown, _cost))]
    rows = breakdown.rows
    unknown = _between(breakdown.missing, rows[-1].name, rows[0].name) if rows else []
    lines = as_lines(breakdown, told, mark="  ", unknown=unknown)[::-1]
    return [*(f"  {line}" for line in earlier_line(breakdown, _cost)), *lines]


def _between(missing: Iterable[Period], first: str, last: str) -> list[Period]:
    """Return the unknown spans between two days."""
    return [span for span in missing if first < span.first_day.isoformat() < last]


def _cost(usage: Usage) -> str:
    byok = f" + {format_usd(usage.byok_cost)} BYOK" if usage.byok_cost else ""
    unknown = f" + {usage.unknown:,} unknown" if usage.unknown else ""
    return format_usd(usage.cost) + byok + unknown


def _trend(report: Report, trend: Breakdown, width: int) -> list[str]:
    period = report.breakdown.period
    heading = "Monthly Cost Trend" if period and period.label == "month" else "Cost Trend"
    labels = [f"{row.name}: {_cost(row.usage)}" for row in trend.rows]
    room = max(1, min(_MOST_BAR, width - max(map(len, labels)) - 1))
    most = max(row.usage.cost for row in trend.rows)
    told = lambda usage: f"{_cost(usage)} {'█' * _length(usage.cost, most, room)}".rstrip()  # noqa: E731
    unknown = _between(report.breakdown.missing, trend.rows[0].name, trend.rows[-1].name)
    days = as_lines(trend, told, mark="", unknown=unknown)[::-1]
    return [heading, _rule(heading), *earlier_line(trend, _cost, " with calls"), *days]


def _length(cost: Decimal, most: Decimal, room: int) -> int:
    """Return a bar's length: at least one for any cost at all."""
    return max(1, int(ratio(multiply(cost, room), most))) if cost and most else 0
