"""Periods cut into pieces: no gap, no overlap, the days of the user's zone, and models that keep their place."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.figures.breakdown import added
from openrouter_usage.figures.report import cut_up, is_to_come, stack
from openrouter_usage.period import Period, days

UTC = timezone.utc
ZONES = ["UTC", "Europe/Amsterdam", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
MOMENTS = st.integers(0, 30 * 365 * 24 * 3600).map(lambda s: datetime(2005, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
COSTS = st.decimals(0, 100, places=6)
USAGES = st.builds(Usage, requests=st.integers(1, 9), cost=COSTS, byok_cost=COSTS, unknown=st.integers(0, 2))


def zone_of(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def whole(first: str, last: str, zone: str = "UTC") -> Period:
    return days(date.fromisoformat(first), date.fromisoformat(last), "", zone_of(zone))


@given(MOMENTS, st.integers(1, 5 * 365 * 24 * 3600), st.sampled_from(ZONES))
def test_the_pieces_of_a_period_are_all_of_it_and_nothing_twice(start: datetime, seconds: int, zone: str) -> None:
    period = Period(start, start + timedelta(seconds=seconds), "")
    _, slots = cut_up(period, zone_of(zone))
    assert (slots[0].period.start, slots[-1].period.end) == (period.start, period.end)
    for before, after in itertools.pairwise(slots):
        assert before.period.end == after.period.start
    assert all(slot.period.start < slot.period.end for slot in slots)
    assert len({slot.name for slot in slots}) == len(slots) <= 93


@given(st.dates(date(2005, 1, 1), date(2035, 1, 1)), st.integers(0, 700), st.sampled_from(ZONES))
def test_every_piece_begins_where_a_day_does(first: date, more: int, zone: str) -> None:
    period = days(first, first + timedelta(days=more), "", zone_of(zone))
    unit, slots = cut_up(period, zone_of(zone))
    for slot in slots if unit != "hour" else slots[:1]:
        day = slot.period.start.astimezone(zone_of(zone)).date()
        assert slot.period.start == days(day, day, "", zone_of(zone)).start
    assert unit != "week" or all(slot.period.start.astimezone(zone_of(zone)).weekday() == 0 for slot in slots[1:])


@pytest.mark.parametrize(
    ("first", "last", "unit", "names"),
    [
        ("2026-11-22", "2026-11-22", "hour", ["2026-11-22 00:00 UTC", "2026-11-22 23:00 UTC"]),
        ("2026-11-21", "2026-11-22", "day", ["2026-11-21", "2026-11-22"]),
        ("2024-02-01", "2024-02-29", "day", ["2024-02-01", "2024-02-29"]),
        ("2026-08-23", "2026-11-22", "day", ["2026-08-23", "2026-11-22"]),
        ("2026-08-21", "2026-11-22", "week", ["2026-08-21 to 2026-08-23", "2026-11-16 to 2026-11-22"]),
        ("2025-11-23", "2026-11-22", "week", ["2025-11-23", "2026-11-16 to 2026-11-22"]),
        ("2024-01-01", "2026-11-22", "month", ["2024-01", "2026-11-01 to 2026-11-22"]),
        ("2000-01-01", "2026-12-31", "year", ["2000", "2026"]),
    ],
)
def test_a_longer_period_has_longer_pieces(first: str, last: str, unit: str, names: list[str]) -> None:
    found, slots = cut_up(whole(first, last), UTC)
    assert (found, [slots[0].name, slots[-1].name]) == (unit, names)


@pytest.mark.parametrize(
    ("day", "zone", "hours", "clocks"),
    [
        ("2026-03-29", "Europe/Amsterdam", 23, ["01:00 CET", "03:00 CEST"]),
        ("2026-10-25", "Europe/Amsterdam", 25, ["02:00 CEST", "02:00 CET"]),
        ("2026-11-22", "Asia/Kathmandu", 24, ["00:00 +0545", "23:00 +0545"]),
    ],
)
def test_a_day_has_the_hours_that_its_clocks_show(day: str, zone: str, hours: int, clocks: list[str]) -> None:
    unit, slots = cut_up(whole(day, day, zone), zone_of(zone))
    assert (unit, len(slots)) == ("hour", hours)
    assert [clock for clock in clocks if f"{day} {clock}" not in [slot.name for slot in slots]] == []
    assert all(slot.is_whole for slot in slots)


@pytest.mark.parametrize(("day", "zone", "hours"), [("2026-03-29", "Europe/Amsterdam", 23), ("2026-10-25", "Europe/Amsterdam", 25)])
def test_the_day_of_a_clock_change_is_one_day(day: str, zone: str, hours: int) -> None:
    around = [(date.fromisoformat(day) + timedelta(days=n)).isoformat() for n in (-1, 0, 1)]
    _, slots = cut_up(whole(around[0], around[2], zone), zone_of(zone))
    lengths = [(slot.period.end - slot.period.start) / timedelta(hours=1) for slot in slots]
    assert ([slot.name for slot in slots], lengths) == (around, [24, hours, 24])


def test_a_day_that_a_zone_left_out_is_no_piece() -> None:
    _, slots = cut_up(whole("2011-12-29", "2011-12-31", "Pacific/Apia"), zone_of("Pacific/Apia"))
    assert [slot.name for slot in slots] == ["2011-12-29", "2011-12-31"]


def test_what_is_less_than_a_day_a_week_or_a_month_says_so() -> None:
    start = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
    _, slots = cut_up(Period(start, datetime(2026, 11, 22, tzinfo=UTC), ""), UTC)
    assert [(slot.name, slot.is_whole) for slot in slots] == [("2026-11-20", False), ("2026-11-21", True)]
    _, weeks = cut_up(whole("2026-08-21", "2026-11-22"), UTC)
    assert [slot.is_whole for slot in weeks][:2] == [False, True]


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.sampled_from("abcdefghij"), USAGES, max_size=10), min_size=3, max_size=3), st.integers(0, 8))
def test_what_is_stacked_adds_up_whatever_has_a_name_of_its_own(groups: list[dict[str, Usage]], most: int) -> None:
    _, slots = cut_up(whole("2026-11-20", "2026-11-22"), UTC)
    timeline = stack("day", slots, groups, most)
    for bar, found in zip(timeline.bars, groups, strict=True):
        assert sum(bar.parts, bar.others) == bar.total == sum(found.values(), NOTHING)
        assert [found.get(name, NOTHING) for name in timeline.names] == list(bar.parts)
    sums = added(group for found in groups for group in found.items())
    assert timeline.total == sum(timeline.groups, timeline.others) == sum(sums.values(), NOTHING)
    assert len(timeline.names) == min(most, sum(usage.cost > 0 for usage in sums.values()))
    assert timeline.other_names == len(sums) - len(timeline.names)
    costs = [usage.cost for usage in timeline.groups]
    assert costs == sorted(costs, reverse=True)
    assert all(usage.cost <= min(costs, default=Decimal(100_000)) for name, usage in sums.items() if name not in timeline.names)


def test_a_model_without_cost_takes_no_colour_from_one_that_has_some() -> None:
    _, slots = cut_up(whole("2026-11-21", "2026-11-22"), UTC)
    free = {"byok": Usage(5, byok_cost=Decimal(9)), "unknown": Usage(5, unknown=5), "paid": Usage(1, cost=Decimal("1E-27"))}
    timeline = stack("day", slots, [free, {}], 2)
    assert (timeline.names, timeline.other_names) == (("paid",), 2)


def test_only_what_has_not_begun_and_has_no_calls_is_to_come() -> None:
    _, slots = cut_up(whole("2026-11-21", "2026-11-24"), UTC)
    groups: list[dict[str, Usage]] = [{}, {}, {"a": Usage(1)}, {}]
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert [is_to_come(bar, now) for bar in stack("day", slots, groups).bars] == [False, False, False, True]
