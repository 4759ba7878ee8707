"""cost_tracker.py sync: every day that OpenRouter still tells is archived as it was told, once, whatever happens."""

from __future__ import annotations

import os
import signal
import time
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.jobs.sync import Pace
from tests.archiving import DAY, SUMS, Day, Life, figures, groups_of, noon, summed
from tests.booking import TrackerAt, moment
from tests.controls import managing
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Fault, Sandbox

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


@pytest.fixture
def life(home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Life:
    at = TrackerAt(managing(home, sandbox.url), monkeypatch, capsys)
    return Life(sandbox, home, at, NOW)


# -- a year ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missed_share", [0.6, pytest.param(0.02, marks=pytest.mark.storm)])
def test_a_year_of_syncs_with_missed_weeks_and_crashes_keeps_the_truth_of_every_day_once(
    missed_share: float, life: Life
) -> None:
    first = date(2026, 1, 1)
    for number in range(1, 31):
        life.spend(first - number * DAY)
    told: dict[date, Day] = {}
    synced_until = 0
    for number in range(365):
        day = first + number * DAY
        life.now = noon(day)
        if life.chance.random() < 0.2:
            life.correct(day - life.chance.randint(1, 29) * DAY)
        missed = 40 <= number < 61 or 120 <= number < 155 or 200 <= number < 229 or life.chance.random() < missed_share
        if not missed:
            before = life.path.stat().st_size if life.path.exists() else 0
            ran = life.sync("--quiet")
            assert ran.code == 0, ran.err
            if life.chance.random() < 0.05:  # this run was killed in the middle of its write
                size = life.path.stat().st_size
                with life.path.open("r+b") as file:
                    file.truncate(life.chance.randint(before, size))
                assert life.sync("--quiet").code == 0
            told |= life.truth()
            synced_until = number
        life.spend(day)
    assert synced_until > 350
    known = life.archived()
    assert known == told
    gap = {first + number * DAY for number in range(synced_until)} - told.keys()
    assert len(gap) >= 5, "35 missed days lose those that OpenRouter had forgotten"
    ran = life.stats("--json", "--since", min(known).isoformat(), "--until", max(known).isoformat(), "--top", "9999")
    assert sum(one["days"] for one in ran.data["missing"]) == len(gap)
    for by in ("model", "day", "provider"):
        ran = life.stats("--json", "--by", by, "--top", "9999")
        assert groups_of(ran) == summed(told, by)
        for column in SUMS:
            assert ran.data["total"][column] == sum(group[column] for group in groups_of(ran).values())


# -- what is asked and kept ------------------------------------------------------------------------------------------


def fill(life: Life, days: int = 30) -> None:
    """Give some days a row each, and the running one too."""
    for number in range(days + 1):
        life.spend(life.today - number * DAY)


def test_the_last_thirty_days_are_kept_and_the_running_one_is_not(life: Life) -> None:
    fill(life, 40)
    life.correct(life.today)
    life.account.activity_includes_today = True
    ran = life.sync("--json")
    assert ran.code == 0, ran.err
    assert life.archived() == life.truth()
    assert (ran.data["asked"]["start"], ran.data["asked"]["end"]) == ("2026-10-23T00:00:00Z", "2026-11-22T00:00:00Z")
    assert [day["date"] for day in ran.data["days"]] == [str(day) for day in sorted(life.truth())]
    assert sum(day["cost_usd"] for day in ran.data["days"]) == sum(
        row[3] for rows in life.truth().values() for row in rows
    )
    assert ran.data["archived"]["empty_days"] == sum(1 for rows in life.truth().values() if not rows)


@pytest.mark.parametrize("style", ["long", "short"])
def test_a_date_is_understood_however_it_is_written(style: str, life: Life) -> None:
    fill(life)
    life.account.activity_date_style = style
    assert life.sync().code == 0
    assert life.archived() == life.truth()


def test_quiet_says_nothing_when_nothing_is_new(life: Life) -> None:
    fill(life)
    first = life.sync("--quiet")
    assert first.out.startswith("OpenRouter's figures of completed UTC days") and "New: 30 days" in first.out
    before = life.path.read_bytes()
    again = life.sync("--quiet")
    assert (again.code, again.out, again.err) == (0, "", "")
    assert "Nothing new" in life.sync().out
    assert life.sync("--quiet", "--json").data["days"] == [], "a program that asked for JSON gets it"
    assert life.path.read_bytes() == before


def test_a_corrected_day_is_written_again_and_says_what_it_was(life: Life) -> None:
    fill(life)
    life.sync()
    day = life.today - 7 * DAY
    before = sum(row[3] for row in life.archived()[day])
    life.correct(day)
    (told,) = life.sync("--json").data["days"]
    assert told["date"] == str(day)
    assert told["before"]["cost_usd"] == before
    assert told["cost_usd"] == sum(row[3] for row in life.truth()[day])
    assert life.archived() == life.truth()
    life.correct(day)
    assert f"Changed: {day}: " in life.sync("--quiet").out


def test_a_gap_is_told_as_a_gap_and_not_as_days_without_spend(life: Life) -> None:
    life.sync()
    life.now += 35 * DAY
    ran = life.sync()
    assert "⚠ 5 days (2026-11-22 to 2026-11-26) not known; sync --backfill 35 asks for them" in ran.out
    (gap,) = life.sync("--json").data["missing"]
    assert gap == {"start": "2026-11-22T00:00:00Z", "end": "2026-11-27T00:00:00Z", "days": 5}
    life.now += 400 * DAY
    assert "not known; sync --backfill 365 asks for them" in life.sync().out
    life.now += 400 * DAY
    life.path.write_bytes(b"".join(line for line in life.path.read_bytes().splitlines(True) if b'"2026-' in line))
    life.now -= 800 * DAY
    life.sync()
    life.now += 800 * DAY
    assert "not known" in life.sync().out


@pytest.mark.parametrize("hours", [-30 * 24, -25, -1, 1, 25, 30 * 24])
def test_the_clock_that_counts_is_openrouters(hours: int, life: Life) -> None:
    fill(life, 80)
    life.sync(now=life.now + timedelta(hours=hours))
    assert life.archived() == life.truth()


@pytest.mark.parametrize(
    ("begin", "path", "delay"),
    [
        ("2026-11-21T23:59:59.8Z", "/key", Fault.delay(0.5)),
        ("2026-11-21T23:59:59.8Z", "/activity", Fault.delay(0.5)),
        ("2026-11-21T23:59:58.2Z", "/activity", Fault.delay(2)),
        ("2026-11-21T23:59:59.8Z", "/activity", Fault.delay(0.5, after="billing")),
    ],
    ids=["after the first", "during the second", "long during it", "before the end of its answer"],
)
def test_no_day_is_taken_for_empty_when_it_strikes_midnight_among_the_questions(
    begin: str, path: str, delay: Fault, life: Life
) -> None:
    fill(life, 40)
    for number in range(1, 41):
        life.correct(life.today - number * DAY)
    begun, begun_s = moment(begin), time.monotonic()
    life.account.now = lambda: begun + timedelta(seconds=time.monotonic() - begun_s)
    life.sandbox.misbehave(f"GET {path}", delay)
    assert life.sync(now=begun).code == 0
    life.account.now = lambda: life.now
    days = life.archived()
    assert all(rows == figures(row for row in life.account.activity if row.date == day) for day, rows in days.items())
    assert all(days.values()) and len(days) in (29, 30)


def test_clocks_that_disagree_by_days_are_told_where_no_figure_says_which_is_right(life: Life) -> None:
    ran = life.sync(now=life.now + 40 * DAY)
    assert ran.code == 5
    assert "OpenRouter's clock says 2026-11-22 and this computer's 2027-01-01" in ran.error_line
    assert not life.path.exists()


def test_an_answer_without_any_spend_is_not_believed_where_some_was_archived(life: Life) -> None:
    life.correct(life.today - DAY)
    life.sync()
    before = life.path.read_bytes()
    life.sandbox.misbehave("/activity", Fault.mutate(lambda answer: answer.update(data=[])))
    ran = life.sync()
    assert ran.code == 5
    assert "the answer to /activity is empty, though 1 day" in ran.error_line.replace("OpenRouter's", "the")
    assert life.path.read_bytes() == before


def losing(*kept: int) -> Fault:
    """An answer to /activity with some of its rows alone."""
    return Fault.mutate(lambda answer: answer.update(data=[answer["data"][number] for number in kept]))


@pytest.mark.parametrize(
    ("kept", "is_first"),
    [((), True), ((), False), ((0,), False)],
    ids=["all the first time", "all later", "some later"],
)
def test_an_answer_that_lost_rows_once_is_asked_for_again(kept: tuple[int, ...], is_first: bool, life: Life) -> None:
    for number in range(1, 10):
        life.spend(life.today - number * DAY, least_rows=1)
    if not is_first:
        life.sync()
    life.sandbox.misbehave("/activity", losing(*kept), Fault.none())
    assert life.sync().code == 0
    assert life.archived() == life.truth()


def test_answers_that_lost_different_rows_are_not_believed(life: Life) -> None:
    for number in range(1, 10):
        life.spend(life.today - number * DAY, least_rows=1)
    life.sync()
    before = life.path.read_bytes()
    life.sandbox.misbehave("/activity", losing(0), losing(-1))
    ran = life.sync()
    assert ran.code == 5 and "OpenRouter's answers to /activity differ" in ran.error_line
    assert life.path.read_bytes() == before


def test_spend_that_openrouter_takes_back_is_believed_when_it_says_so_twice(life: Life) -> None:
    for number in range(1, 10):
        life.spend(life.today - number * DAY, least_rows=1)
    life.sync()
    gone = life.today - 4 * DAY
    life.account.activity[:] = [row for row in life.account.activity if row.date != gone]
    asked = len(life.sandbox.received("/activity"))
    assert life.sync().code == 0
    assert life.archived() == life.truth() and life.archived()[gone] == ()
    assert len(life.sandbox.received("/activity")) == asked + 2
    life.sync()
    assert len(life.sandbox.received("/activity")) == asked + 3, "what is known to be gone is not doubted again"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.html(), 5),
        (Fault.status(500), 5),
        (Fault.status(403, message="Only management keys can fetch activity for an account"), 4),
        (Fault.mutate(lambda answer: answer["data"][0].update(usage=True)), 5),
        (Fault.mutate(lambda answer: answer["data"][0].update(date="yesterday")), 5),
        (Fault.mutate(lambda answer: answer["data"][0].update(requests="many")), 5),
    ],
)
def test_an_answer_that_is_not_understood_changes_nothing(fault: Fault, code: int, life: Life) -> None:
    life.correct(life.today - DAY)
    life.sandbox.misbehave("/activity", fault)
    ran = life.sync()
    assert ran.code == code
    assert ran.error_line
    assert not life.path.exists()


