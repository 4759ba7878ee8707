"""Answers sums of any period: whole days from the index, the rest of a day from its own lines."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from openrouter_usage.entry import Entry
from openrouter_usage.index import query
from openrouter_usage.index.blocks import DAY_SLOTS, QUARTER_S
from openrouter_usage.ledger.engine import Engine
from openrouter_usage.lines import read_line
from openrouter_usage.period import UTC, Period
from openrouter_usage.usage import NOTHING, Usage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES: dict[str, Callable[[Entry, tzinfo], str]] = {
    "model": lambda entry, zone: entry.model,
    "day": lambda entry, zone: entry.ts.astimezone(zone).date().isoformat(),
    "session": lambda entry, zone: entry.session,
    "provider": lambda entry, zone: entry.provider,
    "tag": lambda entry, zone: entry.tag_label,
}
GROUPINGS = tuple(_NAMES)


@dataclass(frozen=True, slots=True)
class Totals:
    """The calls of a period, summed and by group; the groups add up to the total exactly.

    A group named "" holds the calls that have no session, provider or tag.
    """

    total: Usage
    groups: dict[str, Usage]


def totals(engine: Engine, index: sqlite3.Connection, period: Period | None, by: str, zone: tzinfo) -> Totals:
    """Sum a period, None for all time, by one grouping; days are those of a time zone."""
    known = query.known_slots(index)
    if known is None:
        return Totals(NOTHING, {})
    start, end = (_EPOCH + timedelta(seconds=slot * QUARTER_S) for slot in known)
    if period:
        start, end = max(start, period.start), min(end, period.end)
    elif by != "day":
        # All of a day's calls are known, so its beginning and end may as well be.
        start, end = _floor(start, DAY_SLOTS), _floor(end, DAY_SLOTS) + timedelta(days=1)
    unit = 1 if by == "day" else DAY_SLOTS
    first, stop = _ceiling(start, unit), _floor(end, unit)
    if first >= stop:
        groups, edges = {}, [(start, end)]
    else:
        groups, edges = _whole(index, first, stop, by, zone), [(start, first), (stop, end)]
    for low, high in edges:
        for entry in counted_entries(engine, index, low, high) if low < high else ():
            name = _NAMES[by](entry, zone)
            groups[name] = groups.get(name, NOTHING) + entry.usage
    return Totals(sum(groups.values(), NOTHING), groups)


def _whole(index: sqlite3.Connection, first: datetime, stop: datetime, by: str, zone: tzinfo) -> dict[str, Usage]:
    if by == "day":
        return query.sums_by_day(index, _number(first, 1), _number(stop, 1), zone)
    days = _number(first, DAY_SLOTS), _number(stop, DAY_SLOTS)
    groups = query.sums_by_name(index, by, *days)
    if by == "tag":
        untagged = query.sum_of(index, "day", *days) - sum(groups.values(), NOTHING)
        if untagged.requests:
            groups[""] = untagged
    return groups


def _number(moment: datetime, unit: int) -> int:
    return (moment - _EPOCH) // timedelta(seconds=QUARTER_S * unit)


def _floor(moment: datetime, unit: int) -> datetime:
    return _EPOCH + _number(moment, unit) * timedelta(seconds=QUARTER_S * unit)


def _ceiling(moment: datetime, unit: int) -> datetime:
    floor = _floor(moment, unit)
    return floor if floor == moment else floor + timedelta(seconds=QUARTER_S * unit)


def counted_entries(
    engine: Engine, index: sqlite3.Connection, start: datetime | None, end: datetime | None
) -> Iterator[Entry]:
    """Give the calls of a period that count, in the order of the ledger; what is open on one side is None."""
    known = query.known_slots(index)
    if known is None:
        return iter(())
    low, high = (_EPOCH + timedelta(seconds=slot * QUARTER_S) for slot in known)
    start, end = start or low, end or high
    span = query.span_of(index, start, end)
    if span is None:
        return iter(())
    skipped = query.superseded_in(index, *span)
    return _within(engine.lines(*span), skipped, start, end)


def _within(lines: Iterator[tuple[int, bytes]], skipped: set[int], start: datetime, end: datetime) -> Iterator[Entry]:
    for at, line in lines:
        record = read_line(line)
        if isinstance(record, Entry) and at not in skipped and start <= record.ts < end:
            yield record


def spent(index: sqlite3.Connection, period: Period) -> Usage:
    """Sum a period of whole UTC days, as every budget's is."""
    return query.sum_of(index, "day", _number(period.start, DAY_SLOTS), _number(period.end, DAY_SLOTS))
