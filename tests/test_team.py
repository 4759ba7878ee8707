"""A ledger that machines share: set up once, the same figures as a file, and what a member may not do."""

from __future__ import annotations

import re
import threading
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_usage.budgets import MACHINE, Budget, Owner
from openrouter_usage.entry import Caps, Entry, Hold, write_line
from openrouter_usage.errors import BudgetExceeded, LedgerError
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.team import TeamLedger
from openrouter_usage.ledger.team_schema import VERSION, script
from openrouter_usage.ledger.team_server import initialise
from openrouter_usage.period import Period, find_zone
from openrouter_usage.render.table import escaped
from openrouter_usage.vocabulary import Filter
from tests.booking import NOON, Tracker, TrackerAt, call, hold
from tests.booking import sample as lines_of_a_sample
from tests.engines import BOTH
from tests.gatewaying import wait_until
from tests.postgres import Server
from tests.running import ROOT
from tests.team import Team, TeamTracker

UTC = timezone.utc
ZERO = Decimal(0)


def no_check(books: object) -> None:
    """What a file would look at; the server looks itself."""


# -- setting up, and who may do what ---------------------------------------------------------------------------------


def test_a_ledger_is_set_up_by_many_at_once_and_again_and_by_the_sql_that_is_shown(postgres: Server, tmp_path: Path) -> None:
    postgres.run("CREATE DATABASE empty_one")
    team, found = Team(postgres, "empty_one", tmp_path), []

    def begin() -> None:
        found.append(initialise(team.ledger("boss").server))

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, VERSION, VERSION, VERSION]
    tables = "SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'openrouter_usage'::regnamespace ORDER BY 1"
    made = team.sql(tables)
    team.ledger("boss").append(Entry(NOON, "a/model", cost=Decimal(1), id="gen-1"))
    assert initialise(team.ledger("boss").server) == VERSION and team.ledger("boss").totals().total.requests == 1
    postgres.run("CREATE DATABASE shown_one")
    postgres.run(script(), database="shown_one")
    assert Team(postgres, "shown_one", tmp_path).sql(tables) == made and len(made) > 10
    for each in team.opened:
        each.close()


def test_a_member_spends_and_changes_no_cap_no_bill_and_no_name(team: Team) -> None:
    alice, boss = team.ledger("alice"), team.ledger("boss")
    boss.server.ask("set_cap('member', 'alice', 'strict', 'day', 5)", ())
    alice.append(Entry(NOON, "a/model", cost=Decimal(2), id="gen-1", cost_source="billed", tags=(("member", "bob"),)))
    for call_ in ("set_cap('member', 'alice', 'strict', 'day', 50)", "book('{}')", "clock()"):
        with pytest.raises(LedgerError, match="permission denied"):
            alice.server.ask(call_, ())
    for statement in ("UPDATE openrouter_usage.cap SET amount = 50", "SELECT * FROM openrouter_usage.call",
                      "DELETE FROM openrouter_usage.rollup", "CREATE TABLE openrouter_usage.mine (a int)"):  # fmt: skip
        with pytest.raises(LedgerError, match="permission denied"):
            alice.server.administer(lambda connection, sql=statement: connection.execute(sql))
    cheaper = write_line(Entry(NOON, "a/model", cost=Decimal(1), id="gen-1")).decode()
    with pytest.raises(LedgerError, match="cannot be lowered"):
        alice.server.ask("complete('', 'gen-1', 1, %s::jsonb)", (cheaper,))
    alice.hold(Hold("one", NOON, "a/model", Decimal(1)), no_check)
    assert not team.ledger("bob").release("one", NOON)
    assert alice.totals(by="member").groups.keys() == {"alice"}
    assert {budget.owner: budget.caps.daily for budget in boss.caps()} == {Owner("member", "alice"): 5}


