"""cost_tracker.py what-if: the calls of the ledger on another model, at that model's listed prices, exactly."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from tests import booking
from tests.booking import Tracker, TrackerAt, call
from tests.sandbox import Account, Model, Reply, Sandbox, Unreachable


def days_ago(days: int) -> str:
    """A moment of a past UTC day."""
    return (datetime.now(timezone.utc) - timedelta(days=days)).strftime("%Y-%m-%dT00:00:00Z")


MODELS = [
    "openai/gpt-5-mini",
    "openai/gpt-5-mini:floor",
    "anthropic/claude-opus-4.5",
    "perplexity/sonar",
    "deepseek/deepseek-v3.2",
    "meta-llama/llama-3.3-70b-instruct:free",
    "~openai/gpt-latest",
]


@pytest.mark.parametrize("model", MODELS)
def test_the_other_cost_is_what_openrouter_would_bill_to_the_last_digit(
    model: str, at: TrackerAt, account: Account
) -> None:
    tokens = [(1501, 503), (7, 1), (123_457, 0), (1, 99_991)]
    at.tracker.write(*(call(days_ago(n), prompt_tokens=p, completion_tokens=c) for n, (p, c) in enumerate(tokens)))
    data = at(None, "what-if", "--model", model, "--json").data
    listed = account.model(model)
    assert listed
    billed = [
        p * listed.price("prompt", p) + c * listed.price("completion", p) + listed.price("request") for p, c in tokens
    ]
    assert (data["calls"], data["cost_usd"]) == (4, Decimal("0.01"))
    assert data["would_cost_usd"] == sum(billed)
    assert data["saved_usd"] == Decimal("0.01") - sum(billed)


def test_real_calls_repriced_on_their_own_model_cost_what_was_billed(tracker: Tracker, account: Account) -> None:
    account.reply = Reply(prompt_tokens=1234, completion_tokens=321)
    for _ in range(2):
        tracker("call", "--model", "openai/gpt-5.2", "--prompt", "Hello", "--max-tokens", "400")
    data = tracker("what-if", "--model", "openai/gpt-5.2", "--json").data
    assert account.bill > 0
    assert data["cost_usd"] == data["would_cost_usd"] == account.bill
    assert data["saved_usd"] == 0


@pytest.mark.parametrize(("days", "calls"), [("1", 1), ("2", 2), ("30", 3), ("3660", 4)])
def test_the_last_days_are_those_that_were_asked_for(days: str, calls: int, at: TrackerAt) -> None:
    at.tracker.write(*(call(days_ago(number)) for number in (0, 1, 29, 30)))
    ran = at(None, "what-if", "--model", "openai/gpt-5-mini", "--days", days, "--json")
    assert ran.data["calls"] == calls
    assert ran.data["end"] > days_ago(0)


def test_saving_and_losing_are_told_apart_and_the_prices_tell_their_age(at: TrackerAt) -> None:
    at.tracker.write(call(days_ago(0), prompt_tokens=1_000_000, completion_tokens=0, cost="1"))
    cheaper = at(None, "what-if", "--model", "openai/gpt-5-mini").out.splitlines()
    assert cheaper[1] == "billed $1.00; on openai/gpt-5-mini $0.25, $0.75 less"
    dearer = at(None, "what-if", "--model", "anthropic/claude-opus-4.5").out.splitlines()
    assert dearer[1] == "billed $1.00; on anthropic/claude-opus-4.5 $5.00, $4.00 more"
    assert dearer[-1].startswith("Prices as OpenRouter listed them ")


def test_calls_of_unknown_cost_are_named(at: TrackerAt) -> None:
    at.tracker.write(call(days_ago(0)), call(days_ago(0), cost=None))
    told = "left out on both sides: 1 call of unknown cost; see: settle"
    assert f"⚠ {told}" in at(None, "what-if", "--model", "openai/gpt-5-mini").out
    answer = at(None, "what-if", "--model", "openai/gpt-5-mini", "--json").json
    assert told in answer["notes"]
    assert (answer["data"]["calls"], answer["data"]["unknown_cost_calls"]) == (1, 1)


def test_the_same_calls_are_on_both_sides(at: TrackerAt, account: Account) -> None:
    tokens = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    at.tracker.write(
        call(days_ago(0), cost="1", **tokens),
        call(days_ago(0), cost="0.05", byok_cost=3, id="gen-byok", **tokens),
        call(days_ago(0), cost=None, **tokens),
        call(days_ago(0), cost="0.5", cost_source="estimated", **tokens),
    )
    answer = at(None, "what-if", "--model", "openai/gpt-5-mini", "--json").json
    data = answer["data"]
    assert (data["calls"], data["cost_usd"], data["would_cost_usd"]) == (2, Decimal("1.5"), Decimal("0.5"))
    assert (data["byok_calls"], data["byok_usd"], data["estimated_cost_calls"]) == (1, 3, 1)
    assert any("1 BYOK call, for which $3.00 went to providers" in note for note in answer["notes"])


def test_cached_tokens_cost_what_is_listed_for_them(at: TrackerAt, account: Account) -> None:
    listed = Model("odd/cached", "Cached", "0.000002", "0.00001",
                   more={"input_cache_read": "0.0000002", "input_cache_write": "0.0000025"})  # fmt: skip
    account.models += [listed, Model("odd/uncached", "Uncached", "0.000002", "0.00001")]
    at.tracker.write(call(days_ago(0), cost="1", prompt_tokens=1_000_000, completion_tokens=0, cached_tokens=900_000))
    data = at(None, "what-if", "--model", "odd/cached", "--json").data
    assert (data["would_cost_usd"], data["cached_tokens"]) == (Decimal("0.38"), 900_000)
    at.tracker.write(call(days_ago(0), cost="1", prompt_tokens=100, completion_tokens=0, cache_write_tokens=100))
    assert at(None, "what-if", "--model", "odd/cached", "--json").data["would_cost_usd"] == Decimal("0.38025")
    # more cached tokens than tokens are no reason for a negative price
    ran = at(None, "what-if", "--model", "odd/uncached")
    assert "on odd/uncached $2.00," in ran.out
    assert "odd/uncached lists no price for tokens read from a cache, so 900,000 are counted at the usual price" in ran.out


@pytest.mark.parametrize(
    "name", ["openrouter/openai/gpt-5-mini", "openai/gpt-5-mini-20251101", "openrouter/openai/gpt-5-mini-20251101:floor"]
)
def test_a_model_has_its_price_by_any_of_its_names(name: str, at: TrackerAt) -> None:
    at.tracker.write(call(days_ago(0), prompt_tokens=1_000_000, completion_tokens=0))
    account_slug = at(None, "what-if", "--model", name, "--json")
    assert account_slug.data["priced_as"] == "openai/gpt-5-mini"
    assert account_slug.data["would_cost_usd"] == Decimal("0.25")


def test_a_misspelt_model_is_told_what_may_be_meant(at: TrackerAt) -> None:
    ran = at(None, "what-if", "--model", "openai/gpt-5-mimi")
    assert ran.code == 2
    assert "OpenRouter lists no such model: openai/gpt-5-mimi" in ran.err and "did you mean openai/gpt-5-mini" in ran.err


@pytest.mark.parametrize("model", ["openrouter/auto", "no/such-model", "", "\x1b[2J", "x" * 10_000])
def test_a_model_whose_price_nobody_knows_is_refused(model: str, at: TrackerAt) -> None:
    at.tracker.write(booking.sample())
    ran = at(None, "what-if", "--model", model)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.error_line) < 400


def test_prices_that_cannot_be_had_are_not_guessed(at: TrackerAt) -> None:
    with Unreachable() as nowhere:
        ran = at(None, "what-if", "--model", "openai/gpt-5-mini", "--json", env={"OPENROUTER_BASE_URL": nowhere.url})
    assert (ran.code, ran.json["data"]) == (5, None)


@pytest.mark.parametrize("words", ["--model", "--model a --days 0", "--model a --days 9999", "--model a b"])
def test_what_is_wrong_is_told_before_anything_is_asked(words: str, at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "what-if", *words.split(), "--json")
    assert (ran.code, ran.json["error"]["code"], sandbox.connections) == (2, "usage", 0)


def test_no_calls_cost_nothing_anywhere(at: TrackerAt) -> None:
    data = at(None, "what-if", "--model", "openai/gpt-5-mini", "--json").data
    assert (data["calls"], data["cost_usd"], data["would_cost_usd"], data["saved_usd"]) == (0, 0, 0, 0)


def test_without_a_model_those_are_named_that_can_do_the_same_for_least(at: TrackerAt, account: Account) -> None:
    """As long a call, the same inputs and abilities, an answer in text, and no model of which all is free."""
    price = {"prompt": "0.000001", "completion": "0.000001"}
    account.models = [
        Model("a/mine", "M", "0.00001", "0.00001", context_length=2_000, input=("text", "image")),
        Model("a/just-room", "R", **price, context_length=2_000, input=("image", "text", "audio")),
        Model("a/no-room", "N", **price, context_length=1_999, input=("text", "image")),
        Model("a/room-unknown", "U", **price, context_length=None, input=("text", "image")),
        Model("a/blind", "B", **price),
        Model("a/painter", "P", **price, input=("text", "image"), output=("image",)),
        Model("a/no-tools", "T", **price, input=("text", "image"), fields={"supported_parameters": ["temperature"]}),
        Model("a/free", "F", "0", "0", input=("text", "image")),
        Model("a/answers-free", "A", "0.000002", "0", input=("text", "image")),
        Model("a/varies", "V", "-1", "-1", input=("text", "image")),
    ]
    at.tracker.write(call(days_ago(0), model="a/mine", prompt_tokens=1_500, completion_tokens=500, cost="0.02"))
    data = at(None, "what-if", "--json").data
    assert (data["like"], data["longest_call_tokens"], data["cost_usd"]) == ("a/mine", 2_000, Decimal("0.02"))
    assert [(each["model"], each["would_cost_usd"], each["saved_usd"]) for each in data["models"]] == [
        ("a/just-room", Decimal("0.002"), Decimal("0.018")),
        ("a/answers-free", Decimal("0.003"), Decimal("0.017")),
        ("a/mine", Decimal("0.02"), 0),
    ]
