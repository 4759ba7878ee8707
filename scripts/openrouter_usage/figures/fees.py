"""What a cost is made of beside the tokens: web search and other tools, files, and the fee on BYOK calls; pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Entry
from openrouter_usage.figures.model_names import Canonical
from openrouter_usage.money import ZERO, add, subtract


class Fees(NamedTuple):
    """Parts of a cost in USD, as far as OpenRouter told them: `cost` is the whole, and `rest` is for tokens.

    `byok` is what credits paid for calls with the user's own provider key. `calls` had at least one of these parts.
    """

    cost: Decimal = ZERO
    tools: Decimal = ZERO
    files: Decimal = ZERO
    byok: Decimal = ZERO
    calls: int = 0

    @property
    def rest(self) -> Decimal:
        """What is left for tokens."""
        return subtract(self.cost, add(add(self.tools, self.files), self.byok))

    def __add__(self, other: Fees) -> Fees:  # type: ignore[override]  # amounts add up; tuples would be joined
        """Add two sums, money exactly."""
        return Fees(
            add(self.cost, other.cost),
            add(self.tools, other.tools),
            add(self.files, other.files),
            add(self.byok, other.byok),
            self.calls + other.calls,
        )


class FeesReport(NamedTuple):
    """The sums of all calls, and of each model and client that paid fees, the largest first."""

    total: Fees
    by_model: tuple[tuple[str, Fees], ...]
    by_client: tuple[tuple[str, Fees], ...]


def fees_report(entries: Iterable[Entry], name_of: Canonical) -> FeesReport:
    """Sum the fees in the cost of some calls."""
    total = Fees()
    by_model: dict[str, Fees] = {}
    by_client: dict[str, Fees] = {}
    for entry in entries:
        one = fees_of(entry)
        total += one
        if one.calls:
            client = dict(entry.tags).get("client", "(no client)")
            for sums, name in ((by_model, name_of(entry.model)), (by_client, client)):
                sums[name] = sums.get(name, Fees()) + one
    return FeesReport(total, _ordered(by_model), _ordered(by_client))


def fees_of(entry: Entry) -> Fees:
    """Return the parts of one call's cost; an unknown cost has none."""
    if entry.cost is None:
        return Fees()
    tools, files = entry.tool_cost or ZERO, entry.file_cost or ZERO
    # Of a BYOK call OpenRouter takes nothing but fees, because the provider is paid beside it.
    byok = max(subtract(entry.cost, add(tools, files)), ZERO) if entry.byok_cost else ZERO
    return Fees(entry.cost, tools, files, byok, int(bool(tools or files or byok)))


def _ordered(sums: dict[str, Fees]) -> tuple[tuple[str, Fees], ...]:
    return tuple(sorted(sums.items(), key=lambda pair: (subtract(pair[1].rest, pair[1].cost), pair[0])))
