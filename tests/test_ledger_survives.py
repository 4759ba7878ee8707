"""The ledger among many writers, some of whom are killed: what was acknowledged is there, once, and whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from openrouter_usage.entry import Entry, read_line, write_line
from openrouter_usage.ledger.clean import clean
from openrouter_usage.ledger.ledger import Ledger
from tests.running import ROOT

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
COST = Decimal("0.0000001")
WRITER = """
import sys
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from openrouter_usage.entry import Entry
from openrouter_usage.ledger.ledger import Ledger

name, count, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
ledger = Ledger(path, lock_timeout_s=120)
for number in range(count):
    identity = f"gen-{name}-{number}"
    at = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
    entry = Entry(at, "openai/gpt-5.2", 10, 5, Decimal("0.0000001"), identity)
    if ledger.append(entry):
        print(identity, flush=True)
"""


READER = """
import sys
from pathlib import Path
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.entry import NOTHING

print("ready", flush=True)
while True:
    ledger = Ledger(Path(sys.argv[1]), lock_timeout_s=120)
    for by in ("session", "day", "model"):
        totals = ledger.totals(by=by)
        assert totals.total == sum(totals.groups.values(), NOTHING)
    assert all(entry.id for entry in ledger.entries())
    ledger.close()
"""


def start(code: str, *words: str) -> subprocess.Popen[str]:
    """A process that appends, and says of each call when it is acknowledged; or one that reads for ever."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "PYTHONPATH": str(ROOT / "scripts")}
    return subprocess.Popen([sys.executable, "-c", code, *words], env=environment, stdout=subprocess.PIPE, text=True)


def identities(path: Path) -> list[str]:
    """The ids of all whole calls in a file, in their order."""
    records = (read_line(line) for line in path.read_bytes().split(b"\n"))
    return [record.id for record in records if isinstance(record, Entry)]


def run_storm(path: Path, *, processes: int, appends: int, killed: int, seed: int) -> None:
    """Writers, readers and a cleaner at once; a part of the writers is killed."""
    chance = random.Random(seed)
    ledger = Ledger(path, lock_timeout_s=120)
    ledger.append_all(Entry(NOW, "first/model", 1, 1, COST, f"gen-first-{n}") for n in range(20))
    readers = [start(READER, str(path)) for _ in range(2)]
    assert [reader.stdout.readline() for reader in readers if reader.stdout] == ["ready\n"] * 2
    doomed, old, cleaned = set(chance.sample(range(processes), killed)), 0, 0
    # Those that are to be killed would go on for ever: a machine that is fast must not save them.
    counts = [10**9 if number in doomed else appends for number in range(processes)]
    writers = [start(WRITER, str(number), str(count), str(path)) for number, count in enumerate(counts)]
    while any(writer.poll() is None for writer in writers):
        for writer in (writers[number] for number in doomed):
            if writer.poll() is None and len(identities(path)) > processes * appends * chance.random():
                os.kill(writer.pid, signal.SIGKILL)
        if chance.random() < 0.5:
            ledger.append(Entry(NOW - timedelta(days=400), "old/model", 1, 1, COST, f"gen-old-{old}"))
            old += 1
        cleaned += clean(ledger.engine, NOW - timedelta(days=30), dry_run=False).removed
        time.sleep(0.05)
    assert old and cleaned == old
    for reader in readers:
        assert reader.poll() is None, "a reader has found sums that are not right"
        reader.kill()
        reader.communicate()
    acknowledged = [line for writer in writers for line in (writer.communicate()[0] or "").split()]
    kept = identities(path)
    assert len(kept) == len(set(kept)), "a call stands twice"
    assert set(acknowledged) <= set(kept), "an acknowledged call is lost"
    ends = [writer.returncode for writer in writers]
    assert ends == [-9 if number in doomed else 0 for number in range(processes)]
    unread = ledger.health().unread
    assert len(unread) <= killed and len(kept) <= 20 + len(acknowledged) + killed
    assert ledger.append(Entry(NOW, "last/model", 1, 1, COST, "gen-last")), "a torn end is repaired"
    ledger.close()
    again = Ledger(path)
    total = again.totals().total
    assert (total.requests, total.cost) == (len(kept) + 1, COST * (len(kept) + 1))
    again.close()
    if not killed:
        assert len(acknowledged) == processes * appends == len(kept) - 20
        assert not unread


def test_no_acknowledged_call_is_lost_among_many_writers_and_a_cleaner(tmp_path: Path) -> None:
    run_storm(tmp_path / "usage.jsonl", processes=5, appends=40, killed=0, seed=1)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process like that")
def test_no_acknowledged_call_is_lost_when_writers_are_killed(tmp_path: Path) -> None:
    run_storm(tmp_path / "usage.jsonl", processes=6, appends=60, killed=2, seed=2)


@pytest.mark.storm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("killed", [0, 21])
def test_no_acknowledged_call_is_lost_in_a_storm(tmp_path: Path, killed: int) -> None:
    run_storm(tmp_path / "usage.jsonl", processes=64, appends=200, killed=killed, seed=3)


def test_a_ledger_cut_at_any_byte_of_its_last_lines_keeps_the_others_and_goes_on(tmp_path: Path) -> None:
    lines = [write_line(Entry(NOW, "a/b", 1, 1, Decimal("0.1"), f"gen-{n}", session="Grüße")) for n in range(4)]
    whole = b"".join(lines)
    for size in range(len(lines[0]), len(whole) + 1):
        path = tmp_path / f"{size}.jsonl"
        path.write_bytes(whole[:size])
        ends = [len(b"".join(lines[: n + 1])) for n in range(4)]
        # A last line that lacks nothing but its end counts: no beginning of an object is an object.
        expected = sum(size >= end - 1 for end in ends)
        ledger = Ledger(path)
        assert ledger.totals().total.requests == expected, size
        assert ledger.append(Entry(NOW, "c/d", 1, 1, Decimal("0.2"), "gen-next"))
        totals = ledger.totals()
        assert totals.groups["c/d"].cost == Decimal("0.2")
        assert totals.total.requests == expected + 1
        ledger.close()


@pytest.mark.parametrize("thousands", [100, pytest.param(1_000, marks=pytest.mark.storm)])
def test_many_tiny_costs_are_exactly_what_they_add_up_to(thousands: int, tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    line = write_line(Entry(NOW, "a/b", 1, 1, COST, session="s", provider="p"))
    with path.open("wb") as file:
        for _ in range(thousands):
            file.write(line * 1_000)
    ledger = Ledger(path)
    for grouping in ("model", "day", "session", "provider", "tag"):
        totals = ledger.totals(by=grouping)
        assert totals.total.cost == thousands * 1_000 * COST
        assert [usage.cost for usage in totals.groups.values()] == [thousands * 1_000 * COST]
