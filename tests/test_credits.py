"""cost_tracker.py credits: what is used and left, to the last digit, and how long it lasts at a pace that is named."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.entry import Usage
from openrouter_usage.figures.forecast import account_pace, days_left, key_pace, lasting
from openrouter_usage.figures.summary import Pace
from openrouter_usage.openrouter.answers.account import ActivityRow
from openrouter_usage.openrouter.answers.key import KeyInfo, Spend
from tests.booking import Tracker, TrackerAt
from tests.controls import key_named, managing
from tests.running import Stats
from tests.sandbox import (
    DEMO_KEY,
    DEMO_MGMT_KEY,
    MANAGEMENT_KEY,
    Account,
    Fault,
    Reply,
    Sandbox,
    Unreachable,
    demo_account,
)

UTC = timezone.utc
SUNDAY = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    return managing(home, sandbox.url)


def lines_of(text: str) -> list[str]:
    return text.splitlines()


# -- the figures -----------------------------------------------------------------------------------------------------


def test_the_figures_are_openrouters_to_the_last_digit(tracker: Tracker, account: Account) -> None:
    key = key_named(account, "agent")
    key.limit, key.limit_reset = Decimal("20.000000000000000001"), "monthly"
    key.usage, key.usage_monthly = Decimal("31.000223344"), Decimal("0.000223344")
    key.limit_remaining = key.limit - key.usage_monthly
    account.total_credits, account.total_usage = Decimal("100.1"), Decimal("33.300000000000000003")
    ran = tracker("credits", "--json")
    assert ran.code == 0
    data = ran.data
    assert (data["used_usd"], data["limit_usd"], data["remaining_usd"]) == (key.usage, key.limit, key.limit_remaining)
    assert (data["is_unlimited"], data["is_free_tier"], data["partial"]) == (False, False, False)
    assert data["account_balance_usd"] == account.truth.balance() == Decimal("66.799999999999999997")
    assert (data["account_purchased_usd"], data["account_used_usd"]) == (account.total_credits, account.total_usage)


FOUR: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"limit": Decimal(20), "usage": Decimal("0.000223")},
        [
            "Credits Used: $0.000223 (this key, ever)",
            "Credits Remaining: $20.00 (this key's limit; the account's balance is not known)",
            "Credit Limit: $20.00 left of $20.00 (never resets)",
            "Free Tier: No",
        ],
    ),
    (
        {"is_free_tier": True},
        [
            "Credits Used: $0.00 (this key, ever)",
            "Credits Remaining: unlimited by the key (the account's balance is not known)",
            "Credit Limit: none",
            "Free Tier: Yes",
        ],
    ),
    (
        {"limit": Decimal(120), "limit_remaining": Decimal("-0.5"), "usage": Decimal("120.5")},
        [
            "Credits Used: $120.50 (this key, ever)",
            "Credits Remaining: -$0.50 (this key's limit; the account's balance is not known)",
            "Credit Limit: exhausted, $0.50 over: $0.00 left of $120.00 (never resets)",
            "Free Tier: No",
        ],
    ),
    (
        {"limit": Decimal(5), "overrides": {"limit_remaining": None, "usage": None}},
        [
            "Credits Used: unknown (this key, ever)",
            "Credits Remaining: unknown (the account's balance is not known; what this key's limit leaves is not known)",
            "Credit Limit: $5.00 (what is left is unknown; never resets)",
            "Free Tier: No",
        ],
    ),
]


@pytest.mark.parametrize(("fields", "block"), FOUR)
def test_the_four_figures_of_a_key_stand_together(
    fields: dict[str, Any], block: list[str], at: TrackerAt, account: Account
) -> None:
    account.add_key("another-key-0001", name="ci", **fields)
    ran = at(None, "credits", env={"OPENROUTER_API_KEY": "another-key-0001", "OPENROUTER_MGMT_KEY": None})
    lines = [line for line in lines_of(ran.out) if not line.startswith("The key limit ")]
    assert lines[1:5] == block


@pytest.mark.parametrize("reset", ["daily", "weekly", "monthly"])
def test_a_limit_that_starts_anew_says_when(reset: str, at: TrackerAt, account: Account) -> None:
    account.add_key("another-key-0001", name="ci", limit=Decimal(5), limit_reset=reset)
    ran = at(None, "credits", env={"OPENROUTER_API_KEY": "another-key-0001"})
    day = account.today()
    following = {
        "daily": day + timedelta(days=1),
        "weekly": day + timedelta(days=7 - day.weekday()),
        "monthly": (day.replace(day=1) + timedelta(days=32)).replace(day=1),
    }
    assert f"Credit Limit: $5.00 left of $5.00 ({reset}, resets {following[reset]} UTC)" in ran.out


# -- how long it lasts -----------------------------------------------------------------------------------------------


def test_the_balance_lasts_at_the_pace_of_the_last_seven_completed_days(home: Path) -> None:
    account = demo_account()
    keys = {"OPENROUTER_API_KEY": DEMO_KEY, "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY}
    with Sandbox(account) as sandbox:
        data = Tracker(home, sandbox.url, env=keys)("credits", "--json").data
    (outlook,) = [outlook for outlook in data["outlook"] if outlook["of"] == "balance"]
    per_day = account.truth.total(7) / 7
    assert outlook["left_usd"] == account.truth.balance()
    assert outlook["usd_per_day"] == per_day.quantize(Decimal("0.000001"), ROUND_HALF_UP)
    assert outlook["days_left"] == (account.truth.balance() / per_day).quantize(Decimal("0.000001"), ROUND_HALF_UP)
    first, last = account.today() - timedelta(days=7), account.today() - timedelta(days=1)
    assert outlook["pace"] == f"the account's last 7 completed UTC days, {first} to {last}"


def rows(*amounts: str, now: datetime = SUNDAY) -> tuple[ActivityRow, ...]:
    """Rows of the days before now, the latest first."""
    days = [now.date() - timedelta(days=number + 1) for number in range(len(amounts))]
    return tuple(
        ActivityRow(day, "a/b", "P", Usage(requests=1, cost=Decimal(amount)))
        for day, amount in zip(days, amounts, strict=True)
    )


PACES = [
    (("7",), "1"),
    (("1", "1", "1", "1", "1", "1", "1"), "1"),
    (("1", "1", "1", "1", "1", "1", "1", "1000"), "1"),
    ((), "0"),
    (("0.000001",), "0.000000143"),
    (("0.000003",), "0.000000429"),
    (("-3",), "-0.428571"),
    (("1E-27",), "1.43E-28"),
    (("0.0000069999999",), "0.000001"),
    (("0.1", "0.2"), "0.042857"),
]


@pytest.mark.parametrize(("amounts", "per_day"), PACES)
def test_the_accounts_pace_is_the_mean_of_seven_days_whatever_was_before(
    amounts: tuple[str, ...], per_day: str
) -> None:
    assert account_pace(rows(*amounts), SUNDAY).shown == Decimal(per_day)


@pytest.mark.parametrize(
    ("now", "weekly", "per_day"),
    [
        (datetime(2026, 11, 17, 0, tzinfo=UTC), "3", "3"),
        (datetime(2026, 11, 18, 0, tzinfo=UTC), "3", "1.5"),
        (datetime(2026, 11, 16, 23, 59, tzinfo=UTC), "3", None),
        (datetime(2026, 11, 22, 12, tzinfo=UTC), None, None),
        (datetime(2026, 11, 22, 12, tzinfo=UTC), "0", "0"),
    ],
)
def test_a_keys_pace_is_that_of_the_running_week_once_it_is_a_day_old(
    now: datetime, weekly: str | None, per_day: str | None
) -> None:
    nothing = Spend(None, None)
    week = Spend(None if weekly is None else Decimal(weekly), None)
    info = KeyInfo("k", False, False, nothing, nothing, week, nothing, None, None, None, None)
    pace = key_pace(info, now)
    assert (pace and pace.usd_per_day) == (None if per_day is None else Decimal(per_day))


@pytest.mark.parametrize(
    ("left", "per_day", "days"),
    [("10", "4", "2.5"), ("0", "4", "0"), ("-3", "4", "0"), ("1", "0", None), ("1", "-0.5", None), ("1", "1E-27", "1E27"), ("1000000000", "0.000001", "1E15")],
)
def test_what_is_left_lasts_for_so_many_days(left: str, per_day: str, days: str | None) -> None:
    assert days_left(Decimal(left), Pace(Decimal(per_day), "")) == (None if days is None else Decimal(days))


OUTLOOKS: list[tuple[dict[str, Any], str]] = [
    ({"limit": Decimal(1000), "limit_reset": "daily"}, "is not used up before it resets"),
    ({"limit": Decimal(1000)}, "The key limit lasts at least about 233.3 days at $4.29 a day (the account's last 7"),
]


@pytest.mark.parametrize(("fields", "told"), OUTLOOKS)
def test_a_limit_that_starts_anew_first_is_not_said_to_run_out(
    fields: dict[str, Any], told: str, at: TrackerAt, account: Account
) -> None:
    account.add_key("another-key-0001", name="ci", usage_weekly=Decimal(30), **fields)
    account.add_activity("openai/gpt-5.2", days_ago=2, usage=Decimal(30))
    ran = at(None, "credits", env={"OPENROUTER_API_KEY": "another-key-0001"})
    (line,) = [line for line in lines_of(ran.out) if line.startswith("The key limit")]
    assert told in line


def test_nothing_spent_is_not_called_for_ever(at: TrackerAt, account: Account) -> None:
    ran = at(None, "credits")
    assert "The balance lasts as long as nothing is spent: $0.00 a day (the account's last 7" in ran.out


def test_a_tiny_pace_is_not_taken_for_nothing(at: TrackerAt, account: Account) -> None:
    account.add_activity("openai/gpt-5.2", days_ago=2, usage=Decimal("0.000003"))
    account.total_credits, account.total_usage = Decimal("0.000009"), Decimal("0.000006")
    ran = at(None, "credits")
    assert "The balance lasts about 7.0 days at <$0.000001 a day (the account's last 7" in ran.out
    assert "as long as nothing is spent: $0.00 a day (the account" not in ran.out
    (outlook, *_) = at(None, "credits", "--json").data["outlook"]
    assert (outlook["days_left"], outlook["usd_per_day"]) == (7, Decimal("0.000000429"))


def test_more_given_back_than_spent_is_no_end_of_the_balance(at: TrackerAt, account: Account) -> None:
    account.add_activity("openai/gpt-5.2", days_ago=2, usage=Decimal(-3))
    ran = at(None, "credits")
    assert "The balance lasts: unknown (more was given back than spent): -$0.428571 a day (the account's" in ran.out
    assert at(None, "credits", "--json").data["outlook"][0]["days_left"] is None
    assert at(None, "alert", "--runway-days", "3").code == 0


def test_an_alert_knows_how_long_a_tiny_balance_lasts_at_a_tiny_pace(at: TrackerAt, account: Account) -> None:
    account.add_activity("openai/gpt-5.2", days_ago=1, usage=Decimal("0.0000028"))
    account.total_credits, account.total_usage = Decimal("0.0000005"), Decimal(0)
    ran = at(None, "alert", "--runway-days", "3")
    assert (ran.code, "the balance lasts about 1.3 days at <$0.000001 a day (the account's" in ran.out) == (3, True)


LASTING = [
    ("3.4", "about 3.4 days"),
    ("1", "about 1.0 days"),
    ("0.99", "about a day"),
    ("0.97", "about 23 hours"),
    ("0.2", "about 5 hours"),
    ("0.04", "about 1 hour"),
    ("0.0208", "less than an hour"),
    ("1E-9", "less than an hour"),
]


@pytest.mark.parametrize(("days", "told"), LASTING)
def test_less_than_a_day_is_told_in_hours_and_never_as_nothing(
    days: str, told: str, at: TrackerAt, account: Account
) -> None:
    account.add_activity("openai/gpt-5.2", days_ago=3, usage=Decimal(7000))
    account.total_credits, account.total_usage = Decimal(days) * 1000 + 7, Decimal(7)
    assert lasting(Decimal(days)) == told
    ran = at(None, "credits")
    assert f"The balance lasts {told} at $1,000.00 a day (the account's last 7" in ran.out
    (outlook,) = at(None, "credits", "--json").data["outlook"]
    assert outlook["days_left"] == Decimal(days).quantize(Decimal("1E-9" if days == "1E-9" else "0.000001"))


@pytest.mark.parametrize("left", ["0", "-3"])
def test_what_is_used_up_does_not_last(left: str, at: TrackerAt, account: Account) -> None:
    account.add_activity("openai/gpt-5.2", days_ago=3, usage=Decimal(70))
    account.total_credits, account.total_usage = Decimal(100), Decimal(100) - Decimal(left)
    assert "The balance is used up; the pace is $10.00 a day (the account's last 7" in at(None, "credits").out
    ran = at(None, "alert", "--runway-days", "1")
    assert (ran.code, ran.out[:42]) == (3, "⚠ the balance is used up at $10.00 a day (")


def paces(text: str) -> set[str]:
    """Every pace that is named."""
    return set(re.findall(r"\S+ a day \([^)]*\)", text))


def two_speeds(account: Account) -> None:
    """Let one key spend more in this week than the account did in its last seven days, and have a limit besides."""
    key = key_named(account, "agent")
    account.add_activity("openai/gpt-5.2", days_ago=6, usage=Decimal(28))
    key.usage_weekly = key.usage_monthly = Decimal(90)
    key.limit, key.limit_remaining = Decimal(500), Decimal("40")
    account.total_credits, account.total_usage = Decimal(600), Decimal("598.1")


def test_there_is_one_pace_wherever_it_is_named(at: TrackerAt, account: Account, stats: Stats) -> None:
    two_speeds(account)
    told = at(None, "credits").out
    (pace,) = paces(told)
    assert pace.startswith("$4.00 a day (the account's last 7 completed UTC days")
    assert "The balance lasts about 11 hours at" in told and "The key limit lasts at least about 10.0 days at" in told
    data = at(None, "credits", "--json").data
    found = [*data["outlook"], data["month_end"]]
    assert len(found) == 3 and {each["usd_per_day"] for each in found} == {4} and data["month_end"]["of"] == "account"
    explained = stats("--explain=full", mgmt=MANAGEMENT_KEY)
    assert paces(explained.out) == {pace}
    ran = at(None, "alert", "--runway-days", "1")
    assert (ran.code, paces(ran.out)) == (3, {pace})
    assert ran.out.startswith("⚠ the balance lasts about 11 hours at $4.00 a day (")


def test_without_a_management_key_the_one_pace_is_the_keys_own(at: TrackerAt, account: Account) -> None:
    two_speeds(account)
    key = key_named(account, "agent")
    key.limit_remaining = Decimal("0.5")
    alone = {"OPENROUTER_MGMT_KEY": None}
    data = at(None, "credits", "--json", env=alone).data
    is_monday = account.today().weekday() == 0
    assert [(each["of"], bool(each["usd_per_day"])) for each in data["outlook"]] == [("key limit", not is_monday)]
    ran = at(None, "alert", "--runway-days", "1", env=alone)
    if is_monday:
        assert ran.code == 5 and "how long the balance lasts is not known" in ran.err
        return
    assert data["month_end"]["of"] == "key" and data["month_end"]["pace"] == data["outlook"][0]["pace"]
    assert len(paces(at(None, "credits", env=alone).out)) == 1
    assert (ran.code, "⚠ this key's limit lasts" in ran.out) == (3, True)


def test_a_limit_that_resets_before_it_is_used_up_is_no_short_runway(at: TrackerAt, account: Account) -> None:
    key = key_named(account, "agent")
    key.usage_weekly = key.usage_monthly = Decimal(70)
    key.limit, key.limit_reset, key.limit_remaining = Decimal(500), "daily", Decimal(400)
    ran = at(None, "alert", "--runway-days", "30", env={"OPENROUTER_MGMT_KEY": None})
    assert ran.code == (5 if account.today().weekday() == 0 else 0)


def test_a_runway_is_compared_to_the_last_digit(at: TrackerAt, account: Account) -> None:
    """2.96 days are told as 3.0, and are less than 3 all the same."""
    account.add_activity("openai/gpt-5.2", days_ago=3, usage=Decimal(7))
    for left, fires in (("2.96", True), ("2.999999999999999999", True), ("3", False), ("3.000000000000000001", False)):
        account.total_credits, account.total_usage = Decimal(left), Decimal(0)
        at(None, "alert", "--clear")
        ran = at(None, "alert", "--runway-days", "3")
        assert (ran.code, "just under 3 days" in ran.out) == (3 if fires else 0, fires), left


# -- what stops the next call ----------------------------------------------------------------------------------------

LEFT: list[tuple[str, dict[str, Any], str | None, str, str]] = [
    ("598.1", {"limit": "500", "left": "454.54"}, None, "balance", "$1.90 (the account's balance)"),
    ("100", {"limit": "500", "left": "454.54"}, None, "key_limit", "$454.54 (this key's limit)"),
    ("100", {"limit": "500", "left": "454.54"}, "1.5", "budget", "$1.50 (this key's budget)"),
    ("100", {}, None, "balance", "$500.00 (the account's balance)"),
    ("100", {}, "1.5", "budget", "$1.50 (this key's budget)"),
    ("601", {"limit": "5", "left": "5"}, None, "balance", "-$1.00 (the account's balance)"),
]


@pytest.mark.parametrize(("used", "key", "budget", "bound_by", "told"), LEFT)
@pytest.mark.parametrize("verb", [("credits",), ("call", "--model", "openai/gpt-5.2", "--prompt", "Hi")])
def test_the_smallest_of_what_is_left_comes_first(
    verb: tuple[str, ...],
    used: str,
    key: dict[str, str],
    budget: str | None,
    bound_by: str,
    told: str,
    at: TrackerAt,
    account: Account,
) -> None:
    agent = key_named(account, "agent")
    account.reply = Reply(cost=Decimal(0))
    account.total_credits, account.total_usage = Decimal(600), Decimal(used)
    agent.limit = Decimal(key["limit"]) if key else None
    agent.limit_remaining = Decimal(key["left"]) if key else None
    if verb[0] == "call" and used == "601":
        return  # such a call is refused
    account.effective_budget = None
    if budget:
        agent.overrides["effective_budget"] = {
            "scope": "workspace_member", "limit_usd": 20, "remaining_usd": Decimal(budget), "reset_interval": "monthly",
        }  # fmt: skip
    ran = at(None, *verb)
    figures = [line for line in f"{ran.out}\n{ran.err}".splitlines() if " left" in line or "Remaining" in line]
    assert figures[0] == f"Credits Remaining: {told}"
    data = at(None, *verb, "--json").data
    left = data["left"] if verb[0] == "call" else data
    assert left["bound_by" if verb[0] == "call" else "spendable_bound_by"] == bound_by
    assert left["spendable_usd"] == max(Decimal(0), Decimal(told.partition(" ")[0].replace("$", "")))


def test_what_is_not_known_beside_the_limit_is_said(at: TrackerAt, account: Account) -> None:
    key = key_named(account, "agent")
    key.limit, key.limit_remaining = Decimal(500), Decimal("454.54")
    ran = at(None, "credits", env={"OPENROUTER_MGMT_KEY": None})
    assert "Credits Remaining: $454.54 (this key's limit; the account's balance is not known)" in ran.out
    assert at(None, "credits", "--json", env={"OPENROUTER_MGMT_KEY": None}).data["spendable_usd"] is None
    alone = at(None, "credits", env={"OPENROUTER_API_KEY": None})
    assert alone.out.splitlines()[2].startswith("Credits Remaining: $100.00 (the account's balance)")


# -- what is missing -------------------------------------------------------------------------------------------------


def test_without_a_management_key_the_balance_is_unknown_and_not_zero(at: TrackerAt, account: Account) -> None:
    for seen in ("forbidden", "zeros"):
        account.credits_for_inference_key = seen
        ran = at(None, "credits", "--json", env={"OPENROUTER_MGMT_KEY": None})
        assert (ran.code, ran.data["account_balance_usd"], ran.data["outlook"]) == (0, None, [])
        assert "OPENROUTER_MGMT_KEY" in " ".join(ran.json["notes"])


def test_a_management_key_alone_shows_the_account_and_no_key(at: TrackerAt, account: Account) -> None:
    account.total_usage = Decimal("12.5")
    ran = at(None, "credits", env={"OPENROUTER_API_KEY": None})
    assert "Account: $12.50 of $100.00 used, $87.50 left" in ran.out
    assert "Credit Limit" not in ran.out and "Free Tier" not in ran.out


@pytest.mark.parametrize(("path", "missing"), [("/credits", "credits"), ("/activity", "activity"), ("/key", "key")])
def test_a_part_that_fails_is_named_and_the_others_are_shown(
    path: str, missing: str, at: TrackerAt, sandbox: Sandbox
) -> None:
    sandbox.misbehave(path, Fault.html())
    ran = at(None, "credits", "--json")
    assert (ran.code, ran.data["partial"], [gap["part"] for gap in ran.data["missing"]]) == (0, True, [missing])
    assert "⚠" in at(None, "credits").out


def test_old_figures_are_shown_as_old_and_end_with_five(tracker: Tracker) -> None:
    assert tracker("credits").code == 0
    with Sandbox(Account.simple()) as gone:
        url = gone.url
        assert tracker("credits", env={"OPENROUTER_BASE_URL": url}).code == 0
    ran = tracker("credits", "--json", env={"OPENROUTER_BASE_URL": url})
    assert (ran.code, ran.data["account_balance_usd"]) == (5, 100)
    assert ran.json["error"]["code"] == "unreachable"
    assert "these figures are old" in ran.error_line


def test_nothing_old_and_nothing_new_is_an_error(at: TrackerAt) -> None:
    with Unreachable() as nowhere:
        ran = at(None, "credits", "--json", env={"OPENROUTER_BASE_URL": nowhere.url})
    assert (ran.code, ran.json["data"]) == (5, None)
    assert ran.error_line


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_key_that_is_refused_ends_with_four(status: int, at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.status(status))
    assert at(None, "credits").code == 4


def test_without_any_key_nothing_is_asked(at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "credits", env={"OPENROUTER_API_KEY": None, "OPENROUTER_MGMT_KEY": None})
    assert (ran.code, sandbox.connections) == (2, 0)
    assert "OPENROUTER_API_KEY" in ran.error_line
