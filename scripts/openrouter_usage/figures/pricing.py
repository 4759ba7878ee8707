"""What a call can cost at most, and how a request has to be written so that it cannot cost more; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_UP, Context, Decimal, Inexact
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.entry import LARGEST_COST, Usage
from openrouter_usage.errors import InvalidValue, Refused
from openrouter_usage.figures.model_names import canonical, short_names, without_prefix
from openrouter_usage.money import EXACT, ZERO, Json, plain, usd
from openrouter_usage.openrouter.answers.fields import left_out_of
from openrouter_usage.openrouter.answers.models import Model
from openrouter_usage.text import named

# -- What a chat request asks for: models, tokens, prices, and what of it nobody can bound; pure.

DEFAULT_MAX_TOKENS = 1024
# Providers put instructions of their own around tools and schemas; what was measured stays below this.
_TOKENS_FOR_TOOLS = 2_048
_TOKENS_FOR_A_TEMPLATE = 64
# These steer the call and are not put before the model.
_NOT_SAID = frozenset(("model", "models", "max_tokens", "max_completion_tokens", "provider", "stream", "usage", "n"))
_EXTRAS = ("plugins", "web_search_options", "audio", "image_config", "prediction", "preset")
_PLAIN_TIERS = ("auto", "default", "standard", "flex")


class Unbounded(Refused):
    """Nobody can say beforehand what a call will cost at most."""

    code = "unbounded"


class NoSuchModel(Unbounded):
    """OpenRouter does not list the model that was asked for: most likely its name is misspelt."""

    exit_code = 2
    code = "no_such_model"


def unbounded(why: str) -> Unbounded:
    """Return the error that says why a call cannot be bounded."""
    return Unbounded(
        f"under a budget this call is refused: {why}", hint="say what it may cost at most with --max-cost (max_cost=)"
    )


def models_asked(body: Mapping[str, Json]) -> list[str]:
    """Name every model that may answer."""
    fallbacks = body.get("models")
    named_in = [body.get("model"), *(fallbacks if isinstance(fallbacks, list) else [])]
    names = [name for name in named_in if isinstance(name, str) and name]
    if not names:
        raise InvalidValue("a request names a model")
    return names


def most_prompt_tokens(body: Mapping[str, Json]) -> int:
    """Count the bytes of what is said: no tokenizer makes more tokens than bytes, and a template's fit in the rest."""
    said = {name: value for name, value in body.items() if name not in _NOT_SAID}
    text = json.dumps(said, ensure_ascii=False, default=str)
    around = any(body.get(name) for name in ("tools", "functions", "response_format"))
    return len(text.encode("utf-8", "surrogatepass")) + _TOKENS_FOR_A_TEMPLATE + _TOKENS_FOR_TOOLS * around


def asks_for_length(body: Mapping[str, Json]) -> bool:
    """Check whether the caller says how long the answer may be."""
    return body.get("max_tokens") is not None or body.get("max_completion_tokens") is not None


def most_answer_tokens(body: Mapping[str, Json]) -> int:
    """Return the longest answer that is asked for, or a length that will be."""
    given = [whole_number(body.get(name), name) for name in ("max_tokens", "max_completion_tokens")]
    return max([count for count in given if count is not None], default=DEFAULT_MAX_TOKENS)


def number_of_answers(body: Mapping[str, Json]) -> int:
    """Count the answers that are asked for at once."""
    return max(whole_number(body.get(name), name) or 1 for name in ("n", "best_of"))


