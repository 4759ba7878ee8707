"""One completed UTC day of an account as OpenRouter told of it, and the line of the archive that keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise

from openrouter_usage.answers.account import ActivityRow
from openrouter_usage.answers.fields import Fields
from openrouter_usage.entry import Unread
from openrouter_usage.errors import BadAnswer, InvalidValue
from openrouter_usage.exactjson import Json, dumps
from openrouter_usage.lines import read_object
from openrouter_usage.period import UTC, parse_day, parse_moment
from openrouter_usage.text import is_account
from openrouter_usage.usage import NOTHING, Usage

ACTIVITY, ANALYTICS = "/activity", "/analytics/query"
# The worst first. The second knows providers, so it stands in front of the first whatever the order they came in.
SOURCES = (ANALYTICS, ACTIVITY)
# A ledger is read in blocks of four times this, and a line must fit into one.
LONGEST_DAY = 4 * 1024 * 1024 - 1
_FOREIGN = Unread("of a kind from elsewhere", False)
_COUNTS = ("requests", "prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")


@dataclass(frozen=True, slots=True)
class ArchivedDay:
    """All rows of one day, one for each model and provider, in a fixed order; no rows means that nothing was spent."""

    account: str
    day: date
    source: str
    synced_at: datetime
    rows: tuple[ActivityRow, ...]

    @property
    def total(self) -> Usage:
        """All rows summed."""
        return sum((row.usage for row in self.rows), NOTHING)

    @property
    def rank(self) -> tuple[int, datetime]:
        """What makes one answer about a day better than another: its source, then how new it is."""
        return SOURCES.index(self.source), self.synced_at


def gathered(rows: Iterable[ActivityRow]) -> tuple[ActivityRow, ...]:
    """Add up the rows of one model and provider, and order them: the same figures are always the same rows."""
    sums: dict[tuple[date, str, str, str], Usage] = {}
    found = tuple(rows)
    keys = [(row.day, row.model, row.slug, row.provider) for row in found]
    if all(key < after for key, after in pairwise(keys)):
        return found  # as the archive has them
    for key, row in zip(keys, found, strict=True):
        sums[key] = sums[key] + row.usage if key in sums else row.usage
    return tuple(ActivityRow(*key[:2], key[3], usage, key[2]) for key, usage in sorted(sums.items()))


def write_day(day: ArchivedDay) -> bytes:
    """Write a day as one line of ASCII with its end; BadAnswer when it could not be read again."""
    head: dict[str, Json] = {"kind": "activity", "account": day.account, "date": day.day.isoformat()}
    head |= {"source": day.source, "synced_at": day.synced_at.astimezone(UTC).isoformat().replace("+00:00", "Z")}
    line = dumps({**head, "rows": [_write_row(row) for row in day.rows]}).encode("ascii")
    if read_day(line) != day:
        raise BadAnswer(f"what OpenRouter says of {day.day} cannot be kept: it is too much, or no figures of a day")
    return line + b"\n"


def _write_row(row: ActivityRow) -> Json:
    names: dict[str, Json] = {"model": row.model, "slug": row.slug, "provider": row.provider}
    money: dict[str, Json] = {"usage": row.usage.cost, "byok": row.usage.byok_cost}
    return {**names, **money, **{name: getattr(row.usage, name) for name in _COUNTS}}


def read_day(line: bytes) -> ArchivedDay | Unread | None:
    """Read one line without its end; None when it is blank, Unread when it is not understood."""
    values = read_object(line, LONGEST_DAY)
    if not isinstance(values, dict):
        return values
    if values.get("kind") != "activity" or values.get("source") not in SOURCES:
        return _FOREIGN
    try:
        return _day(values)
    except (InvalidValue, BadAnswer):
        return Unread("not the figures of a day", True)


def _day(values: Mapping[str, Json]) -> ArchivedDay:
    fields = Fields(dict(values), "the archive")
    account, day = fields.text("account"), fields.text("date")
    if not is_account(account) or len(day) != len("2026-11-22"):
        raise InvalidValue("a day has an account and a date")
    date_ = parse_day(day)
    rows = gathered(_row(row, date_) for row in fields.each("rows"))
    return ArchivedDay(account, date_, fields.text("source"), parse_moment(fields.text("synced_at")), rows)


def _row(row: Fields, day: date) -> ActivityRow:
    requests, prompt, completion, reasoning, cached = map(row.count, _COUNTS)
    usage = Usage(requests, prompt, completion, reasoning, cached, row.usd("usage"), row.usd("byok"))
    return ActivityRow(day, row.text("model"), row.text("provider"), usage, row.text("slug"))
