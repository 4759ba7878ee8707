"""An allowance: counted before it is spent, spent to the last digit without the server, and given back once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.budgets import MACHINE, Budget, Owner
from openrouter_usage.entry import Caps, Entry, Hold
from openrouter_usage.errors import BudgetExceeded, LedgerError, Refused, SettingsError
from openrouter_usage.jobs.team import release_allowance, return_allowance, take_allowance
from openrouter_usage.ledger.team import TeamLedger
from openrouter_usage.ledger.team_allowance import ASKED, AllowanceLedger, load, save, state_file
from openrouter_usage.ledger.team_schema import VERSION
from openrouter_usage.ledger.team_server import initialise
from openrouter_usage.period import Period
from tests.booking import NOON, Tracker, TrackerAt
from tests.calling import HELLO
from tests.sandbox import Reply, Sandbox
from tests.team import Team, TeamTracker

UTC = timezone.utc
HALF, CENT = Decimal("0.5"), Decimal("0.01")


def no_check(books: object) -> None:
    """No budget of the machine's own."""


def take(ledger: TeamLedger, amount: Decimal = HALF, now: datetime = NOON, hours: int = 24, **tags: str) -> AllowanceLedger:
    """Take an allowance, and return the ledger that it is spent from."""
    return AllowanceLedger(take_allowance(ledger, amount, hours=hours, tags=tags, now=now), ledger, clock=lambda: now)


def spend(books: AllowanceLedger, cost: str, number: int, ts: datetime = NOON, **tags: str) -> None:
    """Hold and settle one call."""
    pairs = tuple(tags.items())
    books.hold(Hold(f"h{number}", ts, "a/model", Decimal(cost), tags=pairs), no_check)
    books.settle(Entry(ts, "a/model", 1, 1, Decimal(cost), f"gen-{number}", hold=f"h{number}", tags=pairs))


def held_and_spent(team: Team) -> tuple[Decimal, Decimal]:
    """What the server holds and what it knows to be spent."""
    ((held, spent),) = team.sql("SELECT coalesce(sum(held), 0), coalesce(sum(cost), 0) FROM rollup WHERE facet = ''")
    return held, spent  # type: ignore[return-value]


@contextmanager
def away(team: Team) -> Iterator[None]:
    """Let the server be one that alice cannot use."""
    team.server.run("ALTER ROLE alice NOLOGIN")
    try:
        yield
    finally:
        team.server.run("ALTER ROLE alice LOGIN")


def test_a_machine_spends_its_allowance_without_the_server_and_brings_the_calls_and_the_rest_back(
    team: Team, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "laptop"
    home.mkdir()
    team.ledger("boss").set_caps(MACHINE, {"daily": Decimal("0.09")}, "strict")
    at = TrackerAt(TeamTracker(home, sandbox.url, {"OPENROUTER_LEDGER": team.url()}, team), monkeypatch, capsys)
    assert at(None, "team", "allowance").out == "No allowance is taken.\n"
    assert at(None, "team", "allowance", "take", "0.10").code == 3  # the cap counts it
    taken = at(None, "team", "allowance", "take", "0.06", "--json")
    assert taken.code == 0 and taken.data["usd"] == Decimal("0.06")
    (row,) = at(None, "team", "allowance", "--json").data["allowances"]
    assert (row["id"], row["left_usd"], row["member"]) == (taken.data["id"], Decimal("0.06"), "alice")
    with pytest.raises(BudgetExceeded, match=r"\$0\.06 held"):
        team.ledger("bob").hold(Hold("of-bob", datetime.now(UTC), "a/model", Decimal("0.04")), no_check)
    assert at(None, "team", "allowance", "take", "0.01").code == 2  # one at a time
    sandbox.account.reply, codes = Reply(cost=CENT * 2), []
    with away(team):
        while 3 not in codes and len(codes) < 30:
            codes.append(at(None, "call", *HELLO, "--max-tokens", "2000").code)
        bill = sandbox.account.bill
        assert codes[0] == 0 and codes[-1] == 3 and set(codes) == {0, 3}
        assert "allowance of" in at(None, "stats").out and at(None, "stats", "--json").data["total"]["cost_usd"] == bill
        assert "in use; the server is not asked" in at(None, "doctor", "--timeout", "5").out
        assert at(None, "team", "allowance", "return").code == 6  # the server has to be there
        assert at(None, "clean", "--before", "2026-01-01", "--yes").code == 2
    assert at(None, "call", *HELLO, "--max-tokens", "2000").code == 6  # it is being given back
    back = at(None, "team", "allowance", "return", "--json").data
    assert (back["usd"], back["rest_usd"], back["added"]) == (bill, Decimal("0.06") - bill, len(codes) - 1)
    assert held_and_spent(team) == (0, bill) and 0 < bill <= Decimal("0.06")
    assert team.ledger("bob").totals(by="member").groups["alice"].cost == bill
    assert at(None, "call", *HELLO, "--max-tokens", "2000").code == 0  # by the server again
    assert at(None, "team", "allowance", "return").code == 2


def test_whatever_is_broken_off_is_done_once_in_the_end(team: Team) -> None:
    ledger = team.ledger()
    books = take(ledger)
    kept = books.allowance
    save(ledger.path, kept._replace(state=ASKED, until=None))  # killed before the answer was noted
    again = take(ledger, Decimal(3))
    assert (again.allowance.id, again.allowance.amount) == (kept.id, HALF)
    assert held_and_spent(team) == (HALF, 0) and len(ledger.allowances()) == 1
    for number in range(3):
        spend(again, "0.125", number)
    again.append(Entry(NOON, "a/model", 1, 1, CENT))  # without an id
    with pytest.raises(BudgetExceeded, match=r"\$0\.385 spent"):
        spend(again, "0.12", 9)
    entries = list(again.entries())
    ledger.bring_in(iter(entries[:2]), lambda entry: entry.id, allowance=kept.id)  # killed in the middle
    assert held_and_spent(team) == (Decimal("0.25"), Decimal("0.25"))  # at every moment, together what was taken
    done: list[object] = []

    def back() -> None:
        try:
            done.append(return_allowance(team.ledger()).rest)
        except SettingsError as nothing:
            done.append(nothing.message)

    threads = [threading.Thread(target=back) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, done)) == ["0.115", *["this machine has no allowance"] * 2]
    assert held_and_spent(team) == (0, Decimal("0.385")) and ledger.totals().total.requests == 4
    save(ledger.path, kept)  # killed before it was noted that there is none any more
    assert return_allowance(ledger).rest is None and held_and_spent(team) == (0, Decimal("0.385"))
    save(ledger.path, kept._replace(id="never", state=ASKED))  # killed before the question was sent
    assert return_allowance(ledger).rest is None
    save(ledger.path, kept._replace(id="never", state=ASKED))  # and the question came late
    with pytest.raises(LedgerError, match="ended"):
        take(ledger)
    assert held_and_spent(team) == (0, Decimal("0.385"))
    again.engine.close()


