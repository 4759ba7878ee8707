"""The ledger between programs: one that is stopped, killed or forked, an index that suffers, and lines that wait."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.budgets import MACHINE, Owner
from openrouter_usage.entry import Caps, Entry, Hold, read_line, write_line
from openrouter_usage.errors import LedgerError
from openrouter_usage.ledger import spool
from openrouter_usage.ledger.ledger import Committed, Ledger
from openrouter_usage.period import FOREVER, today
from openrouter_usage.tracker.cost_tracker import CostTracker
from tests.booking import Tracker, call
from tests.calling import CHAT, MODEL
from tests.disk import faulty
from tests.ledger_model import NOON, an_entry
from tests.running import ROOT
from tests.sandbox import INFERENCE_KEY, Sandbox
from tests.storm.audit import audit

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and forks are those of POSIX")
HELLO = [{"role": "user", "content": "Hello?"}]
HOLDER = """
import os, signal, sys
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from openrouter_usage.entry import Hold
from openrouter_usage.ledger.ledger import Ledger

def stop(books):
    os.kill(os.getpid(), signal.SIGSTOP)

hold = Hold("of-the-stopped", datetime(2026, 11, 22, 12, tzinfo=timezone.utc), "a/b", Decimal("0.1"))
Ledger(Path(sys.argv[1])).hold(hold, stop)
"""


@pytest.fixture
def tracker(home: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("TMPDIR", str(home))
    found = Tracker(home, env={"TMPDIR": str(home)})
    found.write(call(id="gen-1"), call(id="gen-2"))
    return found


def start(code: str, *words: str) -> subprocess.Popen[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "PYTHONPATH": str(ROOT / "scripts")}
    return subprocess.Popen([sys.executable, "-c", code, *words], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def stopped(tracker: Tracker) -> Iterator[subprocess.Popen[str]]:
    """A process that is stopped while it has the lock."""
    holder = start(HOLDER, str(tracker.ledger))
    _, status = os.waitpid(holder.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    yield holder
    holder.kill()
    holder.communicate()


def ids(path: Path) -> list[str]:
    """The calls of a file, in their order."""
    records = [read_line(line) for line in path.read_bytes().splitlines()]
    return [record.id for record in records if isinstance(record, Entry)]


# -- a lock that is not let go ---------------------------------------------------------------------------------------


def test_who_is_stopped_with_the_lock_is_named_and_reading_goes_on(tracker: Tracker, stopped: Any) -> None:
    notices: list[str] = []
    ledger = Ledger(tracker.ledger, lock_timeout_s=0.2, notice=notices.append)
    before = tracker.bytes
    with pytest.raises(LedgerError, match=f"is locked by process {stopped.pid} and was not released") as refused:
        ledger.append(an_entry(1))
    assert (refused.value.exit_code, refused.value.code, tracker.bytes) == (6, "locked", before)
    tracker.write(call(id="gen-3"))
    assert ledger.totals().total.requests == 3
    assert [entry.id for entry in ledger.entries()] == ["gen-1", "gen-2", "gen-3"]
    (notice,) = notices
    assert f"process {stopped.pid}" in notice and "read without the lock" in notice
    ledger.close()
    ran = tracker("stats", "--json")
    assert (ran.code, ran.data["total"]["requests"]) == (0, 3)
    assert f"is locked by process {stopped.pid}" in ran.error_line


def test_who_is_stopped_with_the_lock_stops_calls_under_a_budget_only(
    tracker: Tracker, stopped: Any, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_BASE_URL", sandbox.url)
    caller = CostTracker(INFERENCE_KEY, usage_file=tracker.ledger, caps=Caps(daily=Decimal(1)))
    caller.ledger = Ledger(tracker.ledger, lock_timeout_s=0.2)
    with pytest.raises(LedgerError, match=f"is locked by process {stopped.pid}"):
        caller.chat(HELLO, MODEL, max_tokens=10)
    assert sandbox.calls(CHAT) == 0
    free = CostTracker(INFERENCE_KEY, usage_file=tracker.ledger, caps=Caps())
    free.ledger = Ledger(tracker.ledger, lock_timeout_s=0.2)
    free.chat(HELLO, MODEL, max_tokens=10)
    assert sandbox.calls(CHAT) == 1
    os.kill(stopped.pid, signal.SIGCONT)
    stopped.wait()
    assert tracker("stats", "--json").data["total"]["cost_usd"] == sandbox.account.bill + Decimal("0.005")
    assert set(audit(tracker.ledger).held) == {"of-the-stopped"}
    for ledger in (caller.ledger, free.ledger):
        ledger.close()


def test_who_is_killed_with_the_lock_leaves_nothing_behind(tracker: Tracker, stopped: Any) -> None:
    stopped.kill()
    stopped.wait()
    ledger = Ledger(tracker.ledger, lock_timeout_s=0.2)
    assert ledger.append(an_entry(1))
    assert (ledger.totals().total.requests, ledger.health().holds) == (3, ())
    ledger.close()


# -- verbs that write together -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_what_is_kept_from_one_group_to_the_next_is_what_a_fresh_reader_finds(seed: int, tracker: Tracker) -> None:
    """Holds, names, settles, releases, repeats and doubtful bills in groups, with another program that writes between."""
    chance, ledger, other = random.Random(seed), Ledger(tracker.ledger), Ledger(tracker.ledger)
    owners = (MACHINE, Owner("client", "a"), Owner("session", "s"))
    held: list[Hold] = []
    settled: list[Entry] = []

    def known(books: Committed) -> Any:
        spans = (today(NOON), today(NOON)._replace(end=FOREVER), today(NOON + timedelta(days=1)))
        spent = [books.spent(span, owner) for span in spans for owner in owners]
        return spent, sorted(books.holds(), key=lambda hold: hold.id), sorted(each.id for each in books.doubtful())

    def something(ledger: Ledger) -> None:
        number = chance.randrange(10**9)
        tags, session = chance.choice([(), (("client", "a"),)]), chance.choice(["", "s"])
        act = chance.choice(["hold", "hold", "hold", "name", "settle", "settle", "settle", "release", "append", "again"])
        if act == "hold" or not held:
            hold = Hold(f"h{number}", NOON, "a/b", Decimal(number).scaleb(-9), session=session, tags=tags)
            ledger.hold(hold, lambda books: None)
            held.append(hold)
        elif act == "name":
            ledger.name_generation(chance.choice(held).id, f"gen-n{number}")
        elif act == "release":
            ledger.release(held.pop(chance.randrange(len(held))).id, NOON)
        elif act == "again" and settled:
            ledger.settle(chance.choice(settled))
        else:
            hold = held.pop(chance.randrange(len(held))) if act == "settle" else Hold("", NOON, "a/b", None)
            entry = an_entry(id=f"gen-{number % 50}", cost=Decimal(number).scaleb(-12), hold=hold.id, session=hold.session,
                             ts=NOON + timedelta(days=chance.choice([0, 0, 1])), tags=hold.tags,
                             told=chance.choice(["", "", "", "-5"]))  # fmt: skip
            settled.append(entry)
            ledger.settle(entry) if hold.id else ledger.append(entry)

    found: list[Any] = []
    for _ in range(40):
        ledger.together(lambda: [something(ledger) for _ in range(chance.randrange(4))])
        ledger.together(lambda: ledger.committed(lambda books: found.append(known(books))))
        other.committed(lambda books: found.append(known(books)))
        assert found[-2] == found[-1]
        if chance.random() < 0.2:
            something(other)
    ledger.close()
    other.close()


# -- forks -----------------------------------------------------------------------------------------------------------


def in_a_fork(work: Any) -> int:
    """Work in a fork of this process, and give the child's number."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)  # a child that waits for ever would outlive the test
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    return child


