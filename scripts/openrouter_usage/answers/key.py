"""GET /key: what one key has spent, may spend, and is."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.answers.fields import Fields
from openrouter_usage.errors import BadAnswer
from openrouter_usage.exactjson import Json

_WINDOWS = ("", "_daily", "_weekly", "_monthly")


class Spend(NamedTuple):
    """Money spent in one window: credits, and BYOK paid to providers directly; None is unknown."""

    usage: Decimal | None
    byok: Decimal | None


class Limit(NamedTuple):
    """A cap on spending in USD; `amount` None means no cap, `remaining` None means not known."""

    amount: Decimal | None
    remaining: Decimal | None
    reset: str | None
    resets_at: datetime | None = None
    scope: str = "key_limit"


class FreeQuota(NamedTuple):
    """The account's daily quota of requests to `:free` models."""

    used: int
    limit: int
    remaining: int


class KeyInfo(NamedTuple):
    """One key as GET /key describes it; the windows are the running UTC day, week and month."""

    label: str
    is_management_key: bool
    is_free_tier: bool
    all_time: Spend
    daily: Spend
    weekly: Spend
    monthly: Spend
    limit: Limit | None
    effective_budget: Limit | None
    free_models: FreeQuota | None
    expires_at: datetime | None


def read_key(answer: Json) -> KeyInfo:
    """Read the body of GET /key; BadAnswer when it carries no usage at all."""
    data = Fields(answer, "/key").within("data")
    all_time, daily, weekly, monthly = (_spend(data, suffix) for suffix in _WINDOWS)
    if all(window.usage is None for window in (all_time, daily, weekly, monthly)):
        raise data.wrong("usage", "an amount was expected")
    return KeyInfo(
        label=data.text("label"),
        is_management_key=data.flag("is_management_key") or data.flag("is_provisioning_key"),
        is_free_tier=data.flag("is_free_tier"),
        all_time=all_time,
        daily=daily,
        weekly=weekly,
        monthly=monthly,
        limit=_limit(data),
        effective_budget=_budget(data),
        free_models=_free_quota(data),
        expires_at=data.moment("expires_at"),
    )


def read_account(answer: Json, elsewhere: str = "") -> str:
    """Name the account of the key that asked: a checksum of its organization's or user's id, "" where neither is told.

    A workspace will do where there is nothing else; it is of one account, and an account has several. `elsewhere` is
    the address that answered if it is not OpenRouter's own: what it calls an account is another one.
    """
    data = Fields(answer, "/key").within("data")
    for field, kind in (("organization_id", "org"), ("creator_user_id", "user"), ("workspace_id", "workspace")):
        identity = data.text(field)
        if identity:
            from hashlib import sha256  # late: only the archive needs it

            whose = f"{identity}\n{elsewhere}" if elsewhere else identity
            return f"{kind}-{sha256(whose.encode('utf-8', 'replace')).hexdigest()[:12]}"
    return ""


def _spend(data: Fields, suffix: str) -> Spend:
    return Spend(data.optional_usd("usage" + suffix), data.optional_usd("byok_usage" + suffix))


def _limit(data: Fields) -> Limit | None:
    """Give the key's limit; None only when the answer does not speak of one at all."""
    if not data.names("limit"):
        return None
    return Limit(data.optional_usd("limit"), data.optional_usd("limit_remaining"), data.text("limit_reset") or None)


def _budget(data: Fields) -> Limit | None:
    """Give the budget that blocks first; a shape not understood is left out, as a new field may change."""
    try:
        budget = data.within("effective_budget")
        amount, remaining = budget.usd("limit_usd"), budget.usd("remaining_usd")
    except BadAnswer:
        return None
    reset = budget.text("reset_interval") or None
    return Limit(amount, remaining, reset, budget.moment("resets_at"), budget.text("scope") or "budget")


def _free_quota(data: Fields) -> FreeQuota | None:
    try:
        quota = data.within("free_model_daily_requests")
        return FreeQuota(quota.count("used"), quota.count("limit"), quota.count("remaining"))
    except BadAnswer:
        return None


def write_key(info: KeyInfo) -> dict[str, Json]:
    """Write a body of GET /key that `read_key` reads back the same."""
    data: dict[str, Json] = {
        "label": info.label,
        "is_management_key": info.is_management_key,
        "is_free_tier": info.is_free_tier,
        "expires_at": info.expires_at.isoformat() if info.expires_at else None,
    }
    for suffix, spend in zip(_WINDOWS, (info.all_time, info.daily, info.weekly, info.monthly), strict=True):
        data |= {"usage" + suffix: spend.usage, "byok_usage" + suffix: spend.byok}
    if info.limit:
        limit = info.limit
        data |= {"limit": limit.amount, "limit_remaining": limit.remaining, "limit_reset": limit.reset}
    if info.effective_budget:
        data["effective_budget"] = _write_budget(info.effective_budget)
    if info.free_models:
        quota = info.free_models
        data["free_model_daily_requests"] = {"used": quota.used, "limit": quota.limit, "remaining": quota.remaining}
    return {"data": data}


def _write_budget(budget: Limit) -> Json:
    return {
        "scope": budget.scope,
        "limit_usd": budget.amount,
        "remaining_usd": budget.remaining,
        "reset_interval": budget.reset,
        "resets_at": budget.resets_at.isoformat() if budget.resets_at else None,
    }
