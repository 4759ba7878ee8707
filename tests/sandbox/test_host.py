"""The server around the account: bodies, delays, crashes, and the program that serves the demo."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Fault, Received, Reply, Sandbox
from tests.sandbox.conftest import PRICE
from tests.sandbox_client import get, post

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("fault", [Fault.delay(0.01), Fault.delay(0.01, "billing"), Fault.none() & Fault.delay(0.01)])
def test_a_late_answer_is_whole(sandbox: Sandbox, fault: Fault) -> None:
    sandbox.misbehave("/chat/completions", fault)
    assert post(sandbox).json()["usage"]["cost"] == float(PRICE)


def test_every_answer_can_be_late() -> None:
    with Sandbox(delay_s=0.01) as sandbox:
        assert get(sandbox).status_code == 200


def test_a_body_may_come_in_chunks(sandbox: Sandbox) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"model": "openai/gpt-5.2", '
        yield b'"messages": [{"role": "user", "content": "x"}]}'

    headers = {"Authorization": f"Bearer {INFERENCE_KEY}"}
    requests.post(f"{sandbox.url}/chat/completions", data=body(), headers=headers, timeout=30)
    assert sandbox.wait_for("/chat/completions")[0].json()["model"] == "openai/gpt-5.2"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_object_is_refused(sandbox: Sandbox, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {INFERENCE_KEY}"}
    answer = requests.post(f"{sandbox.url}/chat/completions", data=body, headers=headers, timeout=30)
    assert answer.status_code == 400


HEADERS = [
    (None, "Missing Authentication header"),
    ("Bearer ", "No auth credentials found"),
    ("Basic abc", "No auth credentials found"),
]


@pytest.mark.parametrize(("header", "message"), HEADERS)
def test_a_key_has_to_come_as_a_bearer(sandbox: Sandbox, header: str | None, message: str) -> None:
    answer = requests.get(f"{sandbox.url}/key", headers={"Authorization": header}, timeout=30)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, message)


def test_a_hash_is_no_key(sandbox: Sandbox) -> None:
    assert get(sandbox, key=sandbox.account.keys[0].hash).status_code == 401


def test_a_failure_of_the_sandbox_itself_is_not_mistaken_for_a_fault() -> None:
    def broken(_: Received) -> Reply:
        raise RuntimeError("the test's own mistake")

    with pytest.raises(AssertionError, match="sandbox itself"), Sandbox(Account.simple(reply=broken)) as sandbox:
        with pytest.raises(requests.exceptions.ConnectionError):
            post(sandbox)
        sandbox.wait_until(lambda: bool(sandbox.crashes))


def test_waiting_for_what_never_comes_ends(sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutError):
        sandbox.wait_for("/key", timeout=0.01)


def test_the_truth_is_grouped_as_asked(sandbox: Sandbox) -> None:
    account = sandbox.account
    account.add_activity("openai/gpt-5.2", days_ago=7, usage=Decimal(1))
    account.add_activity("openai/gpt-5.2", days_ago=8, usage=Decimal(2))
    account.add_activity("openai/gpt-5.2", days_ago=0, usage=Decimal(4), provider_name="Azure")
    truth = account.truth
    assert truth.by_provider() == {"OpenAI": 1}
    assert truth.by_provider(include_today=True) == {"OpenAI": 1, "Azure": 4}
    assert {day.isoformat(): usage for day, usage in truth.by_day(30).items()} == {"2026-11-15": 1, "2026-11-14": 2}
    assert (truth.total(), truth.total(30, include_today=True)) == (1, 7)


def test_activity_of_one_key(sandbox: Sandbox) -> None:
    key = sandbox.account.keys[0].hash
    sandbox.account.add_activity("openai/gpt-5.2", usage=Decimal(1), key_hash=key)
    sandbox.account.add_activity("openai/gpt-5.2", usage=Decimal(2))
    rows = get(sandbox, f"/activity?api_key_hash={key}", MANAGEMENT_KEY).json()["data"]
    assert [row["usage"] for row in rows] == [1]
    assert get(sandbox, "/activity?api_key_hash=unknown", MANAGEMENT_KEY).status_code == 404
    assert get(sandbox, "/activity?date=yesterday", MANAGEMENT_KEY).status_code == 400
