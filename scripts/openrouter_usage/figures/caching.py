"""What prompt caching saved, and what writing into caches cost more, by model and by client; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Entry
from openrouter_usage.figures.model_names import Canonical
from openrouter_usage.money import EXACT, ZERO, add
from openrouter_usage.openrouter.answers.models import Model


class Caching(NamedTuple):
    """Sums over calls: tokens in, of them read from a cache and written to one, and USD saved and paid more.

    Amounts are OpenRouter's `cache_discount` where the ledger has it. `estimated` calls are priced from the price list,
    and those whose effect nobody knows are `unknown` and in no amount.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    saved: Decimal = ZERO
    surcharge: Decimal = ZERO
    estimated: int = 0
    unknown: int = 0

    def __add__(self, other: Caching) -> Caching:  # type: ignore[override]  # amounts add up; tuples would be joined
        """Add two sums, money exactly."""
        return Caching(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            add(self.saved, other.saved),
            add(self.surcharge, other.surcharge),
            self.estimated + other.estimated,
            self.unknown + other.unknown,
        )


class CachingReport(NamedTuple):
    """The sums of all calls, and of each model and client that used a cache, the largest saving first."""

    total: Caching
    by_model: tuple[tuple[str, Caching], ...]
    by_client: tuple[tuple[str, Caching], ...]


def caching_report(entries: Iterable[Entry], find: Callable[[str], Model | None], name_of: Canonical) -> CachingReport:
    """Sum what caches did to the cost of some calls; `find` returns the prices of a model, None without any."""
    total = Caching()
    by_model: dict[str, Caching] = {}
    by_client: dict[str, Caching] = {}
    for entry in entries:
        one = effect_of(entry, find)
        total += one
        client = dict(entry.tags).get("client", "(no client)")
        for sums, name in ((by_model, name_of(entry.model)), (by_client, client)):
            sums[name] = sums.get(name, Caching()) + one
    return CachingReport(total, _ordered(by_model), _ordered(by_client))


def _ordered(sums: dict[str, Caching]) -> tuple[tuple[str, Caching], ...]:
    used = [(name, each) for name, each in sums.items() if each.cached_tokens or each.cache_write_tokens or each.saved]
    return tuple(sorted(used, key=lambda pair: (pair[1].saved.copy_negate(), pair[0])))


def effect_of(entry: Entry, find: Callable[[str], Model | None]) -> Caching:
    """Return what caches did to the cost of one call."""
    read, written = entry.cached_tokens or 0, entry.cache_write_tokens or 0
    sums = Caching(entry.prompt_tokens, read, written)
    discount = entry.cache_discount
    if discount is not None:
        return sums._replace(saved=max(discount, ZERO), surcharge=max(discount.copy_negate(), ZERO))
    if not read and not written:
        return sums
    model = find(entry.model)
    if model is None or model.prices.prompt is None:
        return sums._replace(unknown=1)
    prices = model.prices
    saved = _difference(prices.prompt, prices.cache_read, read)
    surcharge = _difference(prices.prompt, prices.cache_write, written).copy_negate()
    return sums._replace(saved=saved, surcharge=surcharge if written else ZERO, estimated=1)


def _difference(usual: Decimal | None, own: Decimal | None, tokens: int) -> Decimal:
    """Return what tokens cost less than usual; nothing for a model without a price of its own for them."""
    if usual is None or own is None:
        return ZERO
    return EXACT.multiply(EXACT.subtract(usual, own), Decimal(tokens))
