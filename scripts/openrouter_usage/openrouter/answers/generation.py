"""What one call used and was billed: GET /generation, and the answers of the inference endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from openrouter_usage.entry import (
    GENERATION_PREFIX,
    LARGEST_COST,
    LARGEST_TOKENS,
    LONGEST_NAME,
    UNKNOWN_MODEL,
    Entry,
    believable,
)
from openrouter_usage.errors import BadAnswer, InvalidValue, Unbelievable
from openrouter_usage.money import ZERO, Json
from openrouter_usage.openrouter.answers.fields import Fields, LeftOut, unbelievable
from openrouter_usage.text import quoted

# -- Usage in answers of the inference endpoints: chat, responses, messages, embeddings, rerank.

Figure = TypeVar("Figure", int, Decimal)


@dataclass(frozen=True, slots=True)
class CallUsage:
    """One call as its own answer describes it; a cost of None is unknown, and BYOK money is paid to the provider.

    `told` is the cost that the answer names where that is implausible.
    """

    id: str = ""
    model: str = ""
    provider: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: Decimal | None = None
    byok_cost: Decimal | None = None
    tool_cost: Decimal | None = None
    finish_reason: str = ""
    has_usage: bool = False
    told: str = ""

    def merged(self, later: CallUsage) -> CallUsage:
        """Return what is known after a later chunk of a stream: figures in the chunk win, and the others stay."""
        return CallUsage(
            id=self.id or later.id,
            model=later.model or self.model,
            provider=later.provider or self.provider,
            # /messages names the prompt in its first chunk, and may leave it out of the last.
            prompt_tokens=later.prompt_tokens or self.prompt_tokens,
            completion_tokens=later.completion_tokens or self.completion_tokens,
            cached_tokens=_either(later.cached_tokens, self.cached_tokens),
            cache_write_tokens=_either(later.cache_write_tokens, self.cache_write_tokens),
            reasoning_tokens=_either(later.reasoning_tokens, self.reasoning_tokens),
            # A client may add the chunks up and repeat the usage without the cost.
            cost=_either(later.cost, self.cost),
            byok_cost=_either(later.byok_cost, self.byok_cost),
            tool_cost=_either(later.tool_cost, self.tool_cost),
            finish_reason=later.finish_reason or self.finish_reason,
            told=later.told or self.told,
            has_usage=self.has_usage or later.has_usage,
        )

    def entry(self, now: datetime, *, requested: str = "", session: str = "", hold: str = "") -> Entry:
        """Return the call as a ledger entry made at `now`."""
        return Entry(
            ts=now,
            model=self.model or _name(requested) or UNKNOWN_MODEL,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cost=self.cost,
            id=self.id,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens,
            byok_cost=self.byok_cost,
            tool_cost=self.tool_cost,
            cost_source="billed" if self.cost is not None else "",
            provider=self.provider,
            session=_name(session),
            finish_reason=self.finish_reason,
            hold=hold,
            # Figures of any other program are not OpenRouter's bill, and no reason to stop.
            told=self.told if self.id.startswith(GENERATION_PREFIX) else "",
        )


def read_call(answer: Json) -> CallUsage:
    """Read a whole answer or one chunk of a stream; what is not understood is left unknown."""
    if not isinstance(answer, dict):
        return CallUsage()
    data = Fields(answer, "a call")
    # /responses wraps its answer in stream events, /messages its first chunk, the openai package any chunk.
    for name in ("response", "message", "chunk"):
        if "usage" not in data and "id" not in data and isinstance(data.get(name), dict):
            data = data.within(name)
    named = CallUsage(
        id=_name(data.text("id"), 200),
        model=_name(data.text("model")),
        provider=_name(data.text("provider")),
        finish_reason=_finish_reason(data),
    )
    return _with_usage(named, data.within("usage")) if isinstance(data.get("usage"), dict) else named


def _with_usage(named: CallUsage, usage: Fields) -> CallUsage:
    """Read a usage object; the endpoints name the same figures differently."""
    prompt = _details(usage, "prompt_tokens_details", "input_tokens_details")
    completion = _details(usage, "completion_tokens_details", "output_tokens_details")
    read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    sent, received = _count(usage, "prompt_tokens", "input_tokens"), _count(usage, "completion_tokens", "output_tokens")
    cost, told = _amount(usage, "cost"), unbelievable(usage.get("cost"))
    costs = _details(usage, "cost_details")
    return replace(
        named,
        # Only /messages names cached tokens beside the others; everywhere else they are part of the prompt.
        prompt_tokens=min((sent or 0) + (read or 0) + (written or 0), LARGEST_TOKENS),
        completion_tokens=received or 0,
        cached_tokens=_either(_count(prompt, "cached_tokens"), read),
        cache_write_tokens=_either(_count(prompt, "cache_write_tokens"), written),
        reasoning_tokens=_count(completion, "reasoning_tokens"),
        cost=cost,
        told=told,
        # For any other call the upstream cost is the same money as `cost`, and adding it would double it.
        byok_cost=_amount(costs, "upstream_inference_cost") if usage.flag("is_byok") else None,
        tool_cost=_amount(costs, "server_tool_cost") or None,
        has_usage=any(figure is not None for figure in (sent, received, cost, told or None)),
    )


def _details(usage: Fields, *names: str) -> Fields:
    found = next((name for name in names if isinstance(usage.get(name), dict)), None)
    return usage.within(found) if found else Fields({}, usage.where)


def _count(fields: Fields, *names: str) -> int | None:
    """Return the first of the figures that is there; None when a ledger cannot store it as a count."""
    name = next((name for name in names if name in fields), "")
    try:
        count = fields.optional_count(name)
    except BadAnswer:
        return None
    return count if count is not None and 0 <= count <= LARGEST_TOKENS else None


def _amount(fields: Fields, name: str) -> Decimal | None:
    """Return an amount; None when a ledger cannot store it: the amount is unknown, and can be looked up."""
    try:
        amount = fields.optional_usd(name)
    except BadAnswer:
        return None
    return amount if amount is not None and 0 <= amount <= LARGEST_COST else None


def _either(first: Figure | None, second: Figure | None) -> Figure | None:
    return second if first is None else first


def _name(text: str, limit: int = LONGEST_NAME) -> str:
    """Return a name cut to what a ledger can store; half a surrogate pair cannot be written as UTF-8."""
    return text[:limit].encode("utf-8", "replace").decode("utf-8")


def _finish_reason(data: Fields) -> str:
    choices, delta = data.get("choices"), data.get("delta")
    first = choices[0] if isinstance(choices, list) and choices else delta
    names = [first.get("finish_reason"), first.get("stop_reason")] if isinstance(first, dict) else []
    reason = next((name for name in (*names, data.get("stop_reason")) if isinstance(name, str)), "")
    return _name(reason, 200)


# -- Generations: GET /generation, what one call used and was billed.

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Generation:
    """One call as OpenRouter billed it: native token counts, which are the billed ones, and USD.

    `normalized` counts are by one common tokenizer; `upstream_cost` is known for BYOK calls only, and is paid to
    the provider; `cache_discount` is positive for reads from a cache and negative for writes. `sent` is the whole
    record as OpenRouter sent it, including fields that are not read here; its texts are not made safe. Fields that
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
        """Return the call as a ledger entry, dated when OpenRouter made the call."""
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
    """Read the body of GET /generation; BadAnswer for another call, and for figures that no ledger can store."""
    data = Fields(answer, "/generation").within("data")
    if data.text("id") not in ("", asked_for):
        raise data.wrong("id", "it is not the id that was asked for")
    told = unbelievable(data.get("total_cost"))
    if told:
        raise Unbelievable(data.wrong("total_cost", f"no call can cost {quoted(told)}").message, told=told)
    total_cost = _billed(data, "total_cost")
    if total_cost is None:
        raise data.wrong("total_cost", "an amount was expected")
    left_out: list[LeftOut] = []

    def usable(read: Callable[[Fields, str], T | None], name: str) -> T | None:
        """Return an optional field; one that cannot be used is unknown, and noted."""
        try:
            return read(data, name)
        except BadAnswer as error:
            left_out.append(LeftOut(error.message))
            return None

    return Generation(
        id=asked_for,
        model=_told(data, "model"),
        provider=_told(data, "provider_name"),
        created_at=_made(data),
        total_cost=total_cost,
        usage=usable(Fields.optional_usd, "usage"),
        is_byok=data.flag("is_byok"),
        upstream_cost=usable(_billed, "upstream_inference_cost"),
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
        finish_reason=_told(data, "finish_reason"),
        service_tier=_told(data, "service_tier"),
        sent={name: data.get(name) for name in data},
        left_out=tuple(left_out),
    )


def _billed(data: Fields, name: str, *, lowest: Decimal = ZERO) -> Decimal | None:
    amount = data.optional_usd(name)
    if amount is not None and not lowest <= amount <= LARGEST_COST:
        raise data.wrong(name, f"an amount from {lowest:,} to {LARGEST_COST:,} USD was expected")
    return amount


def _discount(data: Fields, name: str) -> Decimal | None:
    return _billed(data, name, lowest=-LARGEST_COST)


def _tokens(data: Fields, name: str) -> int | None:
    count = data.optional_count(name)
    if count is not None and not 0 <= count <= LARGEST_TOKENS:
        raise data.wrong(name, f"a count from 0 to {LARGEST_TOKENS:,} was expected")
    return count


def _told(data: Fields, name: str) -> str:
    """Return a name cut to what a ledger can store; half a surrogate pair cannot be written as UTF-8."""
    return data.text(name)[:LONGEST_NAME].encode("utf-8", "replace").decode("utf-8")


def _made(data: Fields) -> datetime | None:
    """Return the moment of the call; None when it is absent or implausible."""
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