def test_nothing_begins_while_an_allowance_is_given_back_and_what_runs_keeps_the_rest_held(team: Team) -> None:
    ledger = team.ledger()
    books = take(ledger)
    books.hold(Hold("runs", NOON, "a/model", CENT * 30), no_check)
    with pytest.raises(BudgetExceeded):
        books.hold(Hold("too-much", NOON, "a/model", CENT * 21), no_check)
    fits: list[bool] = []

    def race(number: int) -> None:
        try:
            AllowanceLedger(books.allowance, ledger, clock=lambda: NOON).hold(Hold(f"r{number}", NOON, "a", CENT * 8), no_check)
        except BudgetExceeded:
            fits.append(False)
        else:
            fits.append(True)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fits) == [False] * 4 + [True] * 2
    with pytest.raises(Refused, match="3 calls of this allowance running or unsettled"):
        return_allowance(ledger)
    with pytest.raises(LedgerError, match="was given back"):
        books.hold(Hold("late", NOON, "a/model", CENT), no_check)
    for each in books.health().holds:
        cost = CENT * 40 if each.id == "runs" else CENT  # a bill above its hold counts in full
        assert books.settle(Entry(NOON, "a/model", 1, 1, cost, f"gen-{each.id}", hold=each.id))
    assert return_allowance(ledger).rest == CENT * 8
    assert held_and_spent(team) == (0, CENT * 42)
    books.append(Entry(NOON, "a/model", 1, 1, CENT, "gen-after"))  # a program that still has it open
    assert ledger.known("gen-after") is not None
    books.close()