# -- whose it is -----------------------------------------------------------------------------------------------------


def test_without_a_management_key_it_says_which_key_is_needed(life: Life) -> None:
    ran = life.sync(OPENROUTER_MGMT_KEY=None)
    assert ran.code == 2
    assert "no management key found: set OPENROUTER_MGMT_KEY" in ran.error_line
    assert life.sandbox.received() == [] and not life.tracker.folder.exists()


def test_an_ordinary_key_in_its_place_is_named(life: Life) -> None:
    ran = life.sync(OPENROUTER_MGMT_KEY=INFERENCE_KEY)
    assert ran.code == 4
    assert "OPENROUTER_MGMT_KEY holds an ordinary key" in ran.error_line


def owner(life: Life, **fields: str | None) -> None:
    """Say whose the management key is."""
    key = life.account.key(MANAGEMENT_KEY)
    assert key
    for name, value in fields.items():
        setattr(key, name, value)


def test_an_account_is_named_by_what_is_no_secret_and_stays_the_same(life: Life) -> None:
    names = []
    for fields in (
        {"creator_user_id": "user_1", "workspace_id": "w"},
        {"creator_user_id": "user_1", "workspace_id": "another"},
        {"creator_user_id": "user_2"},
        {"organization_id": "org_1"},
        {"creator_user_id": "user_1"},
        {"organization_id": None, "creator_user_id": None},
    ):
        owner(life, **fields)
        life.path.unlink(missing_ok=True)
        names.append(life.sync("--json").data["account"])
    assert names[0] == names[1] and names[3] == names[4]
    assert len(set(names)) == 4
    assert [name.partition("-")[0] for name in names] == ["user", "user", "user", "org", "org", "workspace"]
    assert not any(secret in name for name in names for secret in ("user_1", "org_1", "another"))


