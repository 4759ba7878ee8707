"""Adds blocks of ledger lines to the index: sums, ids, holds, and lines that were not understood."""

from __future__ import annotations

import sqlite3
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from json import dumps

from openrouter_usage.entry import Entry, Hold, read_line
from openrouter_usage.ledger.merge import merged
from openrouter_usage.ledger.scan import BY_NAME, DAY_SLOTS, MOST_CALLS, Block, columns, mark_of, read_block
from openrouter_usage.ledger.schema import Damaged
from openrouter_usage.money import dumps as exact_json

EntryAt = Callable[[int], Entry | None]
SPAN_DAYS = 32
# Group 0 is all calls of a day.
GROUPS = {"": 0} | {name: number for number, name in enumerate(BY_NAME, 1)}
_MANY = 10_000
_LARGE = 100_000
# The mark of a row is the sum of its figures and its key, so bytes that were changed from outside are noticed.
_ADD = """
INSERT INTO sums VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (slot, grouping, name) DO UPDATE SET
    requests = requests + excluded.requests, unknown = unknown + excluded.unknown,
    estimated = estimated + excluded.estimated, prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens,
    reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
    cost_high = cost_high + excluded.cost_high, cost_mid = cost_mid + excluded.cost_mid,
    cost_low = cost_low + excluded.cost_low, byok_high = byok_high + excluded.byok_high,
    byok_mid = byok_mid + excluded.byok_mid, byok_low = byok_low + excluded.byok_low,
    mark = mark + excluded.requests + excluded.unknown + excluded.estimated + excluded.prompt_tokens
        + excluded.completion_tokens + excluded.reasoning_tokens + excluded.cached_tokens
        + excluded.cache_write_tokens + excluded.cost_high + excluded.cost_mid + excluded.cost_low
        + excluded.byok_high + excluded.byok_mid + excluded.byok_low
"""
_ADD_QUARTER = """
INSERT INTO quarters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (slot) DO UPDATE SET
    requests = requests + excluded.requests, unknown = unknown + excluded.unknown,
    estimated = estimated + excluded.estimated, prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens,
    reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
    cost_high = cost_high + excluded.cost_high, cost_mid = cost_mid + excluded.cost_mid,
    cost_low = cost_low + excluded.cost_low, byok_high = byok_high + excluded.byok_high,
    byok_mid = byok_mid + excluded.byok_mid, byok_low = byok_low + excluded.byok_low,
    mark = mark + excluded.requests + excluded.unknown + excluded.estimated + excluded.prompt_tokens
        + excluded.completion_tokens + excluded.reasoning_tokens + excluded.cached_tokens
        + excluded.cache_write_tokens + excluded.cost_high + excluded.cost_mid + excluded.cost_low
        + excluded.byok_high + excluded.byok_mid + excluded.byok_low,
    first_offset = min(first_offset, excluded.first_offset), last_offset = max(last_offset, excluded.last_offset)
"""
# After so many bytes of new lines the small table of ids is merged into the large one.
_FRESH_BYTES = 4 * 1024 * 1024
_ADD_ID = "INSERT OR IGNORE INTO ids VALUES (?, ?)"
_ADD_FRESH_IDS = (
    "INSERT OR IGNORE INTO fresh_ids SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)"
)
_FORGET_HOLDS = "DELETE FROM holds WHERE id IN (SELECT value FROM json_each(?))"
# The newest ids stand in one table, all others in the other.
_IDS_KNOWN = (
    "SELECT mark FROM ids WHERE mark IN (SELECT value FROM json_each(?))",
    "SELECT mark FROM fresh_ids WHERE mark IN (SELECT value FROM json_each(?))",
)
_FORGET_ID = ("DELETE FROM ids WHERE mark = ? AND start = ?", "DELETE FROM fresh_ids WHERE mark = ? AND start = ?")
_STARTS_OF_ID = ("SELECT start FROM ids WHERE mark = ?", "SELECT start FROM fresh_ids WHERE mark = ?")
_UNSETTLED = "INSERT OR REPLACE INTO unsettled VALUES (?, ?, ?)"
Row = tuple[object, ...]


