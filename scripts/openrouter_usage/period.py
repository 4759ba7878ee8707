"""Periods of time, half-open: OpenRouter's own windows, which are UTC, completed UTC days, and rows of days."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple

from openrouter_usage.errors import InvalidValue
from openrouter_usage.text import quoted

# -- Periods, half-open: OpenRouter's own windows, which are UTC, and completed UTC days.

UTC = timezone.utc
DAY = timedelta(days=1)
# The end of all that a ledger can hold; a later call is implausible.
FOREVER = datetime(2200, 1, 1, tzinfo=UTC)
# A clock that is off by less puts hardly a call into the wrong day.
NOTABLE_SKEW_S = 120
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Period(NamedTuple):
    """The time from `start` up to, but not including, `end`."""

    start: datetime
    end: datetime
    label: str

    @property
    def first_day(self) -> date:
        """The UTC day in which the period begins."""
        return self.start.astimezone(UTC).date()

    @property
    def last_day(self) -> date:
        """The UTC day in which the period's last moment lies."""
        return (self.end.astimezone(UTC) - timedelta(microseconds=1)).date()

    @property
    def utc_days(self) -> list[date]:
        """Every UTC day that the period touches, in order."""
        return [self.first_day + number * DAY for number in range((self.last_day - self.first_day).days + 1)]

    @property
    def day_count(self) -> int:
        """The number of days in the period, in any zone; a day may have 23 or 25 hours."""
        return round((self.end - self.start) / DAY)


# All the time of which a ledger can hold calls.
EVER = Period(datetime(2000, 1, 1, tzinfo=UTC), FOREVER, "ever")


def midnight(day: date, zone: tzinfo = UTC) -> datetime:
    """Return the moment, in UTC, when a day begins in a zone."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def today(now: datetime, zone: tzinfo = UTC) -> Period:
    """Return the running day of a zone; OpenRouter's is UTC."""
    day = now.astimezone(zone).date()
    return days(day, day, "today", zone)


def week(now: datetime, zone: tzinfo = UTC) -> Period:
    """Return the running week of a zone; like OpenRouter's, it begins on Monday."""
    day = now.astimezone(zone).date()
    monday = day - timedelta(days=day.weekday())
    return days(monday, monday + timedelta(days=6), "week", zone)


def month(now: datetime, zone: tzinfo = UTC) -> Period:
    """Return the running calendar month of a zone."""
    first = now.astimezone(zone).date().replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return days(first, following - timedelta(days=1), "month", zone)


def days(first: date, last: date, label: str, zone: tzinfo = UTC) -> Period:
    """Return the whole days of a zone from the first to the last; a day may have 23 or 25 hours."""
    return Period(midnight(first, zone), midnight(last + timedelta(days=1), zone), label)


def so_far(earlier: Period, running: Period, now: datetime) -> Period:
    """Return as much of an earlier period as has passed of a running one."""
    return earlier._replace(end=min(earlier.end, earlier.start + (now - running.start)))


def completed_days(now: datetime, days: int) -> Period:
    """Return the last `days` UTC days that are over, which is what /activity covers."""
    end = midnight(now.astimezone(UTC).date())
    return Period(end - days * DAY, end, f"{days}d")


def resets_at(reset: str | None, now: datetime) -> datetime | None:
    """Return the next moment when a `daily`, `weekly` or `monthly` limit resets; None for any other."""
    windows = {"daily": today, "weekly": week, "monthly": month}
    return windows[reset](now).end if reset in windows else None


def parse_moment(text: str) -> datetime:
    """Return an ISO 8601 moment in UTC; without an offset it is UTC; InvalidValue for anything else."""
    cleaned = text.strip()
    if cleaned[-1:] in "zZ" and cleaned:
        cleaned = cleaned[:-1] + "+00:00"
    try:
        # Python 3.10 reads only three or six decimals of a second.
        moment = datetime.fromisoformat(_six_decimals(cleaned))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidValue("a moment must be written like 2026-11-22T10:30:00Z") from None


def _six_decimals(text: str) -> str:
    head, point, tail = text.partition(".")
    if not point:
        return text
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"


def parse_day(text: str) -> date:
    """Return the day in the first ten characters, written YYYY-MM-DD; InvalidValue for anything else."""
    try:
        return date.fromisoformat(text[:10] if _DAY.match(text) else "")
    except ValueError:
        raise InvalidValue("a day must be written like 2026-11-22") from None


def iso(moment: datetime) -> str:
    """Return a moment in UTC as text, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spoken(moment: datetime) -> str:
    """Return a moment for people: the day alone at midnight, else with the minute, always with UTC."""
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%d UTC" if moment.time() == time() else "%Y-%m-%d %H:%M UTC")


def clock_off(ahead_s: float) -> str:
    """Return in words how far this computer's clock is off, given how many seconds OpenRouter's is ahead."""
    side = "behind" if ahead_s > 0 else "ahead of"
    return f"this computer's clock is {abs(ahead_s) / 60:.0f} min {side} OpenRouter's"


def find_zone(name: str) -> tzinfo:
    """Return a time zone by its name, such as Europe/Amsterdam; InvalidValue for an unknown name."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    from zoneinfo import ZoneInfo  # late: only --tz needs it

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        known = "a name such as Europe/Amsterdam; on Windows, install the names with: python3 -m pip install tzdata"
        raise InvalidValue(f"this time zone is unknown: {quoted(name, 40)}; expected {known}") from None


# -- Stretches: days in a row.


class Stretch(NamedTuple):
    """Some days in a row, the last one included."""

    first: date
    last: date

    @property
    def length(self) -> int:
        """The number of days."""
        return (self.last - self.first).days + 1

    @property
    def period(self) -> Period:
        """The same days as a period."""
        return Period(midnight(self.first), midnight(self.last) + DAY, "days")

    def days(self) -> Iterable[date]:
        """Every day, the first one first."""
        return (self.first + timedelta(days=number) for number in range(self.length))

    def __str__(self) -> str:
        """Return the days as text for people."""
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def stretches(ordered: Iterable[date]) -> list[Stretch]:
    """Return the stretches that sorted days fall into."""
    found: list[Stretch] = []
    for day in ordered:
        if found and found[-1].last == day - DAY:
            found[-1] = Stretch(found[-1].first, day)
        else:
            found.append(Stretch(day, day))
    return found


class SideBySide(NamedTuple):
    """The UTC days of a period, with those of one before it and what lies between them: one search for both.

    While the period runs, its last day stands beside as much of the day `part_of` of the period before.
    """

    whole: Stretch
    is_running: bool
    part_of: date | None


def side_by_side(span: Stretch, before: Stretch | None, now: datetime) -> SideBySide:
    """Return what has to be asked for to show a period, with the one before beside it, if any."""
    is_running = span.last == today(now).first_day
    if before is None:
        return SideBySide(span, is_running, None)
    day = before.first + (span.length - 1) * DAY
    whole = Stretch(min(before.first, span.first), max(before.last, span.last))
    return SideBySide(whole, is_running, day if is_running and day <= before.last else None)
