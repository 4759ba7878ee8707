"""Show what the calls in the ledger, or the account's archived days, cost: in total, by group, and day by day."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal

from openrouter_usage.called import as_called
from openrouter_usage.cli.opening import (
    ahead_notes,
    describe_span,
    open_ledger,
    span,
    span_title,
    unread_notes,
    unsettled_notes,
)
from openrouter_usage.cli.program import Parser, account_name, terminal_width, whole_number, write
from openrouter_usage.entry import NOTHING, Hold, Usage
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.breakdown import LOCAL, break_down, with_names
from openrouter_usage.figures.limits import dated_ahead_from
from openrouter_usage.figures.model_names import grouped
from openrouter_usage.figures.options import REPORT_TOP
from openrouter_usage.figures.report import Beside, Report, every_day
from openrouter_usage.jobs.price_list import canonical_names
from openrouter_usage.ledger.ledger import Health, Ledger
from openrouter_usage.ledger.sums import GROUPINGS, Totals
from openrouter_usage.money import ZERO, format_usd, total
from openrouter_usage.period import UTC, Period, month, today, week
from openrouter_usage.text import plural

EXAMPLES = """examples:
  cost_tracker.py stats                       all time, by model
  cost_tracker.py stats --today --by session
  cost_tracker.py stats --month --trend
  cost_tracker.py stats --since 2026-11-01 --until 2026-11-15 --by day
  cost_tracker.py stats --today --tz Europe/Amsterdam
  cost_tracker.py stats --source account --month     all of the account, as archived by sync
"""
_MOST_TRIES = 20
_WINDOWS: dict[str, Callable[[datetime, tzinfo], Period]] = {"today": today, "week": week, "month": month}


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    describe_period(parser)
    parser.add_argument(
        "--source",
        choices=("ledger", "account"),
        default="ledger",
        help="tracked calls, or OpenRouter's figures of the account, as archived by sync (ledger)",
    )
    parser.add_argument("--account", type=account_name, metavar="ID", help="the account, if several are archived")
    parser.add_argument("--by", choices=GROUPINGS, default="model", help="what to group by (model)")
    parser.add_argument("--by-model", action="store_const", const="model", dest="by", help="the same as --by model")
    parser.add_argument("--trend", action="store_true", help="one bar a day")
    parser.add_argument(
        "--top", type=whole_number(0, 100_000), metavar="N", help=f"groups shown ({REPORT_TOP}; all days)"
    )
    parser.add_argument(
        "--format", choices=("text", "json", "csv", "markdown"), default="text", help="output format (text)"
    )


def describe_period(parser: Parser) -> None:
    """Add the arguments that pick the period of a report."""
    window = parser.add_mutually_exclusive_group()
    for name, unit in (("today", "day"), ("week", "week, from Monday"), ("month", "calendar month")):
        window.add_argument(f"--{name}", action="store_const", const=name, dest="window", help=f"the running {unit}")
    describe_span(parser)


def run(options: Namespace, *, now: datetime) -> int:
    """Print the report of a period."""
    refuse_two_periods(options)
    if options.account and options.source != "account":
        raise SettingsError("--account needs --source account", hint="add --source account", code="usage")
    if options.source == "account":
        from openrouter_usage.cli.opening import archived_report

        period = asked_period(options, now, UTC)
        report = archived_report(options, period, period_title(options, period, UTC), now)
    else:
        report = make_report(open_ledger(as_called("cost_tracker.py stats")), options, now)
    write(_rendered("json" if options.json else options.format, report, now))
    return 0


def refuse_two_periods(options: Namespace) -> None:
    """Raise SettingsError for a window and a span at once."""
    if options.window and (options.since or options.until):
        raise SettingsError(
            f"--{options.window} and --since/--until cannot be combined",
            hint=f"use either --{options.window} or --since/--until, not both",
            code="usage",
        )


def asked_period(options: Namespace, now: datetime, zone: tzinfo) -> Period | None:
    """Return the period that the options pick; None for all time."""
    return _WINDOWS[options.window](now, zone) if options.window else span(options)


def make_report(ledger: Ledger, options: Namespace, now: datetime) -> Report:
    """Sum the period that the options pick."""
    zone = options.tz or UTC
    period = asked_period(options, now, zone)
    totals, by_day = _sums(ledger, period, options, zone)
    groups = grouped(totals.groups, canonical_names(totals.groups)) if options.by == "model" else totals.groups
    groups = with_names(groups, options.by)
    health, ahead = ledger.health(), ledger.ahead(dated_ahead_from(now))
    return Report(
        title=period_title(options, period, zone),
        zone=zone,
        breakdown=break_down(groups, options.by, most=REPORT_TOP, top=options.top, period=period, source=LOCAL),
        trend=every_day(by_day) if options.trend else None,
        beside=_beside(ledger, options.window, now) if options.window and zone is not UTC else None,
        open_holds=len(health.holds),
        held=held(health.holds),
        file=str(ledger.path),
        unsettled=health.unsettled,
        ahead_calls=ahead.usage.requests if ahead else 0,
        ahead=ahead.usage.cost if ahead else ZERO,
        notes=(*health_notes(health), *unsettled_notes(health), *ahead_notes(ahead)),
    )


def _sums(ledger: Ledger, period: Period | None, options: Namespace, zone: tzinfo) -> tuple[Totals, dict[str, Usage]]:
    """Return the sums by group and, for the trend, by day, as of one moment."""
    for _ in range(_MOST_TRIES):
        totals = ledger.totals(period, options.by, zone)
        by_day = ledger.totals(period, "day", zone).groups if options.trend else {}
        if not options.trend or sum(by_day.values(), NOTHING) == totals.total:
            break
    return totals, by_day


def _beside(ledger: Ledger, window: str, now: datetime) -> Beside:
    period = _WINDOWS[window](now, UTC)
    return Beside(period, ledger.totals(period).total)


def held(holds: tuple[Hold, ...]) -> Decimal | None:
    """Return the most that open holds may still cost; None when unknown."""
    amounts = [hold.max_cost for hold in holds if hold.max_cost is not None]
    return total(amounts) if len(amounts) == len(holds) else None


def period_title(options: Namespace, period: Period | None, zone: tzinfo) -> str:
    """Return the days of a window, or the span as it was asked for."""
    if period is None or not options.window:
        return span_title(options)
    first = period.start.astimezone(zone).date()
    last = (period.end.astimezone(zone) - timedelta(microseconds=1)).date()
    if options.window == "month":
        return first.isoformat()[:7]
    return first.isoformat() if first == last else f"{first} to {last}"


def health_notes(health: Health) -> tuple[str, ...]:
    """Return notes on what no sum counts: an empty ledger, open holds, lines that were not understood."""
    notes = [] if health.size else ["no calls yet: `call`, CostTracker, track_cost and `import` record them"]
    if health.holds:
        amount = held(health.holds)
        most = "of unknown cost" if amount is None else f"up to {format_usd(amount)}"
        notes.append(f"{plural(len(health.holds), 'call')} running or unsettled, {most}, not included; see: settle")
    return (*notes, *unread_notes(health.unread))


def _rendered(face: str, report: Report, now: datetime) -> str:
    """Write the report in one face; only that face's module is loaded."""
    from openrouter_usage.render import report as faces

    if face == "text":
        return faces.as_text(report, terminal_width())
    written = {"json": faces.as_json, "csv": faces.as_csv, "markdown": faces.as_markdown}
    return written[face](report, now)
