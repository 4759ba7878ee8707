"""What is known better of a call that is booked already is added to it, once; and nothing goes past a gate by that."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_usage.entry import Caps, Entry
from openrouter_usage.errors import UnbelievableBill
from openrouter_usage.figures.exchange import json_pieces
from openrouter_usage.figures.logs.import_calls import imported
from openrouter_usage.ledger.clean import clean
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.merge import merged
from openrouter_usage.tracker.cost_tracker import CostTracker
from openrouter_usage.tracker.enforcer import BudgetEnforcer
from tests import calling
from tests.booking import NOON, UTC, Tracker, TrackerAt, call, hold
from tests.calling import Caller
from tests.cases import crossed
from tests.sandbox import Account, Fault, Raw, Reply, Sandbox
from tests.test_query import GEN, made

BILLED = {"id": GEN, "cost_source": "billed"}


@pytest.fixture
def caller(
    home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Caller:
    return calling.open_caller(home, sandbox, monkeypatch, capsys)


def only(tracker: Tracker) -> Entry:
    """The one call of a ledger."""
    with contextlib.closing(Ledger(tracker.ledger)) as ledger:
        (entry,) = ledger.entries()
        return entry


# -- the rule --------------------------------------------------------------------------------------------------------

LINES = st.builds(
    Entry,
    ts=st.integers(0, 3).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    model=st.sampled_from(["a/b", "a/b-20260217", "unknown model"]),
    prompt_tokens=st.sampled_from([0, 10, 11]),
    cached_tokens=st.sampled_from([None, 0, 5]),
    cost=st.sampled_from([None, Decimal(0), Decimal("0.0009"), Decimal("0.5")]),
    id=st.just(GEN),
    byok_cost=st.sampled_from([None, Decimal("0.0009"), Decimal("0.01")]),
    cost_source=st.sampled_from(["", "billed", "late", "estimated"]),
    provider=st.sampled_from(["", "OpenAI"]),
    session=st.sampled_from(["", "nightly"]),
    tags=st.sampled_from([(), (("team", "x"),)]),
    latency_ms=st.sampled_from([None, 0, 12]),
    told=st.sampled_from(["", "-1"]),
    seen=st.booleans(),
).map(lambda entry: entry if entry.cost is not None else Entry(entry.ts, entry.model, id=GEN, provider=entry.provider))


@given(st.lists(LINES, min_size=1, max_size=4))
def test_lines_of_a_call_come_to_the_same_in_any_order_and_however_often(lines: list[Entry]) -> None:
    whole = merged(lines)
    assert all(merged(list(order)) == whole for order in permutations(lines))
    assert merged([*lines, *lines]) == whole
    assert merged([*lines, whole]) == whole


UNKNOWN = Entry(NOON, "a/b", id=GEN, session="nightly")
ESTIMATE = Entry(NOON, "a/b", cost=Decimal("0.5"), id=GEN, cost_source="estimated")
SILENT = Entry(NOON, "a/b", cost=Decimal(0), id=GEN, cost_source="billed")
LATE = Entry(NOON, "a/b", cost=Decimal("0.02"), id=GEN, cost_source="late", provider="OpenAI")
BYOK = Entry(NOON, "a/b", cost=Decimal(0), byok_cost=Decimal("0.0009"), id=GEN, cost_source="late")


@pytest.mark.parametrize(
    ("lines", "cost", "byok"),
    [
        ((UNKNOWN, ESTIMATE), "0.5", None),
        ((UNKNOWN, LATE), "0.02", None),
        ((ESTIMATE, LATE), "0.02", None),
        ((ESTIMATE, SILENT), "0", None),
        ((SILENT, LATE), "0.02", None),
        ((SILENT, BYOK), "0", "0.0009"),
        ((UNKNOWN, ESTIMATE, SILENT, BYOK), "0", "0.0009"),
        # the same money in the other purse is no second payment
        ((LATE, Entry(NOON, "a/b", cost=Decimal(0), byok_cost=Decimal("0.02"), id=GEN)), "0.02", None),
    ],
)
def test_what_was_told_beats_an_estimate_and_that_an_unknown_cost(lines: Any, cost: str, byok: str | None) -> None:
    for order in permutations(lines):
        whole = merged(list(order))
        assert (whole.cost, whole.byok_cost) == (Decimal(cost), None if byok is None else Decimal(byok))


@settings(max_examples=40, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=3), st.randoms())
def test_an_index_an_export_and_a_cleaning_agree_with_the_rule(lines: list[Entry], chance: Any) -> None:
    import tempfile

    from openrouter_usage.entry import write_line

    with tempfile.TemporaryDirectory() as folder:
        path, copy = Path(folder) / "usage.jsonl", Path(folder) / "copy.jsonl"
        other = Entry(NOON - timedelta(days=3), "c/d", cost=Decimal(1), id="gen-other")
        text = [write_line(entry) for entry in (*lines, other)]
        chance.shuffle(text)
        whole = merged(lines)
        with contextlib.closing(Ledger(path)) as ledger, contextlib.closing(Ledger(copy)) as second:
            for line in text:  # the index catches up with one line after the other
                with path.open("ab") as file:
                    file.write(line)
                ledger.totals()
            assert ledger.totals().total == whole.usage + other.usage
            assert list(ledger.entries()) in ([whole, other], [other, whole])
            with path.with_name("usage.jsonl.index").open("r+b") as index:
                index.truncate(0)
            assert ledger.totals().total == whole.usage + other.usage
            second.append_all(imported("".join(json_pieces(ledger.entries()))).entries)
            assert second.totals().total == ledger.totals().total
            assert clean(ledger.engine, NOON - timedelta(days=1), dry_run=False).removed == 1
            assert list(ledger.entries()) == [whole]


# -- by the programs -------------------------------------------------------------------------------------------------


def test_an_answer_that_says_0_is_corrected_by_the_look_up(account: Account, tracker: Tracker, at: TrackerAt) -> None:
    made(account, cost=Decimal(0), upstream=Decimal("0.0009"), overrides={"cache_discount": Raw("0.0001")})
    tracker.write(call(cost="0", model="openai/whisper-1", **BILLED))
    ran = at(None, "query", "--id", GEN, "--record")
    assert "its missing figures were added, and it counts once" in ran.out
    total = at(None, "stats", "--json").data["total"]
    assert (total["requests"], total["cost_usd"], total["byok_usd"]) == (1, 0, Decimal("0.0009"))
    entry = only(tracker)
    assert (entry.provider, entry.latency_ms, entry.cache_discount) == ("Anthropic", 312, Decimal("0.0001"))
    assert (entry.model, entry.cached_tokens, entry.reasoning_tokens) == ("openai/whisper-1", 900, 64)
    before = tracker.bytes
    data = at(None, "query", "--id", GEN, "--record", "--json").data
    assert (data["recorded"], data["completed"], tracker.bytes) == (False, False, before)


def test_a_look_up_in_python_completes_the_call_and_the_exports(account: Account, tracker: Tracker, at: TrackerAt) -> None:
    made(account)
    tracker.write(call(cost="0.0123456789012345678", **BILLED))
    tracker_env = tracker.environment({})
    for name, value in tracker_env.items():
        at.monkeypatch.setenv(name, value)
    books = CostTracker()
    entry = books.record_from_generation(GEN)
    assert (entry.provider, entry.cost, entry.model) == ("Anthropic", Decimal("0.0123456789012345678"), "openai/gpt-5.2")
    books.ledger.close()
    (row,) = json.loads(at(None, "export", "--format", "json").out)
    assert (row["provider"], row["cached_tokens"], row["latency_ms"]) == ("Anthropic", 900, 312)


def test_an_import_completes_a_call_and_takes_nothing_away(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call(cost="0.5", id="gen-a", cost_source="estimated"), call(cost=None, id="gen-b"), call(id="gen-c"))
    given_file = tracker.home / "given.jsonl"
    given_file.write_bytes(
        call(cost="0", id="gen-a", provider="X") + call(cost="0.25", id="gen-b")
        + call("2026-10-01T00:00:00Z", cost="0.0025", id="gen-c", provider="Y")
    )  # fmt: skip
    assert at(None, "import", str(given_file)).out == "0 calls added, 3 completed, 0 already known\n"
    assert at(None, "import", str(given_file)).out == "0 calls added, 3 already known\n"
    total = at(NOON, "stats", "--month", "--json").data["total"]
    assert (total["requests"], total["cost_usd"]) == (3, Decimal("0.7525"))


# -- not known yet: holds and booked calls ---------------------------------------------------------------------------


@pytest.mark.parametrize("source", [{"cost": None}, {"cost": "0.5", "cost_source": "estimated"}], ids=["unknown", "estimate"])
def test_settle_looks_up_booked_calls_and_stats_says_how_many(
    source: Any, account: Account, tracker: Tracker, at: TrackerAt
) -> None:
    made(account)
    tracker.write(call("2026-01-05T10:00:00Z", id=GEN, session="nightly", tags={"team": "x"}, **source))
    tracker.write(call(cost=None), call(cost=None, id="chatcmpl-1"))
    told = "1 call in the ledger whose cost is unknown or estimated can be looked up; run: cost_tracker.py settle"
    stats = at(NOON, "stats", "--json").json
    assert stats["data"]["unsettled_calls"] == 1 and told in stats["notes"]
    assert told in at(NOON, "stats", "--today").out
    assert told in at(NOON, "budget").out
    assert "1 call recorded with an unknown or estimated cost, which can be looked up" in at(None, "doctor", "--offline").out
    ran = at(None, "settle")
    assert ran.out.endswith("1 call settled, 0 left\n")
    assert at(None, "settle").out == "Nothing is unsettled.\n"
    with contextlib.closing(Ledger(tracker.ledger)) as ledger:
        entry = ledger.known(GEN)
    assert entry and (entry.session, entry.tag_label, entry.ts.year) == ("nightly", "team=x", 2026)
    assert (entry.cost, entry.cost_source) == (Decimal("0.0123456789012345678"), "late")
    assert at(NOON, "stats", "--json").data["unsettled_calls"] == 0


def test_what_openrouter_does_not_know_is_left_with_the_reason(account: Account, tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call(cost=None, id="gen-gone"), hold("h", generation="gen-gone-too"))
    ran = at(None, "settle", "--json").data
    assert [(left["hold"], left["generation_id"]) for left in ran["left"]] == [("h", "gen-gone-too"), (None, "gen-gone")]
    assert {left["why"] for left in ran["left"]} == {"OpenRouter does not know it yet"}


def test_a_refusal_is_not_asked_for_again_for_every_call(sandbox: Sandbox, tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(*(call(cost=None, id=f"gen-{number}") for number in range(20)))
    sandbox.misbehave("/generation", Fault.status(401), times=None)
    assert at(None, "settle").out.endswith("0 calls settled, 20 left\n")
    assert sandbox.calls("/generation") == 1


# -- gates -----------------------------------------------------------------------------------------------------------


def test_an_imported_line_ends_no_hold(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(hold("mine", generation=GEN))
    given_file = tracker.home / "given.jsonl"
    given_file.write_bytes(
        call(cost="0", hold="mine") + call(cost="0", hold="mine", id=GEN)
        + b'{"kind":"release","hold":"mine","ts":"2026-11-22T10:30:00Z"}\n'
    )  # fmt: skip
    assert at(None, "import", str(given_file)).code == 0
    assert at(NOON, "stats", "--json").data["open_holds"] == 1


# -- unbelievable bills ----------------------------------------------------------------------------------------------

ABSURD = [Raw("1000000.01"), Raw("-0.01"), Raw("NaN"), Raw("-Infinity"), Raw("1e999999999999999999999"), Raw("1e400")]


@pytest.mark.parametrize(("stream", "cost"), crossed([(), ("--stream",)], ABSURD))
def test_after_an_unbelievable_bill_nothing_is_sent_until_a_person_has_looked(
    cost: Any, stream: Any, caller: Caller, account: Account, sandbox: Sandbox
) -> None:
    account.reply = Reply(usage=lambda usage: {**usage, "cost": cost})
    assert caller("--max-tokens", "50", *stream).code == 0
    (identity,) = account.generations
    refused = caller("--max-tokens", "50")
    assert refused.code == 3 and len(caller.sent) == 1
    assert "implausible bill" in refused.err and f"settle --id {identity}" in refused.err
    for words in (("stats",), ("budget",), ("doctor", "--offline")):
        assert "implausible bill" in caller.run_at(None, *words, env=calling.BUDGET).out, words
    # Asked in passing, nobody has looked.
    assert "its bill is implausible" in caller.run_at(None, "settle").out
    assert caller("--max-tokens", "50").code == 3
    settled = caller.run_at(None, "settle", "--id", identity)
    assert settled.out.endswith("1 call settled, 0 left\n")
    account.reply = Reply()
    assert caller("--max-tokens", "50").code == 0
    with contextlib.closing(Ledger(caller.tracker.ledger)) as ledger:
        total = ledger.totals().total
    assert (total.requests, total.cost, total.estimated) == (2, account.bill, 0)


def test_a_cost_that_a_person_has_found_needs_a_yes(caller: Caller, account: Account) -> None:
    account.reply = Reply(usage=lambda usage: {**usage, "cost": -3})
    caller("--max-tokens", "50")
    (identity,) = account.generations
    assert caller.run_at(None, "settle", "--id", identity, "--cost", "0.02").code == 2
    assert caller("--max-tokens", "50").code == 3
    assert caller.run_at(None, "settle", "--id", identity, "--cost", "0.02", "--yes").code == 0
    assert only(caller.tracker).cost == Decimal("0.02")
    assert caller.run_at(None, "settle", "--id", "gen-nobody").code == 2


def test_a_look_up_with_an_unbelievable_bill_stops_the_next_call_too(caller: Caller, account: Account) -> None:
    account.reply = Reply(usage="missing")
    account.generation_lag_requests = "never"
    caller("--max-tokens", "50")
    (generation,) = account.generations.values()
    account.generation_lag_requests = 0
    generation.overrides["total_cost"] = Raw("-1")
    assert "its bill is implausible" in caller.run_at(None, "settle").out
    assert caller("--max-tokens", "50").code == 3


def test_an_import_settles_no_doubtful_bill(caller: Caller, account: Account, tracker: Tracker) -> None:
    account.reply = Reply(usage=lambda usage: {**usage, "cost": -3})
    caller("--max-tokens", "50")
    (identity,) = account.generations
    given_file = tracker.home / "given.jsonl"
    given_file.write_bytes(call(cost="0.1", id=identity, cost_source="late", seen=True))
    caller.run_at(None, "import", str(given_file))
    assert caller("--max-tokens", "50").code == 3


def test_a_call_that_another_program_made_stops_the_enforcer(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call(cost=None, id=GEN, told="2000000"))
    for name, value in tracker.environment({}).items():
        at.monkeypatch.setenv(name, value)
    enforcer = BudgetEnforcer(10, 1, usage_file=tracker.ledger)
    with pytest.raises(UnbelievableBill):
        enforcer.check_budget("openai/gpt-5.2", 10, 10)
    enforcer.ledger.close()
    assert Caps().any is False


# -- dated in the future ---------------------------------------------------------------------------------------------

AHEAD = "2036-11-22T12:00:00Z"


def test_a_call_dated_in_the_future_is_named_and_has_a_way_out(
    caller: Caller, account: Account, tracker: Tracker
) -> None:
    made(account, cost=Decimal("0.0006"), created_at=datetime(2026, 11, 22, 11, tzinfo=UTC))
    tracker.write(call(AHEAD, cost="0.0006", **BILLED))
    tight = {"OPENROUTER_DAILY_LIMIT": "0.0006"}
    refused = caller("--max-tokens", "50", env=tight, now=NOON)
    assert refused.code == 3
    assert "$0.0006 of it stays: 1 call dated in the future by a wrong clock" in refused.err and "settle" in refused.err
    today = caller.run_at(NOON, "stats", "--today", "--json")
    assert today.data["ahead"] == {"calls": 1, "cost_usd": Decimal("0.0006")}
    for words in (("stats", "--today"), ("budget",)):
        assert "1 call dated in the future, up to 2036-11-22" in caller.run_at(NOON, *words, env=tight).out
    assert "1 call dated in the future" in caller.run_at(None, "doctor", "--offline").out
    assert caller.run_at(NOON, "settle").out.endswith("1 call settled, 0 left\n")
    assert only(tracker).ts == datetime(2026, 11, 22, 11, tzinfo=UTC)
    assert caller.run_at(NOON, "stats", "--today", "--json").data["total"]["cost_usd"] == Decimal("0.0006")
    assert "future" not in caller.run_at(NOON, "budget", env=tight).out


def test_what_has_no_id_is_taken_out_with_a_yes_and_kept_beside(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call(AHEAD, cost="0.5"), call(cost="0.25"), call("2026-11-22T23:59:59Z", cost="0.125"))
    assert "1 call dated 2026-11-23 UTC or later ($0.50) would be removed" in at(NOON, "clean", "--ahead").out
    assert at(NOON, "stats", "--json").data["total"]["requests"] == 3
    assert at(NOON, "clean", "--ahead", "--yes").code == 0
    assert at(NOON, "stats", "--json").data["total"]["cost_usd"] == Decimal("0.375")
    assert tracker.ledger.with_name("usage.jsonl.1").exists()


def test_a_hold_of_a_wrong_clock_is_settled_at_its_real_time(account: Account, tracker: Tracker, at: TrackerAt) -> None:
    made(account, created_at=datetime(2026, 11, 22, 11, tzinfo=UTC))
    tracker.write(hold("h", AHEAD, generation=GEN))
    assert "1 call dated in the future" in at(NOON, "budget", env={"OPENROUTER_DAILY_LIMIT": "1"}).out
    at(NOON, "settle")
    assert only(tracker).ts == datetime(2026, 11, 22, 11, tzinfo=UTC)