def test_an_allowance_counts_in_every_window_in_which_it_may_be_spent_and_until_somebody_ends_it(team: Team) -> None:
    ledger, boss = team.ledger(), team.ledger("boss")
    boss.set_caps(MACHINE, {"daily": Decimal(1), "monthly": Decimal(2)}, "strict")
    evening = datetime(2026, 11, 30, 23, tzinfo=UTC)
    hours_wrong = evening - timedelta(hours=7)  # by the clock of the machine

    def left(now: datetime) -> str:
        team.at(now)
        try:
            team.ledger("bob").hold(Hold(f"b{now}", now, "a/model", Decimal("0.75")), no_check)
        except BudgetExceeded as refused:
            return f"{refused.scope} {refused.held.normalize():f}"
        team.ledger("bob").release(f"b{now}", now)
        return ""

    team.at(evening)
    books = take(ledger, now=hours_wrong, hours=24)
    assert books.allowance.until == hours_wrong + timedelta(hours=24)
    # A call of its last minute may end an hour later.
    assert left(evening) == left(evening + timedelta(hours=20)) == left(evening + timedelta(hours=25)) == "daily 0.5"
    assert left(evening + timedelta(hours=50)) == ""  # its last day is over; the month's cap has room enough
    boss.set_caps(MACHINE, {"monthly": Decimal(1)}, "strict")
    assert left(evening + timedelta(days=20)) == "monthly 0.5"  # never given back: it stays counted
    spend(books, "0.25", 1, hours_wrong)
    spend(books, "0.125", 2, hours_wrong + timedelta(days=3))  # a clock that was set: no day gets what it did not hold
    late = AllowanceLedger(books.allowance, ledger, clock=lambda: hours_wrong + timedelta(hours=24))
    with pytest.raises(LedgerError, match="ended on 2026-12-01"):
        late.hold(Hold("late", evening, "a/model", CENT), no_check)
    late.engine.close()
    (open_one,) = ledger.allowances()
    with pytest.raises(LedgerError, match="only an administrator"):
        release_allowance(team.ledger("bob"), open_one.id)
    assert release_allowance(boss, open_one.id) == HALF and held_and_spent(team) == (0, 0)
    with pytest.raises(SettingsError):
        release_allowance(boss, open_one.id)
    # It comes back after all: what was spent counts, on the days on which it was held.
    assert return_allowance(ledger).rest is None
    assert held_and_spent(team) == (0, Decimal("0.375"))
    days = ledger.totals(Period(evening - timedelta(days=9), evening + timedelta(days=9), ""), "day").groups
    assert {day: usage.cost for day, usage in days.items() if usage.requests} == {
        "2026-11-30": Decimal("0.25"), "2026-12-02": Decimal("0.125"),
    }  # fmt: skip
    books.close()


def test_the_caps_of_others_hold_while_an_allowance_is_spent(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, boss = team.ledger(), team.ledger("boss")
    boss.set_caps(Owner("project", "x"), {"total": Decimal(1)}, "strict")
    boss.set_caps(Owner("session", "*"), {"total": Decimal(1)}, "strict")
    boss.set_caps(Owner("member", "*"), {"per_request": CENT * 20}, "strict")
    books = take(ledger)  # larger than one request may be
    with pytest.raises(BudgetExceeded, match=r"per-request budget of \$0\.20"):
        books.hold(Hold("large", NOON, "a/model", CENT * 21), no_check)
    for hold in (Hold("x", NOON, "a", CENT, tags=(("project", "x"),)), Hold("s", NOON, "a", CENT, session="s")):
        with pytest.raises(Refused, match="this allowance was not taken for it"):
            books.hold(hold, no_check)
    with pytest.raises(LedgerError, match="nobody knows what it can cost"):
        books.hold(Hold("unbounded", NOON, "a/model", None), no_check)
    spend(books, "0.2", 1, project="y")
    assert return_allowance(ledger).rest == CENT * 30
    with pytest.raises(BudgetExceeded, match=r"for project x .*\$1\.01 asked"):
        take(ledger, Decimal("1.01"), project="x")
    assert load(ledger.path) is None
    books = take(ledger, Decimal("0.9"), project="x")
    with pytest.raises(BudgetExceeded, match=r"\$0\.90 held"):
        team.ledger("bob").hold(Hold("of-bob", NOON, "a/model", CENT * 15, tags=(("project", "x"),)), no_check)
    spend(books, "0.2", 2, project="x")
    assert return_allowance(ledger).rest == CENT * 70
    ((held, spent),) = team.sql("SELECT sum(held), sum(cost) FROM rollup WHERE facet = 'project' AND name = 'x'")
    assert (held, spent) == (0, CENT * 20)
    monkeypatch.setenv("OPENROUTER_DAILY_LIMIT", "0.25")  # of this machine, measured on what all have spent
    team.at(NOON)
    with pytest.raises(BudgetExceeded, match=r"daily budget of \$0\.25"):
        take(ledger, CENT * 20)
    state_file(ledger.path).write_text("{}")
    with pytest.raises(LedgerError, match="note of an allowance cannot be read"):
        take(ledger)


def test_a_ledger_of_the_version_before_is_upgraded_and_keeps_what_it_has(team: Team) -> None:
    ledger: Any = team.ledger("boss")
    ledger.append(Entry(NOON, "a/model", 1, 1, CENT, "gen-1"))
    team.sql("DROP TABLE allowance CASCADE; DELETE FROM version; INSERT INTO version VALUES (1)")
    assert initialise(ledger.server) == 1 and ledger.whoami().version == VERSION
    assert ledger.totals().total.cost == CENT and ledger.allowances() == []
    ledger.hold(Hold("one", NOON, "a/model", CENT), no_check, [Budget(MACHINE, Caps(daily=HALF))])


def test_a_wrong_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    at = TrackerAt(Tracker(tmp_path), monkeypatch, capsys)
    for words in (("take",), ("return", "1"), ("release",), ("give",), ("return", "--hours", "2"), ("take", "ten"),
                  ("take", "1", "--hours", "0"), ("--project", "x")):  # fmt: skip
        assert at(None, "team", "allowance", *words, env={"OPENROUTER_LEDGER": "postgresql://me@/db"}).code == 2, words
