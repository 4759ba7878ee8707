"""The ledger's verbs: append, entries, totals, hold, settle, release.

Reports, budgets and faces use these verbs and nothing else, so that another engine can stand behind them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from pathlib import Path

from openrouter_usage.entry import Entry, Hold, Release, Unread
from openrouter_usage.errors import InvalidValue
from openrouter_usage.index import query
from openrouter_usage.index.ingest import known_entry
from openrouter_usage.index.position import load_position
from openrouter_usage.index.usual import is_usual
from openrouter_usage.ledger import sums
from openrouter_usage.ledger.engine import Engine
from openrouter_usage.ledger.tail import Notice, Progress
from openrouter_usage.lines import read_line, write_line
from openrouter_usage.period import UTC, Period
from openrouter_usage.usage import Usage


@dataclass(frozen=True, slots=True)
class UnreadLine:
    """A line that is kept and not counted: where it begins, why, and whether it is damaged or from elsewhere."""

    offset: int
    why: str
    is_damaged: bool


@dataclass(frozen=True, slots=True)
class Health:
    """What is to be known about a ledger beside its sums."""

    size: int
    unread: tuple[UnreadLine, ...]
    duplicates: int
    holds: tuple[Hold, ...]


class Committed:
    """What is spent and held at the moment of a decision, while nobody else can change it."""

    def __init__(self, index: sqlite3.Connection) -> None:
        """Look into the index of a locked ledger."""
        self._index = index

    def spent(self, period: Period) -> Usage:
        """Sum the settled calls of whole UTC days."""
        return sums.spent(self._index, period)

    def holds(self) -> list[Hold]:
        """Give the holds that have not ended."""
        return query.open_holds(self._index)


class Ledger:
    """The books of one file; every verb raises LedgerError when the file cannot be read or written."""

    def __init__(
        self,
        path: Path,
        *,
        lock_timeout_s: float = 30.0,
        notice: Notice = lambda text: None,
        progress: Progress = lambda done, size: None,
    ) -> None:
        """Name the file; nothing is opened before the first verb.

        `notice` is told what the user should know, `progress` how many bytes of how many were read.
        """
        self.path = path
        self.engine = Engine(path, lock_timeout_s=lock_timeout_s, notice=notice, progress=progress)

    def close(self) -> None:
        """Close the files; the next verb opens them again."""
        self.engine.close()

    def append(self, entry: Entry, *, durable: bool = False) -> bool:
        """Write a call; False, and nothing written, when its id is known with a cost that is no worse."""
        return self.append_all([entry], durable=durable) == 1

    def append_all(self, entries: Iterable[Entry], *, durable: bool = False) -> int:
        """Write those calls that are new, at once, and give their number."""
        wanted = list(entries)

        def work(index: sqlite3.Connection) -> int:
            new = list(self._new(index, wanted))
            if new:
                self.engine.write(b"".join(map(_line, new)), durable=durable)
            return len(new)

        return self.engine.locked(work)

    def _new(self, index: sqlite3.Connection, entries: Iterable[Entry]) -> Iterator[Entry]:
        met: dict[str, Entry] = {}
        for entry in entries:
            known = met.get(entry.id) or (known_entry(index, entry.id, self.engine.entry_at) if entry.id else None)
            if known is None or _is_better(entry, known):
                if entry.id:
                    met[entry.id] = entry
                yield entry

    def entries(self, period: Period | None = None) -> Iterator[Entry]:
        """Give the calls of a period, or all, in the order of the file, each id once."""
        start, end = (period.start, period.end) if period else (None, None)
        return self.engine.reading(lambda index: sums.counted_entries(self.engine, index, start, end))

    def totals(self, period: Period | None = None, by: str = "model", zone: tzinfo = UTC) -> sums.Totals:
        """Sum the calls of a period, or all, by model, day, session, provider or tag."""
        return self.engine.reading(lambda index: sums.totals(self.engine, index, period, by, zone))

    def totals_of(self, periods: Iterable[Period]) -> list[sums.Totals]:
        """Sum several periods by model, all as of one moment."""
        wanted = list(periods)
        return self.engine.reading(
            lambda index: [sums.totals(self.engine, index, each, "model", UTC) for each in wanted]
        )

    def committed(self, look: Callable[[Committed], None]) -> None:
        """Show what is spent and held, as of one moment."""
        self.engine.reading(lambda index: look(Committed(index)))

    def health(self, *, untouched: bool = False) -> Health:
        """Tell about lines that are not counted, duplicates, and holds that have not ended.

        With `untouched` all files stay as they are: no index is made or mended, and what waits goes on waiting.
        """

        def work(index: sqlite3.Connection) -> Health:
            status = self.engine.file.status()
            unread = [UnreadLine(*line) for line in query.unread_lines(index)]
            position = load_position(index)
            if status and position and position.offset < status.st_size:
                unread.append(UnreadLine(position.offset, "without an end", True))
            duplicates = index.execute("SELECT count(*) FROM superseded").fetchone()[0]
            return Health(status.st_size if status else 0, tuple(unread), duplicates, tuple(query.open_holds(index)))

        return self.engine.looking(work) if untouched else self.engine.reading(work)

    def hold(self, hold: Hold, check: Callable[[Committed], None]) -> None:
        """Set money aside if `check` does not raise; the look and the hold are one step for everybody else."""

        def work(index: sqlite3.Connection) -> None:
            check(Committed(index))
            self.engine.write(_line(hold), durable=True)

        self.engine.locked(work)

    def settle(self, entry: Entry) -> bool:
        """End a hold with what was billed; False, and nothing written, when that call is known already.

        A call whose hold has ended without it is written all the same: it was billed.
        """

        def work(index: sqlite3.Connection) -> bool:
            is_open = query.open_hold(index, entry.hold) is not None
            known = known_entry(index, entry.id, self.engine.entry_at) if entry.id else None
            if not is_open and (not entry.id or (known is not None and not _is_better(entry, known))):
                return False
            self.engine.write(_line(entry), durable=True)
            return True

        return self.engine.locked(work)

    def release(self, hold: str, now: datetime) -> bool:
        """End a hold for which nothing can have been billed; False when it has ended already."""

        def work(index: sqlite3.Connection) -> bool:
            if query.open_hold(index, hold) is None:
                return False
            self.engine.write(_line(Release(hold, now)), durable=True)
            return True

        return self.engine.locked(work)

    def name_generation(self, hold: str, generation: str) -> bool:
        """Write down which generation an open hold is for, so that it can be looked up whatever happens."""

        def work(index: sqlite3.Connection) -> bool:
            found = query.open_hold(index, hold)
            if found is None or found.generation == generation:
                return False
            self.engine.write(_line(replace(found, generation=generation)), durable=True)
            return True

        return self.engine.locked(work)


def _line(record: Entry | Hold | Release) -> bytes:
    """Write a record as a line; InvalidValue when what was put into it could not be read again."""
    line = write_line(record)
    read = None if is_usual(line[:-1]) else read_line(line[:-1])
    if isinstance(read, Unread):
        raise InvalidValue(f"this cannot be kept in the ledger: {read.why}")
    return line


def _is_better(entry: Entry, known: Entry) -> bool:
    """Tell whether a second report of a call knows its cost where the first one did not."""
    return (entry.is_certain and not known.is_certain) or (entry.cost is not None and known.cost is None)
