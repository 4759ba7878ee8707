"""The records of the ledger, the tokens and money in them, and how a line is written and read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import NamedTuple

from openrouter_usage.errors import InvalidValue
from openrouter_usage.money import EXACT, ZERO, Json, dumps, loads, plain, total, usd
from openrouter_usage.period import UTC, parse_moment
from openrouter_usage.text import safe

# -- Usage: tokens and money, which add up.


class Usage(NamedTuple):
    """Counts and sums of some calls: tokens, and exact USD in credits and in BYOK.

    `unknown` calls have no known cost and are in `requests` but not in `cost`; `estimated` ones are in both.
    Reasoning tokens are part of the completion tokens, cached and cache-written ones of the prompt tokens.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = ZERO
    byok_cost: Decimal = ZERO
    cache_write_tokens: int = 0
    unknown: int = 0
    estimated: int = 0

    def __add__(self, other: Usage) -> Usage:  # type: ignore[override]  # amounts add up; tuples would be joined
        """Add two usages, money exactly."""
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cached_tokens + other.cached_tokens,
            EXACT.add(self.cost, other.cost),
            EXACT.add(self.byok_cost, other.byok_cost),
            self.cache_write_tokens + other.cache_write_tokens,
            self.unknown + other.unknown,
            self.estimated + other.estimated,
        )

    def __sub__(self, other: Usage) -> Usage:
        """Subtract a usage that is part of this one."""
        return self + Usage(
            -other.requests,
            -other.prompt_tokens,
            -other.completion_tokens,
            -other.reasoning_tokens,
            -other.cached_tokens,
            EXACT.minus(other.cost),
            EXACT.minus(other.byok_cost),
            -other.cache_write_tokens,
            -other.unknown,
            -other.estimated,
        )

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens, which contain all others."""
        return self.prompt_tokens + self.completion_tokens


NOTHING = Usage()


def summed(usages: Iterable[Usage]) -> Usage:
    """Return the sum of many usages, in a fraction of the time of adding one to the other."""
    columns = dict(zip(Usage._fields, zip(*usages, strict=True), strict=False))
    if not columns:
        return NOTHING
    cost, byok = (total(columns.pop(name)) for name in ("cost", "byok_cost"))
    return Usage(**{name: sum(column) for name, column in columns.items()})._replace(cost=cost, byok_cost=byok)


# -- Records of the ledger: an entry, a hold, and the release of a hold.

COST_SOURCES = ("billed", "late", "estimated", "unknown")
LARGEST_COST = Decimal(1_000_000)
LARGEST_TOKENS = 10**12
LONGEST_NAME = 1_000
MOST_TAGS = 32
RECORD_FIELDS = (
    "generation_id", "model", "timestamp", "prompt_tokens", "completion_tokens", "total_tokens",
    "cost_usd", "cache_discount", "provider", "latency_ms",
)  # fmt: skip
UNKNOWN_MODEL = "unknown model"
# OpenRouter can be asked about calls whose id begins with this.
GENERATION_PREFIX = "gen-"


@dataclass(frozen=True, slots=True)
class Entry:
    """One call: when (UTC), which model, its tokens, and its cost in USD; a cost of None is unknown.

    `told` is the cost that the answer named where that is implausible, "" for every other call;
    `seen` says that a person has looked at it since. `tool_cost` and `file_cost` are the parts of the cost that
    OpenRouter took for web search and other server tools, and for reading files; None where it did not say.
    """

    ts: datetime
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal | None = None
    id: str = ""
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    byok_cost: Decimal | None = None
    cost_source: str = ""
    cache_discount: Decimal | None = None
    provider: str = ""
    session: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    streamed: bool | None = None
    latency_ms: int | None = None
    finish_reason: str = ""
    hold: str = ""
    told: str = ""
    seen: bool = False
    tool_cost: Decimal | None = None
    file_cost: Decimal | None = None

    @property
    def is_certain(self) -> bool:
        """Check whether the cost is known and not merely estimated."""
        return self.cost is not None and self.cost_source != "estimated"

    @property
    def is_doubtful(self) -> bool:
        """Check whether the bill is implausible and nobody has looked at it yet."""
        return bool(self.told) and not self.seen

    @property
    def is_unsettled(self) -> bool:
        """Check whether OpenRouter can still be asked what the call cost."""
        return not self.is_certain and self.id.startswith(GENERATION_PREFIX)

    @property
    def tag_label(self) -> str:
        """Return the tags as one name, so that every call is in exactly one group."""
        return label_of(self.tags)

    @property
    def generation_id(self) -> str:
        """The same as `id`, under the name that the guides to OpenRouter use, as the next three are."""
        return self.id

    @property
    def timestamp(self) -> str:
        """The moment of the call in UTC, as ISO 8601 with an offset, which Python 3.10 reads as well."""
        return self.ts.astimezone(UTC).isoformat()

    @property
    def total_tokens(self) -> int:
        """The tokens of the prompt and of the completion."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost_usd(self) -> Decimal | None:
        """The same as `cost`."""
        return self.cost

    def to_dict(self) -> dict[str, Json]:
        """Return what the guides call the record of a call: ten fields by name."""
        return {name: getattr(self, name) for name in RECORD_FIELDS}

    @property
    def usage(self) -> Usage:
        """What the call adds to a total."""
        return Usage(
            1,
            self.prompt_tokens,
            self.completion_tokens,
            self.reasoning_tokens or 0,
            self.cached_tokens or 0,
            self.cost or Decimal(0),
            self.byok_cost or Decimal(0),
            self.cache_write_tokens or 0,
            int(self.cost is None),
            int(self.cost_source == "estimated"),
        )


