"""The library's two looks at a key: one is a dictionary whatever happens, the other OpenRouter's answer, exact."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import cost_tracker
import pytest
from cost_tracker import check_credits, get_key_balance

from openrouter_usage.errors import Denied, MissingKey, Unreachable
from tests.running import ROOT
from tests.sandbox import INFERENCE_KEY, MISSING, Account, Fault, Sandbox
from tests.sandbox import Unreachable as Nowhere

OTHER = "another-key-0001"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> Iterator[None]:
    monkeypatch.setenv("OPENROUTER_BASE_URL", sandbox.url)
    monkeypatch.setenv("OPENROUTER_API_KEY", INFERENCE_KEY)
    yield


BALANCES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"limit": None, "usage": 0, "limit_remaining": None, "is_free_tier": False}),
    (
        {"limit": Decimal(20), "usage": Decimal("0.000223344")},
        {
            "limit": 20,
            "usage": Decimal("0.000223344"),
            "limit_remaining": Decimal("19.999776656"),
            "is_free_tier": False,
        },
    ),
    (
        {"limit": Decimal(50), "limit_reset": "daily", "usage": Decimal(900), "usage_daily": Decimal("1.5")},
        {"limit": 50, "usage": 900, "limit_remaining": Decimal("48.5"), "is_free_tier": False},
    ),
    ({"is_free_tier": True}, {"limit": None, "usage": 0, "limit_remaining": None, "is_free_tier": True}),
    (
        {"overrides": {"limit": MISSING, "limit_remaining": MISSING}},
        {"limit": None, "usage": 0, "limit_remaining": None, "is_free_tier": False},
    ),
]


@pytest.mark.parametrize(("fields", "balance"), BALANCES)
def test_the_balance_of_a_key_is_openrouters_to_the_last_digit(
    fields: dict[str, Any], balance: dict[str, Any], account: Account
) -> None:
    key = account.add_key(OTHER, **fields)
    assert get_key_balance(OTHER) == {"label": key.label, **balance}
    assert all(not isinstance(value, float) for value in get_key_balance(OTHER).values())


def test_the_key_and_the_address_are_the_callers_or_else_the_environments(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_key_balance()["label"] == account.keys[0].label
    with Sandbox(Account.simple()) as other:
        other.account.keys[0].usage = Decimal(7)
        assert get_key_balance(base_url=other.url)["usage"] == 7
        assert get_key_balance(INFERENCE_KEY, other.url)["usage"] == 7
        monkeypatch.delenv("OPENROUTER_BASE_URL")
        assert get_key_balance(base_url=other.url + "/")["usage"] == 7


@pytest.mark.parametrize("key", ["", None])
def test_without_any_key_the_dictionary_says_what_to_set(
    key: str | None, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY")
    found = get_key_balance(key)
    assert set(found) == {"error", "message"}
    assert "OPENROUTER_API_KEY" in str(found["error"]) and "settings/keys" in str(found["message"])
    assert sandbox.connections == 0


ERRORS = {
    "an unknown key": {"api_key": "wrong-key-0000000000"},
    "no key at all": {"api_key": "a b"},
    "a number for a key": {"api_key": 7},
    "bytes for a key": {"api_key": b"wrong-key-0000000000"},
    "a list for a key": {"api_key": ["wrong-key-0000000000"]},
    "plain http": {"base_url": "http://example.com/api/v1"},
    "no address": {"base_url": "://"},
    "a number for an address": {"base_url": 7},
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_asked_is_an_error_in_the_dictionary(case: str) -> None:
    found = get_key_balance(**ERRORS[case])
    assert set(found) == {"error", "message"}
    assert found["error"] and found["message"]
    assert "wrong-key-0000000000" not in str(found)


NO_ANSWERS = [
    *map(Fault.status, (401, 403, 500)),
    *map(Fault.raw, (b"", b"null", b'{"data":{}}', b'{"error":{"message":"no"}}')),
    Fault.html(),
    Fault.reset(),
    Fault.truncate(9),
    Fault.redirect(302, "http://127.0.0.1:9/"),
]


@pytest.mark.parametrize("fault", NO_ANSWERS, ids=lambda fault: fault.name)
def test_an_answer_that_is_none_is_an_error_in_the_dictionary(fault: Fault, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", fault)
    found = get_key_balance()
    assert set(found) == {"error", "message"}
    assert found["error"] and found["message"]
    assert INFERENCE_KEY not in str(found)


def test_nobody_at_the_address_is_an_error_in_the_dictionary() -> None:
    with Nowhere() as nowhere:
        assert "refused" in str(get_key_balance(base_url=nowhere.url)["error"])


def test_a_missing_package_is_an_error_in_the_dictionary(sandbox: Sandbox, home: Path) -> None:
    program = (
        "import sys; sys.modules['requests'] = None; from cost_tracker import get_key_balance;"
        "print(sorted(get_key_balance('some-key-00000000', sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, sandbox.url],
        env={"HOME": str(home), "PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("['error', 'message']\n", "")


def test_check_credits_gives_what_openrouter_answers(account: Account) -> None:
    key = account.add_key(
        OTHER, limit=Decimal("0.3"), limit_reset="weekly", usage_weekly=Decimal("0.1"), usage=Decimal("1E-9")
    )
    data: Any = check_credits(OTHER)["data"]
    assert (data["label"], data["usage"], data["limit"], data["is_free_tier"]) == (
        key.label,
        key.usage,
        key.limit,
        False,
    )
    assert (data["limit_remaining"], data["limit_reset"]) == (Decimal("0.2"), "weekly")
    assert check_credits()["data"]["label"] == account.keys[0].label


def test_check_credits_raises_where_openrouter_says_nothing(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Denied, match="not accept api_key"):
        check_credits("wrong-key-0000000000")
    sandbox.misbehave("*", Fault.html())
    with pytest.raises(Unreachable):
        check_credits()
    monkeypatch.delenv("OPENROUTER_API_KEY")
    with pytest.raises(MissingKey):
        check_credits()


def test_both_are_found_where_the_program_is(sandbox: Sandbox) -> None:
    assert {"check_credits", "get_key_balance"} <= set(cost_tracker.__all__)
    assert sandbox.connections == 0
