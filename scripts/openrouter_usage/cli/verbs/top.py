"""Show live what tracked calls cost by client, session and model: on a terminal in place, until ^C; else once."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.cli.asking import add_filters, add_period, period_of, refuse_account_words, title_of, where_of
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, terminal_width, whole_number, write
from openrouter_usage.cli.terminal import add_color, can_draw, paint_of
from openrouter_usage.entry import Usage
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.breakdown import Breakdown, break_down, with_names
from openrouter_usage.jobs.breakdown import held, named_totals, source_of
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.money import Json, format_usd
from openrouter_usage.period import UTC, Period, iso
from openrouter_usage.render.aligned import table
from openrouter_usage.render.amounts import as_data, spent
from openrouter_usage.render.envelope import envelope
from openrouter_usage.render.paint import Paint
from openrouter_usage.render.report import heading_of, usage_data
from openrouter_usage.text import plural
from openrouter_usage.vocabulary import LEDGER_NAMES, Choices, said_of

EXAMPLES = """examples:
  cost_tracker.py top                      today, by client, session and model
  cost_tracker.py top --by project --week
  cost_tracker.py top --client codex --every 10
"""
_USUAL = ("client", "session", "model")
_USUAL_ROWS = 5
_HOUR = timedelta(hours=1)


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "--by",
        choices=Choices(LEDGER_NAMES),
        metavar="WHAT",
        help=f"one table by {', '.join(LEDGER_NAMES[:-1])} or {LEDGER_NAMES[-1]}, or by two of them with a comma, in "
        "place of the three",
    )
    parser.add_argument(
        "--top", type=whole_number(1, 1_000), default=_USUAL_ROWS, metavar="N", help=f"rows of a table ({_USUAL_ROWS})"
    )
    parser.add_argument(
        "--every", type=whole_number(1, 3_600), default=2, metavar="S", help="seconds between two looks (2)"
    )
    add_period(parser)
    add_filters(parser)
    add_color(parser)


def run(options: Namespace, *, now: datetime) -> int:
    """Draw the tables until ^C; in a pipe, and as JSON, write them once."""
    if not (options.period or options.since or options.until):
        options.period = "today"
    refuse_account_words(options.by or "model", where_of(options))
    if options.until and not options.since:
        raise SettingsError("--until needs --since", hint="add --since YYYY-MM-DD", code="usage")
    ledger = open_ledger(as_called("cost_tracker.py top"))
    if options.json:
        write(_as_json(_seen(ledger, options, now), now))
        return 0
    paint = paint_of(options)
    if not can_draw():
        write(_as_text(_seen(ledger, options, now), paint))
        return 0
    from openrouter_usage.cli.watching import View, watch

    def show(at: datetime) -> View:
        return View(_as_text(_seen(ledger, options, at), paint), at)

    return watch(show, lambda: datetime.now(UTC), every_s=options.every)


class _Seen(NamedTuple):
    """The tables of a period, what the last hour cost, and the calls that run, with the most that these may cost."""

    title: str
    period: Period | None
    source: str
    tables: tuple[Breakdown, ...]
    last_hour: Usage
    running: int
    most: Decimal | None


def _seen(ledger: Ledger, options: Namespace, now: datetime) -> _Seen:
    zone, period, where = options.tz or UTC, period_of(options, now), where_of(options)
    source = source_of(ledger)
    tables = []
    for by in (options.by,) if options.by else _USUAL:
        groups = with_names(named_totals(ledger, period, by, zone, where).groups, by)
        tables.append(break_down(groups, by, most=options.top, top=options.top, period=period, source=source))
    last_hour = named_totals(ledger, Period(now - _HOUR, now, "hour"), "model", zone, where).total
    holds = ledger.health().holds
    title = ", ".join(filter(None, (title_of(options, now), str(zone), said_of(where))))
    return _Seen(title, period, source, tuple(tables), last_hour, len(holds), held(holds))


def _as_text(seen: _Seen, paint: Paint) -> str:
    total = seen.tables[-1].total
    lines = [
        f"OpenRouter calls ({seen.title}; {seen.source})",
        f"{_told(total)}; in the last hour {_told(seen.last_hour)}",
    ]
    if seen.running:
        most = "of unknown cost" if seen.most is None else f"up to {format_usd(seen.most)}"
        lines.append(paint.near(f"{plural(seen.running, 'call')} running or unsettled, {most}, not in these"))
    if total.unknown:
        lines.append(paint.unknown(f"{plural(total.unknown, 'call')} of unknown cost, in no sum"))
    for each in seen.tables:
        lines += ["", f"{heading_of(each.by)}:", *table(each, (), width=terminal_width(), paint=paint)]
    return "\n".join(lines) + "\n"


def _told(usage: Usage) -> str:
    return f"{spent(usage)} in {plural(usage.requests, 'call')}"


def _as_json(seen: _Seen, now: datetime) -> str:
    tables: list[Json] = []
    for each in seen.tables:
        rows, more = as_data(each, usage_data)
        tables.append({"by": each.by, "groups": rows, "more": more})
    data: dict[str, Json] = {
        "title": seen.title,
        "start": iso(seen.period.start) if seen.period else None,
        "end": iso(seen.period.end) if seen.period else None,
        "origin": seen.source,
        "total": usage_data(seen.tables[-1].total),
        "last_hour": usage_data(seen.last_hour),
        "open_holds": seen.running,
        "held_usd": seen.most,
        "tables": tables,
    }
    return envelope("top", now, data)
