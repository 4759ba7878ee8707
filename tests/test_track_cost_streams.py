"""track_cost over streams: each call is recorded once, however its stream ends, and the stream stays what it was."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import io
import threading
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import openai
import pytest
import requests

from openrouter_usage.entry import Hold
from openrouter_usage.tracker.decorator import track_cost
from openrouter_usage.tracker.record import shared_ledger
from tests.sandbox import Fault, Reply, Stream, StreamError
from tests.tracking import HELLO, Books, Clients

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.25}


Pair = namedtuple("Pair", "name stream")


class Counted:
    """An iterator with a shared memory."""

    count = 0

    def __iter__(self) -> Counted:
        return self

    def __next__(self) -> int:
        Counted.count += 1
        return Counted.count


def chunk(identity: str = "gen-1", **more: Any) -> dict[str, Any]:
    return {"id": identity, "model": "a/model", "object": "chat.completion.chunk", "choices": [{"delta": {}}], **more}


def chunks(identity: str = "gen-1", cost: float = 0.25) -> list[dict[str, Any]]:
    return [chunk(identity), chunk(identity), chunk(identity, usage={**USAGE, "cost": cost})]


@track_cost
def generated(pieces: list[Any]) -> Iterator[Any]:
    yield from pieces


@track_cost
def iterated(pieces: list[Any]) -> Iterator[Any]:
    return iter(pieces)


@track_cost
def comprehended(pieces: list[Any]) -> Iterator[Any]:
    return (piece for piece in pieces)


WAYS = {"generator function": generated, "iterator": iterated, "generator": comprehended}


# -- streams of real clients that end early --


def take_one(stream: Any) -> Any:
    return next(iter(stream))


def close(stream: Any) -> None:
    take_one(stream)
    stream.close()


def leave(stream: Any) -> None:
    with stream:
        take_one(stream)


def raise_inside(stream: Any) -> None:
    with pytest.raises(KeyboardInterrupt), stream:
        take_one(stream)
        raise KeyboardInterrupt


def forget(stream: Any) -> None:
    take_one(stream)


def never_begin(stream: Any) -> None:
    stream.close()


@pytest.mark.parametrize("end", [close, leave, raise_inside, forget, never_begin])
@pytest.mark.parametrize("client", ["openai", "openrouter"])
def test_a_stream_that_ends_early_leaves_one_call_of_unknown_cost_that_can_be_looked_up(
    client: str, end: Callable[[Any], None], books: Books, clients: Clients
) -> None:
    make = clients.chat if client == "openai" else lambda **more: clients.openrouter.chat.send(**HELLO, **more)
    stream = track_cost(make)(stream=True)
    response = stream.response
    end(stream)
    assert books.lines == (0 if end is forget else 1)
    del stream
    gc.collect()
    response.close()
    assert books.lines == 1
    assert (books.only.cost, books.only.streamed) == (None, True)
    assert books.only.id in clients.sandbox.account.generations


@pytest.mark.parametrize("end", [close, leave, forget, never_begin])
def test_a_response_that_is_not_read_to_its_end_leaves_one_call_of_unknown_cost(
    end: Callable[[Any], None], books: Books, clients: Clients
) -> None:
    raw = requests.post(
        clients.sandbox.url + "/chat/completions",
        json={**HELLO, "stream": True},
        headers=dict(clients.session.headers),
        stream=True,
        timeout=30,
    )
    connection, given = raw.raw, [raw]
    del raw
    response = track_cost(given.pop)()
    end(response)
    assert books.lines == (0 if end is forget else 1)
    del response
    gc.collect()
    connection.close()
    assert books.lines == 1
    assert books.only.cost is None
    assert books.only.id in clients.sandbox.account.generations


@pytest.mark.parametrize("client", ["openai", "openrouter", "requests"])
def test_an_error_in_the_middle_of_a_stream_leaves_its_call_to_be_looked_up(
    client: str, books: Books, clients: Clients
) -> None:
    clients.sandbox.account.script(Reply(stream=Stream(error=StreamError())))
    if client == "openai":
        with pytest.raises(openai.APIError):
            list(track_cost(clients.chat)(stream=True))
    elif client == "openrouter":
        list(track_cost(clients.openrouter.chat.send)(**HELLO, stream=True))
    else:
        list(track_cost(clients.post)("/chat/completions", {**HELLO, "stream": True}, stream=True).iter_lines())
    assert books.only.cost is None
    assert books.only.id in clients.sandbox.account.generations


def test_a_response_is_itself_again_when_it_has_been_read(books: Books, clients: Clients) -> None:
    response = track_cost(clients.post)("/chat/completions", HELLO, stream=True)
    assert "iter_content" in vars(response)
    assert response.json()["id"] == books.only.id
    assert not vars(response).keys() & {"iter_content", "close"}


def test_a_last_event_without_its_line_end_counts_if_it_is_whole(books: Books, clients: Clients) -> None:
    text = b'data: {"id": "gen-1", "model": "a/model", "usage": {"cost": 0.25}}'
    whole, torn = Fault.raw(text, "text/event-stream"), Fault.raw(text + b"\n\n" + text[:-9], "text/event-stream")
    clients.sandbox.misbehave("POST /chat/completions", whole, torn)
    for _ in range(2):
        assert track_cost(clients.post)("/chat/completions", HELLO, stream=True).content
        assert books.only.cost == Decimal("0.25")


def test_an_error_chunk_that_tells_the_cost_is_recorded_with_it(books: Books, clients: Clients) -> None:
    clients.sandbox.account.script(Reply(stream=Stream(error=StreamError(usage=True))))
    response = track_cost(clients.post)("/chat/completions", {**HELLO, "stream": True}, stream=True)
    assert b"Provider disconnected" in response.content
    assert books.agree_with(clients.sandbox)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_connection_that_breaks_leaves_its_call_to_be_looked_up(how: str, books: Books, clients: Clients) -> None:
    clients.sandbox.account.script(Reply(stream=Stream(cut_after=2, cut=how)))
    response = track_cost(clients.post)("/chat/completions", {**HELLO, "stream": True}, stream=True)
    with pytest.raises(requests.RequestException):
        list(response.iter_lines())
    assert (books.only.cost, books.lines) == (None, 1)
    assert books.only.id in clients.sandbox.account.generations


def test_an_async_stream_that_is_cancelled_leaves_its_call_to_be_looked_up(books: Books, clients: Clients) -> None:
    clients.sandbox.account.script(Reply(stream=Stream(idle_after=1)))

    async def go() -> None:
        async with clients.async_openai() as client:
            stream = await track_cost(client.chat.completions.create)(**HELLO, stream=True)
            await anext(stream)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(stream), 0.05)
            assert (books.only.cost, books.only.streamed) == (None, True)
            await stream.close()

    asyncio.run(go())
    assert books.lines == 1
    assert books.only.id in clients.sandbox.account.generations


# -- what a proxy lets through --


def test_everything_else_about_a_stream_is_still_there(books: Books, clients: Clients) -> None:
    stream = track_cost(clients.chat)(stream=True)
    assert stream.response.status_code == 200
    with stream as opened:
        assert opened is stream
        assert next(opened).id in clients.sandbox.account.generations
        assert [piece.id for piece in opened]
    with pytest.raises(AttributeError):
        stream.no_such_thing
    assert repr(stream).startswith("<openai.Stream")
    assert books.agree_with(clients.sandbox)


def test_a_stream_is_read_either_way_only_where_it_could_be_before(books: Books) -> None:
    class Both:
        def __init__(self) -> None:
            self.rest = chunks()

        def __iter__(self) -> Both:
            return self

        def __next__(self) -> Any:
            if not self.rest:
                raise StopIteration
            return self.rest.pop(0)

        def __aiter__(self) -> Both:
            return self

        async def __anext__(self) -> Any:
            if not self.rest:
                raise StopAsyncIteration
            return self.rest.pop(0)

    async def read(stream: Any) -> list[Any]:
        return [piece async for piece in stream]

    assert asyncio.run(read(track_cost(Both)())) == chunks()
    assert list(track_cost(Both)()) == chunks()
    assert not hasattr(type(iterated(chunks())), "__aiter__")
    assert books.lines == 1


@pytest.mark.parametrize("way", WAYS)
def test_the_pieces_of_a_stream_are_the_very_same(way: str, books: Books) -> None:
    pieces = [*chunks(), "text", None, 7]
    assert all(one is other for one, other in zip(WAYS[way](pieces), pieces, strict=True))
    assert books.only.cost == Decimal("0.25")


def test_a_generator_stays_a_generator_that_is_sent_things_and_returns_one(books: Books) -> None:
    @track_cost
    def conversation() -> Any:
        said = yield chunk()
        try:
            yield said
        except ValueError as error:
            yield str(error)
        return {"id": "gen-2", "model": "a/model", "usage": USAGE}

    def reader() -> Any:
        answer = yield from conversation()
        assert answer["id"] == "gen-2"

    generator = reader()
    assert inspect.isgeneratorfunction(conversation)
    assert next(generator) == chunk()
    assert generator.send("hello") == "hello"
    assert generator.throw(ValueError("thrown")) == "thrown"
    assert list(generator) == []
    assert {entry.id: entry.cost for entry in books.entries} == {"gen-1": None, "gen-2": Decimal("0.25")}


def test_an_async_generator_is_sent_things_and_closed_like_any_other(books: Books) -> None:
    ended: list[str] = []

    @track_cost
    async def conversation() -> AsyncIterator[Any]:
        try:
            said = yield chunk()
            try:
                yield said
            except ValueError as error:
                yield str(error)
            yield chunk()
        finally:
            ended.append("closed")

    async def go() -> None:
        generator: Any = conversation()
        assert await anext(generator) == chunk()
        assert await generator.asend("hello") == "hello"
        assert await generator.athrow(ValueError("thrown")) == "thrown"
        await generator.aclose()
        assert ended == ["closed"]
        with pytest.raises(StopAsyncIteration):
            await anext(generator)

    asyncio.run(go())
    assert inspect.isasyncgenfunction(conversation)
    assert (books.only.id, books.only.cost, books.lines) == ("gen-1", None, 1)


@pytest.mark.parametrize(
    "value",
    [
        io.StringIO("a line\n"),
        "text",
        b"bytes",
        range(3),
        {"a": 1},
        {1, 2},
        ["text"] * 21,
        SimpleNamespace(a=1),
        None,
        print,
        Decimal(1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_stream_and_no_answer_is_passed_on_itself_and_not_recorded(value: Any, books: Books) -> None:
    assert track_cost(lambda: value)() is value
    assert books.lines == 0


# -- what is recorded of the pieces --


@pytest.mark.parametrize("way", WAYS)
def test_the_last_usage_of_a_stream_counts(way: str, books: Books) -> None:
    list(WAYS[way]([chunk(usage={**USAGE, "cost": 0.1}), *chunks(), chunk()]))
    assert (books.only.cost, books.lines) == (Decimal("0.25"), 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_of_several_calls_is_recorded_as_several(way: str, books: Books) -> None:
    first, second = chunks("gen-1", 0.1), chunks("gen-2", 0.2)
    mixed = [first[0], second[0], second[1], first[1], first[2], second[2]]
    answer = {"id": "gen-5", "model": "a/model", "object": "chat.completion", "usage": USAGE}
    list(WAYS[way]([*mixed, *chunks("gen-3", 0.3), chunk("gen-4"), answer]))
    costs = {entry.id: entry.cost for entry in books.entries}
    known = {"gen-1": Decimal("0.1"), "gen-2": Decimal("0.2"), "gen-3": Decimal("0.3"), "gen-5": Decimal("0.25")}
    assert costs == {**known, "gen-4": None}
    assert {entry.id for entry in books.entries if entry.streamed} == {"gen-1", "gen-2", "gen-3", "gen-4"}


def test_a_call_is_recorded_as_soon_as_the_next_one_begins(books: Books) -> None:
    generator = generated([*chunks("gen-1"), *chunks("gen-2")])
    for _ in range(4):
        next(generator)
    assert [entry.id for entry in books.entries] == ["gen-1"]
    generator.close()
    assert [(entry.id, entry.cost) for entry in books.entries] == [("gen-1", Decimal("0.25")), ("gen-2", None)]


def test_what_was_said_of_a_call_is_remembered_while_another_one_speaks(books: Books) -> None:
    list(generated([chunk("gen-1"), chunk("gen-2"), {"id": "gen-1", "usage": USAGE}]))
    assert {(entry.id, entry.model, entry.cost) for entry in books.entries} == {
        ("gen-1", "a/model", Decimal("0.25")),
        ("gen-2", "a/model", None),
    }


EVENTS, JSON = "text/event-stream", "application/json"


@pytest.mark.parametrize(
    ("body", "content_type", "identity"),
    [
        (b'data: {"model": "a/model", "usage": {"cost": 0.25}}\n\n', EVENTS, "gen-header"),
        (b'data: {"id": "resp_1", "model": "a/model", "usage": {"cost": 0.25}}\n\n', EVENTS, "resp_1"),
        (b'{"text": "Hello", "usage": {"cost": 0.25}}', JSON, "gen-header"),
        (b'{"prompt_tokens": 3, "total_tokens": 3, "cost": 0.25}', JSON, "gen-header"),
        (b'{"id": "resp_1", "model": "a/model", "usage": {"cost": 0.25}}', JSON, "resp_1"),
    ],
)
def test_an_answer_without_an_id_has_the_one_in_its_headers(
    body: bytes, content_type: str, identity: str, books: Books, clients: Clients
) -> None:
    fault = Fault.raw(body, content_type) & Fault.headers({"X-Generation-Id": "gen-header"})
    clients.sandbox.misbehave("POST /chat/completions", fault)
    track_cost(clients.post)("/chat/completions", HELLO)
    assert (books.only.id, books.only.cost, books.lines) == (identity, Decimal("0.25"), 1)
    if content_type == EVENTS and identity == "gen-header":
        assert list(track_cost(clients.chat)(stream=True))
        assert (books.only.id, books.lines) == (identity, 1)


def test_whole_answers_are_recorded_while_their_generator_still_runs(books: Books) -> None:
    answers = [{"id": f"gen-{n}", "model": "m", "object": "chat.completion", "usage": USAGE} for n in range(3)]
    generator = generated(answers)
    next(generator)
    next(generator)
    assert [entry.id for entry in books.entries] == ["gen-0", "gen-1"]
    generator.close()
    assert books.lines == 2


def test_usage_without_an_id_belongs_to_the_call_before_it(books: Books) -> None:
    list(iterated([chunk(), {"choices": [], "usage": USAGE}]))
    assert (books.only.id, books.only.cost) == ("gen-1", Decimal("0.25"))


def test_the_events_of_responses_and_of_messages_are_one_call_each(books: Books) -> None:
    begun = {"id": "gen-1", "model": "a/model", "object": "response", "usage": None}
    responses = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Hel"},
        {
            "type": "response.completed",
            "response": {**begun, "usage": {"input_tokens": 9, "output_tokens": 1, "cost": 1}},
        },
    ]
    usage = {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 0}
    messages = [
        {"type": "message_start", "message": {"id": "gen-2", "type": "message", "model": "a/model", "usage": usage}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": None, "output_tokens": 5, "cost": 0.5},
        },
        {"type": "message_stop"},
    ]
    list(iterated(responses))
    list(iterated(messages))
    first, second = books.entries
    assert (first.id, first.cost, first.prompt_tokens, first.streamed) == ("gen-1", Decimal(1), 9, True)
    assert (second.id, second.cost, second.finish_reason) == ("gen-2", Decimal("0.5"), "end_turn")
    assert (second.prompt_tokens, second.cached_tokens, second.completion_tokens) == (13, 4, 5)
    assert books.lines == 2


def test_a_generator_that_raises_midway_is_recorded_and_raises_the_very_same(books: Books) -> None:
    problem = RuntimeError("midway")

    @track_cost
    def broken() -> Iterator[Any]:
        yield chunk()
        raise problem

    @track_cost
    async def broken_async() -> AsyncIterator[Any]:
        yield chunk("gen-2")
        raise problem

    async def read() -> list[Any]:
        return [piece async for piece in broken_async()]

    with pytest.raises(RuntimeError) as raised:
        list(broken())
    assert raised.value is problem
    with pytest.raises(RuntimeError) as raised:
        asyncio.run(read())
    assert raised.value is problem
    assert [(entry.id, entry.cost) for entry in books.entries] == [("gen-1", None), ("gen-2", None)]


def test_a_stream_within_a_tuple_is_watched(books: Books) -> None:
    stream, name, *rest = track_cost(lambda: (iter(chunks()), "name", [1]))()
    assert (name, rest) == ("name", [[1]])
    assert list(stream) == chunks()
    assert books.only.cost == Decimal("0.25")


def test_streams_within_a_list_and_a_named_tuple_are_watched(books: Books) -> None:
    given: list[Any] = [iter(chunks("gen-1")), "name"]
    assert track_cost(lambda: given)() is given
    assert list(given[0]) == chunks("gen-1")
    pair = track_cost(lambda: Pair("name", iter(chunks("gen-2"))))()
    assert (type(pair), list(pair.stream)) == (Pair, chunks("gen-2"))
    assert [entry.id for entry in books.entries] == ["gen-1", "gen-2"]


def test_a_usage_among_texts_is_a_call_and_among_chunks_is_none_of_its_own(books: Books) -> None:
    list(generated(["Hel", "lo", USAGE]))
    assert (books.only.cost, books.only.streamed, books.only.id) == (Decimal("0.25"), True, "")
    list(generated([*chunks(), {"prompt_tokens": 3, "completion_tokens": 2}]))
    assert [entry.cost for entry in books.entries] == [Decimal("0.25")] * 2


def test_an_async_generator_that_is_returned_is_watched(books: Books) -> None:
    async def stream() -> AsyncIterator[Any]:
        for piece in chunks():
            yield piece

    async def read() -> list[Any]:
        generator = track_cost(lambda: stream())()
        assert inspect.isasyncgen(generator)
        return [piece async for piece in generator]

    assert asyncio.run(read()) == chunks()
    assert inspect.isgenerator(comprehended(chunks()))
    assert books.only.cost == Decimal("0.25")


def test_a_stream_can_be_copied_as_far_as_it_could_before(books: Books) -> None:
    stream = track_cost(lambda: Counted())()
    assert next(copy.copy(stream)) == 1
    assert stream.count == 1


def test_a_stream_of_a_manager_ends_with_it(books: Books, clients: Clients) -> None:
    manager = track_cost(clients.openai.chat.completions.stream)(**HELLO)
    with manager as stream:
        next(stream)
    assert (books.only.cost, books.only.streamed) == (None, True)
    assert books.only.id in clients.sandbox.account.generations
    with pytest.raises(AttributeError):
        manager.no_such_thing  # looking is the point


def test_a_stream_that_is_tracked_already_is_not_tracked_twice(books: Books) -> None:
    assert list(track_cost(iterated)(chunks())) == chunks()
    assert list(track_cost(generated)(chunks("gen-2"))) == chunks("gen-2")
    assert books.lines == 2


def test_several_threads_that_end_one_stream_end_it_once(books: Books) -> None:
    for number in range(20):
        stream = track_cost(lambda n=number: iter([chunk("", model=f"m{n}", usage=USAGE)]))()
        next(stream)
        stream_ends = threading.Barrier(4)

        def end(stream: Any = stream, together: threading.Barrier = stream_ends) -> None:
            together.wait()
            next(stream, None)

        threads = [threading.Thread(target=end) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert books.lines == 20


def test_a_stream_that_is_collected_in_the_middle_of_the_ledgers_own_work_is_recorded_after_it(books: Books) -> None:
    stream = iterated(chunks())
    next(stream)
    cycle: dict[str, Any] = {"stream": stream}
    cycle["self"] = cycle
    del stream, cycle
    hold = Hold("a-hold", datetime.now(timezone.utc), "a/model", Decimal(1))
    running = set(threading.enumerate())
    shared_ledger().hold(hold, lambda books: gc.collect() and None)
    assert set(threading.enumerate()) <= running  # a finalizer starts none
    assert (books.only.id, books.only.cost, books.lines) == ("gen-1", None, 2)