def test_two_accounts_are_never_mixed(life: Life) -> None:
    fill(life)
    mine = life.sync("--json").data["account"]
    before = life.path.read_bytes()
    owner(life, creator_user_id="user_other")
    ran = life.sync()
    assert ran.code == 2 and "the management key belongs to another account" in ran.error_line
    assert life.path.read_bytes() == before
    ran = life.sync("--account", mine)
    assert ran.code == 2 and f"not to {mine}" in ran.error_line
    assert life.path.read_bytes() == before
    life.account.activity.clear()
    other = life.sync("--json", "--account", _other(life)).data["account"]
    assert {line["account"] for line in life.lines()} == {mine, other}
    assert life.sync("--quiet").code == 0, "once both are kept, nothing has to be said"
    ran = life.stats()
    assert ran.code == 2
    assert mine in ran.error_line and other in ran.error_line
    assert life.stats("--account", mine, "--json").data["total"]["requests"] > 0
    assert life.stats("--account", other, "--json").data["total"]["requests"] == 0
    assert life.stats("--account", "nobody").code == 2


def _other(life: Life) -> str:
    refusal = life.sync("--json").json["error"]["hint"]
    return str(refusal.rpartition("--account ")[2])


def test_an_account_that_nobody_names_has_to_be_named_by_the_user(life: Life) -> None:
    owner(life, creator_user_id=None, workspace_id=None, organization_id=None)
    ran = life.sync()
    assert ran.code == 2 and "does not say which account owns the management key" in ran.error_line
    assert not life.path.exists()
    assert life.sync("--account", "mine", "--json").data["account"] == "mine"


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 41, "sk-or-" + "v1-0123456789", "a/b", "é"])
def test_a_name_that_is_none_is_turned_down(name: str, life: Life) -> None:
    ran = life.sync(f"--account={name}")
    assert ran.code == 2 and "an account's name has up to 40 letters" in ran.error_line
    assert "0123456789" not in ran.err