def whole_number(value: Json, name: str) -> int | None:
    """Return a count that a request names, None where it names none; InvalidValue for what is no such number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 100_000_000:
        raise InvalidValue(f"{name} is a whole number above 0")
    return value


def own_max_price(body: Mapping[str, Json]) -> dict[str, Decimal]:
    """Return the prices that the caller admits at most, in USD per token, and per request."""
    provider = body.get("provider")
    cap = provider.get("max_price") if isinstance(provider, dict) else None
    if not isinstance(cap, dict):
        return {}
    per_unit = {"prompt": Decimal("0.000001"), "completion": Decimal("0.000001"), "request": Decimal(1)}
    found = {part: usd(cap[part]) for part in per_unit if cap.get(part) is not None}
    if any(price < 0 for price in found.values()):
        raise InvalidValue("max_price is not negative")
    return {part: EXACT.multiply(price, per_unit[part]) for part, price in found.items()}


def refuse_unbounded(body: Mapping[str, Json], *, but_models: bool = False) -> None:
    """Raise Unbounded for what costs money beside tokens, or more for a token than the price list says."""
    refuse_extras(body)
    if not but_models:
        refuse_choosing_models(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidValue("a request has messages")
    for message in messages:
        if isinstance(message, dict) and not _is_text(message):
            raise unbounded("images, sound and files cost what only their provider knows")


def refuse_choosing_models(body: Mapping[str, Json]) -> None:
    """Raise Unbounded for a model that searches the web, or chooses others."""
    for name in models_asked(body):
        if name.endswith(":online") or name.startswith("@preset/"):
            raise unbounded(f"{named(name)} may search the web or choose models by itself")


def refuse_extras(body: Mapping[str, Json]) -> None:
    """Raise Unbounded for fields beside the messages that cost money beside tokens; the shapes share them."""
    for name in _EXTRAS:
        if body.get(name):
            raise unbounded(f"{name} costs extra that no price list tells")
    if body.get("modalities") not in (None, [], ["text"]):
        raise unbounded("modalities other than text cost what only their provider knows")
    if body.get("service_tier") not in (None, *_PLAIN_TIERS):
        raise unbounded(f"the service tier {named(str(body.get('service_tier')))} costs more than the list price")
    provider, tools = body.get("provider"), body.get("tools")
    if isinstance(provider, dict) and provider.get("options"):
        raise unbounded("provider.options goes to the provider as it is")
    for tool in tools if isinstance(tools, list) else []:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind != "function":
            raise unbounded(f"the tool {named(str(kind))} runs on the server and costs extra")


def _is_text(message: Mapping[str, Json]) -> bool:
    parts = message.get("content")
    listed = parts if isinstance(parts, list) else []
    is_text = all(isinstance(part, dict) and part.get("type") == "text" for part in listed)
    return is_text and not any(message.get(name) for name in ("audio", "images", "files"))


# -- What a call can cost at most, and how the request has to be written so that it cannot cost more; pure.

_MILLION = Decimal(1_000_000)
# A ledger's amounts have 27 decimals at most; what has more is rounded up to fewer.
_FINEST_AMOUNT = Decimal("1E-18")
_UP = Context(prec=60, rounding=ROUND_UP)
# A quotient of 60 digits times a price, tokens and answers: a bound is exact until it is rounded up to an amount.
_WIDE = Context(prec=200, traps=[Inexact])
# Of a model whose prices nobody knows: what an answer's token, and one written to a cache, may cost at most.
_ANSWER_TO_PROMPT = 5
_CACHE_WRITE_TO_PROMPT = 2
# These choose among providers; the model and its listed prices are the same.
_ROUTING_VARIANTS = (":floor", ":nitro", ":exacto")


class PriceList(NamedTuple):
    """Models by id and by dated slug, and when OpenRouter listed them; `short_names` leads from both to the id.

    `left_out` models of its list could not be understood.
    """

    models: Mapping[str, Model]
    fetched_at: datetime
    short_names: Mapping[str, str] = {}
    left_out: int = 0

    def find(self, name: str) -> Model | None:
        """Return a model by any name of it; a routing variant has the prices of its model."""
        plain = without_routing(name)
        return self.models.get(plain) or self.models.get(canonical(plain, self.short_names))

    def suggestion(self, name: str) -> str:
        """Return `did you mean ...?` with the names that look most like one that is not listed, "" without any."""
        from difflib import get_close_matches

        ids = {model.id for model in self.models.values()}
        close = get_close_matches(without_prefix(name), ids, n=3, cutoff=0.75)
        if not close and "/" not in name:
            close = sorted(each for each in ids if each.partition("/")[2] == name)[:3]
        return f"did you mean {' or '.join(map(named, close))}?" if close else ""


def without_routing(name: str) -> str:
    """Remove from a name the part that only chooses among a model's providers."""
    for variant in _ROUTING_VARIANTS:
        name = name.removesuffix(variant)
    return name


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
    names = short_names((model.id, model.slug) for model in models)
    return PriceList(by_name | {model.id: model for model in models}, fetched_at, names, len(left_out_of(models)))


