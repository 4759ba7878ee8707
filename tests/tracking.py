"""What the tests of track_cost share: a ledger of their own, real clients, and the sandbox's bill beside it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import requests
from openrouter import OpenRouter

from openrouter_usage.entry import Entry
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.tracker import record as written
from tests.sandbox import INFERENCE_KEY, Sandbox

HELLO: dict[str, Any] = {"model": "openai/gpt-5.2", "messages": [{"role": "user", "content": "Hello?"}]}
EMBED = {"model": "openai/text-embedding-3-small", "input": "Hello?"}
ASK = {"model": "openai/gpt-5.2", "input": "Hello?"}


@dataclass
class Books:
    """The default ledger as a reader sees it who comes afterwards."""

    path: Path

    def ledger(self) -> Ledger:
        """The books, opened anew."""
        return Ledger(self.path)

    @property
    def entries(self) -> list[Entry]:
        """Every call, each id once; nothing in the file may be beyond understanding."""
        with contextlib.closing(self.ledger()) as ledger:
            assert ledger.health().unread == ()
            return list(ledger.entries())

    @property
    def only(self) -> Entry:
        """The one call that there is."""
        (entry,) = self.entries
        return entry

    @property
    def lines(self) -> int:
        """How many lines the file has, whatever they say."""
        return len(self.path.read_bytes().splitlines()) if self.path.exists() else 0

    def agree_with(self, sandbox: Sandbox) -> bool:
        """Hold the books against the bill: the same calls, the same money of either kind, each call one line."""
        billed = sandbox.account.generations.values()
        entries = self.entries
        costs = {entry.id: (entry.cost, entry.byok_cost) for entry in entries}
        assert costs == {call.id: (call.cost, call.upstream) for call in billed}
        assert sum(entry.cost or Decimal(0) for entry in entries) == sandbox.account.bill
        assert sum(entry.byok_cost or Decimal(0) for entry in entries) == sandbox.account.byok_bill
        assert self.lines == len(entries) == len(sandbox.account.generations)
        return True


def open_books(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    """Make a ledger in a folder the default one, with a place beside it for what cannot be written."""
    monkeypatch.setenv("OPENROUTER_USAGE_FILE", str(folder / "usage.jsonl"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(written, "_shared", {})
    monkeypatch.setattr(written, "_said", set())
    yield Books(folder / "usage.jsonl")
    for ledger in written._shared.values():
        ledger.close()


@dataclass
class Clients:
    """Everybody's clients, pointed at the sandbox; none tries again, nor loads certificates it does not need."""

    sandbox: Sandbox
    opened: list[Any] = field(default_factory=list)

    @cached_property
    def openai(self) -> openai.OpenAI:
        """The openai package."""
        plain = openai.DefaultHttpxClient(verify=False)
        client = openai.OpenAI(api_key=INFERENCE_KEY, base_url=self.sandbox.url, max_retries=0, http_client=plain)
        self.opened.append(client)
        return client

    @cached_property
    def openrouter(self) -> OpenRouter:
        """OpenRouter's own package."""
        plain, plain_async = httpx.Client(verify=False), httpx.AsyncClient(verify=False)
        self.opened.append(plain)
        options: Any = {"client": plain, "async_client": plain_async, "retry_config": None}
        return OpenRouter(api_key=INFERENCE_KEY, server_url=self.sandbox.url, **options)

    @cached_property
    def session(self) -> requests.Session:
        """The requests package."""
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {INFERENCE_KEY}"
        self.opened.append(session)
        return session

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        """A plain POST."""
        return self.session.post(self.sandbox.url + path, json=body, timeout=30, **options)

    def chat(self, **options: Any) -> Any:
        """A chat call of the openai package."""
        return self.openai.chat.completions.create(**HELLO, **options)

    def async_openai(self) -> openai.AsyncOpenAI:
        """The openai package within one event loop; its user closes it."""
        plain = openai.DefaultAsyncHttpxClient(verify=False)
        return openai.AsyncOpenAI(api_key=INFERENCE_KEY, base_url=self.sandbox.url, max_retries=0, http_client=plain)


def open_clients(sandbox: Sandbox) -> Iterator[Clients]:
    """Give clients that are closed afterwards."""
    clients = Clients(sandbox)
    yield clients
    for client in clients.opened:
        client.close()
