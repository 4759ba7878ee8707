"""What tokens cost at most, by OpenRouter's own price list."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from openrouter_usage.errors import InvalidValue
from openrouter_usage.period import UTC
from openrouter_usage.prices import current_prices, price_file
from openrouter_usage.pricing import PriceList, estimate, no_such_model
from openrouter_usage.settings import load_settings
from openrouter_usage.tracker.loading import load_client


def load_price_list() -> PriceList:
    """Give the price list, at most a day old; it is public, so no key is sent for it."""
    load_client()
    from openrouter_usage.client.openrouter import OpenRouter
    from openrouter_usage.client.transport import Transport

    settings = load_settings()
    client = OpenRouter(Transport(settings.base_url), None)
    return current_prices(price_file(settings), client.models, datetime.now(UTC), source=settings.base_url.url)


def estimate_cost(model: str, prompt_tokens: int, max_tokens: int) -> Decimal:
    """Return the most that so many tokens of a model cost in USD.

    Raises Unbounded for a model whose price varies, and NoSuchModel, which is one too, for one that is not listed.
    """
    for name, count in (("prompt_tokens", prompt_tokens), ("max_tokens", max_tokens)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise InvalidValue(f"{name} is a whole number, not below 0")
    prices = load_price_list()
    found = prices.find(model)
    if found is None:
        raise no_such_model(model, prices)
    return estimate(found, model, prompt_tokens, max_tokens)
