"""Made-up days of coding agents, in shapes that have been published: growing prompts, tool loops, parallel subagents.

The figures behind the shapes: a text has about four bytes for a token; a step sends the whole conversation again, of
which nine tenths are read from a cache that forgets after five minutes; most answers are a tool call of some hundred
tokens, a few are a file of thousands; a subagent begins with the instructions of its kind and works beside others.
Nobody's requests are in here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

MODEL = "anthropic/claude-opus-4.5"
WINDOW, LONGEST = 200_000, 64_000
PRICES = {
    "prompt": "0.000005",
    "completion": "0.000025",
    "input_cache_read": "0.0000005",
    "input_cache_write": "0.00000625",
}
LISTED = {
    "data": [
        {
            "id": MODEL,
            "canonical_slug": MODEL,
            "name": "Opus",
            "pricing": PRICES,
            "context_length": WINDOW,
            "top_provider": {"max_completion_tokens": LONGEST},
        }
    ]
}
_CACHE_LASTS_S = 300
_LEAST_CACHED = 1_024
_WORDS = ("self", "return", "value", "path", "def", "import", "json", "with", "open", "for", "in", "if", "not", "None")


class Step(NamedTuple):
    """One call: when it is made and ends, in seconds; who makes it; what is said, and what is billed for it in USD."""

    start: float
    end: float
    session: str
    agent: str
    head: dict[str, Any]
    messages: list[dict[str, Any]]
    count: int
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int
    bill: Decimal

    @property
    def body(self) -> bytes:
        """The request as it is sent."""
        whole = {**self.head, "messages": self.messages[: self.count]}
        return json.dumps(whole, ensure_ascii=False).encode()


@dataclass
class _Agent:
    """One conversation while it is made up."""

    dice: random.Random
    session: str
    name: str
    head: dict[str, Any]
    head_tokens: int
    density: float  # bytes for a token
    compact_at: int
    messages: list[dict[str, Any]] = field(default_factory=list)
    tokens: int = 0
    cached: int = 0
    cached_at: float = -1e9
    steps: list[Step] = field(default_factory=list)

    def say(self, role: str, size: int) -> None:
        self.messages.append({"role": role, "content": [{"type": "text", "text": text(self.dice, size)}]})
        self.tokens += int(size / self.density) + 8

    def step(self, now: float) -> float:
        """Make a call at a moment and return when it ends."""
        if self.head_tokens + self.tokens > self.compact_at:
            self.messages, self.tokens, self.cached = [], 0, self.head_tokens
            self.say("user", 8_000)
        prompt = self.head_tokens + self.tokens
        is_warm = now - self.cached_at < _CACHE_LASTS_S
        cached = min(self.cached, prompt) if is_warm and self.cached >= _LEAST_CACHED else 0
        # A few answers are long: files that are written whole.
        answer = int(min(16_000, self.dice.lognormvariate(5.2, 0.9) * (12 if self.dice.random() < 0.05 else 1))) + 20
        price = {name: Decimal(each) for name, each in PRICES.items()}
        bill = (
            price["input_cache_read"] * cached
            + price["input_cache_write"] * (prompt - cached)
            + price["completion"] * answer
        )
        end = now + 2 + answer / 80
        count = len(self.messages)
        self.steps.append(
            Step(now, end, self.session, self.name, self.head, self.messages, count, prompt, cached, answer, bill)
        )
        self.cached, self.cached_at = prompt, now
        self.messages = list(self.messages)
        self.say("assistant", int(answer * self.density))
        return end


def text(dice: random.Random, size: int) -> str:
    """Return so many bytes of words."""
    block = " ".join(dice.choice(_WORDS) for _ in range(40)) + "\n"
    return (block * (size // len(block) + 1))[:size]


def head(dice: random.Random, kind: str, size: int, max_tokens: int) -> dict[str, Any]:
    """Return all of a request but its messages: the instructions and tools of a kind of agent."""
    system = [{"type": "text", "text": f"{kind}: {text(dice, size)}"}]
    return {"model": MODEL, "max_tokens": max_tokens, "stream": True, "system": system}


def day(
    seed: int,
    *,
    sessions: int = 4,
    steps: int = 60,
    fan_out: int = 4,
    max_tokens: int = 32_000,
    pause_s: float = 900,
    density: float = 4.0,
    compact_at: int = 160_000,
    larger: float = 1.0,
) -> list[Step]:
    """Make up a day: sessions one after the other, each a tool loop that sends out subagents now and then.

    `density` is the number of bytes for a token, `compact_at` the length in tokens at which a conversation is begun
    anew with a summary, and `larger` by how much the results of tools are.
    """
    dice = random.Random(seed)
    main, helper = (head(dice, kind, size, max_tokens) for kind, size in (("main", 60_000), ("helper", 30_000)))
    found: list[Step] = []
    now = 0.0
    for number in range(sessions):
        agent = _Agent(dice, f"s{seed}-{number}", "", main, int(60_000 / density), density, compact_at)
        agent.say("user", 2_000)
        for turn in range(steps):
            now = agent.step(now) + dice.uniform(0.5, 4)
            if fan_out and turn % 20 == 9:
                ends = [now]
                for each in range(fan_out):
                    name, tokens = f"a{number}-{turn}-{each}", int(30_000 / density)
                    sent = _Agent(dice, agent.session, name, helper, tokens, density, compact_at)
                    ends.append(_helped(found, sent, now, min(20, steps // 4)))
                now = max(ends)
            if dice.random() < 0.03:
                now += dice.uniform(200, 1_200)  # a person reads, and the cache may forget
            agent.say("user", int(min(80_000, larger * dice.lognormvariate(8.5, 1.2))))
        found += agent.steps
        now += pause_s
    return sorted(found, key=lambda step: step.start)


def _helped(found: list[Step], agent: _Agent, now: float, steps: int) -> float:
    agent.say("user", 1_500)
    for _ in range(max(2, steps)):
        now = agent.step(now) + agent.dice.uniform(0.2, 2)
        agent.say("user", int(min(60_000, agent.dice.lognormvariate(8.0, 1.0))))
    found += agent.steps
    return now


def office(seed: int, *, desks: int = 5, **shape: Any) -> list[Step]:
    """Make up a day of several people with a cap in common."""
    days: Iterator[list[Step]] = (day(seed * 100 + desk, **shape) for desk in range(desks))
    return sorted((step for each in days for step in each), key=lambda step: step.start)