def test_a_ledger_that_is_open_can_be_used_on_both_sides_of_a_fork(tracker: Tracker) -> None:
    ledger = Ledger(tracker.ledger)
    ledger.append(an_entry(1))

    def append(name: str) -> None:
        for number in range(20):
            ledger.append(an_entry(id=f"gen-{name}-{number}"))

    children = [in_a_fork(lambda name=name: append(name)) for name in ("a", "b")]
    append("parent")
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert ledger.totals().total.requests == 63
    assert len(set(ids(tracker.ledger))) == 63 == len(ids(tracker.ledger))
    ledger.close()


def test_a_fork_waits_for_another_thread_that_has_the_lock(tracker: Tracker) -> None:
    ledger, has_lock = Ledger(tracker.ledger, lock_timeout_s=5), threading.Event()

    def check(books: object) -> None:
        has_lock.set()
        time.sleep(0.2)

    thread = threading.Thread(target=lambda: ledger.hold(Hold("h", NOON, "a/b", Decimal("0.1")), check))
    thread.start()
    has_lock.wait()
    child = in_a_fork(lambda: ledger.append(an_entry(id="gen-child")))
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
    assert [hold.id for hold in ledger.health().holds] == ["h"]
    assert ids(tracker.ledger) == ["gen-1", "gen-2", "gen-child"]
    ledger.close()


# -- an index that suffers while it is used --------------------------------------------------------------------------

