"""cost_tracker.py clean: old calls go, all else stays to the byte, and whoever appends meanwhile loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_usage.errors import LedgerError
from openrouter_usage.ledger import clean as cleaning
from openrouter_usage.ledger.clean import clean
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.period import Period
from tests import booking
from tests.booking import NOON, Tracker, TrackerAt, call, hold, moment, release
from tests.disk import without_power
from tests.running import ROOT, contents
from tests.test_hostile_text import harmless

BEFORE = "2026-11-22"
OLD, NEW = "2026-11-21T23:59:59Z", "2026-11-22T00:00:00Z"
TORN = b'{"ts":"2026-11-22T11:45:00Z","model":"a/b","prom'
needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and shells are those of POSIX")


@pytest.fixture
def tracker(home: Path) -> Tracker:
    return Tracker(home)


@pytest.fixture
def at(tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> TrackerAt:
    monkeypatch.setattr(cleaning, "_GRACE_S", (0.0,))
    return TrackerAt(tracker, monkeypatch, capsys)


def beside(tracker: Tracker) -> list[str]:
    """What lies beside the ledger, without its index."""
    names = (path.name for path in tracker.folder.iterdir())
    return sorted(name for name in names if ".index" not in name)


# -- what goes, and what stays ---------------------------------------------------------------------------------------

SIFTED = [
    # lines with whether each one stays
    ([(call(OLD), False), (call(NEW), True)], 1),
    ([(call("2026-11-22T08:59:59+09:00"), False), (call("2026-11-22T09:00:00+09:00"), True)], 1),
    ([(call(OLD), False), (b"garbage\n", True), (b"\n", False), (b"  \n", False), (b'{"kind":"later"}\n', True)], 1),
    ([(call(OLD), False), (b'{"v":99,"ts":"2020-01-01"}\n', True), (b"[]\n", True), (b"\xff\x00\n", True)], 1),
    ([(call(OLD), False), (b"\xef\xbb\xbf" + call(NEW), True), (call(NEW)[:-1] + b"\r\n", True)], 1),
    # an open hold stays, however old; one that ended goes, and so does its end
    ([(call(OLD), False), (hold("a", "2020-01-01T00:00:00Z"), True), (hold("b", NEW), True)], 1),
    ([(call(OLD), False), (hold("a"), False), (release("a"), False)], 1),
    ([(hold("a", OLD), False), (call(OLD, hold="a"), False)], 1),
    ([(call(OLD), False), (hold("a", OLD), False), (call(NEW, hold="a"), True)], 1),
    ([(call(OLD), False), (hold("a"), True), (hold("a", generation="gen-1"), True)], 1),
    # all lines of a call go together, or stay
    ([(call(OLD, id="x"), False), (call(NEW, id="x"), False)], 1),
    ([(call(OLD, cost=None, id="x"), True), (call(NEW, id="x"), True), (call(OLD), False)], 1),
    ([(call(NEW, id="x"), False), (call(OLD, id="x"), False), (call(OLD), False)], 2),
    ([(call(OLD, id="x"), False), (call(NEW, cost=None, id="x"), False), (call(NEW, id="y"), True)], 1),
    ([(call(OLD, cost="1", cost_source="estimated", id="x"), True), (call(NEW, id="x"), True)], 0),
]


@pytest.mark.parametrize(("lines", "removed"), SIFTED)
def test_old_calls_go_and_all_else_stays(
    lines: list[tuple[bytes, bool]], removed: int, tracker: Tracker, at: TrackerAt
) -> None:
    tracker.write(*(line for line, _ in lines))
    whole = tracker.bytes
    expected = b"".join(line for line, stays in lines if stays)
    planned = at(NOON, "clean", "--before", BEFORE, "--json").data
    done = at(NOON, "clean", "--before", BEFORE, "--yes", "--json").data
    assert (planned["removed"], done["removed"]) == (removed, removed)
    assert (planned["kept"], done["kept"]) == (expected.count(b"\n"), expected.count(b"\n"))
    assert tracker.bytes == (expected if removed else whole)
    assert at(NOON, "stats", "--json").err == ""  # the index knows already
    assert beside(tracker) == ["usage.jsonl", "usage.jsonl.1"] if removed else ["usage.jsonl"]
    if removed:
        assert (tracker.folder / "usage.jsonl.1").read_bytes() == whole


LINE = st.one_of(
    st.builds(
        lambda ts, cost, identity, source: call(ts, cost=cost, **identity, **source),
        st.integers(-4 * 86_400, 86_400).map(lambda second: (NOON + timedelta(seconds=second)).isoformat()),
        st.sampled_from([None, "0", "1E-27", "0.30000000000000004", "1000000"]),
        st.sampled_from([{}, {"id": "gen-1"}, {"id": "gen-2"}, {"hold": "a"}, {"id": "gen-3", "hold": "b"}]),
        st.sampled_from([{}, {"cost_source": "estimated"}, {"byok_cost": 4, "session": "x", "tags": {"a": "b"}}]),
    ),
    st.sampled_from(
        [hold("a"), hold("a", generation="gen-1"), hold("b", OLD), release("a"), release("c"), b"garbage\n", b"\n",
         b'{"kind":"later"}\n', b"\xff\xfe\n", b'{"v":99}\n']
    ),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(LINE, max_size=14), st.sampled_from([b"", TORN, call(OLD)[:-1], call(NEW)[:-1]]), st.integers(18, 23))
def test_cleaning_takes_the_calls_before_a_day_and_nothing_else(lines: list[bytes], tail: bytes, day: int) -> None:
    before, later = moment(f"2026-11-{day}T00:00:00Z"), moment("2199-01-01T00:00:00Z")
    rest = Period(before, later, "")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "_GRACE_S", (0.0,))
        path = Path(folder) / "usage.jsonl"
        path.write_bytes(b"".join(lines) + tail)
        whole = path.read_bytes()
        ledger = Ledger(path)
        kept, all_of_it = ledger.totals(rest, by="session"), ledger.totals().total
        holds, unread = ledger.health().holds, [line.why for line in ledger.health().unread]
        planned = clean(ledger.engine, before, dry_run=True)
        assert path.read_bytes() == whole
        done = clean(ledger.engine, before, dry_run=False)
        assert (done.removed, done.usage, done.kept) == (planned.removed, planned.usage, planned.kept)
        assert done.usage == all_of_it - kept.total
        if done.kept_as:
            assert done.kept_as.read_bytes() == whole
            assert path.read_bytes().endswith(TORN) == (tail == TORN)
        else:
            assert path.read_bytes() == whole
        shutil.copy(path, path.with_name("fresh.jsonl"))
        for now in (ledger, Ledger(path.with_name("fresh.jsonl"))):
            assert now.totals(rest, by="session") == kept
            assert now.totals().total == kept.total
            assert now.health().holds == holds
            assert [line.why for line in now.health().unread] == unread
            assert sum(now.append_all(entries := list(Ledger(path).entries(rest))[:1])) in (0, len(entries))
            now.close()


def test_a_torn_line_stays_torn_and_the_next_call_is_readable(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call(OLD), call(NEW), TORN)
    assert at(NOON, "clean", "--before", BEFORE, "--yes").code == 0
    assert tracker.bytes == call(NEW) + TORN
    (tracker.home / "more.json").write_text(json.dumps([{"model": "a/b", "timestamp": NEW, "cost_usd": 1}]))
    assert at(None, "import", str(tracker.home / "more.json")).code == 0
    answer = at(NOON, "stats", "--json")
    assert (answer.data["total"]["requests"], len(answer.json["notes"])) == (2, 1)


def test_a_line_of_megabytes_stays_to_the_byte(tracker: Tracker, at: TrackerAt) -> None:
    long = b'{"kind":"later","text":"' + b"x" * (9 * 1024 * 1024) + b'"}\n'
    tracker.write(call(OLD), long, call(NEW), b"y" * (1024 * 1024 + 5) + b"\n")
    whole = tracker.bytes
    assert at(NOON, "clean", "--before", BEFORE, "--yes", "--json").data["kept"] == 3
    assert tracker.bytes == whole.removeprefix(call(OLD))


@pytest.mark.parametrize("argv", [(), ("--dry-run",), ("--yes", "--dry-run")])
def test_a_dry_run_changes_no_byte(argv: tuple[str, ...], tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(booking.sample(), TORN)
    at(NOON, "stats")
    before, status = contents(tracker.folder), tracker.ledger.stat()
    ran = at(NOON, "clean", "--before", BEFORE, *argv)
    assert ran.code == 0
    assert ran.out == "5 calls before 2026-11-22 UTC ($4.80) would be removed, 7 lines left; " + (
        "nothing was changed\n" if "--yes" in argv else "add --yes to confirm\n"
    )
    assert contents(tracker.folder) == before
    assert (tracker.ledger.stat().st_ino, tracker.ledger.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)


def test_what_goes_is_told_with_every_kind_of_money(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call(OLD, cost="0.5"), call(OLD, cost=None), call(OLD, cost="0", byok_cost=4), call(NEW))
    ran = at(NOON, "clean", "--before", BEFORE)
    assert ran.out.startswith("3 calls before 2026-11-22 UTC ($0.50 + $4.00 BYOK + 1 unknown) would be removed, ")
    answer = at(NOON, "clean", "--before", BEFORE, "--yes", "--json").json
    assert answer["kind"] == "clean"
    assert answer["data"] == {
        "before": "2026-11-22T00:00:00Z", "from": None, "dry_run": False, "removed": 3, "removed_usd": Decimal("0.5"),
        "removed_byok_usd": 4, "removed_unknown_cost_calls": 1, "kept": 1, "old_file": f"{tracker.ledger}.1",
    }  # fmt: skip


@pytest.mark.parametrize("lines", [[], [b""], [call(NEW)], [hold("a"), release("a")], [b"garbage\n", TORN]])
def test_where_nothing_goes_nothing_is_touched(lines: list[bytes], tracker: Tracker, at: TrackerAt) -> None:
    if lines:
        tracker.write(*lines)
    before = tracker.ledger.stat().st_ino if lines else None
    ran = at(NOON, "clean", "--before", BEFORE, "--yes")
    assert ran.out == "nothing before 2026-11-22 UTC; the ledger is unchanged\n"
    assert tracker.ledger.exists() == bool(lines)
    if lines:
        assert (tracker.ledger.stat().st_ino, tracker.bytes) == (before, b"".join(lines))
        assert beside(tracker) == ["usage.jsonl"]


def test_the_old_file_of_an_earlier_time_is_replaced(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call("2026-11-20T00:00:00Z"), call(OLD), call(NEW))
    at(NOON, "clean", "--before", "2026-11-21", "--yes")
    ran = at(NOON, "clean", "--before", BEFORE, "--yes")
    assert ran.out.endswith(f"removed, 1 line left; the old file is {tracker.ledger}.1\n")
    assert (tracker.folder / "usage.jsonl.1").read_bytes() == call(OLD) + call(NEW)
    assert os.stat(tracker.ledger).st_mode & 0o777 == 0o600


# -- when not --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "one of the arguments --before --ahead is required"),
        (("--before", "2026-11-22T00:00:00Z"), "a day must be written like 2026-11-22"),
        (("--before", "2026-11-221"), "a day must be written like 2026-11-22"),
        (("--before", "2026-11-31"), "a day must be written like 2026-11-22"),
        (("--before", "1999-01-01"), "2000 to 2199"),
        (("--before", "9999-12-31"), "2000 to 2199"),
        (("--before", "all"), "a day must be written like 2026-11-22"),
        (("--before", "2026-11-23"), "2026-11-23 is in the future, so calls of today would be removed too"),
        (("--before", "2062-11-22"), "2062-11-22 is in the future"),
    ],
)
def test_a_day_that_cannot_be_meant_is_refused(
    argv: tuple[str, ...], message: str, tracker: Tracker, at: TrackerAt
) -> None:
    tracker.write(call(OLD), call(NEW))
    whole = tracker.bytes
    ran = at(NOON, "clean", *argv, "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.error_line
    assert tracker.bytes == whole


def test_a_monthly_budget_does_not_forget_what_is_spent(tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call("2026-10-31T23:59:59Z"), call("2026-11-01T00:00:00Z"))
    limited = {"OPENROUTER_MONTHLY_LIMIT": "10"}
    ran = at(NOON, "clean", "--before", "2026-11-02", "--yes", env=limited)
    assert (ran.code, ran.out) == (2, "")
    assert "the calls since 2026-11-01 count against the monthly budget, so they must stay while it is set" in ran.error_line
    assert at(NOON, "clean", "--before", "2026-11-01", "--yes", "--json", env=limited).data["removed"] == 1
    only_daily = {"OPENROUTER_MONTHLY_LIMIT": None, "OPENROUTER_DAILY_LIMIT": "10"}
    assert at(NOON, "clean", "--before", "2026-11-02", "--yes", "--json", env=only_daily).data["removed"] == 1


# -- trouble with the disk -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["usage.jsonl.1", "usage.jsonl.1.new", "usage.jsonl.new"])
def test_a_folder_in_the_way_leaves_the_ledger_as_it_was(name: str, tracker: Tracker, at: TrackerAt) -> None:
    tracker.write(call(OLD), call(NEW), TORN)
    (tracker.folder / name).mkdir()
    before = tracker.bytes
    ran = at(NOON, "clean", "--before", BEFORE, "--yes")
    assert (ran.code, ran.out) == (6, "")
    assert "could not be cleaned and is unchanged" in ran.error_line
    assert tracker.bytes == before
    assert beside(tracker) == sorted(["usage.jsonl", name])
    (tracker.folder / name).rmdir()
    assert at(NOON, "clean", "--before", BEFORE, "--yes").code == 0


@pytest.mark.parametrize("name", ["usage.jsonl.1", "usage.jsonl.1.new", "usage.jsonl.new"])
def test_a_link_in_the_way_is_not_followed(name: str, tracker: Tracker, at: TrackerAt) -> None:
    other = tracker.home / "mine"
    other.write_text("mine")
    tracker.write(call(OLD), call(NEW))
    (tracker.folder / name).symlink_to(other)
    assert at(NOON, "clean", "--before", BEFORE, "--yes").code == 0
    assert other.read_text() == "mine"
    assert tracker.bytes == call(NEW)
    assert beside(tracker) == ["usage.jsonl", "usage.jsonl.1"]


@pytest.mark.parametrize("failing", ["os.replace", "second os.replace", "os.fsync", "os.open"])
@pytest.mark.parametrize("error", [18, 16, 13, 28], ids=["EXDEV", "EBUSY", "EACCES", "ENOSPC"])
def test_a_step_that_fails_leaves_the_ledger_as_it_was(
    failing: str, error: int, tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.write(call(OLD), call(NEW), TORN)
    at(NOON, "stats")
    before = tracker.bytes
    name = failing.rpartition(" ")[2]
    real: Callable[..., Any] = getattr(os, name.removeprefix("os."))
    calls: list[Any] = []

    def step(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 1 + failing.startswith("second") and (name != "os.open" or ".new" in str(args[0])):
            raise OSError(error, os.strerror(error))
        calls.pop() if name == "os.open" else None
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(name, step)
        ran = at(NOON, "clean", "--before", BEFORE, "--yes")
    assert (ran.code, ran.out) == (6, "")
    assert f"could not be cleaned and is unchanged: {os.strerror(error)}" in ran.error_line
    assert tracker.bytes == before
    assert [name for name in beside(tracker) if name.endswith("new")] == []
    assert at(NOON, "clean", "--before", BEFORE, "--yes", "--json").data["removed"] == 1
    assert at(NOON, "stats", "--json").data["total"]["requests"] == 1


def test_without_links_the_old_file_is_a_copy(
    tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    tracker.write(call(OLD), call(NEW))
    whole = tracker.bytes
    monkeypatch.setattr("os.link", unsupported)
    assert at(NOON, "clean", "--before", BEFORE, "--yes").code == 0
    assert (tracker.folder / "usage.jsonl.1").read_bytes() == whole
    assert (tracker.folder / "usage.jsonl.1").stat().st_mode & 0o777 == 0o600
    assert tracker.bytes == call(NEW)


def test_what_is_appended_in_the_last_moment_is_moved_or_named(
    tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.write(call(OLD), call(NEW))
    late, later = call(NEW, id="late"), call(NEW, id="later")
    real = os.replace
    handle = tracker.ledger.open("ab")

    def replace(source: Any, target: Any) -> None:
        real(source, target)
        if str(target).endswith("usage.jsonl"):
            handle.write(late)  # by a program that opened the file before it was replaced
            handle.flush()

    monkeypatch.setattr("os.replace", replace)
    assert at(NOON, "clean", "--before", BEFORE, "--yes").code == 0
    assert tracker.bytes == call(NEW) + late
    assert at(NOON, "stats", "--json").data["total"]["requests"] == 2
    tracker.write(call(OLD))
    handle.close()
    monkeypatch.undo()
    handle = tracker.ledger.open("ab")

    def broken(*_: Any) -> None:
        handle.write(later)
        handle.flush()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cleaning, "sync_folder", broken)
    ledger = Ledger(tracker.ledger)
    with pytest.raises(LedgerError, match=r"was cleaned, but .* may only be in .*usage\.jsonl\.1: No space left"):
        clean(ledger.engine, moment(NEW), dry_run=False)
    handle.close()
    ledger.close()
    assert later in (tracker.folder / "usage.jsonl.1").read_bytes()


@needs_posix
def test_a_full_disk_leaves_the_ledger_as_it_was(tracker: Tracker) -> None:
    tracker.write(call("2020-01-01T00:00:00Z"), *(call(NEW, session="x" * 900) for _ in range(300)))
    tracker("stats")
    before = tracker.bytes
    ran = tracker("clean", "--before", "2020-01-02", "--yes", room=200_000)
    assert (ran.code, ran.out) == (6, "")
    assert "could not be cleaned and is unchanged: File too large" in ran.error_line
    assert tracker.bytes == before
    assert beside(tracker) == ["usage.jsonl"]


@needs_posix
def test_a_folder_that_is_read_only_leaves_the_ledger_as_it_was(tracker: Tracker) -> None:
    tracker.write(call("2020-01-01T00:00:00Z"))
    tracker("stats")
    before = tracker.bytes
    tracker.folder.chmod(0o500)
    ran = tracker("clean", "--before", "2020-01-02", "--yes", **without_power())
    planned = tracker("clean", "--before", "2020-01-02", "--json", **without_power())
    tracker.folder.chmod(0o700)
    assert (ran.code, ran.out) == (6, "")
    assert planned.data["removed"] == 1
    assert tracker.bytes == before


def test_a_ledger_that_is_no_file_is_named(tracker: Tracker, at: TrackerAt) -> None:
    for argv in ((), ("--yes",)):
        ran = at(NOON, "clean", "--before", BEFORE, *argv, env={"OPENROUTER_USAGE_FILE": str(tracker.home)})
        assert (ran.code, ran.out) == (6, "")
        assert "is not a regular file" in ran.error_line


def test_a_hostile_path_is_only_shown(tracker: Tracker, at: TrackerAt) -> None:
    path = tracker.home / "a\x1b[2J\nb"
    path.write_bytes(call(OLD))
    ran = at(NOON, "clean", "--before", BEFORE, "--yes", env={"OPENROUTER_USAGE_FILE": str(path)})
    assert ran.out.endswith("b.1\n")
    harmless(ran.out)


# -- killed ----------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger import clean
from openrouter_usage.period import parse_moment
path, step, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
real, module = getattr(os, step), os
def killed(*args, **options):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
setattr(os, step, killed)
clean.clean(Ledger(path).engine, parse_moment("2026-11-22"), dry_run=False)
"""
STEPS = [("fsync", 1), ("link", 1), ("replace", 1), ("replace", 2), ("fsync", 2)]


