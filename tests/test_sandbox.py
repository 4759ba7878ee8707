"""Each fault of the sandbox does on the wire what its name says."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
import requests

from tests.sandbox import (
    Account,
    Fault,
    Sandbox,
    Unreachable,
)
from tests.sandbox_client import get, raw_get

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=timezone.utc)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.simple(now=lambda: NOW)) as running:
        yield running


def test_faults_are_used_up_in_their_order(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.status(500), Fault.none(), Fault.status(429, headers={"Retry-After": "2"}))
    answers = [get(sandbox) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [500, 200, 429, 200]
    assert answers[2].headers["Retry-After"] == "2"


def test_a_single_fault_stays_until_it_is_ended(sandbox: Sandbox) -> None:
    sandbox.misbehave("GET /key", Fault.status(503, "html"))
    assert [get(sandbox).status_code for _ in range(3)] == [503] * 3
    sandbox.behave()
    assert get(sandbox).status_code == 200


def test_times_limits_a_fault(sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.status(502), times=2)
    assert [get(sandbox).status_code for _ in range(3)] == [502, 502, 200]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (None, '{"error":{"code":524,"message":"A Timeout Occurred"}}'),
        (b"\x00\xff", "\x00\ufffd"),
        ({"error": "plain"}, '{"error":"plain"}'),
    ],
)
def test_an_error_status_has_any_body(sandbox: Sandbox, body: Any, text: str) -> None:
    sandbox.misbehave("/key", Fault.status(524, body))
    answer = get(sandbox)
    assert answer.status_code == 524
    assert answer.content.decode("utf-8", "replace") == text


def test_a_web_page_comes_with_status_200(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.html())
    answer = get(sandbox)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=UTF-8")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"0", b'{"data":null}', b'{"data":'])
def test_any_body_can_take_the_place_of_the_answer(sandbox: Sandbox, body: bytes) -> None:
    sandbox.misbehave("/key", Fault.raw(body))
    assert get(sandbox).content == body


@pytest.mark.parametrize(("mode", "whole"), [("content-length", False), ("chunked", False), ("close", True)])
def test_a_truncated_body_stops_short(sandbox: Sandbox, mode: str, whole: bool) -> None:
    sandbox.misbehave("/key", Fault.truncate(10, mode))
    head, _, body = raw_get(sandbox).partition(b"\r\n\r\n")
    assert body.endswith(b'{"data":{"')
    assert (b"Content-Length" in head) == (mode == "content-length")
    if whole:
        assert get(sandbox).content == b'{"data":{"'
    else:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            get(sandbox)


@pytest.mark.parametrize("after", ["accept", "request", "billing"])
def test_a_reset_leaves_no_byte(sandbox: Sandbox, after: str) -> None:
    sandbox.misbehave("*", Fault.reset(after))
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        raw_get(sandbox)
    assert bool(sandbox.requests) == (after != "accept")


def test_a_reset_can_come_within_the_answer(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.reset(20))
    host, port = sandbox.url.split("/")[2].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", "/api/v1/key")
    with pytest.raises(OSError):
        connection.getresponse().read()


def test_a_dripping_server_sends_byte_by_byte(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.drip(0.0001), Fault.drip(0.0001, head=True))
    assert get(sandbox).json() == get(sandbox).json()


def test_a_hanging_request_has_no_answer(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.hang())
    with pytest.raises(requests.exceptions.ReadTimeout):
        get(sandbox, timeout=0.2)
    assert not sandbox.wait_for("/key")[0].finished


def test_stop_ends_stalled_connections() -> None:
    sandbox = Sandbox()
    sandbox.misbehave("*", Fault.hang())
    failed = threading.Event()

    def ask() -> None:
        with pytest.raises(requests.exceptions.ConnectionError):
            get(sandbox)
        failed.set()

    threading.Thread(target=ask, daemon=True).start()
    sandbox.wait_for("/key")
    sandbox.stop()
    assert failed.wait(30)


def test_a_gzip_bomb_is_small_on_the_wire(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.gzip_bomb(8))
    packed = raw_get(sandbox).partition(b"\r\n\r\n")[2]
    assert len(packed) < 64_000
    unpacked = gzip.decompress(packed)
    assert len(unpacked) > 8 * 1024 * 1024
    assert json.loads(unpacked)["data"] == {}


@pytest.mark.parametrize("declared", [True, False])
def test_a_big_answer_is_valid_json(sandbox: Sandbox, declared: bool) -> None:
    sandbox.misbehave("/key", Fault.big(2, declared=declared))
    answer = get(sandbox)
    assert ("Content-Length" in answer.headers) == declared
    assert len(answer.json()["padding"]) == 2 * 1024 * 1024


def test_a_redirect_names_another_place(sandbox: Sandbox) -> None:
    with Sandbox() as elsewhere:
        sandbox.misbehave("/key", Fault.redirect(307, elsewhere.url + "/key"))
        answer = get(sandbox, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (307, elsewhere.url + "/key")
        assert elsewhere.connections == 0


def test_headers_replace_the_usual_ones(sandbox: Sandbox) -> None:
    assert get(sandbox).headers["Date"] == "Sun, 22 Nov 2026 15:30:00 GMT"
    sandbox.misbehave("/key", Fault.headers({"Date": "Sun, 22 Nov 2026 15:25:00 GMT", "X-Extra": "1"}))
    answer = get(sandbox)
    assert (answer.headers["Date"], answer.headers["X-Extra"]) == ("Sun, 22 Nov 2026 15:25:00 GMT", "1")


def test_an_encoding_can_be_a_lie(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.wrong_encoding())
    assert b"Content-Encoding: br" in raw_get(sandbox)


def test_an_answer_can_be_edited(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.mutate(lambda answer: answer["data"].update(usage="0.123")))
    assert get(sandbox).json()["data"]["usage"] == "0.123"


def test_an_answer_can_be_compressed(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.gzipped())
    answer = get(sandbox)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json()["data"]["limit"] is None


def test_an_answer_need_not_be_http(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.wire(b"SSH-2.0-banana\r\n"))
    assert raw_get(sandbox) == b"SSH-2.0-banana\r\n"


def test_a_sandbox_can_stand_in_for_a_proxy(sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.status(407, "html"))
    proxies = {"http": sandbox.url, "https": sandbox.url}
    answer = requests.get("http://openrouter.ai/api/v1/key", proxies=proxies, timeout=30)
    assert answer.status_code == 407
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://openrouter.ai/api/v1/key", proxies=proxies, timeout=30)
    assert [request.method for request in sandbox.requests] == ["GET", "CONNECT"]


def test_nobody_answers_at_an_unreachable_address() -> None:
    with Unreachable() as refused, pytest.raises(requests.exceptions.ConnectionError):
        requests.get(refused.url, timeout=30)
    with Unreachable(silent=True) as silent, pytest.raises(requests.exceptions.ConnectTimeout):
        requests.get(silent.url, timeout=(0.3, 30))


def test_two_faults_can_meet(sandbox: Sandbox) -> None:
    sandbox.misbehave("/key", Fault.drip(0.0001) & Fault.status(500))
    assert get(sandbox).status_code == 500


@pytest.mark.parametrize(
    ("source", "retry_after"),
    [("openrouter_credits", None), ("openrouter_key_limit", None), ("openrouter_in_flight_budget", "2"), (None, None)],
)
def test_payment_required_names_its_source(sandbox: Sandbox, source: str | None, retry_after: str | None) -> None:
    sandbox.misbehave("/key", Fault.payment_required(source))
    answer = get(sandbox)
    assert answer.status_code == 402
    assert answer.json()["error"]["metadata"].get("limit_source") == source
    assert answer.headers.get("Retry-After") == retry_after


def test_tls_works_with_the_sandboxs_own_authority() -> None:
    with Sandbox(tls=True) as sandbox:
        assert sandbox.url.startswith("https://")
        assert get(sandbox, verify=sandbox.ca_file).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            get(sandbox)


@pytest.mark.parametrize("kind", ["wrong_host", "expired"])
def test_a_bad_certificate_is_bad(kind: str) -> None:
    with Sandbox(tls=kind) as sandbox, pytest.raises(requests.exceptions.SSLError):
        get(sandbox, verify=sandbox.ca_file)


def test_a_handshake_can_hang() -> None:
    with Sandbox(tls=True) as sandbox:
        sandbox.misbehave("*", Fault.hang("accept"))
        with pytest.raises((requests.exceptions.Timeout, requests.exceptions.ConnectionError)):
            get(sandbox, verify=sandbox.ca_file, timeout=0.2)
        assert (sandbox.connections, sandbox.requests) == (1, [])


def test_a_reset_works_under_tls() -> None:
    with Sandbox(tls=True) as sandbox:
        sandbox.misbehave("/key", Fault.reset("request"))
        with pytest.raises((requests.exceptions.ConnectionError, ssl.SSLError)):
            get(sandbox, verify=sandbox.ca_file)
