"""Whatever happens to a ledger and its index, in whatever order, the sums are those of the file."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import tempfile
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from openrouter_usage.entry import Hold, Usage
from openrouter_usage.ledger import clean as cleaning
from openrouter_usage.ledger.clean import clean
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.sums import GROUPINGS
from openrouter_usage.period import Period
from tests.ledger_model import NOON, UTC, Book, an_entry, line_of, moment

ZONES = [UTC, *map(ZoneInfo, ("Europe/Amsterdam", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"))]
MOMENTS = st.integers(0, 40 * 24 * 3600).map(lambda seconds: NOON - timedelta(days=20) + timedelta(seconds=seconds))
NUMBERS = st.integers(0, 12)
CALLS = st.builds(
    an_entry,
    NUMBERS,
    ts=MOMENTS,
    cost=st.none() | st.decimals(0, 2, places=18),
    cost_source=st.sampled_from(["", "billed", "estimated"]),
    session=st.sampled_from(["", "a", "café"]),
    provider=st.sampled_from(["", "Google"]),
    tags=st.sampled_from([(), (("team", "x"),), (("job", "night"), ("team", "x"))]),
    byok_cost=st.none() | st.just(Decimal("0.0000001")),
).map(lambda entry: entry if entry.cost is not None else an_entry(int(entry.id[4:]), ts=entry.ts, cost=None))
FOREIGN = st.builds(
    lambda number, ts, cost: line_of(id=f"gen-{number:06d}", ts=ts.isoformat(), cost=cost, session="old"),
    NUMBERS,
    MOMENTS,
    st.sampled_from([0, 0.1, 1e-7, 0.00022334399999999998, None]),
)
ODD = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"not json\n",
        b'{"kind":"note"}\n',
        b"\x00\x00\n",
        b'{"ts":"x","model":"m"}\n',
        b'{"a":' * 9 + b"\n",
    ]
)
SPOILT = ["cut", "garbage", "bytes", "page", "other", "empty", "without log", "link", "folder of log"]


class LedgerLife(RuleBasedStateMachine):
    """Two programs that use one ledger, other tools that write into it, and an index that suffers."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-life-"))
        self.path = self.folder / "usage.jsonl"
        self.index = self.folder / "usage.jsonl.index"
        self.notices: list[str] = []
        self.grace_s = cleaning._GRACE_S
        cleaning._GRACE_S = (0.0,)  # no other tool writes at the same moment
        self.programs = [Ledger(self.path, notice=self.notices.append) for _ in range(2)]
        self.asked = 0
        self.written = 0

    def teardown(self) -> None:
        cleaning._GRACE_S = self.grace_s
        for program in self.programs:
            program.close()
        shutil.rmtree(self.folder)

    @rule(entry=CALLS, who=st.integers(0, 1), durable=st.booleans())
    def append(self, entry, who, durable) -> None:
        self.programs[who].append(entry, durable=durable)

    @rule(entries=st.lists(CALLS | CALLS.map(lambda e: an_entry(0, ts=e.ts, id="")), max_size=4), who=st.integers(0, 1))
    def append_all(self, entries, who) -> None:
        self.programs[who].append_all(entries)

    @rule(
        number=NUMBERS, entry=CALLS, who=st.integers(0, 1), end=st.sampled_from(["settle", "release", "name", "hold"])
    )
    def hold(self, number, entry, who, end) -> None:
        program, hold = self.programs[who], f"h{number}"
        if end == "hold":
            program.hold(Hold(hold, entry.ts, entry.model, Decimal("0.5")), lambda books: None)
        elif end == "settle":
            program.settle(an_entry(number, ts=entry.ts, cost=entry.cost, hold=hold))
        elif end == "release":
            program.release(hold, entry.ts)
        else:
            program.name_generation(hold, "gen-x")

    @rule(lines=st.lists(FOREIGN | ODD, min_size=1, max_size=5))
    def another_tool_appends(self, lines) -> None:
        self._append(b"".join(lines))

    @rule(line=FOREIGN, cut=st.integers(1, 300))
    def another_tool_dies_in_the_middle_of_a_line(self, line, cut) -> None:
        self._append(line[: min(cut, len(line) - 1)])

    def _append(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    @rule(all_files=st.booleans(), closed=st.booleans())
    def the_index_is_deleted(self, all_files, closed) -> None:
        if closed:
            self._close()
        for end in ("", "-wal", "-shm") if all_files else ("",):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.index}{end}")

    def _close(self) -> None:
        for program in self.programs:
            program.close()

    @precondition(lambda self: self.index.exists())
    @rule(how=st.sampled_from(SPOILT), seed=st.integers(0, 2**32))
    def the_index_is_spoilt(self, how, seed) -> None:
        self._close()
        chance, size = random.Random(seed), self.index.stat().st_size
        if how == "cut":
            os.truncate(self.index, chance.randrange(size))
        elif how == "empty":
            os.truncate(self.index, 0)
        elif how == "garbage":
            self.index.write_bytes(chance.randbytes(chance.randrange(1, 3 * size)))
        elif how in ("bytes", "page"):
            with self.index.open("r+b") as file:
                file.seek(chance.randrange(size) if how == "bytes" else chance.randrange(size // 4096) * 4096)
                file.write(chance.randbytes(chance.randrange(1, 64) if how == "bytes" else 4096))
        elif how == "other":
            self.index.unlink()
            with contextlib.closing(sqlite3.connect(self.index)) as other:
                other.execute("CREATE TABLE sums (a, b)")
                other.execute("PRAGMA user_version = 2")
        elif how == "without log":
            (self.folder / "usage.jsonl.index-wal").write_bytes(chance.randbytes(5000))
        elif how == "link":
            (self.folder / "elsewhere").write_bytes(b"")
            self.index.unlink()
            self.index.symlink_to(self.folder / "elsewhere")
        self._agree()
        if how in ("bytes", "page"):
            # What is in no sum, such as the mark of an id, is not proven by one; nobody would notice yet.
            self._close()
            self.index.unlink()

    @precondition(lambda self: self.path.exists())
    @rule(
        seed=st.integers(0, 2**32), how=st.sampled_from(["replaced", "in place", "as long", "cut", "gone", "touched"])
    )
    def the_ledger_is_changed(self, seed, how) -> None:
        chance, before = random.Random(seed), self.path.stat()
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if chance.random() < 0.7]
        if how == "replaced":
            new = self.folder / "new"
            new.write_bytes(b"".join(kept))
            os.replace(new, self.path)
        elif how == "in place":
            self.path.write_bytes(b"".join([*kept, line_of(session="edited")]))
        elif how == "as long":
            swaps = bytes.maketrans(b"0123456789", b"0132456789")
            self.path.write_bytes(b"".join(line.translate(swaps) if chance.random() < 0.5 else line for line in lines))
        elif how == "cut":
            os.truncate(self.path, chance.randrange(before.st_size + 1))
        elif how == "gone":
            self.path.unlink()
        if how != "gone" and self.path.stat().st_mtime_ns == before.st_mtime_ns:
            # The clock of a file system stands still for milliseconds, people do not.
            os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))

    @rule(before=MOMENTS, who=st.integers(0, 1), dry=st.booleans())
    def old_calls_are_taken_out(self, before, who, dry) -> None:
        book, data = Book.of(self.path), self.path.read_bytes() if self.path.exists() else None
        removed = clean(self.programs[who].engine, before, dry_run=dry).removed
        stay = [call for call in book.calls if moment(call) >= before]
        assert removed == len(book.calls) - len(stay)
        assert Book.of(self.path) == (book if dry else Book(stay, book.holds))
        assert not dry or data == (self.path.read_bytes() if self.path.exists() else None)

    @rule(start=MOMENTS, length=st.integers(1, 30 * 86400), zone=st.sampled_from(ZONES), by=st.sampled_from(GROUPINGS))
    def a_period_is_asked_for(self, start, length, zone, by) -> None:
        period = Period(start, start + timedelta(seconds=length), "some")
        self._compare(self.programs[0], Book.of(self.path), period, by, zone)

    @rule(first=st.integers(0, 39), days=st.integers(1, 33), zone=st.sampled_from(ZONES), by=st.sampled_from(GROUPINGS))
    def some_days_are_asked_for(self, first, days, zone, by) -> None:
        start = datetime(2026, 11, 1, tzinfo=zone) + timedelta(days=first)
        period = Period(start.astimezone(UTC), (start + timedelta(days=days)).astimezone(UTC), "days")
        self._compare(self.programs[1], Book.of(self.path), period, by, zone)

    @invariant()
    def the_sums_are_those_of_the_file(self) -> None:
        self._agree()

    def _agree(self) -> None:
        book = Book.of(self.path)
        self.asked += 1
        program, by = self.programs[self.asked % 2], GROUPINGS[self.asked % len(GROUPINGS)]
        self._compare(program, book, None, by, ZONES[self.asked % len(ZONES)])
        assert [entry.ts for entry in program.entries()] == [
            datetime.fromisoformat(c["ts"].replace("Z", "+00:00")) for c in book.calls
        ]
        health = program.health()
        assert {hold.id for hold in health.holds} == set(book.holds)

    def _compare(self, program: Ledger, book: Book, period: Period | None, by: str, zone) -> None:
        totals, expected = program.totals(period, by, zone), book.totals(period, by, zone)
        assert totals.groups == expected, (period, by, zone, self.notices)
        assert totals.total == sum(expected.values(), Usage())


TestLedgerLife = LedgerLife.TestCase
TestLedgerLife.settings = settings(max_examples=35, stateful_step_count=15)
