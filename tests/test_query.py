"""cost_tracker.py query: what OpenRouter billed for one call, patiently asked for and written down once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from openrouter_usage.errors import BadAnswer, NotFound
from openrouter_usage.money import loads
from openrouter_usage.openrouter.answers.generation import read_generation
from openrouter_usage.tracker import lookup
from openrouter_usage.tracker.lookup import patiently
from tests import booking
from tests.booking import Tracker, TrackerAt, call, hold
from tests.running import exact_json
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Fault, Raw, Reply, Sandbox
from tests.sandbox.generation import Generation
from tests.sandbox_client import post
from tests.test_hostile_text import TERMINAL, harmless

Golden = Callable[[str, str], None]
GEN = "gen-1795000000-AbCdEfGhIjKlMnOpQrSt"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, without waiting them."""
    found: list[float] = []
    monkeypatch.setattr(
        lookup, "patiently", lambda ask, *, retries: patiently(ask, retries=retries, sleep=found.append)
    )
    return found


@pytest.fixture
def at(
    tracker: Tracker, waits: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> TrackerAt:
    return TrackerAt(tracker, monkeypatch, capsys)


def made(account: Account, **fields: Any) -> Generation:
    """A call that OpenRouter knows."""
    usual = {
        "id": GEN, "created_at": booking.NOON, "model": "anthropic/claude-sonnet-4.5",
        "model_permaslug": "anthropic/claude-4.5-sonnet-20250929", "provider": "Anthropic", "key_hash": "x",
        "owner": account.keys[0].creator_user_id, "workspace_id": None, "prompt_tokens": 1500,
        "completion_tokens": 500, "reasoning_tokens": 64, "cached_tokens": 900,
        "cost": Decimal("0.0123456789012345678"), "finish_reason": "stop",
        "finished": True, "finished_at": datetime(2020, 1, 1, tzinfo=booking.UTC),
    }  # fmt: skip
    generation = Generation(**{**usual, **fields})
    account.generations[generation.id] = generation
    return generation


# -- what is shown ---------------------------------------------------------------------------------------------------

PAGES: dict[str, dict[str, Any]] = {
    "plain": {"streamed": True},
    "byok": {"cost": Decimal("0.0006"), "upstream": Decimal("0.012")},
    "cache": {
        "overrides": {"cache_discount": Raw("0.00135"), "usage": Raw("0.02"), "upstream_inference_cost": Raw("0.01")}
    },
    "nulls": {
        "overrides": dict.fromkeys(
            ["cache_discount", "native_tokens_prompt", "native_tokens_completion", "native_tokens_reasoning", "latency",
             "native_tokens_cached", "tokens_prompt", "tokens_completion", "generation_time", "finish_reason", "usage",
             "provider_name", "streamed", "cancelled", "upstream_inference_cost", "service_tier", "created_at"]
        ),
    },
    "cancelled": {"cancelled": True, "cost": Decimal("1E-27"), "finish_reason": None},
}


@pytest.mark.parametrize("page", PAGES)
def test_a_call_is_shown_with_all_its_costs(page: str, account: Account, at: TrackerAt, golden: Golden) -> None:
    made(account, **PAGES[page])
    ran = at(None, "query", "--id", GEN)
    assert (ran.code, ran.err) == (0, "")
    golden(f"query-{page}.txt", ran.out)


def test_json_has_every_figure_exactly(account: Account, at: TrackerAt) -> None:
    made(account, upstream=Decimal("0.012"), overrides={"cache_discount": Raw("-0.00135"), "latency": Raw("312.9")})
    answer = at(None, "query", "--id", GEN, "--json").json
    assert answer["kind"] == "generation"
    figures = {
        "id": GEN, "model": "anthropic/claude-sonnet-4.5", "provider": "Anthropic",
        "created_at": "2026-11-22T12:00:00Z",
        "total_cost_usd": Decimal("0.0123456789012345678"), "usage_usd": Decimal("0.0123456789012345678"),
        "is_byok": True, "upstream_cost_usd": Decimal("0.012"), "cache_discount_usd": Decimal("-0.00135"),
        "prompt_tokens": 1500, "completion_tokens": 500, "reasoning_tokens": 64, "cached_tokens": 900,
        "normalized_prompt_tokens": 915, "normalized_completion_tokens": 305, "latency_ms": 312,
        "generation_time_ms": 1240, "streamed": False, "cancelled": False, "finish_reason": "stop", "service_tier": "",
        "recorded": None, "completed": None,
    }  # fmt: skip
    assert answer["data"].items() >= figures.items()


SENT = {
    "native_finish_reason": "end_turn", "moderation_latency": Decimal("50.25"), "num_search_results": 5,
    "upstream_id": "chatcmpl-791bcf62", "total_cost": Decimal("0.000000000000000001"), "cache_discount": None,
    "provider_responses": [{"status": 200, "is_byok": False}], "a_field_of_the_future": {"cents": [Decimal("0.1")]},
}  # fmt: skip


def test_json_has_every_field_that_openrouter_sent(account: Account, at: TrackerAt) -> None:
    overrides = {**SENT, "provider": "a field of the future", "recorded": 7, "finish_reason": "stop"}
    sent = made(account, overrides=overrides).as_json()
    data = at(None, "query", "--id", GEN, "--json").data
    assert data.items() >= SENT.items()
    assert (data["provider"], data["sent_provider"]) == ("Anthropic", "a field of the future")
    assert (data["recorded"], data["sent_recorded"]) == (None, 7)
    for name in sent.keys() - {"provider", "recorded", "created_at", "service_tier"}:
        assert data[name] == sent[name], name
    assert "sent_id" not in data and "sent" not in data


def test_fields_of_the_future_are_made_safe(account: Account, at: TrackerAt) -> None:
    hostile = "\x1b]52;c;AAAA\x07\u202e"
    deep: Any = "bottom"
    for _ in range(200):
        deep = [deep]
    key = booking.INFERENCE_KEY
    made(account, overrides={"later": f"{hostile} Bearer {key}", hostile: [{key: key}], "half": "\ud800", "deep": deep})
    ran = at(None, "query", "--id", GEN, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.isascii() and "\x1b" not in ran.out and "\x07" not in ran.out and key not in ran.out
    assert ran.data["later"] == f"{hostile} Bearer [key]"
    assert ran.data[hostile] == [{"[key]": "[key]"}]
    assert ran.data["half"] == "?"
    assert "nested too deeply" in ran.out


@pytest.mark.parametrize("kind", TERMINAL)
def test_hostile_names_are_only_shown(kind: str, account: Account, at: TrackerAt) -> None:
    text = TERMINAL[kind] * 500
    names = dict.fromkeys(["model", "provider_name", "finish_reason", "service_tier"], text)
    made(account, overrides=names)
    ran = at(None, "query", "--id", GEN, "--record")
    assert ran.code == 0
    harmless(ran.out)
    assert all(len(line) < 2_100 for line in ran.out.splitlines())
    stats = at(None, "stats", "--json").json
    assert (stats["data"]["total"]["requests"], stats["notes"]) == (1, [])


# -- patience --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lag", "argv", "code", "waited"),
    [
        (0, (), 0, []),
        (2, (), 0, [0.5, 1.0]),
        (4, (), 0, [0.5, 1.0, 2.0, 4.0]),
        (5, (), 3, [0.5, 1.0, 2.0, 4.0]),
        ("never", (), 3, [0.5, 1.0, 2.0, 4.0]),
        ("never", ("--retries", "0"), 3, []),
        ("never", ("--retries", "8"), 3, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]),
        (7, ("--retries", "7"), 0, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]),
    ],
)
def test_a_call_that_is_not_known_yet_is_asked_for_again(
    lag: Any, argv: tuple[str, ...], code: int, waited: list[float],
    account: Account, sandbox: Sandbox, at: TrackerAt, waits: list[float],
) -> None:  # fmt: skip
    made(account)
    account.generation_lag_requests = lag
    ran = at(None, "query", "--id", GEN, "--record", *argv)
    assert (ran.code, waits) == (code, waited)
    assert sandbox.calls("/generation") == len(waited) + 1
    if code:
        assert ran.out == ""
        assert f'OpenRouter said "Generation {GEN} not found"' in ran.error_line
        assert not at.tracker.ledger.exists()


