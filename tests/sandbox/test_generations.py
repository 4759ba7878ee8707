"""Looking a call up afterwards, and the endpoints beside chat."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.sandbox import (
    INFERENCE_KEY,
    Reply,
    Sandbox,
)
from tests.sandbox.conftest import NOW, PRICE
from tests.sandbox_client import HELLO, get, post


def test_a_generation_appears_after_some_look_ups(sandbox: Sandbox) -> None:
    sandbox.account.generation_lag_requests = 2
    name = post(sandbox).headers["X-Generation-Id"]
    answers = [get(sandbox, f"/generation?id={name}") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [404, 404, 200]
    assert answers[0].json()["error"]["message"] == f"Generation {name} not found"


def test_a_generation_appears_after_some_time_or_never(sandbox: Sandbox) -> None:
    account = sandbox.account
    account.generation_lag_s = 5
    name = post(sandbox).json()["id"]
    assert get(sandbox, f"/generation?id={name}").status_code == 404
    account.now = lambda: NOW + timedelta(seconds=5)
    assert get(sandbox, f"/generation?id={name}").status_code == 200
    account.generation_lag_requests = "never"
    assert get(sandbox, f"/generation?id={name}").status_code == 404


def test_native_tokens_are_not_the_normalised_ones(sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply(prompt_tokens=93_500, cost=PRICE)
    name = post(sandbox).json()["id"]
    data = get(sandbox, f"/generation?id={name}").json()["data"]
    assert (data["native_tokens_prompt"], data["tokens_prompt"]) == (93_500, 57_035)


def test_calls_become_activity_when_their_day_is_over(sandbox: Sandbox) -> None:
    account = sandbox.account
    post(sandbox)
    management = account.keys[1].secret
    assert get(sandbox, "/activity", management).json()["data"] == []
    account.now = lambda: NOW + timedelta(days=1)
    (row,) = get(sandbox, "/activity", management).json()["data"]
    assert (row["date"], row["model"], row["usage"]) == ("2026-11-22 00:00:00", "openai/gpt-5.2", 0.001)


ENDPOINTS = [
    ("/responses", {"model": "openai/gpt-5.2", "input": "Hello?"}, "input_tokens", "upstream_inference_input_cost"),
    ("/messages", {**HELLO, "max_tokens": 100}, "input_tokens", "upstream_inference_prompt_cost"),
    ("/embeddings", {"model": "openai/text-embedding-3-small", "input": ["a", "b"]}, "prompt_tokens",
     "upstream_inference_prompt_cost"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "tokens", "part"), ENDPOINTS)
def test_each_endpoint_has_its_own_usage(
    sandbox: Sandbox, path: str, body: dict[str, Any], tokens: str, part: str
) -> None:
    answer = post(sandbox, path, body)
    usage = answer.json()["usage"]
    assert usage[tokens] > 0
    assert part in usage["cost_details"]
    assert usage["cost"] == 0.001
    assert answer.headers["X-Generation-Id"] in sandbox.account.generations
    assert sandbox.requests[0].headers["Authorization"] == f"Bearer {INFERENCE_KEY}"
