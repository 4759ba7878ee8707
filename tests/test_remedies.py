"""A 402 or 403 is explained in one line: what was hit, when it resets, and what to do about it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from openrouter_usage.errors import Denied
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.openrouter.refusals import refusal, remedy
from tests.booking import Tracker, TrackerAt
from tests.sandbox import MANAGEMENT_KEY, Account, Budget, Fault, Sandbox
from tests.test_hostile_text import ORDER, TERMINAL, harmless

CALL = ("call", "--model", "openai/gpt-5.2", "--prompt", "Hello", "--max-tokens", "9")
DAY, MONDAY, MONTH = "midnight UTC", "on Monday at midnight UTC", "on the 1st at midnight UTC"
KEY_LIMIT = "Key limit exceeded ({} limit). Manage it using https://openrouter.ai/settings/keys"
LIMITED = ["`cost_tracker.py cap`", "`cost_tracker.py keys update`"]


@pytest.fixture
def at(home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> TrackerAt:
    return TrackerAt(Tracker(home, sandbox.url), monkeypatch, capsys)


def told(status: int, message: str = "", limit_source: str = "", reason: str = "", key_name: str = "") -> str:
    return remedy(status, message=message, limit_source=limit_source, reason=reason, key_name=key_name)


SOURCES = [
    ("openrouter_credits", ["https://openrouter.ai/settings/credits", ":free"]),
    ("openrouter_key_limit", [*LIMITED, "`stats.py` shows when it resets"]),
    ("openrouter_in_flight_budget", ["calls that are running", "try again in a moment"]),
    ("openrouter_unheard_of", ['calls the limit "openrouter_unheard_of"', "settings/credits"]),
    ("", ["settings/credits", "--max-tokens"]),
]


@pytest.mark.parametrize(("limit_source", "parts"), SOURCES)
def test_every_source_of_a_402_has_its_own_remedy(limit_source: str, parts: list[str]) -> None:
    line = told(402, "Payment required", limit_source)
    assert [part for part in parts if part not in line] == []


MESSAGES = [
    (403, KEY_LIMIT.format("daily"), [*LIMITED, DAY]),
    (403, KEY_LIMIT.format("weekly"), [*LIMITED, MONDAY]),
    (402, KEY_LIMIT.format("monthly"), [*LIMITED, MONTH]),
    (402, KEY_LIMIT.format("total"), [*LIMITED, "it never resets"]),
    (403, "Key limit reached", [*LIMITED, "`stats.py` shows when"]),
    (402, "Insufficient credits. Add more using https://openrouter.ai/settings/credits", ["settings/credits"]),
    (
        403,
        "Workspace monthly budget of $500.00 exceeded. Contact your administrator.",
        ["workspace's budget", "admin", MONTH],
    ),
    (403, "Workspace lifetime budget of $5.00 exceeded.", ["workspace's budget", "it never resets"]),
    (403, "Member daily budget of $5.00 exceeded. Contact your administrator.", ["guardrail's budget", DAY]),
    (403, "Request blocked by guardrail", ["guardrail forbids", "openrouter.ai"]),
    (403, "Your input was flagged", ["moderation", "change the text"]),
    (403, "This model is not available in your region", ["region", "choose another model"]),
    (403, "This model is not available in your country", ["region", "choose another model"]),
    (403, "Only management keys can perform this operation", ["set OPENROUTER_MGMT_KEY", "settings/management-keys"]),
    (403, "Management keys cannot be used for inference requests", ["cannot make calls", "settings/keys"]),
    (403, "Forbidden", ["settings/keys", "guardrail"]),
    (403, "", ["settings/keys", "guardrail"]),
]


@pytest.mark.parametrize(("status", "message", "parts"), MESSAGES)
def test_what_openrouter_says_has_a_remedy_with_the_reset_it_names(status: int, message: str, parts: list[str]) -> None:
    line = told(status, message)
    assert [part for part in parts if part not in line] == []
    assert "\n" not in line and len(line) < 250


def test_the_reset_is_told_also_where_the_source_names_the_limit() -> None:
    assert DAY in told(403, KEY_LIMIT.format("daily"), "openrouter_key_limit")


def test_a_call_that_is_too_large_is_told_apart_from_an_empty_purse() -> None:
    for source in ("openrouter_credits", "openrouter_key_limit"):
        assert "lower --max-tokens" in told(402, "requires more credits", source, "weight_exceeds_budget")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("OPENROUTER_MGMT_KEY", "OPENROUTER_MGMT_KEY holds an ordinary key"),
        ("OPENROUTER_API_KEY", "set OPENROUTER_MGMT_KEY"),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_in_the_wrong_place_is_named(status: int, name: str, part: str) -> None:
    body = json.dumps(
        {"error": {"message": "Only management keys can perform this operation", "code": status}}
    ).encode()
    error = refusal(status, body, "/keys", ApiKey("some-key-00000000", name, "the environment"))
    assert isinstance(error, Denied) and part in error.hint


@pytest.mark.parametrize("piece", ["workspace ", "daily budget ", "key limit ", "management ", "guardrail", "a"])
def test_a_message_of_a_megabyte_is_read_as_fast_as_a_short_one(piece: str) -> None:
    # A search that begins anew at every word would take hours; the suite's own timeout ends it.
    assert len(told(403, piece * (1_000_000 // len(piece)))) < 250


@pytest.mark.parametrize("name", TERMINAL)
def test_a_source_nobody_has_heard_of_is_quoted(name: str) -> None:
    harmless(told(402, "", TERMINAL[name]))
    assert ORDER in told(402, "", ORDER) and f'"{ORDER}' in told(402, "", ORDER)


# -- as the program tells it -----------------------------------------------------------------------------------------


def refused(at: TrackerAt) -> str:
    """The line of a call that is refused."""
    ran = at(None, *CALL)
    assert (ran.code, ran.out) == (4, "")
    return ran.error_line


def test_used_up_credits_are_told(at: TrackerAt, account: Account) -> None:
    account.total_usage = Decimal("100.01")
    assert "the account's credits are used up" in refused(at)


@pytest.mark.parametrize("status", [402, 403])
@pytest.mark.parametrize(("reset", "when"), [("daily", DAY), ("weekly", MONDAY), ("monthly", MONTH), (None, "never")])
def test_a_used_up_key_limit_is_told_with_its_reset(
    reset: str | None, when: str, status: int, at: TrackerAt, account: Account
) -> None:
    account.key_limit_status = status
    key = account.keys[0]
    key.limit, key.limit_remaining, key.limit_reset = Decimal(5), Decimal(0), reset
    line = refused(at)
    assert when in line and LIMITED[0] in line
    assert f"answered {status}" in line


@pytest.mark.parametrize(
    ("scope", "part"),
    [("workspace", "workspace's budget"), ("member", "guardrail's budget"), ("api_key", "guardrail's budget")],
)
def test_a_used_up_budget_is_told_with_who_can_raise_it(scope: str, part: str, at: TrackerAt, account: Account) -> None:
    account.budgets.append(Budget(scope, Decimal(5), Decimal(5), "monthly"))
    line = refused(at)
    assert part in line and "its admin can raise it" in line and MONTH in line


def test_money_held_back_for_running_calls_is_told(at: TrackerAt, account: Account, sandbox: Sandbox) -> None:
    account.in_flight_budget = Decimal(0)
    assert "calls that are running" in refused(at)
    assert (account.bill, sandbox.calls("/chat/completions")) == (0, 3)


def test_a_call_that_is_too_large_is_told(at: TrackerAt, account: Account) -> None:
    account.total_usage = Decimal("99.9999999")
    assert "this one call is too large" in refused(at)


def test_a_management_key_that_is_used_for_calls_is_told(at: TrackerAt) -> None:
    ran = at(None, *CALL, env={"OPENROUTER_API_KEY": MANAGEMENT_KEY})
    assert ran.code == 4
    assert "OPENROUTER_API_KEY is a management key, which cannot make calls" in ran.error_line


@pytest.mark.parametrize("status", [402, 403])
def test_a_servers_order_is_shown_as_the_servers_words(status: int, at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("/chat/completions", Fault.status(status, message=ORDER + "\n" + "x" * 5_000))
    line = refused(at)
    assert f'OpenRouter said "{ORDER}' in line and len(line) < 1_000
    harmless(line)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b'{"error":"no"}',
        b'{"error":{"message":7}}',
        b'{"error":{"metadata":[]}}',
        b'{"error":{"message":"x","metadata":{"limit_source":7,"reason":[]}}}',
    ],
)
@pytest.mark.parametrize("status", [402, 403])
def test_a_refusal_without_words_is_still_explained(status: int, body: bytes, at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("/chat/completions", Fault.status(status, body))
    assert " -- " in refused(at)