@needs_posix
@pytest.mark.parametrize(("step", "number"), STEPS)
def test_killed_at_any_step_it_leaves_the_old_ledger_or_the_new_one(
    step: str, number: int, tracker: Tracker, at: TrackerAt
) -> None:
    tracker.write(call(OLD, cost="1"), hold("a"), call(NEW, cost="2"), TORN)
    whole, cleaned = tracker.bytes, hold("a") + call(NEW, cost="2") + TORN
    command = [sys.executable, "-c", KILLED, str(tracker.ledger), step, str(number)]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT / "scripts")}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert tracker.bytes == (cleaned if (step, number) == ("fsync", 2) else whole)
    data = at(NOON, "stats", "--json").data
    assert data["total"]["cost_usd"] == (2 if tracker.bytes == cleaned else 3)
    assert data["open_holds"] == 1
    tracker.write(b"\n", call(OLD, cost="4"))
    assert at(NOON, "clean", "--before", BEFORE, "--yes").code == 0
    assert tracker.bytes == cleaned + b"\n"
    assert beside(tracker) == ["usage.jsonl", "usage.jsonl.1"]
    assert at(NOON, "stats", "--json").data["total"]["cost_usd"] == 2


# -- together with others --------------------------------------------------------------------------------------------

WRITER = """
import sys
from openrouter_usage.tracker.cost_tracker import CostTracker
tracker = CostTracker(usage_file=sys.argv[1])
for number in range(int(sys.argv[3])):
    tracker.log_usage("a/b", 1, 1, "1", f"{sys.argv[2]}-{number}", ts="2026-11-22T10:00:00Z")
    tracker.log_usage("a/b", 1, 1, "1", f"{sys.argv[2]}-old-{number}", ts="2020-01-01T00:00:00Z")
"""
FOREIGN = """
n=0
while [ $n -lt "$2" ]; do
  echo '{"ts":"2026-11-22T10:00:00Z","model":"a/b","cost":1,"id":"'"$1-$n"'"}' >> "$0"
  n=$((n + 1))
done
"""


