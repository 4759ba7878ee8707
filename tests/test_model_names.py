"""One model has one name wherever models are grouped, priced and compared; the ledger keeps the name that was billed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.figures.model_names import canonical, grouped, short_names
from openrouter_usage.jobs.price_list import estimate_cost
from openrouter_usage.tracker.cost_tracker import CostTracker
from tests import calling
from tests.booking import NOON, Tracker, TrackerAt, call
from tests.calling import Caller
from tests.sandbox import Account, Sandbox

SONNET = "anthropic/claude-sonnet-4.6"
LISTED = short_names(
    [
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("openai/gpt-4o-2025-08-06", "openai/gpt-4o-2025-08-06"),
        ("anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet-20250929"),
        ("anthropic/claude-sonnet-4.5:free", "anthropic/claude-4.5-sonnet-20250929"),
        ("~anthropic/claude-latest", "anthropic/claude-4.5-sonnet-20250929"),
    ]
)
BY_RULE = {
    SONNET: SONNET,
    f"{SONNET}-20260217": SONNET,
    f"{SONNET}-2026-02-17": SONNET,
    f"openrouter/{SONNET}": SONNET,
    f"openrouter/{SONNET}-20260217:free": f"{SONNET}:free",
    f"{SONNET}:thinking": f"{SONNET}:thinking",
    "openrouter/auto": "openrouter/auto",
    "openrouter/auto:online": "openrouter/auto:online",
    "openrouter/auto@preset/mine": "openrouter/auto@preset/mine",
    "openrouter/openrouter/auto": "openrouter/auto",
    "@preset/mine": "@preset/mine",
    "~openai/gpt-latest": "~openai/gpt-latest",
    # models of their own, at other prices
    "openai/gpt-4o-2024-05-13": "openai/gpt-4o-2024-05-13",
    # no days
    "a/b-20261345": "a/b-20261345",
    "a/b-2026-0217": "a/b-2026-0217",
    "a/b-1234567": "a/b-1234567",
    "google/gemini-2.0-flash-001": "google/gemini-2.0-flash-001",
    "mistralai/mistral-large-2512": "mistralai/mistral-large-2512",
    "unknown model": "unknown model",
    "": "",
}


@pytest.mark.parametrize("name", BY_RULE, ids=ascii)
def test_without_a_list_a_careful_rule_finds_the_name(name: str) -> None:
    assert canonical(name) == BY_RULE[name]
    assert canonical(BY_RULE[name]) == BY_RULE[name]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("anthropic/claude-4.5-sonnet-20250929", "anthropic/claude-sonnet-4.5"),
        ("openrouter/anthropic/claude-4.5-sonnet-20250929:free", "anthropic/claude-sonnet-4.5:free"),
        ("openai/gpt-4o-2025-08-06", "openai/gpt-4o-2025-08-06"),
        ("openai/gpt-4o-2026-08-06", "openai/gpt-4o"),
    ],
)
def test_the_price_list_knows_better(name: str, short: str) -> None:
    assert canonical(name, LISTED) == short


@given(st.dictionaries(st.sampled_from([*BY_RULE]), st.decimals(0, 3, places=20).map(lambda cost: Usage(1, cost=cost))))
def test_groups_add_up_exactly(groups: dict[str, Usage]) -> None:
    assert sum(grouped(groups, canonical).values(), NOTHING) == sum(groups.values(), NOTHING)


def test_three_names_of_a_model_are_one_row_and_rank_by_their_sum(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(
        call(model=SONNET, cost="0.4", id="gen-1"),
        call(model=f"{SONNET}-20260217", cost="0.4"),
        call(model=f"openrouter/{SONNET}", cost="0.4"),
        call(model=f"{SONNET}:free", cost="0"),
        call(model="openai/gpt-5.2", cost="1"),
    )
    data = at(NOON, "stats", "--by", "model", "--top", "1", "--json").data
    assert [(row["name"], row["requests"], row["cost_usd"]) for row in data["groups"]] == [(SONNET, 3, Decimal("1.2"))]
    assert (data["more"]["count"], data["more"]["requests"]) == (2, 2)
    assert f"{SONNET}: $1.20" in at(NOON, "stats").out
    rows = json.loads(at(None, "export", "--format", "json").out)
    assert {row["model"] for row in rows} >= {f"{SONNET}-20260217", f"openrouter/{SONNET}"}
    for name, value in tracker.environment({}).items():
        at.monkeypatch.setenv(name, value)
    books = CostTracker()
    assert next(iter(books.get_cost_by_model().items())) == (SONNET, Decimal("1.2"))
    assert f"{SONNET}: $1.20" in books.summary()
    books.ledger.close()


def test_a_dated_slug_gets_the_short_name_of_the_kept_list(tracker: Tracker, at: TrackerAt, account: Account) -> None:
    listed = account.model("anthropic/claude-sonnet-4.5")
    assert listed
    tracker.write(call(model=listed.canonical_slug, cost="1"), call(model=listed.id, cost="1"))
    assert len(at(NOON, "stats", "--json").data["groups"]) == 2
    assert at(None, "models", "claude").code == 0  # keeps the list
    (row,) = at(NOON, "stats", "--json").data["groups"]
    assert (row["name"], row["cost_usd"]) == (listed.id, 2)


def test_the_routers_prefix_is_priced_and_sent_as_openrouter_calls_it(
    home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    caller: Caller = calling.open_caller(home, sandbox, monkeypatch, capsys)
    ran = caller("--max-tokens", "50", hello=("--model", "openrouter/openai/gpt-5.2", "--prompt", "Hello?"))
    assert ran.code == 0 and caller.sent[0]["model"] == "openai/gpt-5.2"
    assert caller.agree()
    assert estimate_cost("openrouter/openai/gpt-5.2", 100, 10) == estimate_cost("openai/gpt-5.2", 100, 10) > 0
    assert "openai/gpt-5.2:" in caller.run_at(None, "models", "openrouter/openai/gpt-5.2").out


@pytest.mark.parametrize(
    ("model", "meant"),
    [("openai/gpt-5-mimi", "openai/gpt-5-mini"), ("openrouter/openai/gpt-5-mimi", "openai/gpt-5-mini"),
     ("gpt-5-mini", "openai/gpt-5-mini"), ("opnai/gpt-5.2", "openai/gpt-5.2")],
)  # fmt: skip
def test_under_a_budget_a_misspelt_model_is_told_what_may_be_meant(
    model: str, meant: str, home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caller: Caller = calling.open_caller(home, sandbox, monkeypatch, capsys)
    ran = caller("--json", hello=("--model", model, "--prompt", "Hello?"))
    assert ran.code == 2 and ran.json["error"]["code"] == "no_such_model"
    assert "lists no such model" in ran.err and "did you mean" in ran.err and meant in ran.err
    assert "--max-cost" not in ran.err and caller.sent == []


def test_what_resembles_nothing_is_not_guessed_at(
    home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    caller: Caller = calling.open_caller(home, sandbox, monkeypatch, capsys)
    ran = caller(hello=("--model", "no/such", "--prompt", "Hello?"))
    assert ran.code == 2 and "did you mean" not in ran.err and "models WORD" in ran.err
