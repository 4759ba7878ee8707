"""Draw what tracked calls, or the whole account, cost: one page with charts and tables (HTML), or its chart (SVG)."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.cli.asking import (
    SOURCES,
    add_filters,
    add_period,
    before_of,
    moments_before,
    period_of,
    refuse_account_words,
    refuse_two_periods,
    refuse_zone,
    where_of,
    whole_title,
)
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, complain, whole_number, write
from openrouter_usage.cli.statistics import FORMATS
from openrouter_usage.cli.statistics import run as write_statistics
from openrouter_usage.cli.terminal import open_in_browser
from openrouter_usage.errors import OpenRouterUsageError, SettingsError
from openrouter_usage.figures.options import REPORT_TOP
from openrouter_usage.figures.page import GENERATOR
from openrouter_usage.files import save_output
from openrouter_usage.home.settings import find_home, load_settings
from openrouter_usage.jobs.own_files import is_own
from openrouter_usage.jobs.page import AccountPage, Asked, account_page, ledger_page
from openrouter_usage.money import Json
from openrouter_usage.period import UTC, Period, days, iso, parse_day, today
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import plural, safe
from openrouter_usage.vocabulary import ChosenPeriod, account_dimensions

if TYPE_CHECKING:
    from openrouter_usage.figures.page import Content
    from openrouter_usage.ledger.ledger import Ledger

PROGRAM = as_called("cost_tracker.py report")
EXAMPLES = """examples:
  cost_tracker.py report --open                          the last 30 days, in the browser
  cost_tracker.py report --html spend.html --open
  cost_tracker.py report --html november.html --month --tz Europe/Amsterdam
  cost_tracker.py report --html account.html --source account --last-month
  cost_tracker.py report --svg week.svg --week --force
  cost_tracker.py report --svg - --since 2026-01-01
  cost_tracker.py report --format markdown --source all --last-month
"""
_USUAL = "30d"
_USUAL_FILE = "openrouter-spend.html"


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--html", metavar="FILE", type=Path, help="write the page; - is standard output")
    output.add_argument("--svg", metavar="FILE", type=Path, help="write the chart alone; - is standard output")
    told = f"write the same figures as stats does, with a bar a day: {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    output.add_argument("--format", choices=FORMATS, metavar="FORM", help=told)
    parser.add_argument(
        "--open", action="store_true", help=f"open what was written in the browser; without a file, ~/{_USUAL_FILE}"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument(
        "--source",
        choices=SOURCES,
        help="what OpenRouter says of the account, the tracked calls, or all: both, each day counted once "
        "(the calls; without any, the account)",
    )
    add_period(parser)
    add_filters(parser)
    parser.add_argument(
        "--top", type=whole_number(1, 1_000), default=REPORT_TOP, metavar="N", help=f"models listed ({REPORT_TOP})"
    )
    parser.add_argument(
        "--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait for OpenRouter (30)"
    )


def run(options: Namespace, *, now: datetime) -> int:
    """Write the page or the chart, and print where it is; 5 when OpenRouter's last answers had to do."""
    if options.format:
        return _as_statistics(options, now)
    face, target, force = _target(options)
    if str(target) == "-" and (options.json or options.open):
        needs = "--json describes a written file" if options.json else "--open opens a written file"
        raise SettingsError(f"{needs}, but none is named", hint=f"name a file with --{face}", code="usage")
    refuse_two_periods(options)
    if not (options.period or options.since or options.until):
        options.period = _USUAL
    made = _made(options, now)
    content = made.content
    drawn = _faces(face)(content)
    if made.error:
        complain(PROGRAM, f"these figures are old: {made.error.message}", made.error.hint)
    code = made.error.exit_code if made.error else 0
    if str(target) == "-":
        write(drawn)
        return code
    save_output(target, [drawn], force=force, is_own=lambda path: is_own(path, made.ledger.path))
    calls = content.report.breakdown.total.requests
    not_opened = open_in_browser(target.resolve().as_uri()) if options.open else ""
    if options.json:
        bars = [bar.slot.period for bar in content.timeline.bars]
        told: dict[str, Json] = {
            "format": face,
            "file": str(target),
            "source": made.source,
            "unit": content.timeline.unit,
            "start": iso(bars[0].start),
            "end": iso(bars[-1].end),
            "calls": calls if content.has_days else None,
            "opened": options.open and not not_opened,
        }
        write(envelope("report", now, told))
    else:
        known = plural(calls, "call") if content.has_days else "what is known of the key"
        of = {"account": " of the account", "all": " of account and ledger"}.get(made.source, "")
        whose = f"{known}{of}" if content.has_days else known
        write(f"{whose} drawn in {safe(str(target), 300)}\n")
        if not_opened:
            write(f"not opened: {not_opened}; open the file yourself\n")
    return code


def _target(options: Namespace) -> tuple[str, Path, bool]:
    """Return the face, the file, and whether that may be replaced: the usual file may, where it is a page of ours."""
    if options.html is not None or options.svg is not None:
        face, target = ("html", options.html) if options.html is not None else ("svg", options.svg)
        return face, target, options.force
    if not options.open:
        raise SettingsError("no file is named", hint="name one with --html or --svg, or add --open", code="usage")
    home = find_home()
    if home is None:
        raise SettingsError("the home folder is not known", hint="name a file with --html", code="usage")
    usual = home / _USUAL_FILE
    try:
        is_ours = GENERATOR.encode() in usual.read_bytes()[:4_000]
    except OSError:
        is_ours = False
    return "html", usual, options.force or is_ours