def test_a_real_wait_is_waited(account: Account, sandbox: Sandbox, tracker: Tracker) -> None:
    made(account)
    account.generation_lag_requests = 1
    assert tracker("query", "--id", GEN).code == 0
    assert sandbox.calls("/generation") == 2


@pytest.mark.parametrize(
    ("fault", "code", "error"),
    [
        (Fault.status(401), 4, "unauthorized"),
        (Fault.status(403, message="Generation belongs to another user"), 4, "forbidden"),
        (Fault.payment_required(), 4, "payment"),
        (Fault.status(400), 2, "bad_request"),
        (Fault.status(500) , 5, "unreachable"),
        (Fault.reset(), 5, "unreachable"),
        (Fault.html(), 5, "bad_answer"),
        (Fault.raw(b"[]"), 5, "bad_answer"),
        (Fault.raw(b'{"data":null}'), 5, "bad_answer"),
        (Fault.raw(b'{"data":{}}'), 5, "bad_answer"),
        (Fault.raw(b'{"data":{"total_cost":null}}'), 5, "bad_answer"),
        (Fault.redirect(302, "https://evil.example/"), 5, "unreachable"),
    ],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_a_refusal_is_not_asked_again_for_patience(
    fault: Fault, code: int, error: str, account: Account, sandbox: Sandbox, at: TrackerAt, waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("openrouter_usage.openrouter.transport.time.sleep", lambda seconds: None)
    made(account)
    sandbox.misbehave("/generation", fault, times=None)
    ran = at(None, "query", "--id", GEN, "--record", "--json")
    assert (ran.code, waits) == (code, [])
    assert ran.json["error"]["code"] == error
    assert len(ran.error_line) < 600
    assert not at.tracker.ledger.exists()


def test_the_key_is_named_and_not_shown_when_it_is_refused(sandbox: Sandbox, at: TrackerAt) -> None:
    ran = at(None, "query", "--id", GEN, env={"OPENROUTER_API_KEY": "another-test-key-canary-0000"})
    assert ran.code == 4
    assert "OPENROUTER_API_KEY" in ran.error_line
    assert "canary" not in ran.err


def test_without_a_key_nothing_is_asked(sandbox: Sandbox, at: TrackerAt) -> None:
    ran = at(None, "query", "--id", GEN, env={"OPENROUTER_API_KEY": None})
    assert ran.code == 2
    assert "no OpenRouter key found" in ran.error_line
    assert sandbox.requests == []


def test_a_management_key_may_ask_as_well(account: Account, sandbox: Sandbox, at: TrackerAt) -> None:
    made(account)
    environment = {"OPENROUTER_API_KEY": None, "OPENROUTER_MGMT_KEY": MANAGEMENT_KEY}
    assert at(None, "query", "--id", GEN, env=environment).code == 0


# -- ids -------------------------------------------------------------------------------------------------------------


NO_IDS = ["", " ", "x" * 201, "gen-1\n", "gen-1\x1b[2J", "gen\u202e1", "\ud800", "sk-or-v1-" + "0" * 10]
STRANGE = ["gen-1&id=gen-2", "../keys", "gen-1?x=y#z", "gen 1", "%2e%2e/keys", "ほん", "'; DROP TABLE", "-"]


@pytest.mark.parametrize("name", NO_IDS, ids=ascii)
def test_what_cannot_be_an_id_is_asked_of_nobody(name: str, sandbox: Sandbox, at: TrackerAt) -> None:
    ran = at(None, "query", "--id", name)
    assert ran.code == 2
    assert "a generation's id must look like gen-1700000000-abc" in ran.error_line
    assert "0123456789" not in ran.err
    assert sandbox.requests == []


@pytest.mark.parametrize("more", [(), ("--record",), ("--json",)])
def test_an_id_that_nobody_knows_is_a_no_and_says_what_to_check(
    more: tuple[str, ...], at: TrackerAt, waits: list[float]
) -> None:
    ran = at(None, "query", "--id", GEN, *more)
    assert ran.code == 3 and waits == [0.5, 1.0, 2.0, 4.0]
    assert f"OpenRouter does not know the call {GEN}, asked 5 times: /generation answered 404" in ran.error_line
    assert "check the id" in ran.error_line
    if "--json" in more:
        assert (ran.json["error"]["code"], ran.json["data"]) == ("unknown_id", None)
    assert not at.tracker.ledger.exists()


def test_a_404_of_something_in_between_is_not_openrouters_no(
    at: TrackerAt, sandbox: Sandbox, waits: list[float]
) -> None:
    sandbox.misbehave("/generation", Fault.status(404, "html"))
    ran = at(None, "query", "--id", GEN)
    assert (ran.code, "does not know the call" in ran.err) == (5, False)


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_a_strange_id_is_a_value_and_nothing_else(name: str, account: Account, sandbox: Sandbox, at: TrackerAt) -> None:
    made(account, id=name)
    ran = at(None, "query", f"--id={name}")
    assert ran.code == 0, ran.err
    assert [request.path for request in sandbox.requests] == ["/generation"]
    harmless(ran.out)


def test_an_answer_about_another_call_is_not_believed(account: Account, at: TrackerAt) -> None:
    made(account, overrides={"id": "gen-of-somebody-else"})
    ran = at(None, "query", "--id", GEN, "--record")
    assert (ran.code, ran.out) == (5, "")
    assert "field id: it is not the id that was asked for" in ran.error_line
    assert not at.tracker.ledger.exists()


# -- figures that cannot be ------------------------------------------------------------------------------------------

ABSURD = [
    ("total_cost", "-0.01"), ("total_cost", "1000000.01"), ("total_cost", "true"), ("total_cost", '"free"'),
    ("total_cost", "1e-28"), ("upstream_inference_cost", "-1"), ("upstream_inference_cost", "1e7"),
    ("cache_discount", "-1000001"), ("cache_discount", "1000001"), ("usage", '"x"'),
    ("native_tokens_prompt", "-1"), ("native_tokens_prompt", "1000000000001"), ("native_tokens_completion", "1.5"),
    ("native_tokens_reasoning", "true"), ("native_tokens_cached", "[]"), ("tokens_prompt", "-5"), ("latency", "[]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ABSURD)
def test_a_figure_that_no_ledger_can_hold_is_unknown_and_named_and_a_cost_like_that_is_refused(
    name: str, value: str
) -> None:
    data = loads(f'{{"data":{{"total_cost":0.5,"{name}":{value}}}}}')
    if name == "total_cost":
        with pytest.raises(BadAnswer, match=f"field {name}: "):
            read_generation(data, GEN)
        return
    call = read_generation(data, GEN)
    assert [f"field {name}: " in one.why for one in call.left_out] == [True]
    assert call.total_cost == Decimal("0.5")
    figures = (call.usage, call.upstream_cost, call.cache_discount, call.prompt_tokens, call.completion_tokens)
    assert set(figures) == {None} and call.latency_ms is call.reasoning_tokens is call.cached_tokens is None


USUAL = [
    ("created_at", '"1999-12-31T00:00:00Z"'), ("created_at", '"2200-01-01T00:00:00Z"'), ("created_at", '"noon"'),
    ("created_at", "17"), ("model", "null"), ("model", '"\\ud800"'), ("latency", "-3"), ("streamed", '"yes"'),
    ("total_cost", '"0.5"'), ("native_tokens_prompt", '"7"'), ("native_tokens_prompt", "7.0"), ("id", "null"),
    ("cache_discount", "-0.5"), ("is_byok", "null"), ("finish_reason", "{}"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), USUAL)
def test_whatever_is_understood_can_be_read_back_from_the_ledger(name: str, value: str, tracker: Tracker) -> None:
    generation = read_generation(loads(f'{{"data":{{"total_cost":0.5,"{name}":{value}}}}}'), GEN)
    entry = generation.entry(booking.NOON)
    tracker.write(booking.written([entry]))
    values = exact_json(tracker.bytes.decode())
    assert (values["id"], values["cost"], values["cost_source"]) == (GEN, Decimal("0.5"), "late")
    assert booking.calls_in(tracker.bytes) == [values]
    if name == "created_at":
        assert entry.ts == booking.NOON


# -- --record --------------------------------------------------------------------------------------------------------


def test_a_call_is_recorded_once(account: Account, tracker: Tracker, at: TrackerAt, golden: Golden) -> None:
    made(account, upstream=Decimal("0.012"), streamed=True, overrides={"cache_discount": Raw("-0.00135")})
    first = at(None, "query", "--id", GEN, "--record")
    assert first.out.endswith("\nRecorded in the ledger.\n")
    golden("query-recorded.jsonl", tracker.bytes.decode())
    again = at(None, "query", "--id", GEN, "--record")
    assert again.out.endswith("\nThe ledger has this call already.\n")
    assert [at(None, "query", "--id", GEN, "--record", "--json").data["recorded"] for _ in range(2)] == [False, False]
    assert tracker.bytes.count(b"\n") == 1
    total = at(None, "stats", "--json").data["total"]
    assert (total["cost_usd"], total["byok_usd"]) == (Decimal("0.0123456789012345678"), Decimal("0.012"))


def test_without_record_nothing_is_written(account: Account, tracker: Tracker, at: TrackerAt) -> None:
    made(account)
    assert at(None, "query", "--id", GEN).code == 0
    assert not tracker.folder.exists()


@pytest.mark.parametrize(
    ("known", "recorded", "cost"),
    [
        ({"cost": "0.5", "cost_source": "billed"}, False, Decimal("0.5")),
        ({"cost": "0", "cost_source": "billed"}, False, Decimal("0.0123456789012345678")),
        ({"cost": "0.5"}, False, Decimal("0.5")),
        ({"cost": None}, True, Decimal("0.0123456789012345678")),
        ({"cost": "0.5", "cost_source": "estimated"}, True, Decimal("0.0123456789012345678")),
    ],
)
def test_a_certain_cost_is_kept_and_any_other_replaced(
    known: dict[str, Any], recorded: bool, cost: Decimal, account: Account, tracker: Tracker, at: TrackerAt
) -> None:
    made(account)
    tracker.write(call(id=GEN, **known))
    assert at(None, "query", "--id", GEN, "--record", "--json").data["recorded"] is recorded
    total = at(None, "stats", "--json").data["total"]
    assert (total["requests"], total["cost_usd"], total["unknown_cost_calls"]) == (1, cost, 0)
    assert total["estimated_cost_calls"] == 0


def test_the_hold_of_the_call_ends_with_it(account: Account, tracker: Tracker, at: TrackerAt) -> None:
    made(account)
    tracker.write(hold("mine", generation=GEN, session="nightly"), hold("other", generation="gen-other"), hold("none"))
    assert at(None, "query", "--id", GEN, "--record", "--json").data["recorded"] is True
    assert at(None, "query", "--id", GEN, "--record", "--json").data["recorded"] is False
    data = at(None, "stats", "--by", "session", "--json").data
    assert (data["open_holds"], data["total"]["requests"]) == (2, 1)
    assert data["groups"][0]["name"] == "nightly"


def test_what_the_sandbox_bills_is_what_is_recorded(account: Account, sandbox: Sandbox, at: TrackerAt) -> None:
    account.reply = Reply(prompt_tokens=93_500, completion_tokens=7, cost=Decimal("0.00123456789"))
    identity = post(sandbox, key=INFERENCE_KEY).json()["id"]
    at(None, "query", "--id", identity, "--record")
    total = at(None, "stats", "--json").data["total"]
    assert total["cost_usd"] == account.bill == Decimal("0.00123456789")
    assert (total["prompt_tokens"], total["completion_tokens"]) == (93_500, 7)


def test_a_ledger_that_cannot_be_written_is_named(account: Account, at: TrackerAt) -> None:
    made(account)
    ran = at(None, "query", "--id", GEN, "--record", env={"OPENROUTER_USAGE_FILE": "/dev/full"})
    assert (ran.code, ran.out) == (6, "")
    assert "is not a regular file" in ran.error_line


def test_waiting_ends_after_the_last_try() -> None:
    asked: list[int] = []
    waits: list[float] = []

    def ask() -> Any:
        asked.append(1)
        raise NotFound("not yet")

    with pytest.raises(NotFound):
        patiently(ask, retries=20, sleep=waits.append)
    assert len(asked) == 21
    assert max(waits) == 8 and sum(waits) < 140
