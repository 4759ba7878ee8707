"""The names that the guides to OpenRouter use are the library's too, and say nothing that is not true."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import cost_tracker
import pytest
from cost_tracker import BudgetEnforcer, CostRecord, CostSession, OpenRouterCostTracker

from openrouter_usage.errors import BudgetExceeded, Denied, InvalidValue, MissingKey, NotFound, Refused, Unreachable
from openrouter_usage.figures.pricing import Unbounded
from openrouter_usage.tracker import lookup
from tests.booking import NOON, UTC
from tests.running import exact_json
from tests.sandbox import INFERENCE_KEY, Account, Fault, Raw, Reply, Sandbox
from tests.sandbox_client import post

CHAT = "/chat/completions"
MODEL = "openai/gpt-5.2"
HELLO = [{"role": "user", "content": "Hello?"}]
TEN = [
    "generation_id", "model", "timestamp", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd",
    "cache_discount", "provider", "latency_ms",
]  # fmt: skip


@pytest.fixture(autouse=True)
def surroundings(home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, and the sandbox for OpenRouter; nothing really waits."""
    for name, value in (("HOME", home), ("USERPROFILE", home), ("OPENROUTER_BASE_URL", sandbox.url)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("OPENROUTER_API_KEY", INFERENCE_KEY)
    monkeypatch.setattr(lookup, "FIRST_WAIT_S", 0.0)


@pytest.fixture
def tracker() -> Iterator[OpenRouterCostTracker]:
    found = OpenRouterCostTracker()
    yield found
    found.ledger.close()


# -- cost_history ----------------------------------------------------------------------------------------------------


def test_a_record_has_the_fields_of_the_guides_in_their_order() -> None:
    assert [field.name for field in fields(CostRecord)] == TEN
    values: dict[str, Any] = dict.fromkeys(TEN)
    assert CostRecord(**values) == CostRecord(*values.values())
    assert list(CostRecord(**values).to_dict()) == TEN


def test_the_history_holds_each_call_once_with_what_is_known(tracker: OpenRouterCostTracker, account: Account) -> None:
    answer = tracker.chat(messages=HELLO, model=MODEL)
    tracker.log_usage("a/b", 1500, 500, cost="0.0025", generation_id="gen-1", provider="Anthropic", latency_ms=9,
                      cache_discount="-0.1", ts="2026-11-20T10:30:00Z")  # fmt: skip
    tracker.log_usage("a/b", 1500, 500, cost="0.0025", generation_id="gen-1")
    tracker.log_usage("a/b", 7, 0)
    called, logged, unknown = tracker.cost_history
    assert (called.generation_id, called.model, called.cost_usd) == (answer["id"], MODEL, account.bill)
    assert called.total_tokens == answer["usage"]["total_tokens"]
    assert logged.to_dict() == dict(
        zip(TEN, ["gen-1", "a/b", "2026-11-20T10:30:00+00:00", 1500, 500, 2000, Decimal("0.0025"), Decimal("-0.1"),
                  "Anthropic", 9], strict=True)
    )  # fmt: skip
    assert (unknown.cost_usd, unknown.cache_discount, unknown.latency_ms) == (None, None, None)
    assert (unknown.generation_id, unknown.provider, unknown.total_tokens) == ("", "", 7)
    assert sum(record.cost_usd or 0 for record in tracker.cost_history) == tracker.get_total_cost()


def test_a_timestamp_is_read_by_every_python(tracker: OpenRouterCostTracker) -> None:
    moment = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
    tracker.log_usage("a/b", 1, 1, ts=moment)
    assert datetime.fromisoformat(tracker.cost_history[0].timestamp) == moment
    assert datetime.fromisoformat(tracker.cost_history[0].timestamp).utcoffset() == timedelta(0)


def test_the_history_is_a_sequence_that_is_always_current(tracker: OpenRouterCostTracker) -> None:
    history = tracker.cost_history
    assert (len(history), list(history), bool(history), history[:1]) == (0, [], False, [])
    for number in range(5):
        tracker.log_usage("a/b", number, 0)
    plain = list(history)
    assert len(history) == len(plain) == 5
    for index in range(-5, 5):
        assert history[index] == plain[index]
    for index in (5, -6, 99):
        with pytest.raises(IndexError):
            history[index]
    for cut in (slice(None), slice(1, 3), slice(-2, None), slice(None, None, -1), slice(9, 12)):
        assert history[cut] == plain[cut]
    assert list(reversed(history)) == plain[::-1]
    assert plain[2] in history
    assert history.index(plain[3]) == 3
    assert "5 calls" in repr(history)


def test_what_is_recorded_or_logged_has_the_names_of_a_record(tracker: OpenRouterCostTracker, sandbox: Sandbox) -> None:
    identity = post(sandbox).json()["id"]
    recorded = tracker.record_from_generation(identity)
    assert (recorded.generation_id, recorded.latency_ms, recorded.provider) == (identity, 312, "OpenAI")
    (record,) = tracker.cost_history
    for name in TEN:
        assert getattr(recorded, name) == getattr(record, name), name
    assert recorded.to_dict() == record.to_dict()
    assert tracker.log_usage("a/b", 1, 2).total_tokens == 3


# -- chat(track_usage=...) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("track_usage", [True, False])
def test_whether_a_call_is_tracked_is_never_sent(
    tracker: OpenRouterCostTracker, sandbox: Sandbox, account: Account, track_usage: bool
) -> None:
    with CostSession("guide") as session:
        answer = tracker.chat(HELLO, MODEL, track_usage, temperature=0)
        for _ in tracker.stream(HELLO, MODEL, track_usage=track_usage):
            pass
    assert answer["usage"]["cost"] and account.bill > 0
    for request in sandbox.received(CHAT):
        assert "track_usage" not in request.json()
    booked = 2 if track_usage else 0
    assert (len(tracker.cost_history), session.calls) == (booked, booked)
    assert tracker.ledger.path.exists() is track_usage


@pytest.mark.parametrize("stream", [False, True])
def test_no_call_passes_a_budget_uncounted(
    tracker: OpenRouterCostTracker, sandbox: Sandbox, account: Account, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setenv("OPENROUTER_DAILY_LIMIT", "0.02")
    account.reply = Reply(cost=Decimal("0.015"), completion_tokens=9)

    def ask() -> None:
        if stream:
            list(tracker.stream(HELLO, MODEL, track_usage=False))
        else:
            tracker.chat(HELLO, MODEL, track_usage=False)

    ask()
    assert tracker.get_total_cost() == account.bill == Decimal("0.015")
    assert tracker.ledger.health().holds == ()
    with pytest.raises(BudgetExceeded):
        ask()
    assert sandbox.calls(CHAT) == 1


def test_an_untracked_call_is_bounded_by_max_cost_all_the_same(tracker: OpenRouterCostTracker, sandbox: Sandbox) -> None:
    tracker.chat(HELLO, MODEL, False, max_cost="0.01")
    (request,) = sandbox.received(CHAT)
    assert "max_tokens" in request.json() and "max_price" in request.json()["provider"]
    assert len(tracker.cost_history) == 0


@pytest.mark.parametrize("odd", [0, 1, None, "no", 0.5])
def test_track_usage_is_true_or_false(tracker: OpenRouterCostTracker, sandbox: Sandbox, odd: Any) -> None:
    with pytest.raises(ValueError, match="track_usage must be True or False"):
        tracker.chat(HELLO, MODEL, odd)
    assert sandbox.connections == 0


# -- get_generation_stats --------------------------------------------------------------------------------------------

SENT = {
    "native_finish_reason": "end_turn", "moderation_latency": Raw("50.25"), "num_search_results": 5,
    "upstream_id": "chatcmpl-1", "a_field_of_the_future": [{"usd": Raw("0.10000000000000000001")}], "app_id": None,
    "cache_discount": Raw("0.0002"), "total_cost": Raw("0.001500000000000000000001"),
}  # fmt: skip


@pytest.mark.parametrize("by", ["function", "method"])
def test_stats_have_every_field_that_was_sent(
    tracker: OpenRouterCostTracker, sandbox: Sandbox, account: Account, by: str
) -> None:
    identity = post(sandbox).json()["id"]
    account.generations[identity].overrides = SENT
    ask = cost_tracker.get_generation_stats if by == "function" else tracker.get_generation_stats
    stats = ask(identity)
    assert stats is not None and "data" in stats and stats.get("data") == stats["data"]
    sent = exact_json(cost_tracker.to_json(stats))["data"]
    assert stats["data"] == sent
    assert sent.keys() == account.generations[identity].as_json().keys()
    assert sent["a_field_of_the_future"] == [{"usd": Decimal("0.10000000000000000001")}]
    assert stats["data"]["total_cost"] == stats.total_cost == Decimal("0.001500000000000000000001")
    assert (stats.provider, stats.latency_ms, sent["moderation_latency"]) == ("OpenAI", 312, Decimal("50.25"))
    for other in (copy.copy(stats), copy.deepcopy(stats), pickle.loads(pickle.dumps(stats))):
        assert other == stats and other.total_cost == stats.total_cost
    with pytest.raises(AttributeError):
        _ = stats.no_such_figure
    assert json.loads(json.dumps(stats, default=str))["data"]["total_cost"] == "0.001500000000000000000001"


@pytest.mark.parametrize(("max_retries", "asked"), [(1, 1), (3, 3), (0, 1), (5, 5)])
def test_an_unknown_call_is_none_after_so_many_tries(sandbox: Sandbox, max_retries: int, asked: int) -> None:
    assert cost_tracker.get_generation_stats("gen-nobody", max_retries, 0) is None
    assert sandbox.calls("/generation") == asked


def test_a_call_that_becomes_known_is_found(sandbox: Sandbox, account: Account) -> None:
    account.generation_lag_requests = 2
    identity = post(sandbox).json()["id"]
    assert cost_tracker.get_generation_stats(identity, max_retries=2, delay=0) is None
    stats = cost_tracker.get_generation_stats(generation_id=identity, max_retries=3, delay=0.0)
    assert stats is not None and stats["data"]["id"] == identity


@pytest.mark.parametrize(
    "arguments",
    [{"max_retries": -1}, {"max_retries": True}, {"max_retries": 1.5}, {"delay": -1}, {"delay": float("nan")},
     {"delay": float("inf")}, {"delay": "1"}, {"generation_id": ""}, {"generation_id": None}, {"generation_id": 7},
     {"generation_id": "x" * 9_999}],
)  # fmt: skip
def test_what_cannot_be_asked_is_a_value_error_and_nothing_is_sent(sandbox: Sandbox, arguments: Any) -> None:
    with pytest.raises(ValueError):
        cost_tracker.get_generation_stats(**{"generation_id": "gen-1", **arguments})
    assert sandbox.connections == 0


def test_not_knowing_a_call_and_not_answering_are_told_apart(
    tracker: OpenRouterCostTracker, sandbox: Sandbox, account: Account
) -> None:
    identity = post(sandbox).json()["id"]
    account.generations[identity].owner = "somebody else"
    with pytest.raises(Denied):
        cost_tracker.get_generation_stats(identity)
    with pytest.raises(NotFound):
        tracker.record_from_generation("gen-nobody")
    sandbox.misbehave("/generation", Fault.status(400))
    with pytest.raises(cost_tracker.OpenRouterUsageError):
        cost_tracker.get_generation_stats(identity)


# -- BudgetEnforcer --------------------------------------------------------------------------------------------------


def test_an_enforcer_shows_its_limits_and_takes_others(sandbox: Sandbox) -> None:
    enforcer = BudgetEnforcer()
    assert (enforcer.daily_limit, enforcer.per_request_limit, enforcer.monthly_limit) == (10, Decimal("0.5"), None)
    enforcer = BudgetEnforcer(daily_limit=25.0, per_request_limit=1.0, monthly_limit="100.10")
    assert f"${enforcer.daily_limit} ${enforcer.per_request_limit:.2f}" == "$25.0 $1.00"
    assert enforcer.monthly_limit == Decimal("100.10")
    enforcer.check_budget(MODEL, prompt_tokens=200, max_tokens=500)
    for name, scope in (("daily_limit", "daily"), ("per_request_limit", "per-request"), ("monthly_limit", "monthly")):
        kept = getattr(enforcer, name)
        setattr(enforcer, name, 0)
        with pytest.raises(BudgetExceeded) as refused:
            enforcer.check_budget(MODEL, prompt_tokens=200, max_tokens=500)
        assert refused.value.scope == scope
        setattr(enforcer, name, kept)
    enforcer.check_budget(MODEL, prompt_tokens=200, max_tokens=500)
    with pytest.raises(ValueError):
        enforcer.daily_limit = "plenty"
    assert enforcer.daily_limit == 25


@pytest.mark.parametrize("model", ["openrouter/auto", "nobody/knows-this"])
def test_what_cannot_be_bounded_is_a_value_error(tracker: OpenRouterCostTracker, sandbox: Sandbox, model: str) -> None:
    for ask in (cost_tracker.estimate_cost, BudgetEnforcer().estimate_cost, BudgetEnforcer().check_budget):
        with pytest.raises(ValueError):
            ask(model, 100, 100)
    with pytest.raises(ValueError):
        OpenRouterCostTracker(caps=BudgetEnforcer().caps).chat(HELLO, model)
    assert sandbox.calls(CHAT) == 0


def test_a_missing_key_is_a_value_error(
    tracker: OpenRouterCostTracker, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY")
    for ask in (
        lambda: tracker.chat(HELLO),
        lambda: tracker.stream(HELLO),
        lambda: tracker.get_generation_stats("gen-1"),
        lambda: tracker.record_from_generation("gen-1"),
        lambda: BudgetEnforcer().record_cost("gen-1"),
        lambda: cost_tracker.get_generation_stats("gen-1"),
        cost_tracker.check_credits,
    ):
        with pytest.raises(ValueError) as raised:
            ask()
        assert isinstance(raised.value, MissingKey)
    assert "error" in cost_tracker.get_key_balance()
    assert sandbox.connections == 0


def test_every_refusal_is_a_value_error_and_no_failure_is() -> None:
    for error in (Refused, BudgetExceeded, Unbounded, MissingKey, InvalidValue):
        assert issubclass(error, ValueError)
    for error in (Denied, Unreachable, NotFound):
        assert not issubclass(error, ValueError)


# -- to_json, check_credits, ROUTING ---------------------------------------------------------------------------------


def test_what_the_library_returns_can_be_written(tracker: OpenRouterCostTracker) -> None:
    answer = tracker.chat(HELLO, MODEL)
    told = {
        "balance": cost_tracker.get_key_balance(), "credits": cost_tracker.check_credits(),
        "by_model": tracker.get_cost_by_model(), "total": tracker.get_total_cost(), "history": tracker.cost_history,
        "stats": cost_tracker.get_generation_stats(answer["id"]), "routing": cost_tracker.ROUTING,
        "record": tracker.cost_history[0], "entry": tracker.log_usage("a/b", 1, 1), "at": NOON,
    }  # fmt: skip
    written = exact_json(cost_tracker.to_json(told))
    assert written["total"] == tracker.get_total_cost() == written["by_model"][MODEL] == written["record"]["cost_usd"]
    assert written["balance"]["usage"] == told["balance"]["usage"]  # type: ignore[index]  # a dict
    assert written["history"][0] == written["record"] and written["at"] == "2026-11-22T12:00:00+00:00"
    for value in (told["balance"], told["credits"], told["by_model"]):
        assert json.loads(json.dumps(value, default=str)).keys() == value.keys()  # type: ignore[attr-defined]
    assert "\n" in cost_tracker.to_json(told, indent=2)


@pytest.mark.parametrize("value", [float("nan"), Decimal("Infinity"), {"a": [Decimal("NaN")]}, object(), b"x", {1, b""}])
def test_what_json_cannot_hold_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        cost_tracker.to_json(value)


def test_what_is_nested_without_end_is_a_value_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError):
        cost_tracker.to_json(endless)


def test_credits_have_every_field_that_was_sent(account: Account, sandbox: Sandbox) -> None:
    data: Any = cost_tracker.check_credits()["data"]
    assert data["rate_limit"]["interval"] == "10s"
    assert {"label", "usage", "limit", "limit_remaining", "is_free_tier", "usage_daily"} <= data.keys()
    (budget,) = [data["effective_budget"]] if data.get("effective_budget") else [{}]
    assert not budget or "scope" in budget


def test_the_routing_table_is_that_of_call_and_the_users_own(home: Path) -> None:
    table = json.loads((Path(cost_tracker.__file__).parent.parent / "references" / "routing.json").read_text())
    assert dict(cost_tracker.ROUTING) == {task: entry["model"] for task, entry in table.items()}
    folder = home / ".openrouter"
    folder.mkdir()
    (folder / "settings.json").write_text('{"routing": {"simple_qa": "a/b", "translation": "c/d", "poems": null}}')
    assert (cost_tracker.ROUTING["simple_qa"], cost_tracker.ROUTING["translation"]) == ("a/b", "c/d")
    assert len(cost_tracker.ROUTING) == len(table) + 1
    assert cost_tracker.ROUTING.get("telepathy", "a/fallback") == "a/fallback"
    with pytest.raises(KeyError):
        cost_tracker.ROUTING["telepathy"]
