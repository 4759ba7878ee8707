"""The gateway's parts that only think: paths, insertion, meter, callers, bounds."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_usage.errors import InvalidValue
from openrouter_usage.figures.pricing import Unbounded, price_list
from openrouter_usage.gateway.bound import bounded
from openrouter_usage.gateway.clients import find_caller
from openrouter_usage.gateway.insert import set_member
from openrouter_usage.gateway.meter import LARGE_BODY, Meter
from openrouter_usage.gateway.paths import find_route
from openrouter_usage.money import loads
from openrouter_usage.openrouter.answers.models import read_models
from tests.booking import NOON

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text() | st.sampled_from(["a", "provider"]), JSON, max_size=5),
    st.sampled_from([("a",), ("provider", "max_price"), ("provider", "max_price", "prompt")]),
    st.sampled_from([None, 0, 3]),
    st.booleans(),
)
def test_a_member_is_set_in_any_object_and_nothing_else_changes(
    body: dict[str, Any], path: tuple[str, ...], indent: int | None, plain: bool
) -> None:
    text = json.dumps(body, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass")
    changed = set_member(text, path, "1.50")
    wanted = json.loads(json.dumps(body))
    place = wanted
    for name in path[:-1]:
        if not isinstance(place.get(name), dict):
            place[name] = {}
        place = place[name]
    place[path[-1]] = 1.5
    assert json.loads(changed.decode("utf-8", "surrogatepass")) == wanted


@pytest.mark.parametrize(
    ("text", "path", "changed"),
    [
        (b"{}", ("a",), b'{"a":1}'),
        (b' { "b" : 2 } ', ("a",), b' {"a":1, "b" : 2 } '),
        (b'{"a": null , "b":[{"a":3}]}', ("a",), b'{"a": 1 , "b":[{"a":3}]}'),
        (b'{"p":null}', ("p", "a"), b'{"p":{"a":1}}'),
        (b'{"p":{ "b":1}}', ("p", "a"), b'{"p":{"a":1, "b":1}}'),
        (b'{"\\u0061":5}', ("a",), b'{"\\u0061":1}'),
        (b'{"x":"}\\"{,:","a":0}', ("a",), b'{"x":"}\\"{,:","a":1}'),
    ],
)
def test_the_bytes_around_a_member_stay(text: bytes, path: tuple[str, ...], changed: bytes) -> None:
    assert set_member(text, path, "1") == changed


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(InvalidValue, match="twice"):
        set_member(b'{"a":1,"\\u0061":2}', ("b",), "1")


STREAMS = {
    "chat": (b'data: {"id":"gen-1","model":"m","choices":[{"delta":{}}]}\n\n: OPENROUTER PROCESSING\n\n'
             b'data: {"id":"gen-1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"cost":0.00000123}}\n\n'
             b"data: [DONE]\n\n"),
    "messages": (b'event: message_start\r\ndata: {"type":"message_start","message":{"id":"gen-1","model":"m","usage":'
                 b'{"input_tokens":3,"output_tokens":0}}}\r\n\r\nevent: message_delta\r\ndata: {"type":"message_delta",\r\n'
                 b'data: "usage":{"output_tokens":2,"cost":0.00000123}}\r\n\r\ndata: {"type":"message_stop"}\r\n\r\n'),
    "responses": (b'data: {"type":"response.created","response":{"id":"resp_1","model":"m","usage":null}}\n\n'
                  b'data: {"type":"response.completed","response":{"id":"resp_1","model":"m","usage":'
                  b'{"input_tokens":3,"output_tokens":2,"cost":1.23e-6}}}\n\n'),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
@given(cuts=st.lists(st.integers(0, 400), max_size=12))
def test_a_stream_that_is_cut_anywhere_has_the_same_usage(name: str, cuts: list[int]) -> None:
    data = STREAMS[name]
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    meter = Meter("gen-1", content_type="text/event-stream", is_encoded=False)
    for begin, end in itertools.pairwise(places):
        meter.feed(data[begin:end])
    usage = meter.usage
    assert (usage.id, usage.model, usage.prompt_tokens, usage.completion_tokens) == ("gen-1", "m", 3, 2)
    assert usage.cost == Decimal("0.00000123") and meter.is_complete


def test_a_usage_without_a_cost_does_not_take_one_away() -> None:
    meter = Meter("gen-1", content_type="text/event-stream", is_encoded=False)
    meter.feed(b'data: {"usage":{"cost":0.5}}\n\ndata: {"usage":{"prompt_tokens":1}}\n\n')
    assert meter.usage.cost == Decimal("0.5")


def test_a_large_body_is_read_exactly_too() -> None:
    body = b'{"id":"gen-1","data":[' + b"0.123," * 100_000 + b'1],"usage":{"prompt_tokens":7,"cost":0.10000000000000000001}}'
    assert len(body) > LARGE_BODY
    meter = Meter("gen-1", content_type="application/json", is_encoded=False)
    meter.feed(body)
    assert meter.waits_for_reading
    meter.finish()
    assert (meter.usage.cost, meter.usage.prompt_tokens) == (Decimal("0.10000000000000000001"), 7)


@pytest.mark.parametrize(
    ("headers", "body", "path", "session"),
    [
        ({"X-Claude-Code-Session-Id": "a", "x-session-id": "b"}, {"session_id": "c"}, "p", "p"),
        ({"X-Claude-Code-Session-Id": "a", "x-session-id": "b"}, {"session_id": "c"}, "", "a"),
        ({"x-session-id": "b"}, {"session_id": "c"}, "", "c"),
        ({"x-session-id": "b"}, {"prompt_cache_key": "d"}, "", "b"),
        ({}, {"prompt_cache_key": "d", "metadata": {"user_id": "u_session_0a"}}, "", "d"),
        ({}, {"metadata": {"user_id": "user_1_account__session_01234567-89ab"}}, "", "01234567-89ab"),
        ({}, {"metadata": None, "session_id": 5}, "", ""),
    ],
)
def test_the_session_is_that_of_the_first_who_names_one(
    headers: dict[str, str], body: dict[str, Any], path: str, session: str
) -> None:
    assert find_caller(headers, body, path_session=path, client="", key_tags={}).session == session


def test_what_a_program_says_of_itself_is_weaker_than_its_key() -> None:
    headers = {"X-OpenRouter-Usage-Tag": "client=other, project=mine", "User-Agent": "curl/8"}
    found = find_caller(headers, {}, path_session="", client="laptop", key_tags={"project": "site"})
    assert found.tags == {"client": "laptop", "project": "site"}


def test_paths_of_work_are_read_once() -> None:
    assert find_route("POST", "/s/a%2Fb/api/v1/chat/completions").session == "a/b"
    assert find_route("POST", "/api/v1/chat/completions/../keys").refused


def prices(**more: Any) -> Any:
    row = {"id": "a/m", "canonical_slug": "a/m", "name": "m", "context_length": 10_000,
           "pricing": {"prompt": "0.001", "completion": "0.01", **more}, "top_provider": {"max_completion_tokens": 500}}  # fmt: skip
    return price_list(read_models({"data": [row]}), NOON)


def test_a_bound_is_at_most_the_context_and_the_models_longest_answer() -> None:
    short = b'{"model":"a/m","messages":[{"role":"user","content":"hi"}]}'
    found = bounded("chat", loads(short), short, prices())
    assert found.max_cost == Decimal("0.001") * (len(short) + 2_112) + Decimal("0.01") * 500
    assert json.loads(found.text)["max_tokens"] == 500
    long = short.replace(b"hi", b"x" * 50_000)
    found = bounded("chat", loads(long), long, prices())
    assert found.max_cost == Decimal("0.001") * 10_000 + Decimal("0.01") * 10_000
    assert "max_tokens" not in json.loads(found.text)


def test_images_are_bounded_by_the_context_and_their_own_price() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x"}}
    body: Any = {"model": "a/m", "max_tokens": 1, "messages": [{"role": "user", "content": [image, image]}]}
    text = json.dumps(body).encode()
    assert bounded("chat", body, text, prices(image="0.5")).max_cost == Decimal("10.01") + 1
    with pytest.raises(Unbounded):
        bounded("chat", body, text, prices(image="-1"))


def test_a_callers_own_max_price_is_kept() -> None:
    text = b'{"model":"a/m","max_tokens":1,"provider":{"max_price":{"prompt":1},"sort":"price"},"messages":[{"content":"x"}]}'
    sent = json.loads(bounded("chat", loads(text), text, prices()).text)
    assert sent["provider"] == {"max_price": {"prompt": 1, "completion": 10_000, "request": 0}, "sort": "price"}
