"""Reads blocks of ledger lines into sums: quickly where lines are as this program writes them."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator

from openrouter_usage.entry import Entry, Hold, Release, Unread
from openrouter_usage.index.usual import DAY_SLOTS, QUARTER_OF, Hours, Row, quarter_of, tag_label, usual_hold
from openrouter_usage.index.vector import FINEST, SHIFT, pack
from openrouter_usage.lines import read_line

BY_NAME = ("model", "provider", "session", "tag")
# Larger ones make lists of rows so long that the processor's cache no longer holds them.
_STRETCH = 256 * 1024
_ALWAYS = range(2**40)
_UNWANTED = -1
Sums = defaultdict[int, defaultdict[bytes, int]]


class Block:
    """What some lines add: sums by group and day, marks of ids, what became of holds, and lines not understood."""

    def __init__(self, slots: range = _ALWAYS) -> None:
        """Begin with nothing; only calls of some quarters of an hour are wanted."""
        self._slots = slots
        self.by_name: dict[str, Sums] = {grouping: defaultdict(lambda: defaultdict(int)) for grouping in BY_NAME}
        self.quarters: defaultdict[int, int] = defaultdict(int)
        self.spans: dict[int, tuple[int, int]] = {}
        self.ids: list[tuple[int, int]] = []
        # The line of a hold that has not ended by the end of the block, None for one that has.
        self.holds: dict[str, bytes | None] = {}
        self.unread: list[tuple[int, Unread]] = []
        # Calls that OpenRouter can still be asked about, or whose bill is unbelievable: their offset, and which.
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
        names = (entry.model, entry.provider, entry.session, entry.tag_label)
        for grouping, name in zip(BY_NAME, names, strict=True):
            # Calls without tags are what the tagged ones leave of the day; so they cost nothing here.
            if name or grouping != "tag":
                self.by_name[grouping][self._day(slot)][name.encode()] += vector
        self._end_run(slot, vector, start, start)
        self.calls += 1

    def add_rows(self, rows: list[Row], start: int, hours: Hours) -> None:
        """Count the calls of one line after the other, from an offset."""
        models, providers, sessions = (self.by_name[name] for name in ("model", "provider", "session"))
        prompt_at, completion_at, cost_at = SHIFT["prompt_tokens"], SHIFT["completion_tokens"], SHIFT["cost"]
        cached_at, written_at = SHIFT["cached_tokens"], SHIFT["cache_write_tokens"]
        reasoning_at, quarter, mark = SHIFT["reasoning_tokens"], QUARTER_OF, zlib.crc32
        of_model = of_provider = of_session = models[0]
        here, total, first, previous, day, odd = -1, 0, start, start, 0, 0
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
            if tags:
                self.by_name["tag"][day][tag_label(tags)] += vector
            if identity:
                self.ids.append((mark(identity), start))
            if hold:
                self.holds[hold.decode()] = None
            previous = start
            start += len(line) + 1
        self._end_run(here, total, first, previous)
        del models[0]
        self.calls += len(rows) - odd

    def _add_other(self, start: int, line: bytes) -> None:
        """Add a line that is not a usual call, for which order among the others does not matter but of holds."""
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
        """Count calls of one quarter of an hour, and remember between which offsets their lines begin."""
        if slot >= 0:
            self.quarters[slot] += vector
            known = self.spans.get(slot, (first, last))
            self.spans[slot] = (min(known[0], first), max(known[1], last))


def mark_of(identity: bytes) -> int:
    """Give the short mark under which an id is found; two ids with one mark are told apart by their lines."""
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
    """Give each line that is not empty, with the offset at which it begins."""
    for line in text.split(b"\n"):
        if line:
            yield offset, line
        offset += len(line) + 1
