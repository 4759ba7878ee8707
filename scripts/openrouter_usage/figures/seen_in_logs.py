"""What other programs logged without an id: estimates beside the ledger, by program; pure.

They are in no sum and no budget. All they may do is name who may have spent what nothing else explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Usage
from openrouter_usage.money import ZERO, Json, add, format_usd, total
from openrouter_usage.text import plural

# What a usage of a model costs by a price list, in USD; None for a model that it does not know.
PriceOf = Callable[[str, Usage], "Decimal | None"]


class Estimate(NamedTuple):
    """A call, or a stretch of a session: seconds since 1970 (UTC), tokens, and USD as its program thinks, or None."""

    client: str
    at_s: int
    model: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost: Decimal | None

    @property
    def usage(self) -> Usage:
        """Its tokens, of which cached ones have a price of their own."""
        return Usage(1, self.prompt_tokens, self.completion_tokens, cached_tokens=self.cached_tokens)


class Seen(NamedTuple):
    """What one program logged: its calls, what they cost by estimate in USD, and how many of them have no cost."""

    client: str
    calls: int
    cost: Decimal
    unknown: int

    @property
    def words(self) -> str:
        """Return it in words."""
        amount = f" about {format_usd(self.cost)}" if self.cost or not self.unknown else ""
        unknown = f", {self.unknown:,} of unknown cost" if self.unknown and amount else ""
        unknown = " of unknown cost" if self.unknown and not amount else unknown
        return f"{self.client}{amount} ({plural(self.calls, 'call')}{unknown})"


def seen_by_client(estimates: Iterable[Estimate], price_of: PriceOf) -> tuple[Seen, ...]:
    """Sum estimates by program, the dearest first; what has no cost is priced by a list that knows its model."""
    found: dict[str, Seen] = {}
    for each in estimates:
        cost = each.cost
        if cost is None:
            cost = price_of(each.model, each.usage)
        known = found.get(each.client, Seen(each.client, 0, ZERO, 0))
        found[each.client] = Seen(
            each.client, known.calls + 1, add(known.cost, cost or ZERO), known.unknown + (cost is None)
        )
    return tuple(sorted(found.values(), key=lambda seen: (-seen.cost, seen.client)))


def words_of(seen: Sequence[Seen]) -> str:
    """Return a sentence on what programs logged without an id."""
    names = ", ".join(each.words for each in seen)
    return f"logs of other programs name, as estimates that are in no sum: {names}"


def estimate_of(seen: Sequence[Seen]) -> Decimal:
    """Return what it cost together by estimate, in USD."""
    return total(each.cost for each in seen)


def as_data(seen: Sequence[Seen]) -> list[Json]:
    """Return the same for JSON."""
    return [
        {
            "client": each.client,
            "calls": each.calls,
            "estimated_usd": each.cost,
            "unknown_cost_calls": each.unknown,
        }
        for each in seen
    ]
