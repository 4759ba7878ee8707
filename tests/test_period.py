"""Periods are half-open, in UTC, without gaps, and begin where OpenRouter's begin."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_usage.errors import InvalidValue
from openrouter_usage.period import (
    DAY,
    UTC,
    Period,
    completed_days,
    iso,
    midnight,
    month,
    parse_day,
    parse_moment,
    resets_at,
    spoken,
    today,
    week,
)

ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1970, 1, 3), datetime(2400, 1, 1), timezones=ZONES)
INSTANT = timedelta(microseconds=1)


@given(MOMENTS)
def test_every_moment_lies_in_its_own_day_week_and_month(now: datetime) -> None:
    for period in (today(now), week(now), month(now)):
        assert period.start <= now < period.end
        assert period.start < period.end
        assert period.start.utcoffset() == period.end.utcoffset() == timedelta(0)
        assert period.first_day == period.start.date()
        assert period.last_day == (period.end - INSTANT).date()


@given(MOMENTS)
def test_windows_follow_each_other_without_a_gap(now: datetime) -> None:
    for window in (today, week, month):
        period = window(now)
        assert window(period.end).start == period.end
        assert window(period.start - INSTANT).end == period.start
        assert window(period.start) == window(period.end - INSTANT) == period


@given(MOMENTS)
def test_windows_begin_where_openrouters_do(now: datetime) -> None:
    assert today(now).end - today(now).start == DAY
    assert week(now).end - week(now).start == 7 * DAY
    assert week(now).start.isoweekday() == 1
    assert month(now).start.day == month(now).end.day == 1
    assert 28 <= (month(now).end - month(now).start).days <= 31
    assert (today(now).label, week(now).label, month(now).label) == ("today", "week", "month")


@given(MOMENTS, st.integers(1, 30))
def test_completed_days_end_where_today_begins(now: datetime, days: int) -> None:
    period = completed_days(now, days)
    assert period.end == today(now).start
    assert period.end - period.start == days * DAY
    assert period.label == f"{days}d"


@given(MOMENTS)
def test_a_limit_starts_anew_at_the_end_of_its_window(now: datetime) -> None:
    assert resets_at("daily", now) == today(now).end
    assert resets_at("weekly", now) == week(now).end
    assert resets_at("monthly", now) == month(now).end
    for unknown in (None, "", "hourly", "Daily", "lifetime"):
        assert resets_at(unknown, now) is None


@given(MOMENTS)
def test_a_moment_that_is_written_is_read_back(now: datetime) -> None:
    assert parse_moment(now.isoformat()) == now
    assert parse_moment(iso(now)) == now.replace(microsecond=0)
    assert parse_moment(now.astimezone(UTC).replace(tzinfo=None).isoformat()) == now
    assert iso(now).endswith("Z")
    assert midnight(parse_day(iso(now))) == today(now).start


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T10:30:00Z", "2026-11-22T10:30:00Z"),
        ("2026-11-22T10:30:00z", "2026-11-22T10:30:00Z"),
        (" 2026-11-22 10:30:00 ", "2026-11-22T10:30:00Z"),
        ("2026-11-22T10:30:00+09:00", "2026-11-22T01:30:00Z"),
        ("2026-11-22T10:30:00.5-05:00", "2026-11-22T15:30:00Z"),
        ("2026-11-22T10:30:00.1234567Z", "2026-11-22T10:30:00Z"),
        ("2026-11-22", "2026-11-22T00:00:00Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
    ],
)
def test_offsets_are_converted_and_not_stripped(text: str, moment: str) -> None:
    assert iso(parse_moment(text)) == moment


@pytest.mark.parametrize(
    "text",
    ["", " ", "now", "1764000000", "2026-13-01", "2026-02-29", "2026-11-22T25:00:00Z", "Z",
    "9999-12-31T23:59:59-01:00", "x" * 10_000]
)  # fmt: skip
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_moment(text)


@pytest.mark.parametrize("text", ["2026-08-31", "2026-08-31 00:00:00", "2026-08-31T00:00:00Z"])
def test_a_day_is_the_first_ten_characters(text: str) -> None:
    assert parse_day(text) == date(2026, 8, 31)


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-8-31", "20260831", "31-08-2026", "2026-02-30", "today", "2026/08/31"]
)
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_day(text)


def test_a_moment_for_people_leaves_midnight_out() -> None:
    assert spoken(datetime(2026, 12, 1, tzinfo=UTC)) == "2026-12-01 UTC"
    assert spoken(datetime(2026, 12, 1, 1, tzinfo=timezone(timedelta(hours=-5)))) == "2026-12-01 06:00 UTC"


def test_a_period_of_another_zone_counts_utc_days() -> None:
    zone = timezone(timedelta(hours=9))
    period = Period(datetime(2026, 11, 22, tzinfo=zone), datetime(2026, 11, 23, tzinfo=zone), "a day in Tokyo")
    assert (period.first_day, period.last_day) == (date(2026, 11, 21), date(2026, 11, 22))