@needs_posix
def test_nothing_is_lost_or_doubled_by_those_who_append_meanwhile(tracker: Tracker) -> None:
    tracker.write(call("2020-01-01T00:00:00Z"), call(NEW, id="first"))
    path, count = str(tracker.ledger), 60
    environment = {**tracker.environment({}), "PYTHONPATH": str(ROOT / "scripts")}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, f"ours{number}", str(count)], env=environment)
        for number in range(2)
    ]
    writers += [subprocess.Popen(["/bin/sh", "-c", FOREIGN, path, f"theirs{n}", str(count)]) for n in range(2)]
    cleaned = 0
    while any(writer.poll() is None for writer in writers):
        cleaned += tracker("clean", "--before", "2026-11-22", "--yes", "--json").data["removed"]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    cleaned += tracker("clean", "--before", "2026-11-22", "--yes", "--json").data["removed"]
    ids = [values["id"] for values in map(json.loads, tracker.bytes.splitlines())]
    names = ["ours0", "ours1", "theirs0", "theirs1"]
    assert sorted(ids) == sorted(["first", *(f"{name}-{number}" for name in names for number in range(count))])
    assert cleaned == 1 + 2 * count
    answer = tracker("stats", "--json")
    assert (answer.data["total"]["requests"], answer.json["notes"]) == (1 + 4 * count, [])


