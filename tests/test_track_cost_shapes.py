"""What track_cost takes for an answer, and what it makes of strange ones."""

from __future__ import annotations

import asyncio
import json
import math
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import aiohttp
import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_usage.tracker.decorator import track_cost
from openrouter_usage.tracker.enforcer import BudgetEnforcer
from openrouter_usage.tracker.observe import is_from_openrouter, observe
from openrouter_usage.tracker.session import CostSession
from tests.sandbox import INFERENCE_KEY, Fault
from tests.tracking import HELLO, Books, Clients, open_books

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.25}
ANSWER = {"id": "gen-1", "model": "a/model", "choices": [], "usage": USAGE}
KNOWN = ("gen-1", "a/model", Decimal("0.25"))
UNKNOWN = ("gen-1", "a/model", None)
CLAIMED = "0.25, by nobody's proof"
CHUNK = {"id": "gen-1", "model": "a/model", "object": "chat.completion.chunk", "choices": [{"delta": {}}]}
Named = namedtuple("Named", "category answer")


def with_usage(**usage: Any) -> dict[str, Any]:
    return {**ANSWER, "usage": usage}


class Held:
    """A model or a message that keeps its answer beside its own data."""

    def __init__(self, **kept: Any) -> None:
        vars(self).update(kept)


@dataclass
class Kept:
    """What a program may make of an answer."""

    prompt: str
    answer: Any


