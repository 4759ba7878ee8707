"""What a gateway on this machine answers to those who should not use it, and to what is made to break it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.gatewaying import HELLO, Running, running, shared, wait_until, with_short_waits
from tests.sandbox import INFERENCE_KEY, Fault, Reply, Sandbox
from tests.sandbox.answer import Answer
from tests.sandbox.reply import Stream
from tests.storm.audit import audit


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from shared(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def gateway(shared_gateway: Running) -> Running:
    """A gateway that other tests of this module use too, one after the other."""
    return shared_gateway.afresh()


def raw(gateway: Running, data: bytes, *, ends: bool = True) -> bytes:
    """Send bytes as they are, and read until the other end is done."""
    found = b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as sock, contextlib.suppress(OSError):
        sock.sendall(data)
        while piece := sock.recv(65_536):
            found += piece
    return found


def request(body: bytes = json.dumps(HELLO).encode(), path: str = "/api/v1/chat/completions", **headers: str) -> bytes:
    usual = {
        "Host": "127.0.0.1", "Authorization": f"Bearer {INFERENCE_KEY}", "Content-Type": "application/json",
        "Content-Length": str(len(body)), "Connection": "close",
    }  # fmt: skip
    named = {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value)
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8788", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", ""])
def test_a_name_that_was_made_to_lead_here_is_refused(host: str, gateway: Running) -> None:
    assert raw(gateway, request(Host=host)).split()[1] in (b"403", b"400")
    assert gateway.sandbox.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:99", "[::1]", "[::1]:8788"])
def test_every_name_of_this_machine_is_taken(host: str, gateway: Running) -> None:
    assert raw(gateway, request(Host=host)).split()[1] == b"200"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8788"])
@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_a_web_page_is_refused_and_can_read_nothing(origin: str, kind: str, gateway: Running) -> None:
    got = gateway.post(Origin=origin, Content_Type=kind)
    assert got.status == 403 and not any(name.startswith("access-control") for name in got.headers)
    assert gateway.ask("OPTIONS", "/api/v1/chat/completions", Origin=origin).status == 403
    assert gateway.sandbox.requests == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_what_a_form_can_send_is_refused(kind: str, gateway: Running) -> None:
    assert gateway.post(Content_Type=kind).status == 415
    assert gateway.sandbox.requests == []


def test_answers_carry_nothing_that_lets_a_page_read_them(gateway: Running) -> None:
    gateway.sandbox.account.reply = Reply(headers={"Access-Control-Allow-Origin": "*", "Set-Cookie": "a=b", "X-Other": "1"})
    got = gateway.post()
    assert "access-control-allow-origin" not in got.headers and "set-cookie" not in got.headers
    assert got.headers["x-other"] == "1"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/keys", "/api/v1/keys/abc", "/api/v1/guardrails", "/api/v1/workspaces", "/api/v1/batches",
        "/api/v1/presets/x/chat/completions", "/api/v1/systemone", "/api/alpha/decisions", "/api/v1/cursor/chat/completions",
        "/api/v1/models/../keys", "/api/v1/models/%2e%2e/keys", "/api/v1//keys", "/api/v1/KEYS", "/keys", "/v1/chat/completions",
        "/api/v1/chat/completions/", "/api/v1/chat/completions%2f..%2f..%2fkeys", "/s//api/v1/key", "/s/a/b/api/v1/key",
        "http://openrouter.ai/api/v1/key", "/api/v1/analytics/query", "/api/v1/auth/keys", "/api/v1/credits/coinbase",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
def test_what_is_not_understood_is_never_passed_on(method: str, path: str, gateway: Running) -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {INFERENCE_KEY}\r\nConnection: close\r\n"
    answer = raw(gateway, f"{head}Content-Length: 0\r\n\r\n".encode())
    assert answer.split()[1] in (b"403", b"404", b"405"), answer
    assert gateway.sandbox.requests == []


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: +5\r\n",
        "Content-Length : 5\r\n",
    ],
)
def test_a_request_with_two_meanings_is_refused(head: str, gateway: Running) -> None:
    begin = f"POST /api/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {INFERENCE_KEY}\r\n"
    data = f"{begin}Content-Type: application/json\r\nConnection: close\r\n{head}\r\n0\r\n\r\nGET /api/v1/key HTTP/1.1\r\n\r\n"
    assert raw(gateway, data.encode()).split()[1] == b"400"
    assert gateway.sandbox.requests == []


def test_a_header_bomb_is_refused(gateway: Running) -> None:
    assert raw(gateway, request(X_Bomb="a" * 200_000)).split()[1] == b"400"
    many = {f"X_{number}": "a" for number in range(5_000)}
    assert raw(gateway, request(**many)).split()[1] == b"400"
    assert gateway.post().status == 200


@pytest.fixture(scope="module")
def shared_impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("impatient")
    yield from shared(folder, env={"PYTHONPATH": str(with_short_waits(folder))})


@pytest.fixture
def impatient(shared_impatient: Running) -> Running:
    """A gateway that waits a second where others wait a minute."""
    return shared_impatient.afresh()


def test_a_head_that_never_ends_is_cut_off(impatient: Running) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=30) as sock:
        sock.sendall(b"POST /api/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ")
        assert sock.recv(1) == b""
    assert impatient.post().status == 200


def test_a_body_that_never_ends_is_cut_off(impatient: Running) -> None:
    assert raw(impatient, request(b"{", Content_Length="10")).split()[1] == b"408"
    assert not impatient.tracker.ledger.exists()


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_of_a_hundred_megabytes_is_refused(is_chunked: bool, gateway: Running) -> None:
    size = 100 * 1024 * 1024
    if is_chunked:
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        data = request(b"", Transfer_Encoding="chunked", Content_Length="") + chunk * 100 + b"0\r\n\r\n"
    else:
        data = request(b"x" * 1_000_000, Content_Length=str(size))
    answer = raw(gateway, data)
    assert answer == b"" or answer.split()[1] == b"413"
    assert gateway.sandbox.requests == [] and gateway.post().status == 200


def test_a_compressed_body_is_refused(gateway: Running) -> None:
    assert gateway.post(Content_Encoding="gzip").status == 415


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff", b'{"model": NaN}', b'{"a":' * 100_000, b"null"])
def test_what_is_no_request_is_refused_and_nothing_is_held(body: bytes, gateway: Running) -> None:
    got = gateway.post(body=body, Content_Length=str(len(body)))
    assert got.status in (400, 415)
    assert gateway.sandbox.requests == [] and not gateway.tracker.ledger.exists()


def stream_of(pieces: list[bytes]) -> Fault:
    """An answer of any events, each written by itself, on an effect that is billed."""

    def edit(wire: object, answer: Answer) -> Answer:
        tail = answer.encoded()
        return Answer(pieces=(piece for piece in [*pieces, tail]), headers=answer.headers, content_type="text/event-stream")

    return Fault("stream", edit=edit)


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.storm)])
def test_tiny_events_without_number_and_events_of_megabytes_are_metered(count: int, gateway: Running) -> None:
    tiny = [b'data: {"choices":[]}\n\n' * 1_000] * (count // 1_000)
    large = [b"data: " + b"x" * 5_000_000 + b"\n\n", b": " + b"y" * 3_000_000 + b"\n\n"]
    gateway.sandbox.misbehave("POST /chat/completions", stream_of([*tiny, *large]), times=1)
    got = gateway.post(body={**HELLO, "stream": True})
    assert len(got.body) > 22 * count + 8_000_000
    (entry,) = gateway.wait_for_entries(1)
    assert entry["cost_source"] == "billed"
    gateway.agree()


def test_an_event_without_an_end_is_forwarded_and_its_call_is_looked_up(gateway: Running) -> None:
    gateway.sandbox.misbehave("POST /chat/completions", stream_of([b"data: " + b"x" * 1_000_000] * 1 + [b"x" * 1_000_000] * 20), times=1)
    got = gateway.post(body={**HELLO, "stream": True})
    assert len(got.body) > 21_000_000
    (entry,) = gateway.wait_for_entries(1)
    assert entry["cost_source"] == "late"
    gateway.agree()


def test_an_upstream_that_never_ends_is_cut_when_its_client_has_gone(impatient: Running) -> None:
    impatient.sandbox.account.reply = Reply("a b c", stream=Stream(idle_after=1, idle_interval_s=0.01))
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=30) as sock:
        sock.sendall(request(json.dumps({**HELLO, "stream": True}).encode()))
        found = b""
        while b"PROCESSING" not in found:
            found += sock.recv(10_000)
    impatient.wait_for_entries(1)
    impatient.agree()


def test_an_answer_that_lies_about_its_cost_is_left_to_a_person(gateway: Running) -> None:
    gateway.sandbox.account.reply = Reply(usage=lambda usage: {**usage, "cost": Decimal("-5")})
    assert gateway.post().status == 200
    (entry,) = gateway.wait_for_entries(1)
    assert entry["told"] == "-5"
    env = {"OPENROUTER_DAILY_LIMIT": "5"}
    with running(gateway.home, gateway.sandbox, env=env) as again:
        assert again.post().status == 402


def test_what_is_shown_obeys_no_terminal_and_repeats_no_malformed_head(home: Path, sandbox: Sandbox) -> None:
    with running(home, sandbox) as gateway:
        gateway.post("/s/%1b%5b2J%0a/api/v1/chat/completions", User_Agent="ev\xa0il/1")
        gateway.wait_for_entries(1)
        assert raw(gateway, request(Authorization=f"Bearer {INFERENCE_KEY}\x01")).split()[1] == b"400"
        gateway.stop()  # which looks for the key in all that was written
        assert b"\x1b" not in gateway.err and gateway.err.count(b"\n") == 1


def test_other_machines_are_let_in_with_gateway_keys_only(home: Path, sandbox: Sandbox) -> None:
    import subprocess
    import sys

    from tests.gatewaying import GATEWAY

    gateway = Running(home, sandbox)
    command = [sys.executable, str(GATEWAY), "--host", "0.0.0.0", "--no-keys", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=gateway.environment)
    assert done.returncode == 2 and "--no-keys" in done.stderr


def test_a_client_that_does_not_read_holds_up_nobody_else(gateway: Running) -> None:
    account = gateway.sandbox.account
    account.reply = Reply("word " * 400_000, completion_tokens=5)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as sock:
        sock.sendall(request(json.dumps({**HELLO, "stream": True}).encode()))
        gateway.sandbox.wait_for("POST /chat/completions")
        account.reply = Reply("short")
        assert gateway.post().status == 200
    wait_until(lambda: not audit(gateway.tracker.ledger).held)
    gateway.agree()
