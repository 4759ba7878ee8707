"""The price list on disk, kept for a day with its age and address, and what tokens cost at most by it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from openrouter_usage.errors import InvalidValue, OpenRouterUsageError
from openrouter_usage.figures.model_names import Canonical, canonical, is_dated
from openrouter_usage.figures.pricing import PriceList, estimate, no_such_model, price_list
from openrouter_usage.files import make_private_folder, read_own, replace_file
from openrouter_usage.home.settings import Settings, load_settings
from openrouter_usage.jobs.loading import load_client
from openrouter_usage.money import Json, dumps, loads
from openrouter_usage.openrouter.answers.fields import Fields
from openrouter_usage.openrouter.answers.models import compact, read_models
from openrouter_usage.period import UTC

# -- The price list on disk, kept for a day, with its age and the address that it came from.

MAX_AGE = timedelta(days=1)
_LARGEST_FILE = 64 * 1024 * 1024


def price_file(settings: Settings) -> Path | None:
    """Name the file of the kept list, None without a home."""
    folder = settings.cache_folder
    return folder / "models.json" if folder else None


def load_prices(path: Path | None, source: str) -> PriceList | None:
    """Read the stored list of a base URL; None when there is no list, or an implausible one.

    Another address may have other prices, and a bound made of those would hold nothing.
    """
    try:
        if path is None or not path.is_file():
            return None
        kept = Fields(loads(read_own(path, _LARGEST_FILE)), "the price list")
        if kept.get("source") != source:
            return None
        fetched_at = kept.moment("fetched_at")
        return price_list(read_models(kept.get("answer")), fetched_at) if fetched_at else None
    except (OSError, ValueError, OpenRouterUsageError):
        return None


def canonical_names(names: Iterable[str]) -> Canonical:
    """Return what gives models their one name: by the kept price list where a name is dated, else by rule.

    Nobody is asked for a list, and an old one will do: names change less than prices.
    """
    return known_names() if any(map(is_dated, names)) else canonical


def known_names() -> Canonical:
    """Return what gives models their one name, by the kept price list, whatever its age; by rule without one."""
    prices = kept_prices()
    known = prices.short_names if prices else None
    return lambda name: canonical(name, known)


def kept_prices() -> PriceList | None:
    """Return the kept price list, whatever its age; None without one."""
    try:
        settings = load_settings()
        return load_prices(price_file(settings), settings.base_url.url)
    except OpenRouterUsageError:
        return None


def save_prices(path: Path | None, answer: Json, now: datetime, source: str) -> None:
    """Keep an answer of GET /models of a base URL; when that fails it is asked for again next time."""
    if path is not None:
        with contextlib.suppress(OSError):
            make_private_folder(path.parent)
            replace_file(path, [dumps({"source": source, "fetched_at": now.isoformat(), "answer": compact(answer)})])


def current_prices(path: Path | None, ask: Callable[[], Json], now: datetime, *, source: str) -> PriceList:
    """Return the list of a base URL, `source`, at most a day old, asking if need be; Unreachable when it cannot be had.

    An older list is not used instead: what a price was the day before yesterday bounds nothing.
    """
    kept = load_prices(path, source)
    if kept is not None and timedelta() <= now - kept.fetched_at < MAX_AGE:
        return kept
    answer = ask()
    save_prices(path, answer, now, source)
    return price_list(read_models(answer), now)


# -- What tokens cost at most, by OpenRouter's own price list.


def load_price_list(now: datetime) -> PriceList:
    """Return the price list, at most a day old at `now`; it is public, so no key is sent for it."""
    load_client()
    from openrouter_usage.openrouter.endpoints import OpenRouter
    from openrouter_usage.openrouter.transport import Transport

    settings = load_settings()
    client = OpenRouter(Transport(settings.base_url), None)
    return current_prices(price_file(settings), client.models, now, source=settings.base_url.url)


def estimate_cost(model: str, prompt_tokens: int, max_tokens: int) -> Decimal:
    """Return the most that so many tokens of a model cost in USD.

    Raises Unbounded for a model whose price varies, and NoSuchModel, which is one too, for one that is not listed.
    """
    for name, count in (("prompt_tokens", prompt_tokens), ("max_tokens", max_tokens)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise InvalidValue(f"{name} must be a whole number, not below 0")
    prices = load_price_list(datetime.now(UTC))
    found = prices.find(model)
    if found is None:
        raise no_such_model(model, prices)
    return estimate(found, model, prompt_tokens, max_tokens)
