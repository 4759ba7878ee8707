"""A budget says no exactly when it has to, counts what it has to, and is never lost by a slip of the pen."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_usage.entry import NOTHING, Caps, Entry, Hold, Usage
from openrouter_usage.errors import BudgetExceeded, SettingsError, UnbelievableBill
from openrouter_usage.figures.limits import LONGEST_CALL, Scope, check, counted_at, dated_ahead_from, scopes
from openrouter_usage.home.settings import VARIABLES, load_budgets
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.period import Period, month, today
from tests.booking import NOON, TrackerAt, call, hold
from tests.running import ROOT

ZERO = Decimal(0)
CENT = Decimal("0.01")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DAYS_OF_PACE = "the last 7 completed UTC days, 2026-11-15 to 2026-11-21"
CAPS = {"daily": Caps(daily=Decimal(1)), "monthly": Caps(monthly=Decimal(1))}


class Books:
    """Settled calls and open holds, as given."""

    def __init__(
        self,
        spent: list[tuple[datetime, Decimal | None]] | None = None,
        held: list[Hold] | None = None,
        doubtful: list[Entry] | None = None,
    ):
        self._spent, self._held, self._doubtful = spent or [], held or [], doubtful or []

    def spent(self, period: Period) -> Usage:
        entries = [Entry(ts, "a/model", cost=cost) for ts, cost in self._spent if period.start <= ts < period.end]
        return sum((entry.usage for entry in entries), NOTHING)

    def holds(self) -> list[Hold]:
        return self._held

    def doubtful(self) -> list[Entry]:
        return self._doubtful


def held(amount: str | None, ts: datetime = NOON) -> Hold:
    return Hold(f"{ts}{amount}", ts, "a/model", None if amount is None else Decimal(amount))


def allows(caps: Caps, asked: Decimal, books: Books, now: datetime = NOON) -> str:
    """The scope that refuses, "" when none does."""
    try:
        check(caps, asked, books, now)
    except BudgetExceeded as refused:
        return refused.scope
    return ""


# -- the verdict -----------------------------------------------------------------------------------------------------

AMOUNTS = [Decimal(text) for text in ("0", "0.01", "0.5", "1", "1.01")]


@pytest.mark.parametrize("scope", CAPS)
@pytest.mark.parametrize(("spent", "open_", "asked"), list(product(AMOUNTS, repeat=3)))
def test_a_call_fits_when_spent_and_held_and_asked_are_not_above_the_cap(scope, spent, open_, asked):
    books = Books([(NOON, spent)], [held(str(open_))])
    fits = spent + open_ + asked <= 1 or asked == 0  # what is free is always within a budget
    assert allows(CAPS[scope], asked, books) == ("" if fits else scope)


@given(*[st.decimals(0, 3, places=3)] * 6)
def test_all_caps_hold_at_once_and_the_narrowest_one_is_named(each, daily, monthly, spent, earlier, asked):
    books = Books([(NOON, spent), (NOON - 3 * DAY, earlier)])
    scope = allows(Caps(each, daily, monthly), asked, books)
    over = {"per-request": asked > each, "daily": spent + asked > daily, "monthly": spent + earlier + asked > monthly}
    assert scope == (next((name for name, is_over in over.items() if is_over), "") if asked else "")


@pytest.mark.parametrize("scope", ["per_request", "daily", "monthly"])
def test_a_cap_of_zero_lets_nothing_through_but_what_is_free(scope):
    caps = Caps(**{scope: ZERO})
    assert allows(caps, Decimal("1e-12"), Books()) == scope.replace("_", "-")
    assert allows(caps, ZERO, Books([(NOON, Decimal(5))])) == ""


def test_without_a_cap_everything_fits():
    assert not Caps().any
    assert allows(Caps(), Decimal(10**6), Books([(NOON, Decimal(10**6))])) == ""


def test_a_refusal_says_all_that_is_behind_it():
    books = Books([(NOON, Decimal("0.7"))], [held("0.25")])
    with pytest.raises(BudgetExceeded) as refused:
        check(CAPS["daily"], Decimal("0.0625"), books, NOON)
    error = refused.value
    figures = (error.scope, error.spent, error.held, error.asked, error.cap)
    assert figures == ("daily", Decimal("0.7"), Decimal("0.25"), Decimal("0.0625"), 1)
    assert error.resets_at == datetime(2026, 11, 23, tzinfo=timezone.utc)
    assert error.message == (
        "the daily budget of $1.00 does not allow this call: $0.70 spent + $0.25 held + $0.0625 asked; "
        "it resets on 2026-11-23 at midnight UTC"
    )
    assert error.exit_code == 3 and "nothing was sent" in error.hint


def test_a_refusal_for_the_size_of_one_call_names_no_window():
    with pytest.raises(BudgetExceeded) as refused:
        check(Caps(per_request=CENT), Decimal("0.02"), Books([(NOON, Decimal(9))]), NOON)
    assert refused.value.resets_at is None
    assert refused.value.message == "the per-request budget of $0.01 does not allow this call: $0.02 asked"


@pytest.mark.parametrize("scope", ["per_request", "daily", "monthly"])
@pytest.mark.parametrize("asked", [ZERO, CENT])
def test_under_any_cap_an_unbelievable_bill_refuses_every_call(scope, asked):
    """What is spent is not known then, not even for a call that is free."""
    books = Books(doubtful=[Entry(NOON, "a/model", id=f"gen-{number}", told="-1") for number in (1, 2)])
    with pytest.raises(UnbelievableBill, match="gen-1") as refused:
        check(Caps(**{scope: Decimal(10)}), asked, books, NOON)
    assert "settle --id gen-1" in f"{refused.value.message} {refused.value.hint}"
    assert refused.value.args == UnbelievableBill("gen-1", "-1", 2).args
    check(Caps(), asked, books, NOON)


def test_each_cap_is_told_with_what_counts_against_it():
    books = Books([(NOON, Decimal(2)), (NOON - 3 * DAY, CENT)], [held("0.5"), held(None)])
    caps = Caps(Decimal("0.25"), Decimal(5), Decimal(9))
    each, daily, monthly = scopes(caps, books, NOON)
    assert each == Scope("per-request", Decimal("0.25"), None, ZERO, ZERO, 0, 0, 0, ZERO)
    assert daily == Scope("daily", Decimal(5), today(NOON), Decimal(2), Decimal("0.5"), 2, 0, 0, ZERO)
    assert monthly == Scope("monthly", Decimal(9), month(NOON), Decimal("2.01"), Decimal("0.5"), 2, 0, 0, ZERO)
    assert (each.left, daily.left, monthly.left) == (Decimal("0.25"), Decimal("2.5"), Decimal("6.49"))
    assert [scope.name for scope in scopes(Caps(monthly=CENT), books, NOON)] == ["monthly"]
    assert [scope.name for scope in scopes(Caps(daily=CENT), books, NOON)] == ["daily"]
    assert list(scopes(Caps(), books, NOON)) == []
    assert Scope("daily", CENT, None, ZERO, ZERO, 0, 0).ahead_calls == 0


MIDNIGHT = datetime(2026, 11, 23, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("now", "midnight"),
    [(NOON, MIDNIGHT), (MIDNIGHT - HOUR - timedelta(microseconds=1), MIDNIGHT), (MIDNIGHT - HOUR, MIDNIGHT + DAY)],
)
def test_a_call_is_dated_ahead_from_the_next_midnight_on(now, midnight):
    """Two clocks may differ by an hour."""
    assert dated_ahead_from(now) == midnight
    second = timedelta(seconds=1)
    books = Books(
        [(midnight, CENT), (midnight - second, Decimal(1)), (midnight + 40 * DAY, None)],
        [held("0.5", midnight), held("0.25", midnight - second), held(None, midnight + DAY)],
    )
    for scope in scopes(Caps(daily=Decimal(9), monthly=Decimal(9)), books, now):
        assert (scope.ahead_calls, scope.ahead) == (4, Decimal("0.51"))


# -- what counts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "now", "ts", "counts"),
    [
        ("daily", NOON, NOON.replace(hour=0), True),
        ("daily", NOON, NOON - DAY, False),
        ("monthly", NOON, NOON - DAY, True),
        ("monthly", NOON, NOON.replace(day=1, hour=0), True),
        ("monthly", NOON, NOON.replace(month=10), False),
        ("monthly", NOON.replace(day=28, month=2, year=2027), NOON.replace(day=28, month=2, year=2027), True),
        ("monthly", NOON.replace(day=1, month=3, year=2028), NOON.replace(day=29, month=2, year=2028), False),
        # booked before the clock was set back
        ("daily", NOON, NOON + DAY, True),
        ("monthly", NOON, NOON.replace(month=12), True),
    ],
)
def test_a_window_counts_the_calls_that_are_booked_in_it(scope, now, ts, counts):
    assert allows(CAPS[scope], CENT, Books([(ts, Decimal(1))]), now) == (scope if counts else "")


@pytest.mark.parametrize(
    ("now", "ts", "counts"),
    [
        (NOON, NOON, True),
        (NOON, NOON.replace(hour=0), True),
        (NOON, NOON + DAY, True),
        (NOON.replace(hour=0), NOON.replace(hour=0) - HOUR, True),  # it may be charged after midnight
        (NOON.replace(hour=0), NOON.replace(hour=0) - HOUR - timedelta(seconds=1), False),
        (NOON, NOON - 2 * DAY, False),  # a lost call blocks its own day, not every later one
    ],
)
def test_an_open_hold_counts_in_its_day_and_shortly_after_it(now, ts, counts):
    assert allows(CAPS["daily"], CENT, Books(held=[held("1", ts)]), now) == ("daily" if counts else "")


def test_calls_of_unknown_cost_are_told_beside_what_is_spent():
    books = Books([(NOON, None), (NOON, CENT)], [held(None), held("0.02")])
    (scope,) = scopes(CAPS["daily"], books, NOON)
    assert (scope.spent, scope.held, scope.unknown_calls, scope.open_calls) == (CENT, Decimal("0.02"), 1, 2)


MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(timezone.utc))


@given(MOMENTS, MOMENTS)
def test_a_call_is_booked_in_a_day_in_which_its_hold_has_counted(began, moment):
    reserved = held("1", began)
    booked = counted_at(reserved, moment)
    assert began <= booked <= began + LONGEST_CALL
    for window, caps in ((today, CAPS["daily"]), (month, CAPS["monthly"])):
        assert allows(caps, CENT, Books(held=[reserved]), window(booked).start)
    assert booked == moment or not began <= moment <= began + LONGEST_CALL


# -- where the caps come from ----------------------------------------------------------------------------------------


def keep(home: Path, budget: Any) -> None:
    """What somebody has written into the settings by hand."""
    folder = home / ".openrouter"
    folder.mkdir(exist_ok=True, parents=True)
    text = budget if isinstance(budget, str) else json.dumps({"budget": budget})
    (folder / "settings.json").write_text(text)


@pytest.fixture
def here(monkeypatch, tmp_path) -> Path:
    home = tmp_path / "nobody"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.mark.parametrize(
    ("environ", "kept", "wanted"),
    [
        ({}, None, (None, None, None)),
        ({}, {"daily": "10", "monthly": 200, "per_request": 0.5}, ("0.5", "10", "200")),
        ({"OPENROUTER_DAILY_LIMIT": "1"}, {"daily": "10", "monthly": "200"}, (None, "1", "200")),
        ({"OPENROUTER_DAILY_LIMIT": " 0 "}, {"daily": "10"}, (None, "0", None)),
        ({"OPENROUTER_DAILY_LIMIT": ""}, {"daily": "10"}, (None, "10", None)),
        ({"OPENROUTER_REQUEST_LIMIT": "1e-3", "OPENROUTER_MONTHLY_LIMIT": ".5"}, {}, ("0.001", None, "0.5")),
        ({}, {"daily": None}, (None, None, None)),
    ],
)
def test_the_environment_is_stronger_than_the_settings_cap_by_cap(environ, kept, wanted, here):
    keep(here, kept)
    assert load_budgets(environ)[0].caps == Caps(*(None if amount is None else Decimal(amount) for amount in wanted))


ODD_AMOUNTS = ["ten", "$10", "10,50", "-1", "NaN", "inf", "1e400", "٣", "0x10", "1_000", "1 0", "--", "true", "1e10"]
ODD_BUDGETS = [
    {"daily": "ten"}, {"daily": True}, {"daily": -1}, {"daily": []}, {"daily": {}}, {"daily": ""}, {"daily_limit": 5}, {"Daily": 5},
    {"dayly": None}, [], 5, False,
]  # fmt: skip
ODD_FILES = ["", "{", "[]", "null", '{"budget": {"daily": NaN}}', '{"budget": {"daily": 1}} x', "\x00", "x" * 2_000_000]


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("amount", ODD_AMOUNTS)
def test_a_malformed_limit_in_the_environment_is_an_error_and_not_no_limit(name, amount, here):
    with pytest.raises(SettingsError, match=VARIABLES[name]) as wrong:
        load_budgets({VARIABLES[name]: amount})
    assert wrong.value.exit_code == 2


@pytest.mark.parametrize("kept", ODD_BUDGETS, ids=json.dumps)
def test_a_malformed_limit_in_the_settings_is_an_error_and_not_no_limit(kept, here):
    keep(here, kept)
    with pytest.raises(SettingsError, match="budget"):
        load_budgets({})


@pytest.mark.parametrize("text", ODD_FILES, ids=lambda text: text[:12])
def test_settings_that_cannot_be_read_are_an_error_for_a_budget_may_be_in_them(text, here):
    keep(here, text)
    with pytest.raises(SettingsError, match=r"settings\.json"):
        load_budgets({})


@pytest.mark.parametrize("kind", ["folder", "link to nothing"])
def test_settings_that_are_no_file_are_an_error_or_absent(kind, here):
    path = here / ".openrouter" / "settings.json"
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
        with pytest.raises(SettingsError, match=r"settings\.json"):
            load_budgets({})
    else:
        path.symlink_to(here / "nowhere")
        assert load_budgets({})[0].caps == Caps()


# -- the verb --------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_at(tracker, monkeypatch, capsys) -> TrackerAt:
    return TrackerAt(tracker, monkeypatch, capsys)


def scopes_of(ran: Any) -> dict[str, Any]:
    assert ran.code == 0
    return {scope["scope"]: scope for scope in ran.data["scopes"]}


def test_a_budget_is_set_shown_and_cleared(tracker, run_at):
    assert tracker("budget", "set", "--daily", "10", "--per-request", "0.50").code == 0
    assert tracker("budget", "set", "--monthly", "200", "--daily", "7.5").code == 0
    path = tracker.folder / "settings.json"
    assert json.loads(path.read_text()) == {"budget": {"per_request": "0.5", "daily": "7.5", "monthly": "200"}}
    assert path.stat().st_mode & 0o777 == 0o600
    caps = {name: scope["cap_usd"] for name, scope in scopes_of(run_at(None, "budget", "show", "--json")).items()}
    assert caps == {"per-request": Decimal("0.5"), "daily": Decimal("7.5"), "monthly": 200}
    assert "No budget is set" in run_at(None, "budget", "clear").out
    assert json.loads(path.read_text()) == {}
    nothing = run_at(None, "budget", "--json").data
    assert nothing.pop("ledger")["name"]
    assert nothing == {"is_set": False, "scopes": [], "budgets": [], "open_holds": 0}


def test_a_budget_says_how_each_window_stands(tracker, run_at):
    tracker.write(call("2026-11-22T09:00:00Z", cost="0.7", id="gen-1"), call("2026-11-15T00:00:00Z", cost="1.25"), call("2026-11-21T23:59:59Z", cost="0.15"),
                  call("2026-11-22T09:00:00Z", cost=None), hold("h1", "2026-11-22T11:00:00Z", "0.2"))  # fmt: skip
    run_at(NOON, "budget", "set", "--daily", "1", "--monthly", "2", "--per-request", "0.5")
    first, *rest = run_at(NOON, "budget").out.splitlines()
    assert first.startswith("💵 Budget (tracked calls of ")
    assert rest == [
        "per-request: at most $0.50 a call (strict)",
        "daily: $0.70 spent + $0.20 held of $1.00 (90%), $0.10 left, resets 2026-11-23 UTC",
        "  at $0.20 a day it lasts past its reset, 2026-11-23 UTC",
        "  ██████████████▒▒▒▒░░ strict",
        "  not counted: 1 call of unknown cost",
        "monthly: $2.10 spent + $0.20 held of $2.00 (115%), overrun by $0.30, resets 2026-12-01 UTC",
        "  it is used up until it resets, 2026-12-01 UTC",
        "  ████████████████████ strict",
        "  not counted: 1 call of unknown cost",
        "Pace: tracked calls of the last 7 completed UTC days, 2026-11-15 to 2026-11-21",
        "1 call running or unsettled; `cost_tracker.py settle` looks up what they cost",
    ]
    shown = scopes_of(run_at(NOON, "budget", "--json"))["monthly"]
    assert shown == {
        "scope": "monthly", "kind": "machine", "name": None, "policy": "strict", "set_in": "settings",
        "largest_overshoot_usd": Decimal("0.3"), "cap_usd": 2, "spent_usd": Decimal("2.1"), "held_usd": Decimal("0.2"),
        "left_usd": Decimal("-0.3"), "used_percent": 115, "unknown_cost_calls": 1,
        "ahead_calls": 0, "ahead_usd": 0,
        "start": "2026-11-01T00:00:00Z", "resets_at": "2026-12-01T00:00:00Z", "outlook": "used_up", "ends_at": None, "usd_per_day": Decimal("0.2"),
        "pace": "tracked calls of the last 7 completed UTC days, 2026-11-15 to 2026-11-21",
    }  # fmt: skip


WEEK_SPENT = tuple(call(f"2026-11-{day}T08:00:00Z", cost="1") for day in range(15, 22))
LONG_BEFORE = call("2026-01-01T08:00:00Z", cost="0")


@pytest.mark.parametrize(
    ("lines", "caps", "outlook", "ends_at", "said"),
    [
        # $7 of this week is settled at noon of the 22nd; what is left of the month is spent at $1 a day.
        (WEEK_SPENT, ("--monthly", "9.5"), "ends", "2026-11-25T00:00:00Z", "at $1.00 a day it ends on 2026-11-25, about 00:00 UTC"),
        (WEEK_SPENT, ("--monthly", "7.02"), "ends", "2026-11-22T12:28:48Z", "at $1.00 a day it ends within the hour"),
        (WEEK_SPENT, ("--monthly", "15.49"), "ends", "2026-11-30T23:45:36Z", "at $1.00 a day it ends on 2026-11-30, about 23:00 UTC"),
        (WEEK_SPENT, ("--monthly", "15.5"), "lasts", None, "at $1.00 a day it lasts past its reset, 2026-12-01 UTC"),
        (WEEK_SPENT, ("--monthly", "7"), "used_up", None, "it is used up until it resets, 2026-12-01 UTC"),
        (WEEK_SPENT, ("--total", "7"), "used_up", None, "it is used up for good: a total never resets"),
        (WEEK_SPENT, ("--total", "9999999"), "lasts", None, "at $1.00 a day it lasts for more than ten years"),
        ((), ("--monthly", "7"), "unknown", None, "when it ends is unknown: no tracked call in the last 7 completed UTC days"),
        # The running day and the eighth day back are not in the pace.
        ((call("2026-11-22T08:00:00Z", cost="1"), call("2026-11-14T23:59:59Z", cost="1")), ("--monthly", "7"), "unknown", None,
         "when it ends is unknown: no tracked call in the last 7 completed UTC days"),
        ((*WEEK_SPENT, call("2026-11-20T08:00:00Z", cost=None)), ("--monthly", "9"), "unknown", None,
         "when it ends is unknown: 1 call of unknown cost in the last 7 completed UTC days"),
        ((LONG_BEFORE, call("2026-11-20T08:00:00Z", cost="0")), ("--monthly", "9"), "lasts", None,
         "at $0.00 a day it lasts past its reset, 2026-12-01 UTC"),
    ],
)  # fmt: skip
def test_a_budget_says_when_it_ends_at_the_pace_of_its_calls(lines, caps, outlook, ends_at, said, tracker, run_at):
    tracker.write(*lines)
    text = run_at(NOON, "budget", "set", *caps).out.splitlines()
    assert text[2] == f"  {said}"
    row = next(iter(scopes_of(run_at(NOON, "budget", "--json")).values()))
    assert (row["outlook"], row["ends_at"]) == (outlook, ends_at)
    has_pace = outlook != "unknown"
    assert (row["pace"] == f"tracked calls of {DAYS_OF_PACE}") == has_pace == (f"Pace: tracked calls of {DAYS_OF_PACE}" in text)


def test_the_pace_of_a_young_ledger_is_that_of_the_days_it_has(tracker, run_at):
    tracker.write(*(call(f"2026-11-{day}T20:00:00Z", cost="1") for day in (20, 20, 21)))
    text = run_at(NOON, "budget", "set", "--monthly", "6").out.splitlines()
    assert text[2] == "  at $1.50 a day it ends on 2026-11-24, about 12:00 UTC"
    assert "Pace: tracked calls of the 2 completed UTC days since the first call, 2026-11-20 to 2026-11-21" in text


def test_calls_that_run_are_told_without_a_budget_too(tracker, run_at):
    tracker.write(hold("h1", most=None), hold("h2"))
    assert "2 calls running or unsettled, 1 of them without a limit" in run_at(NOON, "budget").out


def test_a_limit_of_the_environment_is_said_to_be_in_force(tracker, run_at):
    ran = run_at(NOON, "budget", "set", "--daily", "5", env={"OPENROUTER_DAILY_LIMIT": "1"})
    assert "of $1.00" in ran.out
    assert "OPENROUTER_DAILY_LIMIT in the environment overrides what is set here" in ran.out


@pytest.mark.parametrize(
    "argv",
    [["set"], ["set", "--daily", "ten"], ["set", "--daily", "-1"], ["show", "--daily", "1"], ["clear", "--daily", "1"],
     ["--monthly", "1"], ["forget"], ["set", "--daily", "$5"]],
    ids=" ".join,
)  # fmt: skip
def test_a_budget_that_is_none_changes_nothing(argv, tracker, run_at):
    run_at(None, "budget", "set", "--daily", "3")
    before = (tracker.folder / "settings.json").read_bytes()
    assert run_at(None, "budget", *argv).code == 2
    assert (tracker.folder / "settings.json").read_bytes() == before


def test_a_malformed_budget_can_be_cleared_and_is_not_written_over(tracker, run_at, home):
    keep(home, {"daily": "ten", "monthly": "5"})
    assert run_at(None, "budget", "set", "--monthly", "7").code == 2
    assert run_at(None, "budget").code == 2
    assert "No budget is set" in run_at(None, "budget", "clear").out


def test_other_settings_survive_a_budget(tracker, run_at, home):
    keep(home, '{"alerts": {"daily_limit": "5"}, "of tomorrow": [1.50]}')
    run_at(None, "budget", "set", "--daily", "3")
    run_at(None, "budget", "clear")
    assert json.loads((tracker.folder / "settings.json").read_text()) == {
        "alerts": {"daily_limit": "5"}, "of tomorrow": [1.5],
    }  # fmt: skip


def test_caps_that_are_set_at_the_same_time_are_all_kept(home, tracker):
    program = (
        "import sys; sys.path.insert(0, 'scripts')\n"
        "from openrouter_usage.home.settings import save_budget, save_preference\n"
        "sys.stdin.readline()\n"
        "for turn in range(40): save_budget(None, {sys.argv[1]: str(turn)}); save_preference(sys.argv[1], {'turn': turn})"
    )
    names = list(VARIABLES)
    options: dict[str, Any] = {"cwd": ROOT, "env": tracker.environment({}), "stdin": subprocess.PIPE}
    setters = [subprocess.Popen([sys.executable, "-c", program, name], **options) for name in names]
    for setter in setters:
        setter.stdin.write(b"go\n")
        setter.stdin.close()
    assert [setter.wait() for setter in setters] == [0] * len(names)
    kept = json.loads((home / ".openrouter" / "settings.json").read_text())
    assert kept == {"budget": dict.fromkeys(names, "39"), **{name: {"turn": 39} for name in names}}


# -- the lock --------------------------------------------------------------------------------------------------------


def test_a_ledger_that_is_locked_for_good_refuses_a_hold_and_names_who_holds_it(tmp_path):
    ledger, other = Ledger(tmp_path / "usage.jsonl", lock_timeout_s=0.2), Ledger(tmp_path / "usage.jsonl")
    other.append(Entry(NOON, "a/model", id="gen-1"))

    def refuse(books: object) -> None:
        with pytest.raises(Exception, match="locked"):
            ledger.hold(held("0.1"), lambda books: None)
        raise BudgetExceeded(scope="daily", spent=ZERO, held=ZERO, asked=ZERO, cap=ZERO, resets_at=None)

    with pytest.raises(BudgetExceeded):
        other.hold(held("0.2"), refuse)
    assert ledger.health().holds == other.health().holds == ()
    ledger.close()
    other.close()
