"""Budgets of a client, a project, an agent and a session: what counts against each, and which one says no."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openrouter_usage.budgets import KINDS, MACHINE, Budget, Burst, Owner, applying, read_burst
from openrouter_usage.entry import Caps, Entry, Hold
from openrouter_usage.errors import BudgetExceeded, InvalidValue, SettingsError
from openrouter_usage.figures.limits import Asked, check_all, standings
from openrouter_usage.home.settings import load_budgets
from openrouter_usage.ledger.ledger import Committed, Ledger
from openrouter_usage.period import FOREVER, Period, month, today, week
from tests.booking import NOON, TrackerAt
from tests.engines import Engine
from tests.sandbox import Sandbox

CENT = Decimal("0.01")
OWNERS = [MACHINE, *(Owner(kind, name) for kind in KINDS[1:] for name in ("a", "b"))]
NAMES = st.sampled_from(["a", "b", "a b", ""])
CALLS = st.lists(
    st.tuples(st.integers(0, 70), st.sampled_from(["", "gen-1", "gen-2"]), NAMES, *[NAMES] * 4, st.booleans()),
    min_size=1,
    max_size=25,
)


def spent(ledger: Ledger, owner: Owner, period: Period) -> Decimal:
    found: list[Decimal] = []

    def look(books: Committed) -> None:
        found.append((books if owner == MACHINE else books.of(owner)).spent(period).cost)  # type: ignore[union-attr]

    ledger.committed(look)
    return found[0]


# Each example begins with an empty ledger.
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CALLS)
def test_the_sum_of_an_owner_is_that_of_its_entries_in_every_window(tmp_path_factory, engine, calls) -> None:
    """Whichever way a line came into the index, and whatever completed it afterwards."""
    path = tmp_path_factory.mktemp("books") / "usage.jsonl"
    engine.afresh(path)
    ledger = engine.ledger(path)
    for number, (days, identity, session, client, project, agent, member, is_plain) in enumerate(calls):
        tags = {"client": client, "project": project, "agent": agent, "member": member, "app": "x client=b"}
        tags = {name: value for name, value in tags.items() if value}
        cost = CENT * (number + 1)
        ts = NOON - timedelta(days=days)
        if is_plain and engine.name == "file":  # written by another program
            line = {"ts": ts.isoformat(), "model": "m/x", "prompt_tokens": 1, "completion_tokens": 1, "cost": float(cost)}
            line |= {"id": identity or f"gen-o{number}", "session": session, "tags": tags}
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        else:
            ledger.append(Entry(ts, "m/x", 1, 1, cost, identity, session=session, tags=tuple(sorted(tags.items()))))
    entries = list(ledger.entries())
    windows = (today(NOON), week(NOON), month(NOON), Period(datetime(2000, 1, 1, tzinfo=timezone.utc), FOREVER, "ever"))
    # Which member a call is of says the server, not the call.
    owners = [owner for owner in OWNERS if engine.name == "file" or owner.kind != "member"]
    for books in (ledger, engine.ledger(path)):
        for owner in owners:
            for period in windows:
                own = [each for each in entries if owner.made(each.session, each.tags)]
                wanted = sum((e.usage.cost for e in own if period.start <= e.ts < period.end), Decimal(0))
                assert spent(books, owner, period) == wanted, (owner, period)
        books.close()
        path.with_name("usage.jsonl.index").unlink(missing_ok=True)


def test_a_hold_counts_for_each_of_its_owners_and_the_first_that_is_full_says_no(tmp_path: Path, engine: Engine) -> None:
    """All or nothing: what one budget refuses is held in none."""
    budgets = [
        Budget(Owner("client", "laptop"), Caps(daily=Decimal(5))),
        Budget(Owner("project", "site"), Caps(weekly=Decimal(3))),
        Budget(Owner("session", "*"), Caps(total=Decimal(1))),
        Budget(Owner("session", "long"), Caps(total=Decimal(4), per_request=Decimal(2))),
        Budget(MACHINE, Caps(monthly=Decimal(6))),
    ]
    ledger = engine.ledger(tmp_path / "usage.jsonl")
    engine.at(NOON)

    def ask(amount: str, session: str, **tags: str) -> str:
        pairs = tuple(sorted(tags.items()))
        under = list(applying(budgets, session, pairs))
        hold = Hold(f"h{amount}{session}{tags}", NOON, "m", Decimal(amount), session=session, tags=pairs)
        try:
            most = Decimal(amount)
            ledger.hold(hold, lambda books: check_all(under, Asked(most, most), books, NOON), under)
        except BudgetExceeded as error:
            return f"{error.scope} {Owner(error.kind, error.name)}".strip()
        return ""

    assert ask("0.9", "short", client="laptop") == ""
    assert ask("0.2", "short", client="laptop") == "total session short"
    assert ask("2.1", "long", client="laptop") == "per-request session long"
    assert ask("2", "long", client="laptop", project="site") == ""
    assert ask("1.5", "long", client="laptop", project="site") == "weekly project site"
    assert ask("1.5", "", client="laptop") == ""
    assert ask("0.7", "", client="laptop") == "daily client laptop"
    assert ask("1.7", "") == "monthly"
    held: dict[str, Decimal] = {}
    ledger.committed(lambda books: held.update({str(s.owner): s.held for s in standings(budgets, books, NOON)}))
    assert held == {
        "client laptop": Decimal("4.4"), "project site": 2, "session *": 0, "session long": 2, "": Decimal("4.4"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("2.00/10min", Burst(Decimal(2), 600)), ("1/90s", Burst(Decimal(1), 90)), (" .5/1h ", Burst(Decimal(".5"), 3600)),
     *((odd, None) for odd in ("", "2", "2/", "/10min", "-1/1min", "2/0s", "2/25h", "2/1.5h", "2/10", "x/1h", "2/10days"))],
)  # fmt: skip
def test_a_brake_is_read_as_it_is_written(text: str, wanted: Burst | None) -> None:
    if wanted is None:
        with pytest.raises(InvalidValue):
            read_burst(text)
    else:
        assert read_burst(text) == wanted == read_burst(str(wanted))


@pytest.fixture
def run_at(tracker, monkeypatch, capsys) -> TrackerAt:
    return TrackerAt(tracker, monkeypatch, capsys)


def test_a_budget_of_an_owner_is_set_shown_as_a_bar_and_taken_away(run_at, tracker, engine) -> None:
    run_at(NOON, "budget", "set", "--daily", "10", "--burst", "2/10min", "--repeats", "5")
    run_at(NOON, "budget", "set", "--client", "laptop", "--weekly", "4", "--policy", "measured")
    run_at(NOON, "budget", "set", "--session", "*", "--total", "1")
    tags = (("client", "laptop"),)
    ledger = engine.ledger(tracker.ledger)
    ledger.append(Entry(NOON - timedelta(days=6), "m/x", 1, 1, Decimal("0.5"), tags=tags))
    ledger.append(Entry(NOON, "m/x", 1, 1, Decimal("1"), tags=tags))
    ledger.hold(Hold("h", NOON, "m/x", Decimal("4"), tags=tags, measured=Decimal("0.5")), lambda books: None)
    ledger.close()
    assert run_at(NOON, "budget").out.splitlines()[1:] == [
        "daily: $1.00 spent + $4.00 held of $10.00 (50%), $5.00 left, resets 2026-11-23 UTC",
        "  at $0.083333 a day it lasts past its reset, 2026-11-23 UTC",
        "  ██▒▒▒▒▒▒▒▒░░░░░░░░░░ strict",
        "brake: $1.00 spent + $4.00 held of $2.00 in 10 min",
        "brake: the same request at most 5 times a minute",
        "client laptop, weekly: $1.50 spent + $0.50 held of $4.00 (50%), $2.00 left, resets 2026-11-23 UTC",
        "  at $0.083333 a day it lasts past its reset, 2026-11-23 UTC",
        "  ███████▒▒░░░░░░░░░░░ measured: the calls that run now can pass it by at most $1.50",
        "each other session, total: at most $1.00 (strict)",
        "Pace: tracked calls of the 6 completed UTC days since the first call, 2026-11-16 to 2026-11-21",
        "1 call running or unsettled; `cost_tracker.py settle` looks up what they cost",
    ]
    coloured = run_at(NOON, "budget", "--color", "always").out
    assert "\x1b" not in coloured  # nothing is near its cap, or unknown
    run_at(NOON, "budget", "set", "--daily", "6")
    coloured = run_at(NOON, "budget", env={"FORCE_COLOR": "1"}).out
    assert "\x1b[33mdaily: $1.00 spent + $4.00 held of $6.00 (83%), $1.00 left, resets 2026-11-23 UTC\x1b[0m\n" in coloured
    run_at(NOON, "budget", "set", "--daily", "5")
    assert "\x1b[31mdaily: " in run_at(NOON, "budget", "--color", "always").out
    data = run_at(NOON, "budget", "--client", "laptop", "--json").data
    (row,), (rule,) = data["scopes"], data["budgets"]
    assert (row["kind"], row["name"], row["scope"], row["policy"]) == ("client", "laptop", "weekly", "measured")
    assert (row["spent_usd"], row["held_usd"], row["largest_overshoot_usd"]) == (Decimal("1.5"), Decimal("0.5"), Decimal("1.5"))
    assert (rule["weekly_usd"], rule["daily_usd"], rule["repeats_a_minute"]) == (4, None, None)
    for words in (["clear", "--client", "nobody"], ["--client", "nobody"]):
        ran = run_at(NOON, "budget", *words)
        assert (ran.code, ran.out) == (2, "")
        assert "no budget is set for client nobody" in ran.err
    for name in ("", "a b", "a\nb", "\x1b[31mred", "a" * 3000):
        ran = run_at(NOON, "budget", "set", "--client", name, "--daily", "1")
        assert ran.code == 2
        assert "characters that can be shown, and no blanks" in ran.err
    assert "laptop" not in run_at(NOON, "budget", "clear", "--client", "laptop").out
    assert "each other session" in run_at(NOON, "budget", "clear").out


@pytest.mark.parametrize(
    "kept",
    [{"budgets": 5}, {"budgets": {"clients": {}}}, {"budgets": {"machine": {"x": {}}}}, {"budgets": {"client": {"x": {"dayly": 1}}}},
     {"budgets": {"client": {"x": {"daily": "ten"}}}}, {"budgets": {"client": []}}, {"budgets": {"client": {"x": {"policy": "lax"}}}},
     {"budget": {"burst": "2/10"}}, {"budget": {"repeats": 0}}, {"budget": {"repeats": True}}],
    ids=json.dumps,
)  # fmt: skip
def test_a_malformed_budget_of_an_owner_is_an_error_and_not_no_limit(kept: dict[str, Any], home: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    (home / ".openrouter").mkdir(exist_ok=True)
    (home / ".openrouter" / "settings.json").write_text(json.dumps(kept))
    with pytest.raises(SettingsError, match="budget"):
        load_budgets({})


def test_a_call_beyond_its_sessions_budget_is_refused_by_name_and_another_is_not(run_at, sandbox: Sandbox) -> None:
    run_at(None, "budget", "set", "--session", "big job", "--daily", "0")
    ran = run_at(None, "call", "--model", "openai/gpt-5-mini", "--prompt", "hi", "--session", "big job", "--max-tokens", "5")
    assert ran.code == 3 and "the daily budget of $0.00 for session big job does not allow this call" in ran.err
    assert sandbox.received("POST *") == []
    assert run_at(None, "call", "--model", "openai/gpt-5-mini", "--prompt", "hi", "--session", "other", "--max-tokens", "5").code == 0