def label_of(tags: tuple[tuple[str, str], ...]) -> str:
    """Return sorted tags as one name."""
    return " ".join(f"{name}={value}" for name, value in tags)


class Caps(NamedTuple):
    """What may be spent at most, in USD; None is no cap, and zero means nothing."""

    per_request: Decimal | None = None
    daily: Decimal | None = None
    monthly: Decimal | None = None
    weekly: Decimal | None = None
    total: Decimal | None = None

    @property
    def any(self) -> bool:
        """Check whether there is a cap at all."""
        return any(cap is not None for cap in self)


@dataclass(frozen=True, slots=True)
class Hold:
    """Money held before a call: `max_cost` in USD is the most it can be billed, None where no budget is set.

    `measured` is what budgets of that policy count instead, in USD; None is the same as `max_cost`.
    """

    id: str
    ts: datetime
    model: str
    max_cost: Decimal | None
    generation: str = ""
    session: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    measured: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """The end of a hold for which nothing can have been billed."""

    hold: str
    ts: datetime


@dataclass(frozen=True, slots=True)
class Unread:
    """A line that is kept but not understood; `is_damaged` unless it is merely of a kind from elsewhere."""

    why: str
    is_damaged: bool


@dataclass(frozen=True, slots=True)
class UnreadLine:
    """A line of a file that is kept and not counted: where it begins, in bytes, and why, as in `Unread`."""

    offset: int
    why: str
    is_damaged: bool


Record = Entry | Hold | Release | Unread
_TOKENS = ("cached_tokens", "cache_write_tokens", "reasoning_tokens", "latency_ms")
_NAMES = ("provider", "session", "finish_reason", "hold", "told")
_AMOUNTS = ("byok_cost", "cache_discount", "tool_cost", "file_cost")


def checked_entry(values: Mapping[str, object]) -> Entry:
    """Return an Entry made of named values from a caller or a file; InvalidValue names the wrong value."""
    source = values.get("cost_source") or ""
    if source and source not in COST_SOURCES:
        raise InvalidValue(f"cost_source must be one of {', '.join(COST_SOURCES)}")
    cost = _amount(values, "cost")
    optional: dict[str, object] = {name: _tokens(values, name) for name in _TOKENS if values.get(name) is not None}
    optional |= {name: _name(values, name) for name in _NAMES if values.get(name)}
    optional |= {name: _amount(values, name) for name in _AMOUNTS if values.get(name) is not None}
    return Entry(
        ts=_moment(values.get("ts")),
        model=_name(values, "model") or _missing("model"),
        prompt_tokens=_tokens(values, "prompt_tokens"),
        completion_tokens=_tokens(values, "completion_tokens"),
        cost=cost,
        id=_name(values, "id"),
        cost_source="" if source == "unknown" else str(source),
        tags=_tags(values.get("tags")),
        streamed=values["streamed"] if isinstance(values.get("streamed"), bool) else None,  # type: ignore[arg-type]  # narrowed
        seen=values.get("seen") is True,
        **optional,  # type: ignore[arg-type]  # every value was checked above
    )


def checked_hold(values: Mapping[str, object]) -> Hold:
    """Return a Hold made of named values; InvalidValue names the wrong value."""
    amount, measured = _amount(values, "max_cost"), _amount(values, "measured")
    generation, session = (_name(values, name) for name in ("generation", "session"))
    moment, tags = _moment(values.get("ts")), _tags(values.get("tags"))
    identity, model = _name(values, "hold") or _missing("hold"), _name(values, "model")
    return Hold(identity, moment, model, amount, generation, session, tags, measured)


def record_values(record: Entry | Hold | Release) -> dict[str, Json]:
    """Return a record's named values in the order of the file format, the unknown ones left out."""
    if isinstance(record, Release):
        return {"kind": "release", "hold": record.hold, "ts": _utc(record.ts)}
    if isinstance(record, Hold):
        values: dict[str, Json] = {"kind": "hold", "hold": record.id, "ts": _utc(record.ts), "model": record.model}
        extra: dict[str, Json] = {"generation": record.generation or None, "session": record.session or None}
        # The tags of the call, for whoever settles it when the process that made it is gone.
        extra = {"max_cost": record.max_cost, "measured": record.measured, **extra, "tags": dict(record.tags) or None}
        return values | {name: value for name, value in extra.items() if value is not None}
    values = {"ts": _utc(record.ts)}
    for name in _ENTRY_FIELDS:
        value = getattr(record, name)
        if name == "tags":
            value = dict(value)
        elif name == "seen":
            value = value or None
        if value not in (None, "", {}):
            values[name] = value
    return values


