"""The archive of days: the best answer about each day holds, whoever wrote it, in whatever order, however it ended."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from openrouter_usage.entry import NOTHING, Unread, Usage
from openrouter_usage.errors import BadAnswer, LedgerError, SettingsError
from openrouter_usage.figures.archive import (
    ACTIVITY,
    ANALYTICS,
    ArchivedDay,
    changes,
    gathered,
    known_days,
    missing,
    read_day,
    spoken_stretches,
    write_day,
)
from openrouter_usage.jobs.archive import Archive
from openrouter_usage.openrouter.answers.account import ActivityRow
from openrouter_usage.period import Stretch

UTC = timezone.utc
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIRST = START.date()
DAY = timedelta(days=1)
POSIX = pytest.mark.skipif(os.name != "posix", reason="modes, links and pipes are those of POSIX")


def row(day: date, cost: str = "0.5", model: str = "a/b", provider: str = "P", requests: int = 1) -> ActivityRow:
    return ActivityRow(day, model, provider, Usage(requests, 10, 5, 1, 2, Decimal(cost), Decimal("0.1")), f"{model}-1")


def archived(number: int, *costs: str, at: datetime = START, source: str = ACTIVITY, account: str = "A") -> ArchivedDay:
    """What was said of the numbered day."""
    day = FIRST + number * DAY
    rows = gathered(row(day, cost, f"a/{place}") for place, cost in enumerate(costs))
    return ArchivedDay(account, day, source, at, rows)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "folder" / "activity.jsonl", lock_timeout_s=0.2)


# -- lines -----------------------------------------------------------------------------------------------------------

NAMES = st.text(max_size=12)
AMOUNTS = st.decimals(min_value=0, max_value=10**6, allow_nan=False, allow_infinity=False, places=18)
USAGES = st.builds(
    lambda counts, cost, byok: Usage(*counts, cost, byok),
    st.tuples(*[st.integers(0, 10**9)] * 5),
    AMOUNTS,
    AMOUNTS,
)
ROWS = st.lists(st.builds(ActivityRow, st.just(FIRST), NAMES, NAMES, USAGES, NAMES), max_size=5)


@given(rows=ROWS, source=st.sampled_from([ACTIVITY, ANALYTICS]), seconds=st.floats(0, 1e9))
def test_a_day_is_read_back_as_it_was_written_to_the_last_digit(
    rows: list[ActivityRow], source: str, seconds: float
) -> None:
    day = ArchivedDay("user-1", FIRST, source, START + timedelta(seconds=seconds), gathered(rows))
    line = write_day(day)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and line.isascii()
    assert read_day(line[:-1]) == day
    assert day.total == sum((one.usage for one in rows), NOTHING)


@given(rows=ROWS, order=st.randoms())
def test_the_same_figures_are_the_same_line_in_whatever_order_they_come(rows: list[ActivityRow], order: object) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert gathered(shuffled) == gathered(rows)


GOOD = json.loads(write_day(archived(0, "0.5")))
DAMAGED = {
    "not JSON": b'{"kind":"activity"',
    "not UTF-8": b'{"kind":"\xff"}',
    "a list": b"[1]",
    "no account": json.dumps({**GOOD, "account": ""}).encode(),
    "an account that is no text": json.dumps({**GOOD, "account": 7}).encode(),
    "an endless account": json.dumps({**GOOD, "account": "x" * 101}).encode(),
    "an account that acts on a terminal": json.dumps({**GOOD, "account": "\x1b[2J\u202eevil\n"}).encode(),
    "an account that --account refuses": json.dumps({**GOOD, "account": "a b"}).encode(),
    "an account that is a key": json.dumps({**GOOD, "account": "sk-or-" + "v1-0"}).encode(),
    "no date": json.dumps({**GOOD, "date": None}).encode(),
    "a date with a time": json.dumps({**GOOD, "date": "2026-01-01 00:00:00"}).encode(),
    "the 30th of February": json.dumps({**GOOD, "date": "2026-02-30"}).encode(),
    "no moment": json.dumps({**GOOD, "synced_at": ""}).encode(),
    "no rows": json.dumps({**GOOD, "rows": None}).encode(),
    "rows that are none": json.dumps({**GOOD, "rows": ["x"]}).encode(),
    "no amount": json.dumps({**GOOD, "rows": [{"model": "a", "byok": 0}]}).encode(),
    "an amount that is true": json.dumps({**GOOD, "rows": [{"usage": True, "byok": 0}]}).encode(),
    "an amount beyond belief": json.dumps({**GOOD, "rows": [{"usage": 1e12, "byok": 0}]}).encode(),
    "half a call": json.dumps({**GOOD, "rows": [{"usage": 1, "byok": 0, "requests": 0.5}]}).encode(),
    "infinity": b'{"kind":"activity","source":"/activity","rows":[{"usage":Infinity}]}',
    "far too long": b'{"kind":"' + b"x" * (4 * 1024 * 1024) + b'"}',
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_line_that_is_no_day_is_damaged_and_never_half_a_day(what: str) -> None:
    record = read_day(DAMAGED[what])
    assert isinstance(record, Unread) and record.is_damaged


@pytest.mark.parametrize("line", [b'{"kind":"forecast"}', b'{"ts":"2026-01-01"}', b'{"kind":"activity","source":"x"}'])
def test_a_line_of_another_kind_is_from_elsewhere(line: bytes) -> None:
    record = read_day(line)
    assert isinstance(record, Unread) and not record.is_damaged


def test_a_blank_line_is_nothing_and_unknown_members_are_ignored() -> None:
    assert read_day(b" \r") is None
    assert read_day(json.dumps({**GOOD, "more": 1}).encode()) == archived(0, "0.5")


def test_a_day_that_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(BadAnswer, match="2026-01-01 cannot be archived"):
        write_day(archived(0, "0.5", account=""))


# -- which answer holds ----------------------------------------------------------------------------------------------

LATER = START + timedelta(hours=1)
CASES = [
    # what is known, what is found, whether it is news
    (None, archived(0), True),
    (archived(0), archived(0, at=LATER), False),
    (archived(0, "1"), archived(0, "1.0", at=LATER), False),
    (archived(0, "1"), archived(0, "2", at=LATER), True),
    (archived(0, "1"), archived(0, at=LATER), True),
    (archived(0, "1", at=LATER), archived(0, "2"), False),
    (archived(0, "1"), archived(0, "2"), True),
    (archived(0, "1"), archived(0, "2", at=LATER, source=ANALYTICS), False),
    (archived(0, "1", at=LATER, source=ANALYTICS), archived(0, "1"), True),
    (archived(0, "1", source=ANALYTICS), archived(0, "2", at=LATER, source=ANALYTICS), True),
]


@pytest.mark.parametrize(("known", "found", "is_news"), CASES)
def test_an_answer_is_news_when_it_is_better_and_says_something_else(
    known: ArchivedDay | None, found: ArchivedDay, is_news: bool
) -> None:
    told = changes([found], {} if known is None else {known.day: known})
    assert [(change.day, change.before) for change in told] == ([(found, known)] if is_news else [])
    if known is not None:
        held = known_days([known, found])["A"][found.day]
        assert (held == found) == (is_news or (held.rows == found.rows and found.rank >= known.rank))


def test_missing_days_are_told_in_stretches() -> None:
    known = {FIRST + n * DAY: archived(n) for n in (0, 3, 4, 6)}
    found = missing(Stretch(FIRST, FIRST + 7 * DAY), known)
    assert [(stretch.first.day, stretch.last.day, stretch.length) for stretch in found] == [(2, 3, 2), (6, 6, 1), (8, 8, 1)]
    assert spoken_stretches(found) == "4 days (2026-01-02 to 2026-01-03, 2026-01-06, 2026-01-08)"
    assert missing(None, {}) == []
    many = [Stretch(FIRST + n * DAY, FIRST + n * DAY) for n in range(0, 20, 2)]
    assert spoken_stretches(many).endswith("2026-01-09 and 5 more)")


# -- the file --------------------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone_whatever_the_umask(archive: Archive) -> None:
    before = os.umask(0)
    try:
        archive.add([archived(0, "1")])
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in archive.path.parent.iterdir()}
    assert modes == {"activity.jsonl": 0o600, "activity.lock": 0o600}
    assert stat.S_IMODE(archive.path.parent.stat().st_mode) == 0o700


def test_what_is_known_already_is_not_written_again(archive: Archive) -> None:
    days = [archived(n, str(n)) for n in range(5)]
    assert len(archive.add(days).changes) == 5
    before = archive.path.read_bytes()
    assert archive.add([archived(n, str(n), at=LATER) for n in range(5)]).changes == []
    assert archive.path.read_bytes() == before
    assert archive.add([]).changes == []


def test_lines_that_are_no_days_are_kept_counted_and_named_with_their_byte(archive: Archive) -> None:
    archive.add([archived(0, "1")])
    at = archive.path.stat().st_size
    with archive.path.open("ab") as file:
        file.write(b'garbage\n\n{"kind":"later"}\n')
    archive.add([archived(1, "1")])
    contents = archive.read()
    assert [(line.offset, line.is_damaged) for line in contents.unread] == [(at, True), (at + 9, False)]
    assert len(contents.accounts["A"]) == 2


def test_an_archive_cut_at_any_byte_has_every_whole_day_and_goes_on(tmp_path: Path) -> None:
    days = [archived(n, "0.1") for n in range(2)]
    lines = [write_day(day) for day in days]
    whole, ends = b"".join(lines), [len(lines[0]), len(lines[0]) + len(lines[1])]
    for size in range(len(whole) + 1):
        archive = Archive(tmp_path / "activity.jsonl")
        archive.path.write_bytes(whole[:size])
        intact = [day for day, end in zip(days, ends, strict=True) if size >= end - 1]
        contents = archive.read()
        assert list(contents.accounts.get("A", {}).values()) == intact, size
        is_torn = size not in (0, *ends, *(end - 1 for end in ends))
        assert [line.why for line in contents.unread] == ["without an end"] * is_torn
        assert len(archive.add(days).changes) == 2 - len(intact)
        contents = archive.read()
        assert list(contents.accounts["A"].values()) == days
        assert len(contents.unread) == is_torn


@POSIX
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "another user's"])
def test_what_is_no_file_of_ones_own_is_neither_read_nor_written(kind: str, archive: Archive, tmp_path: Path) -> None:
    archive.path.parent.mkdir()
    target = tmp_path / "authorized_keys"
    target.write_bytes(b"")
    if kind == "link":
        archive.path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(archive.path)
    elif kind == "folder":
        archive.path.mkdir()
    else:
        if os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        archive.path.write_bytes(b"")
        os.chown(archive.path, 12345, 12345)
    for use in (archive.read, lambda: archive.add([archived(0, "1")])):
        with pytest.raises(LedgerError, match=r"the archive .*activity\.jsonl") as caught:
            use()
        assert "ledger" not in caught.value.message
    assert target.read_bytes() == b""


@POSIX
def test_a_lock_that_is_a_link_is_not_followed(archive: Archive, tmp_path: Path) -> None:
    archive.path.parent.mkdir()
    (archive.path.parent / "activity.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerError, match="the archive cannot be locked"):
        archive.add([archived(0, "1")])
    assert not (tmp_path / "elsewhere").exists()


HOLDER = """
import sys, time
from pathlib import Path
from openrouter_usage.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(archive: Archive) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps the lock for itself."""
    archive.path.parent.mkdir()
    lock = str(archive.path.with_suffix(".lock"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "scripts")}
    process = subprocess.Popen([sys.executable, "-c", HOLDER, lock], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_that_another_program_keeps_is_an_error_that_names_it(
    archive: Archive, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(LedgerError, match=r"the archive .* is locked.* not released within") as caught:
        archive.add([archived(0, "1")])
    assert caught.value.code == "locked"
    if sys.platform == "linux":
        assert f"by process {holder.pid}" in caught.value.message
    assert archive.read().accounts == {}, "reading needs no lock"
    holder.kill()
    holder.wait()
    assert len(Archive(archive.path).add([archived(0, "1")]).changes) == 1


def test_days_of_another_account_are_written_only_where_that_is_meant(archive: Archive) -> None:
    archive.add([archived(0, "1")])
    with pytest.raises(SettingsError, match=r"another account \(B\) than the archive \(A\)") as caught:
        archive.add([archived(0, "2", account="B")])
    assert "sync --account B" in caught.value.hint
    archive.add([archived(0, "2", account="B")], may_be_another=True)
    archive.add([archived(0, "3", account="B", at=LATER)])
    accounts = archive.read().accounts
    assert {name: days[FIRST].total.cost for name, days in accounts.items()} == {"A": 1, "B": 3}


# -- any order of asking, writing, correcting and dying ---------------------------------------------------------------


class Interleaved(RuleBasedStateMachine):
    """Any number of programs that asked at some time and write at another, some of which are killed on the way."""

    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.archive = Archive(Path(self.folder.name) / "activity.jsonl")
        self.now = START
        self.truth: dict[date, str] = {}
        self.safe: dict[date, list[tuple[int, datetime, ArchivedDay]]] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(days=st.integers(0, 40))
    def time_goes_by(self, days: int) -> None:
        self.now += days * DAY + timedelta(seconds=1)

    @rule(back=st.integers(1, 40), cost=st.sampled_from(["", "1", "0.25"]))
    def a_day_is_corrected(self, back: int, cost: str) -> None:
        self.truth[self.now.date() - back * DAY] = cost

    @rule(target=asked, first=st.integers(1, 30), length=st.integers(1, 8), source=st.sampled_from([ACTIVITY, ANALYTICS]))
    def somebody_asks(self, first: int, length: int, source: str) -> list[ArchivedDay]:
        self.now += timedelta(seconds=1)
        found = []
        for number in range(length):
            day = self.now.date() - (first + number) * DAY
            cost = self.truth.get(day, "")
            rows = (row(day, cost),) if cost else ()
            found.append(ArchivedDay("A", day, source, self.now, rows))
        return found[::-1]

    @rule(days=consumes(asked), again=st.booleans())
    def they_write(self, days: list[ArchivedDay], again: bool) -> None:
        self.archive.add(days)
        self._is_safe(days)
        if again:
            before = self.archive.path.read_bytes()
            assert self.archive.add(days).changes == []
            assert self.archive.path.read_bytes() == before

    @precondition(lambda self: self.safe)
    @rule(days=consumes(asked), share=st.floats(0, 1))
    def they_are_killed_at_some_byte(self, days: list[ArchivedDay], share: float) -> None:
        before = self.archive.path.stat().st_size
        written = [change.day for change in self.archive.add(days).changes]
        appended = self.archive.path.read_bytes()[before:]
        kept = int(len(appended) * share)
        os.truncate(self.archive.path, before + kept)
        end = len(appended) - len(appended.lstrip(b"\n"))
        for day in written:
            end += len(write_day(day))
            if kept >= end - 1:
                self._is_safe([day])
        self._is_safe([day for day in days if day not in written])

    def _is_safe(self, days: list[ArchivedDay]) -> None:
        for day in days:
            self.safe.setdefault(day.day, []).append(((ANALYTICS, ACTIVITY).index(day.source), day.synced_at, day))

    @invariant()
    def every_day_is_what_was_asked_last_of_the_better_source(self) -> None:
        known = self.archive.read().accounts.get("A", {})
        best = {day: max(found, key=lambda one: one[:2])[2] for day, found in self.safe.items()}
        assert {d: (one.source, one.rows) for d, one in known.items()} == {
            d: (one.source, one.rows) for d, one in best.items()
        }


TestInterleaved = Interleaved.TestCase
TestInterleaved.settings = settings(max_examples=40, stateful_step_count=25)