def test_a_cap_holds_for_those_it_names_by_the_servers_clock_and_says_all_that_is_behind_it(team: Team) -> None:
    alice, bob, boss = (team.ledger(name, machine=f"of-{name}") for name in ("alice", "bob", "boss"))
    caps = [("", "", "month", 9), ("member", "*", "day", 5), ("member", "bob", "day", 4), ("project", "x", "total", 3),
            ("machine", "of-alice", "request", 3)]  # fmt: skip
    for kind, name, span, amount in caps:
        boss.server.ask("set_cap(%s, %s, 'strict', %s, %s::numeric)", (kind, name, span, amount))
    number = iter(range(100))
    team.at(datetime(2026, 11, 30, 22, 30, tzinfo=UTC))  # a Monday, and the last day of a month

    def asks(ledger: TeamLedger, amount: str, project: str = "y") -> str:
        # The clock of the machine is days wrong; nothing may depend on it.
        asked = Hold(f"h{next(number)}", NOON, "a/model", Decimal(amount), tags=(("project", project),))
        try:
            ledger.hold(asked, no_check, [Budget(MACHINE, Caps(weekly=Decimal(7)))])
        except BudgetExceeded as refused:
            assert refused.asked == Decimal(amount)
            return f"{refused.scope} {refused.kind} {refused.name} {refused.spent.normalize():f}+{refused.held.normalize():f}/{refused.cap}"
        return asked.id

    assert asks(alice, "3.5") == "per-request machine of-alice 0+0/3"
    assert asks(alice, "3") == "h1"
    assert asks(alice, "2.5") == "daily member alice 0+3/5"
    assert asks(bob, "4.5") == "daily member bob 0+0/4"
    assert asks(bob, "3.5", "x") == "total project x 0+0/3"
    assert asks(bob, "2", "x") == "h5"
    assert asks(bob, "1.5", "x") == "total project x 0+2/3"
    assert asks(bob, "2") == "h7"  # 7 in all
    assert asks(alice, "0.25") == "weekly machine  0+7/7"
    team.at(datetime(2026, 11, 30, 23, 30, tzinfo=UTC))
    assert alice.settle(Entry(NOON, "a/model", cost=Decimal("2.5"), id="gen-1", hold="h1"))
    assert not alice.settle(Entry(NOON, "a/model", cost=Decimal("2.5"), id="gen-1", hold="h1"))
    assert bob.release("h7", NOON) and not bob.release("h7", NOON)
    assert asks(bob, "1") == "h9"  # in the last hour: it counts today, and tomorrow too
    assert asks(alice, "1.75") == "weekly machine  2.5+3/7"
    team.at(datetime(2026, 12, 1, 0, 5, tzinfo=UTC))
    # What was held long before midnight does not count against the new day; what was held shortly before does.
    assert asks(bob, "3.5") == "daily member bob 0+1/4"
    boss.server.ask("set_cap('member', 'bob', 'strict', 'day', 1)", ())  # below what is held: nothing more
    assert asks(bob, "0.01") == "daily member bob 0+1/1"
    assert bob.settle(Entry(NOON, "a/model", cost=Decimal("1.5"), id="gen-2", hold="h9"))  # above its hold: it counts
    assert asks(bob, "0") == "h13"
    day = Period(datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 2, tzinfo=UTC), "")
    assert alice.totals(day).total.cost == Decimal("1.5")
    late = Entry(datetime(2026, 12, 9, tzinfo=UTC), "a/model", cost=Decimal("0.5"), id="gen-3", hold="h5", cost_source="late")
    assert alice.settle(late) and alice.known("gen-3").ts == datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    assert {hold.id for hold in alice.health().holds} == {"h13"}
    assert alice.holds_to_settle() == () and [hold.id for hold in bob.holds_to_settle()] == ["h13"]
    team.at(datetime(2026, 12, 1, 1, 6, tzinfo=UTC))
    assert [hold.id for hold in alice.holds_to_settle()] == ["h13"]  # its lease is over: anybody may look it up


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_holds_that_meet_never_share_a_dollar_and_none_is_lost(isolation: str, team: Team) -> None:
    """The two other levels are those of distributed engines, which make the losers of a race try again."""
    team.server.run(f"ALTER DATABASE {team.database} SET default_transaction_isolation = '{isolation}'")
    budgets = [Budget(MACHINE, Caps(daily=Decimal(3))), Budget(Owner("project", "x"), Caps(total=Decimal(2)))]
    ledgers = [team.ledger(("alice", "bob")[number % 2], wait_s=30) for number in range(6)]
    fits: list[str] = []

    def spend(number: int) -> None:
        for each in range(8):
            tags = (("project", "x"),) if each % 2 else ()
            asked = Hold(f"{number}-{each}", NOON, "a/model", Decimal("0.25"), tags=tags)
            try:
                ledgers[number].hold(asked, no_check, budgets)
            except BudgetExceeded:
                continue
            fits.append(asked.id)
            if each % 4 == 3:
                ledgers[number].settle(Entry(NOON, "a/model", cost=Decimal("0.125"), id=f"gen-{asked.id}", hold=asked.id, tags=tags))

    threads = [threading.Thread(target=spend, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (ledger, *_), spent = ledgers, ledgers[0].totals().total
    held = {hold.id for hold in ledger.health().holds}
    assert sorted([*held, *(entry.hold for entry in ledger.entries())]) == sorted(fits)
    assert Decimal("2.75") < spent.cost + len(held) * Decimal("0.25") <= 3
    for facet in ("", "project"):
        (kept,) = team.sql(f"SELECT sum(cost), sum(held), sum(holds) FROM rollup WHERE facet = '{facet}'")
        of = [hold for hold in ledger.health().holds if not facet or hold.tags]
        assert kept[1:] == (sum((hold.max_cost for hold in of), Decimal(0)), len(of))
        assert kept[0] + kept[1] <= (2 if facet else 3)


def test_what_threads_ask_at_the_same_time_is_one_statement_and_what_is_wrong_with_one_is_its_own(team: Team) -> None:
    ledger, ended = team.ledger(wait_s=30), list[str]()
    team.ledger("boss").set_caps(MACHINE, {"total": Decimal(5)}, "strict")

    def ask(name: str) -> None:
        try:
            ledger.hold(Hold(name, NOON, "a/model", Decimal(5 if name == "h3" else "0.5")), no_check)
        except (BudgetExceeded, LedgerError) as error:
            ended.append(type(error).__name__)
        else:
            ended.append(name)

    def together(names: list[str]) -> int:
        threads = [threading.Thread(target=ask, args=(name,)) for name in names]
        with psycopg.connect(team.url("boss")) as other:
            # The first one waits for this row, and the others for the first.
            other.execute("INSERT INTO openrouter_usage.rollup (facet, key, day, name) VALUES ('', '', current_date, '')"
                          " ON CONFLICT (facet, key, day) DO UPDATE SET held = rollup.held")  # fmt: skip
            other.execute("LOCK TABLE openrouter_usage.rollup IN SHARE ROW EXCLUSIVE MODE")
            threads[0].start()
            wait_until(lambda: ledger.server._has_leader and not ledger.server._queue)
            for thread in threads[1:]:
                thread.start()
            wait_until(lambda: len(ledger.server._queue) == len(names) - 1)
        for thread in threads:
            thread.join()
        ((count,),) = team.sql(f"SELECT count(DISTINCT xmin::text) FROM hold WHERE key IN ({', '.join(map(repr, names))})")
        return count  # type: ignore[return-value]

    ledger.names()
    assert together([f"h{number}" for number in range(6)]) == 2
    assert sorted(ended) == ["BudgetExceeded", "h0", "h1", "h2", "h4", "h5"]  # h3 asks for all of it
    ended.clear()
    assert together(["i0", "i1", "i\0", "i4"]) == 3  # each by itself, as one of them cannot be asked at all
    assert sorted(ended) == ["LedgerError", "i0", "i1", "i4"]
    (kept,) = team.sql("SELECT sum(held), sum(holds) FROM rollup WHERE facet = ''")
    assert kept == (Decimal(4), 8)


# -- the same figures as a file --------------------------------------------------------------------------------------

MODELS = st.sampled_from(["a/one", "b/two", "x" * 500, "é/\N{PILE OF POO}\0"])
ZONES = ("UTC", "Asia/Kathmandu", "America/New_York")
GROUPINGS = ("model", "day", "session", "provider", "tag", "client", "project", "week", "hour", "day,model")
WORDS = st.sampled_from(["", "a", "b c", "*"])
START = datetime(2026, 10, 30, tzinfo=UTC)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """Calls of a few days, some of which are met twice."""
    found = []
    for number in range(draw(st.integers(1, 12))):
        cost = draw(st.sampled_from([None, "0", "0.5", "1E-27", "0.30000000000000004", "999999.99"]))
        tags = {name: draw(WORDS).replace(" ", "") for name in draw(st.sets(st.sampled_from(["client", "project", "step"])))}
        found.append(Entry(
            START + timedelta(minutes=draw(st.integers(0, 6 * 1440))), draw(MODELS).replace("\0", ""),
            draw(st.integers(0, 10**9)), draw(st.integers(0, 10**6)), None if cost is None else Decimal(cost),
            draw(st.sampled_from(["", f"gen-{number}", "gen-0", "gen-1"])), cached_tokens=draw(st.sampled_from([None, 7])),
            byok_cost=draw(st.sampled_from([None, Decimal("4.2")])), provider=draw(WORDS), session=draw(WORDS),
            cost_source=draw(st.sampled_from(["", "billed", "late"])) if cost else "", tags=tuple(sorted(tags.items())),
        ))  # fmt: skip
    return found


def test_any_calls_have_the_same_sums_and_the_same_lines_as_in_a_file(team: Team, tmp_path: Path) -> None:
    ledger = team.ledger()

    @settings(max_examples=12, deadline=None)
    @given(entries(), st.sampled_from(ZONES), st.integers(0, 6 * 1440), st.integers(1, 6 * 1440))
    def same(calls: list[Entry], zone: str, first: int, length: int) -> None:
        team.empty()
        path = tmp_path / "usage.jsonl"
        for each in tmp_path.glob("usage.jsonl*"):
            each.unlink()
        start = START + timedelta(minutes=first)
        with_file, tz = Ledger(path), find_zone(zone)
        for entry in calls[::2]:
            assert ledger.append(entry) == with_file.append(entry)
        assert ledger.append_all(calls) == with_file.append_all(calls)
        for period in (None, Period(start, start + timedelta(minutes=length), "")):
            for by in GROUPINGS:
                assert ledger.totals(period, by, tz) == with_file.totals(period, by, tz), by
            key = lambda entry: (entry.ts, write_line(entry))  # noqa: E731
            assert sorted(ledger.entries(period), key=key) == sorted(with_file.entries(period), key=key)
        where = (Filter("model", ("a/*", "b/two")), Filter("tag", ("step", "client=a")))
        assert ledger.totals(None, "session", tz, where) == with_file.totals(None, "session", tz, where)
        assert ledger.totals_of([(Period(start, start + timedelta(days=1), ""), "model")])[0].total == (
            with_file.totals(Period(start, start + timedelta(days=1), "")).total
        )
        assert set(ledger.unsettled()) == set(with_file.unsettled())
        with_file.close()

    same()


PAGES: list[tuple[str, ...]] = [
    *(("stats", *window, "--by", by, "--json") for by in (*GROUPINGS, "agent", "app") for window in ((), ("--week",))),
    *(("stats", "--month", "--trend", "--tz", zone) for zone in ZONES),
    ("stats", "--since", "2026-11-20T09:00:00Z", "--until", "2026-11-22", "--by", "day", "--format", "markdown"),
    *(("export", "--format", face) for face in ("csv", "json", "markdown")),
    ("export", "--format", "json", "--since", "2026-11-20T09:00:00Z", "--until", "2026-11-21"),
    ("report", "--svg", "-", "--month"), ("report", "--html", "-", "--week"),
    ("budget", "--json"), ("budget",),
]  # fmt: skip


def test_every_page_of_reports_budgets_and_exports_is_the_same_with_both_engines(
    team: Team, home: Path, tmp_path: Path, sandbox: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line for line in lines_of_a_sample().splitlines(keepends=True) if b"torn" not in line and b"marker" not in line]
    lines += [call("2026-11-22T11:31:00Z", cost="0.5", id="gen-x", hold="2f1f", tags={"client": "laptop", "agent": "a"}),
              hold("2f20", "2026-11-22T11:32:00Z", "0.75", tags={"client": "laptop"})]  # fmt: skip
    other = tmp_path / "other"
    other.mkdir()
    file, shared = Tracker(home, sandbox.url), TeamTracker(other, sandbox.url, {"OPENROUTER_LEDGER": team.url()}, team)
    for tracker in (file, shared):
        tracker.write(hold("2f1f", "2026-11-22T11:30:00Z"), *lines)
    team.at(NOON)
    found = []
    for tracker in (file, shared):
        at = TrackerAt(tracker, monkeypatch, capsys)
        assert at(NOON, "budget", "set", "--daily", "10", "--monthly", "20.5", "--weekly", "11").code == 0
        assert at(NOON, "budget", "set", "--client", "laptop", "--total", "3").code == 0
        pages = []
        for page in PAGES:
            ran = at(None if page[0] == "export" else NOON, *page)
            assert ran.code == 0, (page, ran.err)
            text = ran.out
            for name in (str(file.ledger), escaped(str(file.ledger)), "~/.openrouter/usage.jsonl", team.database):
                text = text.replace(name, "NAME")
            # What only the ledger of a team has.
            text = re.sub(r"<section><h2>By (member|machine)</h2>.*?</section>", "", text, flags=re.DOTALL)
            text = re.sub(r', as alice, version \d+|("(is_shared|member|version)": )[^\n]*', r"\1", text)
            for words in ("of all who share the shared ledger NAME", "of this machine, from the local ledger", "shared ledger"):
                text = text.replace(words, "local ledger")
            pages.append((page, text))
        found.append(pages)
    for (page, with_file), (_, with_server) in zip(*found, strict=True):
        assert with_file == with_server, page
    assert all("NAME" in text for page, text in found[0] if page[0] == "stats")


def test_what_is_left_out_with_a_server_is_there_with_a_file() -> None:
    for module, names in BOTH.items():
        text = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
        assert "engine" in text or "tracker" in text
        assert all(f"def {name}(" in text for name in names), module
