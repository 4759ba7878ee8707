"""The sandbox speaks OpenRouter's language: clients that OpenRouter and OpenAI wrote understand every answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from openrouter import errors

from tests.sandbox import (
    DEMO_KEY,
    DEMO_MGMT_KEY,
    INFERENCE_KEY,
    Account,
    Budget,
    Sandbox,
    demo_account,
)
from tests.sandbox_client import client, exact

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=timezone.utc)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.simple(now=lambda: NOW)) as running:
        yield running


@pytest.fixture
def demo() -> Iterator[Sandbox]:
    with Sandbox(demo_account(NOW)) as running:
        yield running


KEY_SHAPES = {
    "no limit": {},
    "every null": {"creator_user_id": None, "workspace_id": None, "organization_id": None},
    "limit": {"limit": Decimal(30), "limit_reset": "monthly", "usage": Decimal(90), "usage_monthly": Decimal("1.25")},
    "byok": {"limit": Decimal(5), "include_byok_in_limit": True, "byok_usage": Decimal("4.2")},
    "expires": {"expires_at": datetime(2027, 1, 1, tzinfo=timezone.utc)},
    "tiny": {"usage": Decimal("3E-7"), "usage_daily": Decimal("1E-12")},
    "free tier": {"is_free_tier": True, "allowed_data_regions": []},
}


@pytest.mark.parametrize("shape", KEY_SHAPES)
def test_the_official_client_reads_a_key_of_any_shape(sandbox: Sandbox, shape: str) -> None:
    key = sandbox.account.add_key("another-key-canary-55aa", **KEY_SHAPES[shape])
    data = client(sandbox, key.secret).api_keys.get_current_key_metadata().data
    assert data.label == key.label
    assert exact(data.usage) == key.usage
    assert exact(data.usage_daily) == key.usage_daily
    assert exact(data.byok_usage) == key.byok_usage
    assert exact(data.limit) == key.limit
    assert exact(data.limit_remaining) == key.limit_remaining
    assert data.expires_at == key.expires_at


def test_a_limit_window_counts_only_its_own_spend(sandbox: Sandbox) -> None:
    key = sandbox.account.add_key("another-key-canary-55aa", **KEY_SHAPES["limit"])
    data = client(sandbox, key.secret).api_keys.get_current_key_metadata().data
    assert exact(data.limit_remaining) == Decimal("28.75")
    assert data.budgets[-1].scope == "key_limit"
    assert exact(data.budgets[-1].spend_usd) == Decimal("1.25")
    assert data.budgets[-1].resets_at == datetime(2026, 12, 1, tzinfo=timezone.utc)


def test_the_budget_that_blocks_first_is_the_effective_one(sandbox: Sandbox) -> None:
    workspace = Budget("workspace", Decimal(500), Decimal(499), "weekly", budget_id="a-budget")
    sandbox.account.budgets = [Budget("member", Decimal(10), reset_interval=None), workspace]
    data = client(sandbox, INFERENCE_KEY).api_keys.get_current_key_metadata().data
    assert [budget.scope for budget in data.budgets] == ["member", "workspace"]
    assert data.effective_budget is not None
    assert data.effective_budget.budget_id == "a-budget"
    assert data.effective_budget.resets_at == datetime(2026, 11, 23, tzinfo=timezone.utc)


def test_credits_are_the_accounts(demo: Sandbox) -> None:
    data = client(demo, DEMO_MGMT_KEY).credits.get_credits().data
    assert exact(data.total_credits) - exact(data.total_usage) == Decimal("1.90")
    assert demo.account.truth.balance() == Decimal("1.90")


def test_activity_adds_up_to_the_truth(demo: Sandbox) -> None:
    rows = client(demo, DEMO_MGMT_KEY).analytics.get_user_activity().data
    total = sum(exact(row.usage) for row in rows)
    byok = sum(exact(row.byok_usage_inference) for row in rows)
    assert total == demo.account.truth.total(30)
    assert byok == demo.account.truth.total(30, value="byok_usage_inference")
    assert sum(row.requests for row in rows) == demo.account.truth.total(30, value="requests")
    assert max(row.date_ for row in rows) == "2026-11-21 00:00:00"


def test_activity_of_one_day_and_of_each_workspace(demo: Sandbox) -> None:
    analytics = client(demo, DEMO_MGMT_KEY).analytics
    one_day = analytics.get_user_activity(request={"date_": "2026-11-20"}).data
    assert {row.date_[:10] for row in one_day} == {"2026-11-20"}
    split = analytics.get_user_activity(request={"group_by": "workspace"}).data
    assert all(row.workspace_id for row in split)


def test_the_demo_shows_the_figures_that_are_promised(demo: Sandbox) -> None:
    data = client(demo, DEMO_KEY).api_keys.get_current_key_metadata().data
    assert (data.usage_daily, data.usage_weekly, data.usage_monthly) == (4.55, 31.85, 45.46)
    assert (data.limit_remaining, data.limit, data.limit_reset) == (454.54, 500, "monthly")
    truth = demo.account.truth
    assert truth.by_model()["anthropic/claude-sonnet-4.5"] == Decimal("21.70")
    assert truth.by_model()["openai/gpt-5.2"] == Decimal("8.75")
    assert truth.by_model(value="requests")["openai/gpt-5.2"] == 2_100
    assert truth.by_model()["google/gemini-3-flash"] == 0
    assert truth.by_model(value="byok_usage_inference")["google/gemini-3-flash"] == Decimal("4.20")
    assert [truth.spent_in(window) for window in ("daily", "weekly", "monthly")] == [
        Decimal("4.55"),
        Decimal("31.85"),
        Decimal("45.46"),
    ]


def test_the_official_client_reads_every_model(sandbox: Sandbox) -> None:
    result = client(sandbox).models.list(output_modalities="all").result
    listed = {model.id: model for model in result.data}
    assert result.total_count == len(listed) == len(sandbox.account.models)
    assert listed["openrouter/auto"].pricing.prompt == "-1"
    assert listed["perplexity/sonar"].pricing.request == "0.005"
    assert listed["anthropic/claude-sonnet-4.5"].pricing.overrides


def test_the_usual_price_list_holds_only_models_that_write_text(sandbox: Sandbox) -> None:
    assert "openai/text-embedding-3-small" not in {model.id for model in client(sandbox).models.list().result.data}


REFUSALS = [
    (None, "credits", errors.UnauthorizedResponseError, "Missing Authentication header"),
    ("no-such-key", "credits", errors.UnauthorizedResponseError, "User not found."),
    (INFERENCE_KEY, "credits", errors.ForbiddenResponseError, "Only management keys can perform this operation"),
    (INFERENCE_KEY, "activity", errors.ForbiddenResponseError,
     "Only management keys can fetch activity for an account"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "endpoint", "kind", "message"), REFUSALS)
def test_a_refusal_is_the_error_the_official_client_expects(
    sandbox: Sandbox, key: str | None, endpoint: str, kind: type[Exception], message: str
) -> None:
    official = client(sandbox, key)
    read = official.credits.get_credits if endpoint == "credits" else official.analytics.get_user_activity
    with pytest.raises(kind, match=message):
        read()


def test_activity_of_today_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(errors.BadRequestResponseError, match=r"last 30 .completed. UTC days"):
        client(sandbox).analytics.get_user_activity(request={"date_": "2026-11-22"})


def test_the_official_client_manages_keys(sandbox: Sandbox) -> None:
    keys = client(sandbox).api_keys
    made = keys.create(name="ci", limit=5, limit_reset="monthly", expires_at=datetime(2027, 1, 1, tzinfo=timezone.utc))
    assert sandbox.account.key(made.key).name == "ci"
    assert made.data.expires_at == datetime(2027, 1, 1, tzinfo=timezone.utc)
    assert {key.name for key in keys.list().data} == {"agent", "ci"}
    assert keys.update(hash=made.data.hash, limit=None, disabled=True).data.limit is None
    assert keys.get(hash=made.data.hash).data.disabled
    assert keys.delete(hash=made.data.hash).DELETED
    with pytest.raises(errors.NotFoundResponseError):
        keys.get(hash=made.data.hash)


def test_the_official_client_reads_workspaces_models_and_endpoints(sandbox: Sandbox) -> None:
    official = client(sandbox)
    assert [workspace.slug for workspace in official.workspaces.list().result.data] == ["default"]
    assert official.models.get(author="openai", slug="gpt-5.2").data.pricing.prompt == "0.00000175"
    assert official.models.count().data.count == len(official.models.list().result.data)
    endpoints = official.endpoints.list(author="qwen", slug="qwen3-coder").data.endpoints
    assert [endpoint.provider_name for endpoint in endpoints] == ["Novita", "DeepInfra"]


def test_the_official_client_queries_analytics(demo: Sandbox) -> None:
    analytics = client(demo, DEMO_MGMT_KEY).analytics
    meta = analytics.get_analytics_meta().data
    assert {"credits_usage", "byok_usage", "request_count"} <= {metric.name for metric in meta.metrics}
    day = {"start": datetime(2026, 11, 22, tzinfo=timezone.utc), "end": datetime(2026, 11, 23, tzinfo=timezone.utc)}
    result = analytics.query_analytics(
        metrics=["credits_usage"], dimensions=["model"], granularity="day", time_range=day
    )
    assert result.data.metadata.row_count == 3
    assert not result.data.metadata.truncated
    sent = demo.wait_for("POST /analytics/query")[0].json()
    assert sent["time_range"] == {"start": "2026-11-22T00:00:00Z", "end": "2026-11-23T00:00:00Z"}
