"""The arguments by which every program asks about spend: a period, groupings, filters and a source."""

from __future__ import annotations

from argparse import Action, ArgumentError, ArgumentParser, Namespace
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

from openrouter_usage.called import as_called
from openrouter_usage.cli.program import Parser, checked, is_day, read_day, whole_number
from openrouter_usage.errors import InvalidValue, SettingsError
from openrouter_usage.figures.options import USUAL_GROUPINGS
from openrouter_usage.period import EVER, UTC, Period, Stretch, days, find_zone, iso, parse_moment, so_far
from openrouter_usage.vocabulary import (
    EXPECTED,
    FILTERS,
    GROUPINGS,
    KEY_GROUPINGS,
    MOST_WORD_DAYS,
    PERIOD_WORDS,
    Choices,
    Filter,
    Where,
    account_dimensions,
    before,
    both_know,
    days_of_word,
    parts_of,
    said_of,
)

SOURCES = ("account", "ledger", "all")
_WINDOWS = (
    ("today", "the running day"),
    ("yesterday", "the day before it"),
    ("week", "the running week, from Monday"),
    ("month", "the running calendar month"),
    ("last-week", "the week before"),
    ("last-month", "the month before"),
)
_WHEN = "YYYY-MM-DD, a moment such as 2026-11-22T10:30:00Z, or a word as for --period"


# -- The arguments.


def add_period(parser: Parser, *, most_days: int = MOST_WORD_DAYS, zone_help: str = "") -> None:
    """Add the arguments that choose a period; those with a name of their own exclude one another."""
    for name, meaning in _WINDOWS:
        parser.add_argument(f"--{name}", action=_OnePeriod, nargs=0, const=name, dest="period", help=meaning)
    many = f"the last N days, with today (1 to {most_days})"
    so_many = _so_many(most_days)
    parser.add_argument("--days", action=_OnePeriod, type=so_many, dest="period", metavar="N", help=many)
    told = f"any of these: {EXPECTED}"
    parser.add_argument("--period", action=_OnePeriod, type=checked(_word), metavar="WORD", help=told)
    parser.add_argument("--since", metavar="WHEN", type=checked(_bound), help=f"start: {_WHEN}")
    parser.add_argument("--until", metavar="WHEN", type=checked(_bound), help="end: this day included, a moment not")
    told = zone_help or "time zone of days and hours, such as Europe/Amsterdam (UTC)"
    parser.add_argument("--tz", metavar="ZONE", type=checked(find_zone), help=told)


class _OnePeriod(Action):
    """Keeps the one period that is named; argparse's own groups cannot break the line of a long usage."""

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option: str | None = None) -> None:
        """Keep the period; a second one is an error."""
        known = getattr(namespace, "period_option", None)
        if known:
            raise ArgumentError(self, f"not allowed with argument {known}")
        namespace.period_option = option
        namespace.period = values or self.const


def add_filters(parser: Parser) -> None:
    """Add the arguments that pick calls by name."""
    for kind in FILTERS:
        name = "NAME=VALUE" if kind == "tag" else "NAME"
        told = _FILTER_HELP.get(kind)
        parser.add_argument(
            f"--{kind}", action="append", type=checked(_pattern), dest=f"only_{kind}", metavar=name, help=told
        )


_FILTER_HELP = {
    "model": "only calls of this model; repeatable, * stands for anything, as for all filters below",
    "key": "only what this key spent, by its name (--source account)",
}


def add_grouping(parser: Parser) -> None:
    """Add --by."""
    parser.add_argument(
        "--by",
        choices=Choices(GROUPINGS),
        default="model",
        metavar="WHAT",
        help=f"group by {', '.join(GROUPINGS[:-1])} or {GROUPINGS[-1]}; two with a comma: day,model (model)",
    )


def add_compare(parser: Parser) -> None:
    """Add --compare."""
    told = "set the period before beside it, as much of it as the running one has had, or another one: 2026-10"
    parser.add_argument("--compare", type=checked(_compared_word), metavar="WHAT", help=f"previous: {told}")


def add_source(parser: Parser, usual: str) -> None:
    """Add --source."""
    parser.add_argument(
        "--source",
        choices=SOURCES,
        default=usual,
        help="the account's figures, the tracked calls in the local ledger, or all: both, each day counted once "
        f"({usual})",
    )


def _pattern(text: str) -> str:
    if not text.strip():
        raise InvalidValue("a name is empty, and no call has such a name; * stands for anything")
    return text


def _word(text: str) -> str:
    days_of_word(text, datetime.now(UTC).date())
    return text


def _compared_word(text: str) -> str:
    return text if text == "previous" else _word(text)


def _so_many(most: int) -> Callable[[str], str]:
    number = whole_number(1, most)
    return lambda text: f"{number(text)}d"


def _bound(text: str) -> str:
    """Check a bound and return it unchanged, because the moment when a day begins depends on --tz."""
    if text in PERIOD_WORDS:  # `last-month` is as long as a day
        return text
    if is_day(text) or "T" in text or " " in text:
        # A moment must begin with its day: other forms depend on the version of Python.
        read_day(text[:10])
        if not is_day(text):
            parse_moment(text)
        return text
    try:
        read_day(days_of_word(text, datetime.now(UTC).date()).first.isoformat())
    except InvalidValue:
        read_day(text)
    return text


# -- What they mean.


