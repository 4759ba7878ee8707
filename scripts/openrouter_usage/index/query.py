"""Asks the index for sums: by name or by day, over whole days of UTC or of any time zone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo

from openrouter_usage.entry import Hold
from openrouter_usage.errors import InvalidValue
from openrouter_usage.index.blocks import DAY_SLOTS, QUARTER_S, quarter_of
from openrouter_usage.index.vector import COLUMNS, from_columns
from openrouter_usage.money import usd
from openrouter_usage.period import UTC, parse_moment
from openrouter_usage.usage import Usage

_SUMMED = ", ".join(f"sum({name})" for name in COLUMNS)
_EPOCH = date(1970, 1, 1)


def sums_by_name(connection: sqlite3.Connection, grouping: str, first_day: int, end_day: int) -> dict[str, Usage]:
    """Sum whole UTC days, numbered since 1970, by model, provider, session or tag."""
    rows = connection.execute(
        f"SELECT text, {_SUMMED} FROM sums JOIN names ON names.id = sums.name"  # noqa: S608  # own names
        " WHERE grouping = ? AND slot >= ? AND slot < ? GROUP BY sums.name",
        (grouping, first_day, end_day),
    )
    usages = {name: from_columns(tuple(values)) for name, *values in rows}
    return {name: usage for name, usage in usages.items() if usage.requests}


def sum_of(connection: sqlite3.Connection, grouping: str, first: int, end: int) -> Usage:
    """Sum whole `day`s or `quarter`s, numbered since 1970."""
    row = connection.execute(
        f"SELECT {_SUMMED} FROM sums WHERE grouping = ? AND name = 0 AND slot >= ? AND slot < ?",  # noqa: S608  # own names
        (grouping, first, end),
    ).fetchone()
    return Usage() if row[0] is None else from_columns(row)


def sums_by_day(connection: sqlite3.Connection, first: int, end: int, zone: tzinfo) -> dict[str, Usage]:
    """Sum quarters of an hour, numbered since 1970, by the day they fall on in a time zone."""
    totals: dict[str, Usage] = {}
    for start, stop, shift in _stretches(first, end, zone):
        rows = connection.execute(
            f"SELECT (slot + ?) / {DAY_SLOTS} AS day, {_SUMMED} FROM sums"  # noqa: S608  # own names
            " WHERE grouping = 'quarter' AND name = 0 AND slot >= ? AND slot < ? GROUP BY day",
            (shift, start, stop),
        )
        for number, *values in rows:
            name = (_EPOCH + timedelta(days=number)).isoformat()
            totals[name] = totals.get(name, Usage()) + from_columns(tuple(values))
    return {name: usage for name, usage in totals.items() if usage.requests}


def _stretches(first: int, end: int, zone: tzinfo) -> Iterator[tuple[int, int, int]]:
    """Cut quarters where the zone's offset changes; each stretch comes with its offset in quarters."""
    while first < end:
        shift, low = _shift(first, zone), first
        while low + DAY_SLOTS < end and _shift(low + DAY_SLOTS, zone) == shift:
            low += DAY_SLOTS
        high = min(low + DAY_SLOTS, end)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _shift(middle, zone) == shift else (low, middle)
        yield first, high, shift
        first = high


def _shift(slot: int, zone: tzinfo) -> int:
    offset = datetime.fromtimestamp(slot * QUARTER_S, zone).utcoffset()
    quarters, rest = divmod(int((offset or timedelta()).total_seconds()), QUARTER_S)
    if rest:
        raise InvalidValue("a time zone that is not whole quarters of an hour from UTC cannot be used")
    return quarters


def span_of(connection: sqlite3.Connection, start: datetime, end: datetime) -> tuple[int, int] | None:
    """Give the offsets of the first and the last line whose quarter of an hour touches a period."""
    first, last = connection.execute(
        "SELECT min(first_offset), max(last_offset) FROM sums WHERE grouping = 'quarter' AND slot >= ? AND slot <= ?",
        (quarter_of(start), quarter_of(end)),
    ).fetchone()
    return None if first is None else (first, last)


def known_slots(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """Give the first quarter of an hour with calls, and the one after the last."""
    first, last = connection.execute("SELECT min(slot), max(slot) FROM sums WHERE grouping = 'quarter'").fetchone()
    return None if first is None else (first, last + 1)


def open_holds(connection: sqlite3.Connection) -> list[Hold]:
    """Give the holds that have not ended, oldest first."""
    rows = connection.execute("SELECT id, ts, model, max_cost, generation, session FROM holds ORDER BY ts, id")
    return [
        Hold(
            identity, parse_moment(ts).astimezone(UTC), model, usd(max_cost) if max_cost else None, generation, session
        )
        for identity, ts, model, max_cost, generation, session in rows
    ]


def is_open(connection: sqlite3.Connection, hold: str) -> bool:
    """Tell whether a hold has not ended."""
    return connection.execute("SELECT 1 FROM holds WHERE id = ?", (hold,)).fetchone() is not None


def superseded_in(connection: sqlite3.Connection, first: int, last: int) -> set[int]:
    """Give the offsets of lines that do not count, for another stands in their place."""
    rows = connection.execute("SELECT start FROM superseded WHERE start >= ? AND start <= ?", (first, last))
    return {start for (start,) in rows}


def unread_lines(connection: sqlite3.Connection) -> list[tuple[int, str, bool]]:
    """Give the offset of each line that was not understood, why, and whether it is damaged."""
    rows = connection.execute("SELECT start, why, is_damaged FROM unread ORDER BY start")
    return [(start, why, bool(damaged)) for start, why, damaged in rows]
