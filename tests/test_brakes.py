"""Brakes: too much money within minutes, the same request again and again; and what is remembered of a refusal."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openrouter_usage.budgets import MACHINE, Budget, Burst, Owner
from openrouter_usage.entry import Entry, Hold
from openrouter_usage.errors import Braked, Repeated
from openrouter_usage.figures.limits import LONGEST_CALL, Asked, braked, check_all
from openrouter_usage.figures.repeats import Repeats
from openrouter_usage.ledger.engines import open_ledger
from openrouter_usage.ledger.ledger import Committed
from openrouter_usage.ledger.refused import LARGEST_FILE, refused_beside, remember, remembered
from tests.booking import NOON, Tracker, TrackerAt
from tests.engines import Engine
from tests.gatewaying import HELLO, MODEL, running
from tests.sandbox import Reply, Sandbox, Webhook

CENT = Decimal("0.01")
SHARED = [HealthCheck.function_scoped_fixture]  # each example begins with an empty ledger
MINUTE = timedelta(minutes=1)
STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "hold", "settle", "release", "again", "look"]), st.integers(0, 25), st.booleans()),
    max_size=40,
)


@settings(max_examples=40, deadline=None, suppress_health_check=SHARED)
@given(STEPS)
def test_a_brake_counts_the_calls_of_its_stretch_and_those_that_run(tmp_path_factory, engine, steps) -> None:
    """Whether the lines were read before, are new, are another program's, or complete a call that is known."""
    path = tmp_path_factory.mktemp("books") / "usage.jsonl"
    engine.afresh(path)
    ledger, other = engine.ledger(path), engine.ledger(path)
    budget = Budget(Owner("client", "x"), burst=Burst(Decimal(1), 600))
    now, open_holds = NOON, []
    for number, (step, minutes, is_own) in enumerate(steps):
        now += MINUTE * minutes
        engine.at(now)
        tags = (("client", "x" if is_own else "y"),)
        if step == "append":
            other.append(Entry(now, "m", 1, 1, CENT * (number + 1), f"gen-{number}", tags=tags))
        elif step == "hold":
            hold = Hold(f"h{number}", now, "m", CENT * 7, tags=tags)
            ledger.hold(hold, lambda books: None)
            open_holds.append(hold)
        elif step == "settle" and open_holds:
            ended = open_holds.pop(0)
            ledger.settle(Entry(now, "m", 1, 1, CENT, f"gen-{number}", tags=ended.tags, hold=ended.id))
        elif step == "release" and open_holds:
            other.release(open_holds.pop().id, now)
        elif step == "again":
            ledger.append(Entry(now, "m", 1, 1, CENT * 50, "gen-0", cost_source="late", tags=tags))
        entries = [each for each in other.entries() if budget.owner.made(each.session, each.tags)]
        spent = sum((each.cost or 0 for each in entries if each.ts >= now - timedelta(minutes=10)), Decimal(0))
        running_now = [each for each in open_holds if budget.owner.made("", each.tags) and each.ts >= now - LONGEST_CALL]
        found: list[tuple[Decimal, Decimal]] = []

        def look(books: Committed, at: datetime = now, into: list[tuple[Decimal, Decimal]] = found) -> None:
            into.append(braked(budget, books.of(budget.owner), at))

        ledger.committed(look)
        assert found == [(spent, CENT * 7 * len(running_now))]


def test_a_brake_refuses_beyond_its_amount_and_lets_go_when_its_stretch_is_over(tmp_path: Path, engine: Engine) -> None:
    ledger, budget = engine.ledger(tmp_path / "usage.jsonl"), Budget(MACHINE, burst=Burst(Decimal(1), 600))

    def ask(amount: str, now: datetime) -> None:
        most = Decimal(amount)
        engine.at(now)
        hold = Hold(f"{now}{amount}", now, "m", most)
        ledger.hold(hold, lambda books: check_all([budget], Asked(most, most), books, now), [budget])
        ledger.settle(Entry(now, "m", 1, 1, most, f"gen-{now}", hold=hold.id))

    ask("0.6", NOON)
    with pytest.raises(Braked, match=r"the brake of \$1\.00 in 10 min stops this call: \$0\.60 spent") as stopped:
        ask("0.5", NOON + 9 * MINUTE)
    assert stopped.value.exit_code == 3
    ask("0.4", NOON + 9 * MINUTE)
    ask("0.6", NOON + 10 * MINUTE + timedelta(seconds=1))


