"""Kept answers are shown while they are fresh or nothing better is to be had, and to their owner alone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.jobs.snapshot import is_fresh
from openrouter_usage.openrouter.answers.account import Gap, Parts
from tests.running import STATS, Ran, Stats, StatsAt, contents
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Fault, Sandbox

UTC = timezone.utc
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
UNDATED = Fault.headers({"Date": ""})
AT_ONCE = {"Retry-After": "0"}
FACES: list[tuple[str, ...]] = [(), ("--json",), ("--line",), ("--format", "csv"), ("--format", "markdown")]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.simple(now=lambda: NOON)) as running:
        running.account.keys[0].usage_daily = Decimal("1.23456789")
        running.misbehave("*", UNDATED)
        yield running


def kept_files(home: Path) -> list[Path]:
    """The snapshots below a home."""
    return sorted((home / ".openrouter" / "cache").glob("*"))


def kept_file(home: Path) -> Path:
    """The one snapshot below a home."""
    (path,) = kept_files(home)
    return path


def later(**time: float) -> datetime:
    """A moment after noon."""
    return NOON + timedelta(**time)


# -- fresh answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "asked"),
    [
        (timedelta(0), False), (timedelta(seconds=59), False), (timedelta(seconds=60), False),
        (timedelta(seconds=60, microseconds=1), True), (timedelta(hours=3), True),
        (timedelta(microseconds=-1), True), (timedelta(hours=-1), True), (timedelta(days=-1), True),
    ],
    ids=str,
)  # fmt: skip
def test_answers_are_used_up_to_their_greatest_age(
    age: timedelta, asked: bool, stats_at: StatsAt, sandbox: Sandbox
) -> None:
    stats_at(NOON)
    ran = stats_at(NOON + age, "--json", "--max-age", "60")
    assert ran.code == 0
    assert sandbox.calls("/key") == 1 + asked
    assert ran.data["today"]["usage_usd"] == Decimal("1.23456789")
    assert ran.data["age_s"] == (0 if asked else int(age.total_seconds()))


def test_without_max_age_openrouter_is_always_asked(stats_at: StatsAt, sandbox: Sandbox) -> None:
    for argv in ((), ("--json",), ("--max-age", "0"), ("--line", "--max-age", "0")):
        stats_at(NOON, *argv)
    assert sandbox.calls("/key") == 4


def test_a_line_waits_for_new_figures_only_if_asked_to(stats_at: StatsAt, sandbox: Sandbox) -> None:
    first = stats_at(NOON, "--line")
    assert stats_at(later(seconds=60), "--line").out == first.out
    assert sandbox.calls("/key") == 1
    stats_at(later(seconds=61), "--line", "--max-age", "60")
    assert sandbox.calls("/key") == 2
    assert stats_at(later(seconds=300), "--format", "line", "--max-age", "600").out.endswith(" · 3 min old\n")


@pytest.mark.parametrize(("before", "after"), [(1, 0), (0.000001, 0), (30, 29), (3600, 1)])
def test_at_midnight_utc_all_answers_are_old(before: float, after: float, stats_at: StatsAt, sandbox: Sandbox) -> None:
    midnight = NOON + timedelta(hours=12)
    stats_at(midnight - timedelta(seconds=before))
    ran = stats_at(midnight + timedelta(seconds=after), "--json", "--max-age", "86400")
    assert sandbox.calls("/key") == 2
    assert ran.data["today"]["start"] == "2026-11-23T00:00:00Z"


def test_until_midnight_utc_they_are_not(stats_at: StatsAt, sandbox: Sandbox) -> None:
    midnight = NOON + timedelta(hours=12)
    stats_at(midnight - timedelta(hours=12))
    stats_at(midnight - timedelta(microseconds=1), "--max-age", "86400")
    assert sandbox.calls("/key") == 1


def test_one_snapshot_serves_every_face_and_every_grouping(stats_at: StatsAt, sandbox: Sandbox) -> None:
    account = sandbox.account
    account.add_activity("a/one", days_ago=1, usage=Decimal("1.5"))
    account.add_activity("b/two", days_ago=20, usage=Decimal("2.5"))
    stats_at(NOON, "--days", "1", mgmt=MANAGEMENT_KEY)
    kept = {"mgmt": MANAGEMENT_KEY}
    for face in FACES:
        assert stats_at(NOON, *face, "--max-age", "60", **kept).code == 0
    ran = stats_at(NOON, "--json", "--days", "30", "--by", "day", "--max-age", "60", **kept)
    assert ran.data["breakdown"]["total"]["usage_usd"] == Decimal(4)
    assert sandbox.calls("/activity") == sandbox.calls("/key") == 1


@pytest.mark.parametrize("gap", ["activity", "credits"])
def test_a_refusal_is_kept_and_a_passing_fault_is_not(gap: str, stats_at: StatsAt, sandbox: Sandbox) -> None:
    sandbox.misbehave(f"/{gap}", Fault.status(500, headers=AT_ONCE) & UNDATED)
    assert stats_at(NOON, "--json", mgmt=MANAGEMENT_KEY).data["partial"] is True
    assert kept_files(stats_at.home) == []
    sandbox.misbehave(f"/{gap}", Fault.status(403, message="no") & UNDATED)
    first = stats_at(NOON, "--json", mgmt=MANAGEMENT_KEY)
    again = stats_at(NOON, "--json", "--max-age", "60", mgmt=MANAGEMENT_KEY)
    assert again.out == first.out
    assert [part["part"] for part in again.data["missing"]] == [gap]


# -- whose answers -------------------------------------------------------------------------------------------------


def test_no_other_keys_see_the_answers(stats_at: StatsAt, sandbox: Sandbox) -> None:
    other = sandbox.account.add_key("test-other-key-0001")
    sets: list[dict[str, Any]] = [
        {}, {"mgmt": MANAGEMENT_KEY}, {"key": other.secret}, {"key": MANAGEMENT_KEY},
        {"key": None, "mgmt": MANAGEMENT_KEY},
    ]  # fmt: skip
    for keys in sets:
        asked = sandbox.calls("/key")
        stats_at(NOON, "--json", "--max-age", "60", **keys)
        assert sandbox.calls("/key") == asked + 1
    assert len(kept_files(stats_at.home)) == len(sets)
    for keys in sets:
        asked = sandbox.calls("/key")
        stats_at(NOON, "--json", "--max-age", "60", **keys)
        assert sandbox.calls("/key") == asked


def test_no_other_address_gets_the_answers(stats: Stats, sandbox: Sandbox) -> None:
    stats()
    with Sandbox(Account.simple()) as other:
        other.account.keys[0].usage_daily = Decimal("77")
        stats.url = other.url
        assert "Today: $77.00" in stats("--max-age", "86400").out


def test_nobody_elses_answers_are_shown_when_openrouter_cannot_be_reached(stats: Stats, sandbox: Sandbox) -> None:
    assert stats().code == 0
    sandbox.misbehave("*", Fault.status(500))
    other = sandbox.account.add_key("test-other-key-0001")
    ran = stats("--json", "--timeout", "1", key=other.secret)
    assert (ran.code, ran.data) == (5, None)


# -- old answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(500, headers=AT_ONCE),
        Fault.status(429, headers=AT_ONCE),
        Fault.reset("accept"),
        Fault.hang(),
        Fault.html(),
    ],
    ids=["500", "429", "refused", "silence", "a web page"],
)
def test_when_openrouter_cannot_be_reached_old_figures_are_shown_with_their_age(
    fault: Fault, stats: Stats, sandbox: Sandbox
) -> None:
    sandbox.account.now = lambda: datetime.now(UTC)
    first = stats("--json")
    path = kept_file(stats.home)
    content = json.loads(path.read_text())
    taken = datetime.fromisoformat(content["taken_at"]) - timedelta(hours=5)
    path.write_text(path.read_text().replace(content["taken_at"], taken.isoformat()))
    sandbox.misbehave("*", fault)
    ran = stats("--json", "--timeout", "1")
    assert ran.code == 5
    assert ran.json["error"]["message"] in ran.error_line
    assert ran.error_line.startswith("stats.py: these figures are old: ")
    assert 5 * 3600 <= ran.data["age_s"] < 6 * 3600
    assert ran.data["today"]["usage_usd"] == first.data["today"]["usage_usd"]
    assert ran.data["taken_at"] == taken.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert path.read_text().count(taken.isoformat()) == 1  # what is old does not become new by being shown


@pytest.mark.parametrize("face", FACES, ids=lambda face: "-".join(face))
@pytest.mark.parametrize(
    ("age", "told"), [(timedelta(minutes=12), "12 min"), (timedelta(days=2), "2 days"), (timedelta(hours=-1), "0 s")]
)
def test_every_face_says_that_figures_are_old(
    age: timedelta, told: str, face: tuple[str, ...], stats_at: StatsAt, sandbox: Sandbox
) -> None:
    stats_at(NOON)
    sandbox.misbehave("*", Fault.html() & UNDATED)
    ran = stats_at(NOON + age, *face, "--max-age", "0")
    assert ran.code == 5
    assert "these figures are old" in ran.error_line
    if not face:
        assert f"As of 2026-11-22 12:00 UTC, {told} ago\n" in ran.out
    if face == ("--line",):
        assert (f" · {told} old" in ran.out) == (age > timedelta(0))
    if face == ("--format", "markdown"):
        assert "As of 2026-11-22 12:00 UTC." in ran.out
    assert "1.23" in ran.out


def test_a_refused_key_is_shown_no_old_figures(stats_at: StatsAt, sandbox: Sandbox) -> None:
    stats_at(NOON)
    sandbox.account.keys[0].disabled = True
    ran = stats_at(NOON, "--json")
    assert (ran.code, ran.data) == (4, None)


def test_with_nothing_kept_an_unreachable_openrouter_is_an_error(stats_at: StatsAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("*", Fault.html())
    assert stats_at(NOON, "--json").data is None


# -- the file ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="modes as POSIX has them")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_file_is_its_owners_alone_whatever_the_umask(umask: int, stats: Stats, sandbox: Sandbox) -> None:
    ran = stats("--json", mgmt=MANAGEMENT_KEY, umask=umask)
    assert ran.code == 0
    folder = stats.home / ".openrouter"
    if umask == 0o777 and not (os.access(folder, os.X_OK) and (folder / "cache").exists()):
        return  # folders that nobody may enter keep nothing, which is safe as well
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "cache", kept_file(stats.home))}
    assert {path: mode & 0o077 for path, mode in modes.items()} == dict.fromkeys(modes, 0)
    if umask in (0o000, 0o022, 0o077):
        assert list(modes.values()) == [0o700, 0o700, 0o600]


def test_the_file_holds_figures_and_no_keys(stats: Stats, sandbox: Sandbox) -> None:
    stats("--json", mgmt=MANAGEMENT_KEY)
    text = kept_file(stats.home).read_text()
    assert "1.23456789" in text
    for secret in (INFERENCE_KEY, MANAGEMENT_KEY, INFERENCE_KEY[-12:]):
        assert secret not in text + kept_file(stats.home).name


def rewritten(amount: str) -> Callable[[Path], object]:
    """Write another amount into a snapshot."""
    return lambda path: path.write_text(path.read_text().replace("1.23456789", amount))


def edited(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change the JSON in a snapshot."""

    def edit(path: Path) -> None:
        content = json.loads(path.read_text())
        changed = change(content)
        path.write_text(json.dumps(content if changed is None else changed))

    return edit


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-20]), id="cut"),
        pytest.param(lambda path: path.write_bytes(b"\0" * 500), id="zeros"),
        pytest.param(lambda path: path.write_bytes(os.urandom(500)), id="noise"),
        pytest.param(lambda path: path.write_bytes(b"[" * 100_000), id="brackets"),
        pytest.param(lambda path: path.write_bytes(b'{"a":' + b" " * 70_000_000 + b"1}"), id="70 MB"),
        pytest.param(rewritten("1e999999999999999999999"), id="exponent"),
        pytest.param(rewritten("NaN"), id="NaN"),
        pytest.param(edited(lambda content: []), id="a list"),
        pytest.param(edited(lambda content: {}), id="an empty object"),
        pytest.param(edited(lambda content: content | {"version": 2}), id="another version"),
        pytest.param(edited(lambda content: content.pop("version") and None), id="no version"),
        pytest.param(edited(lambda content: content | {"taken_at": "yesterday"}), id="no time"),
        pytest.param(edited(lambda content: content | {"taken_at": 17}), id="a number for a time"),
        pytest.param(edited(lambda content: content | {"answers": None}), id="no answers"),
        pytest.param(edited(lambda content: content | {"answers": {}}), id="empty answers"),
        pytest.param(edited(lambda content: content | {"gaps": []}), id="odd gaps"),
        pytest.param(edited(lambda content: content["answers"].update(key={"data": {"usage": []}})), id="odd amounts"),
        pytest.param(edited(lambda content: content["answers"].update(activity={"data": [1]})), id="odd rows"),
    ],
)  # fmt: skip
def test_a_snapshot_that_is_not_understood_is_overlooked_and_replaced(
    spoil: Callable[[Path], object], stats_at: StatsAt, sandbox: Sandbox
) -> None:
    first = stats_at(NOON, "--json", mgmt=MANAGEMENT_KEY)
    path = kept_file(stats_at.home)
    before = path.read_bytes()
    spoil(path)
    again = stats_at(NOON, "--json", "--max-age", "60", mgmt=MANAGEMENT_KEY)
    assert (again.code, again.err, again.out) == (0, "", first.out)
    assert sandbox.calls("/key") == 2
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.mkdir(), id="directory"),
        pytest.param(lambda path: os.mkfifo(path), id="FIFO"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), id="link to a device"),
        pytest.param(lambda path: path.symlink_to(path), id="link to itself"),
    ],
)
def test_what_is_no_file_is_no_snapshot(make: Callable[[Path], object], stats: Stats, sandbox: Sandbox) -> None:
    sandbox.account.now = lambda: datetime.now(UTC)
    stats()
    path = kept_file(stats.home)
    path.unlink()
    make(path)
    ran = stats("--max-age", "60")
    assert (ran.code, ran.err) == (0, "")
    assert sandbox.calls("/key") == 2