def where_of(options: Namespace) -> Where:
    """Return the filters that the options name."""
    given = ((kind, getattr(options, f"only_{kind}", None)) for kind in FILTERS)
    return tuple(Filter(kind, tuple(patterns)) for kind, patterns in given if patterns)


def refuse_account_words(by: str, where: Where) -> None:
    """Raise SettingsError for what no line of the ledger says: which key or workspace a call was of."""
    wrong = next((word for word in (*parts_of(by), *(each.kind for each in where)) if word in KEY_GROUPINGS), "")
    if wrong:
        raise SettingsError(
            f"tracked calls do not name their {wrong}",
            hint=f"OpenRouter's figures do: {as_called('stats.py')} --by {wrong}",
            code="usage",
        )


def account_by(options: Namespace) -> str:
    """Return by what the account has to be asked; SettingsError where it, or for `all` the ledger, cannot answer."""
    by: str = options.by
    where = where_of(options)
    if options.source == "all":
        refuse_account_words(by, where)
        by = ",".join(both_know(by)) or "day"
    account_dimensions(by, where)
    return by


def refuse_zone(options: Namespace) -> None:
    """Raise SettingsError for another zone than OpenRouter's, where the figures are those of its days."""
    if options.tz not in (None, UTC):
        raise SettingsError(
            "OpenRouter's figures are per UTC day, so --tz cannot be used", hint="leave --tz out", code="usage"
        )


def refuse_two_periods(options: Namespace) -> None:
    """Raise SettingsError for a named period and a span at once."""
    if options.period and (options.since or options.until):
        word = spelled(options.period)
        raise SettingsError(
            f"{word} and --since/--until cannot be combined", hint=f"use either {word} or --since/--until", code="usage"
        )


def spelled(word: str) -> str:
    """Return a named period as it is written on the command line."""
    return f"--{word}" if word in dict(_WINDOWS) else f"--period {word}"


def period_of(options: Namespace, now: datetime) -> Period | None:
    """Return the period that the options choose, in the zone of --tz, open where one side is left out; None for all."""
    refuse_two_periods(options)
    zone = options.tz or UTC
    if options.period:
        found = days_of_word(options.period, now.astimezone(zone).date())
        return days(found.first, found.last, options.period, zone)
    if not options.since and not options.until:
        return None
    start = _moments(options.since, now, zone).start if options.since else EVER.start
    end = _moments(options.until, now, zone).end if options.until else EVER.end
    if start >= end:
        raise SettingsError("--since is not before --until", hint="swap the two", code="usage")
    return Period(start, end, "since")


def _moments(text: str, now: datetime, zone: tzinfo) -> Period:
    """Return the beginning and the end of what a bound names in a zone; a moment is both."""
    if "T" in text or " " in text:
        moment = parse_moment(text)
        return Period(moment, moment, "")
    found = days_of_word(text, now.astimezone(zone).date())
    return days(found.first, found.last, "", zone)


def before_of(options: Namespace, now: datetime) -> Stretch:
    """Return the days that --compare sets beside the period; SettingsError where there is no period to compare."""
    running = now.astimezone(options.tz or UTC).date()
    if options.compare != "previous":
        return days_of_word(options.compare, running)
    if options.period:
        return before(days_of_word(options.period, running), options.period)
    bounds = (options.since, options.until)
    if not options.since or any(each and ("T" in each or " " in each) for each in bounds):
        raise SettingsError(
            "--compare needs a period of whole days", hint="add --month, --week, --days N or --since DAY", code="usage"
        )
    first = days_of_word(options.since, running).first
    last = days_of_word(options.until, running).last if options.until else running
    return before(Stretch(first, max(first, last)))


def moments_before(options: Namespace, now: datetime, period: Period | None) -> Period:
    """Return the moments of the same days, up to the same hour while the period is running."""
    earlier = before_of(options, now)
    found = days(earlier.first, earlier.last, "before", options.tz or UTC)
    if period and period.start <= now < period.end:
        return so_far(found, period, now)
    return found


def title_of(options: Namespace, now: datetime) -> str:
    """Return the period as its days, or as it was asked for; moments are in UTC."""
    if options.period:
        found = days_of_word(options.period, now.astimezone(options.tz or UTC).date())
        is_month = found.first.day == 1 and found == days_of_word(found.first.isoformat()[:7], found.first)
        return found.first.isoformat()[:7] if is_month else str(found)
    since, until = (_bound_title(text) for text in (options.since, options.until))
    if since and until:
        return since if since == until else f"{since} to {until}"
    return f"since {since}" if since else f"until {until}" if until else "all time"


def whole_title(options: Namespace, now: datetime) -> str:
    """Return the period and the filters in words."""
    return ", ".join(filter(None, (title_of(options, now), said_of(where_of(options)))))


def _bound_title(text: str | None) -> str:
    return iso(parse_moment(text)) if text and ("T" in text or " " in text) else text or ""


def has_period(options: Namespace) -> bool:
    """Check whether the days have to be searched for: of a period, or for what the usual answers do not tell apart."""
    is_named = bool(options.period or options.since or options.compare or options.fees or options.source == "all")
    return is_named or options.by not in USUAL_GROUPINGS or bool(where_of(options))


def is_searched(options: Namespace) -> bool:
    """Check whether the same is so, but for today's breakdown by one name, which takes one question."""
    is_today = (
        options.period == "today"
        and options.by in USUAL_GROUPINGS
        and not (where_of(options) or options.compare or options.fees or options.source == "all")
    )
    return has_period(options) and not is_today