class Ingest:
    """Writes into the index within the transaction that its owner has begun."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Start with nothing read."""
        self._connection = connection
        self._block = Block()
        self._new: list[int] = []
        self._count = 0
        self._is_full = False

    def add(self, text: bytes, start: int) -> None:
        """Add whole lines that begin at an offset; `finish` has to follow before the sums are right."""
        block = read_block(text, start, self._block)
        self._is_full |= start // _FRESH_BYTES != (start + len(text)) // _FRESH_BYTES
        if block.ids:
            self._count += len(block.ids)
            # A few among a million would each touch a page of their own, so the newest stand in a small table first.
            # Sorted, because random insertions would touch another page of the tree each time.
            if self._count > _MANY:
                self._connection.executemany(_ADD_ID, sorted(block.ids))
            else:
                self._connection.execute(_ADD_FRESH_IDS, (dumps(sorted(block.ids)),))
                self._new += [mark for mark, _ in block.ids]
            block.ids.clear()
        if block.holds:
            self._add_holds(block.holds)
            block.holds.clear()
        if block.unread:
            lines = [(at, line.why[:200], line.is_damaged) for at, line in block.unread]
            self._connection.executemany("INSERT OR IGNORE INTO unread VALUES (?, ?, ?)", lines)
            block.unread.clear()
        if block.unsettled:
            self._connection.executemany(_UNSETTLED, [unsettled_row(*row) for row in block.unsettled])
            block.unsettled.clear()
        if block.calls > MOST_CALLS // 2 or block.size > _LARGE:
            self._flush()

    def _flush(self) -> None:
        self._write(self._block, 1)
        self._block = Block()

    def _write(self, block: Block, sign: int) -> None:
        if not block.calls:
            return
        self._connection.executemany(_ADD_QUARTER, _quarter_rows(block, sign))
        self._connection.executemany(_ADD, _sum_rows(block, sign))

    def _add_holds(self, holds: dict[str, bytes | None]) -> None:
        """Store the holds that are still open after some lines; most have ended within those lines."""
        found = [read_line(line) for line in holds.values() if line is not None]
        still = {hold.id for hold in found if isinstance(hold, Hold)}
        # One statement for all: between two of them another thread may take its turn.
        self._connection.execute(_FORGET_HOLDS, (dumps([hold for hold in holds if hold not in still]),))
        self._connection.executemany(
            "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [hold_row(hold) for hold in found if isinstance(hold, Hold)],
        )

    def finish(self, entry_at: EntryAt) -> None:
        """Write the sums, and count each call once, even one with several lines; `entry_at` reads a line."""
        self._flush()
        surplus, instead = Block(), Block()
        for mark in self._marks_met_twice():
            self._merge_mark(mark, entry_at, surplus, instead)
            if surplus.calls > _LARGE:
                self._write(surplus, -1)
                self._write(instead, 1)
                surplus, instead = Block(), Block()
        self._write(surplus, -1)
        self._write(instead, 1)
        if self._is_full:
            self._put_together()

    def _put_together(self) -> None:
        self._connection.execute("INSERT OR IGNORE INTO ids SELECT mark, start FROM fresh_ids ORDER BY mark, start")
        self._connection.execute("DELETE FROM fresh_ids")

    def _marks_met_twice(self) -> list[int]:
        run = self._connection.execute
        if self._count > _MANY:
            # For very many new ids one pass over all is faster than one look-up each.
            self._put_together()
            return [mark for (mark,) in run("SELECT mark FROM ids GROUP BY mark HAVING count(*) > 1").fetchall()]
        met: Counter[int] = Counter()
        new = dumps(sorted(set(self._new)))
        for known in _IDS_KNOWN:
            met.update(mark for (mark,) in run(known, (new,)))
        return [mark for mark, times in met.items() if times > 1]

    def _merge_mark(self, mark: int, entry_at: EntryAt, surplus: Block, instead: Block) -> None:
        """Count all lines of an id as one call, at the offset of the first line."""
        by_id: dict[str, list[tuple[int, Entry]]] = {}
        for start in sorted(_starts(self._connection, mark)):
            entry = entry_at(start)
            if entry is not None:
                by_id.setdefault(entry.id, []).append((start, entry))
        for found in by_id.values():
            if len(found) > 1:
                self._merge(mark, found, entry_at, surplus, instead)

    def _merge(
        self, mark: int, found: list[tuple[int, Entry]], entry_at: EntryAt, surplus: Block, instead: Block
    ) -> None:
        first = found[0][0]
        lines: list[Entry] = []
        for start, entry in found:
            counted = [entry, *_entries_at(merged_into(self._connection, start), entry_at)]
            surplus.count(merged(counted), start)
            lines += counted
            if start != first:
                for forget in _FORGET_ID:
                    self._connection.execute(forget, (mark, start))
                moved = [start, *merged_into(self._connection, start)]
                rows = [(at, first, merged_mark(at, first)) for at in moved]
                self._connection.executemany("INSERT OR REPLACE INTO merged VALUES (?, ?, ?)", rows)
            self._connection.execute("DELETE FROM unsettled WHERE start = ?", (start,))
        whole = merged(lines)
        instead.count(whole, first)
        if whole.is_unsettled or whole.is_doubtful:
            self._connection.execute(_UNSETTLED, unsettled_row(first, whole.is_doubtful))