def _as_statistics(options: Namespace, now: datetime) -> int:
    """Write the same figures as `stats`, and each day's."""
    if options.open:
        raise SettingsError("--open opens a page or a chart", hint="leave out --format", code="usage")
    if not (options.period or options.since or options.until):
        options.period = _USUAL
    options.source = options.source or "ledger"
    options.by, options.trend = "model", True
    options.account = options.compare = options.caching = options.fees = None
    return write_statistics(options, now=now)


class _Made(NamedTuple):
    """A page, where its figures come from, and why they are old, if they are."""

    content: Content
    source: str
    ledger: Ledger
    error: OpenRouterUsageError | None = None


def _made(options: Namespace, now: datetime) -> _Made:
    """Gather the page: of the source that was asked for, else of the ledger, or of the account if that is empty."""
    ledger = open_ledger(PROGRAM)
    if options.source in ("account", "all"):
        refuse_zone(options)
        page = _of_account(options, now, ledger if options.source == "all" else None)
        if options.source == "all" and not page.content.has_days:
            content = _of_ledger(ledger, options, now)
            notes = (*content.report.notes, f"the account is not part of this: {page.content.unknown[0]}")
            return _Made(_with_notes(content, notes), "ledger", ledger, page.error)
        return _Made(page.content, options.source, ledger, page.error)
    if options.source is None and not ledger.health().size:
        return _of_nothing_tracked(options, ledger, now)
    return _Made(_of_ledger(ledger, options, now), "ledger", ledger)


def _of_nothing_tracked(options: Namespace, ledger: Ledger, now: datetime) -> _Made:
    """Gather the account's page for whoever has tracked nothing yet; without OpenRouter, the empty ledger's."""
    try:
        page = _of_account(options, now)
    except OpenRouterUsageError as error:
        content = _of_ledger(ledger, options, now)
        why = f"the account is not shown in its place: {error.message}"
        return _Made(_with_notes(content, (*content.report.notes, why)), "ledger", ledger)
    told = ["no call is tracked yet, so this is what OpenRouter says of the account"]
    if options.tz not in (None, UTC):
        told.append("OpenRouter's figures are per UTC day: --tz is not used")
    notes = (*told, *page.content.report.notes)
    return _Made(_with_notes(page.content, notes), "account", ledger, page.error)


def _with_notes(content: Content, notes: tuple[str, ...]) -> Content:
    return content._replace(report=replace(content.report, notes=notes))


def _faces(face: str) -> Callable[[Content], str]:
    """Return the drawing function; only its own module is loaded."""
    if face == "svg":
        from openrouter_usage.render import chart

        return chart.render
    from openrouter_usage.render import page

    return page.render


def _of_account(options: Namespace, now: datetime, ledger: Ledger | None = None) -> AccountPage:
    where = where_of(options)
    account_dimensions("model", where)
    # What OpenRouter tells is of UTC days, whichever zone the user is in.
    chosen = ChosenPeriod(options.period or "", options.since or "", options.until or "")
    own = Namespace(**{**vars(options), "tz": UTC, "compare": "previous"})
    chosen.span(now)
    before, title = before_of(own, now), whole_title(own, now)
    settings = load_settings()
    settings.require_key()
    for warning in settings.warnings:
        complain(PROGRAM, warning)
    return account_page(
        settings,
        chosen,
        now,
        title=title,
        before=before,
        where=where,
        top=options.top,
        timeout_s=options.timeout,
        ledger=ledger,
    )


def _of_ledger(ledger: Ledger, options: Namespace, now: datetime) -> Content:
    where, zone = where_of(options), options.tz or UTC
    refuse_account_words("model", where)
    period = _drawn(ledger, options, now)
    asked = Asked(whole_title(options, now), period, zone, where, options.top, _before(options, period, now))
    return ledger_page(ledger, asked, now)


def _before(options: Namespace, period: Period, now: datetime) -> Period | None:
    """Return the period before, as much of it as the running one has had; None where no whole days are chosen."""
    try:
        return moments_before(Namespace(**{**vars(options), "compare": "previous"}), now, period)
    except (SettingsError, OverflowError):
        return None


def _drawn(ledger: Ledger, options: Namespace, now: datetime) -> Period:
    """Return the used part of an open period: from the first call, or up to today."""
    asked = period_of(options, now) or Period(now, now, "")  # there always is one
    if options.period or bool(options.since) == bool(options.until):
        return asked
    zone: tzinfo = options.tz or UTC
    known = [parse_day(name) for name in ledger.totals(asked, "day", zone).groups]
    if options.since:
        last = max([today(now, zone).end, *(days(day, day, "", zone).end for day in known)])
        # A period in the future is drawn as one day.
        end = last if last > asked.start else asked.start + timedelta(days=1)
        return asked._replace(end=min(asked.end, end))
    first = min(known, default=None)
    start = days(first, first, "", zone).start if first else asked.end - timedelta(days=30)
    return asked._replace(start=max(asked.start, start))
