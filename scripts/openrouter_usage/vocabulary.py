"""The words that all programs share to ask about spend: periods, groupings and filters, and what each one means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from openrouter_usage.errors import InvalidValue, SettingsError
from openrouter_usage.period import DAY, Period, Stretch, days, parse_day, today

# -- Groupings.

# What makes a group of a call's moment, in the zone that the report is for.
TIMES = ("day", "week", "month", "weekday", "hour")
# Those whose groups follow one another; the others stand dearest first.
IN_ORDER = ("day", "week", "month")
# Those of which there are so few that all are shown, in the order of the clock and the calendar.
IN_CIRCLE = ("weekday", "hour")
# Tags by which the gateway, or a shared ledger, says who made a call; each is a grouping of its own.
TAG_GROUPINGS = ("client", "agent", "project", "app", "member", "machine")
LEDGER_NAMES = ("model", "provider", "session", "tag", *TAG_GROUPINGS)
# What only the analytics API can tell, with a management key.
KEY_GROUPINGS = ("key", "workspace")
_ACCOUNT_NAMES = ("model", "provider", *KEY_GROUPINGS)
_BOTH_KNOW = ("model", "provider", *IN_ORDER, "weekday")
GROUPINGS = ("model", "provider", "key", "session", *TAG_GROUPINGS, "tag", "workspace", *TIMES)
FILTERS = ("model", "provider", "session", "client", "project", "tag", "key")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Between the two names of a group of two groupings; no line of the ledger can hold it.
AND = "\x1f"


class Choices(tuple[str, ...]):
    """Groupings of which one may be chosen, or two with a comma between them."""

    __slots__ = ()

    def __contains__(self, by: object) -> bool:
        """Check whether a text chooses one or two of the groupings."""
        parts = str(by).split(",")
        return len(parts) <= 2 and len(set(parts)) == len(parts) and set(parts) <= set(self)


def parts_of(by: str) -> tuple[str, ...]:
    """Return the one or two groupings of a breakdown."""
    return tuple(by.split(","))


def names_of(name: str) -> tuple[str, ...]:
    """Return the one or two names of a group."""
    return tuple(name.split(AND))


def joined(names: Iterable[str]) -> str:
    """Return the name of a group of one or two groupings."""
    return AND.join(names)


def spoken_name(name: str) -> str:
    """Return a group's name for people."""
    return name.replace(AND, " · ")


def time_name(part: str, day: date, hour: int = 0) -> str:
    """Return the group that a moment is in, by the day and the hour that its zone's clock shows."""
    if part == "week":
        year, number, _ = day.isocalendar()
        return f"{year}-W{number:02d}"
    if part == "weekday":
        return WEEKDAYS[day.weekday()]
    return {"day": day.isoformat(), "month": day.isoformat()[:7], "hour": f"{hour:02d}:00"}[part]


def places_in_circle(by: str, name: str) -> list[tuple[int, str]]:
    """Return by what weekdays and hours are ordered; a group that is none of them comes last."""
    named = (each for part, each in zip(parts_of(by), names_of(name), strict=True) if part in IN_CIRCLE)
    return [(WEEKDAYS.index(each) if each in WEEKDAYS else len(WEEKDAYS), each) for each in named]


def days_named(part: str, name: str) -> Stretch | None:
    """Return the days of a group of days, weeks or months; None for groups that do not lie in a row."""
    if part == "day":
        return Stretch(date.fromisoformat(name), date.fromisoformat(name))
    if part == "week":
        monday = date.fromisocalendar(int(name[:4]), int(name[6:]), 1)
        return Stretch(monday, monday + 6 * DAY)
    if part == "month":
        return days_of_word(name, date.min)
    return None


# -- Filters.


class Filter(NamedTuple):
    """What the names of one kind must be: one of some patterns, in which `*` stands for anything."""

    kind: str
    patterns: tuple[str, ...]

    def takes(self, name: str) -> bool:
        """Check whether a name is one that is asked for; upper and lower case are the same."""
        patterns = (re.escape(each).replace(r"\*", ".*") for each in self.patterns)
        return any(re.fullmatch(each, name, re.IGNORECASE | re.DOTALL) for each in patterns)

    def takes_label(self, tags: Mapping[str, str]) -> bool:
        """Check the same for tags, one of which has to be asked for as `name=value` or by its name."""
        return any(self.takes(f"{name}={value}") or self.takes(name) for name, value in tags.items())

    def __str__(self) -> str:
        """Return the filter as it is written on the command line."""
        return f"{self.kind} {' or '.join(self.patterns)}"


Where = tuple[Filter, ...]


def account_dimensions(by: str, where: Where) -> tuple[str, ...]:
    """Return by what the analytics API has to tell an account's spend apart; SettingsError where it cannot."""
    parts = [*parts_of(by), *(each.kind for each in where)]
    wrong = next((part for part in parts if part not in (*_ACCOUNT_NAMES, *IN_ORDER, "weekday")), "")
    if wrong:
        raise SettingsError(
            f"OpenRouter's figures of an account have no {wrong}",
            hint="tracked calls have it: add --source ledger",
            code="usage",
        )
    needed = tuple(dict.fromkeys(part for part in parts if part in _ACCOUNT_NAMES))
    if len(needed) > 2:
        raise SettingsError(
            f"OpenRouter's figures have no {', '.join(needed)} at once",
            hint="choose two of them",
            code="usage",
        )
    if set(needed) == {"model", "provider"}:
        return ("model", "provider")
    return needed or ("model",)


