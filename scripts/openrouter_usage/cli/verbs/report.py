"""Draw what the calls in the ledger cost: one page with charts and tables (HTML), or its chart alone (SVG)."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from openrouter_usage.budgets import EVERY
from openrouter_usage.called import as_called
from openrouter_usage.cli.asking import (
    add_filters,
    add_period,
    period_of,
    refuse_account_words,
    refuse_two_periods,
    title_of,
    where_of,
)
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, whole_number, write
from openrouter_usage.cli.statistics import health_notes, held
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.breakdown import LOCAL, SHARED, added, break_down
from openrouter_usage.figures.limits import Scope, standings
from openrouter_usage.figures.model_names import grouped
from openrouter_usage.figures.options import REPORT_TOP
from openrouter_usage.figures.report import Report, cut_up, stack
from openrouter_usage.files import save_output
from openrouter_usage.home.settings import find_home, load_budgets
from openrouter_usage.jobs.breakdown import compared_with_kept
from openrouter_usage.jobs.own_files import is_own
from openrouter_usage.jobs.price_list import canonical_names
from openrouter_usage.ledger.ledger import Committed, Ledger
from openrouter_usage.money import Json
from openrouter_usage.period import UTC, Period, days, iso, parse_day, today
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import plural, safe
from openrouter_usage.vocabulary import said_of

if TYPE_CHECKING:
    from openrouter_usage.render.chart import Content

EXAMPLES = """examples:
  cost_tracker.py report --html spend.html               the last 30 days
  cost_tracker.py report --html november.html --month --tz Europe/Amsterdam
  cost_tracker.py report --svg week.svg --week --force
  cost_tracker.py report --svg - --since 2026-01-01
"""
_USUAL_DAYS = 30


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument("--html", metavar="FILE", type=Path, help="write the page; - is standard output")
    output.add_argument("--svg", metavar="FILE", type=Path, help="write the chart alone; - is standard output")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    add_period(parser)
    add_filters(parser)
    parser.add_argument(
        "--top", type=whole_number(1, 1_000), default=REPORT_TOP, metavar="N", help=f"models listed ({REPORT_TOP})"
    )


def run(options: Namespace, *, now: datetime) -> int:
    """Write the page or the chart, and print where it is."""
    face, target = ("html", options.html) if options.html is not None else ("svg", options.svg)
    if str(target) == "-" and options.json:
        raise SettingsError(
            "--json describes a written file, but none is named", hint=f"name a file with --{face}", code="usage"
        )
    refuse_two_periods(options)
    refuse_account_words("model", where_of(options))
    ledger = open_ledger(as_called("cost_tracker.py report"))
    content = _content(ledger, options, now)
    drawn = _faces(face)(content)
    if str(target) == "-":
        write(drawn)
        return 0
    save_output(target, [drawn], force=options.force, is_own=lambda path: is_own(path, ledger.path))
    calls = content.report.breakdown.total.requests
    if options.json:
        bars = [bar.slot.period for bar in content.timeline.bars]
        drawn_as: dict[str, Json] = {"format": face, "file": str(target), "unit": content.timeline.unit}
        write(
            envelope("report", now, {**drawn_as, "start": iso(bars[0].start), "end": iso(bars[-1].end), "calls": calls})
        )
    else:
        write(f"{plural(calls, 'call')} drawn in {safe(str(target), 300)}\n")
    return 0


def _faces(face: str) -> Callable[[Content], str]:
    """Return the drawing function; only its own module is loaded."""
    if face == "svg":
        from openrouter_usage.render import chart

        return chart.render
    from openrouter_usage.render import page

    return page.render


def _content(ledger: Ledger, options: Namespace, now: datetime) -> Content:
    from openrouter_usage.render.chart import Content

    zone = options.tz or UTC
    where = where_of(options)
    asked = period_of(options, now) or _last_days(now, zone)
    period = _drawn(ledger, options, asked, now)
    unit, slots = cut_up(period, zone)
    # All sums of the page come from these, so that they are of one moment and add up.
    billed = [totals.groups for totals in ledger.totals_of((slot.period for slot in slots), where)]
    name_of = canonical_names({name for found in billed for name in found})
    groups = [grouped(found, name_of) for found in billed]
    timeline = stack(unit, slots, groups)
    by_model = added(group for found in groups for group in found.items())
    health = ledger.health()
    is_usual = not (options.period or options.since or options.until)
    source = SHARED if ledger.is_shared else LOCAL
    report = Report(
        title=", ".join(filter(None, (_days_of(period, zone) if is_usual else title_of(options, now), said_of(where)))),
        zone=zone,
        breakdown=break_down(by_model, "model", most=REPORT_TOP, top=options.top, period=period, source=source),
        open_holds=len(health.holds),
        held=held(health.holds),
        file=ledger.source if ledger.is_shared else _without_home(ledger.path),
        notes=health_notes(health),
    )
    compared, why_not = compared_with_kept(lambda each: ledger.totals(each).total, now)
    return Content(report, timeline, now, _budget(ledger, now), compared, why_not)


def _last_days(now: datetime, zone: tzinfo) -> Period:
    day = now.astimezone(zone).date()
    return days(day - timedelta(days=_USUAL_DAYS - 1), day, "30d", zone)


def _days_of(period: Period, zone: tzinfo) -> str:
    first, last = period.start.astimezone(zone).date(), (period.end - timedelta(microseconds=1)).astimezone(zone).date()
    return f"{first} to {last}"


def _drawn(ledger: Ledger, options: Namespace, asked: Period, now: datetime) -> Period:
    """Return the used part of an open period: from the first call, or up to today."""
    if options.period or bool(options.since) == bool(options.until):
        return asked
    zone = options.tz or UTC
    known = [parse_day(name) for name in ledger.totals(asked, "day", zone).groups]
    if options.since:
        last = max([today(now, zone).end, *(days(day, day, "", zone).end for day in known)])
        # A period in the future is drawn as one day.
        end = last if last > asked.start else asked.start + timedelta(days=1)
        return asked._replace(end=min(asked.end, end))
    first = min(known, default=None)
    start = days(first, first, "", zone).start if first else asked.end - timedelta(days=_USUAL_DAYS)
    return asked._replace(start=max(asked.start, start))


def _budget(ledger: Ledger, now: datetime) -> tuple[Scope, ...]:
    named = [budget for budget in load_budgets() if budget.owner.name != EVERY]
    found: list[Scope] = []

    def look(books: Committed) -> None:
        found.extend(standings(named, books, now))

    ledger.committed(look)
    return tuple(found)


def _without_home(path: Path) -> str:
    """Return the ledger's path without the user's name, because a page is made to be shown to others."""
    home = find_home()
    return f"~/{path.relative_to(home).as_posix()}" if home and path.is_relative_to(home) else str(path)