def no_such_model(name: str, prices: PriceList) -> NoSuchModel:
    """Return the error for a model that OpenRouter does not list."""
    hint = prices.suggestion(name) or as_called("cost_tracker.py models WORD finds one")
    return NoSuchModel(f"OpenRouter lists no such model: {named(name)}", hint=hint)


def estimate(model: Model | None, name: str, prompt_tokens: int, max_tokens: int) -> Decimal:
    """Return the most that so many tokens cost in USD; Unbounded when the model's price is not known or varies."""
    if model is None:
        raise unbounded(f"the price of {named(name)} is not known")
    highest, request = model.prices.highest(prompt_tokens), model.prices.request
    if highest.prompt is None or highest.completion is None or request is None:
        raise unbounded(f"the price of {named(name)} varies")
    return _cost(prompt_tokens, highest.prompt, max_tokens, highest.completion, request)


def list_cost(model: Model | None, prompt_tokens: int, completion_tokens: int, *, requests: int = 1) -> Decimal | None:
    """Return what so many tokens cost in USD at listed prices; None when a price is unknown or varies."""
    known = _known_prices(model) if model else None
    if known is None:
        return None
    prompt, completion, request = known
    return _cost(prompt_tokens, prompt, completion_tokens, completion, EXACT.multiply(request, Decimal(requests)))


def repriced(model: Model, usage: Usage) -> Decimal | None:
    """Return what calls cost in USD at a model's listed prices, cached tokens at its cache prices where it has any.

    None when a price varies.
    """
    read = min(usage.cached_tokens, usage.prompt_tokens)
    written = min(usage.cache_write_tokens, usage.prompt_tokens - read)
    plain_tokens = usage.prompt_tokens - read - written
    known = _known_prices(model)
    if known is None:
        return None
    prompt, completion, request = known
    cost = _cost(
        plain_tokens, prompt, usage.completion_tokens, completion, EXACT.multiply(request, Decimal(usage.requests))
    )
    for count, price in ((read, model.prices.cache_read), (written, model.prices.cache_write)):
        cost = EXACT.add(cost, EXACT.multiply(prompt if price is None else price, Decimal(count)))
    return cost


# What programs depend on: the names of supported parameters, as OpenRouter lists them.
ABILITIES = ("tools", "structured_outputs", "response_format", "reasoning")


class Cheaper(NamedTuple):
    """A model, and what some calls would have cost on it, in USD."""

    model: Model
    cost: Decimal


def cheapest_for(prices: PriceList, like: Model, usage: Usage, *, longest: int, most: int = 5) -> list[Cheaper]:
    """Return the models that can do what another one can, on which some calls would have cost least.

    They answer in text, take the tools, formats and inputs that the other one takes, and have room for `longest`
    tokens. Free models and variants are left out, because they are limited to a number of requests a day.
    """
    needed = {name for name in ABILITIES if name in like.supports}
    found = []
    for model in {each.id: each for each in prices.models.values()}.values():
        is_able = needed <= set(model.supports) and set(like.reads) <= set(model.reads) and model.writes_text
        has_room = model.context_length is not None and model.context_length >= longest
        cost = repriced(model, usage) if is_able and has_room else None
        is_free = all(price == 0 for price in model.prices[:3])
        if cost is not None and not model.alias_of and not is_free:
            found.append(Cheaper(model, cost))
    found.sort(key=lambda each: (each.cost, each.model.id))
    return found[:most]


def _known_prices(model: Model) -> tuple[Decimal, Decimal, Decimal] | None:
    """Return the prices of a prompt's token, an answer's, and a request; None when one is unknown or varies."""
    prompt, completion, request = model.prices[:3]
    if prompt is None or completion is None or request is None:
        return None
    return prompt, completion, request


def per_million(price: Decimal) -> Decimal:
    """Return a price in USD per million tokens."""
    return EXACT.multiply(price, _MILLION)


def _cost(prompt: int, prompt_price: Decimal, completion: int, completion_price: Decimal, request: Decimal) -> Decimal:
    spent = EXACT.add(
        EXACT.multiply(prompt_price, Decimal(prompt)), EXACT.multiply(completion_price, Decimal(completion))
    )
    return EXACT.add(spent, request)


