"""cost_tracker.py cap: a key's own limit is set on OpenRouter, as it is asked for, and on no other key."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.booking import Tracker, TrackerAt
from tests.controls import HOSTILE, changes, key_named, managing, officially_listed, outcomes
from tests.sandbox import MANAGEMENT_KEY, Account, ApiKey, Fault, Sandbox


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    return managing(home, sandbox.url)


@pytest.fixture
def ci(account: Account) -> ApiKey:
    spent = {"usage": Decimal("40.5"), "usage_monthly": Decimal("30.25"), "usage_weekly": Decimal(20)}
    return account.add_key("another-key-0001", name="ci", limit=Decimal(50), limit_reset="monthly", **spent)


def test_before_and_after_are_what_openrouter_says(
    tracker: Tracker, account: Account, ci: ApiKey, sandbox: Sandbox
) -> None:
    ran = tracker("cap", "--weekly", "25", "--key", "ci", "--yes")
    assert ran.code == 0, ran.err
    before, after = ran.out.split("after:")
    assert "$30.25 of $50.00 spent this month" in before
    assert "$20.00 of $25.00 spent this week" in after
    assert (ci.limit, ci.limit_reset, ci.limit_remaining) == (25, "weekly", 5)
    theirs = officially_listed(sandbox)[ci.hash]
    assert (theirs.limit, theirs.limit_reset, theirs.limit_remaining) == (25, "weekly", 5)
    assert key_named(account, "agent").limit is None
    assert outcomes(tracker) == [("update", "asked"), ("update", "done")]


@pytest.mark.parametrize(
    ("window", "amount"), [("daily", "5"), ("weekly", "0.000001"), ("monthly", "1e3"), ("daily", "0")]
)
def test_the_key_that_makes_the_calls_is_capped_when_none_is_named(
    window: str, amount: str, at: TrackerAt, account: Account, ci: ApiKey, sandbox: Sandbox
) -> None:
    own = key_named(account, "agent")
    ran = at(None, "cap", f"--{window}", amount, "--yes", "--json")
    assert (ran.code, ran.data["dry_run"]) == (0, False)
    assert (own.limit, own.limit_reset) == (Decimal(amount), window)
    assert (ran.data["before"]["limit_usd"], ran.data["after"]["limit_usd"]) == (None, Decimal(amount))
    assert ran.data["after"]["hash"] == own.hash
    assert (ci.limit, changes(sandbox)) == (50, [f"PATCH /keys/{own.hash}"])


def test_a_capped_key_makes_no_calls_beyond_its_cap_and_is_told_how_to_raise_it(
    tracker: Tracker, account: Account
) -> None:
    assert tracker("cap", "--daily", "0", "--yes").code == 0
    ran = tracker("call", "--model", "openai/gpt-5.2", "--prompt", "Hello", "--max-tokens", "9")
    assert (ran.code, account.bill) == (4, 0)
    assert "`cost_tracker.py cap`" in ran.error_line and "resets at midnight UTC" in ran.error_line


@pytest.mark.parametrize("name", ["agent", None])
def test_without_confirmation_nothing_is_even_asked(name: str | None, at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "cap", "--daily", "5", *(("--key", name) if name else ()), "--json")
    assert (ran.code, ran.json["error"]["code"], sandbox.connections) == (2, "unconfirmed", 0)
    assert "$5.00 daily" in ran.error_line and "--yes" in ran.error_line


@pytest.mark.parametrize("yes", [(), ("--yes",)])
def test_a_dry_run_shows_before_and_request_and_sends_nothing(
    yes: tuple[str, ...], at: TrackerAt, ci: ApiKey, sandbox: Sandbox
) -> None:
    ran = at(None, "cap", "--daily", "5", "--key", "ci", "--dry-run", *yes, "--json")
    assert (ran.code, ran.data["dry_run"], ran.data["after"]) == (0, True, None)
    body = {"limit": 5, "limit_reset": "daily"}
    assert ran.data["request"] == {"method": "PATCH", "path": f"/keys/{ci.hash}", "body": body}
    assert ran.data["before"]["spent_in_window_usd"] == Decimal("30.25")
    assert "would set: daily limit of $5.00 (not sent)" in at(None, "cap", "--daily", "5", "--dry-run").out
    assert (changes(sandbox), ci.limit) == ([], 50)


@pytest.mark.parametrize("amount", ["-1", "nan", "inf", "1e12", "", "$5", "5 USD", "five"])
@pytest.mark.parametrize("window", ["daily", "weekly", "monthly"])
def test_a_cap_that_is_no_amount_is_refused(window: str, amount: str, at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "cap", f"--{window}={amount}", "--yes")
    assert (ran.code, sandbox.connections) == (2, 0)
    assert ran.error_line


@pytest.mark.parametrize(
    "words", ["", "--daily 5 --weekly 6", "--yearly 5", "--daily", "5", "--daily 5 agent", "--daily 5 --unlimited"]
)
def test_exactly_one_window_is_capped(words: str, at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "cap", *words.split(), "--yes", "--json")
    assert (ran.code, ran.json["error"]["code"], sandbox.connections) == (2, "usage", 0)


@pytest.mark.parametrize("name", [*HOSTILE.values(), "", "agen", "AGENT", "sk-or-" + "v1-" + "0a" * 32])
def test_only_an_exact_name_or_hash_is_capped(name: str, at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "cap", "--daily", "5", f"--key={name}", "--yes")
    assert (ran.code, ran.out, changes(sandbox)) == (2, "", [])
    assert "0a0a" not in ran.error_line


def test_of_two_keys_with_one_name_none_is_capped(
    at: TrackerAt, account: Account, ci: ApiKey, sandbox: Sandbox
) -> None:
    account.add_key("another-key-0002", name="ci")
    ran = at(None, "cap", "--daily", "5", "--key", "ci", "--yes", "--json")
    assert (ran.code, ran.json["error"]["code"], changes(sandbox)) == (2, "ambiguous", [])


def test_of_two_keys_that_look_alike_none_is_capped(at: TrackerAt, account: Account, sandbox: Sandbox) -> None:
    own = key_named(account, "agent")
    account.add_key("another-key-0002", name="twin", label=own.label)
    ran = at(None, "cap", "--daily", "5", "--yes", "--json")
    assert (ran.code, ran.json["error"]["code"], changes(sandbox)) == (2, "ambiguous", [])
    assert "--key" in ran.error_line


def test_a_key_of_another_account_is_not_capped(at: TrackerAt, account: Account, sandbox: Sandbox) -> None:
    key_named(account, "agent").made_by_oauth = True  # such keys are in no list
    ran = at(None, "cap", "--daily", "5", "--yes")
    assert (ran.code, changes(sandbox)) == (2, [])
    assert "0 keys of the account look like" in ran.error_line


def test_no_key_is_capped_by_its_looks_while_keys_cannot_be_read(
    at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    for number in range(100):
        account.add_key(f"another-key-{number:04d}", name=f"k{number}")
    sandbox.misbehave("GET /keys", Fault.none(), Fault.status(403))
    ran = at(None, "cap", "--daily", "5", "--yes")
    assert (ran.code, changes(sandbox)) == (2, [])
    assert "not all keys could be read" in ran.error_line


@pytest.mark.parametrize(
    ("key", "told"), [(None, "OPENROUTER_API_KEY is not set"), (MANAGEMENT_KEY, "holds a management key")]
)
def test_without_a_key_that_makes_calls_one_has_to_be_named(
    key: str | None, told: str, at: TrackerAt, ci: ApiKey, sandbox: Sandbox
) -> None:
    ran = at(None, "cap", "--daily", "5", "--yes", env={"OPENROUTER_API_KEY": key})
    assert (ran.code, changes(sandbox)) == (2, [])
    assert told in ran.error_line and "--key" in ran.error_line
    assert at(None, "cap", "--daily", "5", "--key", "ci", "--yes", env={"OPENROUTER_API_KEY": key}).code == 0
    assert ci.limit == 5


@pytest.mark.parametrize(("fault", "is_made"), [(Fault.reset("billing"), True), (Fault.status(500), False)])
def test_a_cap_whose_answer_is_lost_is_looked_at(
    fault: Fault, is_made: bool, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    sandbox.misbehave("PATCH /keys/*", fault)
    ran = at(None, "cap", "--daily", "5", "--yes")
    assert (ran.code, key_named(account, "agent").limit) == ((0, 5) if is_made else (5, None))
    assert ("after:" in ran.out) is is_made
    assert len(changes(sandbox)) == 1


def test_without_a_management_key_nobody_is_told_to_add_yes(at: TrackerAt, sandbox: Sandbox) -> None:
    for yes in ((), ("--yes",), ("--dry-run",)):
        ran = at(None, "cap", "--daily", "5", *yes, env={"OPENROUTER_MGMT_KEY": None})
        assert ran.code == 2 and "OPENROUTER_MGMT_KEY" in ran.error_line and "--yes" not in ran.err
    assert sandbox.connections == 0
