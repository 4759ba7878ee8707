"""The keys API, and the workspaces that keys live in."""

from __future__ import annotations

import secrets
from decimal import Decimal
from typing import Any

from .answer import Answer, ApiError
from .apikey import DEFAULT_WORKSPACE, UTC_SECONDS, WINDOWS, ApiKey, merged, moment, stamp
from .call import MANAGEMENT_ONLY, Call

UPDATABLE = ("name", "disabled", "limit", "limit_reset", "include_byok_in_limit", "workspace_id")


def _authorise(call: Call) -> None:
    """An ordinary key gets 401 on reading and deleting and 403 on writing: that is what is declared."""
    if not call.key().is_management_key:
        raise ApiError(403 if call.request.method in ("POST", "PATCH") else 401, MANAGEMENT_ONLY)


def key_json(key: ApiKey) -> dict[str, Any]:
    """A key in the fields of the keys API."""
    fields = {
        "hash": key.hash,
        "name": key.name,
        **key.counters(),
        "disabled": key.disabled,
        "created_at": stamp(key.created_at),
        "updated_at": stamp(key.updated_at),
        "last_used_at": stamp(key.last_used_at),
        "external_user": key.external_user,
        "workspace_id": key.workspace_id or DEFAULT_WORKSPACE,
    }
    return merged(fields, key.overrides)


def list_keys(call: Call) -> Answer:
    """A page of the keys of one workspace; management keys and those made by OAuth are never in it."""
    _authorise(call)
    account, query = call.account, call.request.query
    workspace = query.get("workspace_id", DEFAULT_WORKSPACE)
    _known_workspace(call, workspace)
    offset = query.get("offset", "0")
    if not offset.isdigit():
        raise ApiError(400, "Invalid offset")
    shown = [
        key
        for key in account.keys
        if not (key.deleted or key.is_management_key or key.made_by_oauth)
        and (key.workspace_id or DEFAULT_WORKSPACE) == workspace
        and (not key.disabled or query.get("include_disabled") == "true")
        and (not key.expired(account.now()) or query.get("include_expired") == "true")
    ]
    for key in shown:
        key.roll(account.today())
    page = shown[int(offset) : int(offset) + account.keys_per_page]
    return Answer({"data": [key_json(key) for key in page]})


def create_key(call: Call) -> Answer:
    """A new key; its secret is in the answer, beside the data, and nowhere else."""
    _authorise(call)
    body, account = call.body(), call.account
    if not isinstance(body.get("name"), str) or not body["name"]:
        raise ApiError(400, "Invalid request: name is required")
    _check_fields(call, body)
    expires = body.get("expires_at")
    if expires is not None and not UTC_SECONDS.fullmatch(str(expires)):
        raise ApiError(400, "Invalid expires_at: must be an ISO 8601 UTC timestamp with seconds")
    key = account.add_key(
        f"sk-or-v1-{secrets.token_hex(32)}",
        name=body["name"],
        limit=_money(body.get("limit")),
        limit_reset=body.get("limit_reset"),
        include_byok_in_limit=body.get("include_byok_in_limit", False),
        expires_at=moment(expires) if expires else None,
        workspace_id=body.get("workspace_id", DEFAULT_WORKSPACE),
        external_user=(body.get("external") or {}).get("user"),
        created_at=account.now(),
    )
    return Answer({"data": key_json(key), "key": key.secret}, 201)


def get_key(call: Call) -> Answer:
    """One key."""
    _authorise(call)
    return Answer({"data": key_json(_found(call))})


def update_key(call: Call) -> Answer:
    """Changes a key; what cannot be changed is ignored, and nothing at all is an error."""
    _authorise(call)
    key, body = _found(call), call.body()
    changes = {name: body[name] for name in UPDATABLE if name in body}
    if not changes:
        raise ApiError(400, "No update fields provided")
    _check_fields(call, changes)
    if "limit" in changes:
        changes["limit"] = _money(changes["limit"])
    with call.account.lock:
        for name, value in changes.items():
            setattr(key, name, value)
        key.updated_at = call.account.now()
        if {"limit", "limit_reset", "include_byok_in_limit"} & set(changes):
            key.limit_remaining = None if key.limit is None else key.limit - key.spent_in_window()
    return Answer({"data": key_json(key)})


def delete_key(call: Call) -> Answer:
    """Removes a key for good, and its usage from every list."""
    _authorise(call)
    _found(call).deleted = True
    return Answer({"deleted": True})


def list_workspaces(call: Call) -> Answer:
    """The workspaces of the account, in pages."""
    call.management_key()
    query, known = call.request.query, call.account.workspaces
    offset, limit = int(query.get("offset", 0)), min(100, int(query.get("limit", 50)))
    page = known[offset : offset + limit]
    return Answer({"data": [workspace.as_json() for workspace in page], "total_count": len(known)})


def _found(call: Call) -> ApiKey:
    for key in call.account.keys:
        if key.hash == call.parts["hash"] and not key.deleted and not key.is_management_key:
            key.roll(call.account.today())
            return key
    raise ApiError(404, "API key not found")


def _known_workspace(call: Call, workspace: str) -> None:
    if workspace not in [known.id for known in call.account.workspaces]:
        raise ApiError(400, "Workspace not found")


def _check_fields(call: Call, body: dict[str, Any]) -> None:
    if body.get("limit_reset") not in (None, *WINDOWS):
        raise ApiError(400, "Invalid limit_reset: expected daily, weekly or monthly")
    limit = body.get("limit")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, Decimal)) or limit < 0):
        raise ApiError(400, "Invalid limit: expected a number of at least 0")
    if body.get("workspace_id") is not None:
        _known_workspace(call, body["workspace_id"])


def _money(limit: Any) -> Decimal | None:
    return None if limit is None else Decimal(limit)