class _Bound(NamedTuple):
    """What a request costs at most beside its answer, and for each token of that, in USD."""

    fixed: Decimal
    per_token: Decimal
    prompt_tokens: int
    max_price: dict[str, Json]

    def with_answer(self, max_tokens: int) -> WorstCase:
        cost = _WIDE.add(self.fixed, _WIDE.multiply(self.per_token, Decimal(max_tokens)))
        if cost > LARGEST_COST:
            raise unbounded(f"it can cost more than ${LARGEST_COST:,}")
        finer = int(cost.as_tuple().exponent) < int(_FINEST_AMOUNT.as_tuple().exponent)
        cost = cost.quantize(_FINEST_AMOUNT, context=_UP) if finer else cost
        return WorstCase(cost, self.prompt_tokens, max_tokens, self.max_price)


def worst_case(body: Mapping[str, Json], prices: PriceList) -> WorstCase:
    """Bound a chat request before it is sent; Unbounded names what makes that impossible."""
    return _bound(body, prices).with_answer(most_answer_tokens(body))


def _bound(body: Mapping[str, Json], prices: PriceList) -> _Bound:
    refuse_unbounded(body)
    tokens = most_prompt_tokens(body)
    window = largest_context(map(prices.find, models_asked(body)))
    return _bound_of(body, prices, tokens if window is None else min(tokens, window))


def bound(
    body: Mapping[str, Json], prices: PriceList, *, prompt_tokens: int, max_tokens: int, is_brief: bool
) -> WorstCase:
    """Bound a request of any shape, whose tokens the caller has counted, and which costs nothing but tokens.

    `body` names the models, and may have `provider` and `n`; it `is_brief` where it surely asks for no cache of an
    hour. Raises Unbounded as `worst_case` does.
    """
    return _bound_of(body, prices, prompt_tokens, is_brief=is_brief).with_answer(max_tokens)


def largest_context(models: Iterable[Model | None]) -> int | None:
    """Return the largest context of some models in tokens, which no prompt can pass; None where one is not known."""
    known = [model.context_length if model else None for model in models]
    sizes = [size for size in known if size]
    return max(sizes) if sizes and len(sizes) == len(known) else None


def likely_cost(
    body: Mapping[str, Json],
    prices: PriceList,
    *,
    fresh_tokens: int,
    known_tokens: int,
    missed: Decimal,
    answer_tokens: int,
) -> Decimal:
    """Return what a request costs in USD if so much of it is new, the rest known, and a share of that not cached.

    New tokens, and the `missed` share of the known ones, cost the highest price of a prompt; the others that of a
    cached token. It bounds nothing. Raises Unbounded as `worst_case` does.
    """
    own, answers = own_max_price(body), Decimal(number_of_answers(body))
    highest: dict[str, Decimal] = {}
    for name in models_asked(body):
        model = prices.find(name)
        if model is None:
            raise no_such_model(name, prices)
        listed = _listed(model, name, fresh_tokens + known_tokens, own)
        cached = model.prices.cache_read
        listed["cached"] = listed["prompt"] if cached is None else min(cached, listed["prompt"])
        highest = {part: max(price, highest.get(part, ZERO)) for part, price in listed.items()}
    in_full = _WIDE.add(Decimal(fresh_tokens), _WIDE.multiply(missed, Decimal(known_tokens)))
    cached_tokens = _WIDE.multiply(_WIDE.subtract(Decimal(1), missed), Decimal(known_tokens))
    cost = highest["request"]
    for count, part in ((in_full, "prompt"), (cached_tokens, "cached"), (Decimal(answer_tokens), "completion")):
        cost = _WIDE.add(cost, _WIDE.multiply(count, highest[part]))
    return _WIDE.multiply(answers, cost).quantize(_FINEST_AMOUNT, context=_UP)


def _bound_of(body: Mapping[str, Json], prices: PriceList, tokens: int, *, is_brief: bool = False) -> _Bound:
    answers, own = Decimal(number_of_answers(body)), own_max_price(body)
    highest: dict[str, Decimal] = {}
    for name in models_asked(body):
        model = prices.find(name)
        if model is None and not {"prompt", "completion"} <= own.keys():
            raise no_such_model(name, prices)
        for part, price in _listed(model, name, tokens, own, is_brief=is_brief).items():
            highest[part] = max(price, highest.get(part, ZERO))
    fixed = _WIDE.add(_WIDE.multiply(highest["prompt"], Decimal(tokens)), highest["request"])
    cap: dict[str, Json] = {part: per_million(highest[f"plain_{part}"]) for part in ("prompt", "completion")}
    # Some providers write several answers by as many calls, and count the prompt in each.
    fixed, per_token = _WIDE.multiply(answers, fixed), _WIDE.multiply(answers, highest["completion"])
    return _Bound(fixed, per_token, tokens, cap | {"request": highest["request"]})


