"""Sums of any period: whole days of UTC or of a zone from the index, the rest of a day from its own lines."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from json import dumps

from openrouter_usage.budgets import MACHINE, Owner
from openrouter_usage.entry import NOTHING, Entry, Hold, Usage, read_line
from openrouter_usage.errors import InvalidValue
from openrouter_usage.ledger.engine import Engine
from openrouter_usage.ledger.ingest import (
    GROUPS,
    SPAN_DAYS,
    hold_row,
    merged_mark,
    span_slot,
    unsettled_row,
    whole_entry,
)
from openrouter_usage.ledger.scan import (
    DAY_SLOTS,
    QUARTER_S,
    Block,
    Fineness,
    columns,
    from_columns,
    mark_of,
    quarter_of,
    read_block,
)
from openrouter_usage.ledger.schema import Damaged
from openrouter_usage.money import loads, usd
from openrouter_usage.period import UTC, Period, parse_moment
from openrouter_usage.vocabulary import TAG_GROUPINGS, time_name

# -- Sums in the index: by name or by day, over whole days of UTC or of any time zone.

# The first three sums prove the rest: see `usage_of`. The columns are those of `COLUMNS`, in its order.
_BY_NAME = """
SELECT name, count(*), sum(slot), sum(mark),
    sum(requests), sum(unknown), sum(estimated), sum(prompt_tokens), sum(completion_tokens),
    sum(reasoning_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(cost_high), sum(cost_mid),
    sum(cost_low), sum(byok_high), sum(byok_mid), sum(byok_low)
FROM sums WHERE slot IN (SELECT value FROM json_each(?)) AND grouping = ? GROUP BY name
"""
# Of one name: as many rows as there are days and months, however many calls and names there are.
_ONE_NAME = """
SELECT count(*), sum(slot), sum(mark),
    sum(requests), sum(unknown), sum(estimated), sum(prompt_tokens), sum(completion_tokens),
    sum(reasoning_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(cost_high), sum(cost_mid),
    sum(cost_low), sum(byok_high), sum(byok_mid), sum(byok_low)
FROM sums WHERE slot IN (SELECT value FROM json_each(?)) AND grouping = ? AND name = ?
"""
_BY_SHIFTED_DAY = """
SELECT (slot + ?) / ? AS day, count(*), sum(slot), sum(mark),
    sum(requests), sum(unknown), sum(estimated), sum(prompt_tokens), sum(completion_tokens),
    sum(reasoning_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(cost_high), sum(cost_mid),
    sum(cost_low), sum(byok_high), sum(byok_mid), sum(byok_low)
FROM quarters WHERE slot >= ? AND slot < ? GROUP BY day
"""
_BY_UTC_DAY = """
SELECT slot, 1, slot, mark, requests, unknown, estimated, prompt_tokens, completion_tokens, reasoning_tokens,
    cached_tokens, cache_write_tokens, cost_high, cost_mid, cost_low, byok_high, byok_mid, byok_low
FROM sums WHERE slot IN (SELECT value FROM json_each(?)) AND grouping = 0 AND name = ''
"""
_UNSETTLED = "SELECT * FROM unsettled ORDER BY start"
_DOUBTFUL = "SELECT * FROM unsettled WHERE is_doubtful ORDER BY start"
_FIRST_DAY = date(1970, 1, 1)


def usage_of(values: Sequence[int], name: str = "") -> Usage:
    """Return the Usage of summed rows; Damaged when their marks do not match their keys and figures."""
    return from_columns(tuple(figures_of(values, name)))


def figures_of(values: Sequence[int], name: str = "") -> list[int]:
    """Return the same as columns."""
    try:
        count, slots, marks, *figures = values
        if marks == sum(figures) + slots + count * mark_of(name.encode()):
            return figures
    except (TypeError, AttributeError):
        pass
    raise Damaged("its sums are damaged")


def sums_by_name(connection: sqlite3.Connection, grouping: str, first_day: int, end_day: int) -> dict[str, Usage]:
    """Sum whole UTC days, numbered since 1970, by model, provider, session or tag; "" for all calls."""
    rows = connection.execute(_BY_NAME, (dumps(list(slots_of(first_day, end_day))), GROUPS[grouping]))
    totals = {name: usage_of(tuple(values), name) for name, *values in rows}
    return {name: usage for name, usage in totals.items() if usage.requests}


def slots_of(first_day: int, end_day: int) -> Iterator[int]:
    """Cover days with as few rows as possible: every 32 days have a row of their own."""
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
        rows = connection.execute(_BY_SHIFTED_DAY, (shift, DAY_SLOTS, first, end))
    else:
        rows = connection.execute(_BY_UTC_DAY, (dumps(list(range(first // DAY_SLOTS, end // DAY_SLOTS))),))
    usages = {(_FIRST_DAY + timedelta(days=day)).isoformat(): usage_of(tuple(values)) for day, *values in rows}
    return {day: usage for day, usage in usages.items() if usage.requests}


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
        last_offset_s = _offset_s(high * QUARTER_S - 1, zone)
        whole = high if last_offset_s == shift * QUARTER_S else high - 1
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
    # What the clock of the zone shows, read as if it were UTC.
    return int(datetime.fromtimestamp(second, zone).replace(tzinfo=UTC).timestamp()) - second


def span_of(connection: sqlite3.Connection, start: datetime, end: datetime) -> tuple[int, int] | None:
    """Return the offsets of the first and the last line whose quarter of an hour touches a period."""
    first, last = connection.execute(
        "SELECT min(first_offset), max(last_offset) FROM quarters WHERE slot >= ? AND slot <= ?",
        (quarter_of(start), quarter_of(end)),
    ).fetchone()
    return None if first is None else (first, last)


def known_slots(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """Return the first quarter of an hour with calls, and the one after the last."""
    first, last = connection.execute(
        "SELECT (SELECT min(slot) FROM quarters), (SELECT max(slot) FROM quarters)"
    ).fetchone()
    return None if first is None else (first, last + 1)


def open_holds(connection: sqlite3.Connection) -> list[Hold]:
    """Return the holds that have not ended, oldest first."""
    return [_hold(row) for row in connection.execute("SELECT * FROM holds ORDER BY ts, id")]


def open_hold(connection: sqlite3.Connection, hold: str) -> Hold | None:
    """Return a hold, None when it has ended."""
    row = connection.execute("SELECT * FROM holds WHERE id = ?", (hold,)).fetchone()
    return None if row is None else _hold(row)


def _hold(row: tuple[object, ...]) -> Hold:
    identity, _, ts, model, max_cost, generation, session, tags, measured = map(str, row)
    try:
        at = parse_moment(ts).astimezone(UTC)
        named = loads(tags) if tags else {}
        pairs = tuple(sorted((name, str(value)) for name, value in named.items())) if isinstance(named, dict) else ()
        most, likely = (usd(each) if each else None for each in (max_cost, measured))
        hold = Hold(identity, at, model, most, generation, session, pairs, likely)
    except (InvalidValue, ValueError):
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
    """Return the offsets of the calls that OpenRouter can still be asked about, or only of implausible bills."""
    rows = connection.execute(_DOUBTFUL if only_doubtful else _UNSETTLED).fetchall()
    if any(unsettled_row(row[0], bool(row[1])) != row for row in rows):
        raise Damaged("its unsettled calls are damaged")
    return [row[0] for row in rows]


def unsettled_count(connection: sqlite3.Connection) -> int:
    """Return the number of recorded calls that OpenRouter can still be asked about."""
    return int(connection.execute("SELECT count(*) FROM unsettled").fetchone()[0])


def last_slot_from(connection: sqlite3.Connection, first_day: int) -> int | None:
    """Return the last quarter of an hour with calls, None when none is on a day or later."""
    (slot,) = connection.execute(
        "SELECT max(slot) FROM quarters WHERE slot >= ? AND requests > 0", (first_day * DAY_SLOTS,)
    ).fetchone()
    return None if slot is None else int(slot)


def unread_lines(connection: sqlite3.Connection) -> list[tuple[int, str, bool]]:
    """Return the offset of each line that was not understood, why, and whether it is damaged."""
    rows = connection.execute("SELECT start, why, is_damaged FROM unread ORDER BY start")
    return [(start, why, bool(damaged)) for start, why, damaged in rows]


# -- Sums of any period: whole days from the index, the rest of a day from its own lines.

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NameOf = Callable[[Entry], str]
_NAMES: dict[str, NameOf] = {
    "model": lambda entry: entry.model,
    "session": lambda entry: entry.session,
    "provider": lambda entry: entry.provider,
    "tag": lambda entry: entry.tag_label,
}
GROUPINGS = ("model", "day", "session", "provider", "tag", *TAG_GROUPINGS)
Groups = dict[str, Usage]


@dataclass(frozen=True, slots=True)
class Totals:
    """The calls of a period, summed and by group; the groups add up to the total exactly.

    A group named "" holds the calls that have no session, provider or tag.
    """

    total: Usage
    groups: Groups


def known_part(index: sqlite3.Connection, period: Period | None) -> tuple[datetime, datetime] | None:
    """Return the part of a period, or of all time, that has calls; None where it has none.

    All calls are known, so without a period the first and the last day can be read whole.
    """
    known = known_slots(index)
    if known is None:
        return None
    start, end = moment_of(known[0] // DAY_SLOTS * DAY_SLOTS), moment_of(-(-known[1] // DAY_SLOTS) * DAY_SLOTS)
    if period:
        start, end = max(start, period.start), min(end, period.end)
    return (start, end) if start < end else None


def totals(engine: Engine, index: sqlite3.Connection, period: Period | None, by: str, zone: tzinfo) -> Totals:
    """Sum a period, None for all time, by one grouping; days are those of a time zone."""
    if by in ("week", "month", "weekday"):
        found, of_days = totals(engine, index, period, "day", zone), Groups()
        for day, usage in found.groups.items():
            _add(of_days, {time_name(by, date.fromisoformat(day)): usage})
        return Totals(found.total, of_days)
    known = known_part(index, period)
    if known is None:
        return Totals(NOTHING, {})
    start, end = known
    groups = _by_day(engine, index, start, end, zone) if by == "day" else _by_name(engine, index, start, end, by)
    return Totals(sum(groups.values(), NOTHING), groups)


def _by_day(engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, zone: tzinfo) -> Groups:
    def name_of(entry: Entry) -> str:
        return entry.ts.astimezone(zone).date().isoformat()

    first, stop = _ceiling(start), _floor(end)
    groups: Groups = {}
    for low, high, shift in stretches(first, stop, zone):
        if shift is not None:
            _add(groups, sums_by_day(index, low, high, shift))
        else:
            _add(groups, _read(engine, index, moment_of(low), moment_of(high), name_of))
    for low_at, high_at in edges(start, end, first, stop):
        _add(groups, _read(engine, index, low_at, high_at, name_of))
    return groups


def _by_name(engine: Engine, index: sqlite3.Connection, start: datetime, end: datetime, by: str) -> Groups:
    """Sum whole days from the index, quarters of an hour quickly from their lines, and the rest call by call."""
    groups: Groups = {}
    first, stop = _ceiling(start), _floor(end)
    for low_at, high_at in edges(start, end, first, stop):
        _add(groups, _read(engine, index, low_at, high_at, _NAMES[by]))
    first_day, end_day = -(-first // DAY_SLOTS), stop // DAY_SLOTS
    if first_day >= end_day:
        _add(groups, _read_quarters(engine, index, first, stop, by))
        return groups
    _add(groups, _whole_days(index, first_day, end_day, by))
    _add(groups, _read_quarters(engine, index, first, first_day * DAY_SLOTS, by))
    _add(groups, _read_quarters(engine, index, end_day * DAY_SLOTS, stop, by))
    return groups


def edges(start: datetime, end: datetime, first: int, stop: int) -> list[tuple[datetime, datetime]]:
    """Return what whole quarters of an hour leave of a period at its ends."""
    if first >= stop:
        return [(start, end)]
    return [(low, high) for low, high in ((start, moment_of(first)), (moment_of(stop), end)) if low < high]


def _whole_days(index: sqlite3.Connection, first: int, end: int, by: str) -> Groups:
    groups = sums_by_name(index, by, first, end)
    return _with_untagged(groups, sum_of_days(index, first, end)) if by == "tag" else groups


def _with_untagged(groups: Groups, everything: Usage) -> Groups:
    untagged = everything - sum(groups.values(), NOTHING)
    return groups | {"": untagged} if untagged.requests else groups


def read_blocks(
    engine: Engine,
    index: sqlite3.Connection,
    span: tuple[int, int],
    quarters: range,
    *,
    fineness: Fineness | None = None,
) -> tuple[Block, Block]:
    """Read the lines of a span into what was used, and what of it stands in several lines and has to be taken off."""
    block, surplus = Block(quarters, fineness=fineness), Block(quarters, fineness=fineness)
    for at, text in engine.blocks(*span):
        read_block(text, at, block)
    completed, further = merged_in(index, *span)
    for at in completed | further:
        entry = engine.entry_at(at)
        if entry is not None:
            surplus.count(entry, at)
            if at in completed:
                block.count(whole_entry(index, at, entry, engine.entry_at), at)
    return block, surplus


def _read_quarters(engine: Engine, index: sqlite3.Connection, first: int, end: int, by: str) -> Groups:
    """Sum quarters of an hour from their lines, without making an Entry of each."""
    span = span_of(index, moment_of(first), moment_of(end - 1)) if first < end else None
    if span is None:
        return {}
    block, surplus = read_blocks(engine, index, span, range(first, end))
    groups: Groups = {}
    for part, joined in ((block, Usage.__add__), (surplus, Usage.__sub__)):
        named = {name.decode(): from_columns(columns(vector)) for name, vector in part.wanted(by).items()}
        if by == "tag":
            named = _with_untagged(named, from_columns(columns(sum(part.wanted("model").values()))))
        for name, usage in named.items():
            groups[name] = joined(groups.get(name, NOTHING), usage)
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


def _floor(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(seconds=QUARTER_S)


def _ceiling(moment: datetime) -> int:
    return -((_EPOCH - moment) // timedelta(seconds=QUARTER_S))


def counted_entries(
    engine: Engine, index: sqlite3.Connection, start: datetime | None, end: datetime | None
) -> Iterator[Entry]:
    """Return the calls of a period that count, in the order of the ledger; None for an open side."""
    known = known_slots(index)
    if known is None:
        return iter(())
    low, high = (_EPOCH + timedelta(seconds=slot * QUARTER_S) for slot in known)
    start, end = start or low, end or high
    span = span_of(index, start, end)
    if span is None:
        return iter(())
    return _within(engine, index, span, start, end)


def _within(
    engine: Engine, index: sqlite3.Connection, span: tuple[int, int], start: datetime, end: datetime
) -> Iterator[Entry]:
    completed, further = merged_in(index, *span)
    # The further lines may be anywhere, and the index may be closed when their call is read.
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


def spent(index: sqlite3.Connection, period: Period, owner: Owner = MACHINE) -> Usage:
    """Sum a period of whole UTC days, as every budget's is, of all calls or of one owner's."""
    days = _known_days(index, period)
    if days is None:
        return NOTHING
    grouping = "" if owner == MACHINE else owner.kind
    (row,) = index.execute(_ONE_NAME, (dumps(list(slots_of(*days))), GROUPS[grouping], owner.name))
    return usage_of(tuple(row), owner.name) if row[0] else NOTHING


def _known_days(index: sqlite3.Connection, period: Period) -> tuple[int, int] | None:
    known = known_slots(index)
    if known is None:
        return None
    # A budget's window is open at its end, and nearly all of those years have no calls.
    first = max(_floor(period.start), known[0]) // DAY_SLOTS
    return first, min(_floor(period.end) // DAY_SLOTS, -(-known[1] // DAY_SLOTS))
