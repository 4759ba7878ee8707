"""Which alerts are due: each threshold once in its window, each state once until it has ended, and nothing guessed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_usage.errors import SettingsError, Unreachable
from openrouter_usage.figures.alerts import Alert, Rules, Spending, judge
from openrouter_usage.jobs.alert import check, forget

UTC = timezone.utc
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)  # a Sunday
DAILY = Rules(daily_limit=Decimal(10))
SOURCE = "the account, from OpenRouter"


def standing(now: datetime = NOON, **known: Any) -> Spending:
    """How things stand: what is given, everything else unknown."""
    nothing: dict[str, Any] = dict.fromkeys(("today", "week", "month", "balance", "runway_days"))
    amounts = {name: Decimal(value) if isinstance(value, str) else value for name, value in known.items()}
    return Spending(now, **{**nothing, "past_days": (), "source": SOURCE, **amounts})


def fired_by(due: Iterable[Alert], at: datetime = NOON) -> dict[str, datetime]:
    """What is remembered of alerts that were told."""
    return {mark: at for alert in due for mark in alert.marks}


# -- limits ----------------------------------------------------------------------------------------------------------

CROSSED = [
    ("10", "0", None),
    ("10", "4.99999999999999999999", None),
    ("10", "5", "50%"),
    ("10", "7.999", "50%"),
    ("10", "8", "80%"),
    ("10", "9.999999", "80%"),
    ("10", "10", "100%"),
    ("10", "1000", "100%"),
    ("0", "0", None),
    ("0", "0.000000000001", "100%"),
    ("0.000000000000000000000000001", "0.000000000000000000000000001", "100%"),
    ("1000000000", "999999999.999999999999999999", "80%"),
]


@pytest.mark.parametrize(("limit", "spent", "reached"), CROSSED)
@pytest.mark.parametrize("name", ["daily", "weekly", "monthly"])
def test_the_highest_threshold_that_is_reached_is_told(name: str, limit: str, spent: str, reached: str | None) -> None:
    window = {"daily": "today", "weekly": "week", "monthly": "month"}[name]
    verdict = judge(Rules(**{f"{name}_limit": Decimal(limit)}), standing(**{window: spent}), {})
    assert [f"({reached} reached" in alert.text for alert in verdict.due] == ([] if reached is None else [True])
    assert all(alert.is_critical is (reached == "100%") for alert in verdict.due)
    assert all(SOURCE in alert.text and f"of the {name} " in alert.text for alert in verdict.due)
    assert (verdict.unknown, verdict.rearmed) == ((), ())


def test_each_threshold_fires_once_while_spending_grows() -> None:
    fired: dict[str, datetime] = {}
    told = []
    for cents in range(0, 1201, 10):
        verdict = judge(DAILY, standing(today=Decimal(cents) / 100), fired)
        fired |= fired_by(verdict.due)
        told += [alert.text.partition("(")[2].partition("%")[0] for alert in verdict.due]
    assert told == ["50", "80", "100"]


@pytest.mark.parametrize(
    ("limit", "window", "before", "after", "fires"),
    [
        ("daily_limit", "today", "2026-11-22T23:59:59", "2026-11-23T00:00:00", True),
        ("weekly_limit", "week", "2026-11-22T23:59:59", "2026-11-23T00:00:00", True),
        ("weekly_limit", "week", "2026-11-21T23:59:59", "2026-11-22T00:00:00", False),
        ("monthly_limit", "month", "2026-11-30T23:59:59", "2026-12-01T00:00:00", True),
        ("monthly_limit", "month", "2026-11-29T23:59:59", "2026-11-30T00:00:00", False),
        ("monthly_limit", "month", "2026-12-31T23:59:59", "2027-01-01T00:00:00", True),
        ("daily_limit", "today", "2028-02-28T23:59:59", "2028-02-29T00:00:00", True),
        ("weekly_limit", "week", "2026-12-31T23:59:59", "2027-01-01T00:00:00", False),
    ],
)
def test_a_threshold_fires_again_in_the_next_window_and_not_before(
    limit: str, window: str, before: str, after: str, fires: bool
) -> None:
    rules = Rules(**{limit: Decimal(10)})
    moments = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (before, after)]
    first = judge(rules, standing(moments[0], **{window: "9"}), {})
    fired = fired_by(first.due, moments[0])
    assert judge(rules, standing(moments[0], **{window: "9"}), fired).due == ()
    assert bool(judge(rules, standing(moments[1], **{window: "9"}), fired).due) is fires


def test_a_clock_that_goes_back_over_midnight_tells_nothing_twice() -> None:
    fired: dict[str, datetime] = {}
    told = []
    for minutes in (-10, 10, -5, 5, -1, 1):
        now = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=minutes)
        verdict = judge(DAILY, standing(now, today="11"), fired)
        fired |= fired_by(verdict.due, now)
        told.append(len(verdict.due))
    assert told == [1, 1, 0, 0, 0, 0]


def test_another_limit_has_thresholds_of_its_own() -> None:
    fired = fired_by(judge(DAILY, standing(today="12"), {}).due)
    assert judge(DAILY, standing(today="12"), fired).due == ()
    raised = Rules(daily_limit=Decimal(20))
    (alert,) = judge(raised, standing(today="12"), fired).due
    assert "50% reached" in alert.text
    fired |= fired_by([alert])
    (alert,) = judge(raised, standing(today="16"), fired).due
    assert "80% reached" in alert.text
    assert judge(Rules(daily_limit=Decimal("10.00")), standing(today="12"), fired).due == ()


@given(st.decimals(0, 100, places=6), st.decimals("0.000001", 100, places=6))
def test_what_is_told_is_true_of_the_amounts(spent: Decimal, limit: Decimal) -> None:
    due = judge(Rules(daily_limit=limit), standing(today=spent), {}).due
    reached = [step for step in (100, 80, 50) if spent * 100 >= limit * step]
    assert [len(alert.marks) for alert in due] == ([len(reached)] if reached else [])


# -- states ----------------------------------------------------------------------------------------------------------

STATES = [
    ("balance_below", "balance", "5", "5", False),
    ("balance_below", "balance", "5", "4.999999", True),
    ("balance_below", "balance", "0", "-0.01", True),
    ("balance_below", "balance", "0", "0", False),
    ("runway_days", "runway_days", "3", "2.9", True),
    ("runway_days", "runway_days", "3", "3", False),
    ("runway_days", "runway_days", "3", "Infinity", False),
]


@pytest.mark.parametrize(("rule", "figure", "least", "value", "fires"), STATES)
def test_a_state_is_told_when_it_begins_and_again_after_it_has_ended(
    rule: str, figure: str, least: str, value: str, fires: bool
) -> None:
    rules = Rules(**{rule: Decimal(least)})
    due = judge(rules, standing(**{figure: value}), {}).due
    assert len(due) == fires
    fired = fired_by(due)
    later = NOON + timedelta(minutes=5)
    assert judge(rules, standing(later, **{figure: value}), fired).due == ()
    ended = judge(rules, standing(later, **{figure: "1000000"}), fired)
    assert (ended.due, set(ended.rearmed)) == ((), set(fired))
    assert len(judge(rules, standing(later, **{figure: value}), {}).due) == fires


def test_a_balance_that_is_gone_is_critical() -> None:
    rules = Rules(balance_below=Decimal(5))
    assert [judge(rules, standing(balance=text), {}).due[0].is_critical for text in ("4", "0", "-1")] == [
        False,
        True,
        True,
    ]


def test_a_state_that_is_not_known_has_not_ended() -> None:
    rules = Rules(balance_below=Decimal(5), runway_days=Decimal(3))
    fired = fired_by(judge(rules, standing(balance="1", runway_days="1"), {}).due)
    verdict = judge(rules, standing(NOON + timedelta(hours=1)), fired)
    assert (verdict.due, verdict.rearmed) == ((), ())
    assert verdict.unknown == ("the balance is not known", "how long the balance lasts is not known")


def test_figures_from_before_an_alert_do_not_end_it() -> None:
    rules = Rules(balance_below=Decimal(5))
    fired = fired_by(judge(rules, standing(balance="4"), {}).due)
    assert judge(rules, standing(NOON - timedelta(seconds=1), balance="6"), fired).rearmed == ()
    assert judge(rules, standing(NOON, balance="6"), fired).rearmed == ()
    assert judge(rules, standing(NOON + timedelta(seconds=1), balance="6"), fired).rearmed == ("balance:5",)


# -- spikes ----------------------------------------------------------------------------------------------------------

WEEK = tuple(map(Decimal, ("1", "2", "1", "3", "2", "9", "2")))  # a usual day is 2


@pytest.mark.parametrize(
    ("today", "past", "fires"),
    [
        ("6", WEEK, 0),
        ("6.000001", WEEK, 1),
        ("100", (Decimal(0),) * 7, 0),
        ("100", (Decimal(0),) * 3 + (Decimal(1),) * 4, 1),
        ("0", WEEK, 0),
    ],
)
def test_a_day_of_several_usual_days_is_told_once(today: str, past: tuple[Decimal, ...], fires: int) -> None:
    rules = Rules(spike=Decimal(3))
    due = judge(rules, standing(today=today, past_days=past), {}).due
    assert len(due) == fires
    assert judge(rules, standing(today="1000", past_days=past), fired_by(due)).due == () or not fires


def test_what_cannot_be_judged_is_named() -> None:
    rules = Rules(*map(Decimal, (1, 1, 1, 1, 1, 3)))
    verdict = judge(rules, standing(), {})
    assert (verdict.due, len(verdict.unknown)) == ((), 6)
    assert judge(Rules(), standing(), {}) == ((), (), (), ())


# -- telling, and remembering it -------------------------------------------------------------------------------------


def test_what_could_not_be_told_is_due_again_and_what_was_told_is_not(tmp_path: Path) -> None:
    rules = Rules(daily_limit=Decimal(10), weekly_limit=Decimal(10), monthly_limit=Decimal(10))
    now = standing(today="10", week="10", month="10")
    told: list[str] = []

    def tell(alert: Alert) -> None:
        if len(told) == 1:
            raise Unreachable("nobody there")
        told.append(alert.text)

    outcome = check(tmp_path, rules, now, tell)
    assert (len(outcome.told), len(outcome.undelivered)) == (1, 2)
    assert outcome.error and outcome.error.message == "nobody there"
    told.append("now it works")
    assert len(check(tmp_path, rules, now, tell).told) == 2
    assert check(tmp_path, rules, now, tell).told == ()
    assert len(told) == 4


def test_many_at_once_tell_one_crossing_once(tmp_path: Path) -> None:
    told: list[str] = []
    together = threading.Barrier(12)

    def tell(alert: Alert) -> None:
        time.sleep(0.1)  # so long that everybody else comes to the same decision
        told.append(alert.text)

    def run() -> None:
        together.wait()
        check(tmp_path, DAILY, standing(today="10"), tell)

    threads = [threading.Thread(target=run) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"fired": 7}',
        '{"fired": ["daily:2026-11-22:10:100"]}',
        '{"fired": {"daily:2026-11-22:9:100": 5}}',
    ],
)
def test_a_memory_that_is_damaged_tells_rather_twice_than_never(content: str, tmp_path: Path) -> None:
    (tmp_path / "alerts.json").write_text(content)
    for count in (1, 0):
        assert len(check(tmp_path, DAILY, standing(today="10"), lambda alert: None).told) == count


@pytest.mark.parametrize("name", ["alerts.json", "alerts.lock"])
def test_a_memory_that_cannot_be_used_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(SettingsError, match="cannot be kept"):
        check(tmp_path, DAILY, standing(today="10"), lambda alert: None)


def test_the_memory_keeps_the_newest_and_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    old = {f"daily:2020-01-01:{number}:100": NOON.isoformat() for number in range(5_000)}
    path.write_text(json.dumps({"fired": old}))
    assert len(check(tmp_path, DAILY, standing(today="10"), lambda alert: None).told) == 1
    assert len(json.loads(path.read_text())["fired"]) == 1_000
    assert check(tmp_path, DAILY, standing(today="10"), lambda alert: None).told == ()


# -- what was told, and where ----------------------------------------------------------------------------------------

HOLDING = [
    (Rules(daily_limit=Decimal(10)), {"today": "9"}, "$9.00 of the daily $10.00 is spent (still 80% reached; "),
    (Rules(weekly_limit=Decimal(10)), {"week": "9"}, "$9.00 of the weekly $10.00 is spent (still 80% reached; "),
    (Rules(monthly_limit=Decimal(10)), {"month": "12"}, "$12.00 of the monthly $10.00 is spent (still 100% reached; "),
    (Rules(balance_below=Decimal(5)), {"balance": "4.5"}, "the balance is $4.50, still below $5.00"),
    (Rules(runway_days=Decimal(3)), {"runway_days": "2.5"}, "the balance lasts about 2.5 days at "),
    (Rules(spike=Decimal(3)), {"today": "7", "past_days": WEEK}, "today's $7.00 is still more than 3 x the usual $2.00"),
]


@pytest.mark.parametrize(("rules", "known", "still"), HOLDING)
def test_what_was_told_and_still_holds_is_named_with_the_moment(
    rules: Rules, known: dict[str, Any], still: str, tmp_path: Path
) -> None:
    first = check(tmp_path, rules, standing(**known), lambda alert: None)
    assert (len(first.told), first.standing) == (1, ())
    (told,) = check(tmp_path, rules, standing(NOON + timedelta(minutes=5), **known), lambda alert: None).standing
    assert told.alert.still.startswith(still) and " still " in f" {told.alert.still.replace('(', ' ')}"
    assert (told.told_at, told.alert.text) == (NOON, first.told[0].text)


@pytest.mark.parametrize(("rules", "known", "still"), HOLDING)
def test_each_place_is_told_once_and_the_screen_sees_all(
    rules: Rules, known: dict[str, Any], still: str, tmp_path: Path
) -> None:
    places = ["screen", "webhook:a", "screen", "webhook:a", "webhook:b", "screen", "webhook:b"]
    told = [len(check(tmp_path, rules, standing(**known), lambda alert: None, place).told) for place in places]
    assert told == [1, 1, 0, 0, 1, 0, 0]
    forget(tmp_path)
    assert [len(check(tmp_path, rules, standing(**known), lambda a: None, place).told) for place in places[1:]] == [
        1, 0, 0, 1, 0, 0]  # fmt: skip


def test_a_state_that_ends_is_forgotten_wherever_it_was_told(tmp_path: Path) -> None:
    rules = Rules(balance_below=Decimal(5))
    moments = (NOON + timedelta(minutes=number) for number in range(100))
    told = [
        len(check(tmp_path, rules, standing(next(moments), balance=balance), lambda alert: None, place).told)
        for balance, place in [("4", "webhook:a"), ("4", "webhook:b"), ("6", "screen"), ("4", "webhook:b"),
                               ("4", "webhook:a"), ("4", "screen")]
    ]  # fmt: skip
    assert told == [1, 1, 0, 1, 1, 0]


def test_a_memory_of_the_first_version_counts_as_told_on_the_screen_only(tmp_path: Path) -> None:
    marks = {f"daily:2026-11-22:10:{step}": "2026-11-22T11:00:00+00:00" for step in (80, 50)}
    (tmp_path / "alerts.json").write_text(json.dumps({"fired": marks}))
    outcome = check(tmp_path, DAILY, standing(today="9"), lambda alert: None)
    assert (outcome.told, outcome.standing[0].told_at) == ((), NOON - timedelta(hours=1))
    assert len(check(tmp_path, DAILY, standing(today="9"), lambda alert: None, "webhook:a").told) == 1


@pytest.mark.parametrize(
    ("days", "least", "told"),
    [
        ("2.96", "3", "lasts just under 3 days at"),
        ("2.94", "3", "lasts about 2.9 days at"),
        ("0.99", "1", "lasts just under 1 day at"),
        ("0.2", "1", "lasts about 5 hours at"),
        ("0.04", "1", "lasts about 1 hour at"),
        ("0.02", "1", "lasts less than an hour at"),
        ("0", "1", "is used up at"),
        ("2.999999999999999999999999999999", "3", "lasts just under 3 days at"),
        ("3", "3", None),
        ("3.000000000000000000000000000001", "3", None),
    ],
)
def test_a_runway_is_judged_exactly_and_never_said_to_be_as_long_as_it_is_not(
    days: str, least: str, told: str | None
) -> None:
    due = judge(Rules(runway_days=Decimal(least)), standing(runway_days=days), {}).due
    assert [told in alert.text for alert in due if told] == ([] if told is None else [True])
    assert len(due) == (told is not None)
