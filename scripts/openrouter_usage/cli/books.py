"""Opens the ledger for a verb: notices go to standard error, and long reading shows how far it is."""

from __future__ import annotations

import sys
from argparse import Namespace
from datetime import tzinfo

from openrouter_usage.cli.output import complain, write
from openrouter_usage.cli.parser import Parser, checked
from openrouter_usage.errors import SettingsError
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.period import UTC, Period, days, find_zone, parse_day, parse_moment
from openrouter_usage.settings import ledger_file

_WORTH_SHOWING = 16 * 1024 * 1024
_MOMENT = "YYYY-MM-DD, or a moment such as 2026-11-22T10:30:00Z"


_opened: list[Ledger] = []


def open_ledger(program: str) -> Ledger:
    """Open the ledger that the environment names; `close_ledgers` has to follow."""
    ledger = Ledger(ledger_file(), notice=lambda text: complain(program, text), progress=_show_progress)
    _opened.append(ledger)
    return ledger


def close_ledgers() -> None:
    """Close what was opened: a program leaves at once, and SQLite would leave its log behind unmerged."""
    while _opened:
        _opened.pop().close()


def _show_progress(done: int, size: int) -> None:
    if size < _WORTH_SHOWING or sys.stderr is None or not sys.stderr.isatty():
        return
    end = "\r" + " " * 40 + "\r" if done >= size else ""
    write(f"\rreading the ledger: {100 * done // size}%{end}", sys.stderr)


def describe_span(parser: Parser) -> None:
    """Add the arguments that pick a span of time."""
    parser.add_argument("--since", metavar="WHEN", type=checked(_bound), help=f"from then on: {_MOMENT}")
    parser.add_argument(
        "--until", metavar="WHEN", type=checked(_bound), help="up to and with that day, or up to that moment"
    )
    parser.add_argument(
        "--tz", metavar="ZONE", type=checked(find_zone), help="time zone of days, such as Europe/Amsterdam (UTC)"
    )


def _bound(text: str) -> str:
    """Check a bound and leave it as it is: which moment a day begins at depends on --tz."""
    if len(text) == len("2026-11-22"):
        parse_day(text)
    else:
        parse_moment(text)
    return text


def span(options: Namespace, whole: Period) -> Period | None:
    """Give the span that --since and --until pick, open ends taken from `whole`; None when neither is given."""
    if not options.since and not options.until:
        return None
    zone = options.tz or UTC
    start = _moment(options.since, zone).start if options.since else whole.start
    end = _moment(options.until, zone).end if options.until else whole.end
    chosen = Period(start, end, "since")
    if chosen.start >= chosen.end:
        raise SettingsError("--since is not before --until", hint="swap them", code="usage")
    return chosen


def _moment(text: str, zone: tzinfo) -> Period:
    """Give a day of a zone from its beginning to its end, or a moment, where both are the same."""
    if len(text) == len("2026-11-22"):
        day = parse_day(text)
        return days(day, day, "", zone)
    moment = parse_moment(text)
    return Period(moment, moment, "")