@needs_posix
def test_of_two_that_clean_at_once_one_finds_nothing(tracker: Tracker) -> None:
    tracker.write(*(call("2020-01-01T00:00:00Z") for _ in range(20)), call(NEW))
    whole = tracker.bytes
    running = [tracker.start("clean", "--before", "2020-01-02", "--yes", "--json") for _ in range(3)]
    answers = [json.loads(process.communicate()[0])["data"] for process in running]
    assert sorted(answer["removed"] for answer in answers) == [0, 0, 20]
    assert tracker.bytes == call(NEW)
    assert (tracker.folder / "usage.jsonl.1").read_bytes() == whole


# -- a ledger of two names -------------------------------------------------------------------------------------------


def test_a_ledger_with_a_second_name_is_warned_of_and_not_cleaned(tracker: Tracker) -> None:
    """Renaming would leave the old calls under one name and the new ones under the other."""
    tracker.write(call(OLD, id="gen-old"), call(NEW, id="gen-new"))
    twin = tracker.home / "twin.jsonl"
    os.link(tracker.ledger, twin)
    before = tracker.bytes
    ran = tracker("clean", "--before", BEFORE, "--json")
    assert ran.code == 0 and ran.data["removed"] == 1
    assert "1 other name (hard links)" in ran.json["notes"][0] and "hard links" in ran.err
    for argv in ((), ("--json",)):
        ran = tracker("clean", "--before", BEFORE, "--yes", *argv)
        assert ran.code == 6 and "would make two ledgers" in ran.error_line
    assert tracker.bytes == before == twin.read_bytes()
    assert tracker.ledger.samefile(twin)
    assert beside(tracker) == ["usage.jsonl"]
    found = tracker("doctor", "--json", "--offline").data["findings"]
    assert [one["level"] for one in found if "has 1 other name (hard links)" in one["text"]] == ["warning"]
    twin.unlink()
    assert tracker("clean", "--before", BEFORE, "--yes").code == 0
    assert not [one for one in tracker("doctor", "--json", "--offline").data["findings"] if "hard link" in one["text"]]


@pytest.mark.parametrize("left", [(".1",), (".1.new",), (".1", ".1.new")], ids=str)
def test_names_that_a_killed_clean_left_keep_nobody_from_cleaning(left: tuple[str, ...], tracker: Tracker) -> None:
    """They are this program's own, and are taken away."""
    tracker.write(call(OLD, id="gen-old"), call(NEW, id="gen-new"))
    for suffix in left:
        os.link(tracker.ledger, f"{tracker.ledger}{suffix}")
    assert tracker("clean", "--before", BEFORE, "--yes", "--json").data["removed"] == 1
    assert tracker.bytes == call(NEW, id="gen-new")
    os.link(tracker.ledger, tracker.home / "twin.jsonl")
    tracker.write(call(OLD, id="gen-older"))
    assert tracker("clean", "--before", BEFORE, "--yes").code == 6
