"""track_cost over the packages that people use: recorded as it was billed, or one warning that names the way out."""

from __future__ import annotations

import asyncio
import importlib
import logging
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from openai.types import CompletionUsage

from openrouter_usage.tracker.decorator import track_cost
from openrouter_usage.tracker.session import CostSession
from tests.sandbox import INFERENCE_KEY, Reply, Sandbox
from tests.tracking import HELLO, Books, Clients, open_clients

COST = Decimal("0.0246913")
MODEL = "openai/gpt-5.2"
SAY = {"model": MODEL, "messages": HELLO["messages"], "max_tokens": 50}
SPEAK: dict[str, Any] = {"model": MODEL, "input": "Hello", "voice": "alloy"}


@pytest.fixture
def clients(sandbox: Sandbox) -> Iterator[Clients]:
    sandbox.account.reply = Reply(cost=COST, prompt_tokens=50, cached_tokens=10)
    yield from open_clients(sandbox)


def package(name: str) -> Any:
    """A module of a package that `make test` installs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, of their own dependencies
        return importlib.import_module(name)


def key_header() -> dict[str, str]:
    return {"Authorization": f"Bearer {INFERENCE_KEY}"}


# -- each gives a function to track, what it is called with, and what reads what comes back --


def langchain(clients: Clients) -> Any:
    return package("langchain_openai").ChatOpenAI(
        model=MODEL, base_url=clients.sandbox.url, api_key=INFERENCE_KEY, max_retries=0
    )


def human(text: str) -> Any:
    return package("langchain_core.messages").HumanMessage(text)


def pydantic_agent(clients: Clients) -> Any:
    models, providers = package("pydantic_ai.models.openai"), package("pydantic_ai.providers.openai")
    provider = providers.OpenAIProvider(base_url=clients.sandbox.url, api_key=INFERENCE_KEY)
    return package("pydantic_ai").Agent(models.OpenAIChatModel(MODEL, provider=provider))


def openrouter_agent(clients: Clients) -> Any:
    """pydantic-ai's own model for OpenRouter, which hands on what OpenRouter said beside an estimate of its own."""
    models, providers = package("pydantic_ai.models.openrouter"), package("pydantic_ai.providers.openrouter")
    provider = providers.OpenRouterProvider(openai_client=clients.async_openai())
    return package("pydantic_ai").Agent(models.OpenRouterModel(MODEL, provider=provider))


async def iterate_pydantic(clients: Clients) -> Any:
    async with track_cost(pydantic_agent(clients).iter)("Hello?") as run:
        return [node async for node in run]


def smolagents_model(clients: Clients) -> Any:
    return package("smolagents").OpenAIServerModel(
        model_id=MODEL, api_base=clients.sandbox.url, api_key=INFERENCE_KEY, client_kwargs={"max_retries": 0}
    )


def anthropic(clients: Clients, kind: str = "Anthropic") -> Any:
    base = clients.sandbox.url.removesuffix("/v1")
    return getattr(package("anthropic"), kind)(auth_token=INFERENCE_KEY, api_key=None, base_url=base, max_retries=0)


async def run_agents(clients: Clients, api: str, *, streamed: bool = False, **settings: bool) -> Any:
    agents = package("agents")
    agents.set_tracing_disabled(True)
    async with clients.async_openai() as client:
        model = getattr(agents, api)(model=MODEL, openai_client=client)
        agent = agents.Agent(name="a", instructions="Be short.", model=model, model_settings=agents.ModelSettings(**settings))
        if not streamed:
            return await track_cost(agents.Runner.run)(agent, "Hello?")
        run = track_cost(agents.Runner.run_streamed)(agent, "Hello?")
        return [event async for event in run.stream_events()]


async def run_pydantic_stream(clients: Clients) -> Any:
    async with track_cost(pydantic_agent(clients).run_stream)("Hello?") as stream:
        return [text async for text in stream.stream_text()]


