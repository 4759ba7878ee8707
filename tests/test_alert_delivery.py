"""cost_tracker.py alert: what crosses a line is delivered exactly once, whoever checks, and never with a key in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.booking import Tracker, TrackerAt, call
from tests.controls import managing
from tests.gatewaying import HELLO, Running, wait_until, with_short_waits
from tests.running import contents
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Fault, Reply, Sandbox, Unreachable, Webhook

UTC = timezone.utc
ROUTING_KEY = "routing-key-canary-5d1e"
ONLY_KEY = {"OPENROUTER_MGMT_KEY": None}
NO_KEYS = {"OPENROUTER_API_KEY": None, "OPENROUTER_MGMT_KEY": None}


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    return managing(home, sandbox.url)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as running:
        yield running


def spend(account: Account, today: str, *, of_key: str = "0") -> None:
    """Let the account have spent so much today, and its key so much of that."""
    account.today_rows.clear()
    account.add_activity("openai/gpt-5.2", days_ago=0, usage=Decimal(today))
    key = account.keys[0]
    key.usage_daily = key.usage_weekly = key.usage_monthly = key.usage = Decimal(of_key)


def texts(webhook: Webhook) -> list[str]:
    """What was delivered to Slack."""
    assert all(set(message) == {"text"} for message in webhook.messages())
    return [message["text"] for message in webhook.messages()]


# -- remembering and checking ----------------------------------------------------------------------------------------


def test_what_is_given_is_remembered_and_checked_at_once_and_told_once(
    tracker: Tracker, account: Account, webhook: Webhook
) -> None:
    spend(account, "5.25")
    ran = tracker("alert", "--daily-limit", "10", "--webhook", webhook.slack_url)
    told = "$5.25 of the daily $10.00 is spent (50% reached; the account, from OpenRouter, UTC)"
    assert (ran.code, ran.out, ran.err) == (3, f"⚠ {told}\n", "")
    assert texts(webhook) == [f"OpenRouter: {told}"]
    quiet = tracker("alert", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    again = tracker("alert")
    assert (again.code, again.err) == (0, "")
    still = "$5.25 of the daily $10.00 is spent (still 50% reached; the account, from OpenRouter, UTC)"
    assert re.fullmatch(re.escape(f"• {still} (told ") + r"[\d-]{10}( \d\d:\d\d)? UTC\)\n", again.out)
    assert len(webhook.messages()) == 1
    spend(account, "10")
    ran = tracker("alert", "--quiet", "--json")
    assert ran.code == 3
    assert ran.data["told"][0]["critical"] is True and "100% reached" in ran.data["told"][0]["text"]
    assert len(webhook.messages()) == 2


def test_rules_add_up_and_are_shown_and_forgotten(at: TrackerAt, webhook: Webhook, sandbox: Sandbox) -> None:
    assert at(None, "alert", "--daily-limit", "10", "--list").out == "daily limit: 10\nalerts are only printed, not delivered\n"
    at(None, "alert", "--monthly-limit", "1e2", "--spike", "2.5x", "--webhook", webhook.slack_url, "--list")
    ran = at(None, "alert", "--daily-limit", "0.5", "--list", "--json")
    assert ran.data == {
        "daily_limit": "0.5",
        "monthly_limit": "100",
        "spike": "2.5",
        "delivers_to": "webhook: 127.0.0.1",
    }
    assert "not-a-secret" not in ran.out
    assert at(None, "alert", "--clear").out == "No alert is set.\n"
    ran = at(None, "alert", "--json")
    assert (ran.code, ran.json["error"]["code"], sandbox.connections) == (2, "usage", 0)


def test_rules_that_are_given_at_the_same_time_are_all_remembered(tracker: Tracker) -> None:
    rules = ["--daily-limit", "--weekly-limit", "--monthly-limit", "--balance-below", "--runway-days"]
    running = [tracker.start("alert", rule, "7", "--list") for rule in rules]
    running.append(tracker.start("budget", "set", "--daily", "3"))
    for process in running:
        process.communicate(timeout=60)
    kept = json.loads((tracker.folder / "settings.json").read_text())
    assert set(kept["alerts"]) == {rule[2:].replace("-", "_") for rule in rules}
    assert kept["budget"] == {"daily": "3"}


WRONG = """
--daily-limit -1
--daily-limit nan
--daily-limit 1e12
--daily-limit=
--spike 0.5x
--spike x
--runway-days -1
--balance-below -5
--yearly-limit 5
--clear --daily-limit 5
--webhook https://a.example --pagerduty
agent
"""


@pytest.mark.parametrize("argv", ["", *WRONG.strip().splitlines()])
def test_what_is_wrong_is_told_and_not_remembered(argv: str, at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "alert", *argv.split())
    assert (ran.code, ran.out, sandbox.connections) == (2, "", 0)
    assert ran.error_line
    assert not (at.tracker.folder / "settings.json").exists()


# -- whose spend -----------------------------------------------------------------------------------------------------


def test_spend_is_the_accounts_where_it_can_be_asked_else_the_keys(at: TrackerAt, account: Account) -> None:
    spend(account, "9", of_key="1")
    ran = at(None, "alert", "--daily-limit", "10", "--weekly-limit", "100")
    assert "$9.00 of the daily" in ran.out and "the account, from OpenRouter" in ran.out
    spend(account, "9", of_key="10")
    ran = at(None, "alert", env=ONLY_KEY)
    assert "$10.00 of the daily" in ran.out and "this key, from OpenRouter" in ran.out


@pytest.mark.parametrize("path", ["/analytics/query", "/key"])
def test_an_account_that_is_not_told_leaves_the_key(
    path: str, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    spend(account, "9", of_key="6")
    sandbox.misbehave(path, Fault.status(403), *([Fault.none()] * 9))
    ran = at(None, "alert", "--daily-limit", "10")
    assert ran.code == 3
    assert "$6.00 of the daily" in ran.out and "this key, from OpenRouter" in ran.out


@pytest.mark.parametrize("env", [{}, ONLY_KEY, NO_KEYS])
def test_where_openrouter_cannot_be_asked_the_ledger_is_and_says_so(env: dict[str, Any], at: TrackerAt) -> None:
    now = datetime.now(UTC)
    at.tracker.write(
        call(now.strftime("%Y-%m-%dT%H:%M:%SZ"), cost="8.5"), call(now.strftime("%Y-%m-%dT00:00:00Z"), cost=None)
    )
    with Unreachable() as nowhere:
        ran = at(None, "alert", "--daily-limit", "10", env={**env, "OPENROUTER_BASE_URL": nowhere.url})
    assert ran.code == 3
    assert "$8.50 of the daily $10.00 is spent (80% reached; tracked calls from the local ledger" in ran.out
    assert "1 call of unknown cost left out" in ran.out
    assert ("refused" in ran.err) is (env is not NO_KEYS)


def test_what_is_known_of_an_account_is_judged_though_a_part_is_missing(at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.account.total_usage = Decimal(99)
    sandbox.misbehave("/analytics/query", Fault.status(403))
    ran = at(None, "alert", "--daily-limit", "10", "--balance-below", "5", env={"OPENROUTER_API_KEY": None})
    assert (ran.code, ran.out) == (3, "⚠ the balance is $1.00, below $5.00\n")
    assert "not judged: the daily spend is not known" in ran.error_line


def test_that_openrouter_cannot_be_reached_is_never_all_well_even_when_the_ledger_says_so(at: TrackerAt) -> None:
    at.tracker.write(call(cost="0.01"))
    at(None, "alert", "--daily-limit", "10", "--list")
    with Unreachable() as nowhere:
        away = {"OPENROUTER_BASE_URL": nowhere.url}
        quiet = at(None, "alert", "--quiet", env=away)
        assert (quiet.code, quiet.out) == (5, "")
        assert "does not prove that all is well" in quiet.error_line and "refused" in quiet.error_line
        loud = at(None, "alert", env=away)
        assert (loud.code, loud.error_line) == (5, quiet.error_line)
        assert loud.out.startswith("• no alert") and "from the local ledger" in loud.out
        as_json = at(None, "alert", "--quiet", "--json", env=away)
        assert (as_json.code, as_json.data["told"], as_json.json["error"]["code"]) == (5, [], "unreachable")
        # Without a key nobody was to be asked: the ledger is all there is.
        alone = at(None, "alert", "--quiet", env={**away, **NO_KEYS})
        assert (alone.code, alone.out, alone.err) == (0, "", "")


def test_what_the_ledger_fires_is_told_though_openrouter_cannot_be_reached(at: TrackerAt) -> None:
    at.tracker.write(call(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), cost="8.5"))
    at(None, "alert", "--daily-limit", "10", "--list")
    with Unreachable() as nowhere:
        away = {"OPENROUTER_BASE_URL": nowhere.url}
        first = at(None, "alert", "--quiet", "--json", env=away)
        assert (first.code, len(first.data["told"]), first.json["error"]) == (3, 1, None)
        assert at(None, "alert", "--quiet", env=away).code == 5


def test_a_refusal_does_not_pass_and_is_not_kept_quiet_about(at: TrackerAt, sandbox: Sandbox) -> None:
    at.tracker.write(call(cost="0.01"))
    at(None, "alert", "--daily-limit", "10", "--list")
    sandbox.misbehave("*", Fault.status(401))
    ran = at(None, "alert", "--quiet")
    assert (ran.code, ran.out) == (4, "")
    assert "does not accept" in ran.err


def test_without_a_ledger_it_is_an_error_when_openrouter_cannot_be_asked(at: TrackerAt) -> None:
    at(None, "alert", "--daily-limit", "10", "--list")
    with Unreachable() as nowhere:
        ran = at(None, "alert", "--quiet", "--json", env={"OPENROUTER_BASE_URL": nowhere.url})
    assert (ran.code, ran.json["data"]) == (5, None)
    assert at(None, "alert", env=NO_KEYS).code == 2


def test_what_cannot_be_judged_is_never_kept_quiet_about(at: TrackerAt, account: Account) -> None:
    spend(account, "1", of_key="1")
    ran = at(None, "alert", "--balance-below", "5", "--quiet", env=ONLY_KEY)
    assert (ran.code, ran.out) == (5, "")
    assert "not judged: the balance is not known" in ran.error_line and "OPENROUTER_MGMT_KEY" in ran.error_line
    ran = at(None, "alert", "--daily-limit", "10", "--quiet", "--json", env=ONLY_KEY)
    assert (ran.code, ran.data["told"]) == (0, [])
    assert ran.json["notes"] == ["not judged: the balance is not known"]
    assert "not judged" in ran.err


def test_balance_runway_and_spike_are_the_accounts(at: TrackerAt, account: Account) -> None:
    account.total_credits, account.total_usage = Decimal(100), Decimal("97.5")
    for days in range(1, 8):
        account.add_activity("openai/gpt-5.2", days_ago=days, usage=Decimal(1))
    spend(account, "3.5")
    ran = at(None, "alert", "--balance-below", "5", "--runway-days", "3", "--spike", "3x")
    first, last = account.today() - timedelta(days=7), account.today() - timedelta(days=1)
    pace = f"the account's last 7 completed UTC days, {first} to {last}"
    assert ran.out.splitlines() == [
        "⚠ the balance is $2.50, below $5.00",
        f"⚠ the balance lasts about 2.5 days at $1.00 a day ({pace}), less than 3 days",
        "⚠ today's $3.50 is more than 3 x the usual $1.00 (the account, from OpenRouter, UTC)",
    ]
    account.total_credits = Decimal(1000)
    assert at(None, "alert", "--quiet").code == 0
    account.total_credits = Decimal(100)
    assert len(at(None, "alert", "--quiet").out.splitlines()) == 2


def test_an_account_that_spends_nothing_lasts(at: TrackerAt) -> None:
    ran = at(None, "alert", "--runway-days", "3")
    assert (ran.code, ran.err) == (0, "")


def test_days_without_a_tracked_call_are_usual_days_too(at: TrackerAt) -> None:
    now = datetime.now(UTC)
    yesterday = (now - timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
    at.tracker.write(call(yesterday, cost="1"), call(now.strftime("%Y-%m-%dT00:00:00Z"), cost="9"))
    ran = at(None, "alert", "--spike", "3x", "--daily-limit", "1000", env=NO_KEYS)
    # Of seven days six cost nothing, and nothing times three is nothing; so much is said.
    assert (ran.code, ran.out[:1]) == (0, "✔")
    assert ran.out.endswith("; today's $9.00 is not a spike, because the usual day cost nothing)\n")


# -- what is left, by whichever figure is known ------------------------------------------------------------------------


def limited(account: Account, left: str | None, **more: Any) -> None:
    """Let the ordinary key have a limit of $500, of which so much is left."""
    key = account.key(INFERENCE_KEY)
    key.limit, key.limit_remaining = Decimal(500), None if left is None else Decimal(left)
    key.overrides |= {"limit_remaining": key.limit_remaining, **more}


@pytest.mark.parametrize(
    ("left", "code", "told"),
    [
        ("454.54", 0, "✔ no alert (this key, from OpenRouter; judged: what this key's limit leaves, $454.54; the account's "
                      "balance is not known)\n"),
        ("4.99", 3, "⚠ what this key's limit leaves is $4.99, below $5.00\n"),
        ("-1", 3, "🚨 what this key's limit leaves is -$1.00, below $5.00\n"),
        (None, 5, ""),
    ],
)  # fmt: skip
def test_with_the_ordinary_key_alone_its_limit_is_judged_and_named(
    left: str | None, code: int, told: str, at: TrackerAt, account: Account
) -> None:
    limited(account, left)
    ran = at(None, "alert", "--balance-below", "5", env=ONLY_KEY)
    assert (ran.code, ran.out) == (code, told)
    assert ("not judged: the balance is not known" in ran.err) is (left is None)


def test_the_smallest_of_limit_and_budget_is_judged(at: TrackerAt, account: Account) -> None:
    budget = {"scope": "workspace_member", "limit_usd": 20, "remaining_usd": 1.5, "reset_interval": "monthly"}
    limited(account, "100", effective_budget=budget)
    ran = at(None, "alert", "--balance-below", "5", env=ONLY_KEY)
    assert (ran.code, ran.out) == (3, "⚠ what this key's budget leaves is $1.50, below $5.00\n")


def test_a_balance_that_is_known_is_judged_and_nothing_is_left_out(at: TrackerAt, account: Account) -> None:
    limited(account, "1")
    account.total_usage = Decimal(50)
    assert at(None, "alert", "--balance-below", "5").out == "✔ no alert (the account, from OpenRouter)\n"
    told = at(None, "alert", "--balance-below", "60", "--json").data
    assert [alert["text"] for alert in told["told"]] == ["the balance is $50.00, below $60.00"]


# -- told on the screen, and told to somebody --------------------------------------------------------------------------


def test_what_was_told_on_the_screen_is_delivered_once_there_is_a_webhook(
    tracker: Tracker, account: Account, webhook: Webhook
) -> None:
    account.total_usage = account.total_credits - 4
    assert tracker("alert", "--balance-below", "5").code == 3
    first = tracker("alert", "--balance-below", "5")
    assert (first.code, first.out[:47]) == (0, "• the balance is $4.00, still below $5.00 (told")
    assert tracker("alert", "--balance-below", "5", "--quiet").out == ""
    ran = tracker("alert", "--webhook", webhook.slack_url)
    assert (ran.code, ran.out, texts(webhook)) == (
        3,
        "⚠ the balance is $4.00, below $5.00\n",
        ["OpenRouter: the balance is $4.00, below $5.00"],
    )
    again = tracker("alert")
    assert (again.code, len(webhook.messages())) == (0, 1)
    assert "still below $5.00 (told " in again.out and "no alert" not in again.out
    told = tracker("alert", "--json").data
    assert told["told"] == [] and [each["critical"] for each in told["standing"]] == [False]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}Z", told["standing"][0]["told_at"])


def test_clearing_forgets_what_was_told(at: TrackerAt, account: Account, webhook: Webhook) -> None:
    spend(account, "9")
    account.total_usage = account.total_credits - 4
    rules = ("alert", "--balance-below", "5", "--daily-limit", "10", "--monthly-limit", "10", "--spike", "2x")
    for how in ((), ("--webhook", webhook.slack_url), ("--webhook", webhook.slack_url), ()):
        assert at(None, *rules, *how).code == 3
        assert at(None, "alert").code == 0
        assert at(None, "alert", "--clear").code == 0
        assert not (at.tracker.folder / "alerts.json").exists()
    assert len(webhook.messages()) == 6
    assert "not-a-secret" not in str(contents(at.tracker.home))


def test_another_webhook_is_told_what_the_first_one_was(at: TrackerAt, account: Account, webhook: Webhook) -> None:
    spend(account, "9")
    with Webhook() as other:
        codes = [
            at(None, "alert", "--daily-limit", "10", "--webhook", where.slack_url).code
            for where in (webhook, other, webhook, other)
        ]
        assert (codes, len(webhook.messages()), len(other.messages())) == ([3, 3, 0, 0], 1, 1)


def test_a_webhook_that_failed_is_told_though_the_screen_was_in_between(
    at: TrackerAt, account: Account, webhook: Webhook
) -> None:
    spend(account, "9")
    env = {"OPENROUTER_ALERT_WEBHOOK": webhook.slack_url}
    webhook.misbehave("*", Fault.status(404, "html"))
    assert at(None, "alert", "--daily-limit", "10", env=env).code == 5
    assert at(None, "alert", env={"OPENROUTER_ALERT_WEBHOOK": None}).code == 3
    webhook.behave()
    assert [at(None, "alert", env=env).code for _ in range(2)] == [3, 0]
    assert len(webhook.messages()) == 1


# -- delivering exactly once -----------------------------------------------------------------------------------------


def test_twelve_processes_at_once_deliver_one_crossing_once(
    tracker: Tracker, sandbox: Sandbox, account: Account, webhook: Webhook
) -> None:
    spend(account, "9")
    tracker("alert", "--daily-limit", "10", "--webhook", webhook.slack_url, "--list")
    # All of them are answered when the last of them has asked, and come to check while one delivers.
    sandbox.misbehave("/key", Fault("waits", before=lambda wire: sandbox.wait_for("/key", 12) and None))
    webhook.delay_s = 1.0
    running = [tracker.start("alert", "--quiet") for _ in range(12)]
    ended = [(process.communicate(timeout=100), process.returncode) for process in running]
    assert sorted(code for _, code in ended) == [0] * 11 + [3]
    assert len([out for (out, _), _ in ended if out]) == 1
    assert len(webhook.messages()) == 1


FAILURES = {
    "a 500": Fault.status(500, "html"),
    "a 404": Fault.status(404, "html"),
    "a 400": Fault.status(400, "html"),
    "a reset": Fault.reset(),
    "a redirect": Fault.redirect(307, "http://127.0.0.1:9/elsewhere"),
    "no HTTP": Fault.wire(b"nonsense\r\n\r\n"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_delivery_is_an_error_and_is_tried_again_the_next_time(
    failure: str, at: TrackerAt, account: Account, webhook: Webhook
) -> None:
    spend(account, "9")
    webhook.misbehave("*", FAILURES[failure])
    ran = at(None, "alert", "--daily-limit", "10", "--webhook", webhook.slack_url, "--json")
    assert (ran.code, ran.json["error"]["code"], ran.data["told"]) == (5, "not_delivered", [])
    assert "$9.00 of the daily" in ran.json["notes"][0]
    assert "the alert was not delivered: 127.0.0.1" in ran.error_line
    assert "not-a-secret" not in ran.out + ran.err
    tries = 3 if failure in ("a 500", "a reset", "no HTTP") else 1
    assert len(webhook.received()) == tries
    assert at(None, "alert", "--quiet").out.startswith("⚠ $9.00 of the daily")
    webhook.behave()
    refused = len(webhook.received())
    assert [at(None, "alert", "--quiet").code for _ in range(3)] == [3, 0, 0]
    assert [request.status for request in webhook.received()[refused:]] == [200]


def test_two_failures_are_made_up_for_by_the_third_try(at: TrackerAt, account: Account, webhook: Webhook) -> None:
    spend(account, "9")
    webhook.fail(2)
    assert at(None, "alert", "--daily-limit", "10", "--webhook", webhook.slack_url).code == 3
    assert (len(webhook.messages()), len(webhook.received())) == (1, 3)


def test_a_redirect_is_not_followed(at: TrackerAt, account: Account, webhook: Webhook) -> None:
    spend(account, "9")
    with Webhook() as other:
        for status in (301, 302, 303, 307, 308):
            webhook.misbehave("*", Fault.redirect(status, other.slack_url))
            assert at(None, "alert", "--daily-limit", "10", "--webhook", webhook.slack_url).code == 5
        assert other.connections == 0


def test_a_webhook_that_never_answers_is_given_up(
    at: TrackerAt, account: Account, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_usage.jobs.alert.TIMEOUT_S", 0.5)
    spend(account, "9")
    webhook.misbehave("*", Fault.hang())
    ran = at(None, "alert", "--daily-limit", "10", "--webhook", webhook.slack_url)
    assert ran.code == 5
    assert "was not delivered" in ran.error_line


def test_of_several_alerts_those_before_a_failure_are_not_told_again(
    at: TrackerAt, account: Account, webhook: Webhook
) -> None:
    spend(account, "9")
    webhook.misbehave("*", Fault.none(), *[Fault.status(404, "html")] * 9)
    ran = at(None, "alert", "--daily-limit", "10", "--weekly-limit", "9", "--webhook", webhook.slack_url)
    assert (ran.code, len(ran.out.splitlines())) == (5, 2)
    webhook.behave()
    assert at(None, "alert").out.count("⚠") + at(None, "alert").out.count("🚨") <= 1
    assert len(set(texts(webhook))) == len(texts(webhook)) == 2


# -- where it goes ---------------------------------------------------------------------------------------------------

UNSAFE = [
    "http://hooks.example.com/services/x",
    "ftp://127.0.0.1/x",
    "hooks.slack.com/services/x",
    "https://",
    "https://user:pw@hooks.example.com/x",
    "https://user@hooks.example.com",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https://hooks.example.com/a b",
    "https://ex\u00e4mple.com/",
    "http://127.0.0.1.example.com/x",
    "http://localhost@example.com/",
    "https://hooks.example.com\\@evil.example",
    "https://[::1",
    "//127.0.0.1/x",
    "",
]


@pytest.mark.parametrize("url", UNSAFE)
@pytest.mark.parametrize("where", ["given", "environment", "settings"])
def test_an_address_that_is_not_safe_is_used_from_nowhere(
    where: str, url: str, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    spend(account, "9")
    at(None, "alert", "--daily-limit", "10", "--list")
    kept = json.loads((at.tracker.folder / "settings.json").read_text())
    if where == "settings":
        kept["alerts"]["webhook"] = url
        (at.tracker.folder / "settings.json").write_text(json.dumps(kept))
    argv = ("--webhook", url) if where == "given" else ()
    ran = at(None, "alert", *argv, env={"OPENROUTER_ALERT_WEBHOOK": url} if where == "environment" else {})
    if not url and where != "given":
        assert ran.code == 3
        return
    assert (ran.code, ran.out, sandbox.connections) == (2, "", 0)
    assert "pw" not in ran.err
    assert json.loads((at.tracker.folder / "settings.json").read_text()) == kept


@pytest.mark.parametrize("secret", [INFERENCE_KEY, MANAGEMENT_KEY])
@pytest.mark.parametrize("form", ["?k={}", "/{}", "/%74{}"])
@pytest.mark.parametrize("where", ["given", "environment"])
def test_an_address_with_a_key_in_it_is_refused_and_not_kept(
    where: str, form: str, secret: str, tracker: Tracker, webhook: Webhook, sandbox: Sandbox, at: TrackerAt
) -> None:
    url = webhook.url + (form.format(secret[1:]) if "%74" in form else form.format(secret))
    if where == "given":
        ran = tracker("alert", "--daily-limit", "1", "--webhook", url, secrets=[secret])
    else:
        ran = at(None, "alert", "--daily-limit", "1", env={"OPENROUTER_ALERT_WEBHOOK": url})
    assert (ran.code, webhook.connections, sandbox.connections) == (2, 0, 0)
    assert "contains OPENROUTER_" in ran.error_line
    assert not any(secret.encode() in data for data in contents(tracker.home).values())


def test_of_two_webhooks_the_one_given_now_wins_then_the_environments(
    at: TrackerAt, account: Account, webhook: Webhook
) -> None:
    with Webhook() as other:
        env = {"OPENROUTER_ALERT_WEBHOOK": other.slack_url}
        spend(account, "5")
        assert at(None, "alert", "--daily-limit", "10", "--webhook", webhook.slack_url, env=env).code == 3
        assert (len(webhook.messages()), len(other.messages())) == (1, 0)
        spend(account, "8")
        assert at(None, "alert", env=env).code == 3
        assert (len(webhook.messages()), len(other.messages())) == (1, 1)
        spend(account, "10")
        assert at(None, "alert", env={"OPENROUTER_ALERT_WEBHOOK": None}).code == 3
        assert (len(webhook.messages()), len(other.messages())) == (2, 1)


def test_no_key_goes_with_an_alert(tracker: Tracker, account: Account, webhook: Webhook) -> None:
    hostile = '"}],"text":"delete all keys\x1b[2J'
    for key in account.keys:
        key.label = key.name = hostile
    spend(account, "9")
    assert tracker("alert", "--daily-limit", "10", "--webhook", webhook.slack_url).code == 3
    (request,) = webhook.received()
    whole = request.body.decode() + json.dumps(request.headers) + request.path
    assert INFERENCE_KEY not in whole and MANAGEMENT_KEY not in whole and "Authorization" not in request.headers
    assert set(request.json()) == {"text"} and "delete" not in whole
    assert request.headers["Content-Type"] == "application/json"


# -- PagerDuty -------------------------------------------------------------------------------------------------------


def test_pagerduty_gets_an_event_that_it_takes(tracker: Tracker, account: Account, webhook: Webhook) -> None:
    env = {"OPENROUTER_PAGERDUTY_KEY": ROUTING_KEY}
    for spent, severity, step in (("8", "warning", 80), ("10", "critical", 100)):
        spend(account, spent)
        ran = tracker("alert", "--daily-limit", "10", "--pagerduty", webhook.pagerduty_url, env=env)
        assert ran.code == 3, ran.err
        assert ROUTING_KEY not in ran.out + ran.err
        event = webhook.messages()[-1]
        assert (event["routing_key"], event["event_action"]) == (ROUTING_KEY, "trigger")
        assert event["dedup_key"] == f"openrouter-usage:daily:{account.today()}:10:{step}"
        assert (event["payload"]["severity"], event["payload"]["source"]) == (severity, "openrouter-usage")
        assert "of the daily $10.00" in event["payload"]["summary"]
    assert not any(ROUTING_KEY.encode() in data for data in contents(tracker.home).values())


def test_pagerduty_without_its_key_is_not_forgotten_silently(at: TrackerAt, account: Account, webhook: Webhook) -> None:
    spend(account, "9")
    ran = at(None, "alert", "--daily-limit", "10", "--pagerduty", webhook.pagerduty_url)
    assert (ran.code, webhook.connections) == (2, 0)
    assert "OPENROUTER_PAGERDUTY_KEY is not set" in ran.error_line
    # What was refused is not kept: every later check would fail.
    assert at(None, "alert", "--list").out == "No alert is set.\n"
    assert at(None, "alert", "--daily-limit", "10").code == 3
    keyed = {"OPENROUTER_PAGERDUTY_KEY": ROUTING_KEY}
    # What was on the screen only has not been told to PagerDuty.
    assert at(None, "alert", "--pagerduty", webhook.pagerduty_url, env=keyed).code == 3
    assert at(None, "alert", env=keyed).code == 0
    assert at(None, "alert", env={"OPENROUTER_PAGERDUTY_KEY": None}).code == 2
    assert at(None, "alert", "--list").out.splitlines()[-1] == "pagerduty: 127.0.0.1"


def test_an_event_that_pagerduty_turns_down_is_not_told(at: TrackerAt, account: Account, webhook: Webhook) -> None:
    spend(account, "9")
    webhook.misbehave("*", Fault.status(400, {"status": "invalid event"}))
    argv = ("alert", "--daily-limit", "10", "--pagerduty", webhook.pagerduty_url)
    ran = at(None, *argv, env={"OPENROUTER_PAGERDUTY_KEY": ROUTING_KEY})
    assert (ran.code, webhook.messages()) == (5, [])
    assert ROUTING_KEY not in ran.err


# -- settings.json ---------------------------------------------------------------------------------------------------

BROKEN: dict[str, str] = {
    "half-written": '{"alerts": {"daily_limit": "1',
    "a list": "[]",
    "a text": '"alerts"',
    "empty": "",
    "not UTF-8": "\udcff",
    "alerts a list": '{"alerts": ["daily_limit"]}',
    "alerts a text": '{"alerts": "daily"}',
    "a list for an amount": '{"alerts": {"daily_limit": [10]}}',
    "a word for an amount": '{"alerts": {"daily_limit": "ten"}}',
    "true for an amount": '{"alerts": {"daily_limit": true}}',
    "a negative amount": '{"alerts": {"daily_limit": "-1"}}',
    "NaN": '{"alerts": {"daily_limit": NaN}}',
    "an unknown rule": '{"alerts": {"hourly_limit": "1", "daily_limit": "1"}}',
    "a list for a webhook": '{"alerts": {"daily_limit": "1", "webhook": ["https://a.example"]}}',
}


@pytest.mark.parametrize("case", BROKEN)
def test_settings_that_are_not_understood_are_an_error_and_left_as_they_are(
    case: str, at: TrackerAt, sandbox: Sandbox
) -> None:
    at.tracker.folder.mkdir()
    path = at.tracker.folder / "settings.json"
    path.write_bytes(BROKEN[case].encode("utf-8", "surrogateescape"))
    for argv in (("--quiet",), ("--list",)):
        ran = at(None, "alert", *argv)
        assert (ran.code, ran.out, sandbox.connections) == (2, "", 0)
        assert ran.error_line
    if not case.startswith(("alerts", "a list for", "a word", "true", "a neg", "an unk")):
        assert at(None, "alert", "--daily-limit", "5").code == 2
        assert path.read_bytes() == BROKEN[case].encode("utf-8", "surrogateescape")
    else:
        assert at(None, "alert", "--clear").code == 0
        assert json.loads(path.read_text()) == {}


def test_settings_of_a_newer_version_are_kept(at: TrackerAt) -> None:
    at.tracker.folder.mkdir()
    path = at.tracker.folder / "settings.json"
    path.write_text('{"version": 99, "teams": {"a": [1.10]}, "routing": {"simple_qa": "a/b"}}')
    assert at(None, "alert", "--daily-limit", "5", "--list").code == 0
    kept = json.loads(path.read_text())
    assert (kept["version"], kept["teams"], kept["routing"]) == (99, {"a": [1.10]}, {"simple_qa": "a/b"})
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoil", ["a folder", "a pipe", "a locked folder"])
def test_settings_that_cannot_be_written_are_an_error(spoil: str, at: TrackerAt, sandbox: Sandbox) -> None:
    at.tracker.folder.mkdir()
    path = at.tracker.folder / "settings.json"
    if spoil == "a folder":
        path.mkdir()
    elif spoil == "a pipe":
        os.mkfifo(path)
    else:
        (at.tracker.folder / "settings.lock").mkdir()
    ran = at(None, "alert", "--daily-limit", "5")
    assert (ran.code, sandbox.connections) == (2, 0)
    assert ran.error_line


def test_a_home_that_is_none_is_an_error(at: TrackerAt) -> None:
    assert at(None, "alert", "--daily-limit", "5", env={"HOME": ""}).code == 2


def test_a_gateway_that_runs_sends_what_a_budget_has_to_say_once(home: Path, sandbox: Sandbox, webhook: Webhook) -> None:
    """A refusal and a cap that is reached, without cron; a check by hand finds nothing new."""
    tracker = Tracker(home, sandbox.url, {"TMPDIR": str(home)})
    tracker("budget", "set", "--daily", "0.10")
    tracker("alert", "--budgets", "--webhook", webhook.slack_url)
    gateway = Running(home, sandbox, env={"PYTHONPATH": str(with_short_waits(home))}).start()
    try:
        assert gateway.post(body={**HELLO, "max_tokens": 100_000}).status == 402
        wait_until(lambda: webhook.messages())
        sandbox.account.reply = Reply("Hi", cost=Decimal("0.09"))
        assert gateway.post().status == 200
        wait_until(lambda: len(webhook.messages()) > 1)
    finally:
        gateway.stop()
    refused, reached = texts(webhook)
    assert "refused 1 call" in refused and "$0.09" in reached and "80%" in reached, texts(webhook)
    assert tracker("alert").code == 0 and len(webhook.messages()) == 2
