"""Analytics with its oddities: strings for counts, labels for ids, weeks from Sunday."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
import requests

from tests.sandbox import MANAGEMENT_KEY, Reply, Sandbox
from tests.sandbox.conftest import NOW, PRICE
from tests.sandbox_client import post


def query(sandbox: Sandbox, **body: Any) -> requests.Response:
    """An analytics query over the last three days, today included."""
    body.setdefault("time_range", {"start": "2026-11-20T00:00:00Z", "end": "2026-11-23T00:00:00Z"})
    return post(sandbox, "/analytics/query", body, MANAGEMENT_KEY)


@pytest.fixture
def spent(sandbox: Sandbox) -> Sandbox:
    """Three days of spend, the running one included."""
    key = sandbox.account.keys[0].hash
    for days_ago, usage, byok in ((2, "1.5", "0"), (1, "2.25", "0.75"), (0, "0.125", "0")):
        sandbox.account.add_activity(
            "openai/gpt-5.2", days_ago=days_ago, usage=Decimal(usage), byok_usage_inference=Decimal(byok), key_hash=key
        )
    sandbox.account.add_activity("anthropic/claude-sonnet-4.5", usage=Decimal(10))
    return sandbox


def test_the_running_day_is_in_analytics(spent: Sandbox) -> None:
    answer = query(spent, metrics=["total_usage", "credits_usage", "byok_usage", "request_count", "usage_cache"],
                   granularity="day").json()["data"]  # fmt: skip
    assert [row["date__day"] for row in answer["data"]] == ["2026-11-20", "2026-11-21", "2026-11-22"]
    assert answer["data"][1] == {
        "date__day": "2026-11-21",
        "total_usage": 13,
        "credits_usage": 12.25,
        "byok_usage": 0.75,
        "request_count": "2",
        "usage_cache": None,
    }
    assert answer["metadata"]["truncated"] is False


def test_the_time_column_and_the_counts_come_in_other_styles(spent: Sandbox) -> None:
    account = spent.account
    account.analytics_time_column, account.analytics_counts, account.analytics_cached_at = "created_at", "numbers", NOW
    data = query(spent, metrics=["request_count"], granularity="week").json()["data"]
    assert data["data"] == [
        {"created_at__week": "2026-11-15T00:00:00.000Z", "request_count": 3},
        {"created_at__week": "2026-11-22T00:00:00.000Z", "request_count": 1},
    ]
    assert data["cachedAt"] == int(NOW.timestamp() * 1000)


def test_labels_come_back_where_filters_take_ids(spent: Sandbox) -> None:
    key = spent.account.keys[0]
    shown = query(spent, metrics=["credits_usage"], dimensions=["api_key_id", "model"]).json()["data"]["data"]
    assert {(row["api_key_id"], row["model"], row["credits_usage"]) for row in shown} == {
        ("agent", "openai/gpt-5.2-20251101", 3.875),
        ("Unknown key", "anthropic/claude-4.5-sonnet-20250929", 10),
    }
    for value, total in ((key.hash, [3.875]), (key.numeric_id, [3.875]), ("agent", [])):
        filters = [{"field": "api_key_id", "operator": "eq", "value": value}]
        rows = query(spent, metrics=["credits_usage"], filters=filters).json()["data"]["data"]
        assert [row["credits_usage"] for row in rows] == total


def test_a_key_that_cannot_be_resolved_is_a_warning(spent: Sandbox) -> None:
    filters = [{"field": "api_key_id", "operator": "in", "value": ["0" * 64]}]
    assert query(spent, metrics=["credits_usage"], filters=filters).json()["data"]["warnings"]


def test_too_many_rows_are_cut_and_said_so(spent: Sandbox) -> None:
    order = {"field": "credits_usage", "direction": "desc"}
    data = query(spent, metrics=["credits_usage"], granularity="day", limit=1, order_by=order).json()["data"]
    assert (data["metadata"]["truncated"], data["data"][0]["credits_usage"]) == (True, 12.25)


def test_generations_are_listed_nowhere_else(sandbox: Sandbox) -> None:
    name = post(sandbox).json()["id"]
    rows = query(sandbox, metrics=["credits_usage"], dimensions=["generation_id"]).json()["data"]["data"]
    assert rows == [{"generation_id": name, "credits_usage": float(PRICE)}]


BAD_QUERIES = [
    {"metrics": []},
    {"metrics": ["no_such"]},
    {"metrics": ["credits_usage"], "dimensions": ["model", "provider", "user"]},
    {"metrics": ["credits_usage"], "granularity": "year"},
    {"metrics": ["credits_usage"], "granularity": "minute"},
    {"metrics": ["credits_usage"], "limit": 10_001},
    {"metrics": ["credits_usage"], "time_range": {"start": "2026-11-20T00:00Z", "end": "2026-11-21T00:00Z"}},
    {"metrics": ["credits_usage"], "time_range": {"start": "2026-11-20T00:00:00Z"}},
    {"metrics": ["credits_usage"], "filters": [{"field": "model", "operator": "like", "value": "x"}]},
    {"metrics": ["byok_fees"], "time_range": {"start": "2026-09-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"}},
]


@pytest.mark.parametrize("body", BAD_QUERIES)
def test_a_query_that_makes_no_sense_is_refused(sandbox: Sandbox, body: dict[str, Any]) -> None:
    assert query(sandbox, **body).status_code == 400


def test_hours_and_people_are_told_apart(sandbox: Sandbox) -> None:
    account = sandbox.account
    account.reply = Reply(prompt_tokens=100, cached_tokens=25)
    for hour in (9, 9, 11):
        account.now = lambda hour=hour: datetime(2026, 11, 22, hour, 15, tzinfo=timezone.utc)
        post(sandbox)
    rows = query(sandbox, metrics=["request_count", "cache_hit_rate"], dimensions=["user"], granularity="hour")
    assert rows.json()["data"]["data"][0] == {
        "date__hour": "2026-11-22T09:00:00.000Z",
        "user": "user_2sandboxCreator",
        "user_email": "user_2sandboxCreator@sandbox.example",
        "request_count": "2",
        "cache_hit_rate": 0.25,
    }
    one_each = query(sandbox, metrics=["request_count"], dimensions=["user"], granularity="hour", group_limit=1)
    assert one_each.json()["data"]["metadata"]["row_count"] == 1


def test_minutes_are_known_for_three_hours(sandbox: Sandbox) -> None:
    post(sandbox)
    window = {"start": "2026-11-22T14:00:00.5Z", "end": "2026-11-22T17:00:00Z"}
    rows = query(sandbox, metrics=["request_count"], dimensions=["workspace"], granularity="minute", time_range=window)
    (row,) = rows.json()["data"]["data"]
    assert (row["date__minute"], row["workspace"]) == ("2026-11-22T15:30:00.000Z", "Default")


def test_only_what_is_asked_for_can_be_ordered_by(spent: Sandbox) -> None:
    order = {"field": "byok_usage", "direction": "asc"}
    assert query(spent, metrics=["credits_usage"], order_by=order).status_code == 400
