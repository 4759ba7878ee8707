"""Makes large ledgers whose sums are known: a year of calls, 20 models, 200 sessions, 4 clients, always the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

MODELS, SESSIONS, CLIENTS, DAYS = 20, 200, 4, 365
VENDORS = ("anthropic", "google", "openai", "qwen", "deepseek")
# A ten-millionth of a dollar: sums of whole numbers of them need no Decimal.
UNITS = 10**7
_CHUNK = 1_000


@dataclass(slots=True)
class Made:
    """What a made ledger holds: calls and their cost, in ten-millionths of a dollar, of all and of one month.

    `names` counts the calls of each vendor, session and client.
    """

    month: str
    calls: int = 0
    cost: int = 0
    month_calls: int = 0
    month_cost: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def write(self, path: Path, calls: int, until: datetime, days: int = DAYS) -> None:
        """Append calls to a file, evenly over the days before a moment."""
        with path.open("ab") as file:
            for chunk in _chunks(self.lines(calls, until, days)):
                file.write(chunk)

    def lines(self, calls: int, until: datetime, days: int) -> Iterator[str]:
        """Give the lines of more calls, in their order, and count them."""
        step, first = timedelta(days=days) / calls, until - timedelta(days=days)
        for number in range(calls):
            ts = (first + number * step).strftime("%Y-%m-%dT%H:%M:%SZ")
            chance = _chance(self.calls)
            cost = 10 + chance % 250_000
            self.calls += 1
            self.cost += cost
            if ts.startswith(self.month):
                self.month_calls += 1
                self.month_cost += cost
            self.names.update((_vendor(chance), _session(chance), _client(chance)))
            yield _line(self.calls, ts, chance, cost)


def _chance(number: int) -> int:
    """Give a number as if by chance: neighbours have nothing in common, and every run makes the same ledger."""
    mixed = number * 2_654_435_761 % 2**32
    mixed = (mixed ^ mixed >> 15) * 2_246_822_519 % 2**32
    return mixed ^ mixed >> 13


def _vendor(chance: int) -> str:
    return VENDORS[chance % MODELS % len(VENDORS)]


def _session(chance: int) -> str:
    return f"job-{(chance >> 12) % SESSIONS}"


def _client(chance: int) -> str:
    return f"client-{(chance >> 8) % CLIENTS}"


def _line(number: int, ts: str, chance: int, cost: int) -> str:
    model, vendor = chance % MODELS, _vendor(chance)
    amount = f"{cost // UNITS}.{cost % UNITS:07d}".rstrip("0")
    rare = f',"cached_tokens":{chance % 900}' * (chance % 3 == 0)
    rare += f',"reasoning_tokens":{chance % 700}' * (chance % 5 == 0)
    return (
        f'{{"ts":"{ts}","model":"{vendor}/model-{model}","prompt_tokens":{chance % 4_000},'
        f'"completion_tokens":{chance % 900},"cost":{amount},"id":"gen-1763800000-{number:020d}"{rare},'
        f'"cost_source":"billed","provider":"{vendor.title()}","session":"{_session(chance)}",'
        f'"tags":{{"client":"{_client(chance)}"}}}}\n'
    )


def _chunks(lines: Iterator[str]) -> Iterator[bytes]:
    some: list[str] = []
    for line in lines:
        some.append(line)
        if len(some) == _CHUNK:
            yield "".join(some).encode()
            some.clear()
    yield "".join(some).encode()