class Stubborn:
    """An object whose attributes raise anything but AttributeError."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Halting:
    """An object of which one attribute cannot be had now."""

    model = "a/model"

    def __init__(self, usage: Any) -> None:
        self.id, self.usage = "gen-1", usage

    @property
    def choices(self) -> Any:
        raise RuntimeError("not now")


class Bare(Halting):
    """The same without a usage."""

    def __init__(self) -> None:
        self.id = "x"


def knotted() -> dict[str, Any]:
    answer: dict[str, Any] = {**ANSWER}
    answer["response"] = answer
    answer["usage"] = {**USAGE, "cost_details": answer}
    return answer


TABLE: list[tuple[str, Any, list[tuple[str, str, Decimal | None]]]] = [
    ("a dict", ANSWER, [KNOWN]),
    ("an object", SimpleNamespace(**{**ANSWER, "usage": SimpleNamespace(**USAGE)}), [KNOWN]),
    ("a dict with an object in it", {**ANSWER, "usage": SimpleNamespace(**USAGE)}, [KNOWN]),
    ("an answer that holds itself", knotted(), [KNOWN]),
    ("an answer in a tuple", ("category", ANSWER), [KNOWN]),
    ("an answer in a list", ["category", ANSWER], [KNOWN]),
    ("an answer in a named tuple", Named("category", ANSWER), [KNOWN]),
    ("an answer among 1,000 items", [*["text"] * 999, ANSWER], [KNOWN]),
    ("25 answers", [{**ANSWER, "id": f"gen-{n}"} for n in range(25)], [(f"gen-{n}", *KNOWN[1:]) for n in range(25)]),
    ("answers in lists of lists", [[ANSWER], ({**ANSWER, "id": "gen-2"},)], [KNOWN, ("gen-2", *KNOWN[1:])]),
    ("an answer in a mapping", {"prompt": "Hello?", "answer": ANSWER}, [KNOWN]),
    ("an answer in an object of data", Kept("Hello?", ANSWER), [KNOWN]),
    ("an answer far down", {"a": [{"b": (ANSWER,)}]}, [KNOWN]),
    ("the chunks of a stream", [CHUNK, CHUNK, {**CHUNK, "usage": USAGE}], [KNOWN]),
    ("the chunks of a stream, the usage by itself", [CHUNK, {**CHUNK, "id": "", "usage": USAGE}], [KNOWN]),
    ("an answer behind a model of instructor", Held(_raw_response=ANSWER), [KNOWN]),
    ("an answer behind a message of smolagents", Held(raw=SimpleNamespace(**ANSWER)), [KNOWN]),
    ("a text behind the name of an answer", Held(raw="text"), []),
    ("whole floats", with_usage(prompt_tokens=3.0, completion_tokens=2.0, cost=0.25), [KNOWN]),
    ("an answer and its own usage", (ANSWER, USAGE), [KNOWN]),
    ("two answers", (ANSWER, {**ANSWER, "id": "gen-2"}), [KNOWN, ("gen-2", *KNOWN[1:])]),
    ("a usage alone", ("category", USAGE), [("", "unknown model", CLAIMED)]),
    ("tokens alone", ("category", {"prompt_tokens": 3, "completion_tokens": 2}), [("", "unknown model", None)]),
    ("a usage with its names", {**USAGE, "id": "gen-1", "model": "a/model"}, [KNOWN]),
    ("an answer without an id", {**ANSWER, "id": None}, [("", "a/model", CLAIMED)]),
    ("an answer of another server", {**ANSWER, "id": "chatcmpl-1"}, [("chatcmpl-1", "a/model", CLAIMED)]),
    ("an invoice", {"id": "invoice-7", "model": "consulting", "usage": {"cost": 1200.5}}, []),
    ("an invoice without a number", {"model": "Volvo", "usage": {"cost": 1200.5}}, []),
    ("an answer without a model", {"id": "gen-1", "usage": USAGE}, [("gen-1", "unknown model", KNOWN[2])]),
    ("a generation's id alone", {"id": "gen-1"}, [("gen-1", "unknown model", None)]),
    ("usage missing", {"id": "x", "model": "a/model", "choices": []}, [("x", "a/model", None)]),
    ("usage null", {"id": "x", "model": "a/model", "usage": None}, [("x", "a/model", None)]),
    ("usage of no figures", with_usage(cpu=5), [UNKNOWN]),
    ("usage that is a text", {**ANSWER, "usage": "much"}, [UNKNOWN]),
    ("no cost", with_usage(prompt_tokens=3), [UNKNOWN]),
    ("cost null", with_usage(prompt_tokens=3, cost=None), [UNKNOWN]),
    ("cost 0", with_usage(prompt_tokens=3, cost=0), [(*UNKNOWN[:2], Decimal(0))]),
    ("cost without tokens", with_usage(prompt_tokens=0, completion_tokens=0, cost=0.25), [KNOWN]),
    ("cost as a text", with_usage(cost="0.25"), [KNOWN]),
    ("cost as a Decimal", with_usage(cost=Decimal("0.250")), [KNOWN]),
    ("cost of many digits", with_usage(cost=1e-12), [(*UNKNOWN[:2], Decimal("1E-12"))]),
    ("cost NaN", with_usage(prompt_tokens=3, cost=math.nan), [UNKNOWN]),
    ("cost infinite", with_usage(prompt_tokens=3, cost=math.inf), [UNKNOWN]),
    ("cost negative", with_usage(prompt_tokens=3, cost=-0.25), [UNKNOWN]),
    ("cost true", with_usage(prompt_tokens=3, cost=True), [UNKNOWN]),
    ("cost absurd", with_usage(prompt_tokens=3, cost=1e12), [UNKNOWN]),
    ("cost beyond what a ledger holds", with_usage(prompt_tokens=3, cost=2_000_000), [UNKNOWN]),
    ("cost a list", with_usage(prompt_tokens=3, cost=[0.25]), [UNKNOWN]),
    ("not BYOK", with_usage(cost=0.25, is_byok=False, cost_details={"upstream_inference_cost": 9}), [KNOWN]),
    ("an empty dict", {}, []),
    ("an error", {"error": {"code": 502, "message": "Provider returned error"}}, []),
    ("a model of the price list", {"id": "a/model", "object": "model", "pricing": {}}, []),
    ("a model alone", {"model": "a/model", "usage": None, "object": "thing"}, []),
    ("settings of a call", {"model": "a/model", "max_tokens": 5}, []),
    ("somebody else's record", {"id": "7", "model": "Volvo", "data": 1}, []),
    ("counts that are none", {"prompt_tokens": -3, "completion_tokens": 10**20}, []),
    ("one count alone", {"total_tokens": 5}, []),
    ("a mock", MagicMock(), []),
    ("an object that does not want to be looked at", Stubborn(), []),
    ("an answer of which a part cannot be had", Halting(USAGE), [KNOWN]),
    ("an object of which a part cannot be had", Bare(), []),
    ("a type", dict, []),
    ("text", '{"id": "gen-1", "usage": {"cost": 1}}', []),
]


@pytest.mark.parametrize(("value", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_a_function_returns_is_passed_on_itself_and_recorded_if_it_is_an_answer(
    value: Any, expected: list[Any], books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    with CostSession("work") as session:
        assert track_cost(lambda: value)() is value
    found = [(entry.id, entry.model, CLAIMED if entry.cost_source == "estimated" else entry.cost) for entry in books.entries]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert books.lines == len(expected)
    assert (session.calls, session.usage.estimated) == (len(expected) or session.untracked, int(CLAIMED in str(expected)))
    assert len(caplog.records) == int(session.untracked or CLAIMED in str(expected))


QUIET = ("an error", "a mock")


@pytest.mark.parametrize("row", [row for row in TABLE if not row[2]], ids=lambda row: row[0])
def test_what_tells_nothing_of_a_call_is_said_once_and_makes_a_session_unknown(
    row: Any, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    name, value, _ = row
    ask = track_cost(lambda: value)
    with CostSession("work") as session:
        ask()
        ask()
    assert session.unknown == (0 if name in QUIET else 2)
    assert len(caplog.records) == (0 if name in QUIET else 1)


def test_a_figure_that_is_none_does_not_spoil_the_others(books: Books) -> None:
    usage = {**USAGE, "prompt_tokens": -3, "cost": True, "prompt_tokens_details": {"cached_tokens": "x"}}
    track_cost(lambda: with_usage(**usage))()
    assert (books.only.prompt_tokens, books.only.completion_tokens) == (0, 2)
    assert (books.only.cost, books.only.cached_tokens) == (None, None)


def test_the_time_of_several_calls_together_is_the_time_of_none_of_them(books: Books) -> None:
    track_cost(lambda: ("one", ANSWER))()
    track_cost(lambda: ({**ANSWER, "id": "gen-2"}, {**ANSWER, "id": "gen-3"}))()
    assert [entry.latency_ms is None for entry in books.entries] == [False, True, True]


def test_byok_money_is_counted_apart(books: Books) -> None:
    track_cost(lambda: with_usage(cost=0.01, is_byok=True, cost_details={"upstream_inference_cost": 0.5}))()
    assert (books.only.cost, books.only.byok_cost) == (Decimal("0.01"), Decimal("0.5"))


def test_names_that_no_ledger_can_hold_are_cut_and_cleaned(books: Books) -> None:
    strange = {"id": "gen-\ud800", "model": "m" * 5_000, "provider": "p\udfff", "usage": USAGE}
    track_cost(lambda: strange, session="s" * 5_000)()
    entry = books.only
    assert (entry.id, entry.provider) == ("gen-?", "p?")
    assert (len(entry.model), len(entry.session)) == (1_000, 1_000)


NAMES = st.sampled_from([
    "id", "model", "usage", "choices", "response", "message", "chunk", "object", "type", "cost", "is_byok", "delta",
    "prompt_tokens", "completion_tokens", "input_tokens", "cost_details", "upstream_inference_cost", "provider",
    "cache_read_input_tokens", "prompt_tokens_details", "cached_tokens", "finish_reason",
])  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(st.characters(exclude_categories=()), max_size=8)
    | st.sampled_from(["gen-1", "chat.completion", "response"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


@given(values=st.lists(st.dictionaries(NAMES, VALUES, max_size=6), min_size=5, max_size=10))
@settings(max_examples=30)
def test_no_answer_is_so_strange_that_it_raises_or_spoils_the_ledger(
    values: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for books in open_books(tmp_path_factory.mktemp("books"), patch):
            for value in values:
                assert track_cost(lambda value=value: value)() is value
            pieces = list(track_cost(lambda: iter(values))())
            assert all(one is other for one, other in zip(pieces, values, strict=True))
            assert len(books.entries) <= books.lines


@pytest.mark.parametrize(
    ("args", "kwargs", "model"),
    [((), {}, "a/default"), (("hi", "b/given"), {}, "b/given"), (("hi",), {"model": "c/named"}, "c/named")],
)
def test_an_answer_that_does_not_name_its_model_has_the_one_that_was_asked_for(
    args: tuple[Any, ...], kwargs: dict[str, Any], model: str, books: Books
) -> None:
    @track_cost
    def ask(prompt: str = "", model: str = "a/default") -> Any:
        return {"usage": USAGE}

    ask(*args, **kwargs)
    assert books.only.model == model


def test_an_answer_that_names_its_model_has_that_one(books: Books) -> None:
    track_cost(lambda model: ANSWER)(model="openrouter/auto")
    assert books.only.model == "a/model"


def test_a_response_without_an_answer_is_recorded_by_the_id_in_its_headers(books: Books, clients: Clients) -> None:
    speech = SimpleNamespace(raise_for_status=None, status_code=200)
    response = clients.post("/chat/completions", HELLO)
    response.headers["Content-Type"] = "audio/mpeg"
    track_cost(lambda: (speech, response))()
    assert (books.only.id, books.only.cost) == (response.headers["X-Generation-Id"], None)


def test_a_refusal_that_is_returned_is_no_call(books: Books, clients: Clients) -> None:
    response = track_cost(clients.post)("/chat/completions", {"model": "no/model", "messages": []})
    assert response.status_code == 400
    assert books.lines == 0


BODY = {"id": "resp_1", "model": "a/model", "usage": USAGE}


@pytest.mark.parametrize(
    ("base_url", "header", "source"),
    [("", "", "estimated"), ("sandbox", "", "billed"), ("", "gen-header", "billed"), ("elsewhere", "", "estimated")],
)
@pytest.mark.parametrize("way", ["requests", "httpx", "a stream of openai", "aiohttp"])
def test_a_cost_is_billed_by_the_address_or_the_headers_of_its_answer(
    way: str, base_url: str, header: str, source: str, books: Books, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"": "", "sandbox": clients.sandbox.url, "elsewhere": "http://127.0.0.1:9/api/v1"}[base_url]
    monkeypatch.setenv("OPENROUTER_BASE_URL", own)
    body, kind = json.dumps(BODY).encode(), "application/json"
    if "stream" in way:
        body, kind = b"data: " + body + b"\n\ndata: [DONE]\n\n", "text/event-stream"
    headers = Fault.headers({"X-Generation-Id": header}) if header else Fault.headers({})
    clients.sandbox.misbehave("POST /chat/completions", Fault.raw(body, kind) & headers)
    ANSWERING[way](clients)
    assert (books.only.cost, books.only.cost_source) == (KNOWN[2], source)


async def post_aiohttp(clients: Clients) -> None:
    async with aiohttp.ClientSession() as session:
        response = await track_cost(session.post)(clients.sandbox.url + "/chat/completions", json=HELLO)
        await response.json()


ANSWERING: dict[str, Callable[[Clients], Any]] = {
    "requests": lambda c: track_cost(c.post)("/chat/completions", HELLO),
    "httpx": lambda c: track_cost(httpx.post)(c.sandbox.url + "/chat/completions", json=HELLO),
    "a stream of openai": lambda c: list(track_cost(c.chat)(stream=True)),
    "aiohttp": lambda c: asyncio.run(post_aiohttp(c)),
}


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("https://openrouter.ai/api/v1/chat/completions", True),
        ("https://eu.openrouter.ai/api/v1/chat/completions", True),
        ("https://openrouter.ai.example.com/api/v1", False),
        ("https://notopenrouter.ai/api/v1", False),
        ("http://openrouter.ai/api/v1", False),
        ("https://example.com/openrouter.ai", False),
        ("https://example.com/?openrouter.ai", False),
        ("https://openrouter.ai@example.com/", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_an_address_is_openrouters_by_its_host(url: str, is_ours: bool) -> None:
    assert is_from_openrouter(SimpleNamespace(url=url, headers={})) is is_ours


@dataclass
class EstimatedRun:
    """A framework's result: its price is its own."""

    response: Any
    cost: float = 0.000721


