"""Sums of any stretch of time: each call is in one of two adjacent periods, and a call that was told twice counts once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from openrouter_usage.entry import NOTHING, Caps
from openrouter_usage.figures.limits import scopes
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.sums import GROUPINGS
from openrouter_usage.period import Period, month, today
from tests.booking import NOON, UTC, Tracker, call

HALF = Decimal("0.5")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
BORDERS = {
    "month": FIRST,
    "day": MIDNIGHT,
    "hour": MIDNIGHT + 10 * HOUR,
    "quarter": MIDNIGHT + timedelta(hours=10, minutes=45),
    "second": MIDNIGHT + timedelta(hours=10, minutes=7, seconds=30),
    "microsecond": MIDNIGHT + timedelta(hours=10, microseconds=1),
}


def stamp(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(tmp_path / "usage.jsonl")
    yield found
    found.close()


# -- adjacent periods ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [timedelta(seconds=1), timedelta(minutes=20), 3 * HOUR, DAY, 100 * DAY])
@pytest.mark.parametrize("border", BORDERS.values(), ids=list(BORDERS))
@pytest.mark.parametrize("by", GROUPINGS)
def test_a_call_at_a_border_is_in_the_later_period_alone(
    by: str, border: datetime, length: timedelta, ledger: Ledger
) -> None:
    around = [call(stamp(border + step * 150 * DAY), cost="1", id=f"gen-{step}") for step in (-1, 1)]
    ledger.path.write_bytes(b"".join([*around, call(stamp(border), cost="0.5", id="gen-border")]))
    before, after = Period(border - length, border, "before"), Period(border, border + length, "after")
    for zone in (UTC, ZoneInfo("Asia/Kathmandu")):
        assert ledger.totals(before, by, zone).total == NOTHING
        assert ledger.totals(after, by, zone).total.cost == HALF
    assert [entry.id for entry in ledger.entries(before)] == []
    assert [entry.id for entry in ledger.entries(after)] == ["gen-border"]


@pytest.mark.parametrize(("scope", "border"), [("daily", MIDNIGHT), ("monthly", FIRST)])
def test_a_call_at_a_border_is_spent_in_the_later_budget_window(scope: str, border: datetime, ledger: Ledger) -> None:
    """The earlier window has no end of its own: a call that was booked before the clock was set back counts."""
    ledger.path.write_bytes(
        call(stamp(border - timedelta(microseconds=1)), cost="1") + call(stamp(border), cost="0.5")
    )
    found: list[Any] = []
    ledger.committed(lambda books: found.extend(scopes(Caps(**{scope: HALF}), books, border)))
    assert [each.spent for each in found] == [HALF]
    window = today if scope == "daily" else month
    earlier: list[Any] = []
    ledger.committed(lambda books: earlier.append(books.spent(window(border - HOUR))))
    assert [usage.cost for usage in earlier] == [1]


def test_the_programs_count_a_call_at_midnight_in_one_of_two_days(tracker: Tracker) -> None:
    tracker.write(call(stamp(MIDNIGHT), cost="0.5"))
    days = [(str((MIDNIGHT + step * DAY).date()),) * 2 for step in (-1, 0, 1)]
    sums = [tracker("stats", "--since", first, "--until", last, "--json").data["total"] for first, last in days]
    assert [each["cost_usd"] for each in sums] == [0, HALF, 0]
    moments = [stamp(MIDNIGHT + step * HOUR) for step in (-1, 0, 1)]
    spans = pairwise(moments)
    sums = [tracker("stats", "--since", since, "--until", until, "--json").data["total"] for since, until in spans]
    assert [each["requests"] for each in sums] == [0, 1]


# -- a clock that is set back over midnight --------------------------------------------------------------------------

# In each of these zones a day has 25 hours, and the hour that comes twice is its last one or its first one.
TWICE_A_YEAR = [
    ("America/Santiago", datetime(2026, 4, 5, 3, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 10, 29, 21, tzinfo=UTC)),
    ("Asia/Beirut", datetime(2026, 10, 24, 21, tzinfo=UTC)),
    ("Europe/Amsterdam", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
]


@pytest.mark.parametrize(("name", "change"), TWICE_A_YEAR)
@pytest.mark.parametrize("lead", range(1, 9))
def test_every_quarter_of_an_hour_around_a_change_of_the_clock_is_in_its_day(
    lead: int, name: str, change: datetime, ledger: Ledger
) -> None:
    zone, quarter = ZoneInfo(name), timedelta(minutes=15)
    moments = [change + number * quarter for number in range(-8, 9)]
    ledger.path.write_bytes(b"".join(call(stamp(moment), cost="1") for moment in moments))
    period = Period(change - lead * quarter, change + 8 * quarter, "around")
    days: dict[str, int] = {}
    for moment in moments[8 - lead : -1]:
        day = moment.astimezone(zone).date().isoformat()
        days[day] = days.get(day, 0) + 1
    found = ledger.totals(period, "day", zone).groups
    assert {day: usage.requests for day, usage in found.items()} == days


# -- calls that were told twice --------------------------------------------------------------------------------------

TWICE = {
    "the same": ({"cost": "0.5"}, {"cost": "0.5"}, HALF),
    "unknown, then known": ({"cost": None}, {"cost": "0.5"}, HALF),
    "known, then unknown": ({"cost": "0.5"}, {"cost": None}, HALF),
    "estimated, then billed": ({"cost": "0.9", "cost_source": "estimated"}, {"cost": "0.5"}, HALF),
    "another group": (
        {"cost": "0.5", "model": "a/b", "session": "s", "provider": "P", "tags": {"x": "y"}},
        {"cost": "0.5", "model": "c/d"},
        HALF,
    ),
}


@pytest.mark.parametrize("length", [timedelta(minutes=1), timedelta(minutes=15), HOUR, 5 * HOUR, DAY, 40 * DAY])
@pytest.mark.parametrize("kind", TWICE)
@pytest.mark.parametrize("by", GROUPINGS)
def test_a_call_that_was_told_twice_counts_once_in_any_part_of_a_day(
    by: str, kind: str, length: timedelta, ledger: Ledger
) -> None:
    first, second, cost = TWICE[kind]
    at = {"id": "gen-twice", "ts": stamp(NOON)}
    later = at | {"ts": stamp(NOON + timedelta(seconds=20))}
    ledger.path.write_bytes(
        call(stamp(NOON - 60 * DAY), cost="1")
        + call(**{**at, **first})
        + call(**{**later, **second})
        + call(stamp(NOON + 60 * DAY), cost="1")
    )
    start = NOON if length < DAY else MIDNIGHT
    totals = ledger.totals(Period(start, start + length, "part"), by)
    assert (totals.total.requests, totals.total.cost, totals.total.unknown) == (1, cost, 0)
    assert [usage.requests for usage in totals.groups.values()] == [1]


@pytest.fixture
def tracker(home: Path) -> Tracker:
    return Tracker(home)
