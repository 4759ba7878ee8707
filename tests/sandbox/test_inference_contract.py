"""Clients that OpenRouter and OpenAI wrote understand every answer of a model, and find the same cost in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal

import openai
import pytest
from openrouter import errors

from tests.sandbox import (
    INFERENCE_KEY,
    Account,
    Budget,
    Reply,
    Sandbox,
    Stream,
)
from tests.sandbox_client import client, exact

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=timezone.utc)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.simple(now=lambda: NOW)) as running:
        yield running


MESSAGES = [{"role": "user", "content": "What is it good for?"}]

REPLIES = {
    "plain": Reply(),
    "byok": Reply(byok_upstream=Decimal("0.0123"), cost=Decimal("0.0006")),
    "cached": Reply(prompt_tokens=9_000, cached_tokens=8_000, cache_write_tokens=500, reasoning_tokens=12),
    "scripted cost": Reply(cost=Decimal("1E-12")),
    "cache hit": Reply(cache_hit=True),
    "no usage": Reply(usage="missing"),
    "no cost": Reply(usage="no_cost"),
    "null cost": Reply(usage="null_cost"),
}


@pytest.mark.parametrize("name", REPLIES)
def test_the_official_client_reads_a_chat_and_its_cost(sandbox: Sandbox, name: str) -> None:
    sandbox.account.reply = REPLIES[name]
    result = client(sandbox, INFERENCE_KEY).chat.send(model="openai/gpt-5.2", messages=MESSAGES, max_tokens=100)
    generation = sandbox.account.generations[result.id]
    assert result.choices[0].message.content == "Hello from the sandbox."
    assert sandbox.account.bill == generation.cost
    if name.startswith(("no", "null")):
        assert result.usage is None or not result.usage.cost
    else:
        assert result.usage.cost == float(generation.cost)
        assert result.usage.is_byok == (name == "byok")


@pytest.mark.parametrize("usage_chunk", ["empty_choices", "repeated_finish", "with_finish", "missing"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_official_client_reads_a_stream(sandbox: Sandbox, usage_chunk: str, newline: str) -> None:
    stream = Stream(usage_chunk=usage_chunk, newline=newline, comments=3, piece_bytes=7)
    sandbox.account.reply = Reply("Grüße, 世界 und 🦊!", stream=stream)
    chat = client(sandbox, INFERENCE_KEY).chat
    chunks = list(chat.send(model="openai/gpt-5.2", messages=MESSAGES, stream=True))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "Grüße, 世界 und 🦊!"
    costs = [chunk.usage.cost for chunk in chunks if chunk.usage]
    assert costs == ([] if usage_chunk == "missing" else [float(sandbox.account.bill)])


def test_the_official_client_reads_a_generation(sandbox: Sandbox) -> None:
    official = client(sandbox, INFERENCE_KEY)
    sandbox.account.script(Reply(prompt_tokens=93_500, cost=Decimal("0.25")), Reply(byok_upstream=Decimal("0.5")))
    for byok in (False, True):
        result = official.chat.send(model="openai/gpt-5.2", messages=MESSAGES, session_id="a-session", user="alice")
        data = official.generations.get_generation(id=result.id).data
        truth = sandbox.account.generations[result.id]
        assert (exact(data.total_cost), data.is_byok) == (truth.cost, byok)
        assert (data.session_id, data.external_user) == ("a-session", "alice")
        assert data.native_tokens_prompt == truth.prompt_tokens
        assert exact(data.upstream_inference_cost) == (Decimal("0.5") if byok else 0)


def test_a_generation_in_a_management_keys_hands(sandbox: Sandbox) -> None:
    result = client(sandbox, INFERENCE_KEY).chat.send(model="openai/gpt-5.2", messages=MESSAGES)
    assert client(sandbox).generations.get_generation(id=result.id).data.id == result.id
    stranger = sandbox.account.add_key("stranger-key", creator_user_id="user_stranger")
    with pytest.raises(errors.ForbiddenResponseError):
        client(sandbox, stranger.secret).generations.get_generation(id=result.id)


def test_the_official_client_reads_embeddings_and_responses(sandbox: Sandbox) -> None:
    official = client(sandbox, INFERENCE_KEY)
    embedded = official.embeddings.generate(model="openai/text-embedding-3-small", input=["one", "two"])
    assert len(embedded.data) == 2
    answered = official.responses.send(model="openai/gpt-5.2", input="hello")
    assert exact(embedded.usage.cost) + exact(answered.usage.cost) == sandbox.account.bill


def test_the_openai_client_gets_the_same_figures(sandbox: Sandbox) -> None:
    other = openai.OpenAI(api_key=INFERENCE_KEY, base_url=sandbox.url, max_retries=0)
    whole = other.chat.completions.create(model="openai/gpt-5.2", messages=MESSAGES)
    chunks = list(other.chat.completions.create(model="openai/gpt-5.2", messages=MESSAGES, stream=True))
    vectors = other.embeddings.create(model="openai/text-embedding-3-small", input="one")
    answer = other.responses.create(model="openai/gpt-5.2", input="hello")
    usages = [whole.usage, chunks[-1].usage, vectors.usage, answer.usage]
    assert sum(exact(usage.cost) for usage in usages) == sandbox.account.bill
    assert vectors.data[0].embedding == [0.25, -0.5, 0.125, 0.75]
    assert answer.output_text == "Hello from the sandbox."


def test_the_key_and_the_credits_move_with_the_bill(sandbox: Sandbox) -> None:
    official = client(sandbox, INFERENCE_KEY)
    official.chat.send(model="anthropic/claude-sonnet-4.5", messages=MESSAGES)
    key = official.api_keys.get_current_key_metadata().data
    credits = client(sandbox).credits.get_credits().data
    assert exact(key.usage) == exact(key.usage_daily) == exact(credits.total_usage) == sandbox.account.bill > 0


PAYMENT = [
    ({"total_usage": Decimal("100.01")}, {}, errors.PaymentRequiredResponseError, "Insufficient credits"),
    ({"total_usage": Decimal("99.99")}, {}, errors.PaymentRequiredResponseError, "can only afford"),
    ({}, {"limit": Decimal(1), "limit_remaining": Decimal(0), "limit_reset": "daily"}, errors.ForbiddenResponseError,
     r"Key limit exceeded \(daily limit\)"),
    ({}, {"budgets": [Budget("workspace", Decimal(500), Decimal(500))]}, errors.ForbiddenResponseError,
     r"Workspace monthly budget of \$500\.00 exceeded"),
]  # fmt: skip


@pytest.mark.parametrize(("of_account", "of_key", "kind", "message"), PAYMENT)
def test_a_call_that_cannot_be_paid_is_refused(
    of_account: dict[str, Decimal], of_key: dict[str, object], kind: type[Exception], message: str
) -> None:
    with Sandbox(Account(now=lambda: NOW, **of_account)) as sandbox:
        sandbox.account.add_key(INFERENCE_KEY, **of_key)
        with pytest.raises(kind, match=message):
            client(sandbox, INFERENCE_KEY).chat.send(model="openai/gpt-5.2", messages=MESSAGES)
        assert sandbox.account.bill == 0


def test_max_price_is_honoured(sandbox: Sandbox) -> None:
    chat = client(sandbox, INFERENCE_KEY).chat
    with pytest.raises(errors.NotFoundResponseError, match="max_price"):
        chat.send(model="openai/gpt-5.2", messages=MESSAGES, provider={"max_price": {"completion": "13.99"}})
    chat.send(model="openai/gpt-5.2", messages=MESSAGES, provider={"max_price": {"completion": "14"}})
    assert sandbox.calls("/chat/completions") == 2


def test_an_unknown_model_is_a_bad_request(sandbox: Sandbox) -> None:
    with pytest.raises(errors.BadRequestResponseError, match="not a valid model ID"):
        client(sandbox, INFERENCE_KEY).chat.send(model="no/such-model", messages=MESSAGES)
