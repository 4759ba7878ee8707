"""What the tests of tracked calls share: the verb `call` with its budget, and how its holds ended."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.entry import read_line
from openrouter_usage.tracker import lookup
from tests.booking import Booked, Tracker, TrackerAt
from tests.sandbox import Sandbox

CHAT = "POST /chat/completions"
MODEL = "openai/gpt-5.2"
HELLO = ("--model", MODEL, "--prompt", "Hello?")
BUDGET = {"OPENROUTER_DAILY_LIMIT": "1", "OPENROUTER_MONTHLY_LIMIT": "20", "OPENROUTER_REQUEST_LIMIT": "0.5"}
AT_ONCE = {"Retry-After": "0"}


@dataclass
class Caller:
    """`cost_tracker.py call` in this process, under a budget; what it does to the books and to the bill."""

    run_at: TrackerAt
    sandbox: Sandbox

    @property
    def tracker(self) -> Tracker:
        """The program as a process of its own, in the same home."""
        return self.run_at.tracker

    def __call__(self, *argv: str, env: Any = None, hello: tuple[str, ...] = HELLO, now: Any = None) -> Booked:
        """Make a call; an `env` of {} takes the budget away."""
        return self.run_at(now, "call", *hello, *argv, env=BUDGET if env is None else env)

    @property
    def sent(self) -> list[Any]:
        """The requests that OpenRouter got."""
        return [request.json() for request in self.sandbox.received(CHAT)]

    @property
    def ending(self) -> str:
        """How the only hold ended: open, released, or as the cost source of its call."""
        records = list(map(read_line, self.tracker.bytes.splitlines()))
        found = self.tracker.audit()
        (hold,) = found.ends
        if hold in found.held:
            return "open"
        assert found.ends == {hold: 1}
        return str(getattr(records[-1], "cost_source", "released"))

    def agree(self) -> bool:
        """Every call of the bill is in the ledger, at its price, and no other; nothing is held any more."""
        found = self.tracker.audit()
        account = self.sandbox.account
        self.sandbox.wait_until(lambda: not account.in_flight)
        assert found.settled == {call.id: call.cost for call in account.generations.values()}
        assert (found.spent, found.held, found.damaged) == (account.bill, {}, 0)
        return True

    @property
    def held(self) -> Decimal:
        """What is held now."""
        return sum(self.tracker.audit().held.values(), Decimal(0))


def open_caller(
    home: Path,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tracker: Tracker | None = None,
) -> Caller:
    """Make one that asks again at once, where a program waits until OpenRouter knows more."""
    monkeypatch.setattr(lookup, "FIRST_WAIT_S", 0.0)
    monkeypatch.setenv("TMPDIR", str(home))
    return Caller(TrackerAt(tracker or Tracker(home, sandbox.url), monkeypatch, capsys), sandbox)
