"""Answers from the books: what tracked calls, or the account's archived days, cost, by group and day by day."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from openrouter_usage.called import as_called
from openrouter_usage.cli.asking import moments_before, period_of, refuse_account_words, title_of, where_of, whole_title
from openrouter_usage.cli.opening import ahead_notes, open_ledger, unsettled_notes
from openrouter_usage.cli.program import terminal_width, write
from openrouter_usage.cli.terminal import is_terminal, paint_of
from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.breakdown import Comparison, break_down, compare, with_names
from openrouter_usage.figures.limits import dated_ahead_from
from openrouter_usage.figures.options import REPORT_TOP
from openrouter_usage.figures.report import Beside, Report, every_day
from openrouter_usage.jobs.breakdown import health_notes, held, named_totals, source_of
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.sums import Totals
from openrouter_usage.money import ZERO
from openrouter_usage.period import UTC, Period, days
from openrouter_usage.render.paint import Drawing
from openrouter_usage.vocabulary import Where, days_of_word

if TYPE_CHECKING:
    from openrouter_usage.figures.caching import CachingReport
    from openrouter_usage.figures.fees import FeesReport

_MOST_TRIES = 20
FORMATS = ("text", "table", "json", "csv", "markdown")


def run(options: Namespace, *, now: datetime) -> int:
    """Print the report of a period."""
    if options.account and options.source == "ledger":
        raise SettingsError("--account needs --source account", hint="add --source account", code="usage")
    if options.source == "account" and options.compare:
        hint = as_called("to compare what the account spent: stats.py --month --compare previous")
        raise SettingsError("archived days have no --compare", hint=hint, code="usage")
    if options.source != "ledger" and (options.caching or options.fees):
        word = "--caching" if options.caching else "--fees"
        raise SettingsError(f"archived days have no {word}", hint="add --source ledger", code="usage")
    if options.source == "account":
        from openrouter_usage.cli.opening import archived_report

        report = archived_report(options, period_of(options, now), title_of(options, now), now, where_of(options))
    elif options.source == "all":
        from openrouter_usage.cli.opening import joined_report

        ledger = open_ledger(as_called("cost_tracker.py stats"))
        report = joined_report(ledger, options, whole_title(options, now), now, where_of(options))
    else:
        report = make_report(open_ledger(as_called("cost_tracker.py stats")), options, now)
    write(_rendered("json" if options.json else options.format, report, now, options))
    return 0


def make_report(ledger: Ledger, options: Namespace, now: datetime) -> Report:
    """Sum the period that the options pick."""
    zone = options.tz or UTC
    period, where = period_of(options, now), where_of(options)
    refuse_account_words(options.by, where)
    totals, by_day = _sums(ledger, period, options, zone)
    groups = with_names(totals.groups, options.by)
    source = source_of(ledger)
    found = break_down(groups, options.by, most=REPORT_TOP, top=options.top, period=period, source=source)
    if options.compare:
        found = found._replace(compared=_compared(ledger, options, now, period, groups))
    health, ahead = ledger.health(), ledger.ahead(dated_ahead_from(now))
    return Report(
        title=whole_title(options, now),
        zone=zone,
        breakdown=found,
        trend=every_day(by_day) if options.trend else None,
        caching=_caching(ledger, period, where) if options.caching else None,
        fees=_fees(ledger, period, where) if options.fees else None,
        beside=_beside(ledger, options, now) if options.period and zone is not UTC else None,
        open_holds=len(health.holds),
        held=held(health.holds),
        file=ledger.source,
        unsettled=health.unsettled,
        ahead_calls=ahead.usage.requests if ahead else 0,
        ahead=ahead.usage.cost if ahead else ZERO,
        notes=(*health_notes(health), *unsettled_notes(health), *ahead_notes(ahead)),
    )


def _sums(ledger: Ledger, period: Period | None, options: Namespace, zone: tzinfo) -> tuple[Totals, dict[str, Usage]]:
    """Return the sums by group and, for the trend, by day, as of one moment."""
    for _ in range(_MOST_TRIES):
        totals = named_totals(ledger, period, options.by, zone, where_of(options))
        by_day = named_totals(ledger, period, "day", zone, where_of(options)).groups if options.trend else {}
        if not options.trend or sum(by_day.values(), NOTHING) == totals.total:
            break
    return totals, by_day


def _compared(
    ledger: Ledger, options: Namespace, now: datetime, period: Period | None, groups: Mapping[str, Usage]
) -> Comparison:
    """Sum the period before, up to the same hour while this one is running."""
    before = moments_before(options, now, period)
    found = named_totals(ledger, before, options.by, options.tz or UTC, where_of(options)).groups
    return compare(before, groups, with_names(found, options.by))


def _caching(ledger: Ledger, period: Period | None, where: Where) -> CachingReport:
    """Sum what caches did, call by call; prices are those of the kept list, because a report asks nobody."""
    from openrouter_usage.figures.caching import caching_report
    from openrouter_usage.figures.exchange import is_picked
    from openrouter_usage.jobs.price_list import kept_prices, known_names

    prices = kept_prices()
    entries = (entry for entry in ledger.entries(period) if is_picked(entry, where))
    return caching_report(entries, prices.find if prices else lambda name: None, known_names())


def _fees(ledger: Ledger, period: Period | None, where: Where) -> FeesReport:
    from openrouter_usage.figures.exchange import is_picked
    from openrouter_usage.figures.fees import fees_report
    from openrouter_usage.jobs.price_list import known_names

    return fees_report((entry for entry in ledger.entries(period) if is_picked(entry, where)), known_names())


def _beside(ledger: Ledger, options: Namespace, now: datetime) -> Beside:
    found = days_of_word(options.period, now.astimezone(UTC).date())
    period = days(found.first, found.last, options.period)
    return Beside(period, named_totals(ledger, period, "model", where=where_of(options)).total)


def _rendered(face: str, report: Report, now: datetime, options: Namespace) -> str:
    """Write the report in one face; only that face's module is loaded."""
    from openrouter_usage.render import report as faces

    if face in ("text", "table"):
        # In a pipe the text stays as programs know it; only a table that was asked for is drawn there too.
        is_seen = is_terminal()
        most = terminal_width() if is_seen else None
        drawing = Drawing(is_seen or face == "table", most, paint_of(options))
        return faces.as_text(report, terminal_width(), drawing)
    written = {"json": faces.as_json, "csv": faces.as_csv, "markdown": faces.as_markdown}
    return written[face](report, now)