def test_a_ledger_of_the_archives_name_is_refused(life: Life) -> None:
    ran = life.sync(OPENROUTER_USAGE_FILE=str(life.path))
    assert ran.code == 2 and "the ledger has the name activity.jsonl" in ran.error_line


# -- older days ------------------------------------------------------------------------------------------------------


def test_older_days_are_filled_from_analytics_and_only_once(life: Life) -> None:
    fill(life, 400)
    assert life.sync("--backfill", "365").code == 0
    days = {life.today - number * DAY for number in range(1, 366)}
    assert life.archived().keys() == days
    for day in days:
        rows = [row for row in life.account.activity if row.date == day]
        kept = life.archived()[day] if day in life.truth() else None
        assert kept == (figures(rows) if kept is not None else None)
    report = life.stats("--json", "--by", "day", "--top", "9999")
    spent = {day: figures(row for row in life.account.activity if row.date == day) for day in days}
    assert groups_of(report) == summed(spent, "day")
    assert groups_of(life.stats("--json", "--top", "9999")) == summed(spent, "model"), "a dated slug is its model"
    assert "335 days from /analytics/query" in " ".join(report.json["notes"])
    providers = groups_of(life.stats("--json", "--by", "provider"))
    assert sum(group["cost_usd"] for group in providers.values()) == report.data["total"]["cost_usd"]
    before, asked = life.path.read_bytes(), len(life.sandbox.received("/analytics/query"))
    assert life.sync("--backfill", "365", "--quiet").out == ""
    assert life.path.read_bytes() == before
    assert len(life.sandbox.received("/analytics/query")) == asked + 1, "one question about all days without spend"


