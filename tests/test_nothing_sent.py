"""A hold ends where nothing has left the machine, whatever the failure looks like, and stays once a byte has."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.booking import Tracker
from tests.calling import HELLO
from tests.proxy import Proxy
from tests.running import HANG_GUARD_S
from tests.sandbox import Account, Sandbox, Unreachable
from tests.storm.audit import audit

OFFICIAL = "https://openrouter.ai/api/v1"
BILLED = "may have been billed"
PASSWORD = "test-proxy-password-canary"
BOTH = pytest.mark.parametrize("stream", [(), ("--stream",)], ids=["whole", "stream"])


class Server:
    """A TCP server that does one thing with each connection."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.got: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._run, args=(client,), daemon=True).start()

    def _run(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            self._serve(client)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()


@contextlib.contextmanager
def proxied(value: str) -> Iterator[dict[str, str]]:
    yield {"OPENROUTER_BASE_URL": OFFICIAL, "HTTPS_PROXY": value}


@contextlib.contextmanager
def at(url: str, **more: str) -> Iterator[dict[str, str]]:
    yield {"OPENROUTER_BASE_URL": url, **more}


@contextlib.contextmanager
def refusing_proxy(answer: bytes) -> Iterator[dict[str, str]]:
    with Proxy(answer=answer) as proxy:
        address = proxy.url.replace("//", f"//somebody:{PASSWORD}@")
        yield {"OPENROUTER_BASE_URL": OFFICIAL, "HTTPS_PROXY": address}


@contextlib.contextmanager
def no_proxy_there() -> Iterator[dict[str, str]]:
    with Unreachable() as nobody:
        yield {"OPENROUTER_BASE_URL": OFFICIAL, "HTTPS_PROXY": f"http://127.0.0.1:{nobody.port}"}


@contextlib.contextmanager
def refused() -> Iterator[dict[str, str]]:
    with Unreachable() as nobody:
        yield {"OPENROUTER_BASE_URL": nobody.url}


@contextlib.contextmanager
def silent() -> Iterator[dict[str, str]]:
    with Unreachable(silent=True) as nobody:
        yield {"OPENROUTER_BASE_URL": nobody.url}


@contextlib.contextmanager
def tls_to_a_plain_port() -> Iterator[dict[str, str]]:
    with Sandbox(Account.simple()) as plain:
        yield {"OPENROUTER_BASE_URL": plain.url.replace("http:", "https:")}


@contextlib.contextmanager
def hangs_up_in_the_handshake() -> Iterator[dict[str, str]]:
    with Server(lambda client: client.close()) as server:
        yield {"OPENROUTER_BASE_URL": f"https://127.0.0.1:{server.port}/api/v1"}


@contextlib.contextmanager
def resets_in_the_handshake() -> Iterator[dict[str, str]]:
    def reset(client: socket.socket) -> None:
        client.recv(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with Server(reset) as server:
        yield {"OPENROUTER_BASE_URL": f"https://127.0.0.1:{server.port}/api/v1"}


@contextlib.contextmanager
def never_shakes_hands() -> Iterator[dict[str, str]]:
    with Server(lambda client: time.sleep(20)) as server:
        yield {"OPENROUTER_BASE_URL": f"https://127.0.0.1:{server.port}/api/v1"}


@contextlib.contextmanager
def certificate(kind: str) -> Iterator[dict[str, str]]:
    with Sandbox(Account.simple(), tls=kind) as secure:
        trusted = {} if kind == "good" else {"REQUESTS_CA_BUNDLE": secure.ca_file}
        yield {"OPENROUTER_BASE_URL": secure.url, **trusted}


@contextlib.contextmanager
def hung_tunnel() -> Iterator[dict[str, str]]:
    def serve(client: socket.socket) -> None:
        client.recv(65536)
        time.sleep(20)

    with Server(serve) as server:
        yield {"OPENROUTER_BASE_URL": OFFICIAL, "HTTPS_PROXY": f"http://127.0.0.1:{server.port}"}


NOT_SENT = {
    "proxy without a host": proxied("http://:8080"),
    "proxy with half an IPv6 address": proxied(f"http://u:{PASSWORD}@[::zz"),
    "proxy with a port that is none": proxied(f"http://u:{PASSWORD}@127.0.0.1:http"),
    "proxy with a port too large": proxied(f"http://u:{PASSWORD}@127.0.0.1:99999999"),
    "proxy of a scheme nobody knows": proxied(f"gopher://u:{PASSWORD}@127.0.0.1:8080"),
    "socks5 proxy": proxied(f"socks5://u:{PASSWORD}@127.0.0.1:1080"),
    "socks5h proxy": proxied("socks5h://127.0.0.1:1080"),
    "socks4 proxy": proxied("socks4://127.0.0.1:1080"),
    "proxy with a label too long": proxied(f"http://{'a' * 70}.example:8080"),
    "proxy with blanks": proxied("http://proxy example:8080"),
    "proxy that refuses": refusing_proxy(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
    "proxy that wants a login": refusing_proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
    "proxy that talks nonsense": refusing_proxy(b"\x00\x01\x02"),
    "proxy that hangs up": refusing_proxy(b""),
    "proxy with a page for a tunnel": refusing_proxy(b"HTTP/1.1 200 OK\r\n\r\n<html>hello</html>"),
    "proxy that is not there": no_proxy_there(),
    "proxy that hangs": hung_tunnel(),
    "empty label": at("https://no..such.invalid/api/v1"),
    "label too long": at(f"https://{'a' * 70}.openrouter.invalid/api/v1"),
    "name too long": at(f"https://{'a.' * 200}openrouter.invalid/api/v1"),
    "name nobody knows": at("https://openrouter.invalid/api/v1"),
    "connection refused": refused(),
    "connection never made": silent(),
    "TLS to a plain port": tls_to_a_plain_port(),
    "handshake hung up": hangs_up_in_the_handshake(),
    "handshake reset": resets_in_the_handshake(),
    "handshake never ends": never_shakes_hands(),
    "certificate nobody trusts": certificate("good"),
    "certificate of another host": certificate("wrong_host"),
    "certificate expired": certificate("expired"),
    "certificates missing": at("https://127.0.0.1:9/api/v1", REQUESTS_CA_BUNDLE="/no/such/file.pem"),
    "certificates that are none": at("https://127.0.0.1:9/api/v1", REQUESTS_CA_BUNDLE=os.path.abspath(__file__)),
    "certificates in an empty folder": at("https://127.0.0.1:9/api/v1", REQUESTS_CA_BUNDLE=os.path.dirname(__file__)),
}
EXIT_CODES = (2, 5)


@pytest.mark.parametrize("way", NOT_SENT.items(), ids=NOT_SENT)
def test_a_hold_ends_where_nothing_was_sent(way: tuple[str, Any], home: Path) -> None:
    """Names, proxies and TLS come before the first byte of a request, which alone can cost something."""
    tracker = Tracker(home)
    with way[1] as env:
        ran = tracker("call", *HELLO, "--timeout", "2", env=env, secrets=[PASSWORD])
    assert ran.code in EXIT_CODES, ran.err
    assert BILLED not in ran.err and ran.out == ""
    assert ran.err.count("\n") == 1, ran.err
    found = audit(tracker.ledger)
    assert found.held == {} and list(found.ends.values()) == [1], tracker.bytes


@BOTH
@pytest.mark.parametrize("name", ["socks5 proxy", "TLS to a plain port", "certificate nobody trusts"])
def test_a_budget_gets_its_money_back_where_nothing_was_sent(stream: Any, name: str, home: Path) -> None:
    """A hold of an amount is released as one of none is, streamed or not."""
    tracker = Tracker(home)
    ways = {"socks5 proxy": proxied("socks5://127.0.0.1:1"), "TLS to a plain port": tls_to_a_plain_port()}
    with ways.get(name) or certificate("good") as env:
        budget = {"OPENROUTER_DAILY_LIMIT": "0.10", **env}
        for _ in range(2):
            ran = tracker("call", *HELLO, *stream, "--max-cost", "0.09", "--timeout", "5", env=budget)
            assert ran.code in EXIT_CODES and BILLED not in ran.err
    assert not tracker.ledger.exists() or audit(tracker.ledger).held == {}


# -- what has left the machine stays unsettled -----------------------------------------------------------------------


def whole_request(client: socket.socket) -> bytes:
    """Read a request to the end of its body."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += client.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65536)
    return got


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def _said(answer: bytes) -> Callable[[socket.socket], None]:
    def serve(client: socket.socket) -> None:
        whole_request(client)
        client.sendall(answer)

    return serve


def _one_byte_then_reset(client: socket.socket) -> None:
    client.recv(1)
    _reset(client)


def _whole_then(end: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    def serve(client: socket.socket) -> None:
        whole_request(client)
        end(client)

    return serve


SENT: dict[str, Callable[[socket.socket], None]] = {
    "reset after the first byte": _one_byte_then_reset,
    "closed after the request": _whole_then(lambda client: client.close()),
    "reset after the request": _whole_then(_reset),
    "no answer": _whole_then(lambda client: time.sleep(20)),
    "nonsense": _said(b"\x00\x01\x02\x03"),
    "half a status line": _said(b"HTTP/1.1 2"),
    "half a head": _said(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half a body": _said(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    "a head without end": _said(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500),
    "another protocol": _said(b"SSH-2.0-OpenSSH_9.6\r\n"),
}


@BOTH
@pytest.mark.parametrize("name", SENT)
def test_a_hold_stays_once_a_byte_of_the_request_has_left(stream: Any, name: str, home: Path) -> None:
    """What was sent may be billed, whatever comes back; it is sent once, and `settle` is told of."""
    tracker = Tracker(home)
    with Server(SENT[name]) as server:
        env = {"OPENROUTER_BASE_URL": f"http://127.0.0.1:{server.port}/api/v1"}
        ran = tracker("call", *HELLO, *stream, "--timeout", "3", env=env)
    assert ran.code == 5, ran.err
    assert BILLED in ran.err
    assert len(audit(tracker.ledger).held) == 1


def test_a_prompt_that_broke_off_midway_stays_unsettled(home: Path) -> None:
    """A large prompt that a server stops reading has left the machine in part."""
    tracker = Tracker(home)
    with Server(_one_byte_then_reset) as server:
        env = {"OPENROUTER_BASE_URL": f"http://127.0.0.1:{server.port}/api/v1"}
        ran = tracker(
            "call", "--model", "openai/gpt-5.2", "--prompt", "-", "--timeout", "20", env=env, input=b"word " * 900_000
        )
    assert ran.code == 5 and BILLED in ran.err
    assert len(audit(tracker.ledger).held) == 1


# -- ^C --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_sent", [False, True], ids=["before", "after"])
def test_an_interrupted_call_is_released_only_if_nothing_was_sent(is_sent: bool, home: Path) -> None:
    """^C while the connection is being made costs nothing; ^C while the answer is awaited may."""
    begun = threading.Event()

    def serve(client: socket.socket) -> None:
        if is_sent:
            whole_request(client)
        begun.set()
        time.sleep(20)

    with Server(serve) as server:
        scheme = "http" if is_sent else "https"
        tracker = Tracker(home, f"{scheme}://127.0.0.1:{server.port}/api/v1")
        running = tracker.start("call", *HELLO, "--timeout", "30")
        assert begun.wait(HANG_GUARD_S)
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=HANG_GUARD_S)
    assert (running.returncode, out) == (130, b""), err
    assert (BILLED.encode() in err) is is_sent
    assert len(audit(tracker.ledger).held) == is_sent
