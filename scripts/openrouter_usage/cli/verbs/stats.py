"""Show what the calls in the ledger cost: in total, by group, and day by day."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo

from openrouter_usage.cli.books import describe_span, open_ledger, span
from openrouter_usage.cli.output import terminal_width, write
from openrouter_usage.cli.parser import Parser, whole_number
from openrouter_usage.errors import SettingsError
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.ledger.sums import GROUPINGS
from openrouter_usage.period import UTC, Period, month, today, week
from openrouter_usage.report import DEFAULT_TOP, Beside, Report, cut, every_day, ranked
from openrouter_usage.text import plural, safe

EXAMPLES = """examples:
  cost_tracker.py stats                       all time, by model
  cost_tracker.py stats --today --by session
  cost_tracker.py stats --month --trend
  cost_tracker.py stats --since 2026-11-01 --until 2026-11-15 --by day
  cost_tracker.py stats --today --tz Europe/Amsterdam
"""
_WINDOWS: dict[str, Callable[[datetime, tzinfo], Period]] = {"today": today, "week": week, "month": month}
_EVER = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC), "ever")


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    window = parser.add_mutually_exclusive_group()
    for name, unit in (("today", "day"), ("week", "week, from Monday"), ("month", "calendar month")):
        window.add_argument(f"--{name}", action="store_const", const=name, dest="window", help=f"the running {unit}")
    describe_span(parser)
    parser.add_argument("--by", choices=GROUPINGS, default="model", help="what to group by (model)")
    parser.add_argument("--by-model", action="store_const", const="model", dest="by", help="the same as --by model")
    parser.add_argument("--trend", action="store_true", help="one bar a day")
    parser.add_argument(
        "--top", type=whole_number(0, 100_000), default=DEFAULT_TOP, metavar="N", help=f"groups shown ({DEFAULT_TOP})"
    )
    parser.add_argument(
        "--format", choices=("text", "json", "csv", "markdown"), default="text", help="how to show it (text)"
    )


def run(options: Namespace, *, now: datetime | None = None) -> int:
    """Print the report of a period."""
    now = now or datetime.now(UTC)
    if options.window and (options.since or options.until):
        raise SettingsError(
            f"--{options.window} and --since/--until name two periods", hint="give one of them", code="usage"
        )
    ledger = open_ledger("cost_tracker.py stats")
    report = make_report(ledger, options, now)
    write(_rendered("json" if options.json else options.format, report, now))
    return 0


def make_report(ledger: Ledger, options: Namespace, now: datetime) -> Report:
    """Sum the period that the options pick."""
    zone = options.tz or UTC
    period = _WINDOWS[options.window](now, zone) if options.window else span(options, _EVER)
    totals = ledger.totals(period, options.by, zone)
    rows, more_count, more = cut(ranked(totals.groups, options.by), options.top)
    days = ledger.totals(period, "day", zone).groups if options.trend else {}
    trend, earlier_days, earlier = every_day(days)
    return Report(
        title=_title(options, period, zone),
        period=period,
        zone=str(zone),
        by=options.by,
        total=totals.total,
        rows=rows,
        more_count=more_count,
        more=more,
        trend=trend,
        earlier_days=earlier_days,
        earlier=earlier,
        beside=_beside(ledger, options.window, now) if options.window and zone is not UTC else None,
        source=str(ledger.path),
        notes=_notes(ledger),
    )


def _beside(ledger: Ledger, window: str, now: datetime) -> Beside:
    period = _WINDOWS[window](now, UTC)
    return Beside(period, ledger.totals(period).total)


def _title(options: Namespace, period: Period | None, zone: tzinfo) -> str:
    if period is None:
        return "all time"
    first = period.start.astimezone(zone).date()
    last = (period.end.astimezone(zone) - timedelta(microseconds=1)).date()
    if options.window == "month":
        return first.isoformat()[:7]
    if options.window or (options.since and options.until):
        return first.isoformat() if first == last else f"{first} to {last}"
    return f"since {first}" if options.since else f"until {last}"


def _notes(ledger: Ledger) -> tuple[str, ...]:
    health = ledger.health()
    damaged = [line for line in health.unread if line.is_damaged]
    foreign = len(health.unread) - len(damaged)
    notes = [] if health.size else ["no calls yet: they are logged by CostTracker, track_cost, or an import"]
    if damaged:
        first = damaged[0]
        where = f"the first at byte {first.offset:,} ({safe(first.why)})"
        notes.append(f"{plural(len(damaged), 'damaged line')} not counted, {where}")
    if foreign:
        notes.append(f"{plural(foreign, 'line')} of a kind from elsewhere kept and not counted")
    return tuple(notes)


def _rendered(face: str, report: Report, now: datetime) -> str:
    """Write the report in one face; only that face's module is loaded."""
    if face == "text":
        from openrouter_usage.render.report_text import render

        return render(report, terminal_width())
    from openrouter_usage.render import report_table

    faces = {"json": report_table.as_json, "csv": report_table.as_csv_text, "markdown": report_table.as_markdown_text}
    return faces[face](report, now)