def test_an_answer_that_was_cut_short_is_asked_for_in_smaller_pieces(life: Life) -> None:
    fill(life, 100)
    most = 6

    def cut(answer: dict[str, Any]) -> None:
        inner = answer["data"]
        inner["metadata"]["truncated"] = len(inner["data"]) > most
        inner["data"] = inner["data"][:most]

    life.sandbox.misbehave("/analytics/query", Fault.mutate(cut))
    ran = life.sync("--backfill", "100", "--json")
    assert ran.code == 0 and ran.data["untold_days"] == 0
    days = {life.today - number * DAY: () for number in range(1, 101)}
    spent = {day: figures(row for row in life.account.activity if row.date == day) for day in days}
    assert groups_of(life.stats("--json", "--top", "9999")) == summed(spent, "model")
    assert groups_of(life.stats("--json", "--by", "day", "--top", "9999")) == summed(spent, "day")


def test_a_single_day_that_cannot_be_told_whole_is_not_archived_and_named(life: Life) -> None:
    life.sandbox.misbehave("/analytics/query", Fault.mutate(lambda a: a["data"].update(metadata={"truncated": True})))
    ran = life.sync("--backfill", "32")
    assert ran.code == 0
    assert "2 days (2026-10-22, 2026-10-21) not archived: OpenRouter cut its answers short" in ran.out
    assert len(life.archived()) == 30


def test_what_was_filled_before_a_failure_stays_and_the_rest_is_filled_the_next_time(life: Life) -> None:
    fill(life, 120)
    life.sandbox.misbehave("/analytics/query", Fault.none(), Fault.none(), Fault.status(400, message="no more"))
    ran = life.sync("--backfill", "120")
    assert ran.code == 2 and "New: 58 days" in ran.out
    assert "not everything could be archived: " in ran.err and '"no more"' in ran.err
    assert len(life.archived()) == 58
    ran = life.sync("--backfill", "120", "--json")
    assert ran.code == 0 and len(ran.data["days"]) == 62
    assert len(life.archived()) == 120


def test_an_analytics_row_without_a_day_is_not_guessed_at(life: Life) -> None:
    fill(life, 40)
    life.correct(life.today - 35 * DAY)

    def strip(answer: dict[str, Any]) -> None:
        for row in answer["data"]["data"]:
            del row["date__day"]

    life.sandbox.misbehave("/analytics/query", Fault.mutate(strip))
    ran = life.sync("--backfill", "40", "--json")
    assert ran.code == 5 and ran.json["error"]["code"] == "bad_answer"
    assert len(life.archived()) == 30


BLANK = Fault.mutate(lambda answer: answer["data"].update(data=[]))


@pytest.mark.parametrize("faults", [(BLANK,), (Fault.none(), BLANK)], ids=["all", "only the figures"])
def test_older_days_that_come_back_empty_are_not_taken_for_days_without_spend(
    faults: tuple[Fault, ...], life: Life
) -> None:
    for number in (2, 35, 100):
        life.spend(life.today - number * DAY, least_rows=1)
    life.sandbox.misbehave("/analytics/query", *faults)
    ran = life.sync("--backfill", "120")
    assert ran.code == 5 and "not everything could be archived: OpenRouter's answer" in ran.err
    assert len(life.archived()) == 30
    life.sandbox.behave()
    assert life.sync("--backfill", "120").code == 0
    assert life.stats("--json").data["total"]["cost_usd"] == sum(row.usage for row in life.account.activity)


