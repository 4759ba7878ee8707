"""cost_tracker.py report of the account: the figures of stats.py to the last digit, and what is not known is named."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone
from decimal import Decimal

import pytest

from tests import booking
from tests.booking import Booked, Tracker, TrackerAt, call
from tests.pages import Element, by_heading, read_page, read_table, shares
from tests.running import Stats
from tests.sandbox import MANAGEMENT_KEY, Account, Fault, Sandbox
from tests.test_report_page import picked, told

COUNTED = {"Credits": "usage_usd", "BYOK": "byok_usd", "Calls": "requests"}
BY_MODEL = {**COUNTED, "Input tokens": "prompt_tokens", "Cached": "cached_tokens", "Output tokens": "completion_tokens"}
MANAGING = {"OPENROUTER_MGMT_KEY": MANAGEMENT_KEY}
LIMITED = {**MANAGING, "OPENROUTER_DAILY_LIMIT": "0.2"}
MODELS = ("openai/gpt-5.2", "anthropic/claude-sonnet-4.5", "deepseek/deepseek-v3.2")


@pytest.fixture
def spending(account: Account) -> Account:
    """Spend of 70 days, with quiet days, several providers and two keys, and some of it today."""
    hashes = [key.hash for key in account.keys]
    for back in range(70):
        for number, model in enumerate(MODELS):
            if (back + number) % 3 and back % 9:
                row = account.add_activity(
                    model, days_ago=back, usage=Decimal(f"0.{back:02}{number}7"), requests=back % 4 + 1,
                    prompt_tokens=900 + back, completion_tokens=40, cached_tokens=300, key_hash=hashes[number % 2],
                )  # fmt: skip
                row.at = datetime.combine(row.date, time(back * 7 % 24 if back else 0), timezone.utc)
                row.byok_usage_inference = Decimal("0.01") if number == 2 else Decimal(0)
    return account


def page_of(ran: Booked) -> Element:
    assert (ran.code, ran.err) == (0, ""), ran.err
    return read_page(ran.out)


def test_the_first_page_of_a_new_user_has_the_figures_of_stats(
    spending: Account, at: TrackerAt, stats: Stats, sandbox: Sandbox
) -> None:
    page = page_of(at(None, "report", "--html", "-", env=MANAGING))
    assert "no call is tracked yet, so this is what OpenRouter says of the account" in page.text
    words = ("--json", "--days", "30", "--top", "100")
    found = stats(*words, "--compare", "previous", mgmt=MANAGEMENT_KEY).data["breakdown"]
    *models, whole = read_table(page, "Credits by model")
    assert {row["Model"]: picked(row, BY_MODEL) for row in models} == {
        row["name"]: told(row, BY_MODEL) for row in found["rows"]
    }
    assert picked(whole, BY_MODEL) == told(found["total"], BY_MODEL)
    by_day = stats(*words, "--by", "day", mgmt=MANAGEMENT_KEY).data["breakdown"]["rows"]
    *days, last = read_table(page, "Credits per day")
    assert {row["Day"].partition(" ")[0]: picked(row, COUNTED) for row in days} == {
        row["name"]: told(row, COUNTED) for row in by_day
    }
    assert last["Credits"] == whole["Credits"] > 0
    changes = {row["name"]: row["difference_usd"] for row in found["compared"]["changes"] if row["difference_usd"]}
    assert shares(by_heading(page, "Against the period before")) == changes
    by_key = stats("--json", "--days", "30", "--by", "key", mgmt=MANAGEMENT_KEY).data["breakdown"]["rows"]
    assert shares(by_heading(page, "By key")) == {row["name"]: row["usage_usd"] for row in by_key}
    (table,) = [each for each in page.all("table") if each.attributes.get("class") == "hours"]
    cells = [cell for cell in table.all("td") if "data-usd" in cell.attributes]
    hours = {next(cell.all("i")).attributes["title"].partition(": ")[0]: Decimal(cell.attributes["data-usd"]) for cell in cells}
    expected = dict.fromkeys(hours, Decimal(0))
    for row in spending.rows():
        if (spending.today() - row.date).days < 30:
            expected[f"{row.at:%A %H}:00"] += row.usage
    assert len(hours) == 7 * 24 and hours == expected and booking.total(hours.values()) == whole["Credits"]
    balance = stats("--json", mgmt=MANAGEMENT_KEY).data["balance"]["left_usd"]
    assert plain_of(page, "Balance") == balance


def plain_of(page: Element, name: str) -> Decimal:
    (fact,) = [div for div in page.all("div") if [dt.text for dt in div.all("dt")] == [name] and not list(div.all("div"))]
    return next(Decimal(dd.attributes["data-usd"]) for dd in fact.all("dd"))


def test_account_and_ledger_together_count_each_day_once_as_stats_does(
    spending: Account, tracker: Tracker, at: TrackerAt, stats: Stats, sandbox: Sandbox
) -> None:
    today = spending.today()
    days = [today - timedelta(days=back) for back in (1, 2, 5)]
    tracker.write(*(call(f"{day}T10:30:00Z", cost="0.001", session="s", tags={"client": "laptop"}) for day in days))
    tracker.write(call(f"{today}T00:00:00Z", MODELS[1], cost="0.75", session="s"))
    # Nobody tells the running day but the ledger.
    sandbox.misbehave("POST /analytics/query", Fault.status(403))
    page = page_of(at(None, "report", "--html", "-", "--source", "all", "--days", "10", env=LIMITED))
    words = ("--json", "--source", "all", "--days", "10", "--top", "100")
    found = stats(*words, "--compare", "previous", mgmt=MANAGEMENT_KEY).data["breakdown"]
    *models, whole = read_table(page, "Credits by model")
    assert {row["Model"]: picked(row, BY_MODEL) for row in models} == {
        row["name"]: told(row, BY_MODEL) for row in found["rows"]
    }
    assert picked(whole, BY_MODEL) == told(found["total"], BY_MODEL)
    by_day = stats(*words, "--by", "day", mgmt=MANAGEMENT_KEY).data["breakdown"]["rows"]
    *rows, _ = read_table(page, "Credits per day")
    assert {row["Day"].partition(" ")[0]: picked(row, COUNTED) for row in rows} == {
        row["name"]: told(row, COUNTED) for row in by_day
    }
    assert rows[-1]["Credits"] == Decimal("0.75")
    for kind in ("session", "client"):
        groups = stats(*words, "--by", kind, mgmt=MANAGEMENT_KEY).data["breakdown"]["rows"]
        assert shares(by_heading(page, f"By {kind}")) == {row["name"]: row["usage_usd"] for row in groups}
    for said in ("account and ledger joined, each day counted once", "Of this: account ", "local ledger $0.75 (1)"):
        assert said in page.text, said
    assert [line for line in page.all("line") if line.attributes.get("class") == "cap"] == []
    alone = page_of(at(None, "report", "--html", "-", "--source", "all", env={"OPENROUTER_MGMT_KEY": None}))
    assert "tracked calls only" in alone.text and "the account is not part of this: " in alone.text


def test_with_an_ordinary_key_the_page_says_what_it_cannot_know_and_shows_no_zero(at: TrackerAt, account: Account) -> None:
    account.keys[0].usage_daily, account.keys[0].usage_weekly = Decimal("1.25"), Decimal("2.5")
    account.keys[0].limit = Decimal(20)
    page = page_of(at(None, "report", "--html", "-"))
    for words in ("$1.25", "$2.50", "$20.00", "OpenRouter tells it to management keys only", "Balanceunknown"):
        assert words in page.text, words
    assert "Credits spent" not in page.text and not list(page.all("table"))


def test_days_that_openrouter_does_not_tell_are_named_and_no_zeros(
    spending: Account, at: TrackerAt, sandbox: Sandbox
) -> None:
    sandbox.misbehave("POST /analytics/query", Fault.status(403))
    page = page_of(at(None, "report", "--html", "-", "--source", "account", "--days", "10", env=MANAGING))
    today = spending.today().isoformat()
    assert f"not complete: 1 day ({today}), in no sum" in page.text and f"{today} (not known)" in page.text
    *days, _ = read_table(page, "Credits per day")
    assert (days[-1]["Day"], days[-1]["Credits"]) == (f"{today} (not known)", "?")
    assert "days of this period are not known" in by_heading(page, "Against the period before").text
    assert "Spend by hour is not known" in page.text and "What each key spent is not known" in page.text


def test_a_period_before_that_nobody_knows_is_no_zero(spending: Account, at: TrackerAt) -> None:
    # OpenRouter tells of 365 days.
    page = page_of(at(None, "report", "--html", "-", "--source", "account", "--days", "365", env=MANAGING))
    assert "Nothing is compared: 364 of 365 days of the period before are not known." in page.text
    assert "Against the period before" not in page.text and "(new)" not in page.text


def test_without_openrouter_only_a_page_that_was_asked_for_fails(tracker: Tracker, at: TrackerAt) -> None:
    tracker.url = booking.NOWHERE
    refused = at(None, "report", "--html", "-", "--source", "account", env=MANAGING)
    assert (refused.code, refused.out) == (5, "")
    page = page_of(at(None, "report", "--html", "-", env=MANAGING))
    assert "the account is not shown in its place: " in page.text and "No calls in this period." in page.text


def test_the_ledger_comes_first_where_calls_are_tracked_and_zones_are_its_own(
    spending: Account, tracker: Tracker, at: TrackerAt
) -> None:
    tracker.write(call("2026-11-22T10:30:00Z"))
    assert "tracked calls only" in page_of(at(booking.NOON, "report", "--html", "-", env=MANAGING)).text
    refused = at(None, "report", "--html", "-", "--source", "account", "--tz", "Asia/Tokyo", env=MANAGING)
    assert refused.code == 2 and "per UTC day" in refused.error_line
    wrong = at(None, "report", "--html", "-", "--source", "account", "--session", "x", env=MANAGING)
    assert wrong.code == 2 and "have no session" in wrong.error_line