def both_know(by: str) -> tuple[str, ...]:
    """Return those of one or two groupings that an account's days and tracked calls both have."""
    return tuple(part for part in parts_of(by) if part in _BOTH_KNOW)


def said_of(where: Where) -> str:
    """Return filters in words, "" for none."""
    return ", ".join(map(str, where))


# -- Words for periods: whole days, which a zone turns into moments.

PERIOD_WORDS = ("today", "yesterday", "week", "month", "last-week", "last-month")
MOST_WORD_DAYS = 3660
_SO_MANY = re.compile(r"([1-9]\d{0,3})(d|w)", re.ASCII)
_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)
_YEAR = re.compile(r"2[01]\d\d", re.ASCII)
EXPECTED = "today, yesterday, week, month, last-week, last-month, 7d, 2026, 2026-10 or 2026-10-31"


def days_of_word(word: str, running: date) -> Stretch:
    """Return the days of a word such as `last-month`, `7d`, `2026-10`; InvalidValue for anything else.

    A running week, month or year is whole; so many days (`7d`) or weeks (`2w`) end with the running day.
    """
    first = running.replace(day=1)
    if word == "today":
        return Stretch(running, running)
    if word == "yesterday":
        return Stretch(running - DAY, running - DAY)
    if word in ("week", "last-week"):
        begin = running - timedelta(days=running.weekday() + (0 if word == "week" else 7))
        return Stretch(begin, begin + 6 * DAY)
    if word in ("month", "last-month"):
        return _month_of(first if word == "month" else (first - DAY).replace(day=1))
    many = _SO_MANY.fullmatch(word)
    if many:
        length = int(many[1]) * (7 if many[2] == "w" else 1)
        if length <= MOST_WORD_DAYS:
            return Stretch(running - (length - 1) * DAY, running)
    try:
        if _YEAR.fullmatch(word):
            return Stretch(date(int(word), 1, 1), date(int(word), 12, 31))
        month = _MONTH.fullmatch(word)
        if month:
            return _month_of(date(int(month[1]), int(month[2]), 1))
        day = parse_day(word) if len(word) == len("2026-11-22") else None
        if day:
            return Stretch(day, day)
    except ValueError:
        pass
    raise InvalidValue(f"a period must be written like {EXPECTED}")


def _month_of(first: date) -> Stretch:
    return Stretch(first, (first + timedelta(days=32)).replace(day=1) - DAY)


def is_running(word: str) -> bool:
    """Check whether a word's period ends with the running day, or later."""
    return word in ("today", "week", "month") or _SO_MANY.fullmatch(word) is not None


def spoken_word(word: str) -> str:
    """Return a period's name in words; "" where its dates are its only name."""
    known = {
        "week": "this week",
        "month": "this month",
        "yesterday": "yesterday",
        "last-week": "last week",
        "last-month": "last month",
        "today": "today",
    }
    many = _SO_MANY.fullmatch(word)
    if many:
        length = int(many[1]) * (7 if many[2] == "w" else 1)
        return f"last {length:,} day{'' if length == 1 else 's'}"
    return known.get(word, "")


def before(stretch: Stretch, word: str = "") -> Stretch:
    """Return the days of the same kind before some: the month before a month, else as many days."""
    is_month = word in ("month", "last-month") or (stretch.first.day == 1 and stretch == _month_of(stretch.first))
    if (stretch.first.month, stretch.first.day, stretch.last.month, stretch.last.day) == (1, 1, 12, 31):
        return Stretch(date(stretch.first.year - 1, 1, 1), date(stretch.last.year - 1, 12, 31))
    if is_month:
        return _month_of((stretch.first - DAY).replace(day=1))
    return Stretch(stretch.first - stretch.length * DAY, stretch.first - DAY)


# -- Chosen periods: the whole UTC days that options choose of the account, the running day included.


class ChosenPeriod(NamedTuple):
    """What was asked for: the days of one `word`, or the days `since` one word's until the end of another's."""

    word: str = ""
    since: str = ""
    until: str = ""

    @property
    def words(self) -> str:
        """Return the period's name in words; "" where its dates are its only name."""
        return spoken_word(self.word)

    def span(self, now: datetime) -> Stretch:
        """Return its days up to the running one; SettingsError for a period that begins in the future or ends first."""
        running = today(now).first_day
        if self.word:
            first, last = days_of_word(self.word, running)
        else:
            first, last = self._bounds(running)
        if first > running:
            name = "the period" if self.word else "--since"
            raise SettingsError(
                f"{name} is in the future: today is {running} (UTC)", hint="choose an earlier day", code="usage"
            )
        return Stretch(first, min(last, running))

    def local_period(self, now: datetime) -> Period:
        """Return the same for the local ledger; a running week or month is whole, as the key's own counter has it."""
        span = self.span(now)
        label = f"{self.words}, {span} UTC" if self.words else f"{span} UTC"
        whole = days_of_word(self.word, today(now).first_day) if self.word else span
        return days(whole.first, whole.last, label)

    def _bounds(self, running: date) -> Stretch:
        if not self.since:
            raise SettingsError("--until needs --since", hint="add --since YYYY-MM-DD", code="usage")
        for bound in (self.since, self.until):
            if "T" in bound:
                raise SettingsError(
                    "OpenRouter's figures are of whole UTC days",
                    hint="give days, such as 2026-11-22, not moments; tracked calls have moments: --source ledger",
                    code="usage",
                )
        first = days_of_word(self.since, running).first
        last = days_of_word(self.until, running).last if self.until else max(first, running)
        if last < first:
            raise SettingsError("--since is after --until", hint="swap the two days", code="usage")
        return Stretch(first, last)
