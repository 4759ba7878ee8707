"""An inference answer is read into what it used; what cannot be understood of it is unknown."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from openrouter_usage.entry import read_line, write_line
from openrouter_usage.money import loads
from openrouter_usage.openrouter.answers.generation import CallUsage, read_call
from tests.sandbox import Reply, Sandbox
from tests.sandbox_client import HELLO, events, post

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", HELLO),
        ("/responses", {"model": "openai/gpt-5.2", "input": "Hello?"}),
        ("/messages", HELLO),
        ("/embeddings", {"model": "openai/text-embedding-3-small", "input": "Hello?"}),
    ],
)
def test_every_endpoint_is_understood(path: str, body: Any, sandbox: Sandbox) -> None:
    sandbox.account.script(Reply(prompt_tokens=90, cached_tokens=20, cache_write_tokens=10, reasoning_tokens=3))
    call = read_call(loads(post(sandbox, path, body).content))
    (billed,) = sandbox.account.generations.values()
    assert (call.id, call.model, call.cost) == (billed.id, billed.model, billed.cost)
    assert (call.prompt_tokens, call.completion_tokens) == (billed.prompt_tokens, billed.completion_tokens)
    if path != "/embeddings":
        assert (call.cached_tokens, call.cache_write_tokens) == (20, 10)


def test_chunks_merge_into_the_call_that_was_billed(sandbox: Sandbox) -> None:
    call = CallUsage()
    for chunk in events(sandbox)[:-1]:
        call = call.merged(read_call(chunk))
    (billed,) = sandbox.account.generations.values()
    assert (call.id, call.cost, call.finish_reason) == (billed.id, billed.cost, "stop")
    assert (call.provider, call.has_usage) == (billed.provider, True)


@pytest.mark.parametrize(
    "answer", [None, [], "x", 0, {}, {"usage": []}, {"usage": {}}, {"usage": {"cost": True}}, {"id": 7, "model": []}]
)
def test_what_is_no_answer_has_no_usage(answer: Any) -> None:
    assert read_call(answer) == CallUsage()


@pytest.mark.parametrize("cost", [True, -1, "much", [], {}, Decimal("NaN"), 10**12, Decimal("1E-40"), 2 * 10**6])
def test_a_cost_that_is_none_is_unknown_and_its_tokens_are_kept(cost: Any) -> None:
    call = read_call({"usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost": cost}})
    assert (call.cost, call.prompt_tokens, call.completion_tokens, call.has_usage) == (None, 3, 2, True)


@pytest.mark.parametrize("count", [-1, True, "x", Decimal("1.5"), 10**13, []])
def test_a_count_that_is_none_is_unknown_and_the_cost_is_kept(count: Any) -> None:
    call = read_call(
        {"usage": {"prompt_tokens": count, "completion_tokens_details": {"reasoning_tokens": count}, "cost": 1}}
    )
    assert (call.prompt_tokens, call.reasoning_tokens, call.cost) == (0, None, 1)


def test_upstream_money_counts_only_when_it_is_byok() -> None:
    usage: dict[str, Any] = {"cost": 1, "cost_details": {"upstream_inference_cost": 2}}
    assert read_call({"usage": usage}).byok_cost is None
    assert read_call({"usage": {**usage, "is_byok": True}}).byok_cost == 2
    assert read_call({"usage": {**usage, "is_byok": "yes"}}).byok_cost is None


def test_whatever_was_read_is_a_line_that_can_be_read_again() -> None:
    strange: Any = {
        "id": "\ud800" * 300,
        "model": "m" * 2_000,
        "provider": "\n" * 2_000,
        "choices": [{"finish_reason": "\udfff" * 300}],
        "usage": {"prompt_tokens": 10**12, "completion_tokens": 10**14, "cost": 10**6},
    }
    entry = read_call(strange).entry(NOW, session="s\ud800" * 1_000)
    assert read_line(write_line(entry)) == entry


def test_a_model_that_is_not_named_is_the_one_that_was_asked_for() -> None:
    assert read_call({}).entry(NOW, requested="a/model").model == "a/model"
    assert read_call({}).entry(NOW).model == "unknown model"
    assert read_call({"model": "b/model"}).entry(NOW, requested="a/model").model == "b/model"


USAGE: dict[str, Any] = {
    "prompt_tokens": 50,
    "completion_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 5},
    "cost": Decimal("0.25"),
    "is_byok": True,
    "cost_details": {"upstream_inference_cost": Decimal("0.5")},
}


@pytest.mark.parametrize("left_out", [*USAGE, "all"])
def test_usage_that_is_told_again_takes_nothing_away_that_was_known(left_out: str) -> None:
    again = {name: value for name, value in USAGE.items() if left_out not in (name, "all")}
    known = read_call({"id": "gen-1", "model": "a/model", "usage": USAGE})
    assert known.merged(read_call({"id": "gen-1", "usage": again})) == known


def test_usage_that_is_told_again_with_other_figures_replaces_them() -> None:
    first = read_call({"id": "gen-1", "usage": {"prompt_tokens": 50, "completion_tokens": 1, "cost": 1}})
    last = read_call({"usage": {"completion_tokens": 9, "cost": 2}})
    call = first.merged(last)
    assert (call.prompt_tokens, call.completion_tokens, call.cost) == (50, 9, 2)


def test_whole_floats_are_counts() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 10.0}, "completion_tokens_details": {"reasoning_tokens": 5.0}}
    call = read_call({"usage": {"prompt_tokens": 15.0, "completion_tokens": Decimal("7.0"), **details}})  # type: ignore[dict-item]
    assert (call.prompt_tokens, call.completion_tokens, call.cached_tokens, call.reasoning_tokens) == (15, 7, 10, 5)
