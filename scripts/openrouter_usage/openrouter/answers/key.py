"""GET /key, GET /keys and GET /workspaces: what a key has spent, may spend, and is."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.errors import BadAnswer
from openrouter_usage.money import EXACT, Json, subtract
from openrouter_usage.openrouter.answers.fields import Fields, LeftOut
from openrouter_usage.text import named

# -- One key: GET /key.

_WINDOWS = ("", "_daily", "_weekly", "_monthly")
_DAILY, _WEEKLY, _MONTHLY = 1, 2, 3
# OpenRouter keeps each figure for up to a minute, so recent spend may be in one and not yet in another.
_LAG, _LAG_SHARE = Decimal("0.10"), Decimal("0.02")


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
    left_out: tuple[LeftOut, ...] = ()


def read_key(answer: Json) -> KeyInfo:
    """Read the body of GET /key; BadAnswer when it has no usage at all.

    What is missing, not understood or impossible is unknown, and named in `left_out`.
    """
    data = Fields(answer, "/key").within("data")
    left_out: list[LeftOut] = []
    windows = _believable([_spend(data, suffix, left_out) for suffix in _WINDOWS], left_out)
    all_time, daily, weekly, monthly = windows
    if all(window.usage is None for window in windows):
        raise data.wrong("usage", "an amount was expected")
    return KeyInfo(
        label=data.text("label"),
        is_management_key=data.flag("is_management_key") or data.flag("is_provisioning_key"),
        is_free_tier=data.flag("is_free_tier"),
        all_time=all_time,
        daily=daily,
        weekly=weekly,
        monthly=monthly,
        limit=_limit(data, left_out),
        effective_budget=_budget(data),
        free_models=_free_quota(data),
        expires_at=moment_or_unknown(data, "expires_at", left_out),
        left_out=tuple(left_out),
    )


def read_account(answer: Json, elsewhere: str = "") -> str:
    """Return the name of the key's account: a checksum of the organization's or user's id, "" where neither is known.

    Falls back to a workspace, which belongs to one account, though an account has several. `elsewhere` is the address
    that answered if it is not OpenRouter's own: the same id names another account there.
    """
    data = Fields(answer, "/key").within("data")
    for field, kind in (("organization_id", "org"), ("creator_user_id", "user"), ("workspace_id", "workspace")):
        identity = data.text(field)
        if identity:
            from hashlib import sha256  # late: only the archive needs it

            whose = f"{identity}\n{elsewhere}" if elsewhere else identity
            return f"{kind}-{sha256(whose.encode('utf-8', 'replace')).hexdigest()[:12]}"
    return ""


def _spend(data: Fields, suffix: str, left_out: list[LeftOut]) -> Spend:
    name = "usage" + suffix
    if suffix and name not in data:
        left_out.append(LeftOut(f"/key has no {name}"))
    return Spend(spent_or_unknown(data, name, left_out), spent_or_unknown(data, "byok_" + name, left_out))


def spent_or_unknown(data: Fields, name: str, left_out: list[LeftOut]) -> Decimal | None:
    """Return an amount; None, and noted, for one that is not understood or below zero, which no spend can be."""
    try:
        amount = data.optional_usd(name)
        return amount if amount is None or amount >= 0 else data.positive_usd(name)
    except BadAnswer as error:
        left_out.append(LeftOut(error.message))
        return None


def moment_or_unknown(data: Fields, name: str, left_out: list[LeftOut]) -> datetime | None:
    """Return a moment; None, and noted, for one that is present but not understood."""
    moment = data.moment(name)
    if moment is None and name in data:
        left_out.append(LeftOut(data.wrong(name, "a moment like 2026-11-22T10:30:00Z was expected").message))
    return moment


def _believable(windows: list[Spend], left_out: list[LeftOut]) -> list[Spend]:
    """Remove figures that contradict each other: the running day is part of the running week and month."""
    for field in Spend._fields:
        amounts: list[Decimal | None] = [getattr(window, field) for window in windows]
        pairs = [(_DAILY, longer) for longer in (_WEEKLY, _MONTHLY) if _exceeds(amounts[_DAILY], amounts[longer])]
        if not pairs:
            continue
        # A day that exceeds both is wrong itself; otherwise either of two figures may be wrong.
        wrong = {_DAILY} if len(pairs) == 2 else set(pairs[0])
        prefix = "byok_" if field == "byok" else ""
        names = " and ".join(f"{prefix}usage{_WINDOWS[longer]}" for _, longer in pairs)
        left_out += [LeftOut(f"/key says that {prefix}usage_daily is more than {names}, which is implausible")] * len(
            wrong
        )
        windows = [
            window._replace(**{field: None}) if number in wrong else window for number, window in enumerate(windows)
        ]
    return windows


def _exceeds(part: Decimal | None, whole: Decimal | None) -> bool:
    """Check whether a part is more than the whole, allowing for figures of one answer that lag behind each other."""
    if part is None or whole is None:
        return False
    return subtract(part, whole) > max(_LAG, EXACT.multiply(part, _LAG_SHARE))


def _limit(data: Fields, left_out: list[LeftOut]) -> Limit | None:
    """Return the key's limit; None when the answer has none, or an implausible one."""
    if not data.names("limit"):
        return None
    amount = spent_or_unknown(data, "limit", left_out)
    if amount is None and "limit" in data:
        return None
    try:
        remaining = data.optional_usd("limit_remaining")
        if _exceeds(remaining, amount):
            raise data.wrong("limit_remaining", "more is left than the limit allows")
    except BadAnswer as error:
        left_out.append(LeftOut(error.message))
        remaining = None
    return Limit(amount, remaining, data.text("limit_reset") or None)


