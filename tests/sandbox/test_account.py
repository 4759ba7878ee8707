"""What an account shows of itself when nothing goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal

import pytest
import requests

from tests.sandbox import (
    INFERENCE_KEY,
    MANAGEMENT_KEY,
    MISSING,
    Account,
    Raw,
    Sandbox,
)
from tests.sandbox_client import get

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=timezone.utc)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.simple(now=lambda: NOW)) as running:
        yield running


def test_money_leaves_as_an_exact_number(sandbox: Sandbox) -> None:
    key = sandbox.account.keys[0]
    key.usage, key.usage_daily = Decimal("12345678901234567890.123456789012345678"), Decimal("3E-7")
    text = get(sandbox).text
    assert '"usage":12345678901234567890.123456789012345678,' in text
    assert '"usage_daily":3e-7,' in text


def test_any_value_can_be_put_in_a_keys_answer(sandbox: Sandbox) -> None:
    sandbox.account.keys[0].overrides = {"usage": "1.5", "limit": True, "label": MISSING, "byok_usage": Raw("NaN")}
    text = get(sandbox).text
    assert '"usage":"1.5"' in text
    assert '"limit":true' in text
    assert '"label"' not in text
    assert '"byok_usage":NaN' in text


def test_an_older_openrouter_lacks_the_newest_fields(sandbox: Sandbox) -> None:
    sandbox.account.newest_key_fields = False
    assert "budgets" not in get(sandbox).json()["data"]


@pytest.mark.parametrize(("paths", "found"), [(("/auth/key",), [404, 200]), (("/key",), [200, 404])])
def test_either_name_of_the_key_endpoint_can_be_gone(sandbox: Sandbox, paths: tuple[str], found: list[int]) -> None:
    sandbox.account.key_paths = paths
    assert [get(sandbox, path).status_code for path in ("/key", "/auth/key")] == found


@pytest.mark.parametrize(("seen", "status"), [("forbidden", 403), ("zeros", 200), ("real", 200)])
def test_what_an_ordinary_key_sees_of_the_credits(sandbox: Sandbox, seen: str, status: int) -> None:
    sandbox.account.credits_for_inference_key = seen
    sandbox.account.total_usage = Decimal("98.1")
    answer = get(sandbox, "/credits")
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["data"]["total_usage"] == {"zeros": 0, "real": 98.1}[seen]


def test_dates_of_activity_come_in_both_styles(sandbox: Sandbox) -> None:
    sandbox.account.add_activity("openai/gpt-5.2", usage=Decimal(1))
    styles = []
    for style in ("long", "short"):
        sandbox.account.activity_date_style = style
        styles.append(get(sandbox, "/activity", MANAGEMENT_KEY).json()["data"][0]["date"])
    assert styles == ["2026-11-21 00:00:00", "2026-11-21"]


def test_activity_is_one_row_per_day_model_and_endpoint(sandbox: Sandbox) -> None:
    for usage, provider in ((1, "OpenAI"), (2, "OpenAI"), (4, "Azure")):
        sandbox.account.add_activity("openai/gpt-5.2", usage=Decimal(usage), provider_name=provider)
    sandbox.account.add_activity("openai/gpt-5.2", days_ago=0, usage=Decimal(8))
    sandbox.account.add_activity("openai/gpt-5.2", days_ago=31, usage=Decimal(16))
    rows = get(sandbox, "/activity", MANAGEMENT_KEY).json()["data"]
    assert sorted(row["usage"] for row in rows) == [3, 4]


def test_counters_start_again_with_the_utc_day(sandbox: Sandbox) -> None:
    key = sandbox.account.keys[0]
    key.usage_daily = key.usage_weekly = key.usage_monthly = Decimal(2)
    get(sandbox)
    sandbox.account.now = lambda: datetime(2026, 11, 23, 0, 0, 1, tzinfo=timezone.utc)
    data = get(sandbox).json()["data"]
    assert (data["usage_daily"], data["usage_weekly"], data["usage_monthly"]) == (0, 0, 2)


def test_a_key_that_is_unknown_disabled_or_expired_is_refused(sandbox: Sandbox) -> None:
    expired = sandbox.account.add_key("expired-key", expires_at=NOW)
    disabled = sandbox.account.add_key("disabled-key", disabled=True)
    assert [get(sandbox, key=key).status_code for key in ("unknown", expired.secret, disabled.secret)] == [401] * 3


def test_an_unknown_path_is_a_404_in_json(sandbox: Sandbox) -> None:
    assert get(sandbox, "/nothing").json()["error"]["code"] == 404


def test_requests_are_kept_as_they_arrived(sandbox: Sandbox) -> None:
    get(sandbox, "/activity?date=2026-11-21")
    received = sandbox.wait_for("/activity")[0]
    assert received.method == "GET"
    assert received.query == {"date": "2026-11-21"}
    assert received.headers["AUTHORIZATION"] == f"Bearer {INFERENCE_KEY}"
    assert sandbox.calls("/activity") == 1


def test_one_connection_serves_many_requests(sandbox: Sandbox) -> None:
    with requests.Session() as session:
        for _ in range(3):
            session.get(sandbox.url + "/models", timeout=30)
    assert sandbox.connections == 1
