"""Tables: rows of a summary, CSV that no spreadsheet takes for formulas, Markdown whose cells cannot break out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from openrouter_usage.entry import Usage
from openrouter_usage.figures.breakdown import Breakdown
from openrouter_usage.figures.summary import Summary, Window
from openrouter_usage.money import plain
from openrouter_usage.openrouter.answers.key import Limit
from openrouter_usage.period import Period, iso, spoken
from openrouter_usage.render.amounts import as_cells, joined_parts, span_words, window_source
from openrouter_usage.text import plural, safe

# -- The summary as rows of cells, for the faces that are tables.

COLUMNS = (
    "kind",
    "name",
    "start_utc",
    "end_utc",
    "usage_usd",
    "byok_usd",
    "requests",
    "left_usd",
    "limit_usd",
    "source",
)
Row = tuple[str, ...]
_COUNTERS = {"this week": "usage_weekly", "this month": "usage_monthly"}


def summary_rows(summary: Summary) -> Iterator[Row]:
    """Return one row a figure, exact amounts, an empty cell where a figure is unknown or means nothing."""
    yield from (_window(window) for window in summary.windows)
    if summary.zone_day:
        yield _window(summary.zone_day)
    if summary.balance:
        balance = summary.balance
        used = plain(balance.used)
        yield _row("balance", "credits", usage=used, left=balance.balance, limit=balance.purchased, source="/credits")
    if summary.key_limit:
        yield _limit("key_limit", summary.key_limit)
    if summary.budget:
        yield _limit("budget", summary.budget)
    if summary.breakdown:
        yield from _breakdown(summary.breakdown)
    yield from (_row("missing", gap.part, source=gap.message) for gap in summary.gaps)


def _row(
    kind: str,
    name: str,
    *,
    period: Period | None = None,
    usage: str = "",
    byok: str = "",
    requests: str = "",
    left: Decimal | None = None,
    limit: Decimal | None = None,
    source: str = "",
) -> Row:
    start, end = (iso(period.start), iso(period.end)) if period else ("", "")
    return (kind, name, start, end, usage, byok, requests, _exact(left), _exact(limit), source)


def _exact(amount: Decimal | None) -> str:
    return "" if amount is None else plain(amount)


def _window(window: Window) -> Row:
    usage, byok = _exact(window.usage), _exact(window.byok)
    source = window_source(window)
    return _row("window", window.period.label, period=window.period, usage=usage, byok=byok, source=source)


def _limit(kind: str, limit: Limit) -> Row:
    name = "unlimited" if limit.amount is None else limit.reset or "never resets"
    return _row(kind, name, left=limit.remaining, limit=limit.amount, source="/key")


def _breakdown(breakdown: Breakdown) -> Iterator[Row]:
    for kind, name, period, usage in as_cells(breakdown):
        yield _used(breakdown, kind, name, usage, period)
    span = f"{breakdown.days} days" if breakdown.is_completed else span_words(breakdown)
    yield _used(breakdown, "total", f"all of {span}", breakdown.total, breakdown.period)
    if breakdown.coverage and breakdown.coverage.joined:
        for name, usage in joined_parts(breakdown.coverage.joined).items():
            yield _used(breakdown, "part", name, usage, breakdown.period)
    for gap in breakdown.missing:
        yield _row("missing", plural(gap.day_count, "day"), period=gap, source="not known")
    if breakdown.unattributed is not None:
        counter = _COUNTERS.get(span.partition(",")[0], "usage_daily")
        source = f"/key {counter} - {breakdown.source}"
        yield _row("unattributed", span, period=breakdown.period, usage=plain(breakdown.unattributed), source=source)


def _used(breakdown: Breakdown, kind: str, name: str, usage: Usage, period: Period | None) -> Row:
    cost, byok, requests = plain(usage.cost), plain(usage.byok_cost), str(usage.requests)
    source = _source(breakdown, period)
    return _row(kind, name, period=period, usage=cost, byok=byok, requests=requests, source=source)


def _source(breakdown: Breakdown, period: Period | None) -> str:
    """Name where a figure comes from, and up to when it knows the running day."""
    coverage = breakdown.coverage
    if coverage is None or period is None or breakdown.period is None:
        return breakdown.source
    source = coverage.source_of(period.first_day) if period != breakdown.period else breakdown.source
    has_running = coverage.live_until is not None and period.last_day == breakdown.period.last_day
    return f"{source}, up to {iso(coverage.live_until)}" if coverage.live_until and has_running else source


# -- Rows as CSV that no spreadsheet takes for formulas.

# What a spreadsheet reads as the beginning of a formula, the full-width forms included.
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Where the list separator is a semicolon, as in much of Europe, a cell begins after each one.
_AFTER_SEPARATOR = re.compile(r"(; *)(?=[=+\-@＝＋－＠])")


def as_csv(summary: Summary, now: datetime) -> str:
    """Write the summary as rows under a head line; amounts are exact."""
    return csv_table(COLUMNS, summary_rows(summary))


def csv_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write rows of cells with a head line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def cell(value: str) -> str:
    """Return a cell's text as data: a number as it is, and an apostrophe before what looks like a formula."""
    shown = _AFTER_SEPARATOR.sub(r"\1'", safe(value, 1_000))
    if value.lstrip().startswith(_FORMULA_SIGNS) and not _is_number(value):
        return "'" + shown
    return shown


def _is_number(value: str) -> bool:
    digits = value.removeprefix("-").replace(".", "", 1)
    return digits.isascii() and digits.isdigit()


# -- Rows as a Markdown table whose cells cannot break out of it.

_ACTIVE = "\\`*_{}[]<>#|~!&"


def as_markdown(summary: Summary, now: datetime) -> str:
    """Write the summary as a table, with its notes below; amounts are exact."""
    notes = [f"- {escaped(note)}" for note in summary.notes]
    head = ["## OpenRouter usage", "", f"As of {spoken(summary.taken_at)}. Amounts in USD; periods in UTC.", ""]
    return "\n".join([*head, *markdown_table(COLUMNS, summary_rows(summary)), *([""] if notes else []), *notes]) + "\n"


def markdown_table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Write rows of cells as the lines of a table."""
    yield _line(columns)
    yield _line("---" for _ in columns)
    yield from (_line(escaped(value) for value in row) for row in rows)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escaped(text: str) -> str:
    """Write text so that Markdown shows it and does nothing with it."""
    return "".join("\\" + char if char in _ACTIVE else char for char in safe(text, 1_000))
