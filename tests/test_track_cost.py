"""track_cost over the real clients: what they return is recorded with what the sandbox billed, to the last digit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest

from openrouter_usage.tracker.decorator import track_cost
from tests.sandbox import INFERENCE_KEY, Fault, Reply, Stream
from tests.tracking import ASK, EMBED, HELLO, Books, Clients

Call = Callable[[Clients], Any]


def httpx_post(clients: Clients) -> httpx.Response:
    headers = {"Authorization": f"Bearer {INFERENCE_KEY}"}
    return httpx.post(clients.sandbox.url + "/chat/completions", json=HELLO, headers=headers, timeout=30)


ANSWERS: dict[str, Call] = {
    "openai chat": lambda c: c.openai.chat.completions.create(**HELLO),
    "openai chat, parsed": lambda c: c.openai.chat.completions.parse(**HELLO),
    "openai chat, raw": lambda c: c.openai.chat.completions.with_raw_response.create(**HELLO),
    "openai embeddings": lambda c: c.openai.embeddings.create(**EMBED),
    "openai responses": lambda c: c.openai.responses.create(**ASK),
    "openai responses, raw": lambda c: c.openai.responses.with_raw_response.create(**ASK),
    "openrouter chat": lambda c: c.openrouter.chat.send(**HELLO),
    "openrouter embeddings": lambda c: c.openrouter.embeddings.generate(**EMBED),
    "openrouter responses": lambda c: c.openrouter.responses.send(**ASK),
    "requests chat": lambda c: c.post("/chat/completions", HELLO),
    "requests responses": lambda c: c.post("/responses", ASK),
    "requests messages": lambda c: c.post("/messages", HELLO),
    "requests embeddings": lambda c: c.post("/embeddings", EMBED),
    "JSON of chat": lambda c: c.post("/chat/completions", HELLO).json(),
    "JSON of messages": lambda c: c.post("/messages", HELLO).json(),
    "httpx chat": httpx_post,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_recorded_as_it_was_billed_and_is_passed_on_itself(
    name: str, books: Books, clients: Clients
) -> None:
    given: list[Any] = []

    @track_cost
    def call() -> Any:
        given.append(ANSWERS[name](clients))
        return given[0]

    clients.sandbox.account.script(Reply(cost=Decimal("0.0123456789012"), prompt_tokens=50, cached_tokens=10))
    assert call() is given[0]
    assert books.agree_with(clients.sandbox)
    (billed,) = clients.sandbox.account.generations.values()
    entry = books.only
    assert (entry.model, entry.prompt_tokens) == (billed.model, billed.prompt_tokens)
    assert (entry.completion_tokens, entry.cost_source) == (billed.completion_tokens, "billed")
    assert entry.streamed is None and entry.latency_ms is not None
    if "embeddings" not in name:
        assert entry.cached_tokens == 10


@pytest.mark.parametrize("name", ["openai chat", "openrouter chat", "requests chat"])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(byok_upstream=Decimal("0.75"), cost=Decimal("0.0375")),
        Reply(byok_upstream=Decimal("0.75")),
        Reply(cost=Decimal("3E-7"), reasoning_tokens=4),
        Reply(cache_hit=True),
        Reply(cost=Decimal(0)),
        Reply(cost=Decimal("0.2"), completion_tokens=0),
    ],
    ids=["byok with a fee", "byok", "tiny", "cache hit", "free", "no completion"],
)
def test_money_of_either_kind_is_what_was_billed(reply: Reply, name: str, books: Books, clients: Clients) -> None:
    clients.sandbox.account.script(reply)
    track_cost(ANSWERS[name])(clients)
    assert books.agree_with(clients.sandbox)


@pytest.mark.parametrize("name", ["openai chat", "openrouter chat", "requests chat", "JSON of chat"])
@pytest.mark.parametrize("usage", ["no_cost", "null_cost", "null", "missing"])
def test_a_cost_that_is_not_told_is_unknown_and_can_be_looked_up(
    usage: str, name: str, books: Books, clients: Clients
) -> None:
    clients.sandbox.account.script(Reply(usage=usage))
    track_cost(ANSWERS[name])(clients)
    assert books.only.cost is None
    assert books.only.id in clients.sandbox.account.generations
    assert books.only.cost_source == ""


def test_every_digit_of_a_cost_survives_where_the_answer_is_read_from_its_own_bytes(
    books: Books, clients: Clients
) -> None:
    clients.sandbox.account.script(Reply(cost=Decimal("0.012345678901234567890123")))
    track_cost(clients.post)("/chat/completions", HELLO)
    assert books.agree_with(clients.sandbox)


def openai_manager(clients: Clients) -> Any:
    return clients.openai.chat.completions.stream(**HELLO)


STREAMS: dict[str, Call] = {
    "openai": lambda c: list(track_cost(c.chat)(stream=True)),
    "openai, with": lambda c: [with_all(track_cost(c.chat)(stream=True))],
    "openai, raw": lambda c: list(
        track_cost(c.openai.chat.completions.with_raw_response.create)(**HELLO, stream=True).parse()
    ),
    "openai, streaming response": lambda c: [
        with_all(track_cost(c.openai.chat.completions.with_streaming_response.create)(**HELLO, stream=True))
    ],
    "openai, helper": lambda c: [with_all(track_cost(openai_manager)(c))],
    "openai, helper's sum": lambda c: [with_all(track_cost(openai_manager)(c), read="get_final_completion")],
    "openrouter": lambda c: list(track_cost(c.openrouter.chat.send)(**HELLO, stream=True)),
    "openrouter, with": lambda c: [with_all(track_cost(c.openrouter.chat.send)(**HELLO, stream=True))],
    "requests, lines": lambda c: list(requested(c).iter_lines()),
    "requests, pieces": lambda c: list(requested(c).iter_content(7)),
    "requests, text": lambda c: list(requested(c).iter_content(None, decode_unicode=True)),
    "requests, all of it": lambda c: [requested(c).content],
    "requests, read already": lambda c: [requested(c, stream=False).text],
}


def with_all(opened: Any, *, read: str = "iter_bytes") -> Any:
    with opened as stream:
        method = getattr(stream, read, None)
        return method() if read.startswith("get") else list(method() if method else stream)


def requested(clients: Clients, *, stream: bool = True) -> Any:
    return track_cost(clients.post)("/chat/completions", {**HELLO, "stream": True}, stream=stream)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_read_to_its_end_is_recorded_once_as_it_was_billed(
    name: str, books: Books, clients: Clients
) -> None:
    clients.sandbox.account.script(Reply(cost=Decimal("0.0123456789012"), prompt_tokens=50))
    assert STREAMS[name](clients)
    assert books.agree_with(clients.sandbox)
    assert books.only.streamed is True
    assert (books.only.model, books.only.prompt_tokens) == ("openai/gpt-5.2", 50)
    assert books.only.latency_ms is not None
    assert books.only.finish_reason == "stop"


@pytest.mark.parametrize("name", ["openai", "openrouter", "requests, pieces"])
@pytest.mark.parametrize(
    "stream",
    [
        Stream(usage_chunk="empty_choices"),
        Stream(usage_chunk="with_finish"),
        Stream(debug_chunk=True, comments=3),
        Stream(newline="\r\n", piece_bytes=5),
        Stream(newline="\r", prefix="data:"),
        Stream(done=False),
    ],
    ids=["usage alone", "usage with the end", "debug", "CRLF in pieces", "CR", "no DONE"],
)
def test_a_stream_may_come_over_the_wire_in_any_way(stream: Stream, name: str, books: Books, clients: Clients) -> None:
    clients.sandbox.account.script(Reply(stream=stream, text="Zürich – 東京"))
    STREAMS[name](clients)
    assert books.agree_with(clients.sandbox)
    assert books.only.finish_reason == "stop"


@pytest.mark.parametrize("how", ["json", "content", "text", "iter_lines"])
def test_a_response_that_is_read_later_is_recorded_when_it_is_read(how: str, books: Books, clients: Clients) -> None:
    response = track_cost(clients.post)("/chat/completions", HELLO, stream=True)
    assert books.entries == []
    read = getattr(response, how)
    assert read if isinstance(read, (bytes, str)) else list(read())
    assert books.agree_with(clients.sandbox)
    assert books.only.streamed is None


@pytest.mark.parametrize("stream", [True, False])
def test_an_unread_response_of_httpx_is_recorded_as_it_is_read(stream: bool, books: Books, clients: Clients) -> None:
    clients.sandbox.misbehave("POST /chat/completions", Fault.gzipped())
    with httpx.Client(headers={"Authorization": f"Bearer {INFERENCE_KEY}"}) as client:
        body = {**HELLO, "stream": stream}
        request = client.build_request("POST", clients.sandbox.url + "/chat/completions", json=body)
        response = track_cost(client.send)(request, stream=True)
        assert isinstance(response, httpx.Response)
        # It closes itself before it has given the last of its pieces.
        assert all(len(piece) <= 7 for piece in response.iter_bytes(7))
    assert books.agree_with(clients.sandbox)


async def openai_async(clients: Clients, how: str) -> None:
    async with clients.async_openai() as client:
        completions = client.chat.completions
        if how == "chat":
            assert (await track_cost(completions.create)(**HELLO)).choices
        elif how == "stream":
            assert [chunk async for chunk in await track_cost(completions.create)(**HELLO, stream=True)]
        elif how == "with":
            async with await track_cost(completions.create)(**HELLO, stream=True) as stream:
                assert [chunk async for chunk in stream]
        elif how == "helper":
            async with track_cost(completions.stream)(**HELLO) as stream:
                assert await stream.get_final_completion()
        elif how == "raw":
            assert (await track_cost(completions.with_raw_response.create)(**HELLO)).parse()
        elif how == "streaming response":
            async with track_cost(completions.with_streaming_response.create)(**HELLO) as response:
                assert await response.json()
        elif how == "coroutine function":
            assert (await track_cost(ask_async)(client)).choices
        else:
            assert [chunk async for chunk in track_cost(stream_async)(client)]


async def ask_async(client: Any) -> Any:
    return await client.chat.completions.create(**HELLO)


async def stream_async(client: Any) -> AsyncIterator[Any]:
    async for chunk in await client.chat.completions.create(**HELLO, stream=True):
        yield chunk


@pytest.mark.parametrize(
    "how", ["chat", "stream", "with", "helper", "raw", "streaming response", "coroutine function", "generator function"]
)
def test_an_async_call_of_the_openai_package_is_recorded_as_it_was_billed(
    how: str, books: Books, clients: Clients
) -> None:
    asyncio.run(openai_async(clients, how))
    assert books.agree_with(clients.sandbox)
    assert books.only.streamed is (True if how in ("stream", "with", "helper", "generator function") else None)


@pytest.mark.parametrize("stream", [False, True])
def test_an_async_call_of_the_openrouter_package_is_recorded_as_it_was_billed(
    stream: bool, books: Books, clients: Clients
) -> None:
    async def go() -> None:
        answer = await track_cost(clients.openrouter.chat.send_async)(**HELLO, stream=stream)
        if stream:
            async with answer as chunks:
                assert [chunk async for chunk in chunks]

    asyncio.run(go())
    assert books.agree_with(clients.sandbox)
    assert books.only.streamed is (stream or None)


def test_many_calls_add_up_to_the_bill(books: Books, clients: Clients) -> None:
    costs = [Decimal(f"0.00000{number}7") for number in range(1, 30)]
    clients.sandbox.account.script(*(Reply(cost=cost) for cost in costs))
    ask = track_cost(clients.chat)
    for number in range(len(costs)):
        answer = ask(stream=bool(number % 2))
        if number % 2:
            list(answer)
    assert books.agree_with(clients.sandbox)
    assert sum(entry.cost or 0 for entry in books.entries) == sum(costs)
