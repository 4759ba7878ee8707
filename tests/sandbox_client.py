"""Small clients for tests of the sandbox, down to the bare socket."""

from __future__ import annotations

import json
import socket
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import requests

from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Sandbox

if TYPE_CHECKING:
    from openrouter import OpenRouter

HELLO = {"model": "openai/gpt-5.2", "messages": [{"role": "user", "content": "Hello?"}]}


def client(sandbox: Sandbox, key: str | None = MANAGEMENT_KEY) -> OpenRouter:
    """The official client, pointed at the sandbox."""
    from openrouter import OpenRouter

    return OpenRouter(api_key=key, server_url=sandbox.url, retry_config=None)


def exact(value: float | None) -> Decimal | None:
    """The shortest Decimal that the client's float stands for."""
    return None if value is None else Decimal(str(value))


def get(sandbox: Sandbox, path: str = "/key", key: str = INFERENCE_KEY, **options: Any) -> requests.Response:
    """A plain GET with a key."""
    options.setdefault("timeout", 30)
    return requests.get(sandbox.url + path, headers={"Authorization": f"Bearer {key}"}, **options)


def raw_get(sandbox: Sandbox, path: str = "/key", key: str = INFERENCE_KEY) -> bytes:
    """All bytes that come back, up to the end of the connection; raises ConnectionResetError on a RST."""
    host, port = sandbox.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        line = f"GET /api/v1{path} HTTP/1.1\r\nHost: {host}\r\n"
        sock.sendall(f"{line}Authorization: Bearer {key}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b""))


def post(
    sandbox: Sandbox, path: str = "/chat/completions", body: Any = HELLO, key: str = INFERENCE_KEY, **options: Any
) -> requests.Response:
    """A plain POST of JSON with a key."""
    return send(sandbox, "POST", path, body, key, **options)


def send(
    sandbox: Sandbox, method: str, path: str, body: Any, key: str = INFERENCE_KEY, **options: Any
) -> requests.Response:
    """Any request with a JSON body and a key."""
    options.setdefault("timeout", 30)
    headers = {"Authorization": f"Bearer {key}"}
    return requests.request(method, sandbox.url + path, json=body, headers=headers, **options)


def events(sandbox: Sandbox, **more: Any) -> list[Any]:
    """The data of every event of a stream, in order."""
    text = post(sandbox, body={**HELLO, "stream": True, **more}).content.decode()
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in data]


def open_stream(sandbox: Sandbox, **more: Any) -> socket.socket:
    """A connection on which a stream has been asked for and nothing read yet."""
    host, port = sandbox.url.split("/")[2].split(":")
    body = json.dumps({**HELLO, "stream": True, **more}).encode()
    head = (
        f"POST /api/v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Bearer {INFERENCE_KEY}\r\nContent-Type: application/json\r\n\r\n"
    )
    sock = socket.create_connection((host, int(port)), timeout=30)
    sock.sendall(head.encode() + body)
    return sock
