"""Reports: groups in their order, what is cut off added up, days without gaps, bars that keep their proportions."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.figures.breakdown import Breakdown, Share, break_down, with_names
from openrouter_usage.figures.report import Report, every_day
from openrouter_usage.period import Period, days
from openrouter_usage.render.report import as_text as render
from openrouter_usage.text import columns
from openrouter_usage.tracker.cost_tracker import render_cost_summary

UTC = timezone.utc
AMOUNTS = st.decimals(0, 10**6, places=9, allow_nan=False)
USAGES = st.builds(Usage, requests=st.integers(1, 10**6), cost=AMOUNTS, byok_cost=AMOUNTS)
FIRST = date(2026, 1, 1)
DAYS = st.dictionaries(st.integers(0, 90).map(lambda day: (FIRST + timedelta(days=day)).isoformat()), USAGES)


def of(cost: str, requests: int = 1, byok: str = "0", **more: int) -> Usage:
    return Usage(requests, cost=Decimal(cost), byok_cost=Decimal(byok), **more)


def report(**fields: object) -> Report:
    """A report of a breakdown that has four dollars in no row, where the fields do not say otherwise."""
    own = {name: fields.pop(name) for name in tuple(fields) if name in Breakdown._fields}
    usual = Breakdown("model", None, (), 0, NOTHING, of("4"))
    return Report(**{"title": "all time", "zone": UTC, "breakdown": usual._replace(**own), **fields})


@pytest.mark.parametrize(
    ("groups", "order"),
    [
        ({"a": of("1"), "b": of("2")}, ["b", "a"]),
        ({"a": of("0.000001"), "b": of("0", byok="3")}, ["a", "b"]),
        ({"a": of("1", requests=9), "b": of("1", byok="3"), "c": of("1", byok="4")}, ["c", "b", "a"]),
        ({"a": of("0", requests=9), "b": of("0", byok="3")}, ["b", "a"]),
        ({"a": of("1"), "b": of("1", requests=2)}, ["b", "a"]),
        ({"b": of("1"), "a": of("1")}, ["a", "b"]),
        ({"a": of("0"), "b": of("0", unknown=1)}, ["a", "b"]),
        ({}, []),
    ],
)
def test_the_dearest_comes_first_then_the_busiest_then_by_name(groups: dict[str, Usage], order: list[str]) -> None:
    assert [share.name for share in break_down(groups, "model", most=20).rows] == order


@pytest.mark.parametrize(
    ("by", "name"), [("session", "(no session)"), ("provider", "(unknown provider)"), ("tag", "(no tags)")]
)
def test_the_group_without_a_name_gets_one(by: str, name: str) -> None:
    """A group that has the name already is added to it, not lost."""
    assert with_names({"": of("1"), name: of("2"), "a": of("3")}, by) == {name: of("3", 2), "a": of("3")}


@given(st.dictionaries(st.text(max_size=5), USAGES), st.integers(0, 12), st.integers(0, 12))
def test_what_is_cut_off_is_added_up(groups: dict[str, Usage], top: int, most: int) -> None:
    every = break_down(groups, "model", most=len(groups)).rows
    found = break_down(groups, "model", most=most, top=top)
    assert found.rows == every[:top]
    assert all(left.usage.cost >= right.usage.cost for left in found.rows for right in every[top:])
    assert break_down(groups, "model", most=most).rows == every[:most]
    assert len(found.rows) + found.more_count == len(groups)
    assert sum((row.usage for row in found.rows), found.more) == found.total == sum(groups.values(), NOTHING)


@given(DAYS, st.integers(0, 40))
def test_days_are_all_kept_or_the_newest_of_them(groups: dict[str, Usage], top: int) -> None:
    every = break_down(groups, "day", most=3)
    assert [row.name for row in every.oldest_first.rows] == sorted(groups)
    assert (every.more_count, every.more) == (0, NOTHING)
    found = break_down(groups, "day", most=3, top=top)
    assert [row.name for row in found.oldest_first.rows] == sorted(groups)[max(0, len(groups) - top) :]
    assert len(found.rows) + found.more_count == len(groups)
    assert sum((row.usage for row in found.rows), found.more) == sum(groups.values(), NOTHING)


@given(DAYS, st.integers(1, 40))
def test_the_trend_has_every_day_up_to_the_last_and_adds_up(groups: dict[str, Usage], most: int) -> None:
    trend = every_day(groups, most)
    assert sum((share.usage for share in trend.rows), trend.more) == trend.total == sum(groups.values(), NOTHING)
    names = [share.name for share in trend.oldest_first.rows]
    assert len(names) <= most
    if not groups:
        assert (names, trend.more_count) == ([], 0)
        return
    numbers = [date.fromisoformat(name).toordinal() for name in names]
    assert numbers == list(range(numbers[0], date.fromisoformat(max(groups)).toordinal() + 1))
    assert trend.more_count == sum(name < names[0] for name in groups)


@pytest.mark.parametrize(
    ("zone", "name", "period", "start", "end"),
    [
        ("UTC", "2026-11-22", None, "2026-11-22T00:00", "2026-11-23T00:00"),
        ("Europe/Amsterdam", "2026-03-29", None, "2026-03-28T23:00", "2026-03-29T22:00"),
        ("Europe/Amsterdam", "2026-10-25", None, "2026-10-24T22:00", "2026-10-25T23:00"),
        ("Asia/Kathmandu", "2026-11-22", None, "2026-11-21T18:15", "2026-11-22T18:15"),
        ("UTC", "2026-11-22", ("2026-11-22T09:00", "2026-11-30T00:00"), "2026-11-22T09:00", "2026-11-23T00:00"),
        ("UTC", "2026-11-22", ("2026-11-01T00:00", "2026-11-22T17:30"), "2026-11-22T00:00", "2026-11-22T17:30"),
    ],
)
def test_a_day_is_that_of_the_zone_and_no_more_than_the_report(
    zone: str, name: str, period: tuple[str, str] | None, start: str, end: str
) -> None:
    at = lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC)  # noqa: E731
    whole = Period(at(period[0]), at(period[1]), "") if period else None
    found = report(period=whole, by="day").breakdown.period_of(name, ZoneInfo(zone))
    assert found and (found.start, found.end) == (at(start), at(end))


@given(st.lists(AMOUNTS, min_size=1, max_size=31), st.integers(1, 300), st.integers(1, 30))
def test_bars_keep_their_proportions_on_any_terminal(costs: list[Decimal], width: int, precision: int) -> None:
    trend = every_day({f"2026-01-{day:02}": of(str(cost)) for day, cost in enumerate(costs, 1)})
    with localcontext() as context:
        context.prec = precision + 6
        lines = render(report(trend=trend), width).partition("Cost Trend\n")[2].splitlines()[1 : len(costs) + 1]
    lengths = [line.count("█") for line in lines]
    assert all((length > 0) == (cost > 0) for cost, length in zip(costs, lengths, strict=True))
    assert max(lengths) <= 40
    dearest = max(costs)
    for cost, length in zip(costs, lengths, strict=True):
        assert not cost or abs(length - max(1, max(lengths) * cost / dearest)) <= 1
    room = max(1, width - max(len(line.rstrip("█ ")) for line in lines) - 1)
    assert max(lengths) <= room


def test_a_line_is_there_only_where_there_is_something_to_say() -> None:
    plain = render(report(rows=(Share("a/b", of("4")),)), 80)
    for word in ("BYOK", "Unknown", "Estimated", "Cached", "Cache Writes", "Reasoning", "more", "Trend", "⚠", "Period"):
        assert word not in plain
    told = Usage(9, 5, 4, 3, 2, Decimal(4), Decimal(1), 1, unknown=2, estimated=1)
    full = render(report(total=told, notes=("a note",), more_count=2, more=told), 80)
    for line in (
        "  - Cached: 2 (part of these, 40% of the input)",
        "  - Cache Writes: 1 (part of these, 20% of the input)",
        "  - Reasoning: 3 (part of these)",
        "BYOK Cost: $1.00 (paid to providers, not in the total)",
        "Estimated Cost: 1 call (in the total, not billed figures)",
        "Unknown Cost: 2 calls (not in the total)",
        "  ... and 2 more ($4.00 + $1.00 BYOK + 2 unknown)",
        "⚠ a note",
    ):
        assert f"\n{line}\n" in full


WIDTHS = [
    ("2025-01-15", 10),
    ("café", 4),
    ("cafe\u0301", 4),
    ("世界", 4),
    ("ｆｕｌｌ", 8),
    ("💰", 2),
    ("👩\u200d💻", 2),
    ("👍🏽", 2),
    ("❤\ufe0f", 2),
    ("🇳🇱", 2),
    ("💰 a世", 6),
    ("", 0),
]


@pytest.mark.parametrize(("title", "width"), WIDTHS)
def test_the_rule_below_a_title_is_as_long_as_the_title(title: str, width: int) -> None:
    assert columns(title) == width
    first, rule = render(report(title=title), 80).splitlines()[:2]
    assert first == f"OpenRouter Cost Statistics ({title})"
    assert rule == "=" * (len("OpenRouter Cost Statistics ()") + width)


def test_the_rules_below_plain_titles_are_as_long_as_those() -> None:
    trend = every_day({"2026-01-01": of("1")})
    lines = render(report(title="2025-01-15", period=days(FIRST, FIRST, "month"), trend=trend), 80)
    assert lines.startswith("OpenRouter Cost Statistics (2025-01-15)\n=======================================\nTotal ")
    assert "\nMonthly Cost Trend\n==================\n2026-01-01: $1.00 ████" in lines


def test_the_short_block_is_bounded_and_adds_up() -> None:
    models = {f"a/{number:02}": of(str(number), byok="1") for number in range(25)}
    total = sum(models.values(), NOTHING) + Usage(3, unknown=2, estimated=1)
    block = render_cost_summary(total, models)
    assert block.splitlines()[3:7] == [
        "Total Calls: 28",
        "Total Cost: $300.00",
        "BYOK Cost: $25.00 (paid to providers, not in the total)",
        "Estimated Cost: 1 call (in the total, not billed figures)",
    ]
    assert "\n  a/24: $24.00\n" in block
    assert block.endswith("\n  ... and 5 more ($10.00)\n" + "=" * 50)
