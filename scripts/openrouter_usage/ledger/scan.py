"""Reads blocks of ledger lines into sums: quickly where lines are as this program, or json.dumps, writes them."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from openrouter_usage.budgets import TAG_KINDS
from openrouter_usage.entry import Entry, Hold, Release, Unread, Usage, believable, checked_entry, label_of, read_line
from openrouter_usage.errors import InvalidValue
from openrouter_usage.money import EXACT, loads
from openrouter_usage.money import dumps as exact_json
from openrouter_usage.period import UTC, parse_moment

# -- Packing a Usage into one whole number, so that plain additions sum the calls of a block.
#
# Every figure has its own lane of bits, wide enough that the largest figures of `MOST_CALLS` calls do not
# run over into the next. The index keeps money in three columns of eleven digits each, because SQLite adds
# 64-bit integers exactly and has nothing wider: ninety million calls of the largest cost fit.

# The order of the columns in the index: counts first, then credits and BYOK in three limbs each.
COUNTS = (
    "requests",
    "unknown",
    "estimated",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "cache_write_tokens",
)
MONEY = ("cost_high", "cost_mid", "cost_low", "byok_high", "byok_mid", "byok_low")
COLUMNS = COUNTS + MONEY
FINEST = 27
# The largest figures of so many calls fit into the lanes, and into SQLite's integers.
MOST_CALLS = 2**22
_LIMB = 10**11
_WIDTHS = {"requests": 30, "cost": 150, "byok_cost": 150}
# The figures of nearly every call are lowest, so that the numbers stay short and additions fast.
_USUAL = ("requests", "prompt_tokens", "completion_tokens", "cost")
_RARE = ("cached_tokens", "reasoning_tokens", "cache_write_tokens", "unknown", "estimated", "byok_cost")
SHIFT: dict[str, int] = {}
_MASK: dict[str, int] = {}
_place = 0
for _name in _USUAL + _RARE:
    SHIFT[_name], _MASK[_name] = _place, (1 << _WIDTHS.get(_name, 63)) - 1
    _place += _WIDTHS.get(_name, 63)
_COUNT_LANES = tuple((SHIFT[name], _MASK[name]) for name in COUNTS)
_COST, _COST_MASK, _BYOK = SHIFT["cost"], _MASK["cost"], SHIFT["byok_cost"]


def pack(usage: Usage) -> int:
    """Return a usage as one number; numbers add up as usages do."""
    vector = units(usage.cost) << _COST | units(usage.byok_cost) << _BYOK
    for name in COUNTS:
        vector |= getattr(usage, name) << SHIFT[name]
    return vector


def units(amount: Decimal) -> int:
    """Return USD in units of 10**-27; every amount of the ledger is a whole number of them."""
    return int(EXACT.scaleb(amount, FINEST))


def columns(vector: int) -> tuple[int, ...]:
    """Return a sum as the columns of the index."""
    counts = [vector >> shift & mask for shift, mask in _COUNT_LANES]
    return (*counts, *_limbs(vector >> _COST & _COST_MASK), *_limbs(vector >> _BYOK))


def _limbs(amount: int) -> tuple[int, int, int]:
    high, low = divmod(amount, _LIMB)
    return (*divmod(high, _LIMB), low)


def from_columns(values: tuple[int, ...]) -> Usage:
    """Return the Usage that columns stand for; sums of columns need not be normalised."""
    requests, unknown, estimated, prompt, completion, reasoning, cached, written, *money = values
    cost, byok = _amount(*money[:3]), _amount(*money[3:])
    return Usage(requests, prompt, completion, reasoning, cached, cost, byok, written, unknown, estimated)


def _amount(high: int, mid: int, low: int) -> Decimal:
    total = (high * _LIMB + mid) * _LIMB + low
    exact = Decimal(total).scaleb(-FINEST, EXACT)
    # 0.0025 and not 0.002500000000000000000000000: the value is the same, the page is readable.
    return exact.normalize(EXACT) if total else Decimal(0)


# -- Usual lines: written by this program or json.dumps, and read without a JSON parser.

QUARTER_S = 900
DAY_SLOTS = 96
QUARTER_OF = {b"%02d" % minute: minute // 15 for minute in range(60)}
_EPOCH = date(1970, 1, 1).toordinal()
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_TEXT = rb"[ !#-\[\]-~]{1,200}"  # what ASCII shows, but for quotes and backslashes
_NAME = b'"(' + _TEXT + b')"'
_COUNT = rb"(0|[1-9]\d{0,11})"
_MOMENT = rb'"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3])):([0-5]\d):[0-5]\d(?:\.\d{1,6})?(?:Z|\+00:00)"'
_TAG = b'"' + _TEXT + b'": ?"' + _TEXT + b'"'
Row = tuple[bytes, ...]


def _optional(*members: tuple[bytes, bytes]) -> bytes:
    return b"".join(b'(?:, ?"' + name + b'": ?' + value + b")?" for name, value in members)


# A call of known cost in the order of write_line, without the rarest fields; else the line, whatever it is.
# Matching takes a fifth of the time of reading JSON into an Entry; a test holds that both ways give the same sums.
_LINES = (
    rb'^(?:(\{"ts": ?' + _MOMENT + rb', ?"model": ?' + _NAME
    + rb', ?"prompt_tokens": ?' + _COUNT + rb', ?"completion_tokens": ?' + _COUNT
    + rb', ?"cost": ?(0|[1-9]\d{0,5})(?:\.(\d{1,27}))?'
    + _optional(
        (b"id", _NAME), (b"cached_tokens", _COUNT), (b"cache_write_tokens", _COUNT), (b"reasoning_tokens", _COUNT),
        (b"cost_source", b'"(?:billed|late)"'), (b"provider", _NAME), (b"session", _NAME),
        (b"tags", rb"(\{" + _TAG + b"(?:, ?" + _TAG + rb"){0,31}\})"), (b"streamed", b"(?:true|false)"),
        (b"latency_ms", rb"(?:0|[1-9]\d{0,11})"), (b"finish_reason", b'"[a-z_]{1,40}"'), (b"hold", _NAME),
    )
    + rb"\})|(.*))$"
)  # fmt: skip
# Where no line has spaces it saves a sixth of the time not to look for them.
_SPACED, _DENSE = re.compile(_LINES, re.MULTILINE), re.compile(_LINES.replace(b" ?", b""), re.MULTILINE)
_AMOUNT = rb"(?:0|[1-9]\d{0,5})(?:\.\d{1,27})?"
_OF_A_HOLD = re.compile(
    rb'\{"kind": ?"(hold|release)", ?"hold": ?' + _NAME + rb', ?"ts": ?' + _MOMENT
    + _optional(
        (b"model", b'"' + _TEXT + b'"'), (b"max_cost", _AMOUNT), (b"measured", _AMOUNT),
        (b"generation", b'"' + _TEXT + b'"'), (b"session", b'"' + _TEXT + b'"'),
        (b"tags", rb"\{" + _TAG + b"(?:, ?" + _TAG + rb"){0,31}\}"),
    )
    + rb"\}"
)  # fmt: skip


class Hours(dict[bytes, int]):
    """The first quarter of each hour that was met."""

    def rows(self, text: bytes) -> list[Row]:
        """Return a row for each line: the parts of a usual call, or empty ones and the line itself at the end.

        Empty lines have rows too, and so has the nothing behind the last line's end.
        """
        rows = (_SPACED if b'{"ts": ' in text else _DENSE).findall(text)
        return rows if self._know(rows) else [(*[b""] * (len(row) - 1), row[0] or row[-1]) for row in rows]

    def _know(self, rows: list[Row]) -> bool:
        """Learn the hours of some rows; False when one of them is no time."""
        try:
            for hour in {row[1] for row in rows} - self.keys():
                self[hour] = _first_quarter(hour) if hour else -1
        except InvalidValue:
            return False
        return True


def is_usual(line: bytes) -> bool:
    """Check whether a line, without its end, is certainly a readable call."""
    rows = Hours().rows(line)
    return len(rows) == 1 and bool(rows[0][0])


def usual_hold(line: bytes) -> tuple[str, bool] | None:
    """Return the id of the hold that a line is about, and whether the hold begins there; None unless certain."""
    match = _OF_A_HOLD.fullmatch(line)
    try:
        if match is None or not _first_quarter(match[3]):
            return None
    except InvalidValue:
        return None
    return match[2].decode(), match[1] == b"hold"


@lru_cache(maxsize=4096)
def tag_names(tags: bytes) -> tuple[tuple[str, bytes], ...]:
    """Return the groupings, and the name in each, under which the tags of a usual line are summed."""
    return tuple((grouping, name.encode()) for grouping, name in _tag_names(tags_of(tags)))


def _tag_names(tags: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    if tags:
        yield "tag", label_of(tags)
        for name, value in tags:
            if name in TAG_KINDS and value:
                yield name, value


@lru_cache(maxsize=64)
def _first_quarter(hour: bytes) -> int:
    return quarter_of(believable(parse_moment(hour.decode() + ":00:00Z")))


@lru_cache(maxsize=4096)
def mix_name(model: str, provider: str, tags: tuple[tuple[str, str], ...]) -> bytes:
    """Return the name of the calls that have all of these in common; `mix_of` reads it."""
    return exact_json([model, provider, dict(tags)]).encode()


def mix_of(name: str) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
    """Return model, provider, no session, and tags of a name; InvalidValue for a damaged one."""
    try:
        found = loads(name)
    except ValueError:
        found = None
    if isinstance(found, list) and len(found) == 3 and isinstance(found[2], dict):
        return str(found[0]), str(found[1]), "", tuple((tag, str(value)) for tag, value in found[2].items())
    raise InvalidValue("this is not the name of a mix")


@lru_cache(maxsize=4096)
def tags_of(tags: bytes) -> tuple[tuple[str, str], ...]:
    """Return the sorted tags of a usual line, none for one without."""
    return checked_entry({"ts": _SOME_DAY, "model": "-", "tags": loads(tags)}).tags if tags else ()


def quarter_of(moment: datetime) -> int:
    """Number the quarter of an hour of a moment since 1970: the day of every time zone begins with one."""
    at = moment.astimezone(UTC)
    return ((at.toordinal() - _EPOCH) * 86_400 + at.hour * 3_600 + at.minute * 60) // QUARTER_S


# -- Blocks of lines, read into sums.

# What a call is in besides its session, all at once; a name is a JSON list of model, provider and tags.
MIX = "mix"
BY_NAME = ("model", "provider", "session", "tag", *TAG_KINDS, MIX)
# Larger ones make lists of rows so long that the processor's cache no longer holds them.
_STRETCH = 256 * 1024
# Where a row has the names of a call, and where it has what is empty in the row of a call.
_KINDS, _EMPTY = {"model": 3, "provider": 12, "session": 13, "tag": 14}, 16
_ALWAYS = range(2**40)
_UNWANTED = -1
Sums = defaultdict[int, defaultdict[bytes, int]]
# Model, provider, session and tags of calls, the empty ones for what is not told apart.
Who = tuple[str, str, str, tuple[tuple[str, str], ...]]
# A day and an hour, or less of a moment.
When = tuple[date, int]
Cells = defaultdict[tuple[When, Who], int]


class Fineness(NamedTuple):
    """What calls are told apart by, at once: what `when` makes of a quarter of an hour, and which of their names."""

    when: Callable[[int], When]
    kinds: frozenset[str]


class Block:
    """The result of some lines: sums by group and day, marks of ids, changes of holds, and lines not understood."""

    def __init__(self, slots: range = _ALWAYS, *, fineness: Fineness | None = None) -> None:
        """Start empty; only calls of some quarters of an hour are wanted, and with a `fineness` also in `cells`."""
        self._slots = slots
        # For sums that no grouping can answer.
        self._fineness = fineness
        self.cells: Cells = defaultdict(int)
        self.by_name: dict[str, Sums] = {grouping: defaultdict(lambda: defaultdict(int)) for grouping in BY_NAME}
        self.quarters: defaultdict[int, int] = defaultdict(int)
        self.spans: dict[int, tuple[int, int]] = {}
        self.ids: list[tuple[int, int]] = []
        # The line of a hold that has not ended by the end of the block, None for one that has.
        self.holds: dict[str, bytes | None] = {}
        self.unread: list[tuple[int, Unread]] = []
        # Calls that OpenRouter can still be asked about, or whose bill is implausible: their offset, and which.
        self.unsettled: list[tuple[int, bool]] = []
        self.calls = 0

    @property
    def size(self) -> int:
        """Count the sums, which are what a block takes memory for."""
        return len(self.quarters) + sum(len(day) for sums in self.by_name.values() for day in sums.values())

    def wanted(self, grouping: str) -> dict[bytes, int]:
        """Sum the wanted calls by name, whatever the day."""
        sums: defaultdict[bytes, int] = defaultdict(int)
        for day, of_day in self.by_name[grouping].items():
            for name, vector in of_day.items() if day != _UNWANTED else ():
                sums[name] += vector
        return sums

    def _day(self, slot: int) -> int:
        return slot // DAY_SLOTS if slot in self._slots else _UNWANTED

    def add(self, entry: Entry, start: int) -> None:
        """Count a call that stands at an offset, with its id and the hold that it ends."""
        self.count(entry, start)
        if entry.id:
            self.ids.append((mark_of(entry.id.encode()), start))
        if entry.hold:
            self.holds[entry.hold] = None
        if entry.is_unsettled or entry.is_doubtful:
            self.unsettled.append((start, entry.is_doubtful))

    def count(self, entry: Entry, start: int) -> None:
        """Count what a call used, and nothing else of it."""
        slot, vector = quarter_of(entry.ts), pack(entry.usage)
        day = self._day(slot)
        for grouping, name in (("model", entry.model), ("provider", entry.provider), ("session", entry.session)):
            self.by_name[grouping][day][name.encode()] += vector
        # Calls without tags are what the tagged ones leave of the day; so they cost nothing here.
        for grouping, name in _tag_names(entry.tags):
            self.by_name[grouping][day][name.encode()] += vector
        self.by_name[MIX][day][mix_name(entry.model, entry.provider, entry.tags)] += vector
        if self._fineness and day != _UNWANTED:
            kinds = self._fineness.kinds
            model, provider = entry.model if "model" in kinds else "", entry.provider if "provider" in kinds else ""
            session, tags = entry.session if "session" in kinds else "", entry.tags if "tag" in kinds else ()
            self.cells[self._fineness.when(slot), (model, provider, session, tags)] += vector
        self._end_run(slot, vector, start, start)
        self.calls += 1

    def add_rows(self, rows: list[Row], start: int, hours: Hours) -> None:
        """Count the calls of one line after the other, from an offset."""
        sessions = self.by_name["session"]
        prompt_at, completion_at, cost_at = SHIFT["prompt_tokens"], SHIFT["completion_tokens"], SHIFT["cost"]
        cached_at, written_at = SHIFT["cached_tokens"], SHIFT["cache_write_tokens"]
        reasoning_at, quarter, mark = SHIFT["reasoning_tokens"], QUARTER_OF, zlib.crc32
        mixes: defaultdict[int, defaultdict[Row, int]] = defaultdict(lambda: defaultdict(int))
        of_mix, of_session = mixes[0], sessions[0]
        here, total, first, previous, day, odd = -1, 0, start, start, 0, 0
        fineness = self._fineness
        fine, fines = defaultdict[Row, int](int), dict[When, defaultdict[Row, int]]()
        kinds = fineness.kinds if fineness else _KINDS
        picked = itemgetter(*(at if kind in kinds else _EMPTY for kind, at in _KINDS.items()))
        for row in rows:
            (line, hour, minute, model, prompt, completion, whole, part, identity,
             cached, written, reasoning, provider, session, tags, hold, other) = row  # fmt: skip
            if not line:
                odd += 1
                self._add_other(start, other)
                start += len(other) + 1
                continue
            slot = hours[hour] + quarter[minute]
            if slot != here:
                self._end_run(here, total, first, previous)
                here, total, first, day = slot, 0, start, self._day(slot)
                of_mix, of_session = mixes[day], sessions[day]
                fine = self._fine_of(fines, slot, day)
            vector = 1 | int(prompt) << prompt_at | int(completion) << completion_at
            vector |= int(whole + part.ljust(FINEST, b"0")) << cost_at
            if cached:
                vector |= int(cached) << cached_at
            if written:
                vector |= int(written) << written_at
            if reasoning:
                vector |= int(reasoning) << reasoning_at
            total += vector
            of_mix[model, provider, tags] += vector
            of_session[session] += vector
            if fineness:
                fine[picked(row)] += vector
            if identity:
                self.ids.append((mark(identity), start))
            if hold:
                self.holds[hold.decode()] = None
            previous = start
            start += len(line) + 1
        self._end_run(here, total, first, previous)
        if not sessions[0]:
            del sessions[0]
        self._add_mixes(mixes)
        self._add_fines(fines)
        self.calls += len(rows) - odd

    def _fine_of(self, fines: dict[When, defaultdict[Row, int]], slot: int, day: int) -> defaultdict[Row, int]:
        """Return where the calls of a quarter of an hour are told apart; those that are not wanted nowhere."""
        if self._fineness is None or day == _UNWANTED:
            return defaultdict(int)
        return fines.setdefault(self._fineness.when(slot), defaultdict(int))

    def _add_fines(self, fines: Mapping[When, Mapping[Row, int]]) -> None:
        for when, cells in fines.items():
            for (model, provider, session, tags), vector in cells.items():
                self.cells[when, (model.decode(), provider.decode(), session.decode(), tags_of(tags))] += vector

    def _add_mixes(self, mixes: Mapping[int, Mapping[Row, int]]) -> None:
        """Count calls, once for all that have the same model, provider and tags."""
        by_model, by_provider, by_mix = (self.by_name[name] for name in ("model", "provider", MIX))
        for day, of_day in mixes.items():
            for (model, provider, tags), vector in of_day.items():
                by_model[day][model] += vector
                by_provider[day][provider] += vector
                for grouping, name in tag_names(tags) if tags else ():
                    self.by_name[grouping][day][name] += vector
                by_mix[day][mix_name(model.decode(), provider.decode(), tags_of(tags))] += vector

    def _add_other(self, start: int, line: bytes) -> None:
        """Add a line that is not a usual call; order matters only for lines of holds."""
        known = usual_hold(line)
        record = None if known else read_line(line)
        if known:
            self.holds[known[0]] = line if known[1] else None
        elif isinstance(record, Entry):
            self.add(record, start)
        elif isinstance(record, Hold):
            self.holds[record.id] = line
        elif isinstance(record, Release):
            self.holds[record.hold] = None
        elif record is not None:
            self.unread.append((start, record))

    def _end_run(self, slot: int, vector: int, first: int, last: int) -> None:
        """Count the calls of one quarter of an hour, and note between which offsets their lines begin."""
        if slot >= 0:
            self.quarters[slot] += vector
            known = self.spans.get(slot, (first, last))
            self.spans[slot] = (min(known[0], first), max(known[1], last))


def mark_of(identity: bytes) -> int:
    """Return the short mark under which an id is found; ids with the same mark are told apart by their lines."""
    return zlib.crc32(identity)


def read_block(text: bytes, offset: int, block: Block) -> Block:
    """Add whole lines that stand at an offset of the ledger to a block."""
    hours = Hours()
    for start, stretch in _stretches(text, offset):
        block.add_rows(hours.rows(stretch), start, hours)
    return block


def _stretches(text: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Cut a block at line ends."""
    begin = 0
    while begin < len(text):
        end = text.find(b"\n", begin + _STRETCH) + 1 or len(text)
        yield offset + begin, text[begin:end]
        begin = end


def lines_of(text: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Return each line that is not empty, with the offset at which it begins."""
    for line in text.split(b"\n"):
        if line:
            yield offset, line
        offset += len(line) + 1
