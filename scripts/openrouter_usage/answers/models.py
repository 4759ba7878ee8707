"""GET /models: what models cost, in USD per token as OpenRouter lists it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.answers.fields import Fields
from openrouter_usage.errors import BadAnswer, InvalidValue
from openrouter_usage.exactjson import Json
from openrouter_usage.money import usd


class Prices(NamedTuple):
    """Prices in USD per token, `request` per request; None is not known or varies, and never free.

    The highest of all conditions (long prompts, hours of the day, cache writes) is what a worst case counts with.
    """

    prompt: Decimal | None
    completion: Decimal | None
    request: Decimal | None
    cache_read: Decimal | None
    cache_write: Decimal | None
    highest_prompt: Decimal | None
    highest_completion: Decimal | None


class Model(NamedTuple):
    """One model of the price list; token counts are of its context and of its longest answer."""

    id: str
    slug: str
    name: str
    prices: Prices
    context_length: int | None
    longest_answer: int | None
    supports: tuple[str, ...]
    writes_text: bool = True


_PROMPT_PRICES = ("prompt", "input_cache_write", "input_cache_write_1h")
_ANSWER_PRICES = ("completion", "internal_reasoning")
_PRICED = (*_PROMPT_PRICES, *_ANSWER_PRICES, "request", "input_cache_read", "overrides")


def read_models(answer: Json) -> list[Model]:
    """Read the body of GET /models; a model that is not understood is left out, its price is unknown then."""
    models = []
    for data in Fields(answer, "/models").each("data"):
        try:
            models.append(_model(data))
        except BadAnswer:
            continue
    return models


def _model(data: Fields) -> Model:
    top = data.within("top_provider") if isinstance(data.get("top_provider"), dict) else Fields({}, data.where)
    supports = data.get("supported_parameters")
    return Model(
        id=data.text("id"),
        slug=data.text("canonical_slug"),
        name=data.text("name"),
        prices=_prices(data.within("pricing")),
        context_length=data.optional_count("context_length"),
        longest_answer=top.optional_count("max_completion_tokens"),
        writes_text=_writes_text(data),
        supports=tuple(str(name) for name in supports) if isinstance(supports, list) else (),
    )


def _writes_text(data: Fields) -> bool:
    """Tell whether a model answers in text; one that does not say so is taken for one that does."""
    if not isinstance(data.get("architecture"), dict):
        return True
    outputs = data.within("architecture").get("output_modalities")
    return not isinstance(outputs, list) or "text" in outputs


def _prices(pricing: Fields) -> Prices:
    prompt, completion = _price(pricing.get("prompt")), _price(pricing.get("completion"))
    conditions = pricing.get("overrides")
    cases: list[Json] = [pricing.get(name) for name in _PROMPT_PRICES]
    answers: list[Json] = [pricing.get(name) for name in _ANSWER_PRICES]
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, dict):
            cases += [condition.get(name) for name in _PROMPT_PRICES]
            answers += [condition.get(name) for name in _ANSWER_PRICES]
    return Prices(
        prompt,
        completion,
        _price(pricing.get("request")) if "request" in pricing else Decimal(0),
        _price(pricing.get("input_cache_read")),
        _price(pricing.get("input_cache_write")),
        _highest(prompt, cases),
        _highest(completion, answers),
    )


def _highest(first: Decimal | None, others: Iterable[Json]) -> Decimal | None:
    """Give the highest price of all conditions; None as soon as one of them cannot be known."""
    if first is None:
        return None
    found = [_price(value) for value in others if value is not None]
    return None if None in found else max([first, *(price for price in found if price is not None)])


def _price(value: Json) -> Decimal | None:
    """Read a price; "-1" says that it varies, so it is unknown."""
    try:
        price = usd(value)
    except InvalidValue:
        return None
    return price if price >= 0 else None


def compact(answer: Json) -> Json:
    """Keep of a price list what `read_models` reads: a tenth of its size, for the disk."""
    kept: list[Json] = []
    names = ("id", "canonical_slug", "name", "context_length", "supported_parameters")
    for data in Fields(answer, "/models").each("data"):
        try:
            pricing = data.within("pricing")
        except BadAnswer:
            continue
        prices: dict[str, Json] = {name: pricing.get(name) for name in _PRICED if name in pricing}
        top = data.get("top_provider")
        longest: Json = top.get("max_completion_tokens") if isinstance(top, dict) else None
        row: dict[str, Json] = {name: data.get(name) for name in names}
        row["architecture"] = {"output_modalities": ["text"] if _writes_text(data) else []}
        kept.append(row | {"pricing": prices, "top_provider": {"max_completion_tokens": longest}})
    return {"data": kept}