async def post_aiohttp(clients: Clients, read: Callable[[Any], Any], *, stream: bool = False, how: str = "await") -> Any:
    async with package("aiohttp").ClientSession(headers=key_header()) as session:
        body = {**HELLO, "stream": stream}
        if how == "with":
            async with track_cost(session.post)(clients.sandbox.url + "/chat/completions", json=body) as response:
                return await read(response)
        if how == "coroutine function":

            @track_cost
            async def ask() -> Any:
                return await session.post(clients.sandbox.url + "/chat/completions", json=body)

            return await read(await ask())
        return await read(await track_cost(session.post)(clients.sandbox.url + "/chat/completions", json=body))


async def lines_of(response: Any) -> list[bytes]:
    return [line async for line in response.content]


async def pieces_of(response: Any) -> list[bytes]:
    return [piece async for piece in response.content.iter_chunked(9)]


async def any_of(response: Any) -> list[bytes]:
    return [piece async for piece in response.content.iter_any()]


async def read_anthropic_async(clients: Clients, read: str) -> Any:
    async with anthropic(clients, "AsyncAnthropic") as client, track_cost(client.messages.stream)(**SAY) as stream:
        if read == "text_stream":
            return [text async for text in stream.text_stream]
        return await getattr(stream, read)() or read


async def stream_httpx_async(clients: Clients) -> Any:
    async with httpx.AsyncClient(headers=key_header()) as client:
        body = {**HELLO, "stream": True}
        async with track_cost(client.stream)("POST", clients.sandbox.url + "/chat/completions", json=body) as response:
            return [line async for line in response.aiter_lines()]


def stream_httpx(clients: Clients, read: str, *, stream: bool = True) -> Any:
    body, url = {**HELLO, "stream": stream}, clients.sandbox.url + "/chat/completions"
    with track_cost(httpx.stream)("POST", url, json=body, headers=key_header()) as response:
        read_it = getattr(response, read)()
        return read_it if isinstance(read_it, bytes) else list(read_it)


def read_anthropic(clients: Clients, read: str) -> Any:
    with anthropic(clients) as client, track_cost(client.messages.stream)(**SAY) as stream:
        found = getattr(stream, read)
        return (found() or read) if callable(found) else list(found)


def read_helper(clients: Clients, read: str) -> Any:
    with track_cost(clients.openai.chat.completions.stream)(**HELLO) as stream:
        return getattr(stream, read)() or read


def anthropic_events(clients: Clients) -> Any:
    with anthropic(clients) as client:
        return list(track_cost(client.messages.create)(**SAY, stream=True))


def anthropic_message(clients: Clients) -> Any:
    with anthropic(clients) as client:
        return track_cost(client.messages.create)(**SAY)


# -- a stream as litellm 1.110 hands it on, recorded: the package itself would bring dozens of others with it --


class ModelResponseStream(openai.BaseModel):
    """A chunk of litellm: OpenRouter's id and model, and no usage unless it was asked for."""

    id: str
    created: int
    model: str
    object: str = "chat.completion.chunk"
    system_fingerprint: str | None = None
    choices: list[dict[str, Any]]
    provider_specific_fields: dict[str, Any] | None = None


class CustomStreamWrapper:
    """What litellm returns for a stream: no context manager, for one way of reading as for the other.

    OpenRouter sends the usage in any case. Here it is taken off its chunk, whose place an empty text takes; with
    `include_usage` a last chunk follows without choices, with tokens and the cost, and without `is_byok`.
    """

    def __init__(self, stream: Any, *, include_usage: bool) -> None:
        self.completion_stream, self.model, self.custom_llm_provider = stream, MODEL, "openrouter"
        self.chunks: list[Any] = []
        self._hidden_params = {"response_cost": None, "custom_llm_provider": "openrouter"}
        self._handed_on = self._hand_on(include_usage=include_usage)

    def _hand_on(self, *, include_usage: bool) -> Iterator[ModelResponseStream]:
        usage: Any = None
        for chunk in self.completion_stream:
            told = chunk.model_dump()
            usage = told["usage"] or usage
            choices = told["choices"] or [{"finish_reason": None, "index": 0, "delta": {"content": "", "role": "assistant"}}]
            handed = ModelResponseStream(id=told["id"], created=told["created"], model=told["model"], choices=choices)
            self.chunks.append(handed)
            yield handed
        if include_usage:
            names = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "cost")
            last = CompletionUsage(**{name: usage[name] for name in names})
            yield ModelResponseStream(id=told["id"], created=told["created"], model=told["model"], choices=[], usage=last)

    def __iter__(self) -> CustomStreamWrapper:
        return self

    def __next__(self) -> ModelResponseStream:
        return next(self._handed_on)

    def __aiter__(self) -> CustomStreamWrapper:
        return self

    async def __anext__(self) -> ModelResponseStream:
        try:
            return next(self._handed_on)
        except StopIteration:
            raise StopAsyncIteration from None


