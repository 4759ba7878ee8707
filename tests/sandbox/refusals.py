"""Why a call is turned away before it can cost anything."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from .account import Account
from .answer import ApiError
from .apikey import ZERO, ApiKey
from .catalogue import Model

SETTINGS = "https://openrouter.ai/settings"
MILLION = 1_000_000


def check_money(account: Account, key: ApiKey) -> None:
    """Nothing runs on a negative balance, an exhausted key limit or a spent budget."""
    if account.truth.balance() < 0:
        metadata = {"error_type": "payment_required", "limit_source": "openrouter_credits"}
        raise ApiError(402, f"Insufficient credits. Add more using {SETTINGS}/credits", metadata=metadata)
    if key.limit_remaining is not None and key.limit_remaining <= 0:
        message = f"Key limit exceeded ({key.limit_reset or 'total'} limit). Manage it using {SETTINGS}/keys"
        metadata = {"error_type": "payment_required", "limit_source": "openrouter_key_limit"}
        raise ApiError(account.key_limit_status, message, metadata=metadata)
    for budget in [*account.budgets, *key.budgets]:
        if budget.spend_usd >= budget.limit_usd:
            name = f"{budget.scope.split('_')[0].capitalize()} {budget.reset_interval or 'lifetime'} budget"
            raise ApiError(403, f"{name} of ${budget.limit_usd:.2f} exceeded. Contact your administrator.")


def check_affordable(account: Account, key: ApiKey, model: Model, prompt_tokens: int, max_tokens: int | None) -> None:
    """The dearest answer that the request allows has to fit into what is left."""
    now, price = account.now(), model.price
    asked = max_tokens or model.max_completion_tokens or model.context_length or 0
    completion = price("completion", prompt_tokens, now)
    fixed = prompt_tokens * price("prompt", prompt_tokens, now) + price("request", prompt_tokens, now)
    for source, left in _purses(account, key):
        if left is None or fixed + asked * completion <= left:
            continue
        affordable = math.floor((left - fixed) / completion) if completion and left > fixed else 0
        where = f"{SETTINGS}/credits and add credits" if "credits" in source else f"{SETTINGS}/keys and raise the limit"
        message = (
            "This request requires more credits, or fewer max_tokens. "
            f"You requested up to {asked} tokens, but can only afford {affordable}. To increase, visit {where}"
        )
        metadata = {"error_type": "payment_required", "limit_source": source, "reason": "weight_exceeds_budget"}
        raise ApiError(402, message, metadata=metadata)


def _purses(account: Account, key: ApiKey) -> list[tuple[str, Decimal | None]]:
    return [("openrouter_credits", account.truth.balance()), ("openrouter_key_limit", key.limit_remaining)]


def check_in_flight(account: Account, expected: Decimal) -> None:
    """On a low balance, what is under way is held up front; there is room again when it ends."""
    allowed = account.in_flight_budget
    if allowed is None or sum(account.in_flight.values(), ZERO) + expected <= allowed:
        return
    metadata = {
        "error_type": "payment_required",
        "limit_source": "openrouter_in_flight_budget",
        "reason": "in_flight_budget_exhausted",
        "remedy_hint": "Retry when running requests have finished",
    }
    raise ApiError(402, "In-flight spending budget exhausted", metadata=metadata, headers={"Retry-After": "1"})


def check_free_quota(account: Account, model: Model) -> None:
    """Free models have a number of requests per UTC day."""
    quota = account.free_quota()
    if not model.id.endswith(":free") or quota["remaining"]:
        return
    day = account.today() + timedelta(days=1)
    reset = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    limits = {"X-RateLimit-Limit": str(quota["limit"]), "X-RateLimit-Remaining": "0",
              "X-RateLimit-Reset": str(int(reset.timestamp() * 1000))}  # fmt: skip
    metadata = {"headers": limits, "limit_source": "openrouter_free_tier_daily", "provider_name": None}
    raise ApiError(429, "Rate limit exceeded: free-models-per-day", metadata=metadata, headers=limits)


def providers_allowed(model: Model, wishes: dict[str, Any]) -> list[str]:
    """The providers of a model that the request admits, in the order it wants."""

    def named(provider: str, names: list[str]) -> bool:
        return provider.lower().replace(" ", "-") in [name.lower().split("/")[0].replace(" ", "-") for name in names]

    found = [one for one in model.providers if not named(one, wishes.get("ignore") or [])]
    only = wishes.get("only")
    found = [one for one in found if named(one, only)] if only else found
    if wishes.get("sort") == "price":
        found.sort(key=lambda one: Decimal(model.at(one).completion))
    order = wishes.get("order") or []
    first = [one for name in order for one in found if named(one, [name])]
    return first + [one for one in found if one not in first]


def within_max_price(model: Model, wishes: dict[str, Any], now: datetime) -> bool:
    """True when no price is above what the request admits; token prices there are per million."""
    for name, most in (wishes.get("max_price") or {}).items():
        unit = MILLION if name in ("prompt", "completion") else 1
        if model.price(name, 0, now) * unit > Decimal(str(most)):
            return False
    return True


def unavailable(status: int, code: str, message: str, models: list[str], **more: Any) -> ApiError:
    """A refusal that says which models cannot be had, and whether it helps to try again."""
    docs = "https://openrouter.ai/docs/guides/routing/model-availability"
    availability = {"code": code, "retryable": False, "requested_models": models, **more, "docs_url": docs}
    return ApiError(status, message, availability=availability)