def test_a_link_in_the_place_of_the_snapshot_is_replaced_and_not_followed(stats: Stats, sandbox: Sandbox) -> None:
    stats()
    path = kept_file(stats.home)
    precious = stats.home / "authorized_keys"
    precious.write_text("precious")
    path.unlink()
    path.symlink_to(precious)
    assert stats().code == 0
    assert precious.read_text() == "precious"
    assert not path.is_symlink()


@pytest.mark.parametrize("place", [".openrouter", ".openrouter/cache"])
def test_where_nothing_can_be_kept_figures_are_shown_all_the_same(place: str, stats: Stats, sandbox: Sandbox) -> None:
    path = stats.home / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file in the place of a folder")
    for _ in range(2):
        ran = stats("--json", "--max-age", "60", mgmt=MANAGEMENT_KEY)
        assert (ran.code, ran.err, ran.data["partial"]) == (0, "", False)
    assert contents(stats.home) == {path: b"a file in the place of a folder"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_no_obstacle(stats: Stats) -> None:
    stats.home.chmod(0o500)
    try:
        ran = stats("--json")
        assert (ran.code, ran.err) == (0, "")
    finally:
        stats.home.chmod(0o700)


def test_a_full_disk_leaves_the_old_snapshot_and_no_rest(stats: Stats, sandbox: Sandbox) -> None:
    import resource
    import signal

    assert stats("--json").code == 0
    before = contents(stats.home)

    def no_room() -> None:  # a write beyond this size fails, as on a disk that is full
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    ran = stats("--json", preexec_fn=no_room, env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert (ran.code, ran.err) == (0, "")
    assert contents(stats.home) == before


def test_nothing_but_the_snapshot_is_left_behind(stats: Stats, sandbox: Sandbox) -> None:
    for _ in range(3):
        stats(mgmt=MANAGEMENT_KEY)
    assert list(contents(stats.home)) == [kept_file(stats.home)]


# -- a warm run ----------------------------------------------------------------------------------------------------

LISTED = (
    "import runpy, sys, atexit, os\n"
    "def leave(code):\n"
    "    print(*sorted(sys.modules), file=sys.stderr); sys.stdout.flush(); sys.stderr.flush(); os._exit(code)\n"
    "sys.argv = sys.argv[1:]\n"
    "sys.path.insert(0, os.path.dirname(sys.argv[0]))\n"
    "import openrouter_usage.cli.program as run\n"
    "run.leave = leave\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
)


@pytest.mark.parametrize("face", FACES, ids=lambda face: "-".join(face))
def test_a_warm_run_asks_nobody_and_loads_nothing_to_ask_with(
    face: tuple[str, ...], stats: Stats, sandbox: Sandbox
) -> None:
    sandbox.account.now = lambda: datetime.now(UTC)
    stats(mgmt=MANAGEMENT_KEY)
    asked = sandbox.connections
    env = stats.environment(key=INFERENCE_KEY, mgmt=MANAGEMENT_KEY, env={})
    command = [sys.executable, "-c", LISTED, str(STATS), *face, "--max-age", "3600"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stderr.split())
    assert "1.23" in done.stdout
    assert {"openrouter_usage.jobs.snapshot"} <= loaded
    slow = {
        "requests",
        "urllib3",
        "dotenv",
        "ssl",
        "socket",
        "http",
        "email",
        "asyncio",
        "sqlite3",
        "logging",
        "tempfile",
    }
    assert loaded & slow == set()
    assert not any(name.startswith(("openrouter_usage.client", "openrouter_usage.ledger")) for name in loaded)
    assert sandbox.connections == asked


# -- the rule ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "max_age_s", "fresh"),
    [
        (NOON, 0, True), (later(seconds=1), 0, False), (later(seconds=5), 5, True), (later(seconds=5.1), 5, False),
        (later(seconds=-0.1), 5, False), (later(hours=12), 10**6, False), (later(hours=11), 10**6, True),
        (later(days=365), 10**9, False),
    ],
)  # fmt: skip
def test_freshness_is_an_age_and_a_day(now: datetime, max_age_s: float, fresh: bool) -> None:
    gap = Gap("key", "", "", "", 5)
    assert is_fresh(Parts(NOON, gap, gap), now, max_age_s) is fresh
    assert is_fresh(None, now, max_age_s) is False


def test_two_runs_at_once_leave_one_whole_snapshot(stats: Stats, sandbox: Sandbox) -> None:
    sandbox.account.now = lambda: datetime.now(UTC)
    running = [stats.start("--json") for _ in range(4)]
    ended = [Ran(process.wait(60), *(text.decode() for text in process.communicate())) for process in running]
    assert [ran.code for ran in ended] == [0] * 4
    asked = sandbox.calls("/key")
    assert stats("--json", "--max-age", "600").code == 0
    assert sandbox.calls("/key") == asked
    assert len(list(contents(stats.home))) == 1
