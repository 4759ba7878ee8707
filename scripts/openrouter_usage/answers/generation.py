"""GET /generation: what one call used and was billed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from openrouter_usage.answers.fields import Fields, unbelievable
from openrouter_usage.answers.left_out import LeftOut
from openrouter_usage.entry import LARGEST_COST, LARGEST_TOKENS, LONGEST_NAME, UNKNOWN_MODEL, Entry, believable
from openrouter_usage.errors import BadAnswer, InvalidValue, Unbelievable
from openrouter_usage.exactjson import Json
from openrouter_usage.money import ZERO
from openrouter_usage.text import quoted

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Generation:
    """One call as OpenRouter billed it: native token counts, which are the billed ones, and USD.

    `normalized` counts are by one common tokenizer; `upstream_cost` is known for BYOK calls only, and is paid to
    the provider; `cache_discount` is positive for reads from a cache and negative for writes. `sent` is the whole
    record as OpenRouter sent it, fields that are not read here included; its texts are not made safe. Fields that
    cannot be used are unknown, and named in `left_out`.
    """

    id: str
    model: str
    provider: str
    created_at: datetime | None
    total_cost: Decimal
    usage: Decimal | None
    is_byok: bool
    upstream_cost: Decimal | None
    cache_discount: Decimal | None
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cached_tokens: int | None
    normalized_prompt_tokens: int | None
    normalized_completion_tokens: int | None
    latency_ms: int | None
    generation_time_ms: int | None
    streamed: bool | None
    cancelled: bool | None
    finish_reason: str
    service_tier: str
    sent: Mapping[str, Json] = field(default_factory=dict, repr=False)
    left_out: tuple[LeftOut, ...] = ()

    def entry(self, now: datetime, *, session: str = "", hold: str = "", requested: str = "") -> Entry:
        """Give the call as a ledger entry of the time at which OpenRouter made it."""
        return Entry(
            ts=self.created_at or now,
            model=self.model or requested or UNKNOWN_MODEL,
            prompt_tokens=self.prompt_tokens or 0,
            completion_tokens=self.completion_tokens or 0,
            cost=self.total_cost,
            id=self.id,
            cached_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
            byok_cost=self.upstream_cost if self.is_byok else None,
            cost_source="late",
            cache_discount=self.cache_discount,
            provider=self.provider,
            session=session,
            streamed=self.streamed,
            latency_ms=self.latency_ms,
            finish_reason=self.finish_reason,
            hold=hold,
        )


def read_generation(answer: Json, asked_for: str) -> Generation:
    """Read the body of GET /generation; BadAnswer for figures that no ledger can hold, or of another call."""
    data = Fields(answer, "/generation").within("data")
    if data.text("id") not in ("", asked_for):
        raise data.wrong("id", "it is another one than was asked for")
    told = unbelievable(data.get("total_cost"))
    if told:
        raise Unbelievable(data.wrong("total_cost", f"no call can cost {quoted(told)}").message, told=told)
    total_cost = _amount(data, "total_cost")
    if total_cost is None:
        raise data.wrong("total_cost", "an amount was expected")
    left_out: list[LeftOut] = []

    def usable(read: Callable[[Fields, str], T | None], name: str) -> T | None:
        """Read a field that the call is known without; one that cannot be used is unknown, and noted."""
        try:
            return read(data, name)
        except BadAnswer as error:
            left_out.append(LeftOut(error.message))
            return None

    return Generation(
        id=asked_for,
        model=_name(data, "model"),
        provider=_name(data, "provider_name"),
        created_at=_made(data),
        total_cost=total_cost,
        usage=usable(Fields.optional_usd, "usage"),
        is_byok=data.flag("is_byok"),
        upstream_cost=usable(_amount, "upstream_inference_cost"),
        cache_discount=usable(_discount, "cache_discount"),
        prompt_tokens=usable(_tokens, "native_tokens_prompt"),
        completion_tokens=usable(_tokens, "native_tokens_completion"),
        reasoning_tokens=usable(_tokens, "native_tokens_reasoning"),
        cached_tokens=usable(_tokens, "native_tokens_cached"),
        normalized_prompt_tokens=usable(_tokens, "tokens_prompt"),
        normalized_completion_tokens=usable(_tokens, "tokens_completion"),
        latency_ms=usable(_milliseconds, "latency"),
        generation_time_ms=usable(_milliseconds, "generation_time"),
        streamed=_truth(data, "streamed"),
        cancelled=_truth(data, "cancelled"),
        finish_reason=_name(data, "finish_reason"),
        service_tier=_name(data, "service_tier"),
        sent={name: data.get(name) for name in data},
        left_out=tuple(left_out),
    )


def _amount(data: Fields, name: str, *, lowest: Decimal = ZERO) -> Decimal | None:
    amount = data.optional_usd(name)
    if amount is not None and not lowest <= amount <= LARGEST_COST:
        raise data.wrong(name, f"an amount from {lowest:,} to {LARGEST_COST:,} USD was expected")
    return amount


def _discount(data: Fields, name: str) -> Decimal | None:
    return _amount(data, name, lowest=-LARGEST_COST)


def _tokens(data: Fields, name: str) -> int | None:
    count = data.optional_count(name)
    if count is not None and not 0 <= count <= LARGEST_TOKENS:
        raise data.wrong(name, f"a count from 0 to {LARGEST_TOKENS:,} was expected")
    return count


def _name(data: Fields, name: str) -> str:
    """Cut a name to what a ledger can hold; half a surrogate pair cannot be written as UTF-8."""
    return data.text(name)[:LONGEST_NAME].encode("utf-8", "replace").decode("utf-8")


def _made(data: Fields) -> datetime | None:
    """Give the moment of the call; None when it is absent, or one in which no call can have been made."""
    try:
        moment = data.moment("created_at")
        return believable(moment) if moment else None
    except InvalidValue:
        return None


def _milliseconds(data: Fields, name: str) -> int | None:
    value = data.optional_usd(name)  # a number that may have a fraction, read exactly
    return None if value is None else max(0, int(value))


def _truth(data: Fields, name: str) -> bool | None:
    return data.flag(name) if name in data else None