def unsettled_row(start: int, is_doubtful: bool) -> Row:
    """Return the row of a call that is not settled, with a mark of what is in it."""
    return (start, int(is_doubtful), mark_of(repr((start, int(is_doubtful))).encode()))


def merged_mark(start: int, first: int) -> int:
    """Return the mark of the row that links a further line to the first one."""
    return mark_of(repr((start, first)).encode())


def merged_into(connection: sqlite3.Connection, first: int) -> list[int]:
    """Return the offsets of a call's further lines, given the offset of the first."""
    rows = connection.execute("SELECT start, mark FROM merged WHERE first = ? ORDER BY start", (first,)).fetchall()
    if any(mark != merged_mark(start, first) for start, mark in rows):
        raise Damaged("its lines of one call are damaged")
    return [start for start, _ in rows]


def whole_entry(connection: sqlite3.Connection, first: int, entry: Entry, entry_at: EntryAt) -> Entry:
    """Return a call as all of its lines describe it, given the first line."""
    return merged([entry, *_entries_at(merged_into(connection, first), entry_at)])


def _entries_at(starts: list[int], entry_at: EntryAt) -> list[Entry]:
    return [entry for entry in map(entry_at, starts) if entry is not None]


@lru_cache(maxsize=8)  # a single call adds one row for each of its groups
def _figures(vector: int, sign: int) -> tuple[int, ...]:
    """Return the columns of a sum, and what they add to the mark of a row before them."""
    figures = columns(vector) if sign > 0 else tuple(-value for value in columns(vector))
    return (sum(figures), *figures)


def _quarter_rows(block: Block, sign: int) -> Iterator[Row]:
    for slot, vector in block.quarters.items():
        mark, *figures = _figures(vector, sign)
        yield (slot, *block.spans[slot], slot + mark, *figures)


def _sum_rows(block: Block, sign: int) -> Iterator[Row]:
    """Return the sums of each day, and of each 32 days, which are stored under negative numbers."""
    totals: defaultdict[int, int] = defaultdict(int)
    for slot, vector in block.quarters.items():
        totals[slot // DAY_SLOTS] += vector
    days = {"": {day: {b"": vector} for day, vector in totals.items()}} | block.by_name
    for grouping, sums in days.items():
        spans: defaultdict[tuple[int, bytes], int] = defaultdict(int)
        for day, of_day in sums.items():
            for name, vector in of_day.items():
                spans[span_slot(day // SPAN_DAYS), name] += vector
                yield _sum_row(day, grouping, name, vector, sign)
        for (slot, name), vector in spans.items():
            yield _sum_row(slot, grouping, name, vector, sign)


def span_slot(span: int) -> int:
    """Return the negative number under which the sums of 32 days are stored."""
    return -1 - span


def _sum_row(slot: int, grouping: str, name: bytes, vector: int, sign: int) -> Row:
    mark, *figures = _figures(vector, sign)
    return (slot, GROUPS[grouping], name.decode(), slot + mark_of(name) + mark, *figures)


def hold_row(hold: Hold) -> Row:
    """Return a hold as a row of the index, with a mark of what is in it."""
    max_cost, measured = ("" if each is None else str(each) for each in (hold.max_cost, hold.measured))
    tags = exact_json(dict(hold.tags)) if hold.tags else ""
    values = (hold.ts.isoformat(), hold.model, max_cost, hold.generation, hold.session, tags, measured)
    return (hold.id, zlib.crc32(repr((hold.id, *values)).encode()), *values)


def known_entry(connection: sqlite3.Connection, identity: str, entry_at: EntryAt) -> Entry | None:
    """Return the call that is recorded under an id, None without one."""
    for start in _starts(connection, mark_of(identity.encode())):
        entry = entry_at(start)
        if entry is not None and entry.id == identity:
            return whole_entry(connection, start, entry, entry_at)
    return None


def with_known_marks(connection: sqlite3.Connection, identities: list[str]) -> list[str]:
    """Return those of some ids that may be recorded, because a recorded one has the same mark."""
    marks = {identity: mark_of(identity.encode()) for identity in identities}
    asked = dumps(list(marks.values()))
    known = {mark for query in _IDS_KNOWN for (mark,) in connection.execute(query, (asked,))}
    return [identity for identity, mark in marks.items() if mark in known]


def _starts(connection: sqlite3.Connection, mark: int) -> list[int]:
    """Return the offsets of the lines whose ids have a mark."""
    return [start for question in _STARTS_OF_ID for (start,) in connection.execute(question, (mark,))]
