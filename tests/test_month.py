"""stats.py --month and the other periods: every day from one source, to the last digit, and what is unknown is named."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.entry import Usage
from openrouter_usage.figures.account_days import Told
from openrouter_usage.figures.archive import ACTIVITY, ArchivedDay, gathered, write_day
from openrouter_usage.openrouter.answers.account import ActivityRow as Row
from openrouter_usage.period import Stretch
from tests.booking import Tracker, TrackerAt, call
from tests.cases import crossed
from tests.controls import managing
from tests.oracle import SUMS, read_csv, read_markdown
from tests.running import Ran, Stats, StatsAt
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, ActivityRow, Fault, Sandbox, Workspace

UTC = timezone.utc
DAY = timedelta(days=1)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
OTHER = "11111111-2222-4333-8444-555555555555"
MODELS = ("openai/gpt-5.2", "anthropic/claude-sonnet-4.5", "google/gemini-3-flash", "openai/gpt-5-mini")
QUERY = "/analytics/query"
LIVE = "/analytics/query (live)"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def account() -> Account:
    account = Account.simple(now=lambda: NOON)
    account.add_key("test-other-key-canary-11aa", name="ci-bot")
    account.workspaces.append(Workspace(OTHER, "Side project"))
    return account


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account) as running:
        yield running


def live_at(account: Account, now: datetime, *, back: int = 75, quiet: float = 0.2) -> None:
    """Let the account have spent on most of the days up to `now`, the running one included."""
    chance = random.Random(7)
    account.now = lambda: now
    for number in range(back + 1):
        day = now.date() - number * DAY
        if number and chance.random() < quiet:
            continue
        for model in chance.sample(MODELS, chance.randint(1, 3)):
            spend(account, day, model, chance)


def spend(account: Account, day: date, model: str, chance: random.Random) -> None:
    keys = [key.hash for key in account.keys if not key.is_management_key]
    account.add_activity(
        model,
        date=day,
        usage=Decimal(chance.randint(1, 10**9)).scaleb(-chance.randint(8, 15)),
        byok_usage_inference=Decimal(chance.choice((0, 0, 7))).scaleb(-3),
        requests=chance.randint(1, 90),
        prompt_tokens=chance.randint(0, 9_000),
        completion_tokens=chance.randint(0, 900),
        provider_name=chance.choice(("OpenAI", "Azure")),
        key_hash=chance.choice(keys),
        workspace_id=chance.choice((OTHER, None)),
    )


def group_of(account: Account, by: str, row: ActivityRow) -> str:
    names = {key.hash: key.name for key in account.keys}
    return {
        "model": row.model,
        "provider": row.provider_name,
        "day": row.date.isoformat(),
        "key": names.get(row.key_hash or "", ""),
        "workspace": next(one.name for one in account.workspaces if one.id == account.workspace_of(row)),
    }[by]


def truth(account: Account, first: date, last: date, by: str = "model") -> dict[str, dict[str, Any]]:
    """The sums of each group in a span of days, from the account's own books."""
    days = [first + number * DAY for number in range((last - first).days + 1)]
    groups: dict[str, dict[str, Any]] = {}
    if by == "day":
        groups = {day.isoformat(): dict.fromkeys(SUMS, 0) for day in days}
    for row in account.rows():
        if first <= row.date <= last:
            group = groups.setdefault(group_of(account, by, row), dict.fromkeys(SUMS, 0))
            for shown, kept in SUMS.items():
                group[shown] += getattr(row, kept)
    return groups


def groups_of(data: Any) -> dict[str, dict[str, Any]]:
    found = data["breakdown"]
    assert found["more"]["count"] == 0
    for name in SUMS:
        assert sum(row[name] for row in found["rows"]) == found["total"][name]
    return {row["name"]: {name: row[name] for name in SUMS} for row in found["rows"]}


def asked(
    stats_at: StatsAt, now: datetime, *words: str, mgmt: str | None = MANAGEMENT_KEY, key: str | None = INFERENCE_KEY
) -> Any:
    ran = stats_at(now, *words, "--top", "1000", "--json", mgmt=mgmt, key=key)
    assert ran.code == 0, ran.err
    return ran.data


def sources(data: Any) -> dict[str, list[str]]:
    """For each source the spans of its days."""
    found: dict[str, list[str]] = {}
    for one in data["breakdown"]["coverage"]["sources"]:
        last = date.fromisoformat(one["end"][:10]) - DAY
        found.setdefault(one["source"], []).append(f"{one['start'][:10]}..{last}")
    return found


def gaps(data: Any) -> list[str]:
    found = data["breakdown"]["coverage"]["missing"]
    return [f"{one['start'][:10]}..{date.fromisoformat(one['end'][:10]) - DAY}" for one in found]


# -- the figures are the account's -----------------------------------------------------------------------------------

MOMENTS = {
    "the first of a month": "2026-11-01T00:00:07",
    "the last day of a long month": "2026-10-31T23:59:58",
    "the day after it": "2026-11-01T12:00:00",
    "a leap day": "2028-02-29T18:00:00",
    "the day after a leap day": "2028-03-01T06:00:00",
    "the end of a short month": "2027-02-28T23:00:00",
    "new year": "2027-01-01T00:30:00",
    "a Monday": "2026-11-23T09:00:00",
    "a Sunday": "2026-11-22T21:00:00",
}