def test_a_brake_counts_a_call_for_as_long_as_one_may_run(tmp_path: Path) -> None:
    ledger, budget = open_ledger(tmp_path / "usage.jsonl"), Budget(MACHINE, burst=Burst(Decimal(1), 600))
    ledger.hold(Hold("h", NOON, "m", CENT), lambda books: None)
    found: list[tuple[Decimal, Decimal]] = []
    for age in (LONGEST_CALL, LONGEST_CALL + timedelta(microseconds=1)):
        ledger.committed(lambda books, at=NOON + age: found.append(braked(budget, books, at)))
    assert found == [(0, CENT), (0, 0)]
    ledger.close()


def test_the_same_request_is_let_through_so_often_a_minute_for_each_owner() -> None:
    repeats, now = Repeats(), NOON
    laptop = Budget(Owner("client", "laptop"), repeats=2)
    everyone = Budget(MACHINE, repeats=3)
    for _ in range(2):
        repeats.check([everyone, laptop], b"a", now)
    with pytest.raises(Repeated, match=r"the brake for client laptop stops this call: .* 2 times within a minute"):
        repeats.check([everyone, laptop], b"a", now + timedelta(seconds=59))
    repeats.check([everyone, laptop], b"b", now)
    repeats.check([everyone], b"a", now)  # what was refused was not counted
    with pytest.raises(Repeated):
        repeats.check([everyone], b"a", now)
    repeats.check([everyone, laptop], b"a", now + MINUTE)
    for number in range(20_000):
        repeats.check([everyone], str(number).encode(), now)
    assert len(repeats._seen) == 10_000


