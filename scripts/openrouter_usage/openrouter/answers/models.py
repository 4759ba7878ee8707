"""GET /models: what models cost, in USD per token as OpenRouter lists it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.errors import BadAnswer, InvalidValue
from openrouter_usage.money import EXACT, Json, subtract, usd
from openrouter_usage.openrouter.answers.fields import Fields, LeftOut, Rows


class Highest(NamedTuple):
    """The highest prices that can apply to a prompt of some length; None is unknown or varies.

    `prompt` and `completion` are for any token, cache writes and reasoning included; the plain ones are for others.
    `brief_prompt` is for a prompt that asks for no cache of an hour, which costs more to write than one of minutes.
    """

    prompt: Decimal | None
    completion: Decimal | None
    plain_prompt: Decimal | None
    plain_completion: Decimal | None
    brief_prompt: Decimal | None


class Prices(NamedTuple):
    """Prices in USD per token, `request` per request; None is unknown or varies, and never free.

    `conditions` are the highest prices of prompts that are longer than so many tokens, the shortest first.
    """

    prompt: Decimal | None
    completion: Decimal | None
    request: Decimal | None
    cache_read: Decimal | None
    cache_write: Decimal | None
    conditions: tuple[tuple[int, Highest], ...]

    def highest(self, prompt_tokens: int) -> Highest:
        """Return the highest prices of all conditions (length, hour, cache writes) that so long a prompt can meet."""
        return [highest for above, highest in self.conditions if above < prompt_tokens or above < 0][-1]


class Model(NamedTuple):
    """One model of the price list; token counts are of its context and of its longest answer.

    `alias_of` is the model that this name stands for at present, "" for a model of its own.
    """

    id: str
    slug: str
    name: str
    prices: Prices
    context_length: int | None
    longest_answer: int | None
    supports: tuple[str, ...]
    writes_text: bool = True
    alias_of: str = ""
    # What an image in a prompt costs beside its tokens, in USD; None varies.
    image_price: Decimal | None = Decimal(0)
    # What a token of sound in a prompt costs, in USD; None where none is listed, or it varies.
    audio_price: Decimal | None = None
    # What a prompt may hold beside text, such as image or file.
    reads: tuple[str, ...] = ()


_BRIEF_PRICES = ("prompt", "input_cache_write")
_PROMPT_PRICES = (*_BRIEF_PRICES, "input_cache_write_1h")
_ANSWER_PRICES = ("completion", "internal_reasoning")
_PRICED = (*_PROMPT_PRICES, *_ANSWER_PRICES, "request", "input_cache_read", "overrides", "discount", "image", "audio")


def read_models(answer: Json) -> Rows[Model]:
    """Read the body of GET /models; a model that is not understood is left out, so its price is unknown."""
    models: list[Model] = []
    left_out: list[LeftOut] = []
    for value in _listed(answer):
        try:
            models.append(_model(Fields(value, "/models (data)")))
        except BadAnswer as error:
            left_out.append(LeftOut(error.message))
    return Rows.of(models, left_out)


def _listed(answer: Json) -> list[Json]:
    fields = Fields(answer, "/models")
    data = fields.get("data")
    if not isinstance(data, list):
        raise fields.wrong("data", "a list was expected")
    return data


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
        image_price=_price(data.within("pricing").get("image")) if "image" in data.within("pricing") else Decimal(0),
        audio_price=_price(data.within("pricing").get("audio")) if "audio" in data.within("pricing") else None,
        reads=_reads(data),
        alias_of=data.within("alias_target").text("slug") if isinstance(data.get("alias_target"), dict) else "",
    )


def _reads(data: Fields) -> tuple[str, ...]:
    """Return the kinds of input a model names beside text."""
    if not isinstance(data.get("architecture"), dict):
        return ()
    inputs = data.within("architecture").get("input_modalities")
    return tuple(str(kind) for kind in inputs if kind != "text") if isinstance(inputs, list) else ()


def _writes_text(data: Fields) -> bool:
    """Check whether a model answers in text; True for one that does not say."""
    if not isinstance(data.get("architecture"), dict):
        return True
    outputs = data.within("architecture").get("output_modalities")
    return not isinstance(outputs, list) or "text" in outputs


def _prices(pricing: Fields) -> Prices:
    overrides = pricing.get("overrides")
    base: dict[str, Json] = {name: pricing.get(name) for name in (*_PROMPT_PRICES, *_ANSWER_PRICES)}
    cases = [(-1, base), *(_condition(each) for each in (overrides if isinstance(overrides, list) else []))]
    rest = _undiscounted(pricing.get("discount"))

    def listed(name: str) -> Decimal | None:
        price = _price(pricing.get(name))
        return None if price is None else EXACT.multiply(price, rest)

    return Prices(
        listed("prompt"),
        listed("completion"),
        listed("request") if "request" in pricing else Decimal(0),
        listed("input_cache_read"),
        listed("input_cache_write"),
        # Without the discount, which can end: the bound must still hold then.
        tuple((above, _highest(cases, above)) for above in sorted({above for above, _ in cases})),
    )


def _undiscounted(discount: Json) -> Decimal:
    """Return a price without its discount; the price as it is where the discount is not understood."""
    try:
        share = usd(discount)
    except InvalidValue:
        return Decimal(1)
    return subtract(Decimal(1), share) if 0 <= share <= 1 else Decimal(1)


def _condition(override: Json) -> tuple[int, dict[str, Json]]:
    """Return the prompt length above which other prices hold, -1 for every length, and those prices."""
    if not isinstance(override, dict):
        return -1, {}
    above = override.get("min_prompt_tokens")
    return above if isinstance(above, int) and above > 0 else -1, override


def _highest(cases: Sequence[tuple[int, Mapping[str, Json]]], above: int) -> Highest:
    """Return the highest price of each kind in all cases that a prompt longer than `above` tokens can meet."""

    def of(*names: str) -> Decimal | None:
        met = [case for least, case in cases if least <= above]
        found = [_price(case[name]) for case in met for name in names if case.get(name) is not None]
        known = [price for price in found if price is not None]
        return max(known) if known and len(known) == len(found) else None

    highest = of(*_PROMPT_PRICES), of(*_ANSWER_PRICES), of("prompt"), of("completion"), of(*_BRIEF_PRICES)
    # A price that is missing altogether is unknown, whatever a condition says.
    base = cases[0][1]
    known = [base.get(name) is not None for name in ("prompt", "completion", "prompt", "completion", "prompt")]
    return Highest(*(price if is_known else None for price, is_known in zip(highest, known, strict=True)))


def _price(value: Json) -> Decimal | None:
    """Return a price; None for "-1", which means that the price varies."""
    try:
        price = usd(value)
    except InvalidValue:
        return None
    return price if price >= 0 else None


def compact(answer: Json) -> Json:
    """Return what `read_models` reads of a price list: a tenth of its size, for the disk."""
    kept: list[Json] = []
    names = ("id", "canonical_slug", "name", "context_length", "supported_parameters", "alias_target")
    for value in _listed(answer):
        try:
            data = Fields(value, "/models (data)")
            pricing = data.within("pricing")
        except BadAnswer:
            kept.append(None)  # kept, so that it is counted as left out when the list is read
            continue
        prices: dict[str, Json] = {name: pricing.get(name) for name in _PRICED if name in pricing}
        top = data.get("top_provider")
        longest: Json = top.get("max_completion_tokens") if isinstance(top, dict) else None
        row: dict[str, Json] = {name: data.get(name) for name in names}
        row["architecture"] = {
            "input_modalities": list(_reads(data)),
            "output_modalities": ["text"] if _writes_text(data) else [],
        }
        kept.append(row | {"pricing": prices, "top_provider": {"max_completion_tokens": longest}})
    return {"data": kept}