def litellm_stream(clients: Clients, *, include_usage: bool = False) -> list[Any]:
    def completion(**options: Any) -> CustomStreamWrapper:
        return CustomStreamWrapper(clients.chat(**options), include_usage=include_usage)

    return list(track_cost(completion)(stream=True))


async def litellm_stream_async(clients: Clients, *, include_usage: bool = False) -> list[Any]:
    async def acompletion(**options: Any) -> CustomStreamWrapper:
        return CustomStreamWrapper(clients.chat(**options), include_usage=include_usage)

    return [chunk async for chunk in await track_cost(acompletion)(stream=True)]


BILLED: dict[str, Callable[[Clients], Any]] = {
    "litellm, stream with its usage": lambda c: litellm_stream(c, include_usage=True),
    "litellm, async stream with its usage": lambda c: asyncio.run(litellm_stream_async(c, include_usage=True)),
    "langchain": lambda c: track_cost(langchain(c).invoke)("Hello?"),
    "langchain, async": lambda c: asyncio.run(track_cost(langchain(c).ainvoke)("Hello?")),
    "langchain, generate": lambda c: track_cost(langchain(c).generate)([[human("Hello?")]]),
    "langchain, in a mapping": lambda c: track_cost(lambda: {"raw": langchain(c).invoke("Hello?"), "parsed": 1})(),
    "pydantic-ai, its model for OpenRouter": lambda c: track_cost(openrouter_agent(c).run_sync)("Hello?"),
    "openai-agents, raw usage": lambda c: asyncio.run(
        run_agents(c, "OpenAIChatCompletionsModel", preserve_raw_usage=True)
    ),
    "smolagents": lambda c: track_cost(smolagents_model(c).generate)([{"role": "user", "content": "Hello?"}]),
    "anthropic": anthropic_message,
    "anthropic, events": anthropic_events,
    "anthropic, text_stream": lambda c: read_anthropic(c, "text_stream"),
    "anthropic, get_final_message": lambda c: read_anthropic(c, "get_final_message"),
    "anthropic, get_final_text": lambda c: read_anthropic(c, "get_final_text"),
    "anthropic, until_done": lambda c: read_anthropic(c, "until_done"),
    "anthropic, async text_stream": lambda c: asyncio.run(read_anthropic_async(c, "text_stream")),
    "anthropic, async get_final_message": lambda c: asyncio.run(read_anthropic_async(c, "get_final_message")),
    "openai helper, until_done": lambda c: read_helper(c, "until_done"),
    "openai helper, get_final_completion": lambda c: read_helper(c, "get_final_completion"),
    "httpx.stream, lines": lambda c: stream_httpx(c, "iter_lines"),
    "httpx.stream, all of it": lambda c: stream_httpx(c, "read", stream=False),
    "httpx.stream, async": lambda c: asyncio.run(stream_httpx_async(c)),
    "aiohttp, json": lambda c: asyncio.run(post_aiohttp(c, lambda response: response.json())),
    "aiohttp, read": lambda c: asyncio.run(post_aiohttp(c, lambda response: response.read(), how="with")),
    "aiohttp, text": lambda c: asyncio.run(post_aiohttp(c, lambda r: r.text(), how="coroutine function")),
    "aiohttp, lines": lambda c: asyncio.run(post_aiohttp(c, lines_of, stream=True)),
    "aiohttp, pieces": lambda c: asyncio.run(post_aiohttp(c, pieces_of, stream=True, how="with")),
    "aiohttp, any": lambda c: asyncio.run(post_aiohttp(c, any_of, stream=True, how="coroutine function")),
}


