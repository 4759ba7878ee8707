"""Answers sums of any period: whole days from the index, the rest of a day from its own lines."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from openrouter_usage.entry import Entry
from openrouter_usage.index import query
from openrouter_usage.index.blocks import Block, read_block
from openrouter_usage.index.ingest import whole_entry
from openrouter_usage.index.usual import DAY_SLOTS, QUARTER_S
from openrouter_usage.index.vector import columns, from_columns
from openrouter_usage.ledger.engine import Engine
from openrouter_usage.lines import read_line
from openrouter_usage.period import UTC, Period
from openrouter_usage.usage import NOTHING, Usage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NameOf = Callable[[Entry], str]
_NAMES: dict[str, NameOf] = {
    "model": lambda entry: entry.model,
    "session": lambda entry: entry.session,
    "provider": lambda entry: entry.provider,
    "tag": lambda entry: entry.tag_label,
}
GROUPINGS = ("model", "day", "session", "provider", "tag")
Groups = dict[str, Usage]


@dataclass(frozen=True, slots=True)
class Totals:
    """The calls of a period, summed and by group; the groups add up to the total exactly.

    A group named "" holds the calls that have no session, provider or tag.
    """

    total: Usage
    groups: Groups


def totals(engine: Engine, index: sqlite3.Connection, period: Period | None, by: str, zone: tzinfo) -> Totals:
    """Sum a period, None for all time, by one grouping; days are those of a time zone."""
    known = query.known_slots(index)
    if known is None:
        return Totals(NOTHING, {})
    # All calls are known, so the first and the last day may as well be taken whole.
    start, end = moment_of(known[0] // DAY_SLOTS * DAY_SLOTS), moment_of(-(-known[1] // DAY_SLOTS) * DAY_SLOTS)
    if period:
        start, end = max(start, period.start), min(end, period.end)
    if start >= end:
        return Totals(NOTHING, {})
    groups = _by_day(engine, index, start, end, zone) if by == "day" else _by_name(engine, index, start, end, by)
    return Totals(sum(groups.values(), NOTHING), groups)


def _by_day(engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, zone: tzinfo) -> Groups:
    def name_of(entry: Entry) -> str:
        return entry.ts.astimezone(zone).date().isoformat()

    first, stop = _ceiling(start, 1), _floor(end, 1)
    groups: Groups = {}
    for low, high, shift in query.stretches(first, stop, zone):
        if shift is not None:
            _add(groups, query.sums_by_day(index, low, high, shift))
        else:
            _add(groups, _read(engine, index, moment_of(low), moment_of(high), name_of))
    for low_at, high_at in _edges(start, end, first, stop):
        _add(groups, _read(engine, index, low_at, high_at, name_of))
    return groups


def _by_name(engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, by: str) -> Groups:
    """Sum whole days from the index, quarters of an hour quickly from their lines, and the rest call by call."""
    groups: Groups = {}
    first, stop = _ceiling(start, 1), _floor(end, 1)
    for low_at, high_at in _edges(start, end, first, stop):
        _add(groups, _read(engine, index, low_at, high_at, _NAMES[by]))
    first_day, end_day = -(-first // DAY_SLOTS), stop // DAY_SLOTS
    if first_day >= end_day:
        _add(groups, _read_quarters(engine, index, first, stop, by))
        return groups
    _add(groups, _whole_days(index, first_day, end_day, by))
    _add(groups, _read_quarters(engine, index, first, first_day * DAY_SLOTS, by))
    _add(groups, _read_quarters(engine, index, end_day * DAY_SLOTS, stop, by))
    return groups


def _edges(start: datetime, end: datetime, first: int, stop: int) -> list[tuple[datetime, datetime]]:
    """Give what whole quarters of an hour leave of a period at its ends."""
    if first >= stop:
        return [(start, end)]
    return [(low, high) for low, high in ((start, moment_of(first)), (moment_of(stop), end)) if low < high]


def _whole_days(index: sqlite3.Connection, first: int, end: int, by: str) -> Groups:
    groups = query.sums_by_name(index, by, first, end)
    return _with_untagged(groups, query.sum_of_days(index, first, end)) if by == "tag" else groups


def _with_untagged(groups: Groups, everything: Usage) -> Groups:
    untagged = everything - sum(groups.values(), NOTHING)
    return groups | {"": untagged} if untagged.requests else groups


def _read_quarters(engine: Engine, index: sqlite3.Connection, first: int, end: int, by: str) -> Groups:
    """Sum quarters of an hour from their lines, without making an Entry of each."""
    span = query.span_of(index, moment_of(first), moment_of(end - 1)) if first < end else None
    if span is None:
        return {}
    block, surplus = Block(range(first, end)), Block(range(first, end))
    for at, text in engine.blocks(*span):
        read_block(text, at, block)
    completed, further = query.merged_in(index, *span)
    for at in completed | further:
        entry = engine.entry_at(at)
        if entry is not None:
            surplus.count(entry, at)
            if at in completed:
                block.count(whole_entry(index, at, entry, engine.entry_at), at)
    groups: Groups = {}
    for part, sign in ((block, 1), (surplus, -1)):
        named = {name.decode(): from_columns(columns(vector)) for name, vector in part.wanted(by).items()}
        if by == "tag":
            named = _with_untagged(named, from_columns(columns(sum(part.wanted("model").values()))))
        for name, usage in named.items():
            groups[name] = groups.get(name, NOTHING) + usage if sign > 0 else groups.get(name, NOTHING) - usage
    return {name: usage for name, usage in groups.items() if usage.requests}


def _read(engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, name_of: NameOf) -> Groups:
    groups: Groups = {}
    for entry in counted_entries(engine, index, start, end):
        _add(groups, {name_of(entry): entry.usage})
    return groups


def _add(groups: Groups, more: Groups) -> None:
    for name, usage in more.items():
        groups[name] = groups[name] + usage if name in groups else usage


def moment_of(slot: int) -> datetime:
    """Return the moment at which a quarter of an hour begins, numbered since 1970."""
    return _EPOCH + timedelta(seconds=slot * QUARTER_S)


def _floor(moment: datetime, unit: int) -> int:
    return (moment - _EPOCH) // timedelta(seconds=QUARTER_S * unit)


def _ceiling(moment: datetime, unit: int) -> int:
    return -((_EPOCH - moment) // timedelta(seconds=QUARTER_S * unit))


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
    return _within(engine, index, span, start, end)


def _within(
    engine: Engine, index: sqlite3.Connection, span: tuple[int, int], start: datetime, end: datetime
) -> Iterator[Entry]:
    completed, further = query.merged_in(index, *span)
    # The further lines may stand anywhere, and the index may be closed by the time that their call is read.
    whole = {}
    for at in completed:
        entry = engine.entry_at(at)
        if entry is not None:
            whole[at] = whole_entry(index, at, entry, engine.entry_at)
    return _counted(engine.lines(*span), whole, further, start, end)


def _counted(
    lines: Iterator[tuple[int, bytes]], whole: Mapping[int, Entry], further: set[int], start: datetime, end: datetime
) -> Iterator[Entry]:
    for at, line in lines:
        if at in further:
            continue
        record = whole.get(at) or read_line(line)
        if isinstance(record, Entry) and start <= record.ts < end:
            yield record


def spent(index: sqlite3.Connection, period: Period) -> Usage:
    """Sum a period of whole UTC days, as every budget's is."""
    known = query.known_slots(index)
    if known is None:
        return NOTHING
    # A budget's window is open at its end, and nearly all of those years have no calls.
    first = max(_floor(period.start, DAY_SLOTS), known[0] // DAY_SLOTS)
    return query.sum_of_days(index, first, min(_floor(period.end, DAY_SLOTS), -(-known[1] // DAY_SLOTS)))