LONG = "365 days"
GROUPED = ("model", "day", "key", "workspace", "provider")


def month_of(today: date) -> tuple[date, date]:
    return today.replace(day=1), today


PERIODS: dict[str, tuple[tuple[str, ...], Callable[[date], tuple[date, date]]]] = {
    "month": (("--month",), month_of),
    "week": (("--week",), lambda today: (today - today.weekday() * DAY, today)),
    "yesterday": (("--yesterday",), lambda today: (today - DAY, today - DAY)),
    "one day": (("--days", "1"), lambda today: (today, today)),
    "40 days": (("--days", "40"), lambda today: (today - 39 * DAY, today)),
    LONG: (("--days", "365"), lambda today: (today - 364 * DAY, today)),
}


@pytest.mark.parametrize(
    ("at", "shift"),
    crossed(MOMENTS, range(len(GROUPED))),
)
def test_every_grouping_of_a_period_is_the_accounts_own_sum(
    at: str, shift: int, stats_at: StatsAt, account: Account
) -> None:
    """At each moment, each period by another grouping; over all moments, each period by each of them."""
    now = moment(MOMENTS[at])
    is_long = at in ("a leap day", "new year")
    live_at(account, now, back=400 if is_long else 75)
    for number, (period, (words, span)) in enumerate(PERIODS.items()):
        by = GROUPED[(number + shift) % len(GROUPED)]
        first, last = span(now.date())
        if (period == LONG and not is_long) or (by == "provider" and first < now.date() - 31 * DAY):
            continue  # older days are told without their providers
        data = asked(stats_at, now, *words, "--by", by)
        assert groups_of(data) == truth(account, first, last, by)
        assert (data["partial"], data["missing"], gaps(data)) == (False, [], [])
        assert (data["breakdown"]["start"], data["breakdown"]["end"]) == (f"{first}T00:00:00Z", f"{last + DAY}T00:00:00Z")
        assert data["breakdown"]["coverage"]["zone"] == "UTC"


def test_since_and_until_in_last_month_are_the_accounts_own_sum(stats_at: StatsAt, account: Account) -> None:
    live_at(account, NOON, back=370)
    for words, first, last in (
        (("--since", "2026-10-01", "--until", "2026-10-31"), date(2026, 10, 1), date(2026, 10, 31)),
        (("--since", "2026-10-20"), date(2026, 10, 20), NOON.date()),
        (("--since", "2026-11-22"), NOON.date(), NOON.date()),
        (("--since", "2026-11-20", "--until", "2027-01-01"), date(2026, 11, 20), NOON.date()),
        (("--since", "2025-11-22", "--until", "2025-11-22"), date(2025, 11, 22), date(2025, 11, 22)),
    ):
        for by in ("model", "day", "key"):
            data = asked(stats_at, NOON, *words, "--by", by)
            assert groups_of(data) == truth(account, first, last, by)
            assert data["partial"] is False


def test_each_day_is_taken_from_one_source_and_the_running_one_is_live(stats_at: StatsAt, account: Account) -> None:
    live_at(account, NOON)
    data = asked(stats_at, NOON, "--days", "40")
    assert sources(data) == {
        QUERY: ["2026-10-14..2026-10-22"],
        "/activity": ["2026-10-23..2026-11-21"],
        LIVE: ["2026-11-22..2026-11-22"],
    }
    coverage = data["breakdown"]["coverage"]
    assert coverage["live_until"] == "2026-11-22T12:00:00Z"
    today = truth(account, NOON.date(), NOON.date(), "day")["2026-11-22"]
    assert {name: coverage["live"][name] for name in SUMS} == today
    assert data["breakdown"]["source"] == f"{QUERY} + /activity + {LIVE}"
    data = asked(stats_at, NOON, "--yesterday")
    assert sources(data) == {"/activity": ["2026-11-21..2026-11-21"]}
    assert (data["breakdown"]["coverage"]["live_until"], data["breakdown"]["coverage"]["live"]) == (None, None)


def test_older_days_name_no_provider_and_are_in_the_sum_all_the_same(stats_at: StatsAt, account: Account) -> None:
    live_at(account, NOON)
    data = asked(stats_at, NOON, "--days", "60", "--by", "provider")
    old = truth(account, date(2026, 9, 24), date(2026, 10, 22), "model")
    assert groups_of(data)["unknown"]["usage_usd"] == sum(row["usage_usd"] for row in old.values())
    assert groups_of(data)["Azure"] == truth(account, date(2026, 10, 23), NOON.date(), "provider")["Azure"]


