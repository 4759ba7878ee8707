"""`GET /key`, `GET /credits` and `GET /activity`."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from .account import Account
from .activity import ActivityRow
from .answer import Answer, ApiError
from .apikey import DEFAULT_WORKSPACE, ZERO, ApiKey, Budget, merged
from .call import MANAGEMENT_ONLY, Call

NEWEST = (
    "workspace_id",
    "organization_id",
    "allowed_data_regions",
    "free_model_daily_requests",
    "budgets",
    "effective_budget",
)


def get_key(call: Call) -> Answer:
    """The key that makes the call."""
    if call.request.path not in call.account.key_paths:
        raise ApiError(404, "Not Found")
    return Answer({"data": key_data(call.account, call.key())})


def key_data(account: Account, key: ApiKey) -> dict[str, Any]:
    """The `data` of `GET /key`."""
    budgets = budgets_of(account, key)
    fields = {
        **key.counters(),
        "is_free_tier": key.is_free_tier,
        "is_management_key": key.is_management_key,
        "is_provisioning_key": key.is_management_key,
        "rate_limit": {"requests": -1, "interval": "10s", "note": "This field is deprecated and safe to ignore."},
        "workspace_id": key.workspace_id,
        "organization_id": key.organization_id,
        "allowed_data_regions": key.allowed_data_regions,
        "free_model_daily_requests": account.free_quota(),
        "budgets": [budget.as_json(account.now()) for budget in budgets],
        "effective_budget": effective(account, budgets),
    }
    if not account.newest_key_fields:
        fields = {name: value for name, value in fields.items() if name not in NEWEST}
    return merged(fields, key.overrides)


def budgets_of(account: Account, key: ApiKey) -> list[Budget]:
    """Every budget that can block the key, its own limit last."""
    budgets = [*account.budgets, *key.budgets]
    if key.limit is not None and key.limit_remaining is not None:
        spent = key.limit - key.limit_remaining
        budgets.append(Budget("key_limit", key.limit, spent, key.limit_reset, key.include_byok_in_limit))
    return budgets


def effective(account: Account, budgets: list[Budget]) -> dict[str, Any] | None:
    """The budget that blocks first: one that is spent already, else the one with the least left."""
    chosen = account.effective_budget
    if isinstance(chosen, str):
        spent = [budget for budget in budgets if budget.spend_usd >= budget.limit_usd]
        least = sorted(budgets, key=lambda budget: budget.limit_usd - budget.spend_usd)
        chosen = next(iter(spent or least), None)
    return chosen.as_json(account.now()) if chosen else None


def get_credits(call: Call) -> Answer:
    """Credits bought and used; what an ordinary key sees is an option of the account."""
    account, key = call.account, call.key()
    seen = "real" if key.is_management_key else account.credits_for_inference_key
    if seen == "forbidden":
        raise ApiError(403, MANAGEMENT_ONLY)
    if seen == "zeros":
        return Answer({"data": {"total_credits": ZERO, "total_usage": ZERO}})
    return Answer({"data": {"total_credits": account.total_credits, "total_usage": account.total_usage}})


def get_activity(call: Call) -> Answer:
    """One row per day, model and endpoint over the last 30 completed UTC days."""
    call.management_key("Only management keys can fetch activity for an account")
    account, query = call.account, call.request.query
    split = query.get("group_by") == "workspace"
    first, last = _asked_days(account.today(), query.get("date"), account.activity_includes_today)
    if "api_key_hash" in query and account.key(query["api_key_hash"]) is None:
        raise ApiError(404, "API key not found")
    rows: dict[tuple[Any, ...], ActivityRow] = {}
    for row in account.rows():
        if first <= row.date <= last and _wanted(row, query):
            group = (row.date, row.model, row.endpoint_id, row.workspace_id or DEFAULT_WORKSPACE if split else None)
            rows[group] = rows[group].plus(row) if group in rows else row.plus(EMPTY)
    newest_first = sorted(rows.items(), key=lambda item: (-item[0][0].toordinal(), *item[0][1:3]))
    return Answer({"data": [_shown(row, group[3], account.activity_date_style) for group, row in newest_first]})


EMPTY = ActivityRow(date.min, "", requests=0)


def _asked_days(today: date, asked: str | None, with_today: bool) -> tuple[date, date]:
    first, last = today - timedelta(days=30), today - timedelta(days=0 if with_today else 1)
    if asked is None:
        return first, last
    try:
        day = date.fromisoformat(asked)
    except ValueError:
        raise ApiError(400, "Invalid date format. Date must be in YYYY-MM-DD format") from None
    if not first <= day <= today - timedelta(days=1):
        raise ApiError(400, "Date must be within the last 30 (completed) UTC days")
    return day, day


def _wanted(row: ActivityRow, query: dict[str, str]) -> bool:
    filters = {
        "api_key_hash": row.key_hash,
        "user_id": row.user_id,
        "workspace_id": row.workspace_id or DEFAULT_WORKSPACE,
    }
    return all(query.get(name) in (None, value) for name, value in filters.items())


def _shown(row: ActivityRow, workspace: str | None, style: str) -> dict[str, Any]:
    return row.as_json(style) | ({"workspace_id": workspace} if workspace else {})
