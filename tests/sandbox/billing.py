"""What a call costs, and the moment at which it is charged."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from .apikey import ZERO
from .catalogue import Model
from .reply import Reply

if TYPE_CHECKING:
    from .account import Account
    from .generation import Generation

TIER_FACTORS = {"flex": Decimal("0.5"), "priority": Decimal(2), "ultrafast": Decimal(3)}


class Charge(NamedTuple):
    """The money of one call: `cost` in credits, and what the provider bills when the key is the customer's own."""

    completion_tokens: int
    cost: Decimal
    upstream: Decimal | None
    prompt_part: Decimal


def list_price(
    model: Model, reply: Reply, prompt_tokens: int, completion_tokens: int, now: datetime, tier: str | None
) -> tuple[Decimal, Decimal]:
    """What the price list says, and how much of it is for the prompt."""

    def price(name: str) -> Decimal:
        return model.price(name, prompt_tokens, now)

    plain = max(0, prompt_tokens - reply.cached_tokens - reply.cache_write_tokens)
    prompt = plain * price("prompt") + reply.cached_tokens * price("input_cache_read")
    prompt += reply.cache_write_tokens * price("input_cache_write") + price("request")
    factor = TIER_FACTORS.get(tier or "", Decimal(1))
    return (prompt + completion_tokens * price("completion")) * factor + reply.tool_cost, prompt * factor


def begin(account: Account, generation: Generation, expected: Decimal) -> None:
    """A call is under way: what it will cost counts in the high water mark before it is charged."""
    with account.lock:
        account.generations[generation.id] = generation
        account.in_flight[generation.id] = expected
        account.in_flight_high_water = max(account.in_flight_high_water, len(account.in_flight))
        account.bill_high_water = max(account.bill_high_water, account.bill + sum(account.in_flight.values()))


def charge(account: Account, generation: Generation, charged: Charge) -> None:
    """A call has ended: bill, balance, key and quota move together, exactly once."""
    now = account.now()
    with account.lock:
        account.in_flight.pop(generation.id, None)
        if generation.finished:
            return
        generation.completion_tokens = charged.completion_tokens
        generation.cost, generation.upstream = charged.cost, charged.upstream
        generation.finished, generation.finished_at = True, now
        account.bill += charged.cost
        account.byok_bill += charged.upstream or ZERO
        account.bill_high_water = max(account.bill_high_water, account.bill + sum(account.in_flight.values()))
        account.total_usage += charged.cost
        for budget in account.budgets:
            budget.spend_usd += charged.cost + (charged.upstream or ZERO if budget.include_byok else ZERO)
        key = account.key(generation.key_hash)
        if key is not None:
            key.charge(charged.cost, charged.upstream or ZERO, now)
        account.count_free_request(generation.model)
