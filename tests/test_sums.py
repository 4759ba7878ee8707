"""Sums of any stretch of time: each call is in one of two adjacent periods, and a call that was told twice counts once."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from openrouter_usage.entry import NOTHING, Caps
from openrouter_usage.errors import InvalidValue
from openrouter_usage.figures.limits import scopes
from openrouter_usage.ledger import sums as query
from openrouter_usage.ledger.clean import clean
from openrouter_usage.ledger.ingest import SPAN_DAYS, span_slot
from openrouter_usage.ledger.ledger import Ahead, Ledger
from openrouter_usage.ledger.sums import GROUPINGS
from openrouter_usage.period import Period, month, today
from tests.booking import NOON, UTC, Tracker, call, hold
from tests.cases import crossed

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


@pytest.mark.parametrize("border", BORDERS.values(), ids=list(BORDERS))
@pytest.mark.parametrize(
    ("by", "length"),
    crossed(GROUPINGS, [timedelta(seconds=1), timedelta(minutes=20), 3 * HOUR, DAY, 100 * DAY]),
)
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


def quarter(*moment: int) -> int:
    """A quarter of an hour, numbered since 1970."""
    return int(datetime(*moment, tzinfo=UTC).timestamp()) // 900  # type: ignore[arg-type,misc]


# Zones with the quarter of a change, and stretches from it and to it: what is cut, and the offset, in quarters.
CUTS: list[tuple[str, int, tuple[int, int], list[tuple[int, int, int | None]]]] = [
    *(("Europe/Amsterdam", quarter(2026, 10, 25, 1), ends, cut) for ends, cut in [
        ((-4, 4), [(-4, 0, 8), (0, 4, 4)]), ((0, 4), [(0, 4, 4)]), ((-1, 0), [(-1, 0, 8)]), ((0, 1), [(0, 1, 4)]),
        ((-500, 500), [(-500, 0, 8), (0, 500, 4)]), ((-96, 0), [(-96, 0, 8)]), ((-96, 1), [(-96, 0, 8), (0, 1, 4)]),
        ((-97, 96), [(-97, 0, 8), (0, 96, 4)]), ((-192, 1), [(-192, 0, 8), (0, 1, 4)]), ((3, 3), []),
    ]),
    # One minute after midnight, which is in the middle of a quarter.
    *(("America/St_Johns", quarter(2011, 3, 13, 3, 30), ends, cut) for ends, cut in [
        ((-4, 4), [(-4, 0, -14), (0, 1, None), (1, 4, -10)]), ((0, 4), [(0, 1, None), (1, 4, -10)]),
        ((0, 1), [(0, 1, None)]), ((-1, 1), [(-1, 0, -14), (0, 1, None)]), ((1, 5), [(1, 5, -10)]),
        ((-4, 0), [(-4, 0, -14)]), ((-300, 1), [(-300, 0, -14), (0, 1, None)]),
    ]),
    ("Asia/Kathmandu", quarter(2026, 1, 1), (-1, 400), [(-1, 400, 23)]),
    ("UTC", quarter(2026, 1, 1), (-1, 400), [(-1, 400, 0)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "ends", "cut"), CUTS, ids=[f"{name} {ends}" for name, _, ends, _ in CUTS])
def test_quarters_are_cut_where_a_clock_changes_and_nowhere_else(
    name: str, change: int, ends: tuple[int, int], cut: list[tuple[int, int, int | None]]
) -> None:
    found = query.stretches(change + ends[0], change + ends[1], ZoneInfo(name))
    assert [(low - change, high - change, shift) for low, high, shift in found] == cut


@pytest.mark.parametrize("start", [0, 1, 16, 31, 60])
def test_calls_around_a_change_in_the_middle_of_a_quarter_are_in_their_days(start: int, ledger: Ledger) -> None:
    """In Newfoundland a day once was a minute old when the clock went back an hour, into the day before."""
    zone, change = ZoneInfo("America/St_Johns"), datetime(2010, 11, 7, 2, 31, tzinfo=UTC)
    moments = [change + timedelta(minutes=step, seconds=1) for step in range(-70, 70)]
    ledger.path.write_bytes(b"".join(call(stamp(moment), cost="1") for moment in moments))
    days: dict[str, int] = {}
    for moment in moments[start:]:
        day = moment.astimezone(zone).date().isoformat()
        days[day] = days.get(day, 0) + 1
    found = ledger.totals(Period(moments[start], change + DAY, "around"), "day", zone)
    assert {day: usage.requests for day, usage in found.groups.items()} == days and len(days) == 2
    assert found.total.requests == len(moments) - start


@pytest.mark.parametrize("offset", [timedelta(minutes=7), timedelta(hours=1, seconds=1)])
def test_a_zone_that_no_quarter_of_an_hour_fits_is_refused(offset: timedelta, ledger: Ledger) -> None:
    ledger.path.write_bytes(call(stamp(NOON), cost="1"))
    with pytest.raises(InvalidValue, match="whole quarters of an hour"):
        ledger.totals(None, "day", timezone(offset))


# -- whole days ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [*range(20_480, 20_520), -33, -32, -1, 0])
def test_days_are_covered_once_each_by_as_few_rows_as_there_can_be(first: int) -> None:
    for length in (0, 1, 2, 31, 32, 33, 63, 64, 65, 95, 96, 97, 400):
        slots = list(query.slots_of(first, first + length))
        days = [slot for slot in slots if first <= slot < first + length] if first >= 0 else slots
        spans = {span_slot(span): span for span in range(-3, 20_520 // SPAN_DAYS + 20)} if first > 0 else {}
        covered = [day for slot in slots if slot in spans for day in range(spans[slot] * 32, spans[slot] * 32 + 32)]
        if first > 0:
            assert sorted(covered + days) == list(range(first, first + length))
            whole = [day for day in range(first, first + length) if day % 32 == 0 and day + 32 <= first + length]
            assert len(slots) == length - 31 * len(whole)


@pytest.mark.parametrize("by", GROUPINGS)
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (timedelta(), DAY), (timedelta(), 100 * DAY), (HOUR / 4, DAY), (timedelta(), DAY - HOUR / 4),
        (HOUR / 4, 3 * DAY - HOUR / 4), (10 * HOUR, 14 * HOUR), (22 * HOUR, 26 * HOUR), (23 * HOUR, 2 * DAY + HOUR),
        (timedelta(seconds=1), 3 * DAY - timedelta(seconds=1)), (timedelta(minutes=7), timedelta(minutes=8)),
        (timedelta(minutes=7), timedelta(minutes=22)), (timedelta(minutes=15), timedelta(minutes=30)),
        (timedelta(microseconds=1), timedelta(microseconds=2)), (timedelta(minutes=7), 40 * DAY + timedelta(minutes=8)),
        (-5 * DAY, timedelta()), (100 * DAY, 101 * DAY), (-5 * DAY, -4 * DAY),
    ],
    ids=str,
)  # fmt: skip
def test_any_part_of_many_days_has_the_calls_that_lie_in_it(
    start: timedelta, end: timedelta, by: str, ledger: Ledger
) -> None:
    """Two calls in every quarter of an hour that matters, each of another cost, around midnights and over 40 days."""
    steps = [day * DAY + near for day in (0, 1, 2, 3, 33, 40) for near in (
        timedelta(), timedelta(microseconds=1), timedelta(minutes=7), timedelta(minutes=15), HOUR, 12 * HOUR,
        DAY - timedelta(minutes=15), DAY - timedelta(minutes=1), DAY - timedelta(microseconds=1),
    )]  # fmt: skip
    moments = [MIDNIGHT + step for step in steps]
    names = [{"model": f"m/{n % 3}", "session": "s" * (n % 2), "provider": "P" * (n % 2), "tags": {"t": "x"} if n % 2 else {}}
             for n in range(len(moments))]  # fmt: skip
    ledger.path.write_bytes(
        b"".join(call(stamp(moment), cost=f"0.{2**n}", **name) for n, (moment, name) in enumerate(zip(moments, names, strict=True)))
    )
    inside = [n for n, moment in enumerate(moments) if MIDNIGHT + start <= moment < MIDNIGHT + end]
    found = ledger.totals(Period(MIDNIGHT + start, MIDNIGHT + end, "part"), by)
    assert (found.total.requests, found.total.cost) == (len(inside), sum((Decimal(f"0.{2**n}") for n in inside), Decimal(0)))
    groups: dict[str, Decimal] = {}
    for n in inside:
        named = {"model": f"m/{n % 3}", "session": "s" * (n % 2), "provider": "P" * (n % 2), "tag": "t=x" * (n % 2),
                 "day": str(moments[n].date())}.get(by, "")  # fmt: skip  # nobody's calls have an owner here
        groups[named] = groups.get(named, Decimal(0)) + Decimal(f"0.{2**n}")
    assert {name: usage.cost for name, usage in found.groups.items()} == groups
    assert len(list(ledger.entries(Period(MIDNIGHT + start, MIDNIGHT + end, "part")))) == len(inside)


def test_the_first_quarter_with_calls_is_known_and_the_one_behind_the_last(ledger: Ledger) -> None:
    known: list[Any] = []
    for lines in (b"", call(stamp(NOON)), call(stamp(NOON - DAY)) + call(stamp(NOON + timedelta(minutes=14)))):
        with ledger.path.open("ab") as file:
            file.write(lines)
        known.append(ledger.engine.reading(query.known_slots))
    noon = quarter(2026, 11, 22, 12)
    assert known == [None, (noon, noon + 1), (noon - 96, noon + 1)]
    found = ledger.engine.reading(lambda index: [query.last_slot_from(index, noon // 96 + day) for day in (-2, -1, 0, 1)])
    assert found == [noon, noon, noon, None]


def test_a_period_of_no_length_or_of_a_ledger_without_calls_has_no_calls(ledger: Ledger) -> None:
    assert ledger.totals().groups == ledger.totals(Period(NOON, NOON + DAY, "day")).groups == {}
    assert list(ledger.entries()) == []
    budgets: list[Any] = []
    ledger.committed(lambda books: budgets.append(books.spent(today(NOON))))
    ledger.path.write_bytes(call(stamp(NOON), cost="1"))
    assert ledger.totals(Period(NOON, NOON, "none")).total == budgets[0] == NOTHING
    assert ledger.totals(Period(NOON + DAY, NOON - DAY, "none")).total == NOTHING


def test_what_is_spent_is_summed_over_whole_days_and_what_is_ahead_by_its_last_quarter(ledger: Ledger) -> None:
    for step in (-40 * DAY, -DAY, timedelta(), 11 * HOUR + HOUR * 3 / 4, DAY, 40 * DAY):
        with ledger.path.open("ab") as file:
            file.write(call(stamp(NOON + step), cost="1"))
    spent: list[int] = []

    def look(books: Any) -> None:
        for first, last in ((-40, 40), (-39, 39), (0, 0), (1, 1), (-1, -1), (-400, 400), (41, 50), (-50, -41), (2, 39)):
            period = Period(MIDNIGHT + first * DAY, MIDNIGHT + (last + 1) * DAY, "days")
            spent.append(books.spent(period).requests)

    ledger.committed(look)
    assert spent == [6, 4, 2, 1, 1, 6, 0, 0, 0]
    assert ledger.ahead(MIDNIGHT + 41 * DAY) is None
    for moment, calls in ((MIDNIGHT + 40 * DAY, 1), (MIDNIGHT + DAY, 2), (MIDNIGHT, 4), (MIDNIGHT - 100 * DAY, 6)):
        found = ledger.ahead(moment)
        assert isinstance(found, Ahead)
        assert (found.usage.requests, found.last) == (calls, NOON + 40 * DAY)


# -- an index that was changed from outside --------------------------------------------------------------------------

CHANGED = {
    "a sum": "UPDATE sums SET cost_high = cost_high + 1",
    "the name of a sum": "UPDATE sums SET name = 'x/y' WHERE name = 'a/b'",
    "a quarter": "UPDATE quarters SET requests = requests + 1",
    "a hold's money": "UPDATE holds SET max_cost = '0.1'",
    "a hold's time": "UPDATE holds SET ts = 'noon'",
    "a hold's bound": "UPDATE holds SET max_cost = 'much'",
    "a line of a call": "UPDATE merged SET first = (SELECT max(last_offset) FROM quarters), mark = mark + 1",
    "the mark of a line": "UPDATE merged SET mark = mark + 1",
    "an unsettled call": "UPDATE unsettled SET is_doubtful = 1 - is_doubtful",
    "one unsettled call of two": "UPDATE unsettled SET mark = mark + 1 WHERE start = (SELECT max(start) FROM unsettled)",
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGED)
def test_an_index_that_was_changed_from_outside_is_noticed_and_made_anew(change: str, tmp_path: Path) -> None:
    """Every figure that is read from it is proven by a mark; none is told that the file does not say."""
    path, notices = tmp_path / "usage.jsonl", list[str]()
    path.write_bytes(
        call(stamp(NOON - 60 * DAY), model="a/b", cost="0.25", id="gen-old") + call(stamp(NOON), cost=None, id="gen-1")
        + call(stamp(NOON), model="a/b", cost="0.5", id="gen-2") + call(stamp(NOON), cost="0.5", id="gen-2", provider="P")
        + call(stamp(NOON), cost=None, id="gen-3") + hold("h", stamp(NOON), "0.75") + hold("open", stamp(NOON), None)
    )  # fmt: skip

    def read(ledger: Ledger) -> list[Any]:
        asked: list[Callable[[], Any]] = [
            lambda: ledger.totals().groups, lambda: ledger.totals(today(NOON), "provider").groups,
            lambda: ledger.totals(None, "day", ZoneInfo("Asia/Kathmandu")).groups, lambda: list(ledger.entries()),
            ledger.unsettled, lambda: [(each.id, each.max_cost, each.ts) for each in ledger.health().holds],
            lambda: ledger.health().doubtful, lambda: clean(ledger.engine, NOON - 70 * DAY, dry_run=True).removed,
        ]  # fmt: skip
        return [ask() for ask in asked]

    with contextlib.closing(Ledger(path)) as ledger:
        before = read(ledger)
    assert [each.id for each in before[4]] == ["gen-1", "gen-3"] and len(before[3]) == 4
    assert before[5] == [("h", Decimal("0.75"), NOON), ("open", None, NOON)]
    with contextlib.closing(sqlite3.connect(f"{path}.index")) as index:
        assert index.execute(CHANGED[change]).rowcount > 0
        index.commit()
    with contextlib.closing(Ledger(path, notice=notices.append)) as ledger:
        assert read(ledger) == before
    assert len(notices) == 1 and "was damaged" in notices[0]


@pytest.mark.parametrize("change", ["a line of a call", "the mark of a line"])
def test_a_cleaning_by_an_index_that_was_changed_takes_out_what_the_file_says(change: str, tmp_path: Path) -> None:
    path, notices = tmp_path / "usage.jsonl", list[str]()
    path.write_bytes(
        call(stamp(NOON - DAY), cost="1", id="gen-1") + call(stamp(NOON), cost="1", id="gen-2")
        + call(stamp(NOON - DAY), cost="1", id="gen-1", provider="P")
    )  # fmt: skip
    with contextlib.closing(Ledger(path)) as ledger:
        ledger.totals()
    with contextlib.closing(sqlite3.connect(f"{path}.index")) as index:
        assert index.execute(CHANGED[change]).rowcount == 1
        index.commit()
    with contextlib.closing(Ledger(path, notice=notices.append)) as ledger:
        assert clean(ledger.engine, MIDNIGHT, dry_run=False).removed == 1
        assert [entry.id for entry in ledger.entries()] == ["gen-2"]
    assert len(notices) == 1 and "its lines of one call are damaged" in notices[0]


def test_a_call_is_not_taken_for_a_line_of_another_one(tmp_path: Path) -> None:
    """The row that says which lines belong together names another call's, far from the call that it is about."""
    path, notices = tmp_path / "usage.jsonl", list[str]()
    old = call(stamp(NOON - 60 * DAY), cost="1", id="gen-1") + call(stamp(NOON - 60 * DAY), id="gen-1", provider="P")
    path.write_bytes(old + call(stamp(NOON), cost="0.5", id="gen-2"))
    with contextlib.closing(Ledger(path)) as ledger:
        ledger.totals()
    for period in (today(NOON), Period(NOON, NOON + HOUR, "hour")):
        with contextlib.closing(sqlite3.connect(f"{path}.index")) as index:
            assert index.execute("UPDATE merged SET start = ?", (len(old),)).rowcount == 1
            index.commit()
        with contextlib.closing(Ledger(path, notice=notices.append)) as ledger:
            assert [entry.cost for entry in ledger.entries(period)] == [HALF]
            assert ledger.totals(period).total.cost == HALF
    assert ["its lines of one call are damaged" in notice for notice in notices] == [True, True]


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


@pytest.mark.parametrize("kind", TWICE)
@pytest.mark.parametrize(
    ("by", "length"),
    crossed(GROUPINGS, [timedelta(minutes=1), timedelta(minutes=15), HOUR, 5 * HOUR, DAY, 40 * DAY]),
)
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