def test_what_was_kept_as_empty_from_analytics_is_asked_for_again(life: Life) -> None:
    late = life.today - 100 * DAY
    assert life.sync("--backfill", "365").code == 0
    assert life.archived()[late] == ()
    life.spend(late, least_rows=1)
    ran = life.sync("--backfill", "365", "--json")
    assert ran.code == 0 and [day["date"] for day in ran.data["days"]] == [str(late)]
    assert life.stats("--json").data["total"]["cost_usd"] == sum(row.usage for row in life.account.activity)
    asked = len(life.sandbox.received("/analytics/query"))
    assert life.sync("--backfill", "365", "--quiet").out == ""
    assert len(life.sandbox.received("/analytics/query")) == asked + 1


@pytest.mark.parametrize("faults", [0, 1], ids=["the sums", "the figures"])
def test_an_analytics_row_of_a_day_that_was_not_asked_for_is_not_understood(faults: int, life: Life) -> None:
    life.spend(life.today - 40 * DAY, least_rows=1)

    def move(answer: dict[str, Any]) -> None:
        for row in answer["data"]["data"]:
            row["date__day"] = "2025-01-01"

    life.sandbox.misbehave("/analytics/query", *[Fault.none()] * faults, Fault.mutate(move))
    ran = life.sync("--backfill", "60")
    assert ran.code == 5 and "is about 2025-01-01, and " in ran.err
    assert life.archived().keys().isdisjoint({life.today - 40 * DAY})


def test_no_more_than_sixty_questions_are_asked_in_any_minute() -> None:
    now, asked = [1000.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(lambda: now[0], sleep)
    for _ in range(200):
        pace.wait()
        asked.append(now[0])
        now[0] += 0.25
    assert all(sum(1 for other in asked if at <= other < at + 60) <= 60 for at in asked)
    assert asked[59] == 1000 + 59 * 0.25, "the first sixty do not wait"


# -- disk, processes, crashes ----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="a full disk is played by a limit of POSIX")
@pytest.mark.parametrize("room", [0, 700])
def test_on_a_full_disk_nothing_is_half_written(room: int, life: Life) -> None:
    fill(life)
    assert life.sync().code == 0
    before = life.path.read_bytes()
    life.now = datetime.now(timezone.utc)
    for number in range(1, 31):
        life.correct(life.today - number * DAY)
    ran = life.tracker("sync", room=len(before) + room)
    assert ran.code == 6 and "the archive" in ran.error_line and "cannot be written" in ran.error_line
    assert life.path.read_bytes() == before
    assert life.tracker("sync").code == 0


def test_two_syncs_at_the_same_time_write_every_day_once(life: Life) -> None:
    life.now = datetime.now(timezone.utc)
    fill(life)
    life.sandbox.delay_s = 0.2
    running = [life.tracker.start("sync") for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    days = [line["date"] for line in life.lines()]
    assert len(days) == len(set(days)) == 30
    assert life.archived() == life.truth()
    for process in running:
        process.communicate()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process like that")
def test_a_sync_that_is_killed_leaves_whole_days_and_the_next_one_finishes(life: Life) -> None:
    life.now = datetime.now(timezone.utc)
    fill(life, 200)
    life.sandbox.misbehave("/analytics/query", Fault.none(), Fault.none(), Fault.none(), Fault.hang())
    process = life.tracker.start("sync", "--backfill", "200")
    while len(life.sandbox.received("/analytics/query")) < 4:
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert len(life.lines()) == len(life.archived()) == 30 + 15 + 31
    life.sandbox.behave()
    assert life.tracker("sync", "--backfill", "200", "--quiet").code == 0
    assert len(life.lines()) == len(life.archived()) == 200


def test_the_program_itself_archives_and_reports(life: Life) -> None:
    life.now = datetime.now(timezone.utc)
    fill(life)
    ran = life.tracker("sync")
    assert ran.code == 0 and "New: 30 days" in ran.out
    ran = life.tracker("stats", "--source", "account", "--json", "--top", "99")
    assert groups_of(ran) == summed(life.truth(), "model")
    assert life.tracker("export", "--format", "csv", "--output", str(life.path), "--force").code == 2
    assert life.archived() == life.truth(), "no export takes its place"
