"""The ledger's verbs: append, entries, totals, hold, settle, release.

Reports, budgets and faces use these verbs and nothing else, so that another engine can stand behind them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import NamedTuple, TypeVar

from openrouter_usage.budgets import MACHINE, Budget, Owner
from openrouter_usage.entry import Entry, Hold, Release, Unread, UnreadLine, Usage, read_line, write_line
from openrouter_usage.errors import InvalidValue
from openrouter_usage.ledger import sums
from openrouter_usage.ledger.engine import Engine, Notice, Progress
from openrouter_usage.ledger.index import Position, load_position
from openrouter_usage.ledger.ingest import EntryAt, known_entry, whole_entry, with_known_marks
from openrouter_usage.ledger.merge import completing, merged
from openrouter_usage.ledger.recent import Recent
from openrouter_usage.ledger.scan import DAY_SLOTS, is_usual, quarter_of, usual_hold
from openrouter_usage.period import FOREVER, UTC, Period
from openrouter_usage.text import safe
from openrouter_usage.vocabulary import TAG_GROUPINGS, Where

T = TypeVar("T")
_MOST_SUMS = 1_000


@dataclass(frozen=True, slots=True)
class Health:
    """What the user should know about a ledger beside its sums.

    `unsettled` calls are recorded without a certain cost, and OpenRouter can be asked about them; `doubtful` ones have
    an implausible bill.
    """

    size: int
    unread: tuple[UnreadLine, ...]
    duplicates: int
    holds: tuple[Hold, ...]
    unsettled: int = 0
    doubtful: tuple[Entry, ...] = ()


class Ahead(NamedTuple):
    """The calls that are dated in the future: their usage, and the last moment (to a quarter of an hour)."""

    usage: Usage
    last: datetime


class Member(NamedTuple):
    """Who this program is to a shared ledger, and the version of that one's tables and functions."""

    name: str
    version: int
    is_administrator: bool

    def __str__(self) -> str:
        """Return the name, and what is special about it."""
        return f"{safe(self.name)}{' (administrator)' if self.is_administrator else ''}"


class Appended(NamedTuple):
    """What was appended: new calls, and calls that were recorded before and are better known now."""

    new: int
    completed: int


class Committed:
    """What is spent and held at the moment of a decision, under the lock."""

    def __init__(self, index: sqlite3.Connection, entry_at: EntryAt, recent: Recent) -> None:
        """Keep the index of a locked ledger; `entry_at` reads a line of the ledger, `recent` its newest ones."""
        self._index = index
        self._entry_at = entry_at
        self._recent = recent
        self._holds_now: list[Hold] | None = None  # what holds at one moment does not change

    def spent(self, period: Period, owner: Owner = MACHINE) -> Usage:
        """Sum the settled calls of whole UTC days, all or those of one owner."""
        return sums.spent(self._index, period, owner)

    def holds(self) -> list[Hold]:
        """Return the holds that have not ended."""
        if self._holds_now is None:
            self._holds_now = sums.open_holds(self._index)
        return self._holds_now

    def doubtful(self) -> list[Entry]:
        """Return the calls with an implausible bill that nobody has looked at."""
        return _unsettled(self._index, self._entry_at, only_doubtful=True)

    def since(self, moment: datetime) -> list[Entry]:
        """Return the settled calls from a moment on, which is less than an hour ago."""
        return list(self._recent.since(self._index, moment))

    def of(self, owner: Owner) -> OwnBooks:
        """Return the same of the calls of one owner."""
        return OwnBooks(self, owner)


class OwnBooks:
    """What one owner has spent and holds."""

    def __init__(self, books: Committed, owner: Owner) -> None:
        """Look at a part of some books."""
        self._books = books
        self._owner = owner

    def spent(self, period: Period) -> Usage:
        """Sum the owner's settled calls of whole UTC days."""
        return self._books.spent(period, self._owner)

    def holds(self) -> list[Hold]:
        """Return the owner's holds that have not ended."""
        return [hold for hold in self._books.holds() if self._owner.made(hold.session, hold.tags)]

    def since(self, moment: datetime) -> list[Entry]:
        """Return the owner's settled calls from a moment on."""
        return [entry for entry in self._books.since(moment) if self._owner.made(entry.session, entry.tags)]

    def doubtful(self) -> list[Entry]:
        """Leave implausible bills to the check of the whole."""
        return []


