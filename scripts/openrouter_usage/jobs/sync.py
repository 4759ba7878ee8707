"""Asks OpenRouter about completed days for the archive: the last 30 of /activity, older ones of the analytics API."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from openrouter_usage.entry import NOTHING
from openrouter_usage.errors import BadAnswer
from openrouter_usage.figures.archive import (
    ACTIVITY,
    ANALYTICS,
    UNKNOWN_PROVIDER,
    ArchivedDay,
    gathered,
    is_doubtful,
    missing,
)
from openrouter_usage.openrouter.answers.account import ActivityRow
from openrouter_usage.openrouter.answers.analytics import Analytics, Spend
from openrouter_usage.openrouter.answers.fields import left_out_words
from openrouter_usage.openrouter.endpoints import OpenRouter
from openrouter_usage.period import DAY, NOTABLE_SKEW_S, UTC, Stretch
from openrouter_usage.text import plural

ACTIVITY_DAYS = 30
PIECE_DAYS = 31
_NOTABLE_SKEW = timedelta(seconds=NOTABLE_SKEW_S)
MOST_A_MINUTE = 60  # 64 are allowed, and somebody else may ask as well


class Pace:
    """Keeps questions from coming faster than OpenRouter answers them in any minute."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Begin with no question asked."""
        self._clock = clock
        self._sleep = sleep
        self._asked: deque[float] = deque(maxlen=MOST_A_MINUTE)

    def wait(self) -> None:
        """Wait until one more question is welcome, and count it."""
        if len(self._asked) == MOST_A_MINUTE:
            self._sleep(max(0.0, self._asked[0] + 60 - self._clock()))
        self._asked.append(self._clock())


class Told(NamedTuple):
    """The days of which the analytics API says that there was spend, and whether those are all."""

    spent: frozenset[date]
    is_whole: bool


class Asking:
    """One run of questions; the clock that counts is OpenRouter's, as far as its answers tell the time."""

    def __init__(self, client: OpenRouter, now: datetime) -> None:
        """Ask with `client`; it is `now` by the own clock."""
        self._client = client
        self._now = now
        self._opened, self._opened_s = now, time.monotonic()

    def account(self) -> str:
        """Ask whose the key is, and what time it is; "" where OpenRouter does not say."""
        account = self._client.account()
        self._opened, self._opened_s = self._openrouter_time(), time.monotonic()
        return account

    def completed_days(self, account: str) -> tuple[Stretch, list[ArchivedDay]]:
        """Ask /activity and return the days that it covers for certain, and what it says of every one of them.

        A day without a row is one without spend. Were it midnight between question and answer, nobody could tell
        which days the answer is about; so only those count that it is about either way.
        """
        rows = self._client.activity()
        if rows.left_out:
            # What is archived is kept for good: a day without one of its rows would be wrong for ever.
            raise BadAnswer(f"{left_out_words(rows.left_out, 'row')}; nothing was archived", hint="try again later")
        # An answer may be dated when it was asked for; and its date leaves out the part of a second.
        latest = max(self._openrouter_time(), self._opened + self._since_opened() + timedelta(seconds=1))
        span = Stretch(latest.date() - ACTIVITY_DAYS * DAY, self._opened.date() - DAY)
        days = self._days(account, span, ACTIVITY, rows)
        if abs(self._opened - self._now) > DAY and not any(day.rows for day in days):
            raise BadAnswer(
                f"OpenRouter's clock says {self._opened:%Y-%m-%d} and this computer's {self._now:%Y-%m-%d}, "
                "and its answer to /activity does not tell which is right",
                hint="set this computer's clock; nothing was archived",
            )
        return span, days

    def confirmed_days(self, account: str, known: Mapping[date, ArchivedDay]) -> tuple[Stretch, list[ArchivedDay]]:
        """Ask as `completed_days` does, and a second time where spend is gone: that counts if it is said twice."""
        span, days = self.completed_days(account)
        if not is_doubtful(days, known):
            return span, days
        first = {day.day: day.rows for day in days}
        span, days = self.completed_days(account)
        if is_doubtful(days, known) and any(first.get(day.day, day.rows) != day.rows for day in days):
            raise BadAnswer(
                "OpenRouter's answers to /activity differ: days that had spend now have none",
                hint="nothing was archived; try again later",
            )
        return span, days

    def older_sums(self, span: Stretch, days: Iterable[ArchivedDay], pace: Pace) -> Told:
        """Ask the analytics API on which days of a span there was spend; BadAnswer when it knows of none of `days`."""
        pace.wait()
        found = self._client.analytics(span.period, by_day=True)
        spent = {day_of(row, span) for row in found.rows if row.usage != NOTHING}
        if not spent and not found.truncated and any(day.day in span.days() and day.rows for day in days):
            raise BadAnswer(
                f"OpenRouter's answer to {ANALYTICS} is empty, though /activity has spend in {span}",
                hint="no older day was archived; try again later",
            )
        return Told(frozenset(spent), not found.truncated and not found.left_out)

    def older_days(
        self, account: str, wanted: Iterable[Stretch], told: Told, pace: Pace
    ) -> Iterator[tuple[Stretch, list[ArchivedDay] | None]]:
        """Ask the analytics API about stretches of days, the newest first; None for a day it cannot tell whole.

        An answer that was cut short is asked for again in halves. That a day had no spend is only believed where the
        sums say the same.
        """
        queue = [piece for stretch in sorted(wanted) for piece in pieces(stretch)]
        while queue:
            piece = queue.pop()
            pace.wait()
            found = self._client.analytics(piece.period, "model", by_day=True)
            if not found.truncated and not found.left_out:
                days = self._days(account, piece, ANALYTICS, _rows(found, piece))
                # Sums that were cut short are asked for again where nothing else speaks against an empty answer.
                check = told if told.is_whole or any(day.rows for day in days) else self.older_sums(piece, (), pace)
                _check_empty(days, check)
                yield piece, days
            elif piece.length == 1:
                yield piece, None
            else:
                middle = piece.first + piece.length // 2 * DAY
                queue += [Stretch(piece.first, middle - DAY), Stretch(middle, piece.last)]

    def _openrouter_time(self) -> datetime:
        """Return when the last answer came, by OpenRouter's clock; by this computer's where it has none."""
        if self._client.clock_ahead_s is None:
            return self._opened + self._since_opened()
        return datetime.now(UTC) + timedelta(seconds=self._client.clock_ahead_s)

    def _since_opened(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._opened_s)

    def _days(self, account: str, span: Stretch, source: str, rows: Iterable[ActivityRow]) -> list[ArchivedDay]:
        by_day: dict[date, list[ActivityRow]] = {day: [] for day in span.days()}
        for row in rows:
            # A day that is running, or that was not asked for, is not told whole.
            if row.day in by_day:
                by_day[row.day].append(row)
        # All of a run is as old as its beginning: whoever began later is not overruled by it. OpenRouter tells the
        # time in seconds, so the own clock is the better one unless it is wrong.
        at = self._now if abs(self._opened - self._now) < _NOTABLE_SKEW else self._opened
        return [ArchivedDay(account, day, source, at, gathered(found)) for day, found in by_day.items()]


