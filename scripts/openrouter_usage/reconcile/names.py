"""Which names mean the same model: the requested, the billed and the dated one; pure.

Names are joined by what OpenRouter says of them, never because two prices look alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from openrouter_usage.answers.account import ActivityRow
from openrouter_usage.model_names import canonical, without_prefix
from openrouter_usage.pricing import PriceList, without_routing

# Deprecated at OpenRouter, and still found in ledgers: the model, with a search of the web.
_SEARCHING = ":online"


class Names:
    """Groups of names, each with the one that the account shows."""

    def __init__(self) -> None:
        """Begin with no names joined."""
        self._above: dict[str, str] = {}

    def join(self, one: str, other: str) -> None:
        """Say that two names mean the same model."""
        if one and other:
            self._above[self.group(other)] = self.group(one)

    def show_as(self, name: str) -> None:
        """Let a name stand for all names of its model."""
        self._above[self.group(name)] = self._above[name] = name

    def group(self, name: str) -> str:
        """Give the name that stands for all names of its model."""
        found = name
        while self._above.get(found, found) != found:
            found = self._above[found]
        self._above[name] = found
        return found


def joined_names(rows: Iterable[ActivityRow], ledger_names: Iterable[str], prices: PriceList | None) -> Names:
    """Join what the account's rows, routing suffixes and the price list say is the same model."""
    names = Names()
    rows = list(rows)
    known = {name for row in rows for name in (row.model, row.slug)}
    for row in rows:
        names.join(row.model, row.slug)
    for name in ledger_names:
        plain = without_routing(without_prefix(name).removesuffix(_SEARCHING))
        names.join(plain, name)
        # Dated as OpenRouter dates them; that a date alone makes no other model is for the account to show.
        short = canonical(plain, prices.short_names if prices else None)
        if short != plain and short in known:
            names.join(short, plain)
        model = prices.find(plain) if prices and plain not in known else None
        if model is not None:
            for other in (model.id, model.slug, model.alias_of):
                names.join(other, plain)
    # The account's own name for a model, and of several the plainest and dearest, which therefore comes last.
    for row in sorted(rows, key=lambda row: (row.model != row.slug, ":" not in row.model, row.usage.cost)):
        names.show_as(row.model)
    return names