class _Shared(Committed):
    """The same while several verbs write together: what they write counts at once, and the index is read only once.

    It also serves the next verbs, as long as nobody else has written to the ledger since `position`.
    """

    def __init__(self, index: sqlite3.Connection, entry_at: EntryAt, recent: Recent) -> None:
        super().__init__(index, entry_at, recent)
        self._open: dict[str, Hold] | None = None
        self._sums: dict[tuple[Period, Owner], Usage] = {}
        self._doubtful: list[Entry] | None = None
        self._settled: dict[str, Entry] = {}
        self.position: Position | None = None
        self.is_exact = True

    def again(self, index: sqlite3.Connection) -> _Shared:
        """Serve the next verbs."""
        self._index = index
        self._settled.clear()
        if len(self._sums) > _MOST_SUMS:  # those of days that are over, and of sessions that are
            self._sums.clear()
        return self

    def spent(self, period: Period, owner: Owner = MACHINE) -> Usage:
        if (period, owner) not in self._sums:
            written = [each.usage for each in self._settled.values() if _counts(each, period, owner)]
            self._sums[period, owner] = sum(written, super().spent(period, owner))
        return self._sums[period, owner]

    def holds(self) -> list[Hold]:
        return list(self.open.values())

    @property
    def open(self) -> dict[str, Hold]:
        """The holds that have not ended, by id."""
        if self._open is None:
            self._open = {hold.id: hold for hold in sums.open_holds(self._index)}
        return self._open

    def doubtful(self) -> list[Entry]:
        if self._doubtful is None:
            self._doubtful = [*super().doubtful(), *(each for each in self._settled.values() if each.is_doubtful)]
        return self._doubtful

    def since(self, moment: datetime) -> list[Entry]:
        return [*super().since(moment), *(entry for entry in self._settled.values() if entry.ts >= moment)]

    def holding(self, hold: Hold) -> None:
        """Count a hold that was just written."""
        self.open[hold.id] = hold

    def ending(self, hold: str, entry: Entry | None) -> None:
        """Count a hold as ended, and the call as spent."""
        self.open.pop(hold, None)
        if entry is None:
            return
        if entry.id in self._settled:
            self.is_exact = False  # the index counts two lines of one call once
        self._settled[entry.id or f"{len(self._settled)}"] = entry
        for period, owner in self._sums:
            if _counts(entry, period, owner):
                self._sums[period, owner] += entry.usage
        if self._doubtful is not None and entry.is_doubtful:
            self._doubtful.append(entry)


def _counts(entry: Entry, period: Period, owner: Owner) -> bool:
    return period.start <= entry.ts < period.end and owner.made(entry.session, entry.tags)


