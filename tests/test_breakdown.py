"""A breakdown adds up, is sorted, and counts only days that are over."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.figures.breakdown import GROUPS, Breakdown, activity_groups
from openrouter_usage.figures.breakdown import break_down as of_groups
from openrouter_usage.openrouter.answers.account import ActivityRow
from openrouter_usage.period import completed_days

NOW = datetime(2026, 3, 1, 0, 0, 1, tzinfo=timezone.utc)
COUNTS = ("requests", "prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")
AMOUNTS = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(0, 10**9), st.integers(-27, -9)
)
ROWS = st.builds(
    ActivityRow,
    st.integers(-1, 32).map(lambda days: NOW.date() - timedelta(days=days)),
    st.sampled_from(["a/one", "b/two", "c/three", "d/four:free", "é"]),
    st.sampled_from(["OpenAI", "Azure", ""]),
    st.builds(
        Usage,
        *[st.integers(0, 10**6) for _ in COUNTS],
        st.one_of(st.just(Decimal(0)), AMOUNTS),
        st.one_of(st.just(Decimal(0)), AMOUNTS),
    ),
)


def break_down(rows: list[ActivityRow], now: datetime, *, days: int, top: int | None, by: str) -> Breakdown:
    """The breakdown of the last completed days, as a summary makes it."""
    period = completed_days(now, days)
    return of_groups(activity_groups(rows, period, by), by, most=5, top=top, period=period, source="/activity")


def exact(usage: Usage) -> tuple[int | Fraction, ...]:
    """A usage as numbers that cannot be rounded."""
    return (*(getattr(usage, name) for name in COUNTS), Fraction(usage.cost), Fraction(usage.byok_cost))


def summed(usages: list[Usage]) -> tuple[int | Fraction, ...]:
    """The exact sum of usages, worked out column by column."""
    return tuple(map(sum, zip(exact(NOTHING), *map(exact, usages), strict=True)))  # type: ignore[arg-type]


@given(st.lists(ROWS, max_size=40), st.integers(1, 30), st.none() | st.integers(0, 6), st.sampled_from(sorted(GROUPS)))
def test_rows_and_more_are_the_total_of_the_days(rows: list[ActivityRow], days: int, top: int | None, by: str) -> None:
    found = break_down(rows, NOW, days=days, top=top, by=by)
    first = NOW.date() - timedelta(days=days)
    counted = [row for row in rows if first <= row.day < NOW.date()]
    names = {GROUPS[by](row) for row in counted}
    assert (found.days, found.is_completed, found.is_local) == (days, True, False)
    assert exact(found.total) == summed([row.usage for row in counted])
    assert summed([*(share.usage for share in found.rows), found.more]) == exact(found.total)
    assert len(found.rows) + found.more_count == len(names)
    for share in found.rows:
        assert exact(share.usage) == summed([row.usage for row in counted if GROUPS[by](row) == share.name])
    most = len(names) if top is None and by == "day" else 5 if top is None else top
    assert len(found.rows) == min(most, len(names))


@given(st.lists(ROWS, max_size=40), st.sampled_from(["model", "provider"]))
def test_the_dearest_come_first_and_what_is_left_out_is_cheaper(rows: list[ActivityRow], by: str) -> None:
    """Credits alone decide; BYOK money only among those that cost as much, and then calls."""

    def rank(usage: Usage) -> tuple[Fraction, Fraction, int]:
        return Fraction(usage.cost), Fraction(usage.byok_cost), usage.requests

    everything = break_down(rows, NOW, days=30, top=10_000, by=by)
    ranks = [rank(share.usage) for share in everything.rows]
    assert ranks == sorted(ranks, reverse=True)
    some = break_down(rows, NOW, days=30, top=2, by=by)
    assert some.rows == everything.rows[:2]


@given(st.lists(ROWS, max_size=40), st.permutations(range(40)))
def test_the_order_of_the_rows_does_not_matter(rows: list[ActivityRow], order: list[int]) -> None:
    shuffled = [rows[index] for index in order if index < len(rows)]
    for by in GROUPS:
        before, after = (break_down(given, NOW, days=30, top=3, by=by) for given in (rows, shuffled))
        assert [share.name for share in before.rows] == [share.name for share in after.rows]
        assert exact(before.total) == exact(after.total)


@given(st.lists(ROWS, max_size=40))
def test_days_stand_newest_first(rows: list[ActivityRow]) -> None:
    names = [share.name for share in break_down(rows, NOW, days=30, top=None, by="day").rows]
    assert names == sorted(names, reverse=True)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("day", "counted"),
[("2026-02-28", True), ("2026-03-01", False), ("2026-03-02", False), ("2026-02-22", True),
("2026-02-21", False)])  # fmt: skip
def test_only_days_that_are_over_count(day: str, counted: bool) -> None:
    row = ActivityRow(date.fromisoformat(day), "a/one", "OpenAI", Usage(requests=1, cost=Decimal("0.1")))
    assert break_down([row], NOW, days=7, top=None, by="model").total.requests == int(counted)