_ENTRY_FIELDS = tuple(field.name for field in fields(Entry))[1:]


def _utc(moment: datetime) -> str:
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return text + "Z"


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidValue("ts has no time zone: add one, or write it in UTC like 2026-11-22T10:30:00Z")
        # Checked before the conversion, which fails far outside of these years.
        return believable(believable(value).astimezone(UTC))
    if not isinstance(value, str) or len(value) > 40:
        raise InvalidValue("ts must be a moment such as 2026-11-22T10:30:00Z")
    return believable(parse_moment(value))


def believable(moment: datetime) -> datetime:
    """Return the moment itself; InvalidValue when no call to a language model can have been made then."""
    if not 2000 <= moment.year < 2200:
        raise InvalidValue("ts must be in the years 2000 to 2199")
    return moment


def _amount(values: Mapping[str, object], name: str) -> Decimal | None:
    value = values.get(name)
    if value is None:
        return None
    try:
        amount = usd(value)
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error}") from None
    if (amount < 0 and name != "cache_discount") or amount.copy_abs() > LARGEST_COST:
        raise InvalidValue(f"{name} must be an amount from 0 to {LARGEST_COST:,} USD")
    return amount


def _tokens(values: Mapping[str, object], name: str) -> int:
    value = values.get(name)
    if value is None:
        return 0
    if isinstance(value, (Decimal, float)):
        value = _whole(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_TOKENS:
        raise InvalidValue(f"{name} must be a whole number from 0 to {LARGEST_TOKENS:,}")
    return value


def _whole(value: Decimal | float) -> int | None:
    """Return 1500 for 1500.0, because some tools write every number as a float."""
    is_finite = value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)
    return int(value) if is_finite and 0 <= value <= LARGEST_TOKENS and value == int(value) else None


def _name(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise InvalidValue(f"{name} must be a text of at most {LONGEST_NAME:,} characters")
    # A lone surrogate cannot be written as UTF-8, and would make the line unreadable for others.
    return value.encode("utf-8", "replace").decode("utf-8")


def _missing(name: str) -> str:
    raise InvalidValue(f"{name} is missing")


def _tags(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping) or len(value) > MOST_TAGS:
        raise InvalidValue(f"tags must be at most {MOST_TAGS} names, each with a text")
    # Through a dict again, because two names may have become one.
    return tuple(sorted({safe_tag(name): safe_tag(text) for name, text in value.items()}.items()))


def safe_tag(value: object) -> str:
    """Return one name or value of a tag; InvalidValue when the value is not a short text."""
    if not isinstance(value, str) or len(value) > 200:
        raise InvalidValue(f"a tag must be a text of at most 200 characters, not {safe(value, 40)}")
    return value.encode("utf-8", "replace").decode("utf-8")


# -- File format of the ledger: one JSON object per line, with exact numbers.

LONGEST_LINE = 1024 * 1024


def write_line(record: Entry | Hold | Release) -> bytes:
    """Return a record as one line of ASCII with its line end; the same record is always the same line."""
    values = ",".join([f'"{name}":{_as_json(value)}' for name, value in record_values(record).items()])
    return f"{{{values}}}\n".encode("ascii")


def _as_json(value: Json) -> str:
    # A short cut for the three types of nearly all values.
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, Decimal):
        return plain(value)
    return str(value) if type(value) is int else dumps(value)


def read_line(line: bytes) -> Record | None:
    """Read one line without its end; return None for a blank line, Unread for one that is not understood."""
    values = read_object(line, LONGEST_LINE)
    if not isinstance(values, dict):
        return values
    try:
        return _record(values)
    except InvalidValue as error:
        return Unread(str(error), True)


def read_object(line: bytes, longest: int) -> dict[str, Json] | Unread | None:
    """Read the JSON object of one line; return None for a blank line, Unread for anything else."""
    text = line.strip(b" \t\r\x0b\x0c").removeprefix(b"\xef\xbb\xbf")
    if not text:
        return None
    if len(text) > longest:
        return Unread(f"longer than {(longest + 1) // 2**20} MiB", True)
    try:
        # Parsed as text, because bytes would also be tried as UTF-16, which no other reader accepts here.
        values = loads(text.decode())
    except ValueError:
        return Unread("not JSON", True)
    return values if isinstance(values, dict) else Unread("not an object", True)


def _record(values: Mapping[str, object]) -> Record:
    kind = values.get("kind")
    if kind == "hold":
        return checked_hold(values)
    if kind == "release":
        return Release(str(values.get("hold", "")), parse_moment(str(values.get("ts", ""))))
    if kind is not None or values.get("v", 1) != 1:
        return Unread("of a kind from elsewhere", False)
    return checked_entry(values)