class Ledger:
    """The ledger in one file; every verb raises LedgerError when the file cannot be read or written."""

    def __init__(
        self,
        path: Path,
        *,
        lock_timeout_s: float = 30.0,
        notice: Notice = lambda text: None,
        progress: Progress = lambda done, size: None,
    ) -> None:
        """Keep the path; nothing is opened before the first verb.

        `notice` gets what the user should know, `progress` how many bytes of how many were read.
        """
        self.path = path
        # What a report names as the place where its figures come from.
        self.source = str(path)
        self.shown = f"the ledger {safe(str(path), 300)}"
        self.engine = Engine(path, lock_timeout_s=lock_timeout_s, notice=notice, progress=progress)
        self._recent = Recent(self.engine)
        self._shared: _Shared | None = None
        self._kept: _Shared | None = None

    # Whether other machines write to it as well.
    is_shared = False

    @property
    def is_missing(self) -> bool:
        """Check whether there is no ledger yet."""
        return not self.path.exists()

    def close(self) -> None:
        """Close the files; the next verb opens them again."""
        self.engine.close()

    def append(self, entry: Entry, *, durable: bool = False, may_redate: bool = False) -> bool:
        """Write a call; return False, and write nothing, when the ledger knows all of it already.

        Better knowledge completes the call that is recorded; with `may_redate` also its time.
        """
        return any(self.append_all([entry], durable=durable, may_redate=may_redate))

    def append_all(
        self, entries: Iterable[Entry], *, durable: bool = False, may_lower: bool = True, may_redate: bool = False
    ) -> Appended:
        """Write what is new of some calls, all at once. Without `may_lower` no call counts for less than before."""
        wanted = list(entries)

        def work(index: sqlite3.Connection) -> Appended:
            met: dict[str, Entry] = {}
            lines: list[Entry] = []
            new = completed = 0
            for entry in wanted:
                known = met.get(entry.id) or self._known(index, entry.id)
                line = completing(entry, known, may_lower=may_lower, may_redate=may_redate) if known else entry
                if line is None:
                    continue
                if entry.id:
                    met[entry.id] = merged([known, line]) if known else line
                new, completed = new + (known is None), completed + (known is not None)
                lines.append(line)
            if lines:
                self.engine.write(b"".join(map(_line, lines)), durable=durable)
                if self._shared:
                    self._shared.is_exact = False
            return Appended(new, completed)

        return self.engine.locked(work)

    def _known(self, index: sqlite3.Connection, identity: str) -> Entry | None:
        return known_entry(index, identity, self.engine.entry_at) if identity else None

    def known(self, identity: str) -> Entry | None:
        """Return the call that is recorded under an id, None without one."""
        return self.engine.reading(lambda index: self._known(index, identity))

    def certain(self, identities: Iterable[str]) -> set[str]:
        """Return those of some ids under which a call with a certain cost is recorded."""
        wanted = list(identities)

        def work(index: sqlite3.Connection) -> set[str]:
            marked = with_known_marks(index, wanted)
            found = ((identity, self._known(index, identity)) for identity in marked)
            return {identity for identity, entry in found if entry is not None and entry.is_certain}

        return self.engine.reading(work)

    def unsettled(self) -> list[Entry]:
        """Return the recorded calls that OpenRouter can still be asked about, or whose bill is implausible."""
        return self.engine.reading(lambda index: _unsettled(index, self.engine.entry_at))

    def ahead(self, moment: datetime, *, untouched: bool = False) -> Ahead | None:
        """Return the sum of the calls dated on the UTC day of a moment or later; None without any.

        With `untouched` all files stay as they are.
        """

        def work(index: sqlite3.Connection) -> Ahead | None:
            last = sums.last_slot_from(index, quarter_of(moment) // DAY_SLOTS)
            if last is None:
                return None
            usage = sums.spent(index, Period(moment, FOREVER, "ahead"))
            return Ahead(usage, sums.moment_of(last)) if usage.requests else None

        return self.engine.looking(work) if untouched else self.engine.reading(work)

    def entries(self, period: Period | None = None) -> Iterator[Entry]:
        """Return the calls of a period, or all, in the order of the file, each id once."""
        start, end = (period.start, period.end) if period else (None, None)
        return self.engine.reading(lambda index: sums.counted_entries(self.engine, index, start, end))

    def totals(
        self, period: Period | None = None, by: str = "model", zone: tzinfo = UTC, where: Where = ()
    ) -> sums.Totals:
        """Sum the calls of a period, or all, that filters take: by one grouping, or by two with a comma."""
        return self.engine.reading(lambda index: self._sum(index, period, by, zone, where))

    def _sum(
        self, index: sqlite3.Connection, period: Period | None, by: str, zone: tzinfo, where: Where
    ) -> sums.Totals:
        if where or "," in by or by == "hour" or by in TAG_GROUPINGS:
            from openrouter_usage.ledger.cross import crossed  # late: the usual reports do without

            return crossed(self.engine, index, period, by, zone=zone, where=where)
        return sums.totals(self.engine, index, period, by, zone)

    def totals_of(
        self, wanted: Sequence[tuple[Period, str]], zone: tzinfo = UTC, where: Where = ()
    ) -> list[sums.Totals]:
        """Sum several periods, each by a grouping, all as of one moment, and of them the calls that filters take."""
        return self.engine.reading(lambda index: [self._sum(index, each, by, zone, where) for each, by in wanted])

    def committed(self, look: Callable[[Committed], None]) -> None:
        """Pass what is spent and held, as of one moment, to `look`."""
        self.engine.reading(lambda index: look(self._shared or Committed(index, self.engine.entry_at, self._recent)))

    def health(self, *, untouched: bool = False) -> Health:
        """Return the lines that are not counted, duplicates, and holds that have not ended.

        With `untouched` all files stay as they are: no index is created or repaired, and the spool is left alone.
        """

        def work(index: sqlite3.Connection) -> Health:
            status = self.engine.file.status()
            unread = [UnreadLine(*line) for line in sums.unread_lines(index)]
            position = load_position(index)
            if status and position and position.offset < status.st_size:
                unread.append(UnreadLine(position.offset, "without an end", True))
            duplicates = index.execute("SELECT count(*) FROM merged").fetchone()[0]
            return Health(
                status.st_size if status else 0,
                tuple(unread),
                duplicates,
                tuple(sums.open_holds(index)),
                sums.unsettled_count(index),
                tuple(_unsettled(index, self.engine.entry_at, only_doubtful=True)),
            )

        return self.engine.looking(work) if untouched else self.engine.reading(work)

    def together(self, work: Callable[[], T]) -> T:
        """Let the verbs that `work` calls write at once: one lock, one append, one sync to the disk.

        Each of them sees what those before it wrote. LedgerError when the lines cannot be written: then none is.
        """

        used: list[_Shared] = []

        def run(index: sqlite3.Connection) -> T:
            kept, self._kept = self._kept, None  # whatever fails, the index is read anew
            is_current = kept is not None and kept.position is not None and kept.position == self.engine.position
            shared = kept.again(index) if kept and is_current else _Shared(index, self.engine.entry_at, self._recent)
            self._shared = shared
            used[:] = [shared]
            try:
                return work()
            finally:
                self._shared = None

        done = self.engine.together(run)
        if used[0].is_exact:
            self._kept = used[0]
            self._kept.position = self.engine.position
        return done

    def _find_open(self, index: sqlite3.Connection, hold: str) -> Hold | None:
        return self._shared.open.get(hold) if self._shared else sums.open_hold(index, hold)

    def names(self) -> dict[str, str]:
        """Return under which further names the ledger books what is made here; a file has none."""
        return {}

    def whoami(self) -> Member | None:
        """Ask a shared ledger who this program is to it; None for a file, which is asked nothing."""
        return None

    def refresh(self) -> None:
        """Ask a shared ledger for what `names` and `budgets` return, if that is due, so that they do not have to."""

    def caps(self) -> list[Budget]:
        """Return all budgets that are set in the ledger itself, whoever they are for."""
        return []

    def budgets(self) -> tuple[Budget, ...]:
        """Return the budgets that are set in the ledger itself, by its administrator; a file has none."""
        return ()

    def holds_to_settle(self) -> tuple[Hold, ...]:
        """Return the open holds that this machine may look up: of a file, all."""
        return self.health().holds

    def hold(self, hold: Hold, check: Callable[[Committed], None], budgets: Iterable[Budget] = ()) -> None:
        """Write a hold if `check` does not raise; check and hold are one step for all other programs.

        `budgets` are those that `check` looks at, for an engine that checks them itself.
        """

        def work(index: sqlite3.Connection) -> None:
            check(self._shared or Committed(index, self.engine.entry_at, self._recent))
            self.engine.write(_line(hold), durable=True)
            if self._shared:
                self._shared.holding(hold)

        self.engine.locked(work)

    def settle(self, entry: Entry) -> bool:
        """End a hold with what was billed; return False, and write nothing, when that call is known already.

        A call whose hold has ended without it is written anyway, because it was billed.
        """

        def work(index: sqlite3.Connection) -> bool:
            is_open = self._find_open(index, entry.hold) is not None
            known = self._known(index, entry.id)
            line = completing(entry, known) if known else entry
            if not is_open and (not entry.id or line is None):
                return False
            # The hold of a call that is recorded already ends with this line, whatever else is in it.
            self.engine.write(_line(line or replace(known or entry, hold=entry.hold)), durable=True)
            if self._shared and known is None:
                self._shared.ending(entry.hold, entry)
            elif self._shared:  # what completes a recorded call frees its hold a moment later
                self._shared.is_exact = False
            return True

        return self.engine.locked(work)

    def release(self, hold: str, now: datetime) -> bool:
        """End a hold for which nothing can have been billed; return False when it has ended already."""

        def work(index: sqlite3.Connection) -> bool:
            if self._find_open(index, hold) is None:
                return False
            self.engine.write(_line(Release(hold, now)), durable=True)
            if self._shared:
                self._shared.ending(hold, None)
            return True

        return self.engine.locked(work)

    def name_generation(self, hold: str, generation: str) -> bool:
        """Write which generation an open hold is for, so that it can be looked up whatever happens."""

        def work(index: sqlite3.Connection) -> bool:
            found = self._find_open(index, hold)
            if found is None or found.generation == generation:
                return False
            named = replace(found, generation=generation)
            self.engine.write(_line(named), durable=True)
            if self._shared:
                self._shared.holding(named)
            return True

        return self.engine.locked(work)


def _line(record: Entry | Hold | Release) -> bytes:
    """Return a record as a line; InvalidValue when the line could not be read again."""
    line = write_line(record)
    is_sure = is_usual(line[:-1]) if isinstance(record, Entry) else usual_hold(line[:-1]) is not None
    read = None if is_sure else read_line(line[:-1])
    if isinstance(read, Unread):
        raise InvalidValue(f"this cannot be kept in the ledger: {read.why}")
    return line


def _unsettled(index: sqlite3.Connection, entry_at: EntryAt, *, only_doubtful: bool = False) -> list[Entry]:
    found = []
    for start in sums.unsettled_starts(index, only_doubtful=only_doubtful):
        entry = entry_at(start)
        if entry is not None:
            found.append(whole_entry(index, start, entry, entry_at))
    return found
