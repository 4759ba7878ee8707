"""GET /generation: what one call used and was billed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from openrouter_usage.answers.fields import Fields
from openrouter_usage.entry import Entry
from openrouter_usage.exactjson import Json


@dataclass(frozen=True, slots=True)
class Generation:
    """One call as OpenRouter billed it: native token counts, which are the billed ones, and USD.

    `normalized` counts are by one common tokenizer; `upstream_cost` is known for BYOK calls only, and is paid to
    the provider; `cache_discount` is positive for reads from a cache and negative for writes.
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

    def entry(self, now: datetime, *, session: str = "", hold: str = "", requested: str = "") -> Entry:
        """Give the call as a ledger entry of the time at which OpenRouter made it."""
        return Entry(
            ts=self.created_at or now,
            model=self.model or requested or "unknown model",
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
    """Read the body of GET /generation."""
    data = Fields(answer, "/generation").within("data")
    return Generation(
        id=data.text("id") or asked_for,
        model=data.text("model"),
        provider=data.text("provider_name"),
        created_at=data.moment("created_at"),
        total_cost=data.usd("total_cost"),
        usage=data.optional_usd("usage"),
        is_byok=data.flag("is_byok"),
        upstream_cost=data.optional_usd("upstream_inference_cost"),
        cache_discount=data.optional_usd("cache_discount"),
        prompt_tokens=data.optional_count("native_tokens_prompt"),
        completion_tokens=data.optional_count("native_tokens_completion"),
        reasoning_tokens=data.optional_count("native_tokens_reasoning"),
        cached_tokens=data.optional_count("native_tokens_cached"),
        normalized_prompt_tokens=data.optional_count("tokens_prompt"),
        normalized_completion_tokens=data.optional_count("tokens_completion"),
        latency_ms=_milliseconds(data, "latency"),
        generation_time_ms=_milliseconds(data, "generation_time"),
        streamed=_truth(data, "streamed"),
        cancelled=_truth(data, "cancelled"),
        finish_reason=data.text("finish_reason"),
        service_tier=data.text("service_tier"),
    )


def _milliseconds(data: Fields, name: str) -> int | None:
    value = data.optional_usd(name)  # a number that may have a fraction, read exactly
    return None if value is None else max(0, int(value))


def _truth(data: Fields, name: str) -> bool | None:
    return data.flag(name) if name in data else None