def test_a_filter_by_provider_names_the_days_that_have_none(stats_at: StatsAt, account: Account) -> None:
    """They are in no sum, and no day without spend; other filters, and the groups by key, have nothing to name."""
    live_at(account, NOON)
    first, last = date(2026, 10, 23), NOON.date()
    azure = truth(account, first, last, "provider")["Azure"]
    # A day without spend has no provider to tell, so it is known.
    old = sorted({row.date for row in account.rows() if date(2026, 9, 24) <= row.date <= date(2026, 10, 21)})
    assert old
    for by in ("provider", "day", "provider,key"):
        data = asked(stats_at, NOON, "--days", "60", "--by", by, "--provider", "azure")
        unnamed = [span.split("..") for span in gaps(data)]
        days = [first + number * DAY for first, last in [map(date.fromisoformat, each) for each in unnamed]
                for number in range((last - first).days + 1)]  # fmt: skip
        assert days == old and data["partial"], by
        assert [gap["code"] for gap in data["missing"]] == ["no_provider"]
        total = data["breakdown"]["total"]["usage_usd"]
        assert total >= azure["usage_usd"] and (by != "provider" or groups_of(data) == {"Azure": azure})
        assert by != "day" or {day.isoformat() for day in old}.isdisjoint(groups_of(data))
    text = stats_at(NOON, "--days", "60", "--provider", "azure", mgmt=MANAGEMENT_KEY).out
    assert "in no sum: OpenRouter does not tell the providers of days older than 31" in text
    for words in (("--provider", "*"), ("--model", "*"), ("--key", "*"), ("--days", "31", "--provider", "azure")):
        assert gaps(asked(stats_at, NOON, *(() if "--days" in words else ("--days", "60")), *words)) == [], words
    names = groups_of(asked(stats_at, NOON, "--days", "60", "--by", "provider,key"))
    keys = set(truth(account, date(2026, 9, 24), last, "key"))
    assert {name.split(" · ")[0] for name in names} & keys == set()


def test_a_running_day_that_activity_has_already_is_not_counted_twice(stats_at: StatsAt, account: Account) -> None:
    live_at(account, NOON)
    account.activity_includes_today = True
    assert groups_of(asked(stats_at, NOON, "--month")) == truth(account, date(2026, 11, 1), NOON.date())


def test_a_month_takes_one_round_of_questions(stats_at: StatsAt, account: Account, sandbox: Sandbox) -> None:
    live_at(account, NOON)
    asked(stats_at, NOON, "--month")
    paths = sorted(request.path for request in sandbox.received())
    assert paths == ["/activity", QUERY, QUERY, "/credits", "/key"]


def test_models_of_all_sources_are_one_line(stats_at: StatsAt, account: Account) -> None:
    for ago in (0, 3, 40):
        account.add_activity("maker/one", days_ago=ago, usage=Decimal(1), model_permaslug="maker/one-2026")
    data = asked(stats_at, NOON, "--days", "60")
    assert {name: row["usage_usd"] for name, row in groups_of(data).items()} == {"maker/one": 3}


