"""One inference call, from the request to its charge."""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from . import billing, refusals
from .answer import ApiError
from .apikey import ApiKey
from .billing import Charge
from .call import Call
from .catalogue import Model
from .generation import Generation
from .reply import Reply

PROMPT_FIELDS = ("messages", "prompt", "input", "system", "instructions", "query", "documents", "input_audio")
CENT_MILLIARD = Decimal("1E-12")


@dataclass
class Order:
    """A call that has been accepted."""

    call: Call
    body: dict[str, Any]
    model: Model
    reply: Reply
    generation: Generation
    full: Charge

    @property
    def charged(self) -> Charge:
        """What was charged, or will be when all goes well."""
        generation = self.generation
        if not generation.finished:
            return self.full
        return Charge(generation.completion_tokens, generation.cost, generation.upstream, self.full.prompt_part)

    def headers(self) -> dict[str, str]:
        """The headers of every inference answer."""
        cache = {"X-OpenRouter-Cache-Status": "HIT"} if self.reply.cache_hit else {}
        return {"X-Generation-Id": self.generation.id, **cache, **self.reply.headers}

    def finish(self) -> None:
        """Charges the whole call."""
        failed = self.reply.error is not None
        self.generation.finish_reason = "error" if failed else self.finish_reason()
        billing.charge(self.call.account, self.generation, self.part(0) if failed else self.full)

    def abandon(self, share: Decimal, finish_reason: str | None = None) -> None:
        """Charges a call that was cut off after a share of its answer, as the account wants it."""
        self.generation.cancelled = finish_reason is None
        self.generation.finish_reason = finish_reason
        rule = self.call.account.charge_on_disconnect
        charge = {"full": self.full, "partial": self.part(share), "none": self.part(0)}[rule]
        billing.charge(self.call.account, self.generation, charge)

    def part(self, share: Decimal | int) -> Charge:
        """The charge for a share of the answer; for nothing at all, the prompt is free too."""
        full = self.full
        tokens = math.ceil(full.completion_tokens * Decimal(share))
        rest = (full.cost - full.prompt_part) * share
        cost = (full.prompt_part + rest if share else Decimal(0)).quantize(CENT_MILLIARD)
        upstream = None if full.upstream is None else (full.upstream * share).quantize(CENT_MILLIARD)
        return Charge(tokens, cost, upstream, min(full.prompt_part, cost))

    def finish_reason(self) -> str:
        """Says "length" when max_tokens has cut the answer short."""
        asked = self.reply.completion_tokens
        short = asked is not None and self.full.completion_tokens < asked
        return "length" if short or self.text() != self.reply.text else self.reply.finish_reason

    def text(self) -> str:
        """The answer, cut to about the tokens that were paid for."""
        if self.reply.completion_tokens is not None or self.reply.cache_hit:
            return self.reply.text
        return self.reply.text.encode()[: self.full.completion_tokens * 4].decode("utf-8", "ignore")


def take(call: Call, api_type: str) -> Order:
    """Accepts a call, or refuses it as OpenRouter does."""
    account, key = call.account, call.key()
    if key.is_management_key:
        raise ApiError(403, "Management keys cannot be used for inference requests")
    body = call.body()
    if not any(name in body for name in PROMPT_FIELDS):
        raise ApiError(400, 'Input required: specify "prompt" or "messages"')
    with account.lock:
        refusals.check_money(account, key)
        model, provider = choose(call, body)
        refusals.check_free_quota(account, model)
        reply = _as_asked(account.next_reply(call.request), body)
        prompt_tokens = reply.prompt_tokens if reply.prompt_tokens is not None else tokens_of(body)
        if account.checks_affordability and reply.byok_upstream is None:
            refusals.check_affordable(account, key, model, prompt_tokens, max_tokens(body))
        order = _order(call, key, body, replace(reply, prompt_tokens=prompt_tokens), model, provider, api_type)
        refusals.check_in_flight(account, order.full.cost)
        billing.begin(account, order.generation, order.full.cost)
    return order