def pieces(stretch: Stretch) -> Iterator[Stretch]:
    """Cut a stretch into pieces that one answer has room for."""
    first = stretch.first
    while first <= stretch.last:
        last = min(stretch.last, first + (PIECE_DAYS - 1) * DAY)
        yield Stretch(first, last)
        first = last + DAY


def _rows(found: Analytics, asked: Stretch) -> Iterator[ActivityRow]:
    for spend in found.rows:
        yield ActivityRow(day_of(spend, asked), spend.names[0], UNKNOWN_PROVIDER, spend.usage, spend.names[0])


def day_of(spend: Spend, asked: Stretch) -> date:
    """Return the day of a row; BadAnswer where it has none, or one that was not asked for."""
    if spend.day is None:
        raise BadAnswer(f"OpenRouter's answer to {ANALYTICS} is not understood: a row names no day")
    if not asked.first <= spend.day <= asked.last:
        raise BadAnswer(f"OpenRouter's answer to {ANALYTICS} is about {spend.day}, and {asked} was asked for")
    return spend.day


def _check_empty(days: Iterable[ArchivedDay], told: Told) -> None:
    empty = [day.day for day in days if not day.rows and day.day in told.spent]
    if empty:
        raise BadAnswer(
            f"OpenRouter's answers to {ANALYTICS} differ: {empty[0]} has spend in one and none in the other",
            hint="try again later",
        )


def older_gaps(span: Stretch, back: int, known: Mapping[date, ArchivedDay], told: Told | None = None) -> list[Stretch]:
    """Return what is not known for sure of the days before those of /activity, up to so many days.

    That is also what the analytics API called empty, unless it does so again.
    """
    today = span.last + DAY
    wanted = Stretch(today - back * DAY, span.first - DAY)
    sure = {at: day for at, day in known.items() if day.rows or day.source != ANALYTICS or _is_empty(at, told)}
    return missing(wanted, sure) if wanted.length > 0 else []


def _is_empty(day: date, told: Told | None) -> bool:
    return told is not None and told.is_whole and day not in told.spent


def check_not_blank(days: list[ArchivedDay], known: Mapping[date, ArchivedDay]) -> None:
    """Raise BadAnswer where an answer without any spend would wipe out days that had some: it is not believed."""
    spent = [day.day for day in days if day.day in known and known[day.day].rows]
    if spent and not any(day.rows for day in days):
        raise BadAnswer(
            f"OpenRouter's answer to /activity is empty, though {plural(len(spent), 'day')} of its span had spend",
            hint="nothing was archived; try again later",
        )
