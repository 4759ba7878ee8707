"""--source all: the account and the ledger in one sum, each day by one of the two, and what cannot be told is said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.figures.account_days import (
    NOT_TRACKED,
    archived_days,
    is_finer,
    period_breakdown,
    with_ledger,
)
from openrouter_usage.figures.archive import ACTIVITY, ArchivedDay, gathered, write_day
from openrouter_usage.figures.breakdown import Breakdown
from openrouter_usage.jobs.breakdown import tracked_days
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.openrouter.answers.account import ActivityRow
from openrouter_usage.period import Stretch
from openrouter_usage.vocabulary import LEDGER_NAMES, TIMES, Filter, names_of
from tests.booking import NOON, NOWHERE, Tracker, TrackerAt, call
from tests.oracle import read_csv
from tests.running import STATS, StatsAt
from tests.sandbox import MANAGEMENT_KEY, Account, Sandbox
from tests.terminals import on_a_terminal

DAY = timedelta(days=1)
FIRST = date(2026, 11, 14)
TODAY = NOON.date()
MODELS = ("openai/gpt-5.2", "google/gemini-3-flash", "a/c")
Golden = Callable[[str, str], None]


def of_day(day: date, *rows: tuple[str, str, str, int]) -> ArchivedDay:
    """An archived day: model, provider, cost and calls of each row."""
    found = [
        ActivityRow(day, model, provider, Usage(calls, 20 * calls, 10 * calls, 0, 5, Decimal(cost), Decimal(0)), f"{model}-20251211")
        for model, provider, cost, calls in rows
    ]
    return ArchivedDay("user-1", day, ACTIVITY, datetime(2026, 11, 22, 0, 5, tzinfo=timezone.utc), gathered(found))


# -- whatever is in the two, the rows add up to a total in which no call counts twice -----------------------------------

NAMES = st.sampled_from(["a", "b c", ""])
CALLS = st.lists(
    st.tuples(
        st.integers(0, 9 * 86_400 - 1), st.integers(0, 10**6) | st.none(), st.sampled_from(MODELS), NAMES, NAMES, NAMES,
        st.sampled_from(["", "gen-1", "gen-2", "gen-3"]),
    ),
    max_size=20,
)  # fmt: skip
ROWS = st.lists(
    st.tuples(st.sampled_from(MODELS), st.sampled_from(["P", "Q"]), st.integers(0, 10**6).map(lambda n: f"0.{n:06d}"), st.integers(0, 9)),
    max_size=3,
)  # fmt: skip
GROUPINGS = (*LEDGER_NAMES, *TIMES, "day,model", "client,day", "session,model", "hour,client", "weekday,hour", "provider,week")
WHERES = ((), (Filter("model", ("openai*",)),), (Filter("model", ("a/c", "g*")), Filter("provider", ("P",))))


def joined_of(ledger: Ledger, known: dict[date, ArchivedDay], by: str, where: Any) -> Breakdown | None:
    span = Stretch(FIRST, TODAY)
    found = with_ledger(archived_days(known, span, where), tracked_days(ledger, span, by, where))
    return period_breakdown(found, title="", by=by, top=3, where=where)


@settings(max_examples=8)
@given(CALLS, st.dictionaries(st.integers(0, 8), ROWS, max_size=9))
def test_no_call_counts_twice_whatever_the_account_and_the_ledger_have(
    tmp_path_factory: Any, calls: Any, archived: dict[int, Any]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("joined") / "usage.jsonl")
    lines = []
    for second, cost, model, provider, session, client, identity in calls:
        moment = datetime(2026, 11, 14, tzinfo=timezone.utc) + timedelta(seconds=second)
        named = {"provider": provider, "session": session, "tags": {"client": client} if client else None, "id": identity}
        amount = None if cost is None else f"0.{cost:06d}"
        lines.append(call(f"{moment:%Y-%m-%dT%H:%M:%SZ}", model, amount, **{name: text for name, text in named.items() if text}))
    ledger.path.write_bytes(b"".join(lines))
    known = {FIRST + number * DAY: of_day(FIRST + number * DAY, *rows) for number, rows in archived.items()}

    def picked(where: Any, model: str, provider: str) -> bool:
        return all(each.takes(model if each.kind == "model" else provider) for each in where)

    for where in WHERES:
        expected = seen_there = NOTHING
        for row in (row for day in known.values() for row in day.rows):
            expected += row.usage if picked(where, row.model, row.provider) else NOTHING
        for entry in ledger.entries():
            if picked(where, entry.model, entry.provider):
                if entry.ts.date() in known:
                    seen_there += entry.usage._replace(unknown=0, estimated=0)
                else:
                    expected += entry.usage
        for by in GROUPINGS:
            shown = joined_of(ledger, known, by, where)
            if shown is None:
                assert expected == NOTHING
                continue
            assert shown.total == expected, (by, where)
            assert sum((row.usage for row in shown.rows), shown.more) == expected, (by, where)
            parts = shown.coverage.joined if shown.coverage else None
            assert parts is not None
            assert (parts.account + parts.ledger, parts.tracked) == (expected, seen_there), (by, where)
            untracked = [each for each in shown.rows if NOT_TRACKED in names_of(each.name)]
            assert not untracked or is_finer(by)
            days = [day for _, spans in shown.coverage.sources for span in spans for day in span.utc_days]
            assert len(days) == len(set(days)) and set(known) <= set(days)
    ledger.close()


# -- as the programs print it ----------------------------------------------------------------------------------------


@pytest.fixture
def tracker(home: Any) -> Tracker:
    return Tracker(home, NOWHERE)


def sample(tracker: Tracker) -> None:
    """Two archived days of which a part was tracked, one that was tracked beyond the account, and today."""
    days = [
        of_day(TODAY - 3 * DAY, (MODELS[0], "OpenAI", "2", 4), (MODELS[1], "Google", "1.5", 3)),
        of_day(TODAY - 2 * DAY, (MODELS[0], "OpenAI", "0.25", 1)),
    ]
    tracker.folder.mkdir(mode=0o700, exist_ok=True)
    (tracker.folder / "activity.jsonl").write_bytes(b"".join(map(write_day, days)))
    codex = {"tags": {"client": "codex"}}
    tracker.write(
        call("2026-11-19T10:00:00Z", MODELS[0], "1.25", id="gen-1", **codex),
        call("2026-11-19T11:00:00Z", MODELS[0], None, id="gen-2", **codex),
        call("2026-11-20T11:00:00Z", MODELS[0], "0.75", id="gen-3"),
        call("2026-11-22T09:00:00Z", MODELS[2], "0.5", id="gen-4", **codex),
    )


def test_each_day_is_the_accounts_or_else_the_ledgers_and_all_is_said(at: TrackerAt, tracker: Tracker, golden: Golden) -> None:
    sample(tracker)
    words = ("stats", "--source", "all", "--since", "2026-11-19", "--by")
    ran = at(NOON, *words, "client")
    assert ran.code == 0, ran.err
    golden("stats-all-sources.txt", ran.out.replace(str(tracker.home), "HOME"))
    data = at(NOON, *words, "client", "--json").data
    assert {row["name"]: row["cost_usd"] for row in data["groups"]} == {
        NOT_TRACKED: Decimal("1.75"),  # of 3.75 the ledger has seen 2
        "codex": Decimal("1.75"),
        "(no client)": Decimal("0.75"),
    }
    assert data["total"]["cost_usd"] == Decimal("4.25")
    assert [data["joined"][name]["cost_usd"] for name in ("account", "ledger", "tracked")] == list(map(Decimal, ("3.75", "0.5", "2")))
    assert [each["start"][:10] for each in data["joined"]["above"]] == ["2026-11-20"]
    assert [each["start"][:10] for each in data["missing"]] == ["2026-11-21"]
    rows = read_csv(at(NOON, *words, "day", "--format", "csv").out)
    assert [(row["name"], Decimal(row["cost_usd"])) for row in rows if row["kind"] in ("day", "part")] == [
        ("2026-11-19", Decimal("3.5")), ("2026-11-20", Decimal("0.25")), ("2026-11-22", Decimal("0.5")),
        ("account", Decimal("3.75")), ("ledger", Decimal("0.5")), ("tracked", Decimal("2")),
    ]  # fmt: skip
    for wrong, told in (
        (("--client", "codex"), "have no client"),
        (("--by", "key"), "do not name their key"),
        (("--tz", "Asia/Tokyo"), "--tz"),
        (("--caching",), "--source ledger"),
    ):
        refused = at(NOON, *words, "model", *wrong)
        assert (refused.code, refused.out) == (2, "") and told in refused.err, wrong


def test_stats_py_joins_live_days_with_those_that_openrouter_has_forgotten(stats_at: StatsAt, account: Account, home: Any) -> None:
    """Today is the account's, live; without a management key every day is the ledger's."""
    account.now = lambda: NOON
    for back, cost in ((0, "3"), (1, "2")):
        account.add_activity(MODELS[0], date=TODAY - back * DAY, usage=Decimal(cost), requests=2)
    tracker = Tracker(home, NOWHERE)
    old = TODAY - 400 * DAY
    tracker.write(
        call("2026-11-22T09:00:00Z", MODELS[0], "1", id="gen-1", session="s"),
        call(f"{old}T09:00:00Z", MODELS[0], "0.125", id="gen-2", session="s"),
    )
    words = ("--source", "all", "--since", str(old), "--by", "session")
    ran = stats_at(NOON, *words, mgmt=MANAGEMENT_KEY)
    assert ran.code == 0, ran.err
    head = ran.out.splitlines()[1:4]
    assert head[0].startswith("Account and ledger by session") and "$5.13 (5)" in head[0], ran.out
    assert "Of this: account $5.00 (4), $1.00 (1) of it tracked; local ledger $0.125 (1)" in ran.out
    data = stats_at(NOON, *words, "--json", mgmt=MANAGEMENT_KEY).data["breakdown"]
    assert {row["name"]: row["usage_usd"] for row in data["rows"]} == {NOT_TRACKED: 4, "s": Decimal("1.125")}
    assert data["coverage"]["live_until"] == "2026-11-22T12:00:00Z"
    alone = stats_at(NOON, *words, "--json").data
    assert (alone["breakdown"]["total"]["usage_usd"], alone["breakdown"]["coverage"]["joined"]["account"]["requests"]) == (Decimal("1.125"), 0)
    assert [gap["code"] for gap in alone["missing"]] == ["no_key"]


# -- a running period beside the one before it -------------------------------------------------------------------------


def test_a_running_day_stands_beside_the_day_before_up_to_the_same_hour(stats_at: StatsAt, account: Account, home: Any) -> None:
    """Of the account and of the ledger; where the hour is not known, it is said that a whole day stands there."""
    account.now = lambda: NOON
    for back, hour, cost in ((0, 9, "3"), (1, 9, "1"), (1, 20, "5"), (2, 20, "5")):
        day = TODAY - back * DAY
        at_hour = datetime(day.year, day.month, day.day, hour, tzinfo=timezone.utc)
        account.add_activity(MODELS[0], date=day, usage=Decimal(cost), at=at_hour)
    words = ("--compare", "previous")
    ran = stats_at(NOON, "--today", *words, mgmt=MANAGEMENT_KEY)
    assert "Before (2026-11-21 UTC to 2026-11-21 12:00 UTC): $1.00 (1), now +$2.00 (+200%)\n" in ran.out, ran.out
    # One more day is shown; Kiritimati has the 23rd already.
    shown = stats_at(NOON, "--today", *words, "--tz", "Pacific/Kiritimati", mgmt=MANAGEMENT_KEY).out
    assert "Before (2026-11-21 UTC to 2026-11-21 12:00 UTC): $1.00 (1)" in shown
    found = stats_at(NOON, "--days", "2", *words, "--json", mgmt=MANAGEMENT_KEY).data["breakdown"]["compared"]
    assert (found["before"]["usage_usd"], found["end"], found["uneven"]) == (0, "2026-11-20T12:00:00Z", False)
    uneven = stats_at(NOON, "--today", *words, "--source", "all", mgmt=MANAGEMENT_KEY)
    assert "Before (2026-11-21 UTC): $6.00 (2), now -$3.00 (-50%); today so far stands beside a whole day" in uneven.out
    Tracker(home, NOWHERE).write(
        call("2026-11-22T11:00:00Z", MODELS[0], "2"), call("2026-11-21T11:00:00Z", MODELS[0], "1"), call("2026-11-21T13:00:00Z", MODELS[0], "4"),
    )  # fmt: skip
    alone = stats_at(NOON, "--week", *words)
    assert "Before (2026-11-09 UTC to 2026-11-15 12:00 UTC): $0.00 (0), now +$7.00 (new)" in alone.out, alone.out


def test_a_chosen_period_is_a_table_on_a_terminal_and_lines_in_a_pipe(stats_at: StatsAt, home: Any, sandbox: Sandbox) -> None:
    for model, cost, calls in ((MODELS[0], "12.5", 3), ("an-author/" + "a-long-name-" * 6, "0.000125", 1)):
        tokens = {"prompt_tokens": 1_000, "completion_tokens": 500, "cached_tokens": 400}
        sandbox.account.add_activity(model, usage=Decimal(cost), requests=calls, **tokens)
    env = {"TERM": "xterm", "COLUMNS": "80", "OPENROUTER_MGMT_KEY": MANAGEMENT_KEY}
    code, out, err = on_a_terminal(Tracker(home, sandbox.url, env=env), "--yesterday", script=STATS)
    assert code == 0, err
    found = out.partition("UTC): $12.50 (4)\n")[2].partition("Tokens:")[0].splitlines()
    assert max(map(len, found)) <= 80 and "…" in out
    assert [line.split()[0] for line in found] == ["model", MODELS[0], found[2].split()[0], found[3].split()[0], "Total"]
    assert len({line.index(".", line.index("$")) for line in found[1:3] + found[4:]}) == 1
    assert "Tokens: 2,000 in (800 cached), 1,000 out; $3.13 a call, $4.17 per 1,000 tokens" in out
    now = datetime.now(timezone.utc)
    assert f"• {MODELS[0]}: $12.50 (3)\n" in stats_at(now, "--yesterday", mgmt=MANAGEMENT_KEY).out
    asked = stats_at(now, "--yesterday", "--format", "table", mgmt=MANAGEMENT_KEY).out
    assert "\x1b" not in asked and "  Total" in asked and "…" not in asked


def test_the_fees_of_an_account_are_told_as_parts_of_its_cost(stats_at: StatsAt, account: Account) -> None:
    """Of the last 31 days all of them; of older days those that OpenRouter tells for a year."""
    account.now = lambda: NOON
    paid = {"usage_web": Decimal("0.25"), "usage_file": Decimal("0.125"), "usage_cache": Decimal("-1.5")}
    account.add_activity(MODELS[0], date=TODAY - DAY, usage=Decimal("3"), byok_usage_inference=Decimal(0), fees=paid)
    account.add_activity(MODELS[1], date=TODAY, usage=Decimal("0.5"), byok_usage_inference=Decimal("9"))
    told = "Fees, part of the cost: web search $0.25, caching -$1.50, files $0.125, BYOK $0.50"
    ran = stats_at(NOON, "--fees", mgmt=MANAGEMENT_KEY)
    assert told in ran.out.splitlines(), ran.out
    data = stats_at(NOON, "--month", "--fees", "--json", mgmt=MANAGEMENT_KEY).data["fees"]
    assert data["usage_usd"] == Decimal("3.5")
    assert {part["name"]: part["usd"] for part in data["parts"]} == {
        **paid, "byok_fees": Decimal("0.5"), "usage_data": None, "usage_web_fetch": None
    }  # fmt: skip
    old = stats_at(NOON, "--days", "40", "--fees", mgmt=MANAGEMENT_KEY).out
    assert "Fees, part of the cost: web search $0.25, caching -$1.50; web fetch and files and BYOK unknown: told for the last 31 days only" in old
    alone = stats_at(NOON, "--fees", "--json").data
    assert alone["fees"] is None and [gap["part"] for gap in alone["missing"]] == ["fees"]


def test_report_and_export_take_the_same_words(at: TrackerAt, tracker: Tracker) -> None:
    """report writes what stats does, of the last 30 days; export has calls, which no account lists."""
    sample(tracker)
    report = at(NOON, "report", "--format", "csv", "--source", "all").out
    assert report == at(NOON, "stats", "--format", "csv", "--source", "all", "--days", "30", "--trend").out
    assert at(NOON, "report", "--format", "text", "--week").out == at(NOON, "stats", "--week", "--trend").out
    refused = at(NOON, "export", "--format", "csv", "--source", "account")
    assert (refused.code, refused.out) == (2, "") and "sums of days and no calls" in refused.err
