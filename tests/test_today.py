"""stats.py --today, --by key and workspace, --tz: who spent it, the running day included, to the last digit."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.booking import Tracker, call
from tests.running import Stats, StatsAt
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Fault, Sandbox, Workspace

UTC = timezone.utc
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
GPT, CLAUDE = "openai/gpt-5.2", "anthropic/claude-sonnet-4.5"
OTHER = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def account() -> Account:
    account = Account.simple(now=lambda: NOON)
    agent, bot = account.keys[0], account.add_key("test-other-key-canary-11aa", name="ci-bot")
    account.workspaces.append(Workspace(OTHER, "Side project"))
    spend(account, GPT, "0.5", NOON, key_hash=agent.hash)
    spend(account, GPT, "0.25", NOON - timedelta(hours=11), key_hash=bot.hash, workspace_id=OTHER)
    spend(account, CLAUDE, "1.000000000001", NOON - timedelta(hours=1), key_hash=agent.hash)
    spend(account, CLAUDE, "2", NOON - timedelta(hours=14), key_hash=agent.hash, byok_usage_inference=Decimal("0.125"))
    spend(account, GPT, "3", NOON - timedelta(days=3), key_hash=bot.hash, workspace_id=OTHER)
    agent.usage_daily = Decimal("1.500000000001")
    return account


def spend(account: Account, model: str, usage: str, at: datetime, **more: Any) -> None:
    account.add_activity(model, date=at.date(), usage=Decimal(usage), at=at - timedelta(seconds=1), **more)


@pytest.fixture
def sandbox(account: Account) -> Any:
    with Sandbox(account) as running:
        yield running


def rows(data: Any) -> dict[str, Decimal]:
    return {row["name"]: row["usage_usd"] for row in data["breakdown"]["rows"]}


def asked(stats_at: StatsAt, *words: str, mgmt: str | None = MANAGEMENT_KEY, key: str = INFERENCE_KEY) -> Any:
    ran = stats_at(NOON, *words, "--json", mgmt=mgmt, key=key)
    assert ran.code == 0
    return ran.data


def test_today_by_model_is_the_accounts_running_day(stats_at: StatsAt, account: Account) -> None:
    data = asked(stats_at, "--today")
    assert rows(data) == {CLAUDE: Decimal("1.000000000001"), GPT: Decimal("0.75")}
    assert data["breakdown"]["total"]["usage_usd"] == account.truth.spent_in("daily")
    assert (data["breakdown"]["source"], data["breakdown"]["start"]) == ("/analytics/query", "2026-11-22T00:00:00Z")


def test_activity_is_never_asked_for_today(stats_at: StatsAt, sandbox: Sandbox) -> None:
    asked(stats_at, "--today")
    assert [request.query for request in sandbox.received("/activity")] == [{}]


def test_models_of_today_have_the_names_of_other_days(stats_at: StatsAt, account: Account) -> None:
    account.add_activity("openai/gpt-4o-mini", days_ago=0, usage=Decimal("0.1"), model_permaslug="openai/gpt-4o-mini-2024")
    assert "openai/gpt-4o-mini-2024" in rows(asked(stats_at, "--today"))
    account.add_activity("openai/gpt-4o-mini", days_ago=9, usage=Decimal(1), model_permaslug="openai/gpt-4o-mini-2024")
    assert rows(asked(stats_at, "--today"))["openai/gpt-4o-mini"] == Decimal("0.1")


def test_by_key_names_who_spent_the_completed_days(stats_at: StatsAt) -> None:
    data = asked(stats_at, "--by", "key")
    assert rows(data) == {"ci-bot": Decimal(3), "agent": Decimal(2)}
    assert (data["breakdown"]["by"], data["breakdown"]["days"]) == ("key", 7)
    assert data["breakdown"]["end"] == "2026-11-22T00:00:00Z"


def test_by_key_of_today(stats_at: StatsAt) -> None:
    assert rows(asked(stats_at, "--by", "key", "--today")) == {"agent": Decimal("1.500000000001"), "ci-bot": Decimal("0.25")}


def test_by_workspace_names_workspaces(stats_at: StatsAt) -> None:
    found = rows(asked(stats_at, "--by", "workspace", "--days", "30"))
    assert found["Side project"] == Decimal("3.25")
    assert sum(found.values()) == Decimal("6.750000000001")


def test_by_provider_and_by_day_of_today_add_up(stats_at: StatsAt, account: Account) -> None:
    for by in ("provider", "day"):
        assert sum(rows(asked(stats_at, "--today", "--by", by)).values()) == account.truth.spent_in("daily")


def test_a_zones_own_day_stands_beside_openrouters(stats_at: StatsAt) -> None:
    ran = stats_at(NOON, "--tz", "Europe/Moscow", mgmt=MANAGEMENT_KEY)
    assert "Today, Europe/Moscow: $3.75 + $0.125 BYOK (since 2026-11-21 21:00 UTC; the account" in ran.out
    data = asked(stats_at, "--tz", "Asia/Kathmandu")
    assert (data["zone_today"]["usage_usd"], data["zone_today"]["start"]) == (
        Decimal("3.750000000001"), "2026-11-21T18:15:00Z")  # fmt: skip
    assert data["today"]["usage_usd"] == Decimal("1.500000000001")


def test_today_in_a_zone_breaks_the_zones_day_down(stats_at: StatsAt) -> None:
    assert rows(asked(stats_at, "--today", "--tz", "Europe/Moscow")) == {CLAUDE: Decimal("3.000000000001"), GPT: Decimal("0.75")}


@pytest.mark.parametrize("mgmt", [MANAGEMENT_KEY, None])
@pytest.mark.parametrize(("zone", "day"), [("Asia/Tokyo", 22), ("Asia/Kathmandu", 22), ("America/New_York", 1)])
def test_a_day_of_a_zone_is_one_day_however_many_utc_days_it_touches(
    zone: str, day: int, mgmt: str | None, stats_at: StatsAt, account: Account, home: Path
) -> None:
    now = datetime(2026, 11, day, 12, tzinfo=UTC)  # New York turned its clocks on the 1st: a day of 25 hours
    account.now = lambda: now
    Tracker(home).write(call(now.isoformat(), GPT, "0.5"))
    data = stats_at(now, "--today", "--tz", zone, "--json", mgmt=mgmt).data
    assert data["breakdown"]["days"] == 1


def test_a_short_day_of_a_zone_is_one_day(stats_at: StatsAt, account: Account, home: Path) -> None:
    now = datetime(2026, 3, 8, 20, tzinfo=UTC)
    account.now = lambda: now
    Tracker(home).write(call(now.isoformat(), GPT, "0.5"))
    data = stats_at(now, "--today", "--tz", "America/New_York", "--json").data
    assert (data["breakdown"]["source"], data["breakdown"]["days"]) == ("local ledger", 1)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "UTC\x1b[2J"])
def test_a_zone_that_is_not_known_is_refused(stats_at: StatsAt, zone: str) -> None:
    assert stats_at(NOON, f"--tz={zone}", mgmt=MANAGEMENT_KEY).code == 2


# -- without a management key ----------------------------------------------------------------------------------------


def test_without_one_the_ledger_tells_of_today_and_what_it_has_not_seen(stats_at: StatsAt, home: Path) -> None:
    Tracker(home).write(call("2026-11-22T08:00:00Z", GPT, "0.5"), call("2026-11-21T08:00:00Z", GPT, "7"))
    ran = stats_at(NOON, "--today")
    assert "Recent Models (today, UTC, from the local ledger):" in ran.out
    assert f"• {GPT}: $0.50 (1)" in ran.out
    assert "not attributed: $1.00 (spent by this key, not seen by the ledger)" in ran.out
    data = asked(stats_at, "--today", mgmt=None)
    assert (rows(data), data["breakdown"]["source"]) == ({GPT: Decimal("0.5")}, "local ledger")
    assert data["breakdown"]["unattributed_usd"] == Decimal("1.000000000001")


def test_without_one_a_zones_day_is_the_ledgers(stats_at: StatsAt, home: Path) -> None:
    Tracker(home).write(call("2026-11-21T21:30:00Z", GPT, "0.5"), call("2026-11-21T20:00:00Z", GPT, "7"))
    data = asked(stats_at, "--tz", "Europe/Moscow", mgmt=None)
    assert (data["zone_today"]["usage_usd"], data["zone_today"]["source"]) == (Decimal("0.5"), "local ledger")


def test_without_a_ledger_a_zones_day_is_unknown_and_not_nothing(stats_at: StatsAt) -> None:
    assert asked(stats_at, "--tz", "Europe/Moscow", mgmt=None)["zone_today"]["usage_usd"] is None


def test_calls_of_unknown_cost_are_no_part_of_a_zones_day_and_are_counted(stats_at: StatsAt, home: Path) -> None:
    books = Tracker(home)
    books.write(call("2026-11-22T08:00:00Z", GPT, None))
    told = "Today, Asia/Tokyo: unknown (since 2026-11-21 15:00 UTC; local ledger; 1 call of unknown cost not in it)"
    assert told in stats_at(NOON, "--tz", "Asia/Tokyo").out
    zone = asked(stats_at, "--tz", "Asia/Tokyo", mgmt=None)["zone_today"]
    assert (zone["usage_usd"], zone["byok_usd"], zone["unknown_cost_calls"]) == (None, None, 1)
    books.write(call("2026-11-22T09:00:00Z", GPT, "0.5"))
    zone = asked(stats_at, "--tz", "Asia/Tokyo", mgmt=None)["zone_today"]
    assert (zone["usage_usd"], zone["unknown_cost_calls"]) == (Decimal("0.5"), 1)
    as_csv = stats_at(NOON, "--tz", "Asia/Tokyo", "--format", "csv").out
    assert "local ledger; 1 call of unknown cost not in it" in as_csv


@pytest.mark.parametrize("by", ["key", "workspace"])
def test_without_one_nobody_can_tell_who_spent_it(stats_at: StatsAt, by: str) -> None:
    ran = stats_at(NOON, "--by", by)
    assert ran.code == 2
    assert "OPENROUTER_MGMT_KEY" in ran.error_line


def test_a_management_key_in_the_ordinary_place_may_ask_all_the_same(stats_at: StatsAt) -> None:
    assert "ci-bot" in rows(asked(stats_at, "--by", "key", mgmt=None, key=MANAGEMENT_KEY))


# -- what can fail ---------------------------------------------------------------------------------------------------


def test_where_the_analytics_api_fails_the_totals_stand_and_the_gap_is_named(stats_at: StatsAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("/analytics/query", Fault.status(404))
    ran = stats_at(NOON, "--by", "key", mgmt=MANAGEMENT_KEY)
    assert ran.code == 0
    assert "Today: $1.50*" in ran.out
    assert "Spend by key, workspace or today unavailable" in ran.out
    data = asked(stats_at, "--by", "key")
    assert (data["partial"], data["breakdown"]) == (True, None)
    assert [gap["part"] for gap in data["missing"]] == ["breakdown"]


def test_kept_figures_of_another_day_are_not_mixed_with_todays(
    stats_at: StatsAt, account: Account, sandbox: Sandbox, home: Path
) -> None:
    assert asked(stats_at, "--explain")["partial"] is False
    later = NOON + timedelta(days=2)
    account.now = lambda: later
    spend(account, GPT, "40", later - timedelta(minutes=5))
    Tracker(home).write(call("2026-11-24T11:00:00Z", GPT, "40"))
    for path in ("/key", "/credits", "/activity"):
        sandbox.misbehave(path, Fault.status(503))
    words = ("--today", "--tz", "Asia/Tokyo", "--explain")
    data = stats_at(later, *words, "--json", mgmt=MANAGEMENT_KEY).data
    assert {gap["part"]: gap["code"] for gap in data["missing"]} == {
        "breakdown": "other_day", "zone_today": "other_day", "account_today": "other_day"}  # fmt: skip
    assert (data["taken_at"], data["zone_today"]) == ("2026-11-22T12:00:00Z", None)
    ran = stats_at(later, *words, mgmt=MANAGEMENT_KEY)
    assert (ran.code, "$40" in ran.out, "2026-11-24" in ran.out) == (5, False, False)
    assert "left out, because the other figures are older, from 2026-11-22 12:00 UTC" in ran.out


def test_kept_figures_of_the_same_day_go_with_todays(stats_at: StatsAt, sandbox: Sandbox) -> None:
    asked(stats_at)
    for path in ("/key", "/credits", "/activity"):
        sandbox.misbehave(path, Fault.status(503))
    ran = stats_at(NOON + timedelta(minutes=5), "--today", "--json", mgmt=MANAGEMENT_KEY)
    assert (ran.code, rows(ran.data)) == (5, {CLAUDE: Decimal("1.000000000001"), GPT: Decimal("0.75")})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--today",), ["the breakdown"]),
        (("--by", "key"), ["the breakdown"]),
        (("--tz", "Asia/Tokyo"), ["the zone's day"]),
        (("--explain",), ["the account's spend of today"]),
        ((), []),
    ],
)
def test_an_answer_that_openrouter_had_kept_tells_its_age(
    words: tuple[str, ...], told: list[str], stats_at: StatsAt, account: Account
) -> None:
    account.analytics_cached_at = NOON - timedelta(hours=11)
    age = "is from 2026-11-22 01:00 UTC, 11 h before OpenRouter was asked"
    ran = stats_at(NOON, *words, mgmt=MANAGEMENT_KEY)
    assert [line for line in ran.out.splitlines() if "was asked" in line] == [f"ℹ {what} {age}" for what in told]
    account.analytics_cached_at = NOON - timedelta(seconds=60)
    assert "was asked" not in stats_at(NOON, *words, mgmt=MANAGEMENT_KEY).out


def test_a_list_that_was_cut_short_says_so(stats_at: StatsAt, sandbox: Sandbox) -> None:
    def cut(answer: Any) -> Any:
        answer["data"]["metadata"]["truncated"] = True

    sandbox.misbehave("/analytics/query", Fault.mutate(cut))
    assert "⚠ OpenRouter cut this list short" in stats_at(NOON, "--today", mgmt=MANAGEMENT_KEY).out
    assert asked(stats_at, "--today")["breakdown"]["truncated"]


@pytest.mark.parametrize("mgmt", [MANAGEMENT_KEY, None])
@pytest.mark.parametrize("words", [("--by", "key"), ("--today",), ("--tz", "Asia/Tokyo"), ("--explain",)])
def test_the_line_asks_nothing_that_it_does_not_show(
    words: tuple[str, ...], mgmt: str | None, stats_at: StatsAt, sandbox: Sandbox
) -> None:
    usual = stats_at(NOON, "--line", mgmt=mgmt)
    count = len(sandbox.received())
    ran = stats_at(NOON, "--line", *words, mgmt=mgmt)
    assert (ran.code, ran.out, len(sandbox.received())) == (0, usual.out, count)
    assert not sandbox.received("/analytics/query")


def test_the_usual_summary_loads_nothing_of_this(stats: Stats) -> None:
    ran = stats(mgmt=MANAGEMENT_KEY, python=(sys.executable, "-X", "importtime"))
    assert "openrouter_usage.cli.summary" in ran.err
    assert "openrouter_usage.jobs.breakdown" not in ran.err and "openrouter_usage.figures.explain" not in ran.err