def test_the_price_estimate_of_a_framework_is_not_billed(books: Books) -> None:
    answer = SimpleNamespace(model_name="a/model", usage=SimpleNamespace(input_tokens=3, output_tokens=2, cost=0.000721))
    track_cost(lambda: EstimatedRun(answer))()
    assert books.only.cost_source == "estimated"


def test_the_cost_of_langchain_openrouter_is_read_beside_its_usage(books: Books) -> None:
    """As the package makes it of an answer and of a stream; it cannot be installed beside a current `openrouter`."""

    class AIMessage(SimpleNamespace):
        pass

    class AIMessageChunk(SimpleNamespace):
        pass

    counts = {"input_tokens": 50, "output_tokens": 7, "total_tokens": 57, "input_token_details": {"cache_read": 10}}
    metadata = {"model_provider": "openrouter", "model_name": "a/model", "finish_reason": "stop", "id": "gen-1"}
    told = {"cost": 0.25, "cost_details": {"upstream_inference_cost": 0.25}}
    message = AIMessage(id="lc_run--1", response_metadata={**metadata, **told}, usage_metadata=counts)
    empty = AIMessageChunk(id="lc_run--2", response_metadata={}, usage_metadata=None)
    chunks = [
        AIMessageChunk(id="lc_run--2", response_metadata={**metadata, "id": "gen-2"}, usage_metadata=None),
        empty,
        AIMessageChunk(id="lc_run--2", response_metadata=told, usage_metadata=counts),
    ]
    track_cost(lambda: message)()
    assert (books.only.id, books.only.cost, books.only.prompt_tokens) == ("gen-1", Decimal("0.25"), 50)
    list(track_cost(lambda: iter(chunks))())
    assert [(entry.id, entry.cost, entry.cost_source) for entry in books.entries] == [
        ("gen-1", Decimal("0.25"), "billed"),
        ("gen-2", Decimal("0.25"), "billed"),
    ]
    assert [entry.cached_tokens for entry in books.entries] == [10, 10]


