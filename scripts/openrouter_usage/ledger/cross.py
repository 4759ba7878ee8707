"""Sums by two groupings at once, by times of the day, and of the calls that filters leave.

Whole days come from the index where one of its groupings tells all that is asked; the rest comes from the lines.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, tzinfo
from json import dumps
from typing import NamedTuple

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.errors import InvalidValue
from openrouter_usage.ledger.engine import Engine
from openrouter_usage.ledger.ingest import GROUPS
from openrouter_usage.ledger.scan import DAY_SLOTS, MIX, columns, from_columns, mix_of, quarter_of
from openrouter_usage.ledger.schema import Damaged
from openrouter_usage.ledger.sums import (
    Groups,
    Totals,
    counted_entries,
    edges,
    known_part,
    moment_of,
    read_blocks,
    slots_of,
    span_of,
    stretches,
    usage_of,
)
from openrouter_usage.period import UTC, Period
from openrouter_usage.vocabulary import TAG_GROUPINGS, TIMES, Filter, Where, joined, parts_of, time_name

_FIRST_DAY = date(1970, 1, 1)
_IN_ALL = """SELECT 0, name, count(*), sum(slot), sum(mark),
    sum(requests), sum(unknown), sum(estimated), sum(prompt_tokens), sum(completion_tokens),
    sum(reasoning_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(cost_high), sum(cost_mid),
    sum(cost_low), sum(byok_high), sum(byok_mid), sum(byok_low)
FROM sums WHERE slot IN (SELECT value FROM json_each(?)) AND grouping = ? GROUP BY name"""
_BY_DAY = """SELECT slot, name, 1, slot, mark, requests, unknown, estimated, prompt_tokens, completion_tokens,
    reasoning_tokens, cached_tokens, cache_write_tokens, cost_high, cost_mid, cost_low, byok_high, byok_mid, byok_low
FROM sums WHERE slot IN (SELECT value FROM json_each(?)) AND grouping = ?"""
_BY_HOUR = """SELECT (slot + ?) / 4 AS hour, count(*), sum(slot), sum(mark),
    sum(requests), sum(unknown), sum(estimated), sum(prompt_tokens), sum(completion_tokens),
    sum(reasoning_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(cost_high), sum(cost_mid),
    sum(cost_low), sum(byok_high), sum(byok_mid), sum(byok_low)
FROM quarters WHERE slot >= ? AND slot < ? GROUP BY hour"""


class Call(NamedTuple):
    """What calls of one moment have in common, as far as it is asked for."""

    day: date
    hour: int
    model: str = ""
    provider: str = ""
    session: str = ""
    tags: tuple[tuple[str, str], ...] = ()

    def name(self, part: str) -> str:
        """Return the name of the group that the calls are in."""
        if part in TIMES:
            return time_name(part, self.day, self.hour)
        if part == "tag":
            return " ".join(f"{name}={value}" for name, value in self.tags)
        if part in TAG_GROUPINGS:
            return dict(self.tags).get(part, "")
        found: str = getattr(self, part)
        return found

    def is_asked(self, each: Filter) -> bool:
        """Check whether a filter takes the calls."""
        return each.takes_label(dict(self.tags)) if each.kind == "tag" else each.takes(self.name(each.kind))


def crossed(
    engine: Engine, index: sqlite3.Connection, period: Period | None, by: str, *, zone: tzinfo, where: Where
) -> Totals:
    """Sum the calls of a period that filters take by one or two groupings."""
    known = known_part(index, period)
    if known is None:
        return Totals(NOTHING, {})
    start, end = known
    parts = parts_of(by)
    groups: Groups = {}
    for call, usage in _calls(engine, index, start, end, _Needs(parts, where, zone)):
        if all(call.is_asked(each) for each in where):
            name = joined(call.name(part) for part in parts)
            groups[name] = groups[name] + usage if name in groups else usage
    # A line that completes another one is taken out again, and may leave nothing of a group.
    groups = {name: usage for name, usage in groups.items() if usage.requests}
    return Totals(sum(groups.values(), NOTHING), groups)


class _Needs:
    """What a question needs to know of a call."""

    def __init__(self, parts: tuple[str, ...], where: Where, zone: tzinfo) -> None:
        kinds = {part for part in parts if part not in TIMES} | {each.kind for each in where}
        kinds = {"tag" if kind in TAG_GROUPINGS else kind for kind in kinds}
        self.zone = zone
        self.has_times = any(part in TIMES for part in parts)
        self.has_hours = "hour" in parts
        # A zone's day is none of the index's.
        is_of_days = not self.has_times or (zone is UTC and not self.has_hours)
        self.is_of_times = not kinds
        self.sessions = [each for each in where if each.kind == "session"]
        self.grouping: str | None = None
        if is_of_days and len(kinds) == 1 and kinds <= {"model", "provider", "session"}:
            (self.grouping,) = kinds
        elif is_of_days and "session" not in kinds:
            self.grouping = MIX if kinds else ""


def _calls(
    engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, needs: _Needs
) -> Iterator[tuple[Call, Usage]]:
    first, stop = _slot(start, up=True), _slot(end)
    if needs.is_of_times and needs.has_hours:
        yield from _hours(engine, index, start, end, needs.zone)
        return
    if needs.grouping is None:
        yield from _of_lines(engine, index, start, end, needs)
        return
    first_day, end_day = -(-first // DAY_SLOTS), stop // DAY_SLOTS
    if first_day >= end_day:
        yield from _of_lines(engine, index, start, end, needs)
        return
    yield from _of_index(index, first_day, end_day, needs)
    for low, high in ((start, moment_of(first_day * DAY_SLOTS)), (moment_of(end_day * DAY_SLOTS), end)):
        if low < high:
            yield from _of_lines(engine, index, low, high, needs)


def _slot(moment: datetime, *, up: bool = False) -> int:
    slot = quarter_of(moment)
    return slot + (up and moment_of(slot) < moment)


def _of_index(index: sqlite3.Connection, first: int, end: int, needs: _Needs) -> Iterator[tuple[Call, Usage]]:
    """Read whole UTC days, numbered since 1970, from the sums of one grouping."""
    slots = range(first, end) if needs.has_times else slots_of(first, end)
    grouping = needs.grouping or ""
    rows = index.execute(_BY_DAY if needs.has_times else _IN_ALL, (dumps(list(slots)), GROUPS[grouping]))
    for slot, name, *values in rows:
        usage = usage_of(tuple(values), name)
        if usage.requests:
            day = _FIRST_DAY + timedelta(days=slot)
            yield _named(day, grouping, name), usage


def _named(day: date, grouping: str, name: str) -> Call:
    if grouping == "session":
        return Call(day, 0, session=name)
    if grouping == "provider":
        return Call(day, 0, provider=name)
    if grouping != MIX:
        return Call(day, 0, model=name)
    try:
        return Call(day, 0, *mix_of(name))
    except InvalidValue:
        raise Damaged("its sums are damaged") from None


def _hours(
    engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, zone: tzinfo
) -> Iterator[tuple[Call, Usage]]:
    """Sum quarters of an hour by the hour that a zone's clock shows."""
    first, stop = _slot(start, up=True), _slot(end)
    for low, high, shift in stretches(first, stop, zone) if first < stop else ():
        if shift is None:
            yield from _of_lines(engine, index, moment_of(low), moment_of(high), _Needs(("hour",), (), zone))
            continue
        for hours, *values in index.execute(_BY_HOUR, (shift, low, high)):
            day, hour = divmod(hours, 24)
            usage = usage_of(tuple(values))
            if usage.requests:
                yield Call(_FIRST_DAY + timedelta(days=day), hour), usage
    for low_at, high_at in edges(start, end, first, stop):
        yield from _of_lines(engine, index, low_at, high_at, _Needs(("hour",), (), zone))


def _of_lines(
    engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, needs: _Needs
) -> Iterator[tuple[Call, Usage]]:
    """Read calls from their lines: quarters of an hour quickly, what is left of a period call by call."""
    first, stop = _slot(start, up=True), _slot(end)
    for low_at, high_at in edges(start, end, first, stop):
        for entry in counted_entries(engine, index, low_at, high_at):
            at = entry.ts.astimezone(needs.zone)
            yield Call(at.date(), at.hour, entry.model, entry.provider, entry.session, entry.tags), entry.usage
    clock = _clock(needs)
    for low, high in _spans(index, first, stop, needs):
        span = span_of(index, moment_of(low), moment_of(high - 1))
        if span is None:
            continue
        block, surplus = read_blocks(engine, index, span, range(low, high), is_fine=True)
        for part, sign in ((block, 1), (surplus, -1)):
            for (slot, model, provider, session, tags), vector in part.cells.items():
                usage = from_columns(columns(vector))
                call = Call(*clock(slot), model, provider, session, tags)
                yield call, usage if sign > 0 else NOTHING - usage


def _clock(needs: _Needs) -> Callable[[int], tuple[date, int]]:
    """Return what a zone's clock shows at a quarter of an hour: the day and the hour."""
    met: dict[int, tuple[date, int]] = {}

    def shown(slot: int) -> tuple[date, int]:
        if not needs.has_times:
            return _FIRST_DAY, 0
        if slot not in met:
            at = moment_of(slot).astimezone(needs.zone)
            met[slot] = (at.date(), at.hour)
        return met[slot]

    return shown


def _spans(index: sqlite3.Connection, first: int, stop: int, needs: _Needs) -> Iterator[tuple[int, int]]:
    """Return the quarters of an hour to read: all, or where a session is asked for the days on which it has calls."""
    if first >= stop:
        return
    if not needs.sessions:
        yield first, stop
        return
    days = range(first // DAY_SLOTS, -(-stop // DAY_SLOTS))
    rows = index.execute(
        "SELECT slot, name FROM sums WHERE slot IN (SELECT value FROM json_each(?)) AND grouping = ?",
        (dumps(list(days)), GROUPS["session"]),
    )
    for day in sorted({slot for slot, name in rows if all(each.takes(name) for each in needs.sessions)}):
        yield max(first, day * DAY_SLOTS), min(stop, (day + 1) * DAY_SLOTS)
