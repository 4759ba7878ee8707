"""What track_cost takes for an answer, and what it makes of strange ones."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_usage.tracker.decorator import track_cost
from openrouter_usage.tracker.observe import observe
from tests.sandbox import Sandbox
from tests.tracking import HELLO, Books, Clients, open_books, open_clients

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.25}
ANSWER = {"id": "gen-1", "model": "a/model", "choices": [], "usage": USAGE}
KNOWN = ("gen-1", "a/model", Decimal("0.25"))
UNKNOWN = ("gen-1", "a/model", None)
Named = namedtuple("Named", "category answer")


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    yield from open_books(tmp_path, monkeypatch)


@pytest.fixture
def clients(sandbox: Sandbox) -> Iterator[Clients]:
    yield from open_clients(sandbox)


def with_usage(**usage: Any) -> dict[str, Any]:
    return {**ANSWER, "usage": usage}


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
    ("an answer among 20 items", [*"0123456789012345678", ANSWER], [KNOWN]),
    ("an answer among 21 items", [*"01234567890123456789", ANSWER], []),
    ("an answer and its own usage", (ANSWER, USAGE), [KNOWN]),
    ("two answers", (ANSWER, {**ANSWER, "id": "gen-2"}), [KNOWN, ("gen-2", *KNOWN[1:])]),
    ("a usage alone", ("category", USAGE), [("", "unknown model", Decimal("0.25"))]),
    ("tokens alone", ("category", {"prompt_tokens": 3, "completion_tokens": 2}), [("", "unknown model", None)]),
    ("a usage with its names", {**USAGE, "id": "gen-1", "model": "a/model"}, [KNOWN]),
    ("an answer without an id", {**ANSWER, "id": None}, [("", *KNOWN[1:])]),
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
    assert track_cost(lambda: value)() is value
    assert caplog.records == []
    assert [(entry.id, entry.model, entry.cost) for entry in books.entries] == expected
    assert books.lines == len(expected)


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
