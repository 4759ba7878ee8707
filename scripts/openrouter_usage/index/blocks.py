"""Reads blocks of ledger lines into sums: quickly where lines are as this program writes them."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime

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
_NAME = rb'"([^"\\\x00-\x1f\x7f-\xff]{1,200})"'
_COUNT = rb"(0|[1-9]\d{0,11})"
# A call of known cost exactly as write_line writes it, without the rarest fields. Matching it takes a
# fifth of the time of reading JSON into an Entry; a test holds that both ways give the same sums.
_USUAL = re.compile(
    rb'^(\{"ts":"(\d{4}-\d\d-\d\dT\d\d):([0-5]\d):[0-5]\d(?:\.\d{1,6})?Z","model":' + _NAME
    + rb',"prompt_tokens":' + _COUNT
    + rb',"completion_tokens":' + _COUNT + rb',"cost":(0|[1-9]\d{0,5})(?:\.(\d{1,27}))?(?:,"id":' + _NAME + rb")?"
    + rb'((?:,"(?:cached|cache_write|reasoning)_tokens":(?:0|[1-9]\d{0,11})){0,3})'
    + rb'(?:,"cost_source":"(?:billed|late)")?(?:,"provider":' + _NAME + rb")?"
    + rb'(?:,"session":' + _NAME + rb')?(?:,"streamed":(?:true|false))?(?:,"latency_ms":\d{1,12})?'
    + rb'(?:,"finish_reason":"[a-z_]{1,40}")?(?:,"hold":' + _NAME + rb")?\})$",
    re.MULTILINE,
)  # fmt: skip
_RARE = re.compile(rb'"(\w+)":(\d+)')
_STRETCH = 512 * 1024
Sums = defaultdict[tuple[bytes, int], int]


class Block:
    """What some lines add: sums by group, marks of ids, and the records that are not calls."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.by_name: dict[str, Sums] = {grouping: defaultdict(int) for grouping in BY_NAME}
        self.quarters: defaultdict[int, int] = defaultdict(int)
        self.spans: dict[int, tuple[int, int]] = {}
        self.ids: list[tuple[int, int]] = []
        self.others: list[tuple[int, Hold | Release | Unread]] = []

    @property
    def size(self) -> int:
        """Count the sums, which are what a block takes memory for."""
        return len(self.quarters) + sum(map(len, self.by_name.values()))

    def add(self, entry: Entry, start: int) -> None:
        """Count a call that stands at an offset."""
        slot, vector = quarter_of(entry.ts), pack(entry.usage)
        names = (entry.model, entry.provider, entry.session, entry.tag_label)
        for grouping, name in zip(BY_NAME, names, strict=True):
            # Calls without tags are what the tagged ones leave of the day; so they cost nothing here.
            if name or grouping != "tag":
                self.by_name[grouping][name.encode(), slot // DAY_SLOTS] += vector
        self.quarters[slot] += vector
        self.span(slot, start)
        if entry.id:
            self.ids.append((mark_of(entry.id.encode()), start))
        if entry.hold:
            self.others.append((start, Release(entry.hold, entry.ts)))

    def span(self, slot: int, start: int) -> None:
        """Remember between which offsets the lines of a quarter of an hour begin."""
        first, last = self.spans.get(slot, (start, start))
        self.spans[slot] = (min(first, start), max(last, start))

    def add_usual(self, rows: list[tuple[bytes, ...]], start: int, hours: dict[bytes, int]) -> None:
        """Count calls whose lines matched, one line after the other, from an offset."""
        pairs: defaultdict[tuple[bytes, bytes, int], int] = defaultdict(int)
        sessions, quarters, ids = self.by_name["session"], self.quarters, self.ids
        prompt_at, completion_at, cost_at = SHIFT["prompt_tokens"], SHIFT["completion_tokens"], SHIFT["cost"]
        previous, here = start, None
        for row in rows:
            line, hour, minute, model, prompt, completion, whole, fraction, identity, rare, provider, session, hold = (
                row
            )
            slot = hours[hour] + int(minute) // 15
            day = slot // DAY_SLOTS
            vector = 1 | int(prompt) << prompt_at | int(completion) << completion_at
            vector |= int(whole + fraction.ljust(FINEST, b"0")) << cost_at
            if rare:
                vector |= _rare_tokens(rare)
            pairs[model, provider, day] += vector
            sessions[session, day] += vector
            quarters[slot] += vector
            if slot != here:
                self.span(slot, start)
                if here is not None:
                    self.span(here, previous)
                here = slot
            if identity:
                ids.append((zlib.crc32(identity), start))
            if hold:
                self.others.append((start, Release(hold.decode(), _NEVER)))
            previous = start
            start += len(line) + 1
        if here is not None:
            self.span(here, previous)
        self._add_pairs(pairs)

    def _add_pairs(self, pairs: dict[tuple[bytes, bytes, int], int]) -> None:
        models, providers = self.by_name["model"], self.by_name["provider"]
        for (model, provider, day), vector in pairs.items():
            models[model, day] += vector
            providers[provider, day] += vector


def _rare_tokens(text: bytes) -> int:
    found = _RARE.findall(text)
    # Named twice, the last one counts, as in JSON.
    return sum(int(count) << SHIFT[name.decode()] for name, count in dict(found).items())


def quarter_of(moment: datetime) -> int:
    """Number the quarter of an hour of a moment since 1970: the day of every time zone begins with one."""
    at = moment.astimezone(UTC)
    return ((at.toordinal() - _EPOCH) * 86_400 + at.hour * 3_600 + at.minute * 60) // QUARTER_S


def mark_of(identity: bytes) -> int:
    """Give the short mark under which an id is found; two ids with one mark are told apart by their lines."""
    return zlib.crc32(identity)


def read_block(text: bytes, offset: int, block: Block) -> Block:
    """Add whole lines that stand at an offset of the ledger to a block."""
    hours = _Hours()
    for start, stretch in _stretches(text, offset):
        rows = _USUAL.findall(stretch)
        if len(rows) == stretch.count(b"\n") and hours.know(rows):
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

    def know(self, rows: list[tuple[bytes, ...]]) -> bool:
        """Learn the hours of some rows; False when one of them is no time."""
        try:
            for hour in {row[1] for row in rows} - self.keys():
                self[hour] = quarter_of(believable(parse_moment(hour.decode() + ":00:00Z")))
        except InvalidValue:
            return False
        return True


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
