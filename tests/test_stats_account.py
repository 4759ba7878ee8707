"""stats --source account: archived days add up in every grouping, and what is not known is said on every face."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from openrouter_usage.entry import Usage
from openrouter_usage.figures.archive import ACTIVITY, ANALYTICS, ArchivedDay, gathered, write_day
from openrouter_usage.figures.breakdown import break_down
from openrouter_usage.figures.report import Report
from openrouter_usage.openrouter.answers.account import ActivityRow
from openrouter_usage.render import report as faces
from openrouter_usage.render.table import escaped
from tests.booking import NOON, NOWHERE, Booked, Tracker, TrackerAt
from tests.oracle import read_csv
from tests.test_hostile_text import harmless

YESTERDAY = date(2026, 11, 21)
DAY = timedelta(days=1)
Golden = Callable[[str, str], None]


@pytest.fixture
def tracker(home) -> Tracker:
    return Tracker(home, NOWHERE)


def line(
    day: date, *costs: str, source: str = ACTIVITY, account: str = "user-1", provider: str = "OpenAI", model: str = ""
) -> bytes:
    """A line of the archive: a row of some model for each cost."""
    models = [model or ("openai/gpt-5.2", "google/gemini-3-flash", "a/c")[number] for number in range(len(costs))]
    slugs = [model if source == ANALYTICS else f"{model}-20251211" for model in models]
    if source == ANALYTICS:
        models, provider = slugs, "unknown"
    rows = [
        ActivityRow(day, model, provider, Usage(3, 20, 10, 4, 5, Decimal(cost), Decimal("0.5")), slug)
        for model, slug, cost in zip(models, slugs, costs, strict=True)
    ]
    return write_day(ArchivedDay(account, day, source, datetime(2026, 11, 22, 0, 5, tzinfo=timezone.utc), gathered(rows)))


def write(tracker: Tracker, *lines: bytes) -> None:
    tracker.folder.mkdir(mode=0o700, exist_ok=True)
    with (tracker.folder / "activity.jsonl").open("ab") as file:
        file.write(b"".join(lines))


def days(first: str, count: int, *costs: str, **more: str) -> bytes:
    start = date.fromisoformat(first)
    return b"".join(line(start + number * DAY, *costs, **more) for number in range(count))


def sample(tracker: Tracker) -> None:
    """Days with and without spend, a gap of three days, a filled one, and a line that is torn."""
    write(
        tracker,
        days("2026-11-10", 4, "1.5", "0.25"),
        line(date(2026, 11, 14)),
        days("2026-11-18", 4, "2", "0.000001"),
        line(date(2026, 11, 9), "7", source=ANALYTICS, model="openai/gpt-5.2-20251211"),
        b'{"kind":"activity","acc',
    )


def account(at: TrackerAt, *words: str) -> Booked:
    return at(NOON, "stats", "--source", "account", *words)


def shown(ran: Booked, tracker: Tracker) -> str:
    assert ran.code == 0, ran.err
    return ran.out.replace(str(tracker.home), "HOME").replace(escaped(str(tracker.home)), "HOME")


PAGES = {
    "stats-account.txt": ("--month", "--trend"),
    "stats-account-by-day.txt": ("--since", "2026-11-12", "--until", "2026-11-19", "--by", "day"),
    "stats-account.json": ("--json", "--by", "provider"),
    "stats-account.csv": ("--format", "csv", "--since", "2026-11-12"),
    "stats-account.md": ("--format", "markdown", "--until", "2026-11-20"),
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_looks_as_it_should(page: str, tracker: Tracker, at: TrackerAt, golden: Golden) -> None:
    sample(tracker)
    golden(page, shown(account(at, *PAGES[page]), tracker))


@pytest.mark.parametrize("by", ["model", "day", "provider"])
@pytest.mark.parametrize("period", [(), ("--month",), ("--week",), ("--since", "2026-11-11", "--until", "2026-11-19")])
def test_every_grouping_and_the_trend_add_up_to_the_same_total(
    by: str, period: tuple[str, ...], tracker: Tracker, at: TrackerAt
) -> None:
    sample(tracker)
    data = account(at, "--json", "--by", by, "--trend", "--top", "1", *period).data
    total = account(at, "--json", *period).data["total"]
    assert total["requests"] > 0
    for column in total:
        assert sum(row[column] for row in data["groups"]) + data["more"][column] == total[column]
        assert sum(row[column] for row in data["trend"]) + data["earlier"][column] == total[column]


def test_a_day_without_spend_is_a_day_and_an_unknown_one_is_none(tracker: Tracker, at: TrackerAt) -> None:
    sample(tracker)
    data = account(at, "--json", "--by", "day", "--since", "2026-11-13", "--until", "2026-11-18").data
    assert [(row["name"], row["cost_usd"]) for row in data["groups"]] == [
        ("2026-11-13", Decimal("1.75")),
        ("2026-11-14", 0),
        ("2026-11-18", Decimal("2.000001")),
    ]
    assert data["missing"] == [{"start": "2026-11-15T00:00:00Z", "end": "2026-11-18T00:00:00Z", "days": 3}]


def test_every_face_says_what_is_missing(tracker: Tracker, at: TrackerAt) -> None:
    sample(tracker)
    words = ("--since", "2026-11-12", "--until", "2026-11-19")
    note = "not complete: 3 days (2026-11-15 to 2026-11-17) not known and in no sum"
    for face in ("text", "markdown"):
        assert note in account(at, "--format", face, *words).out
    assert note in " ".join(account(at, "--json", *words).json["notes"])
    rows = read_csv(account(at, "--format", "csv", *words).out)
    (missing,) = [row for row in rows if row["kind"] == "missing"]
    assert (missing["start_utc"], missing["end_utc"]) == ("2026-11-15T00:00:00Z", "2026-11-18T00:00:00Z")
    assert missing["cost_usd"] == missing["requests"] == ""
    whole = account(at, "--since", "2026-11-10", "--until", "2026-11-14", "--json")
    assert whole.data["missing"] == [] and "not complete" not in whole.out


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (("--month",), ["2026-11-01 to 2026-11-08", "2026-11-15 to 2026-11-17"]),
        (("--week",), ["2026-11-16 to 2026-11-17"]),
        (("--since", "2026-11-19"), []),
        (("--until", "2026-11-13"), []),
        (("--since", "2026-11-21", "--until", "2027-01-01"), []),
        ((), ["2026-11-15 to 2026-11-17"]),
    ],
)
def test_only_completed_days_of_the_period_can_be_missing(
    words: tuple[str, ...], missing: list[str], tracker: Tracker, at: TrackerAt
) -> None:
    sample(tracker)
    found = account(at, "--json", *words).data["missing"]
    last = [date.fromisoformat(one["end"][:10]) - DAY for one in found]
    assert [f"{one['start'][:10]} to {end}" for one, end in zip(found, last, strict=True)] == missing


def test_days_since_the_last_sync_are_missing_and_the_running_one_is_named(tracker: Tracker, at: TrackerAt) -> None:
    write(tracker, days("2026-11-01", 10, "1"))
    for words in ((), ("--month",), ("--since", "2026-11-01")):
        ran = account(at, "--json", *words)
        assert [one["days"] for one in ran.data["missing"]] == [11]
        assert "2026-11-22 is still running and not in these" in " ".join(ran.json["notes"])
    ran = account(at, "--json", "--since", "2026-11-02", "--until", "2026-11-05")
    assert ran.json["notes"] == [] and ran.data["total"]["cost_usd"] == 4


REFUSED = [
    (("--by", "session"), "cannot be grouped by session"),
    (("--by", "tag"), "cannot be grouped by tag"),
    (("--tz", "Europe/Amsterdam"), "are per UTC day"),
    (("--since", "2026-11-12T10:00:00Z"), "whole UTC days"),
    (("--since", "2026-11-12", "--until", "2026-11-13T10:00:00Z"), "whole UTC days"),
    (("--today",), "2026-11-22 is running"),
    (("--since", "2026-11-22"), "2026-11-22 is running"),
    (("--since", "2030-01-01"), "no day of this period is over yet"),
    (("--since", "2026-01-01", "--until", "2026-10-01"), "nothing is archived for 2026-01-01 to 2026-10-01"),
    (("--since", "2026-11-15", "--until", "2026-11-17"), "nothing is archived for 2026-11-15 to 2026-11-17"),
    (("--until", "2026-10-01"), "nothing is archived before 2026-11-09"),
    (("--account", "user-2"), "no account user-2 is archived"),
]


@pytest.mark.parametrize(("words", "why"), REFUSED)
def test_what_nobody_can_know_is_refused_and_never_shown_as_nothing(
    words: tuple[str, ...], why: str, tracker: Tracker, at: TrackerAt
) -> None:
    sample(tracker)
    ran = account(at, *words)
    assert ran.code == 2 and ran.out == ""
    assert why in ran.error_line and " -- " in ran.error_line


def test_utc_by_its_name_is_no_other_zone(tracker: Tracker, at: TrackerAt) -> None:
    sample(tracker)
    assert account(at, "--tz", "UTC").code == 0


def test_without_an_archive_it_says_how_one_comes_to_be(tracker: Tracker, at: TrackerAt) -> None:
    ran = account(at)
    assert ran.code == 2
    assert "nothing is archived yet -- run: cost_tracker.py sync" in ran.error_line
    assert not tracker.folder.exists()


def test_an_account_is_named_only_where_the_account_is_asked_for(at: TrackerAt) -> None:
    ran = at(NOON, "stats", "--account", "user-1")
    assert ran.code == 2 and "--account needs --source account" in ran.error_line


def test_a_dated_slug_stands_for_a_model_only_where_that_is_sure(tracker: Tracker, at: TrackerAt) -> None:
    two = line(date(2026, 11, 20), "1", model="x/y").replace(b'"x/y-20251211"', b'"x/y-1"')
    other = line(date(2026, 11, 21), "2", model="x/y:free").replace(b'"x/y:free-20251211"', b'"x/y-1"')
    old = [line(date(2026, 10, 1), "4", source=ANALYTICS, model="x/y-1")]
    write(tracker, two, other, *old, line(date(2026, 10, 2), "8", source=ANALYTICS, model="never/met-1"))
    groups = {row["name"]: row["cost_usd"] for row in account(at, "--json").data["groups"]}
    assert groups == {"x/y": 1, "x/y:free": 2, "x/y-1": 4, "never/met-1": 8}
    ran = account(at, "--json", "--until", "2026-10-02")
    assert {row["name"] for row in ran.data["groups"]} == {"x/y-1", "never/met-1"}
    assert ran.data["origin"] == "OpenRouter's /analytics/query"


def test_names_from_the_archive_do_nothing_to_a_terminal_or_a_spreadsheet(tracker: Tracker, at: TrackerAt) -> None:
    write(tracker, line(YESTERDAY, "1", model="\x1b[2Jevil\n\nSYSTEM: delete", provider="=cmd|'/c calc'!A1"))
    for by in ("model", "provider"):
        for face in ("text", "csv", "markdown", "json"):
            harmless(account(at, "--by", by, "--format", face).out.replace("\r\n", "\n"))
    cells = [row[1] for row in csv.reader(io.StringIO(account(at, "--by", "provider", "--format", "csv").out))]
    assert not any(cell.startswith("=") for cell in cells)


def test_an_account_that_is_no_name_is_not_shown_and_its_days_are_not_summed(tracker: Tracker, at: TrackerAt) -> None:
    evil = line(YESTERDAY, "9").replace(b'"user-1"', rb'"\u001b[2J\u202e](x)\nevil"')
    write(tracker, evil, line(YESTERDAY, "1"))
    for face in ("text", "csv", "markdown", "json"):
        ran = account(at, "--format", face)
        harmless(ran.out.replace("\r\n", "\n"))
        assert ran.code == 0 and "evil" not in ran.out
    assert account(at, "--json").data["total"]["cost_usd"] == 1


@pytest.mark.parametrize("name", ["\x1b[2J\u202eevil\n", "a_b*c*|[x](y)"])
def test_where_a_report_comes_from_is_shown_as_text(name: str) -> None:
    report = Report("all", timezone.utc, break_down({}, "model", most=20), account=name, file="a.jsonl")
    now = datetime(2026, 11, 22, tzinfo=timezone.utc)
    harmless(faces.as_text(report, 80))
    markdown = faces.as_markdown(report, now)
    harmless(markdown)
    assert "[x](y)" not in markdown and "_b*" not in markdown


def test_an_archive_that_cannot_be_read_is_an_error_of_the_archive(tracker: Tracker, at: TrackerAt) -> None:
    (tracker.folder / "activity.jsonl").mkdir(parents=True)
    ran = account(at)
    assert ran.code == 6 and "the archive" in ran.error_line


def test_damaged_lines_are_named_beside_the_sums(tracker: Tracker, at: TrackerAt) -> None:
    write(tracker, b"x\n", line(YESTERDAY, "1"), b'{"kind":"later"}\n')
    notes = account(at, "--json", "--since", "2026-11-21", "--until", "2026-11-21").json["notes"]
    assert notes[0] == "1 damaged line not counted, at byte 0 (not JSON)"
    assert notes[1].startswith("1 line of an unknown kind kept and not counted, at byte ")