def test_the_list_of_refusals_stays_small_and_keeps_the_newest(tmp_path: Path) -> None:
    ledger = tmp_path / "usage.jsonl"
    refused_beside(ledger).write_bytes(b'{"ts":"old"}\n' * (LARGEST_FILE // 13))
    refused_beside(ledger).chmod(0o600)
    assert remember(ledger, {"ts": "new", "asked_usd": CENT})
    assert LARGEST_FILE / 3 < refused_beside(ledger).stat().st_size < LARGEST_FILE * 2 / 3
    assert remembered(ledger)[-1] == {"ts": "new", "asked_usd": CENT} and remembered(ledger)[0] == {"ts": "old"}
    assert not remember(ledger, {"ts": "x" * 20_000})
    refused_beside(ledger).write_bytes(b'{"ts":"torn\n[]\n\xff\n{"ts":"whole"}\n')
    assert remembered(ledger) == [{"ts": "whole"}]


def test_a_gateway_brakes_and_says_later_what_it_refused(home: Path, sandbox: Sandbox) -> None:
    """The refusals are there after it has ended, with whose budget said no, and without a word of the requests."""
    with running(home, sandbox) as gateway:
        gateway.tracker("budget", "set", "--repeats", "2")
        gateway.tracker("budget", "set", "--session", "loop", "--burst", "0.02/10min")
        body = {**HELLO, "messages": [{"role": "user", "content": "sesame opens"}]}
        assert [gateway.post(body=body).status for _ in range(3)] == [200, 200, 402]
        sandbox.account.script(Reply(cost=Decimal("0.019")))
        assert gateway.post("/s/loop/api/v1/chat/completions", {**body, "max_tokens": 90}).status == 200
        gateway.wait_for_entries(3)
        told = gateway.post("/s/loop/api/v1/chat/completions", {**body, "max_tokens": 91}).json["error"]["message"]
        assert "the brake of $0.02 in 10 min for session loop" in told and "`cost_tracker.py budget log`" in told
        gateway.tracker("budget", "set", "--client", "curl", "--daily", "0")
        assert gateway.post(body={**body, "max_tokens": 92}, **{"User-Agent": "curl/8"}).status == 402
        gateway.tracker("budget", "set", "--daily", "9")
        assert gateway.post(body={**body, "plugins": [{"id": "web"}]}).status == 402
    ran = gateway.tracker("budget", "log", "--json")
    rows = ran.data["refusals"]
    assert [(row["code"], row["kind"], row["scope"]) for row in rows] == [
        ("repeated", "machine", "repeats"), ("brake", "session", "brake"), ("over_budget", "client", "daily"), ("unbounded", None, None),
    ]  # fmt: skip
    assert rows[1]["session"] == "loop" and rows[2]["client"] == "curl" and rows[2]["cap_usd"] == 0
    assert all(row["model"] == MODEL for row in rows)
    kept = refused_beside(home / ".openrouter" / "usage.jsonl")
    assert b"sesame" not in kept.read_bytes() and kept.stat().st_mode & 0o777 == 0o600
    text = gateway.tracker("budget", "log", "--client", "curl").out
    assert "(client curl): the daily budget of $0.00 for client curl does not allow this call" in text
    assert gateway.tracker("budget", "log", "--last", "1").out.endswith("... and 3 before them\n")


def test_a_call_of_ones_own_that_was_refused_is_remembered_and_a_loop_in_a_program_is_stopped(
    at: TrackerAt, engine: Engine
) -> None:
    run_at = at
    # The requests of this process are remembered in it, whatever the ledger.
    call = ("call", "--model", "openai/gpt-5-mini", "--prompt", engine.name, "--max-tokens", "5", "--session", "s")
    assert "No refused call is remembered." in run_at(None, "budget", "log").out
    run_at(None, "budget", "set", "--repeats", "1")
    assert [run_at(None, *call).code for _ in range(2)] == [0, 3]
    run_at(None, "budget", "set", "--daily", "0")
    assert run_at(None, *call[:-3], "6", "--session", "t").code == 3
    rows = run_at(None, "budget", "log", "--json").data["refusals"]
    assert [(row["code"], row["session"]) for row in rows] == [("repeated", "s"), ("over_budget", "t")]


def test_what_a_budget_has_used_and_refused_is_delivered_once(tracker: Tracker, sandbox: Sandbox, engine: Engine, at: TrackerAt) -> None:
    """Without asking OpenRouter; again in the next window, and for the next threshold."""
    run_at = at
    run_at(NOON, "budget", "set", "--client", "laptop", "--daily", "1", "--total", "10")
    ledger = engine.ledger(tracker.ledger)

    def spend(cost: str) -> None:
        ledger.append(Entry(NOON, "m", 1, 1, Decimal(cost), f"gen-{cost}", tags=(("client", "laptop"),)))

    spend("0.6")
    path = open_ledger().path  # in the environment of the last run
    for _ in range(2):
        remember(path, {"ts": "2026-11-22T11:00:00Z", "scope": "daily", "kind": "client", "name": "laptop"})
    remember(path, {"ts": "2026-11-22T11:00:00Z", "scope": "brake", "kind": "machine"})
    remember(path, {"ts": "2026-11-21T11:00:00Z", "scope": "weekly", "kind": "machine"})
    with Webhook() as webhook:
        told: list[list[str]] = []
        for step in ("first", "same", "more", "next day"):
            if step == "more":
                spend("0.4")
            moment = NOON + timedelta(days=1) if step == "next day" else NOON
            words = ("--budgets", "--webhook", webhook.slack_url) if step == "first" else ()
            before = len(webhook.messages())
            code = run_at(moment, "alert", *words).code
            told.append([message["text"] for message in webhook.messages()[before:]])
            assert code == (3 if told[-1] else 0)
    books = "this machine's ledger" if engine.name == "file" else f"the shared ledger {ledger.source}"
    assert told == [
        [f"OpenRouter: $0.60 of the daily budget of client laptop, $1.00, is spent (50% reached; {books}, UTC)",
         "OpenRouter: the daily budget of client laptop refused 2 calls today (UTC); `cost_tracker.py budget log` lists them",
         "OpenRouter: a brake refused 1 call today (UTC); `cost_tracker.py budget log` lists them"],
        [],
        [f"OpenRouter: $1.00 of the daily budget of client laptop, $1.00, is spent (100% reached; {books}, UTC)"],
        [],
    ]  # fmt: skip
    assert sandbox.received("GET *") == []
