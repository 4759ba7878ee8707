"""Asks the index for sums: by name or by day, over whole days of UTC or of any time zone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo

from openrouter_usage.entry import Hold
from openrouter_usage.errors import InvalidValue
from openrouter_usage.index.blocks import mark_of
from openrouter_usage.index.ingest import GROUPS, SPAN_DAYS, hold_row, merged_mark, span_slot, unsettled_row
from openrouter_usage.index.schema import Damaged, marks, portions
from openrouter_usage.index.usual import DAY_SLOTS, QUARTER_S, quarter_of
from openrouter_usage.index.vector import COLUMNS, from_columns
from openrouter_usage.money import usd
from openrouter_usage.period import UTC, parse_moment
from openrouter_usage.usage import NOTHING, Usage

_FIGURES = ", ".join(COLUMNS)
# The first three prove the rest: see `_usage`.
_SUMMED = "count(*), sum(slot), sum(mark), " + ", ".join(f"sum({name})" for name in COLUMNS)
_EPOCH = date(1970, 1, 1)


def _usage(values: tuple[int, ...], name: str = "") -> Usage:
    """Give the Usage of summed rows; Damaged when their marks are not what their keys and figures come to."""
    try:
        count, slots, marks, *figures = values
        if marks == sum(figures) + slots + count * mark_of(name.encode()):
            return from_columns(tuple(figures))
    except (TypeError, AttributeError):
        pass
    raise Damaged("its sums are damaged")


def sums_by_name(connection: sqlite3.Connection, grouping: str, first_day: int, end_day: int) -> dict[str, Usage]:
    """Sum whole UTC days, numbered since 1970, by model, provider, session or tag; "" for all calls."""
    totals: dict[str, Usage] = {}
    for slots in portions(list(_slots(first_day, end_day))):
        rows = connection.execute(
            f"SELECT name, {_SUMMED} FROM sums WHERE slot IN ({marks(slots)})"  # noqa: S608  # own names
            " AND grouping = ? GROUP BY name",
            (*slots, GROUPS[grouping]),
        )
        for name, *values in rows:
            totals[name] = totals.get(name, NOTHING) + _usage(tuple(values), name)
    return {name: usage for name, usage in totals.items() if usage.requests}


def _slots(first_day: int, end_day: int) -> Iterator[int]:
    """Cover days with as few rows as there can be: each 32 days have one of their own."""
    first_span, end_span = -(-first_day // SPAN_DAYS), end_day // SPAN_DAYS
    if first_span >= end_span:
        yield from range(first_day, end_day)
        return
    yield from range(first_day, first_span * SPAN_DAYS)
    yield from map(span_slot, range(first_span, end_span))
    yield from range(end_span * SPAN_DAYS, end_day)


def sum_of_days(connection: sqlite3.Connection, first_day: int, end_day: int) -> Usage:
    """Sum all calls of whole UTC days, numbered since 1970."""
    return sums_by_name(connection, "", first_day, end_day).get("", NOTHING)


def sums_by_day(connection: sqlite3.Connection, first: int, end: int, shift: int) -> dict[str, Usage]:
    """Sum quarters of an hour, numbered since 1970, by the day they fall on so many quarters away from UTC."""
    rows: Iterator[tuple[int, ...]]
    if first % DAY_SLOTS or end % DAY_SLOTS or shift % DAY_SLOTS:
        rows = connection.execute(
            f"SELECT (slot + ?) / {DAY_SLOTS} AS day, {_SUMMED} FROM quarters"  # noqa: S608  # own names
            " WHERE slot >= ? AND slot < ? GROUP BY day",
            (shift, first, end),
        )
    else:
        rows = _whole_days(connection, list(range(first // DAY_SLOTS, end // DAY_SLOTS)))
    usages = {(_EPOCH + timedelta(days=day)).isoformat(): _usage(tuple(values)) for day, *values in rows}
    return {day: usage for day, usage in usages.items() if usage.requests}


def _whole_days(connection: sqlite3.Connection, days: list[int]) -> Iterator[tuple[int, ...]]:
    for some in portions(days):
        yield from connection.execute(
            f"SELECT slot, 1, slot, mark, {_FIGURES} FROM sums WHERE slot IN ({marks(some)})"  # noqa: S608  # own names
            " AND grouping = 0 AND name = ''",
            some,
        )


def stretches(first: int, end: int, zone: tzinfo) -> Iterator[tuple[int, int, int | None]]:
    """Cut quarters where the zone's offset changes; each stretch comes with its offset in quarters.

    It comes with None where the offset changes in the middle of a quarter, as it once did in Newfoundland.
    """
    while first < end:
        shift, low = _shift(first, zone), first
        while low + DAY_SLOTS < end and _shift(low + DAY_SLOTS, zone) == shift:
            low += DAY_SLOTS
        high = min(low + DAY_SLOTS, end)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _shift(middle, zone) == shift else (low, middle)
        whole = high if _offset_s(high * QUARTER_S - 1, zone) == shift * QUARTER_S else high - 1
        if first < whole:
            yield first, whole, shift
        if whole < high:
            yield whole, high, None
        first = high


def _shift(slot: int, zone: tzinfo) -> int:
    quarters, rest = divmod(_offset_s(slot * QUARTER_S, zone), QUARTER_S)
    if rest:
        raise InvalidValue("a time zone that is not whole quarters of an hour from UTC cannot be used")
    return quarters


def _offset_s(second: int, zone: tzinfo) -> int:
    return int((datetime.fromtimestamp(second, zone).utcoffset() or timedelta()).total_seconds())


def span_of(connection: sqlite3.Connection, start: datetime, end: datetime) -> tuple[int, int] | None:
    """Give the offsets of the first and the last line whose quarter of an hour touches a period."""
    first, last = connection.execute(
        "SELECT min(first_offset), max(last_offset) FROM quarters WHERE slot >= ? AND slot <= ?",
        (quarter_of(start), quarter_of(end)),
    ).fetchone()
    return None if first is None else (first, last)


def known_slots(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """Give the first quarter of an hour with calls, and the one after the last."""
    first, last = connection.execute(
        "SELECT (SELECT min(slot) FROM quarters), (SELECT max(slot) FROM quarters)"
    ).fetchone()
    return None if first is None else (first, last + 1)


def open_holds(connection: sqlite3.Connection) -> list[Hold]:
    """Give the holds that have not ended, oldest first."""
    return [_hold(row) for row in connection.execute("SELECT * FROM holds ORDER BY ts, id")]


def open_hold(connection: sqlite3.Connection, hold: str) -> Hold | None:
    """Give a hold, None when it has ended."""
    row = connection.execute("SELECT * FROM holds WHERE id = ?", (hold,)).fetchone()
    return None if row is None else _hold(row)


def _hold(row: tuple[object, ...]) -> Hold:
    identity, _, ts, model, max_cost, generation, session = map(str, row)
    try:
        at = parse_moment(ts).astimezone(UTC)
        hold = Hold(identity, at, model, usd(max_cost) if max_cost else None, generation, session)
    except InvalidValue:
        raise Damaged("its holds are damaged") from None
    if hold_row(hold) != row:
        raise Damaged("its holds are damaged")
    return hold


def merged_in(connection: sqlite3.Connection, first: int, last: int) -> tuple[set[int], set[int]]:
    """Return, of the lines between two offsets, those that further lines complete, and those further lines.

    A further line does not count by itself; the first one counts with all that the further ones know.
    """
    completed = connection.execute("SELECT DISTINCT first FROM merged WHERE first >= ? AND first <= ?", (first, last))
    rows = connection.execute("SELECT start, first, mark FROM merged WHERE start >= ? AND start <= ?", (first, last))
    further = set()
    for start, of, mark in rows:
        if mark != merged_mark(start, of):
            raise Damaged("its lines of one call are damaged")
        further.add(start)
    return {start for (start,) in completed}, further


def lines_of_calls(connection: sqlite3.Connection) -> tuple[set[int], dict[int, int]]:
    """Return the first lines that further ones complete, and each further line with the first one of its call."""
    first_of = {}
    for start, first, mark in connection.execute("SELECT start, first, mark FROM merged"):
        if mark != merged_mark(start, first):
            raise Damaged("its lines of one call are damaged")
        first_of[start] = first
    return set(first_of.values()), first_of


def unsettled_starts(connection: sqlite3.Connection, *, only_doubtful: bool = False) -> list[int]:
    """Return where the calls stand that OpenRouter can still be asked about, or only those with an absurd bill."""
    which = " WHERE is_doubtful" if only_doubtful else ""
    rows = connection.execute(f"SELECT * FROM unsettled{which} ORDER BY start").fetchall()  # noqa: S608  # own words
    if any(unsettled_row(row[0], bool(row[1])) != row for row in rows):
        raise Damaged("its unsettled calls are damaged")
    return [row[0] for row in rows]


def unsettled_count(connection: sqlite3.Connection) -> int:
    """Count the booked calls that OpenRouter can still be asked about."""
    return int(connection.execute("SELECT count(*) FROM unsettled").fetchone()[0])


def last_slot_from(connection: sqlite3.Connection, first_day: int) -> int | None:
    """Return the last quarter of an hour with calls, None when none is on a day or later."""
    (slot,) = connection.execute(
        "SELECT max(slot) FROM quarters WHERE slot >= ? AND requests > 0", (first_day * DAY_SLOTS,)
    ).fetchone()
    return None if slot is None else int(slot)


def unread_lines(connection: sqlite3.Connection) -> list[tuple[int, str, bool]]:
    """Give the offset of each line that was not understood, why, and whether it is damaged."""
    rows = connection.execute("SELECT start, why, is_damaged FROM unread ORDER BY start")
    return [(start, why, bool(damaged)) for start, why, damaged in rows]
