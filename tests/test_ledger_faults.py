"""Disks that are full, broken, slow to answer or read-only: nothing is lost, nothing is half written, and it is said."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.entry import Entry, read_line
from openrouter_usage.ledger.ledger import Ledger
from tests.booking import NOON, Tracker, call, hold
from tests.calling import BUDGET, CHAT, HELLO
from tests.disk import EACCES, EBUSY, EFBIG, EINTR, EIO, ENOSPC, EPERM, EROFS, EXDEV, SHORT, faulty, without_power
from tests.running import ROOT
from tests.sandbox import Account, Sandbox
from tests.storm.audit import audit

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, limits and modes are those of POSIX")
COUNT = 6
LOGGER = """
import sys
from cost_tracker import CostTracker, OpenRouterUsageError
tracker = CostTracker(usage_file=sys.argv[1])
for number in range(int(sys.argv[2])):
    try:
        tracker.log_usage("a/b", 1, 1, "0.1", f"gen-{number}", session="s" * 100)
        print(f"gen-{number}", flush=True)
    except OpenRouterUsageError as error:
        print("refused", error.exit_code, error.message, flush=True)
"""


@pytest.fixture
def tracker(home: Path) -> Tracker:
    return Tracker(home, env={"TMPDIR": str(home)})


@pytest.fixture
def caller(tracker: Tracker, sandbox: Sandbox) -> Tracker:
    """The program under a budget, with the sandbox to call."""
    tracker.url, tracker.env = sandbox.url, {**BUDGET, **tracker.env}
    return tracker


def log(tracker: Tracker, *plans: str, count: int = COUNT, **options: Any) -> list[str]:
    """Log calls on a disk that fails, and give what was said of each."""
    tracker.folder.mkdir(mode=0o700, exist_ok=True)
    environment = {**tracker.environment({}), "PYTHONPATH": str(ROOT / "scripts"), **(faulty(*plans) if plans else {})}
    command = [sys.executable, "-c", LOGGER, str(tracker.ledger), str(count)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd="/", **options
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def ids(tracker: Tracker) -> list[str]:
    """The calls of the ledger; every line of it is one, and whole."""
    records = [read_line(line) for line in tracker.bytes.splitlines()]
    assert tracker.bytes.endswith(b"\n") or not tracker.bytes
    assert all(isinstance(record, Entry) for record in records)
    return [record.id for record in records if isinstance(record, Entry)]


# -- appending -------------------------------------------------------------------------------------------------------

APPENDS = {
    "short": ([f"write usage.jsonl {SHORT}"], 0),
    "short always": ([f"write usage.jsonl {SHORT} ok short short short ok"], 0),
    "full once": ([f"write usage.jsonl ok {ENOSPC}"], 1),
    "full in a line": ([f"write usage.jsonl ok {SHORT} {ENOSPC}"], 1),
    "full for ever": ([f"write usage.jsonl ok ok {SHORT} {ENOSPC} ..."], 4),
    "too large": ([f"write usage.jsonl {EFBIG}"], 1),
    "broken": ([f"write usage.jsonl ok {SHORT} {EIO}"], 1),
    "interrupted": ([f"write usage.jsonl {f'{EINTR} ' * 40} {SHORT} {f'{EINTR} ' * 9}"], 0),
    "not to be opened": ([f"open usage.jsonl {EPERM} ..."], COUNT),
    "read-only": ([f"open usage.jsonl ok {EROFS} ..."], COUNT),
    "index full": ([f"pwrite usage.jsonl.index {ENOSPC} ..."], None),
    "index log full": ([f"pwrite usage.jsonl.index-wal {ENOSPC} ok ok {ENOSPC} {ENOSPC}"], None),
    "index log broken": ([f"pwrite usage.jsonl.index-wal ok ok ok ok ok {EIO} ..."], None),
    "index not to be opened": ([f"open usage.jsonl.index {EACCES} ..."], None),
    "index not synced": ([f"fsync usage.jsonl.index-wal {EIO} ..."], None),
}


@pytest.mark.parametrize("name", APPENDS)
def test_what_is_acknowledged_is_there_and_what_is_refused_is_not(name: str, tracker: Tracker) -> None:
    plans, refused = APPENDS[name]
    said = log(tracker, *plans)
    known = [line for line in said if not line.startswith("refused")]
    wrong = [line for line in said if line.startswith("refused")]
    assert len(said) == COUNT and all(line.startswith("refused 6 the ") for line in wrong), said
    assert refused is None or len(wrong) == refused, said
    assert (ids(tracker) if tracker.ledger.exists() else []) == known
    assert log(tracker) == [f"gen-{number}" for number in range(COUNT)]
    assert sorted(ids(tracker)) == sorted(f"gen-{number}" for number in range(COUNT))
    ledger = Ledger(tracker.ledger)
    assert ledger.totals().total.cost == Decimal("0.1") * COUNT
    ledger.close()


def test_a_call_that_is_refused_is_told_so_that_it_can_be_saved(tracker: Tracker) -> None:
    said = log(tracker, f"write usage.jsonl ok {SHORT} {ENOSPC}")
    (wrong,) = [line for line in said if line.startswith("refused")]
    tracker.write(wrong.partition("; the call was ")[2].encode() + b"\n")
    assert sorted(ids(tracker)) == sorted(f"gen-{number}" for number in range(COUNT))


@pytest.mark.parametrize("before", [b"", b"\n\n", b" \r\n", b"\xef\xbb\xbf"])
def test_a_file_without_anything_in_it_is_an_empty_ledger(before: bytes, tracker: Tracker) -> None:
    tracker.write(before)
    ledger = Ledger(tracker.ledger)
    assert (ledger.totals().total.requests, ledger.health().unread) == (0, ())
    ledger.append(Entry(NOON, "a/b", id="gen-1"))
    assert [entry.id for entry in ledger.entries()] == ["gen-1"]
    assert tracker.bytes.startswith(before)
    ledger.close()


def test_half_a_line_that_cannot_be_taken_out_again_is_made_a_line_of_its_own(tracker: Tracker) -> None:
    said = log(tracker, f"write usage.jsonl ok {SHORT} {ENOSPC}", f"ftruncate usage.jsonl {EIO} ...")
    assert [line.partition(" ")[0] for line in said] == ["gen-0", "refused", "gen-2", "gen-3", "gen-4", "gen-5"]
    ledger = Ledger(tracker.ledger)
    assert [entry.id for entry in ledger.entries()] == ["gen-0", "gen-2", "gen-3", "gen-4", "gen-5"]
    assert [line.is_damaged for line in ledger.health().unread] == [True]
    ledger.close()
    assert "1 damaged line not counted" in tracker("stats").out


# -- a call: held, billed, settled -----------------------------------------------------------------------------------

HOLDS = [f"write usage.jsonl {ENOSPC}", f"write usage.jsonl {SHORT} {ENOSPC}", f"fsync usage.jsonl {EIO}"]


@pytest.mark.parametrize("plan", HOLDS)
def test_a_hold_that_cannot_be_written_sends_nothing(plan: str, caller: Tracker, sandbox: Sandbox) -> None:
    ran = caller("call", *HELLO, env=faulty(plan))
    assert (ran.code, ran.out) == (6, "")
    assert "cannot be written" in ran.error_line
    assert sandbox.calls(CHAT) == 0
    assert caller.bytes == b""


SETTLES = [f"write usage.jsonl ok {ENOSPC}", f"write usage.jsonl ok {SHORT} {EFBIG}", f"fsync usage.jsonl ok {EIO}"]


def unsaved(err: str, account: Account) -> bytes:
    """The line of the only call, as it was printed."""
    (identity,) = account.generations
    (line,) = {line[line.index("{") :] for line in err.splitlines() if identity in line and "{" in line}
    assert json.loads(line)["id"] == identity
    return line.encode() + b"\n"


@pytest.mark.parametrize("plan", SETTLES)
def test_a_call_that_cannot_be_settled_is_printed_and_waits(
    plan: str, caller: Tracker, sandbox: Sandbox, account: Account
) -> None:
    ran = caller("call", *HELLO, env=faulty(plan))
    assert (ran.code, ran.out) == (6, "Hello from the sandbox.\n")
    line = unsaved(ran.err, account)
    assert f"waits in {caller.home}" in ran.err
    assert [read_line(text).__class__.__name__ for text in caller.bytes.splitlines()] == ["Hold"]
    again = caller("stats", "--json")
    assert "1 line that could not be saved" in again.err
    assert caller.bytes.splitlines()[1] + b"\n" == line
    assert again.data["total"]["cost_usd"] == account.bill > 0
    assert audit(caller.ledger).held == {}
    assert caller("stats").err == ""


@pytest.mark.parametrize("step", ["rename .jsonl 18 ...", "fsync .part 5 ...", "open .part 30 ..."])
def test_a_call_that_cannot_wait_anywhere_either_is_printed(step: str, caller: Tracker, account: Account) -> None:
    ran = caller("call", *HELLO, env=faulty(f"write usage.jsonl ok {ENOSPC} ...", step))
    assert (ran.code, ran.out) == (6, "Hello from the sandbox.\n")
    line = unsaved(ran.err, account)
    assert "waits in" not in ran.err
    assert [path.name for path in caller.home.glob("openrouter-usage-*/*")] == []
    assert len(audit(caller.ledger).held) == 1  # until somebody does something it counts with all that was held
    caller.write(line)
    assert audit(caller.ledger).held == {}
    assert caller("stats", "--json").data["total"]["cost_usd"] == account.bill


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="there is no second file system here")
def test_a_call_may_wait_on_another_device(
    caller: Tracker, account: Account, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    other = Path("/dev/shm") / f"ledger-test-{os.getpid()}"
    other.mkdir(mode=0o700)
    request.addfinalizer(lambda: subprocess.run(["rm", "-rf", str(other)], check=True))
    caller.env["TMPDIR"] = str(other)
    assert caller("call", *HELLO, env=faulty(SETTLES[0])).code == 6
    assert "1 line that could not be saved" in caller("stats").err
    assert audit(caller.ledger).settled == {call.id: call.cost for call in account.generations.values()}


def test_what_waits_is_not_counted_twice_when_it_cannot_be_forgotten(caller: Tracker, account: Account) -> None:
    assert caller("call", *HELLO, env=faulty(SETTLES[0])).code == 6
    for _ in range(3):
        caller("stats", env=faulty(f"unlink .jsonl {EACCES} ..."))
    assert len(caller.bytes.splitlines()) == 2
    assert caller("stats", "--json").data["total"]["cost_usd"] == account.bill
    assert list(caller.home.glob("openrouter-usage-*/*")) == []


# -- rewriting and reading in ----------------------------------------------------------------------------------------

REWRITES = [
    *(f"rename usage.jsonl {number}" for number in (EXDEV, EBUSY, EACCES)),
    f"rename usage.jsonl.1 {EBUSY}",
    f"write usage.jsonl.new {ENOSPC}",
    f"write usage.jsonl.new {SHORT} {ENOSPC}",
    f"fsync usage.jsonl.new {EIO}",
    f"open usage.jsonl.new {EROFS}",
]


@pytest.mark.parametrize("plan", REWRITES)
def test_a_ledger_that_cannot_be_rewritten_is_as_it_was(plan: str, tracker: Tracker) -> None:
    tracker.write(call("2020-01-01T00:00:00Z"), call(), hold("a"), b"later\n")
    tracker("stats")
    before = tracker.bytes
    ran = tracker("clean", "--before", "2020-01-02", "--yes", env=faulty(plan))
    assert (ran.code, ran.out) == (6, "")
    assert "could not be cleaned and is unchanged" in ran.error_line
    assert tracker.bytes == before
    assert sorted(path.name for path in tracker.folder.glob("*new*")) == []
    assert tracker("clean", "--before", "2020-01-02", "--yes", "--json").data["removed"] == 1
    assert tracker.bytes == before.partition(b"\n")[2]


def test_links_that_are_forbidden_and_halves_of_writes_do_not_stop_a_rewriting(tracker: Tracker) -> None:
    tracker.write(call("2020-01-01T00:00:00Z"), call())
    plans = (f"link usage.jsonl.1.new {EPERM}", f"write usage.jsonl.new {EINTR} {SHORT}", f"write .1.new {SHORT}")
    whole = tracker.bytes
    assert tracker("clean", "--before", "2020-01-02", "--yes", env=faulty(*plans)).code == 0
    assert tracker.bytes == call()
    assert (tracker.folder / "usage.jsonl.1").read_bytes() == whole


@pytest.mark.parametrize("steps", [f"{ENOSPC}", f"{SHORT} {ENOSPC}", f"{SHORT} {SHORT} {EIO}"])
def test_of_an_import_all_is_written_or_nothing(steps: str, tracker: Tracker) -> None:
    tracker.write(call(id="gen-known"))
    other = tracker.home / "other.jsonl"
    other.write_bytes(b"".join(call(id=f"gen-{number}") for number in range(50)))
    before = tracker.bytes
    ran = tracker("import", str(other), env=faulty(f"write usage.jsonl {steps}"))
    assert (ran.code, ran.out) == (6, "")
    assert "cannot be written" in ran.error_line
    assert tracker.bytes == before
    assert tracker("import", str(other), env=faulty(f"write usage.jsonl {SHORT} {EINTR} {SHORT}")).code == 0
    assert tracker("stats", "--json").data["total"]["requests"] == 51


@pytest.mark.parametrize("plan", [f"rename report.csv {EXDEV}", f"fsync home {EIO}", f"link report.csv {EPERM} ..."])
def test_an_export_leaves_the_file_that_was_there_or_a_whole_one(plan: str, tracker: Tracker) -> None:
    tracker.write(call())
    target = tracker.home / "report.csv"
    target.write_text("mine")
    ran = tracker("export", "--format", "csv", "--output", str(target), "--force", env=faulty(plan))
    if "link" in plan:
        assert ran.code == 0 and target.read_text().count("\n") == 2
    else:
        assert ran.code == 2 and "cannot be written" in ran.error_line
    assert "rename" not in plan or target.read_text() == "mine"
    assert sorted(path.name for path in tracker.home.iterdir()) == [".openrouter", "report.csv"]


# -- who may read and write ------------------------------------------------------------------------------------------


def modes(folder: Path) -> dict[str, str]:
    """The mode of everything in a folder and of the folder itself."""
    return {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_all_is_its_owners_alone_whatever_the_umask(umask: int, tracker: Tracker) -> None:
    place = tracker.home / "deep" / "er"
    tracker.env["OPENROUTER_USAGE_FILE"] = str(place / "usage.jsonl")
    other = tracker.home / "other.jsonl"
    other.write_bytes(call("2020-01-01T00:00:00Z", id="gen-old") + call(id="gen-new"))
    assert tracker("import", str(other), umask=umask).code == 0
    log(Tracker(tracker.home), umask=umask)
    assert tracker("clean", "--before", "2021-01-01", "--yes", umask=umask).code == 0
    for folder in (tracker.home / "deep", tracker.folder):
        found = modes(folder)
        folders = {path.name for path in [folder, *folder.rglob("*")] if path.is_dir()}
        assert {mode for name, mode in found.items() if name in folders} == {"0o700"}, found
        assert {mode for name, mode in found.items() if name not in folders} == {"0o600"}, found


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_what_waits_is_its_owners_alone_whatever_the_umask(umask: int, caller: Tracker) -> None:
    assert caller("call", *HELLO, env=faulty(SETTLES[0]), umask=umask).code == 6
    (folder,) = caller.home.glob("openrouter-usage-*")
    assert sorted(modes(folder).values()) == ["0o600", "0o700"]


def test_a_folder_that_is_read_only_can_be_read(caller: Tracker, sandbox: Sandbox) -> None:
    caller.write(call(id="gen-1"))
    caller("stats")
    caller.write(call(id="gen-2"))
    before = caller.bytes
    caller.folder.chmod(0o500)
    caller.ledger.chmod(0o400)
    try:
        stats = caller("stats", "--json", **without_power())
        ran = caller("call", *HELLO, **without_power())
        said = log(caller, count=1, **without_power())
    finally:
        caller.folder.chmod(0o700)
    assert stats.data["total"]["requests"] == 2
    assert (ran.code, ran.out, sandbox.calls(CHAT)) == (6, "", 0)
    assert said[0].startswith("refused 6 ")
    assert caller.bytes == before


@pytest.mark.parametrize("has_index", [False, True])
def test_a_ledger_that_may_not_be_read_is_named(has_index: bool, caller: Tracker, sandbox: Sandbox) -> None:
    caller.write(call())
    caller("stats") if has_index else None
    caller.ledger.chmod(0o000)
    for argv in (("stats",), ("export", "--format", "csv"), ("call", *HELLO), ("clean", "--before", "2020-01-01")):
        ran = caller(*argv, **without_power())
        assert (ran.code, ran.out) == (6, "")
        assert "Permission denied" in ran.error_line
    assert sandbox.calls(CHAT) == 0


def strange(tracker: Tracker, kind: str) -> Path:
    """Put something that is no ledger of one's own where the ledger is looked for."""
    place, target = tracker.ledger, tracker.home / "authorized_keys"
    tracker.folder.mkdir(mode=0o700)
    target.write_text("keep me")
    match kind:
        case "link":
            place.symlink_to(target)
        case "link to nothing":
            place.symlink_to(tracker.home / "not yet")
        case "fifo":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case "of another user":
            if os.geteuid():
                pytest.skip("only root can make a file that is another user's")
            place.write_bytes(call())
            os.chown(place, 12_345, 12_345)
            place.chmod(0o666)
        case "device":
            tracker.env["OPENROUTER_USAGE_FILE"] = "/dev/full"
    return target


@pytest.mark.parametrize("kind", ["link", "link to nothing", "fifo", "folder", "of another user", "device"])
def test_what_is_no_ledger_of_ones_own_is_refused_and_untouched(
    kind: str, caller: Tracker, sandbox: Sandbox
) -> None:
    target = strange(caller, kind)
    before = caller.bytes if kind == "of another user" else b""
    for argv in (("stats",), ("import", "-"), ("call", *HELLO), ("clean", "--before", "2020-01-01", "--yes")):
        ran = caller(*argv, input=call() if argv[0] == "import" else b"")
        assert (ran.code, ran.out) == (6, ""), argv
        assert "the ledger" in ran.error_line
    assert sandbox.calls(CHAT) == 0
    assert target.read_text() == "keep me"
    assert not (caller.home / "not yet").exists()
    assert kind != "of another user" or caller.bytes == before