def _as_asked(reply: Reply, body: dict[str, Any]) -> Reply:
    """The reply, as a JSON object where the request wants one."""
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_object" or reply.text.startswith("{"):
        return reply
    return replace(reply, text=json.dumps({"answer": reply.text}))


def choose(call: Call, body: dict[str, Any]) -> tuple[Model, str]:
    """The first of the requested models that exists and is within the wishes, and its provider."""
    account = call.account
    asked = [name for name in [body.get("model"), *(body.get("models") or [])] if name] or ["openrouter/auto"]
    known = [model for model in map(account.served, asked) if model is not None]
    if not known:
        raise refusals.unavailable(400, "model_not_found", f"{asked[0]} is not a valid model ID", asked)
    wishes = body.get("provider") or {}
    if asked[0].endswith(":floor"):
        wishes = {**wishes, "sort": "price"}
    offers = [(model.at(name), name) for model in known for name in refusals.providers_allowed(model, wishes)]
    if not offers:
        raise refusals.unavailable(404, "no_endpoints", f"No endpoints found for {asked[0]}.", asked)
    for model, provider in offers:
        if refusals.within_max_price(model, wishes, account.now()):
            return model, provider
    message = "No endpoints found that meet the requested max_price"
    raise refusals.unavailable(404, "constraint_filtered", message, asked, constraint="max_price")


def _order(
    call: Call, key: ApiKey, body: dict[str, Any], reply: Reply, model: Model, provider: str, api_type: str
) -> Order:
    now = call.account.now()
    generation = Generation(
        id=f"gen-{int(now.timestamp())}-{secrets.token_hex(10)}",
        created_at=now,
        model=reply.model or model.id,
        model_permaslug=model.canonical_slug,
        provider=reply.provider or provider,
        key_hash=key.hash,
        owner=key.creator_user_id,
        workspace_id=key.workspace_id,
        api_type=api_type,
        streamed=bool(body.get("stream")),
        prompt_tokens=reply.prompt_tokens or 0,
        reasoning_tokens=reply.reasoning_tokens,
        cached_tokens=reply.cached_tokens,
        service_tier=reply.service_tier or body.get("service_tier"),
        session_id=body.get("session_id") or call.request.headers.get("x-session-id"),
        external_user=body.get("user"),
        http_referer=call.request.headers.get("HTTP-Referer"),
        user_agent=call.request.headers.get("User-Agent"),
    )
    return Order(call, body, model, reply, generation, _full_charge(call, body, reply, model, generation))


def _full_charge(call: Call, body: dict[str, Any], reply: Reply, model: Model, generation: Generation) -> Charge:
    most = max_tokens(body)
    tokens = math.ceil(len(reply.text.encode()) / 4) if reply.completion_tokens is None else reply.completion_tokens
    if most is not None and reply.obeys_max_tokens:
        tokens = min(tokens, most)
    if generation.api_type in ("embeddings", "rerank"):
        tokens = 0
    listed, prompt_part = billing.list_price(
        model, reply, generation.prompt_tokens, tokens, call.account.now(), generation.service_tier
    )
    if reply.cache_hit:
        return Charge(0, Decimal(0), None, Decimal(0))
    if reply.byok_upstream is not None:
        fee = reply.cost if reply.cost is not None else Decimal(0)
        return Charge(tokens, fee, reply.byok_upstream, min(prompt_part, fee))
    cost = listed if reply.cost is None else reply.cost
    return Charge(tokens, cost, None, min(prompt_part, cost))


def max_tokens(body: dict[str, Any]) -> int | None:
    """The most tokens that the request wants back."""
    names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    return next((body[name] for name in names if body.get(name) is not None), None)


def tokens_of(body: dict[str, Any]) -> int:
    """A token for every four bytes of the prompt."""
    return math.ceil(sum(_length(body.get(name)) for name in PROMPT_FIELDS) / 4)


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list):
        return sum(map(_length, value))
    return sum(_length(value.get(name)) for name in ("content", "text")) if isinstance(value, dict) else 0
