"""What a call can cost at most, and how the request has to be written so that it cannot cost more; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from openrouter_usage.answers.models import Model
from openrouter_usage.errors import InvalidValue, Refused
from openrouter_usage.exactjson import Json
from openrouter_usage.money import EXACT, ZERO, plain, usd
from openrouter_usage.text import named

DEFAULT_MAX_TOKENS = 1024
# Providers put instructions of their own around tools; what was measured stays below this.
_TOKENS_FOR_TOOLS = 2_048
_TOKENS_FOR_A_TEMPLATE = 64
# These steer the call and are not put before the model.
_NOT_SAID = frozenset(("model", "models", "max_tokens", "max_completion_tokens", "provider", "stream", "usage", "n"))
_MILLION = Decimal(1_000_000)
_FINEST_PRICE = Decimal("0.000001")
_ANSWER_TO_PROMPT = 5
# These choose among providers; the model and its listed prices are the same.
_ROUTING_VARIANTS = (":floor", ":nitro", ":exacto")
_UNBOUNDED_FIELDS = ("plugins", "web_search_options", "modalities", "audio", "image_config")


class Unbounded(Refused):
    """Nobody can say beforehand what a call will cost at most."""

    code = "unbounded"


class PriceList(NamedTuple):
    """Models by id and by dated slug, and when OpenRouter listed them."""

    models: Mapping[str, Model]
    fetched_at: datetime

    def find(self, name: str) -> Model | None:
        """Give a model by the name of a request; a routing variant has the prices of its model."""
        for variant in _ROUTING_VARIANTS:
            name = name.removesuffix(variant)
        return self.models.get(name)


class WorstCase(NamedTuple):
    """The most a request can cost in USD, and the limits that it has to carry for that to be true."""

    cost: Decimal
    prompt_tokens: int
    max_tokens: int
    max_price: dict[str, Json]


def price_list(models: Sequence[Model], fetched_at: datetime) -> PriceList:
    """Make a price list; where two models share a dated slug, the dearer one answers to it."""
    by_name: dict[str, Model] = {}
    for model in models:
        known = by_name.get(model.slug)
        if model.slug and (known is None or (model.prices.prompt or ZERO) > (known.prices.prompt or ZERO)):
            by_name[model.slug] = model
    return PriceList(by_name | {model.id: model for model in models}, fetched_at)


def estimate(model: Model | None, name: str, prompt_tokens: int, max_tokens: int) -> Decimal:
    """Give the most that so many tokens cost in USD; Unbounded when the model's price is not known."""
    if model is None:
        raise _unbounded(f"the price of {named(name)} is not known")
    prices = model.prices
    if prices.highest_prompt is None or prices.highest_completion is None or prices.request is None:
        raise _unbounded(f"the price of {named(name)} varies")
    return _cost(prompt_tokens, prices.highest_prompt, max_tokens, prices.highest_completion, prices.request)


def list_cost(model: Model | None, prompt_tokens: int, completion_tokens: int, *, requests: int = 1) -> Decimal | None:
    """Give what so many tokens cost in USD at listed prices; None when a price is unknown or varies."""
    if model is None or None in (model.prices.prompt, model.prices.completion, model.prices.request):
        return None
    prompt, completion, request = (price or ZERO for price in model.prices[:3])
    return _cost(prompt_tokens, prompt, completion_tokens, completion, EXACT.multiply(request, Decimal(requests)))


def per_million(price: Decimal) -> Decimal:
    """Give a price in USD per million tokens."""
    return EXACT.multiply(price, _MILLION)


def _cost(prompt: int, prompt_price: Decimal, completion: int, completion_price: Decimal, request: Decimal) -> Decimal:
    spent = EXACT.add(
        EXACT.multiply(prompt_price, Decimal(prompt)), EXACT.multiply(completion_price, Decimal(completion))
    )
    return EXACT.add(spent, request)


def worst_case(body: Mapping[str, Json], prices: PriceList) -> WorstCase:
    """Bound a chat request before it is sent; Unbounded names what makes that impossible."""
    _refuse_unbounded(body)
    names = _models(body)
    prompt_tokens = _prompt_tokens(body)
    max_tokens = _max_tokens(body)
    answers = max(1, _whole(body.get("n"), "n") or 1)
    own = _own_max_price(body)
    highest: dict[str, Decimal] = {}
    for name in names:
        listed = _listed(prices.find(name), name, own)
        for part, price in listed.items():
            highest[part] = max(price, highest.get(part, ZERO))
    cost = _cost(prompt_tokens, highest["prompt"], max_tokens * answers, highest["completion"], highest["request"])
    cap: dict[str, Json] = {part: EXACT.multiply(highest[part], _MILLION) for part in ("prompt", "completion")}
    return WorstCase(cost, prompt_tokens, max_tokens, cap | {"request": highest["request"]})


