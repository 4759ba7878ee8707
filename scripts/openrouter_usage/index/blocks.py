"""Reads blocks of ledger lines into sums: quickly where lines are as this program writes them."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from functools import lru_cache

from openrouter_usage.entry import Entry, Hold, Release, Unread, believable
from openrouter_usage.errors import InvalidValue
from openrouter_usage.index.vector import FINEST, SHIFT, pack
from openrouter_usage.lines import read_line
from openrouter_usage.period import UTC, parse_moment

QUARTER_S = 900
DAY_SLOTS = 96
BY_NAME = ("model", "provider", "session", "tag")
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH = date(1970, 1, 1).toordinal()
_QUARTER_OF = {b"%02d" % minute: minute // 15 for minute in range(60)}
_NAME = rb'"([^"\\\x00-\x1f\x7f-\xff]{1,200})"'
_COUNT = rb"(0|[1-9]\d{0,11})"
# A call of known cost exactly as write_line writes it, without the rarest fields. Matching it takes a
# fifth of the time of reading JSON into an Entry; a test holds that both ways give the same sums.
_USUAL = re.compile(
    rb'^(\{"ts":"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3])):([0-5]\d):[0-5]\d(?:\.\d{1,6})?Z","model":' + _NAME
    + rb',"prompt_tokens":' + _COUNT + rb',"completion_tokens":' + _COUNT
    + rb',"cost":(0|[1-9]\d{0,5})(?:\.(\d{1,27}))?(?:,"id":' + _NAME + rb')?(?:,"cached_tokens":' + _COUNT
    + rb')?(?:,"cache_write_tokens":' + _COUNT + rb')?(?:,"reasoning_tokens":' + _COUNT
    + rb')?(?:,"cost_source":"(?:billed|late)")?(?:,"provider":' + _NAME + rb')?(?:,"session":' + _NAME
    + rb')?(?:,"streamed":(?:true|false))?(?:,"latency_ms":(?:0|[1-9]\d{0,11}))?'
    + rb'(?:,"finish_reason":"[a-z_]{1,40}")?(?:,"hold":' + _NAME + rb")?\})$",
    re.MULTILINE,
)  # fmt: skip
# Larger ones make lists of rows so long that the processor's cache no longer holds them.
_STRETCH = 256 * 1024
_ALWAYS = range(2**40)
_UNWANTED = -1
Row = tuple[bytes, ...]
Sums = defaultdict[int, defaultdict[bytes, int]]


class Block:
    """What some lines add: sums by group and day, marks of ids, and the records that are not calls."""

    def __init__(self, slots: range = _ALWAYS) -> None:
        """Begin with nothing; only calls of some quarters of an hour are wanted."""
        self._slots = slots
        self.by_name: dict[str, Sums] = {grouping: defaultdict(lambda: defaultdict(int)) for grouping in BY_NAME}
        self.quarters: defaultdict[int, int] = defaultdict(int)
        self.spans: dict[int, tuple[int, int]] = {}
        self.ids: list[tuple[int, int]] = []
        self.others: list[tuple[int, Hold | Release | Unread]] = []
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
            self.others.append((start, Release(entry.hold, entry.ts)))

    def count(self, entry: Entry, start: int) -> None:
        """Count what a call used, and nothing else of it."""
        slot, vector = quarter_of(entry.ts), pack(entry.usage)
        names = (entry.model, entry.provider, entry.session, entry.tag_label)
        for grouping, name in zip(BY_NAME, names, strict=True):
            # Calls without tags are what the tagged ones leave of the day; so they cost nothing here.
            if name or grouping != "tag":
                self.by_name[grouping][self._day(slot)][name.encode()] += vector
        self._end_run(slot, vector, start, start)
        self.calls += 1

    def add_usual(self, rows: list[Row], start: int, hours: dict[bytes, int]) -> None:
        """Count calls whose lines matched, one line after the other, from an offset."""
        models, providers, sessions = (self.by_name[name] for name in ("model", "provider", "session"))
        prompt_at, completion_at, cost_at = SHIFT["prompt_tokens"], SHIFT["completion_tokens"], SHIFT["cost"]
        cached_at, written_at = SHIFT["cached_tokens"], SHIFT["cache_write_tokens"]
        reasoning_at, quarter, mark = SHIFT["reasoning_tokens"], _QUARTER_OF, zlib.crc32
        of_model = of_provider = of_session = models[0]
        here, total, first, previous = -1, 0, start, start
        for row in rows:
            (line, hour, minute, model, prompt, completion, whole, part, identity,
             cached, written, reasoning, provider, session, hold) = row  # fmt: skip
            slot = hours[hour] + quarter[minute]
            if slot != here:
                self._end_run(here, total, first, previous)
                here, total, first, day = slot, 0, start, self._day(slot)
                of_model, of_provider, of_session = models[day], providers[day], sessions[day]
            vector = 1 | int(prompt) << prompt_at | int(completion) << completion_at
            vector |= int(whole + part.ljust(FINEST, b"0")) << cost_at
            if cached:
                vector |= int(cached) << cached_at
            if written:
                vector |= int(written) << written_at
            if reasoning:
                vector |= int(reasoning) << reasoning_at
            total += vector
            of_model[model] += vector
            of_provider[provider] += vector
            of_session[session] += vector
            if identity:
                self.ids.append((mark(identity), start))
            if hold:
                self.others.append((start, Release(hold.decode(), _NEVER)))
            previous = start
            start += len(line) + 1
        self._end_run(here, total, first, previous)
        del models[0]
        self.calls += len(rows)

    def _end_run(self, slot: int, vector: int, first: int, last: int) -> None:
        """Count calls of one quarter of an hour, and remember between which offsets their lines begin."""
        if slot >= 0:
            self.quarters[slot] += vector
            known = self.spans.get(slot, (first, last))
            self.spans[slot] = (min(known[0], first), max(known[1], last))


def quarter_of(moment: datetime) -> int:
    """Number the quarter of an hour of a moment since 1970: the day of every time zone begins with one."""
    at = moment.astimezone(UTC)
    return ((at.toordinal() - _EPOCH) * 86_400 + at.hour * 3_600 + at.minute * 60) // QUARTER_S


def mark_of(identity: bytes) -> int:
    """Give the short mark under which an id is found; two ids with one mark are told apart by their lines."""
    return zlib.crc32(identity)


def is_usual(line: bytes) -> bool:
    """Tell whether a line, without its end, is surely a call that can be read."""
    rows = _USUAL.findall(line)
    return len(rows) == 1 and _Hours().know(rows)


def read_block(text: bytes, offset: int, block: Block) -> Block:
    """Add whole lines that stand at an offset of the ledger to a block."""
    hours = _Hours()
    for start, stretch in _stretches(text, offset):
        rows = _USUAL.findall(stretch)
        lines = stretch.count(b"\n") + (not stretch.endswith(b"\n"))  # the last line of a file may have no end
        if len(rows) == lines and hours.know(rows):
            block.add_usual(rows, start, hours)
        else:
            for at, line in lines_of(stretch, start):
                _add_line(block, hours, at, line)
    return block


def _add_line(block: Block, hours: _Hours, start: int, line: bytes) -> None:
    rows = _USUAL.findall(line)
    if rows and hours.know(rows):
        block.add_usual(rows, start, hours)
        return
    record = read_line(line)
    if isinstance(record, Entry):
        block.add(record, start)
    elif record is not None:
        block.others.append((start, record))


class _Hours(dict[bytes, int]):
    """The first quarter of each hour that was met."""

    def know(self, rows: list[Row]) -> bool:
        """Learn the hours of some rows; False when one of them is no time."""
        try:
            for hour in {row[1] for row in rows} - self.keys():
                self[hour] = _first_quarter(hour)
        except InvalidValue:
            return False
        return True


@lru_cache(maxsize=64)
def _first_quarter(hour: bytes) -> int:
    return quarter_of(believable(parse_moment(hour.decode() + ":00:00Z")))


def _stretches(text: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Cut a block at line ends, so that one odd line slows only its own surroundings."""
    begin = 0
    while begin < len(text):
        end = text.find(b"\n", begin + _STRETCH) + 1 or len(text)
        yield offset + begin, text[begin:end]
        begin = end


def lines_of(text: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Give each line that is not empty, with the offset at which it begins."""
    for line in text.split(b"\n"):
        if line:
            yield offset, line
        offset += len(line) + 1