WRITER = """
import sys
from cost_tracker import CostTracker, OpenRouterUsageError
tracker = CostTracker(usage_file=sys.argv[1])
for number in range(int(sys.argv[3])):
    try:
        tracker.log_usage("a/b", 1, 1, "0.001", f"{sys.argv[2]}-{number}", ts="2026-11-22T10:00:00Z")
        print(f"{sys.argv[2]}-{number}", flush=True)
    except OpenRouterUsageError as error:
        print(f"refused: {error.message}", flush=True)
"""


def spoil(index: Path, chance: random.Random) -> None:
    """Do something to an index that no program does."""
    with contextlib.suppress(FileNotFoundError):
        how = chance.choice(("overwrite", "overwrite", "unlink", "replace", "empty"))
        if how == "overwrite":
            with index.open("r+b") as file:
                file.seek(chance.randrange(max(1, index.stat().st_size)))
                file.write(chance.randbytes(chance.choice((1, 50, 5_000))))
        elif how == "unlink":
            index.unlink()
        elif how == "replace":
            garbage = index.with_name("garbage")
            garbage.write_bytes(chance.randbytes(20_000))
            garbage.replace(index)
        else:
            os.truncate(index, 0)


def test_an_index_that_is_spoilt_while_two_programs_use_it_costs_no_call(tracker: Tracker) -> None:
    chance, index = random.Random(7), tracker.folder / "usage.jsonl.index"
    writers = [start(WRITER, str(tracker.ledger), f"gen-{name}", "60") for name in "ab"]
    while any(writer.poll() is None for writer in writers):
        time.sleep(chance.uniform(0.005, 0.03))
        spoil(index, chance)
    said = [line for writer in writers for line in (writer.communicate()[0] or "").splitlines()]
    acknowledged = [line for line in said if not line.startswith("refused")]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(said) == 120
    assert sorted(ids(tracker.ledger)) == sorted(["gen-1", "gen-2", *acknowledged])
    index.unlink(missing_ok=True)
    data = tracker("stats", "--json").data
    assert data["total"]["requests"] == 2 + len(acknowledged)


# -- lines that wait -------------------------------------------------------------------------------------------------


def test_lines_that_wait_get_into_the_ledger_once_however_many_come_for_them(tracker: Tracker) -> None:
    waiting = [an_entry(number) for number in range(12)]
    for entry in waiting:
        assert spool.save(tracker.ledger, write_line(entry))
    running = [tracker.start("stats", "--json") for _ in range(5)]
    assert {process.wait() for process in running} == {0}
    told = b"".join(stream.read() for process in running for stream in (process.stdout, process.stderr) if stream)
    for process in running:
        process.communicate()
    assert sorted(ids(tracker.ledger)) == sorted(["gen-1", "gen-2", *(entry.id for entry in waiting)])
    assert told.count(b"could not be saved before") == 1
    assert list(tracker.home.glob("openrouter-usage-*/*")) == []


def test_lines_wait_for_their_own_ledger_only(tracker: Tracker) -> None:
    other = tracker.home / "other.jsonl"
    spool.save(other, write_line(an_entry(1)))
    assert tracker("stats").err == ""
    assert ids(tracker.ledger) == ["gen-1", "gen-2"]
    assert tracker("stats", env={"OPENROUTER_USAGE_FILE": str(other)}).code == 0
    assert ids(other) == ["gen-000001"]


# -- a clock that is set ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=1), timedelta(days=40)])
def test_a_clock_that_is_set_back_neither_doubles_a_day_nor_revives_a_hold(back: timedelta, tracker: Tracker) -> None:
    moments = iter([NOON, NOON - back, NOON - back, NOON])
    ledger = Ledger(tracker.ledger)
    ledger.hold(Hold("h1", next(moments), "a/b", Decimal("0.1")), lambda books: None)
    ledger.release("h1", next(moments))
    ledger.hold(Hold("h2", next(moments), "a/b", Decimal("0.1")), lambda books: None)
    ledger.settle(an_entry(1, ts=next(moments), hold="h2"))
    for _ in range(2):
        assert ledger.health().holds == ()
        days = ledger.totals(by="day").groups
        assert {day: usage.requests for day, usage in days.items()} == {"2026-11-22": 3}
        ledger.close()
        (tracker.folder / "usage.jsonl.index").unlink()


# -- file systems of a network ---------------------------------------------------------------------------------------

def test_a_ledger_on_a_network_works_and_says_so_once(tracker: Tracker, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:26 / {tmp_path} rw - nfs4 server:/export rw\n")
    environment = faulty(mounts=mounts)
    ran = tracker("stats", env=environment)
    assert ran.code == 0 and "on a file system of the kind nfs4" in ran.error_line
    assert tracker("stats", env=environment).err == ""
