"""Sums by two groupings at once, by times of the day, and of the calls that filters leave.

Whole days come from the index where one of its groupings tells all that is asked; the rest comes from the lines.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, tzinfo
from json import dumps
from operator import add
from typing import NamedTuple

from openrouter_usage.entry import NOTHING, summed
from openrouter_usage.errors import InvalidValue
from openrouter_usage.ledger.engine import Engine
from openrouter_usage.ledger.ingest import GROUPS
from openrouter_usage.ledger.scan import (
    DAY_SLOTS,
    MIX,
    Fineness,
    When,
    Who,
    columns,
    from_columns,
    mix_of,
    pack,
    quarter_of,
)
from openrouter_usage.ledger.schema import Damaged
from openrouter_usage.ledger.sums import (
    Totals,
    counted_entries,
    edges,
    figures_of,
    known_part,
    moment_of,
    read_blocks,
    slots_of,
    span_of,
    stretches,
)
from openrouter_usage.period import UTC, Period
from openrouter_usage.vocabulary import AND, TAG_GROUPINGS, TIMES, Filter, Where, parts_of, time_name

_FIRST_DAY = date(1970, 1, 1)
_HOURS, _DAY_HOURS = 24, 7 * 24
_NO_LIMIT = 2**40
# What some calls have in common, and their figures in the order of the index's columns.
Found = Iterator[tuple[When, Who, Sequence[int]]]
_IN_ALL = """SELECT 0, name, count(*), sum(slot), sum(mark),
    sum(requests), sum(unknown), sum(estimated), sum(prompt_tokens), sum(completion_tokens),
    sum(reasoning_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(cost_high), sum(cost_mid),
    sum(cost_low), sum(byok_high), sum(byok_mid), sum(byok_low)
FROM sums WHERE slot IN (SELECT value FROM json_each(?)) AND grouping = ? GROUP BY name"""
_BY_DAY = """SELECT slot, name, 1, slot, mark, requests, unknown, estimated, prompt_tokens, completion_tokens,
    reasoning_tokens, cached_tokens, cache_write_tokens, cost_high, cost_mid, cost_low, byok_high, byok_mid, byok_low
FROM sums WHERE slot IN (SELECT value FROM json_each(?)) AND grouping = ?"""
_BY_HOUR = """SELECT (slot + ?) / 4 % ? AS hour, count(*), sum(slot), sum(mark),
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
    named, timed = _Named(parts, where), _Timed(parts)
    # As whole numbers, because making a Usage of each row takes longer than all else.
    sums: dict[str, list[int]] = {}
    for when, who, figures in _calls(engine, index, start, end, _Needs(parts, where, zone)):
        names = named[who]
        if names is not None:
            name = AND.join(each or time for each, time in zip(names, timed[when], strict=True))
            met = sums.get(name)
            sums[name] = list(map(add, met, figures)) if met else list(figures)
    # A line that completes another one is taken out again, and may leave nothing of a group.
    groups = {name: usage for name, found in sums.items() if (usage := from_columns(tuple(found))).requests}
    return Totals(summed(groups.values()), groups)


class _Named(dict[Who, list[str] | None]):
    """The names of groups by what calls have in common, "" for those of times; None for calls that nobody asks for."""

    def __init__(self, parts: tuple[str, ...], where: Where) -> None:
        super().__init__()
        self._parts, self._where = parts, where

    def __missing__(self, who: Who) -> list[str] | None:
        call = Call(_FIRST_DAY, 0, *who)
        is_asked = all(call.is_asked(each) for each in self._where)
        self[who] = names = ["" if part in TIMES else call.name(part) for part in self._parts] if is_asked else None
        return names


class _Timed(dict[When, list[str]]):
    """The names of groups by their moment, "" for those that have none."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        super().__init__()
        self._parts = parts

    def __missing__(self, when: When) -> list[str]:
        self[when] = names = [time_name(part, *when) if part in TIMES else "" for part in self._parts]
        return names


class _Needs:
    """What a question needs to know of a call."""

    def __init__(self, parts: tuple[str, ...], where: Where, zone: tzinfo) -> None:
        kinds = {part for part in parts if part not in TIMES} | {each.kind for each in where}
        kinds = {"tag" if kind in TAG_GROUPINGS else kind for kind in kinds}
        self.zone = zone
        self.times = {part for part in parts if part in TIMES}
        self.kinds = frozenset(kinds)
        # A zone's day is none of the index's.
        is_of_days = not self.times or (zone is UTC and "hour" not in self.times)
        self.sessions = [each for each in where if each.kind == "session"]
        self.grouping: str | None = None
        if is_of_days and len(kinds) == 1 and kinds <= {"model", "provider", "session"}:
            (self.grouping,) = kinds
        elif is_of_days and "session" not in kinds:
            self.grouping = MIX if kinds else ""

    def when(self, moment: datetime) -> When:
        """Return what is asked of a moment: its day and hour in the zone, or less, so that more calls are alike."""
        if not self.times:
            return _FIRST_DAY, 0
        at = moment.astimezone(self.zone)
        day = at.date()
        if self.times <= {"weekday", "hour"}:
            day = _FIRST_DAY + timedelta(days=(day - _FIRST_DAY).days % 7 if "weekday" in self.times else 0)
        return day, at.hour if "hour" in self.times else 0


def _calls(engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, needs: _Needs) -> Found:
    first, stop = _slot(start, up=True), _slot(end)
    if not needs.kinds and "hour" in needs.times:
        yield from _hours(engine, index, start, end, needs)
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


def _of_index(index: sqlite3.Connection, first: int, end: int, needs: _Needs) -> Found:
    """Read whole UTC days, numbered since 1970, from the sums of one grouping."""
    slots = range(first, end) if needs.times else slots_of(first, end)
    grouping = needs.grouping or ""
    rows = index.execute(_BY_DAY if needs.times else _IN_ALL, (dumps(list(slots)), GROUPS[grouping]))
    whos: dict[str, Who] = {}
    days: dict[int, When] = {}
    for slot, name, *values in rows:
        figures = figures_of(values, name)
        if not figures[0]:
            continue
        if name not in whos:
            whos[name] = _who(grouping, name)
        if slot not in days:
            days[slot] = (_FIRST_DAY + timedelta(days=slot), 0)
        yield days[slot], whos[name], figures


def _who(grouping: str, name: str) -> Who:
    if grouping == "session":
        return "", "", name, ()
    if grouping == "provider":
        return "", name, "", ()
    if grouping != MIX:
        return name, "", "", ()
    try:
        return mix_of(name)
    except InvalidValue:
        raise Damaged("its sums are damaged") from None


def _hours(engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, needs: _Needs) -> Found:
    """Sum quarters of an hour by the hour that a zone's clock shows."""
    first, stop = _slot(start, up=True), _slot(end)
    # Of 1970-01-01, of its week, or of any day.
    alike = _HOURS if needs.times == {"hour"} else _DAY_HOURS if needs.times <= {"weekday", "hour"} else _NO_LIMIT
    for low, high, shift in stretches(first, stop, needs.zone) if first < stop else ():
        if shift is None:
            yield from _of_lines(engine, index, moment_of(low), moment_of(high), needs)
            continue
        for hours, *values in index.execute(_BY_HOUR, (shift, alike, low, high)):
            figures = figures_of(values)
            if figures[0]:
                day, hour = divmod(hours, _HOURS)
                yield (_FIRST_DAY + timedelta(days=day), hour), _NOBODY, figures
    for low_at, high_at in edges(start, end, first, stop):
        yield from _of_lines(engine, index, low_at, high_at, needs)


_NOBODY: Who = ("", "", "", ())


def _of_lines(engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, needs: _Needs) -> Found:
    """Read calls from their lines: quarters of an hour quickly, what is left of a period call by call."""
    first, stop = _slot(start, up=True), _slot(end)
    for low_at, high_at in edges(start, end, first, stop):
        for entry in counted_entries(engine, index, low_at, high_at):
            who = (entry.model, entry.provider, entry.session, entry.tags)
            yield needs.when(entry.ts), who, columns(pack(entry.usage))
    fineness = Fineness(lambda slot: needs.when(moment_of(slot)), needs.kinds)
    for low, high in _spans(index, first, stop, needs):
        span = span_of(index, moment_of(low), moment_of(high - 1))
        if span is None:
            continue
        block, surplus = read_blocks(engine, index, span, range(low, high), fineness=fineness)
        for (when, who), vector in block.cells.items():
            yield when, who, columns(vector)
        for (when, who), vector in surplus.cells.items():
            yield when, who, [-figure for figure in columns(vector)]


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