@pytest.mark.parametrize(
    ("answer", "booked"),
    [
        ({"id": "gen-1", "usage": {"cost": 0.001}}, ("billed", Decimal("0.001"))),
        ({"id": "invoice-7", "usage": {"cost": 0.001}}, ("estimated", None)),
        ({"usage": {"prompt_tokens": 3, "cost": 0}}, ("estimated", None)),
        ({"usage": {"prompt_tokens": 3, "cost": 12.5}}, ("estimated", Decimal("12.5"))),
    ],
)
def test_money_that_is_held_is_not_let_go_for_a_cost_that_nobody_proves(
    answer: Any, booked: Any, books: Books, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", INFERENCE_KEY)
    monkeypatch.setenv("OPENROUTER_BASE_URL", clients.sandbox.url)
    enforcer = BudgetEnforcer()
    most = enforcer.estimate_cost("openai/gpt-5.2", 1_000, 1_000)
    with CostSession("held") as session, enforcer.hold("openai/gpt-5.2", 1_000, 1_000) as held:
        held.settle(answer)
    source, cost = booked
    assert (books.only.cost_source, books.only.cost) == (source, most if cost is None else cost)
    assert session.total_cost == books.only.cost
    enforcer.ledger.close()


def test_an_exception_that_carries_its_answer_does_not_lose_it(books: Books) -> None:
    class LengthFinishReasonError(Exception):
        completion = ANSWER

    @track_cost
    def ask() -> Any:
        raise LengthFinishReasonError

    with pytest.raises(LengthFinishReasonError):
        ask()
    assert (books.only.id, books.only.cost) == ("gen-1", KNOWN[2])


class TestObserve:
    """The same reading without a ledger."""

    def test_of_an_object_and_of_a_response_it_gives_the_same(self, clients: Clients) -> None:
        response = clients.post("/chat/completions", HELLO)
        usage = observe(response)
        assert usage.cost == clients.sandbox.account.bill
        assert observe(response.json()) == usage
        assert observe(openai.types.chat.ChatCompletion.model_validate(response.json())) == usage

    def test_of_a_streamed_response_that_was_read_it_gives_the_last_usage(self, clients: Clients) -> None:
        usage = observe(clients.post("/chat/completions", {**HELLO, "stream": True}))
        assert (usage.cost, usage.finish_reason) == (clients.sandbox.account.bill, "stop")

    def test_of_anything_else_it_gives_nothing(self) -> None:
        assert not observe("text").has_usage
        assert observe(iter([ANSWER])).cost is None
