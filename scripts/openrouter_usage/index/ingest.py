"""Adds blocks of ledger lines to the index: sums, ids, holds, and lines that were not understood."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator

from openrouter_usage.entry import Entry, Hold, Release, Unread
from openrouter_usage.index.blocks import BY_NAME, DAY_SLOTS, Block, mark_of, quarter_of, read_block
from openrouter_usage.index.vector import COLUMNS, columns, pack

EntryAt = Callable[[int], Entry | None]
_MANY = 10_000
_LARGE = 150_000
_MARKS = ", ".join("?" * (5 + len(COLUMNS)))
_ADDED = ", ".join(f"{name} = {name} + excluded.{name}" for name in COLUMNS)
_ADD = (
    f"INSERT INTO sums VALUES ({_MARKS}) ON CONFLICT DO UPDATE SET {_ADDED},"  # noqa: S608  # own names
    " first_offset = min(first_offset, excluded.first_offset), last_offset = max(last_offset, excluded.last_offset)"
)
Row = tuple[object, ...]


class Ingest:
    """Writes into the index within the transaction that its owner has begun."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Begin with nothing read."""
        self._connection = connection
        self._names: dict[bytes, int] = {}
        self._block = Block()
        self._new: list[int] = []
        self._count = 0

    def add(self, text: bytes, start: int) -> None:
        """Add whole lines that begin at an offset; `finish` has to follow before the sums are right."""
        block = read_block(text, start, self._block)
        # Sorted, because random insertions would touch another page of the tree each time.
        self._connection.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?)", sorted(block.ids))
        self._count += len(block.ids)
        if self._count <= _MANY:
            self._new += [mark for mark, _ in block.ids]
        block.ids.clear()
        for at, record in block.others:
            self._add_other(at, record)
        block.others.clear()
        if block.size > _LARGE:
            self._flush()

    def _flush(self) -> None:
        self._connection.executemany(_ADD, self._rows(self._block))
        self._block = Block()

    def _rows(self, block: Block) -> Iterator[Row]:
        days: dict[int, int] = {}
        for slot, vector in block.quarters.items():
            yield ("quarter", 0, slot, *block.spans[slot], *columns(vector))
            days[slot // DAY_SLOTS] = days.get(slot // DAY_SLOTS, 0) + vector
        yield from (("day", 0, day, 0, 0, *columns(vector)) for day, vector in days.items())
        for grouping in BY_NAME:
            for (name, day), vector in block.by_name[grouping].items():
                yield (grouping, self._number(name), day, 0, 0, *columns(vector))

    def _number(self, name: bytes) -> int:
        number = self._names.get(name)
        if number is None:
            text = name.decode()
            self._connection.execute("INSERT OR IGNORE INTO names (text) VALUES (?)", (text,))
            (number,) = self._connection.execute("SELECT id FROM names WHERE text = ?", (text,)).fetchone()
            self._names[name] = number
        return int(number)

    def _add_other(self, start: int, record: Hold | Release | Unread) -> None:
        run = self._connection.execute
        if isinstance(record, Hold):
            values = (
                record.id,
                record.ts.isoformat(),
                record.model,
                "" if record.max_cost is None else str(record.max_cost),
                record.generation,
                record.session,
            )
            run("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?)", values)
        elif isinstance(record, Release):
            run("DELETE FROM holds WHERE id = ?", (record.hold,))
        else:
            run("INSERT OR IGNORE INTO unread VALUES (?, ?, ?)", (start, record.why[:200], record.is_damaged))

    def finish(self, entry_at: EntryAt) -> None:
        """Write the sums, and take the calls out that are counted twice; `entry_at` reads a line."""
        self._flush()
        for mark in self._marks_met_twice():
            self._settle_mark(mark, entry_at)

    def _marks_met_twice(self) -> list[int]:
        run = self._connection.execute
        if self._count > _MANY:
            # For very many new ids one walk through all is quicker than looking each one up.
            return [mark for (mark,) in run("SELECT mark FROM ids GROUP BY mark HAVING count(*) > 1").fetchall()]
        count = "SELECT count(*) FROM (SELECT 1 FROM ids WHERE mark = ? LIMIT 2)"
        return [mark for mark in dict.fromkeys(self._new) if run(count, (mark,)).fetchone()[0] > 1]

    def _settle_mark(self, mark: int, entry_at: EntryAt) -> None:
        """Keep one call of each id: the first whose cost is certain, else the first."""
        starts = self._connection.execute("SELECT start FROM ids WHERE mark = ? ORDER BY start", (mark,)).fetchall()
        by_id: dict[str, list[tuple[int, Entry]]] = {}
        for (start,) in starts:
            entry = entry_at(start)
            if entry is not None:
                by_id.setdefault(entry.id, []).append((start, entry))
        for found in by_id.values():
            self._keep_best(mark, found)

    def _keep_best(self, mark: int, found: list[tuple[int, Entry]]) -> None:
        best = min(found, key=lambda pair: (not pair[1].is_certain, pair[1].cost is None, pair[0]))
        for start, entry in (pair for pair in found if pair is not best):
            self._subtract(start, entry)
            self._connection.execute("DELETE FROM ids WHERE mark = ? AND start = ?", (mark, start))

    def _subtract(self, start: int, entry: Entry) -> None:
        """Take one call out of every sum, and remember that its line does not count."""
        slot = quarter_of(entry.ts)
        amounts = tuple(-value for value in columns(pack(entry.usage)))
        groups = [("quarter", b"", slot), ("day", b"", slot // DAY_SLOTS)]
        names = (entry.model, entry.provider, entry.session, entry.tag_label)
        groups += [(grouping, name.encode(), slot // DAY_SLOTS) for grouping, name in zip(BY_NAME, names, strict=True)]
        changes = ", ".join(f"{name} = {name} + ?" for name in COLUMNS)
        for grouping, name, at in groups:
            number = self._number(name) if name or grouping in BY_NAME else 0
            where = f"UPDATE sums SET {changes} WHERE grouping = ? AND name = ? AND slot = ?"  # noqa: S608  # own names
            self._connection.execute(where, (*amounts, grouping, number, at))
        self._connection.execute("INSERT OR IGNORE INTO superseded VALUES (?)", (start,))


def known_entry(connection: sqlite3.Connection, identity: str, entry_at: EntryAt) -> Entry | None:
    """Give the call that counts for an id, None when there is none yet."""
    starts: Iterable[tuple[int]] = connection.execute(
        "SELECT start FROM ids WHERE mark = ?", (mark_of(identity.encode()),)
    )
    found = (entry_at(start) for (start,) in list(starts))
    return next((entry for entry in found if entry is not None and entry.id == identity), None)