def _listed(
    model: Model | None, name: str, tokens: int, own: Mapping[str, Decimal], *, is_brief: bool = False
) -> dict[str, Decimal]:
    """Return each highest price, and the plain ones that providers are held to: the caller's, else the list's."""
    listed = model.prices.highest(tokens)._asdict() if model else {}
    if is_brief and model:
        listed["prompt"] = listed["brief_prompt"]
    found: dict[str, Decimal | None] = {}
    for part, usual in (("prompt", _CACHE_WRITE_TO_PROMPT), ("completion", 1)):
        plain_price, highest = listed.get(f"plain_{part}"), listed.get(part)
        if part in own:
            # What is dearer than the usual price, such as a cache or a long prompt, grows with the price admitted.
            base: Decimal | None = getattr(model.prices, part) if model else None
            times = _UP.divide(highest, base) if base and highest is not None else Decimal(usual)
            floor = ZERO if base else highest or ZERO
            plain_price, highest = own[part], max(_WIDE.multiply(own[part], times), floor)
        found |= {part: highest, f"plain_{part}": plain_price}
    found["request"] = own.get("request", model.prices.request if model else None)
    missing = [part for part, price in found.items() if price is None]
    if missing:
        why = "varies" if model else "is not known"
        raise unbounded(f"the {missing[0].removeprefix('plain_')} price of {named(name)} {why}")
    return {part: price for part, price in found.items() if price is not None}


def limited(body: Mapping[str, Json], worst: WorstCase) -> dict[str, Json]:
    """Write the limits of the worst case into a request, so that OpenRouter refuses what would cost more."""
    provider = body.get("provider")
    wishes = dict(provider) if isinstance(provider, dict) else {}
    named_tokens = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    return {**body, named_tokens: worst.max_tokens, "provider": {**wishes, "max_price": worst.max_price}}


def fitted(body: Mapping[str, Json], prices: PriceList, most: Decimal) -> WorstCase:
    """Bound a request to an amount in USD by shortening its answer, unless its length was asked for."""
    bound = _bound(body, prices)
    worst = bound.with_answer(most_answer_tokens(body))
    if worst.cost <= most:
        return worst
    spare = _WIDE.subtract(most, bound.fixed)
    tokens = 0 if asks_for_length(body) or spare <= 0 else int(_WIDE.divide_int(spare, bound.per_token))
    if tokens < 1:
        raise Unbounded(
            f"the call can cost ${plain(worst.cost)}, more than the ${plain(most)} allowed for it",
            hint="shorten the prompt, lower --max-tokens, or raise --max-cost",
        )
    return bound.with_answer(tokens)


def price_capped(body: Mapping[str, Json], most: Decimal) -> WorstCase:
    """Bound a request whose prices nobody knows: by prices so low that it cannot cost more than `most` USD.

    OpenRouter then refuses every provider that is dearer. An answer's token may cost five times a prompt's, as is
    usual. Unbounded for what costs money beside tokens.
    """
    refuse_unbounded(body, but_models=True)
    prompt_tokens, max_tokens, own = most_prompt_tokens(body), most_answer_tokens(body), own_max_price(body)
    units = number_of_answers(body) * (_CACHE_WRITE_TO_PROMPT * prompt_tokens + _ANSWER_TO_PROMPT * max_tokens)
    # In whole millionths of a USD for a million tokens, which leave no room for rounding up.
    price = EXACT.divide_int(EXACT.multiply(most, _MILLION * _MILLION), Decimal(units)).scaleb(-6, EXACT)
    cap = {"prompt": price, "completion": EXACT.multiply(price, Decimal(_ANSWER_TO_PROMPT)), "request": ZERO}
    admitted: dict[str, Json] = {
        part: min(price, per_million(own[part])) if part in own else price for part, price in cap.items()
    }
    return WorstCase(most, prompt_tokens, max_tokens, admitted)
