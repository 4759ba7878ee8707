"""What an answer of an inference endpoint says it used: chat, responses, messages, embeddings, rerank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from openrouter_usage.answers.fields import Fields
from openrouter_usage.entry import Entry
from openrouter_usage.errors import BadAnswer
from openrouter_usage.exactjson import Json


@dataclass(frozen=True, slots=True)
class CallUsage:
    """One call by its own answer; a cost of None is unknown, and BYOK money is paid to the provider."""

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
    finish_reason: str = ""
    has_usage: bool = False

    def merged(self, later: CallUsage) -> CallUsage:
        """Take what a later chunk of a stream adds: the last usage counts, and names stay once they are known."""
        base = later if later.has_usage else self
        return replace(
            base,
            id=self.id or later.id,
            model=later.model or self.model,
            provider=later.provider or self.provider,
            finish_reason=later.finish_reason or self.finish_reason,
            has_usage=self.has_usage or later.has_usage,
        )

    def entry(self, now: datetime, *, requested: str = "", session: str = "", hold: str = "") -> Entry:
        """Give the call as a ledger entry made at `now`."""
        return Entry(
            ts=now,
            model=self.model or requested or "unknown model",
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cost=self.cost,
            id=self.id,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens,
            byok_cost=self.byok_cost,
            cost_source="billed" if self.cost is not None else "",
            provider=self.provider,
            session=session,
            finish_reason=self.finish_reason,
            hold=hold,
        )


def read_call(answer: Json) -> CallUsage:
    """Read a whole answer or one chunk of a stream; what is not understood of it is left unknown."""
    if not isinstance(answer, dict):
        return CallUsage()
    data = Fields(answer, "a call")
    # /responses wraps its answer in stream events, /messages its first chunk.
    for name in ("response", "message"):
        if "usage" not in data and isinstance(data.get(name), dict):
            data = data.within(name)
    named = CallUsage(
        id=data.text("id")[:200],
        model=data.text("model")[:1_000],
        provider=data.text("provider")[:1_000],
        finish_reason=_finish_reason(data),
    )
    try:
        return _with_usage(named, data.within("usage")) if isinstance(data.get("usage"), dict) else named
    except BadAnswer:
        return named  # a usage that is no usage: the cost is unknown, and can be looked up


def _with_usage(named: CallUsage, usage: Fields) -> CallUsage:
    """Read a usage object; the endpoints name the same figures differently."""
    upstream = _details(usage, "cost_details").optional_usd("upstream_inference_cost")
    prompt = _details(usage, "prompt_tokens_details", "input_tokens_details")
    completion = _details(usage, "completion_tokens_details", "output_tokens_details")
    return replace(
        named,
        prompt_tokens=_first(usage, "prompt_tokens", "input_tokens") or 0,
        completion_tokens=_first(usage, "completion_tokens", "output_tokens") or 0,
        cached_tokens=_either(prompt.optional_count("cached_tokens"), usage.optional_count("cache_read_input_tokens")),
        cache_write_tokens=_either(
            prompt.optional_count("cache_write_tokens"), usage.optional_count("cache_creation_input_tokens")
        ),
        reasoning_tokens=completion.optional_count("reasoning_tokens"),
        cost=_not_negative(usage.optional_usd("cost")),
        # For any other call the upstream cost is the same money as `cost`, and adding it would double it.
        byok_cost=upstream if usage.flag("is_byok") else None,
        has_usage=True,
    )


def _details(usage: Fields, *names: str) -> Fields:
    found = next((name for name in names if isinstance(usage.get(name), dict)), None)
    return usage.within(found) if found else Fields({}, usage.where)


def _first(usage: Fields, *names: str) -> int | None:
    return next((usage.optional_count(name) for name in names if name in usage), None)


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _not_negative(cost: Decimal | None) -> Decimal | None:
    return None if cost is not None and cost < 0 else cost


def _finish_reason(data: Fields) -> str:
    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    reason = first.get("finish_reason") if isinstance(first, dict) else data.get("stop_reason")
    return reason[:200] if isinstance(reason, str) else ""