@pytest.mark.parametrize("name", BILLED)
def test_what_a_package_returns_is_recorded_as_it_was_billed(
    name: str, books: Books, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    with CostSession("work") as session:
        assert BILLED[name](clients)
    assert books.agree_with(clients.sandbox)
    assert (books.only.cost_source, books.only.model) == ("billed", MODEL)
    assert (books.only.prompt_tokens, books.only.cached_tokens) == (50, 10)
    assert (session.calls, session.unknown, session.total_cost) == (1, 0, COST)
    assert warnings_of(caplog) == []


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What this library has said."""
    return [record.getMessage() for record in caplog.records if record.name == "openrouter_usage"]


BY_ID: dict[str, Callable[[Clients], Any]] = {
    "litellm, stream": litellm_stream,
    "litellm, async stream": lambda c: asyncio.run(litellm_stream_async(c)),
    "pydantic-ai": lambda c: track_cost(pydantic_agent(c).run_sync)("Hello?"),
    "pydantic-ai, async": lambda c: asyncio.run(track_cost(pydantic_agent(c).run)("Hello?")),
    "pydantic-ai, stream": lambda c: asyncio.run(run_pydantic_stream(c)),
    "pydantic-ai, iterated": lambda c: asyncio.run(iterate_pydantic(c)),
    "pydantic-ai, the response": lambda c: track_cost(lambda: pydantic_agent(c).run_sync("Hello?").response)(),
    "openai-agents, streamed": lambda c: asyncio.run(run_agents(c, "OpenAIChatCompletionsModel", streamed=True)),
    "openai-agents, chat": lambda c: asyncio.run(run_agents(c, "OpenAIChatCompletionsModel")),
    "openai-agents, responses": lambda c: asyncio.run(run_agents(c, "OpenAIResponsesModel")),
    "openai speech": lambda c: track_cost(c.openai.audio.speech.create)(**SPEAK),
    "openai speech, streamed": lambda c: b"".join(spoken(c)),
}


def spoken(clients: Clients) -> Iterator[bytes]:
    with track_cost(clients.openai.audio.speech.with_streaming_response.create)(**SPEAK) as response:
        yield from response.iter_bytes()


@pytest.mark.parametrize("name", BY_ID)
def test_a_call_whose_cost_a_package_does_not_hand_on_is_unknown_and_can_be_looked_up(
    name: str, books: Books, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    with CostSession("work") as session:
        assert BY_ID[name](clients)
    assert books.only.cost is None  # the estimate of a package is no bill
    assert books.only.id in clients.sandbox.account.generations
    assert (session.calls, session.unknown) == (1, 1)
    assert "unknown" in str(session)
    assert warnings_of(caplog) == []


def test_the_price_that_a_package_works_out_is_not_what_was_billed(books: Books, clients: Clients) -> None:
    result = track_cost(openrouter_agent(clients).run_sync)("Hello?")
    assert result.usage.cost not in (None, COST)
    assert (books.only.cost, books.only.cost_source) == (COST, "billed")
    with CostSession("alone") as session:
        track_cost(lambda: result.usage)()
    assert (session.calls, session.usage.estimated, session.total_cost) == (1, 1, result.usage.cost)
    assert books.entries[-1].cost_source == "estimated"


def test_a_batch_of_any_length_is_recorded(books: Books, clients: Clients) -> None:
    with CostSession("batch") as session:
        assert len(track_cost(langchain(clients).batch)(["Hello?"] * 25)) == 25
    assert (session.calls, session.total_cost) == (25, 25 * COST)
    assert books.agree_with(clients.sandbox)


def test_a_stream_of_smolagents_keeps_the_tokens_alone_and_is_called_unknown(books: Books, clients: Clients) -> None:
    with CostSession("work") as session:
        assert list(track_cost(smolagents_model(clients).generate_stream)([{"role": "user", "content": "Hello?"}]))
    assert (books.only.cost, books.only.prompt_tokens, session.unknown) == (None, 50, 1)


def test_a_langchain_stream_keeps_the_tokens_alone_and_is_called_unknown(
    books: Books, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    with CostSession("work") as session:
        pieces = list(track_cost(langchain(clients).stream)("Hello?", stream_usage=True))
    assert "".join(piece.text for piece in pieces) == "Hello from the sandbox."
    assert (books.only.cost, books.only.model, books.only.prompt_tokens) == (None, MODEL, 50)
    assert (session.calls, session.unknown) == (1, 1)
    assert warnings_of(caplog) == []


# -- where nothing can be found --


def parsed(clients: Clients) -> Any:
    pydantic = package("pydantic")
    kind = pydantic.create_model("Poem", title=(str, ...))
    clients.sandbox.account.script(Reply('{"title": "Ode"}', cost=COST))
    return clients.openai.chat.completions.parse(**HELLO, response_format=kind).choices[0].message.parsed


def spoken_text(clients: Clients) -> Iterator[str]:
    for chunk in clients.chat(stream=True):
        yield chunk.choices[0].delta.content or ""


async def spoken_text_async(clients: Clients) -> AsyncIterator[str]:
    for chunk in clients.chat(stream=True):
        yield chunk.choices[0].delta.content or ""


async def read_all(pieces: AsyncIterator[Any]) -> list[Any]:
    return [piece async for piece in pieces]


def say(clients: Clients) -> None:
    clients.chat()


def chained(clients: Clients) -> Any:
    return (langchain(clients) | package("langchain_core.output_parsers").StrOutputParser()).invoke("Hello?")


def with_urllib(clients: Clients) -> Any:
    request = package("urllib.request").Request(
        clients.sandbox.url + "/chat/completions",
        data=package("json").dumps(HELLO).encode(),
        headers={**key_header(), "Content-Type": "application/json"},
    )
    with package("urllib.request").urlopen(request, timeout=30) as response:
        return response


NOTHING: dict[str, tuple[Callable[[Clients], Any], str]] = {
    "a text": (lambda c: c.chat().choices[0].message.content, "a text"),
    "parsed": (parsed, "Poem"),
    "nothing": (say, "None"),
    "texts": (lambda c: [c.chat().choices[0].message.content], "list"),
    "a chain": (chained, "a text"),
    "pydantic-ai's output": (lambda c: pydantic_agent(c).run_sync("Hello?").output, "a text"),
    "urllib": (with_urllib, "http.client.HTTPResponse"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_where_nothing_is_found_one_warning_names_what_came_back_and_the_way_out(
    name: str, books: Books, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    function, what = NOTHING[name]
    ask = track_cost(function)
    with CostSession("work") as session:
        ask(clients)
        ask(clients)
    assert_untracked(session, books, caplog, what, calls=2)


def assert_untracked(
    session: CostSession, books: Books, caplog: pytest.LogCaptureFixture, what: str, *, calls: int
) -> None:
    assert books.lines == 0
    (warning,) = warnings_of(caplog)
    assert what in warning and "CostTracker.chat" in warning and __name__ in warning
    assert [record.levelno for record in caplog.records if record.name == "openrouter_usage"] == [logging.WARNING]
    assert (session.calls, session.unknown, session.untracked) == (calls, calls, calls)
    for text in (str(session), session.summary(), str(session.total_cost), f"${session.total_cost:.4f}"):
        assert "unknown" in text and "0" not in text.replace("$0.0000 + ", "")


def test_a_generator_of_bare_text_is_called_untracked(
    books: Books, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    with CostSession("work") as session:
        assert "".join(track_cost(spoken_text)(clients)) == "Hello from the sandbox."
    assert_untracked(session, books, caplog, "stream of text", calls=1)


def test_an_async_generator_of_bare_text_is_called_untracked(
    books: Books, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    with CostSession("work") as session:
        assert asyncio.run(read_all(track_cost(spoken_text_async)(clients)))
    assert_untracked(session, books, caplog, "stream of text", calls=1)