def _listed(model: Model | None, name: str, own: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Give each price at its highest: the caller's own max_price where there is one, else the list's."""
    prices = model.prices if model else None
    listed = {
        "prompt": prices.highest_prompt if prices else None,
        "completion": prices.highest_completion if prices else None,
        "request": prices.request if prices else None,
    }
    found = {part: own.get(part, price) for part, price in listed.items()}
    if "prompt" in own and "completion" in own and found["request"] is None:
        found["request"] = ZERO if model else None
    missing = [part for part, price in found.items() if price is None]
    if missing:
        why = "varies" if model else "is not known"
        raise _unbounded(f"the {missing[0]} price of {named(name)} {why}")
    return {part: price for part, price in found.items() if price is not None}


def limited(body: Mapping[str, Json], worst: WorstCase) -> dict[str, Json]:
    """Write the limits of the worst case into a request, so that OpenRouter refuses what would cost more."""
    provider = body.get("provider")
    wishes = dict(provider) if isinstance(provider, dict) else {}
    named_tokens = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    return {**body, named_tokens: worst.max_tokens, "provider": {**wishes, "max_price": worst.max_price}}


def fitted(body: Mapping[str, Json], prices: PriceList, most: Decimal) -> WorstCase:
    """Bound a request to an amount in USD by shortening its answer, unless its length was asked for."""
    worst = worst_case(body, prices)
    if worst.cost <= most:
        return worst
    asked_for = body.get("max_tokens") is not None or body.get("max_completion_tokens") is not None
    per_token = EXACT.multiply(usd(worst.max_price["completion"]), Decimal("0.000001"))
    spare = most - (worst.cost - EXACT.multiply(per_token, Decimal(worst.max_tokens)))
    tokens = int(spare / per_token) if per_token and not asked_for else 0
    if tokens < 1:
        raise Unbounded(
            f"the call can cost ${plain(worst.cost)}, more than the ${plain(most)} allowed for it",
            hint="shorten the prompt, lower --max-tokens, or raise --max-cost",
        )
    return worst_case({**body, "max_tokens": tokens}, prices)


def price_capped(body: Mapping[str, Json], most: Decimal) -> WorstCase:
    """Bound a request whose prices nobody knows: by prices so low that it cannot cost more than `most` USD.

    OpenRouter then refuses every provider that is dearer. An answer's token may cost five times a prompt's, as is
    usual. Unbounded for what costs money beside tokens.
    """
    _refuse_unbounded(body, but_models=True)
    prompt_tokens, max_tokens = _prompt_tokens(body), _max_tokens(body)
    answers = max(1, _whole(body.get("n"), "n") or 1)
    units = prompt_tokens + _ANSWER_TO_PROMPT * max_tokens * answers
    prompt_price = (most * _MILLION / units).quantize(_FINEST_PRICE, rounding=ROUND_DOWN)
    cap: dict[str, Json] = {"prompt": prompt_price, "completion": prompt_price * _ANSWER_TO_PROMPT, "request": ZERO}
    return WorstCase(most, prompt_tokens, max_tokens, cap)


def _models(body: Mapping[str, Json]) -> list[str]:
    fallbacks = body.get("models")
    named_in = [body.get("model"), *(fallbacks if isinstance(fallbacks, list) else [])]
    names = [name for name in named_in if isinstance(name, str) and name]
    if not names:
        raise InvalidValue("a request names a model")
    return names


def _prompt_tokens(body: Mapping[str, Json]) -> int:
    """Count the bytes of what is said: no tokenizer makes more tokens than bytes, and a template's fit in the rest."""
    said = {name: value for name, value in body.items() if name not in _NOT_SAID}
    text = json.dumps(said, ensure_ascii=False, default=str)
    tools = _TOKENS_FOR_TOOLS if body.get("tools") or body.get("functions") else 0
    return len(text.encode("utf-8", "surrogatepass")) + _TOKENS_FOR_A_TEMPLATE + tools


def _max_tokens(body: Mapping[str, Json]) -> int:
    given = [_whole(body.get(name), name) for name in ("max_tokens", "max_completion_tokens")]
    named_tokens = [count for count in given if count is not None]
    return max(named_tokens) if named_tokens else DEFAULT_MAX_TOKENS


def _whole(value: Json, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 100_000_000:
        raise InvalidValue(f"{name} is a whole number above 0")
    return value


def _own_max_price(body: Mapping[str, Json]) -> dict[str, Decimal]:
    provider = body.get("provider")
    cap = provider.get("max_price") if isinstance(provider, dict) else None
    if not isinstance(cap, dict):
        return {}
    per_unit = {"prompt": Decimal("0.000001"), "completion": Decimal("0.000001"), "request": Decimal(1)}
    found = {part: usd(cap[part]) for part in per_unit if cap.get(part) is not None}
    if any(price < 0 for price in found.values()):
        raise InvalidValue("max_price is not negative")
    return {part: EXACT.multiply(price, per_unit[part]) for part, price in found.items()}


def _refuse_unbounded(body: Mapping[str, Json], *, but_models: bool = False) -> None:
    for name in _UNBOUNDED_FIELDS:
        if body.get(name):
            raise _unbounded(f"{name} costs extra that no price list tells")
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else []:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind != "function":
            raise _unbounded(f"the tool {named(str(kind))} runs on the server and costs extra")
    for name in () if but_models else _models(body):
        if name.endswith(":online") or name.startswith("@preset/"):
            raise _unbounded(f"{named(name)} may search the web or choose models by itself")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidValue("a request has messages")
    for message in messages:
        parts = message.get("content") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else []:
            if not isinstance(part, dict) or part.get("type") != "text":
                raise _unbounded("images, sound and files cost what only their provider knows")


def _unbounded(why: str) -> Unbounded:
    return Unbounded(
        f"under a budget this call is refused: {why}", hint="say what it may cost at most with --max-cost (max_cost=)"
    )