def test_a_dated_slug_is_shown_as_its_model_where_activity_has_no_name_for_it(
    stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    for model in ("maker/one", "maker/one:free"):
        for ago in (0, 3):
            slug = f"maker/one-20260101{model.removeprefix('maker/one')}"
            account.add_activity(model, days_ago=ago, usage=Decimal(1), model_permaslug=slug)
    sandbox.misbehave("/activity", Fault.status(403))
    for words in (("--month",), ("--today",)):
        names = [row["name"] for row in asked(stats_at, NOON, *words)["breakdown"]["rows"]]
        assert names == ["maker/one", "maker/one:free"]


def test_credits_and_byok_stay_apart(stats_at: StatsAt, account: Account) -> None:
    account.add_activity(MODELS[0], days_ago=0, usage=Decimal(1), byok_usage_inference=Decimal(2))
    account.add_activity(MODELS[0], days_ago=2, usage=Decimal(4), byok_usage_inference=Decimal(8))
    out = stats_at(NOON, "--month", mgmt=MANAGEMENT_KEY).out
    assert "this month (2026-11-01 to 2026-11-22 UTC): $5.00 + $10.00 BYOK (2)\n" in out
    assert "Source: /activity to 2026-11-21; /analytics/query (live) today, up to 12:00 UTC\n" in out


@pytest.mark.parametrize("mgmt", [None, MANAGEMENT_KEY])
def test_a_management_key_in_the_ordinary_place_will_do(mgmt: str | None, stats_at: StatsAt, account: Account) -> None:
    live_at(account, NOON)
    data = asked(stats_at, NOON, "--days", "40", mgmt=mgmt, key=MANAGEMENT_KEY if mgmt is None else None)
    assert groups_of(data) == truth(account, date(2026, 10, 14), NOON.date())
    assert data["scope"] == "account"


# -- the archive -----------------------------------------------------------------------------------------------------


@pytest.fixture
def archived(
    account: Account, home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[datetime], None]:
    """Run sync as it would have run on another day."""

    def sync(then: datetime) -> None:
        now = account.now
        account.now = lambda: then
        ran = TrackerAt(managing(home, sandbox.url), monkeypatch, capsys)(then, "sync")
        assert ran.code == 0, ran.err
        account.now = now

    return sync


@pytest.mark.parametrize("by", ["model", "provider", "day"])
def test_the_archive_has_what_activity_has_forgotten(
    by: str, stats_at: StatsAt, account: Account, sandbox: Sandbox, archived: Callable[[datetime], None]
) -> None:
    live_at(account, NOON)
    archived(NOON - 30 * DAY)
    before = len(sandbox.received())
    data = asked(stats_at, NOON, "--since", "2026-10-01", "--by", by)
    assert groups_of(data) == truth(account, date(2026, 10, 1), NOON.date(), by)
    assert sources(data)["archive of /activity"][0].startswith("2026-10-01..2026-10-2")
    assert data["partial"] is False
    again = [request for request in sandbox.received()[before:] if request.path == QUERY]
    assert len(again) <= 3  # the sums, today, and the day that the archive has not


def test_the_archive_stands_in_where_the_analytics_api_is_not_there(
    stats_at: StatsAt, account: Account, sandbox: Sandbox, archived: Callable[[datetime], None]
) -> None:
    live_at(account, NOON)
    archived(NOON - 29 * DAY)
    sandbox.misbehave(QUERY, Fault.status(403))
    data = asked(stats_at, NOON, "--since", "2026-10-01", "--until", "2026-11-21", "--by", "day")
    assert groups_of(data) == truth(account, date(2026, 10, 1), date(2026, 11, 21), "day")
    assert (data["partial"], gaps(data)) == (False, [])


def test_where_activity_fails_the_archive_and_the_analytics_api_have_the_days(
    stats_at: StatsAt, account: Account, sandbox: Sandbox, archived: Callable[[datetime], None]
) -> None:
    live_at(account, NOON)
    archived(NOON - 10 * DAY)
    sandbox.misbehave("/activity", Fault.status(403))
    data = asked(stats_at, NOON, "--month")
    assert groups_of(data) == truth(account, date(2026, 11, 1), NOON.date())
    assert sources(data) == {
        "archive of /activity": ["2026-11-01..2026-11-11"],
        QUERY: ["2026-11-12..2026-11-21"],
        LIVE: ["2026-11-22..2026-11-22"],
    }
    assert (data["partial"], data["missing"]) == (False, [])


def other_archive(home: Path, account_name: str, *days: date) -> None:
    folder = home / ".openrouter"
    folder.mkdir(mode=0o700, exist_ok=True)
    row = Usage(1, 1, 1, 0, 0, Decimal(1000))
    lines = [
        write_day(ArchivedDay(account_name, day, ACTIVITY, NOON, gathered([Row(day, "a/b", "X", row, "a/b-1")])))
        for day in days
    ]
    (folder / "activity.jsonl").write_bytes(b"".join(lines))


def test_the_archive_of_another_account_is_not_used_and_its_days_are_asked_for(
    stats_at: StatsAt, account: Account, home: Path
) -> None:
    live_at(account, NOON)
    other_archive(home, "user-000000000000", *(date(2026, 10, 1) + number * DAY for number in range(10)))
    ran = stats_at(NOON, "--since", "2026-10-01", "--top", "1000", "--json", mgmt=MANAGEMENT_KEY)
    assert groups_of(ran.data) == truth(account, date(2026, 10, 1), NOON.date())
    assert "the archive was not used: no day of this account is in it" in ran.json["notes"]


def test_a_day_that_was_archived_while_it_ran_is_not_taken_for_a_whole_one(
    stats_at: StatsAt, account: Account, home: Path, sandbox: Sandbox, archived: Callable[[datetime], None]
) -> None:
    live_at(account, NOON)
    archived(NOON)
    path = home / ".openrouter" / "activity.jsonl"
    line = path.read_bytes().splitlines()[-1]
    path.write_bytes(path.read_bytes() + line.replace(b'"date":"2026-11-21"', b'"date":"2026-11-22"') + b"\n")
    assert b'"date":"2026-11-22"' in path.read_bytes()
    sandbox.misbehave(QUERY, Fault.status(403))
    sandbox.misbehave("/activity", Fault.status(403))
    data = asked(stats_at, NOON, "--month", "--by", "day")
    assert groups_of(data) == truth(account, date(2026, 11, 1), date(2026, 11, 21), "day")
    assert gaps(data) == ["2026-11-22..2026-11-22"]


def test_an_archive_that_cannot_be_read_costs_nothing_that_can_be_asked_for(
    stats_at: StatsAt, account: Account, home: Path
) -> None:
    live_at(account, NOON)
    (home / ".openrouter" / "activity.jsonl").mkdir(parents=True)
    ran = stats_at(NOON, "--days", "40", "--top", "1000", "--json", mgmt=MANAGEMENT_KEY)
    assert groups_of(ran.data) == truth(account, date(2026, 10, 14), NOON.date())
    assert "the archive was not used: " in " ".join(ran.json["notes"])


# -- what nobody tells -----------------------------------------------------------------------------------------------

REFUSALS = {
    "403": Fault.status(403),
    "404": Fault.status(404),
    "400": Fault.status(400),
    "web page": Fault.html(200),
    "empty": Fault.raw(b""),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_days_that_the_analytics_api_does_not_tell_are_named_on_every_face(
    refusal: str, stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)
    sandbox.misbehave(QUERY, REFUSALS[refusal])
    data = asked(stats_at, NOON, "--days", "40", "--by", "day")
    known = truth(account, date(2026, 10, 23), date(2026, 11, 21), "day")
    assert groups_of(data) == known
    assert gaps(data) == ["2026-10-14..2026-10-22", "2026-11-22..2026-11-22"]
    assert (data["partial"], {gap["part"] for gap in data["missing"]}) == (True, {"days"})
    assert "10 days (2026-10-14 to 2026-10-22, 2026-11-22), in no sum: " in data["missing"][0]["message"]
    words = ("--days", "40", "--by", "day")
    text = stats_at(NOON, *words, mgmt=MANAGEMENT_KEY).out
    assert "• 2026-10-14 to 2026-10-22: unknown\n" in text and "• 2026-11-22: unknown\n" in text
    assert "⚠ Spend of some days unavailable: 10 days (2026-10-14 to 2026-10-22, 2026-11-22), in no sum: " in text
    assert "in 30 of 40 days, the others are unknown" in text
    for face, read in (("csv", read_csv), ("markdown", read_markdown)):
        rows = read(stats_at(NOON, *words, "--format", face, mgmt=MANAGEMENT_KEY).out)
        unknown = [row for row in rows if row["kind"] == "missing" and row["start_utc"]]
        assert [(row["start_utc"], row["end_utc"]) for row in unknown] == [
            ("2026-10-14T00:00:00Z", "2026-10-23T00:00:00Z"),
            ("2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
        ]
        assert {row["usage_usd"] for row in unknown} == {""}


def test_a_refusal_is_not_asked_for_again_and_again(stats_at: StatsAt, account: Account, sandbox: Sandbox) -> None:
    live_at(account, NOON)
    sandbox.misbehave(QUERY, Fault.status(403))
    asked(stats_at, NOON, "--days", "365")
    assert sandbox.calls(QUERY) <= 7


def test_where_no_day_at_all_is_known_there_is_no_breakdown_and_never_a_zero(
    stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)
    for path in (QUERY, "/activity"):
        sandbox.misbehave(path, Fault.status(403))
    data = asked(stats_at, NOON, "--month")
    assert (data["breakdown"], data["partial"]) == (None, True)
    assert "22 days (2026-11-01 to 2026-11-22), in no sum" in " ".join(gap["message"] for gap in data["missing"])
    text = stats_at(NOON, "--month", mgmt=MANAGEMENT_KEY).out
    assert "Account by" not in text and "nothing" not in text and "22 days (2026-11-01 to 2026-11-22)" in text


def test_the_usual_days_never_stand_in_for_those_that_were_asked_for(
    stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)
    sandbox.misbehave(QUERY, Fault.status(403))
    data = asked(stats_at, NOON, "--days", "1")
    assert (data["breakdown"], data["partial"]) == (None, True)
    assert "Recent Models" not in stats_at(NOON, "--days", "1", mgmt=MANAGEMENT_KEY).out


def cut(answer: Any) -> None:
    answer["data"]["metadata"]["truncated"] = True


def test_an_answer_that_was_cut_short_is_asked_for_again_in_pieces(
    stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)

    def long_ones(answer: Any) -> None:
        days = {row.get("date__day") for row in answer["data"]["data"]}
        if len(days) > 4 and "model" in answer["data"]["data"][0]:
            cut(answer)
            del answer["data"]["data"][3:]

    sandbox.misbehave(QUERY, Fault.mutate(long_ones))
    data = asked(stats_at, NOON, "--days", "60")
    assert groups_of(data) == truth(account, date(2026, 9, 24), NOON.date())
    assert data["partial"] is False


def test_answers_that_are_always_cut_short_leave_the_days_unknown_within_the_rate_limit(
    stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)
    sandbox.misbehave(QUERY, Fault.mutate(cut))
    data = asked(stats_at, NOON, "--days", "365")
    assert sandbox.calls(QUERY) <= 60
    assert groups_of(data) == truth(account, date(2026, 10, 23), date(2026, 11, 21))
    assert gaps(data) == ["2025-11-23..2026-10-22", "2026-11-22..2026-11-22"]
    told = " ".join(gap["message"] for gap in data["missing"])
    assert "cut its answer short" in told and "no more questions in this minute" in told


def test_days_that_are_too_old_for_openrouter_are_unknown_and_not_zero(stats_at: StatsAt, account: Account) -> None:
    live_at(account, NOON, back=500)
    ran = stats_at(NOON, "--since", "2025-11-01", "--top", "1000", "--json", mgmt=MANAGEMENT_KEY)
    assert gaps(ran.data) == ["2025-11-01..2025-11-21"]
    assert groups_of(ran.data) == truth(account, date(2025, 11, 22), NOON.date())
    (gap,) = ran.data["missing"]
    assert (gap["code"], "365 days back" in gap["message"], "sync" in gap["hint"]) == ("too_old", True, True)


def test_a_day_that_activity_lost_is_taken_from_the_analytics_api(
    stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON, quiet=0)

    def losing(answer: Any) -> None:
        answer["data"] = [row for row in answer["data"] if not row["date"].startswith("2026-11-20")]

    sandbox.misbehave("/activity", Fault.mutate(losing))
    data = asked(stats_at, NOON, "--month", "--by", "day")
    assert groups_of(data) == truth(account, date(2026, 11, 1), NOON.date(), "day")
    assert sources(data)[QUERY] == ["2026-11-20..2026-11-20"]


@pytest.mark.parametrize("day", ["2026-11-30", "2026-10-01", None])
def test_a_row_of_a_day_that_nobody_asked_for_makes_the_answer_unknown(
    day: str | None, stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)

    def strange(answer: Any) -> None:
        for row in answer["data"]["data"]:
            row.pop("date__day", None)
            if day:
                row["date__day"] = day

    sandbox.misbehave(QUERY, Fault.mutate(strange))
    data = asked(stats_at, NOON, "--month")
    assert groups_of(data) == truth(account, date(2026, 11, 1), date(2026, 11, 21))
    assert gaps(data) == ["2026-11-22..2026-11-22"]


# -- nothing spent ---------------------------------------------------------------------------------------------------


def test_nothing_spent_is_said_where_each_day_proves_it(stats_at: StatsAt) -> None:
    out = stats_at(NOON, "--month", mgmt=MANAGEMENT_KEY).out
    assert "Account by model, this month (2026-11-01 to 2026-11-22 UTC): nothing spent\n" in out
    data = asked(stats_at, NOON, "--month", "--by", "day")
    assert len(groups_of(data)) == 22 and data["breakdown"]["total"]["usage_usd"] == 0


def test_nothing_is_not_said_of_a_day_that_nobody_told_of(stats_at: StatsAt, sandbox: Sandbox) -> None:
    sandbox.misbehave(QUERY, Fault.status(403))
    out = stats_at(NOON, "--month", mgmt=MANAGEMENT_KEY).out
    assert "nothing spent in 21 of 22 days, the others are unknown\n" in out
    assert sandbox.calls("/activity") == 2  # an answer without any row has to be given twice
    out = stats_at(NOON, "--yesterday", mgmt=MANAGEMENT_KEY).out
    assert "Account by model, yesterday (2026-11-21 UTC): nothing spent\n" in out


def test_an_empty_answer_of_activity_is_not_believed_where_the_sums_say_otherwise(
    stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)
    sandbox.misbehave("/activity", Fault.mutate(lambda answer: answer.update(data=[])))
    data = asked(stats_at, NOON, "--month", "--by", "day")
    assert groups_of(data) == truth(account, date(2026, 11, 1), NOON.date(), "day")


@pytest.mark.parametrize("words", [("--month",), ("--since", "2026-11-01", "--until", "2026-11-21")])
def test_an_empty_answer_that_is_given_once_only_proves_nothing(
    words: tuple[str, ...], stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)
    sandbox.misbehave("/activity", Fault.mutate(lambda answer: answer.update(data=[])), times=1)
    sandbox.misbehave(QUERY, Fault.status(404))
    data = asked(stats_at, NOON, *words)
    assert groups_of(data) == truth(account, date(2026, 11, 1), date(2026, 11, 21))


SPENT, EMPTY = (Row(NOON.date() - DAY, "a/b", "X", Usage(1)),), ()
KEPT = "archive of /activity"
# What /activity (blank: without any row, and asked once), the archive and the analytics API say of a day; whether the
# sums have spend on it, None where they are not known; and whom to believe, "" for nobody.
BELIEVED: list[tuple[Any, bool, Any, Any, bool | None, str]] = [
    (SPENT, False, None, None, True, "/activity"),
    (SPENT, False, EMPTY, EMPTY, False, "/activity"),
    (SPENT, False, SPENT, SPENT, None, "/activity"),
    (None, False, SPENT, SPENT, None, KEPT),
    (None, False, None, SPENT, None, QUERY),
    (EMPTY, False, None, None, False, "/activity"),
    (EMPTY, True, None, None, False, "/activity"),
    (EMPTY, False, None, None, True, ""),
    (EMPTY, False, None, SPENT, True, QUERY),
    (EMPTY, False, SPENT, None, True, KEPT),
    (EMPTY, False, SPENT, None, False, "/activity"),
    (EMPTY, False, None, None, None, "/activity"),
    (EMPTY, True, None, None, None, ""),
    (EMPTY, False, SPENT, None, None, KEPT),
    (EMPTY, False, None, SPENT, None, QUERY),
    (EMPTY, True, EMPTY, None, None, KEPT),
    (None, False, EMPTY, None, None, KEPT),
    (None, False, EMPTY, None, True, ""),
    (None, False, EMPTY, SPENT, None, QUERY),
    (None, False, None, EMPTY, None, ""),
    (None, False, None, EMPTY, False, QUERY),
    (None, False, None, EMPTY, True, ""),
    (None, False, None, None, False, ""),
    (None, False, None, None, None, ""),
]


@pytest.mark.parametrize(("activity", "is_blank", "kept", "analytics", "summed", "believed"), BELIEVED)
def test_whom_to_believe_about_a_day(
    activity: Any, is_blank: bool, kept: Any, analytics: Any, summed: bool | None, believed: str
) -> None:
    day = NOON.date() - DAY

    def told(rows: Any) -> dict[date, Any]:
        return {} if rows is None else {day: rows}

    span = None if summed is None else Stretch(day, day)
    kept_day = None if kept is None else ArchivedDay("user-1", day, ACTIVITY, NOON, kept)
    told_of = Told(
        told(activity), is_blank, told(kept_day), told(analytics), span, frozenset({day} if summed else ())
    )
    found = told_of.known(day, NOON.date())
    assert (found.source if found else "") == believed
    if found:
        assert found.rows == {"/activity": activity, KEPT: kept, QUERY: analytics}[believed]


def test_rows_that_are_gone_from_the_details_are_unknown_where_the_sums_have_spend(
    stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)

    def no_details(answer: Any) -> None:
        if "model" in (answer["data"]["data"] or [{}])[0]:
            answer["data"]["data"] = []

    sandbox.misbehave(QUERY, Fault.mutate(no_details))
    data = asked(stats_at, NOON, "--month")
    assert gaps(data) == ["2026-11-22..2026-11-22"]
    assert "OpenRouter's answers differ" in data["missing"][0]["message"]


# -- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-40 * 24, -25, -1, 1, 25, 40 * 24])
@pytest.mark.parametrize("words", [("--month",), ("--days", "40"), ("--yesterday",)])
def test_the_clock_that_counts_is_openrouters(
    hours: int, words: tuple[str, ...], stats_at: StatsAt, account: Account
) -> None:
    live_at(account, NOON)
    data = asked(stats_at, NOON + timedelta(hours=hours), *words, "--by", "day")
    spans = {"--month": (1, 22), "--days": (-17, 22), "--yesterday": (21, 21)}
    first, last = (date(2026, 10, 31) + number * DAY for number in spans[words[0]])
    assert groups_of(data) == truth(account, first, last, "day")


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("path", ["/activity", "/key", QUERY])
def test_no_day_is_lost_or_counted_twice_when_it_strikes_midnight(
    path: str, delay: float, stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    begun, begun_s = moment("2026-11-21T23:59:59.600"), time.monotonic()
    live_at(account, begun, quiet=0)
    account.now = lambda: begun + timedelta(seconds=time.monotonic() - begun_s)
    sandbox.misbehave(path, Fault.delay(delay))
    data = asked(stats_at, begun, "--days", "31", "--by", "day")
    assert groups_of(data) == truth(account, date(2026, 10, 22), date(2026, 11, 21), "day")


def test_an_answer_that_openrouter_had_kept_tells_up_to_when_it_knows(stats_at: StatsAt, account: Account) -> None:
    live_at(account, NOON)
    account.analytics_cached_at = NOON - timedelta(hours=3)
    assert asked(stats_at, NOON, "--month")["breakdown"]["coverage"]["live_until"] == "2026-11-22T09:00:00Z"
    assert "today, up to 09:00 UTC\n" in stats_at(NOON, "--month", mgmt=MANAGEMENT_KEY).out


def test_kept_answers_give_their_days_and_no_others(stats_at: StatsAt, account: Account, sandbox: Sandbox) -> None:
    live_at(account, NOON + 2 * DAY)
    account.now = lambda: NOON
    asked(stats_at, NOON)
    later = NOON + 2 * DAY
    account.now = lambda: later
    for path in ("/key", "/credits", "/activity"):
        sandbox.misbehave(path, Fault.status(503))
    ran = stats_at(later, "--month", "--by", "day", "--json", mgmt=MANAGEMENT_KEY)
    assert ran.code == 5
    assert groups_of(ran.data) == truth(account, date(2026, 11, 1), later.date(), "day")
    sandbox.misbehave(QUERY, Fault.status(503))
    ran = stats_at(later, "--month", "--by", "day", "--json", mgmt=MANAGEMENT_KEY)
    assert gaps(ran.data) == ["2026-11-22..2026-11-24"]


def test_a_slow_analytics_api_does_not_outlast_the_timeout(
    stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)
    sandbox.misbehave(QUERY, Fault.hang())
    data = asked(stats_at, NOON, "--days", "365", "--timeout", "1")
    assert gaps(data) == ["2025-11-23..2026-10-22", "2026-11-22..2026-11-22"]
    assert sandbox.calls(QUERY) <= 14


# -- without a management key ----------------------------------------------------------------------------------------


def test_without_one_the_ledger_tells_of_the_period_and_which_key_would_tell_more(
    stats_at: StatsAt, account: Account, home: Path
) -> None:
    account.keys[0].usage_monthly = Decimal("2.5")
    Tracker(home).write(
        call("2026-11-22T08:00:00Z", MODELS[0], "0.5"),
        call("2026-11-02T08:00:00Z", MODELS[1], "1"),
        call("2026-10-31T08:00:00Z", MODELS[1], "7"),
    )
    out = stats_at(NOON, "--month").out
    assert "Recent Models (this month, 2026-11-01 to 2026-11-22 UTC, from the local ledger):\n" in out
    assert f"• {MODELS[1]}: $1.00 (1)\n• {MODELS[0]}: $0.50 (1)\n" in out
    assert "not attributed: $1.00 (spent by this key, not seen by the ledger)" in out
    assert "spend by model is what the ledger saw; for OpenRouter's own set OPENROUTER_MGMT_KEY" in out
    data = asked(stats_at, NOON, "--since", "2026-10-30", "--until", "2026-11-03", "--by", "day", mgmt=None)
    assert {row["name"]: row["usage_usd"] for row in data["breakdown"]["rows"]} == {
        "2026-11-03": 0, "2026-11-02": 1, "2026-11-01": 0, "2026-10-31": 7, "2026-10-30": 0}  # fmt: skip
    assert (data["breakdown"]["source"], data["breakdown"]["coverage"]) == ("local ledger", None)
    assert "unattributed,\"this month" in stats_at(NOON, "--month", "--format", "csv").out
    assert "/key usage_monthly - local ledger" in stats_at(NOON, "--month", "--format", "csv").out


def test_without_one_and_without_a_ledger_it_says_what_is_needed(stats_at: StatsAt) -> None:
    ran = stats_at(NOON, "--month")
    assert ran.code == 0
    assert "no spend by model: set OPENROUTER_MGMT_KEY" in ran.out and "nothing spent" not in ran.out
    assert asked(stats_at, NOON, "--month", mgmt=None)["breakdown"] is None


@pytest.mark.parametrize("by", ["key", "workspace"])
def test_without_one_nobody_can_tell_who_spent_it(by: str, stats_at: StatsAt) -> None:
    ran = stats_at(NOON, "--month", "--by", by)
    assert ran.code == 2 and "OPENROUTER_MGMT_KEY" in ran.error_line


# -- the options -----------------------------------------------------------------------------------------------------

WRONG = [
    (("--month", "--week"), "not allowed with"),
    (("--today", "--days", "3"), "not allowed with"),
    (("--days", "3", "--since", "2026-11-01"), "--period 3d and --since/--until cannot be combined"),
    (("--yesterday", "--since", "2026-11-01"), "--yesterday and --since/--until cannot be combined"),
    (("--session", "job-1"), "have no session -- tracked calls have it: add --source ledger"),
    (("--by", "hour,model"), "have no hour"),
    (("--source", "ledger", "--by", "key"), "tracked calls do not name their key"),
    (("--source", "ledger", "--explain"), "are about the account"),
    (("--until", "2026-11-01"), "--until needs --since"),
    (("--month", "--until", "2026-11-01"), "--until needs --since"),
    (("--since", "2026-11-10", "--until", "2026-11-01"), "--since is after --until"),
    (("--since", "2026-11-23"), "--since is in the future: today is 2026-11-22 (UTC)"),
    (("--since", "2026-11-01T10:00:00Z"), "figures are of whole UTC days"),
    (("--since", "1999-12-31"), "2000 to 2199"),
    (("--days", "0"), "whole number from 1 to 365"),
]


@pytest.mark.parametrize(("words", "why"), WRONG)
def test_periods_that_exclude_one_another_or_cannot_be_are_refused_before_anything_is_asked(
    words: tuple[str, ...], why: str, stats_at: StatsAt, sandbox: Sandbox
) -> None:
    ran = stats_at(NOON, *words, mgmt=MANAGEMENT_KEY)
    assert ran.code == 2 and why in ran.error_line
    assert sandbox.received() == []


def test_the_line_shows_its_usual_figures_and_asks_nothing_more(
    stats_at: StatsAt, account: Account, sandbox: Sandbox
) -> None:
    live_at(account, NOON)
    usual = stats_at(NOON, "--line", mgmt=MANAGEMENT_KEY)
    assert stats_at(NOON, "--line", "--month", mgmt=MANAGEMENT_KEY).out == usual.out
    assert sandbox.calls(QUERY) == 0


def test_a_period_goes_with_a_zone_and_an_explanation(stats_at: StatsAt, account: Account) -> None:
    live_at(account, NOON)
    data = asked(stats_at, NOON, "--month", "--tz", "Asia/Tokyo", "--explain")
    assert groups_of(data) == truth(account, date(2026, 11, 1), NOON.date())
    assert data["zone_today"]["usage_usd"] is not None and data["explanation"]


def test_csv_rows_of_days_name_the_source_of_each(stats_at: StatsAt, account: Account) -> None:
    live_at(account, NOON)
    rows = read_csv(stats_at(NOON, "--days", "40", "--by", "day", "--format", "csv", mgmt=MANAGEMENT_KEY).out)
    found = {row["name"]: row["source"] for row in rows if row["kind"] == "day"}
    assert found["2026-10-15"] == QUERY and found["2026-11-01"] == "/activity"
    assert found["2026-11-22"] == f"{LIVE}, up to 2026-11-22T12:00:00Z"
    assert len(found) == 40


def test_top_cuts_the_cheap_end_and_sums_it_up(stats_at: StatsAt, account: Account) -> None:
    live_at(account, NOON)
    whole = groups_of(asked(stats_at, NOON, "--month"))
    data = stats_at(NOON, "--month", "--top", "1", "--json", mgmt=MANAGEMENT_KEY).data["breakdown"]
    assert data["more"]["count"] == len(whole) - 1
    for name in SUMS:
        assert data["rows"][0][name] + data["more"][name] == data["total"][name]


def test_one_command_answers_in_a_process_without_any_preparation(stats: Stats, account: Account) -> None:
    account.now = lambda: datetime.now(UTC)
    account.add_activity("maker/one", days_ago=0, usage=Decimal("1.25"))
    ran: Ran = stats("--month", mgmt=MANAGEMENT_KEY)
    assert (ran.code, ran.err) == (0, "")
    assert "• maker/one: $1.25 (1)\n" in ran.out and "Account by model, this month (" in ran.out


def test_the_usual_summary_loads_nothing_of_this(stats: Stats) -> None:
    ran = stats(mgmt=MANAGEMENT_KEY, python=(sys.executable, "-X", "importtime"))
    loaded = [line.rpartition("|")[2].strip() for line in ran.err.splitlines()]
    assert "openrouter_usage.cli.summary" in loaded
    rooms = ("openrouter_usage.jobs.account_days", "openrouter_usage.figures.account_days", "openrouter_usage.figures.archive")
    assert [name for name in loaded if name.startswith(rooms)] == []
