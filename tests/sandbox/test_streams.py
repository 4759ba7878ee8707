"""How an answer comes over the wire, and what is billed when it does not come whole."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import Any

import pytest
import requests

from tests.sandbox import (
    Fault,
    Reply,
    Sandbox,
    Stream,
    StreamError,
)
from tests.sandbox.conftest import PRICE
from tests.sandbox_client import HELLO, events, open_stream, post


def only_generation(sandbox: Sandbox) -> Any:
    """The record of the one call that was made."""
    (generation,) = sandbox.account.generations.values()
    return generation


BILLED = [
    (Fault.reset("request"), 0),
    (Fault.reset("billing"), 1),
    (Fault.status(504), 0),
    (Fault.status(504).after_billing(), 1),
    (Fault.status(503, "html"), 0),
    (Fault.truncate(40), 1),
    (Fault.raw(b""), 0),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "times"), BILLED)
def test_a_fault_falls_before_or_after_the_charge(sandbox: Sandbox, fault: Fault, times: int, stream: bool) -> None:
    sandbox.misbehave("/chat/completions", fault)
    with contextlib.suppress(requests.RequestException):
        post(sandbox, body={**HELLO, "stream": stream})
    sandbox.wait_until(lambda: sandbox.account.bill == times * PRICE)
    assert len(sandbox.account.generations) == times


def test_a_client_that_gives_up_is_billed_once(sandbox: Sandbox) -> None:
    sandbox.misbehave("/chat/completions", Fault.hang("billing"))
    with pytest.raises(requests.ReadTimeout):
        post(sandbox, timeout=0.2)
    sandbox.wait_until(lambda: sandbox.account.bill == PRICE)


USAGE_CHUNKS = [("empty_choices", 0, None), ("repeated_finish", 1, "stop"), ("with_finish", 1, "stop")]


@pytest.mark.parametrize(("how", "choices", "reason"), USAGE_CHUNKS)
def test_usage_comes_in_the_last_chunk(sandbox: Sandbox, how: str, choices: int, reason: str | None) -> None:
    sandbox.account.reply = Reply(cost=PRICE, stream=Stream(usage_chunk=how))
    *_, last, done = events(sandbox)
    assert done == "[DONE]"
    assert last["usage"]["cost"] == 0.001
    assert [choice["finish_reason"] for choice in last["choices"]] == [reason][:choices]


def test_a_stream_is_cut_into_pieces_anywhere(sandbox: Sandbox) -> None:
    stream = Stream(piece_bytes=1, newline="\r\n", comments=2, debug_chunk=True)
    sandbox.account.reply = Reply("🦊 世界", stream=stream)
    answer = post(sandbox, body={**HELLO, "stream": True}, stream=True)
    pieces = list(answer.raw.read_chunked())
    assert {len(piece) for piece in pieces} == {1}
    text = b"".join(pieces)
    assert text.startswith(b": OPENROUTER PROCESSING\r\n\r\n: OPENROUTER PROCESSING\r\n\r\ndata: ")
    assert "🦊".encode() in text


def test_an_error_can_come_in_mid_stream(sandbox: Sandbox) -> None:
    for code in (502, "server_error"):
        sandbox.account.script(Reply("one two three", stream=Stream(error=StreamError(code=code, after_tokens=2))))
        *_, last = events(sandbox)
        assert (last["error"]["code"], last["choices"][0]["finish_reason"]) == (code, "error")
        assert "usage" not in last


@pytest.mark.parametrize(("cut", "clean"), [("end", True), ("close", False), ("reset", False)])
def test_a_stream_can_end_without_done(sandbox: Sandbox, cut: str, clean: bool) -> None:
    sandbox.account.reply = Reply("one two three", cost=PRICE, stream=Stream(cut_after=1, cut=cut))
    if clean:
        assert events(sandbox)[-1]["choices"][0]["delta"]["content"] == "one "
    else:
        with pytest.raises(requests.RequestException):
            events(sandbox)
    sandbox.wait_until(lambda: sandbox.account.bill == PRICE)


SHARES = [("full", PRICE), ("partial", PRICE / 2), ("none", Decimal(0))]


@pytest.mark.parametrize(("rule", "bill"), SHARES)
def test_a_dropped_stream_is_billed_by_the_accounts_rule(sandbox: Sandbox, rule: str, bill: Decimal) -> None:
    sandbox.account.charge_on_disconnect = rule
    reply = Reply("one two three four", prompt_tokens=0, cost=PRICE, stream=Stream(idle_after=2))
    sandbox.account.reply = reply
    with open_stream(sandbox) as sock:
        while b"two " not in sock.recv(65536):
            pass
    sandbox.wait_until(lambda: only_generation(sandbox).finished)
    assert (sandbox.account.bill, only_generation(sandbox).cancelled) == (bill, True)


def test_an_idle_stream_lives_by_comments_alone(sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply(stream=Stream(comments=0, idle_after=0, idle_interval_s=0.001))
    with open_stream(sandbox) as sock:
        heard = b""
        while heard.count(b": OPENROUTER PROCESSING") < 5:
            heard += sock.recv(65536)
    assert b"data: {" not in heard
