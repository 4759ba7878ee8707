"""What the sandbox bills for a call, and what it refuses to bill."""

from __future__ import annotations

import contextlib
import threading
from decimal import Decimal

import pytest
import requests

from tests.sandbox import (
    Received,
    Reply,
    ReplyError,
    Sandbox,
)
from tests.sandbox.conftest import PRICE
from tests.sandbox_client import HELLO, post


def test_the_price_list_decides_what_a_call_costs(sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply(prompt_tokens=1_000, completion_tokens=200, cached_tokens=400)
    post(sandbox)
    expected = 600 * Decimal("0.00000175") + 400 * Decimal("0.000000175") + 200 * Decimal("0.000014")
    assert sandbox.account.bill == expected


PRICES = [
    ("perplexity/sonar", 10, 10, Decimal("0.005") + 20 * Decimal("0.000001")),
    ("anthropic/claude-sonnet-4.5", 200_000, 10, Decimal("0.6") + 10 * Decimal("0.000015")),
    ("anthropic/claude-sonnet-4.5", 200_001, 10, 200_001 * Decimal("0.000006") + 10 * Decimal("0.0000225")),
    ("deepseek/deepseek-v3.2", 100, 0, 100 * Decimal("0.00000028") * Decimal("0.75")),
    ("deepseek/deepseek-r1", 100, 0, 100 * Decimal("0.0000005")),
    ("meta-llama/llama-3.3-70b-instruct:free", 100, 100, Decimal(0)),
    ("openrouter/auto", 100, 0, 100 * Decimal("0.00000025")),
    ("~openai/gpt-latest", 100, 0, 100 * Decimal("0.00000175")),
    ("openai/gpt-5.2:floor", 100, 0, 100 * Decimal("0.00000175")),
]


@pytest.mark.parametrize(("model", "prompt", "completion", "cost"), PRICES)
def test_every_kind_of_price_is_charged(
    sandbox: Sandbox, model: str, prompt: int, completion: int, cost: Decimal
) -> None:
    sandbox.account.reply = Reply(prompt_tokens=prompt, completion_tokens=completion)
    assert post(sandbox, body={**HELLO, "model": model}).json()["usage"]["prompt_tokens"] == prompt
    assert sandbox.account.bill == cost


def test_a_flexible_tier_costs_half(sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply(prompt_tokens=100, completion_tokens=0)
    post(sandbox, body={**HELLO, "service_tier": "flex"})
    assert sandbox.account.bill == 50 * Decimal("0.00000175")


def test_max_tokens_bounds_the_answer(sandbox: Sandbox) -> None:
    sandbox.account.script(Reply(completion_tokens=500), Reply(completion_tokens=500, obeys_max_tokens=False), Reply())
    usages = [post(sandbox, body={**HELLO, "max_tokens": 2}).json() for _ in range(3)]
    assert [usage["usage"]["completion_tokens"] for usage in usages] == [2, 500, 2]
    assert [usage["choices"][0]["finish_reason"] for usage in usages] == ["length", "stop", "length"]


def test_a_reply_can_follow_from_the_request(sandbox: Sandbox) -> None:
    def echo(request: Received) -> Reply:
        return Reply(request.json()["messages"][0]["content"].upper())

    sandbox.account.reply = echo
    assert post(sandbox).json()["choices"][0]["message"]["content"] == "HELLO?"


def test_byok_bills_the_fee_and_names_the_upstream_cost(sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply(byok_upstream=Decimal("0.42"), cost=Decimal("0.021"))
    usage = post(sandbox).json()["usage"]
    assert (usage["cost"], usage["cost_details"]["upstream_inference_cost"], usage["is_byok"]) == (0.021, 0.42, True)
    key = sandbox.account.keys[0]
    assert (sandbox.account.bill, sandbox.account.byok_bill) == (Decimal("0.021"), Decimal("0.42"))
    assert (key.usage_daily, key.byok_usage_daily) == (Decimal("0.021"), Decimal("0.42"))


def test_without_byok_the_upstream_cost_is_the_same_money(sandbox: Sandbox) -> None:
    usage = post(sandbox).json()["usage"]
    details = usage["cost_details"]
    assert usage["cost"] == details["upstream_inference_cost"] == 0.001
    parts = details["upstream_inference_prompt_cost"] + details["upstream_inference_completions_cost"]
    assert parts == pytest.approx(0.001)


USAGES = {
    "missing": lambda body: "usage" not in body,
    "null": lambda body: body["usage"] is None,
    "no_cost": lambda body: "cost" not in body["usage"] and body["usage"]["total_tokens"],
    "null_cost": lambda body: body["usage"]["cost"] is None,
    "cost_string": lambda body: body["usage"]["cost"] == "0.001",
    "cost_true": lambda body: body["usage"]["cost"] is True,
}


@pytest.mark.parametrize("shape", USAGES)
def test_usage_comes_in_every_shape_and_is_billed_all_the_same(sandbox: Sandbox, shape: str) -> None:
    sandbox.account.reply = Reply(cost=PRICE, usage=shape)
    assert USAGES[shape](post(sandbox).json())
    assert sandbox.account.bill == PRICE


def test_a_hit_in_the_response_cache_is_free(sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply(cache_hit=True)
    answer = post(sandbox)
    assert answer.headers["X-OpenRouter-Cache-Status"] == "HIT"
    assert answer.json()["usage"]["total_tokens"] == answer.json()["usage"]["cost"] == sandbox.account.bill == 0


@pytest.mark.parametrize("place", ["choice", "body"])
def test_an_error_within_a_200_is_not_billed(sandbox: Sandbox, place: str) -> None:
    sandbox.account.reply = Reply(error=ReplyError(place=place))
    body = post(sandbox).json()
    assert (body if place == "body" else body["choices"][0])["error"]["code"] == 502
    assert sandbox.account.bill == 0


def test_sixteen_threads_are_billed_exactly(sandbox: Sandbox) -> None:
    threads = [threading.Thread(target=post, args=(sandbox,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    account = sandbox.account
    assert account.bill == account.bill_high_water == account.keys[0].usage == account.total_usage == 16 * PRICE
    assert not account.in_flight
    assert account.truth.spent_in("daily") == 16 * PRICE


def test_the_high_water_mark_counts_what_is_under_way(sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply(cost=PRICE, delay_s=30)

    def ask() -> None:
        with contextlib.suppress(requests.RequestException):
            post(sandbox)

    caller = threading.Thread(target=ask)
    caller.start()
    sandbox.wait_until(lambda: len(sandbox.account.in_flight) == 1)
    assert (sandbox.account.bill, sandbox.account.bill_high_water) == (0, PRICE)
    sandbox.stop()
    caller.join(30)


def test_free_models_have_a_daily_quota(sandbox: Sandbox) -> None:
    sandbox.account.free_requests_limit = 1
    body = {**HELLO, "model": "meta-llama/llama-3.3-70b-instruct:free"}
    first, second = post(sandbox, body=body), post(sandbox, body=body)
    assert (first.status_code, second.status_code) == (200, 429)
    assert second.headers["X-RateLimit-Reset"] == "1795392000000"
    assert second.json()["error"]["metadata"]["headers"]["X-RateLimit-Limit"] == "1"


def test_what_is_under_way_can_exhaust_a_small_balance(sandbox: Sandbox) -> None:
    sandbox.account.in_flight_budget = Decimal("0.0005")
    answer = post(sandbox)
    assert (answer.status_code, answer.headers["Retry-After"]) == (402, "1")
    assert answer.json()["error"]["metadata"]["limit_source"] == "openrouter_in_flight_budget"


def test_a_key_limit_can_answer_402_as_well(sandbox: Sandbox) -> None:
    key = sandbox.account.keys[0]
    key.limit, key.limit_remaining = Decimal(1), Decimal(0)
    sandbox.account.key_limit_status = 402
    answer = post(sandbox)
    assert answer.status_code == 402
    assert "Key limit exceeded (total limit)" in answer.json()["error"]["message"]


def test_a_management_key_cannot_call_a_model(sandbox: Sandbox) -> None:
    assert post(sandbox, key=sandbox.account.keys[1].secret).status_code == 403


def test_fallback_models_and_provider_wishes_are_honoured(sandbox: Sandbox) -> None:
    body = {**HELLO, "model": "no/such", "models": ["openai/gpt-5.2"], "provider": {"only": ["azure"]}}
    answer = post(sandbox, body=body).json()
    assert (answer["model"], answer["provider"]) == ("openai/gpt-5.2", "Azure")
    refused = post(sandbox, body={**HELLO, "provider": {"only": ["groq"]}})
    assert (refused.status_code, refused.json()["error"]["availability"]["code"]) == (404, "no_endpoints")
