"""`GET /analytics/meta` and `POST /analytics/query`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from . import analytics
from .account import Account
from .activity import ActivityRow
from .answer import Answer, ApiError
from .apikey import UTC_SECONDS, moment, stamp
from .call import Call

MOST_ROWS = 10_000
HASH = re.compile(r"[0-9a-f]{64}")


def get_meta(call: Call) -> Answer:
    """What can be asked."""
    call.management_key()
    return Answer({"data": analytics.meta()})


def post_query(call: Call) -> Answer:
    """Sums of the metrics by time and dimension, the running day included."""
    call.management_key()
    account, body = call.account, call.body()
    _check(body)
    start, end = _time_range(account, body)
    _check_reach(account, body, start, end)
    warnings: list[str] = []
    filters = [_filter(account, one, warnings) for one in body.get("filters") or []]
    groups: dict[tuple[Any, ...], list[ActivityRow]] = {}
    for row in account.rows():
        assert row.at is not None
        if start <= row.at < end and all(matches(row) for matches in filters):
            groups.setdefault(_group(account, row, body), []).append(row)
    rows = [_row(account, body, group, members) for group, members in groups.items()]
    rows = _limited(_ordered(account, rows, body), body)
    limit = body.get("limit") or 1000
    data: dict[str, Any] = {
        "data": rows[:limit],
        "metadata": {"query_time_ms": 12, "row_count": min(len(rows), limit), "truncated": len(rows) > limit},
    }
    if account.analytics_cached_at is not None:
        data["cachedAt"] = int(account.analytics_cached_at.timestamp() * 1000)
    if warnings:
        data["warnings"] = warnings
    return Answer({"data": data})


def _check(body: dict[str, Any]) -> None:
    metrics, dimensions = body.get("metrics") or [], body.get("dimensions") or []
    problems = {
        "metrics must have at least one entry": not metrics,
        "Unknown metric": any(name not in analytics.METRICS for name in metrics),
        "dimensions must have at most 2 entries": len(dimensions) > 2,
        "Unknown dimension": any(name not in analytics.DIMENSIONS for name in dimensions),
        "Unknown granularity": body.get("granularity") not in (None, *analytics.GRANULARITIES),
        "filters must have at most 20 entries": len(body.get("filters") or []) > 20,
        f"limit must be between 1 and {MOST_ROWS}": not 1 <= (body.get("limit") or 1000) <= MOST_ROWS,
    }
    for message, wrong in problems.items():
        if wrong:
            raise ApiError(400, message)


def _time_range(account: Account, body: dict[str, Any]) -> tuple[datetime, datetime]:
    asked = body.get("time_range")
    if asked is None:
        return account.now() - timedelta(days=7), account.now()
    times = [str(asked.get(name)) for name in ("start", "end")]
    if not all(map(UTC_SECONDS.fullmatch, times)):
        raise ApiError(400, "time_range needs start and end as ISO 8601 UTC timestamps with seconds")
    start, end = map(moment, times)
    if end <= start:
        raise ApiError(400, "time_range.end must be after time_range.start")
    return start, end


def _check_reach(account: Account, body: dict[str, Any], start: datetime, end: datetime) -> None:
    """Some words only reach back 31 days, and minutes only span three hours."""
    reaches = [analytics.METRICS[name].days for name in body["metrics"]]
    reaches += [analytics.DIMENSIONS[name] for name in body.get("dimensions") or []]
    # A day more, since a range of whole days begins at midnight.
    if account.now() - start > timedelta(days=min(reaches) + 1):
        raise ApiError(400, f"time_range exceeds the {min(reaches)} days available for the requested fields")
    if body.get("granularity") == "minute" and end - start > timedelta(hours=3):
        raise ApiError(400, "minute granularity is limited to windows of 3 hours")


def _identity(account: Account, row: ActivityRow, dimension: str) -> Any:
    """What a dimension is grouped and filtered by."""
    values = {
        "model": row.model_permaslug,
        "variant": row.model.partition(":")[2] or "standard",
        "api_key_id": row.key_hash,
        "user": row.user_id,
        "workspace": account.workspace_of(row),
        "provider": row.provider_name,
        "generation_id": row.generation_id,
        "external_user": row.external_user,
    }
    return values.get(dimension)


def _label(account: Account, dimension: str, identity: Any) -> Any:
    """What a dimension is shown as: some come back as names, which no filter takes."""
    if dimension == "api_key_id":
        names = {key.hash: key.name for key in account.keys}
        return names.get(identity, "Unknown key")
    if dimension == "workspace":
        names = {workspace.id: workspace.name for workspace in account.workspaces}
        return names.get(identity, identity)
    return "Unknown" if dimension in ("app", "origin", "country") else identity


def _group(account: Account, row: ActivityRow, body: dict[str, Any]) -> tuple[Any, ...]:
    assert row.at is not None
    granularity = body.get("granularity")
    when = analytics.bucket(row.at, granularity) if granularity else None
    return (when, *(_identity(account, row, name) for name in body.get("dimensions") or []))


def _row(account: Account, body: dict[str, Any], group: tuple[Any, ...], members: list[ActivityRow]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if group[0] is not None:
        by_day = account.analytics_time_column == "date" and body["granularity"] in ("day", "week", "month")
        row[_time_column(account, body)] = group[0].date().isoformat() if by_day else stamp(group[0])
    for name, identity in zip(body.get("dimensions") or [], group[1:], strict=True):
        row[name] = _label(account, name, identity)
        if name == "user":
            row["user_email"] = f"{identity}@sandbox.example" if identity else None
    return row | {name: analytics.total(name, members, account.analytics_counts) for name in body["metrics"]}


def _time_column(account: Account, body: dict[str, Any]) -> str:
    return f"{account.analytics_time_column}__{body.get('granularity')}"


def _ordered(account: Account, rows: list[dict[str, Any]], body: dict[str, Any]) -> list[dict[str, Any]]:
    """In the wanted order, else by time."""
    wanted = body.get("order_by") or {"field": "date", "direction": "asc"}
    name = _time_column(account, body) if wanted["field"] == "date" else wanted["field"]
    if rows and name not in rows[0]:
        if wanted["field"] == "date":
            return rows
        raise ApiError(400, f"Cannot order by {wanted['field']}")

    def rank(row: dict[str, Any]) -> Any:
        known = analytics.METRICS.get(name)
        if known:
            return float(row[name] or 0)
        return str(row[name])

    return sorted(rows, key=rank, reverse=wanted.get("direction") == "desc")


def _limited(rows: list[dict[str, Any]], body: dict[str, Any]) -> list[dict[str, Any]]:
    """Not more than `group_limit` rows for each combination of dimensions."""
    most, names = body.get("group_limit"), body.get("dimensions") or []
    if not most or not names:
        return rows
    seen: dict[tuple[Any, ...], int] = {}
    kept = []
    for row in rows:
        group = tuple(row[name] for name in names)
        seen[group] = seen.get(group, 0) + 1
        if seen[group] <= most:
            kept.append(row)
    return kept


def _filter(account: Account, wanted: dict[str, Any], warnings: list[str]) -> Any:
    """A test of one row; keys are named by their hash or number, never by the label that comes back."""
    name, value = wanted.get("field"), wanted.get("value")
    if name not in analytics.DIMENSIONS or wanted.get("operator") not in analytics.OPERATORS:
        raise ApiError(400, "Invalid filter")
    compare = analytics.OPERATORS[wanted["operator"]]
    if name == "api_key_id":
        if isinstance(value, list):
            value = [_hash_of(account, one, warnings) for one in value]
        else:
            value = _hash_of(account, value, warnings)

    def matches(row: ActivityRow) -> bool:
        identity = _identity(account, row, name)
        return bool(wanted.get("include_unset")) if identity is None else compare(identity, value)

    return matches


def _hash_of(account: Account, value: Any, warnings: list[str]) -> str | None:
    for key in account.keys:
        if str(value) in (key.hash, str(key.numeric_id)):
            return key.hash
    if HASH.fullmatch(str(value)):
        warnings.append(f"Could not resolve api_key_id {str(value)[:8]}...")
    return None