def _budget(data: Fields) -> Limit | None:
    """Return the budget that blocks first; an unknown shape is left out, because the field is new and may change."""
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
    """Return a body of GET /key that `read_key` reads back the same."""
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


# -- The account's keys: GET /keys and GET /workspaces, for a management key.


class KeyRecord(NamedTuple):
    """One key: amounts in USD, `usage` ever and in the running UTC day, week and month; never holds the secret."""

    hash: str
    name: str
    label: str
    is_disabled: bool
    limit: Limit
    usage: Decimal | None
    daily: Decimal | None
    weekly: Decimal | None
    monthly: Decimal | None
    byok_usage: Decimal | None
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    workspace: str

    @property
    def spent_in_window(self) -> Decimal | None:
        """What counts against the limit: limit minus what remains, because `usage` covers the key's whole life."""
        if self.limit.amount is None:
            return self.usage
        return None if self.limit.remaining is None else subtract(self.limit.amount, self.limit.remaining)


class KeyPage(NamedTuple):
    """The keys of one page, how many are on the page, and what was not understood: whole keys, or figures of one."""

    keys: tuple[KeyRecord, ...]
    size: int
    problems: tuple[str, ...]
    figures: tuple[str, ...] = ()


class CreatedKey(NamedTuple):
    """A new key, and its secret, which OpenRouter shows only once."""

    record: KeyRecord
    secret: str

    def __repr__(self) -> str:
        """Return the key's name without its secret."""
        return f"CreatedKey({self.record.name!r})"


def read_keys(answer: Json) -> KeyPage:
    """Read one page of GET /keys; a key that is not understood does not hide the others."""
    keys: list[KeyRecord] = []
    problems: list[str] = []
    figures: list[str] = []
    page = Fields(answer, "/keys").get("data")
    if not isinstance(page, list):
        raise Fields(answer, "/keys").wrong("data", "a list was expected")
    for data in page:
        try:
            noted: list[LeftOut] = []
            keys.append(_record(Fields(data, "/keys (data)"), noted))
            figures += [f"{named(keys[-1].name)}: {one.why}" for one in noted]
        except BadAnswer as error:
            problems.append(error.message)
    return KeyPage(tuple(keys), len(page), tuple(problems), tuple(figures))


def read_one(answer: Json) -> KeyRecord:
    """Read an answer about one key."""
    return _record(Fields(answer, "/keys").within("data"))


def read_created(answer: Json) -> CreatedKey:
    """Read the answer of POST /keys; the secret is beside `data`, not in it."""
    fields = Fields(answer, "/keys")
    secret = fields.text("key")
    if not secret:
        raise fields.wrong("key", "the new key's secret was expected")
    return CreatedKey(_record(fields.within("data")), secret)


def read_deleted(answer: Json) -> None:
    """Read the answer of DELETE /keys/{hash}; BadAnswer unless it says that the key is deleted."""
    fields = Fields(answer, "/keys")
    if not fields.flag("deleted"):
        raise fields.wrong("deleted", "true was expected")


def read_workspaces(answer: Json) -> tuple[list[str], int]:
    """Read a page of GET /workspaces: ids, and how many workspaces there are in all, 0 when unknown."""
    fields = Fields(answer, "/workspaces")
    ids = [data.text("id") for data in fields.each("data") if data.text("id")]
    return ids, fields.count("total_count")


def _record(data: Fields, left_out: list[LeftOut] | None = None) -> KeyRecord:
    """Read a key; implausible figures are unknown, and noted. An unreadable limit is an error: null means no limit."""
    noted = [] if left_out is None else left_out
    return KeyRecord(
        hash=data.text("hash"),
        name=data.text("name"),
        label=data.text("label"),
        is_disabled=data.flag("disabled"),
        limit=Limit(data.optional_usd("limit"), data.optional_usd("limit_remaining"), data.text("limit_reset") or None),
        usage=spent_or_unknown(data, "usage", noted),
        daily=spent_or_unknown(data, "usage_daily", noted),
        weekly=spent_or_unknown(data, "usage_weekly", noted),
        monthly=spent_or_unknown(data, "usage_monthly", noted),
        byok_usage=spent_or_unknown(data, "byok_usage", noted),
        created_at=moment_or_unknown(data, "created_at", noted),
        expires_at=moment_or_unknown(data, "expires_at", noted),
        last_used_at=moment_or_unknown(data, "last_used_at", noted),
        workspace=data.text("workspace_id"),
    )
