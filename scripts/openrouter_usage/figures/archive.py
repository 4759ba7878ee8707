"""Completed UTC days of an account: a line of the archive, which one holds, which days are unknown, what a sync did."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.entry import NOTHING, Unread, Usage, read_object
from openrouter_usage.errors import BadAnswer, InvalidValue, SettingsError
from openrouter_usage.money import Json, dumps
from openrouter_usage.openrouter.answers.account import ActivityRow
from openrouter_usage.openrouter.answers.fields import Fields
from openrouter_usage.period import UTC, Stretch, parse_day, parse_moment, stretches
from openrouter_usage.text import is_account, named, plural

# -- One completed UTC day of an account as OpenRouter told of it, and the line of the archive that keeps it.

ACTIVITY, ANALYTICS = "/activity", "/analytics/query"
# The worst first. The second knows providers, so it stands in front of the first whatever the order they came in.
SOURCES = (ANALYTICS, ACTIVITY)
# The provider of days so old that OpenRouter tells them by model alone.
UNKNOWN_PROVIDER = "unknown"
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
        raise BadAnswer(
            f"what OpenRouter says of {day.day} cannot be archived: it is too large, or not the figures of one day"
        )
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


# -- Which of all archived answers about a day holds, what is news, and which days nobody knows.

Days = dict[date, ArchivedDay]
_MOST_NAMED = 5


class Change(NamedTuple):
    """A day that was written, and what the archive had said of it until then."""

    day: ArchivedDay
    before: ArchivedDay | None


def known_days(found: Iterable[ArchivedDay]) -> dict[str, Days]:
    """Return for each account the answer that holds about each day, whatever the order of the lines."""
    accounts: dict[str, Days] = {}
    for day in found:
        days = accounts.setdefault(day.account, {})
        # Of two answers of the same moment the later line counts.
        if day.day not in days or day.rank >= days[day.day].rank:
            days[day.day] = day
    return accounts


def changes(found: Iterable[ArchivedDay], known: Mapping[date, ArchivedDay]) -> list[Change]:
    """Return the answers that tell more than the archive: a new day, other figures, or a better source."""
    return [Change(day, known.get(day.day)) for day in found if _is_news(day, known.get(day.day))]


def _is_news(day: ArchivedDay, known: ArchivedDay | None) -> bool:
    if known is None:
        return True
    # Whoever asked earlier and comes later does not take back what is known since.
    return day.rank >= known.rank and (day.source, day.rows) != (known.source, known.rows)


def is_doubtful(found: Iterable[ArchivedDay], known: Mapping[date, ArchivedDay]) -> bool:
    """Check whether an answer takes all spend from a day that had some, or has none at all and tells of new days."""
    days = list(found)
    lost = any(not day.rows and day.day in known and known[day.day].rows for day in days)
    return lost or (not any(day.rows for day in days) and any(day.day not in known for day in days))


def missing(wanted: Stretch | None, known: Container[date]) -> list[Stretch]:
    """Return the stretches of wanted days that nobody ever asked about: neither spend nor no spend is known there."""
    return stretches(day for day in (wanted.days() if wanted else ()) if day not in known)


def whole_span(known: Mapping[date, ArchivedDay]) -> Stretch | None:
    """Return the span from the first known day to the last; None when there is none."""
    return Stretch(min(known), max(known)) if known else None


def spoken_stretches(stretches: list[Stretch]) -> str:
    """Write stretches of days for people: how many days, and which."""
    count = sum(stretch.length for stretch in stretches)
    listed = ", ".join(map(str, stretches[:_MOST_NAMED]))
    rest = len(stretches) - _MOST_NAMED
    return f"{plural(count, 'day')} ({listed}{f' and {rest:,} more' if rest > 0 else ''})"


def refuse_others(accounts: Iterable[str], account: str) -> None:
    """Raise SettingsError when an archive has the days of other accounts and none of this one yet."""
    names = sorted(accounts)
    if names and account not in names:
        raise SettingsError(
            f"the management key belongs to another account ({named(account)}) than the archive ({_listed(names)})",
            hint=f"to archive it separately, run: sync --account {account}",
            code="other_account",
        )


def chosen(accounts: Mapping[str, Days], wanted: str) -> str:
    """Return the account that is meant, the only one unless one is named; SettingsError when that is not clear."""
    names = sorted(accounts)
    if not names:
        raise SettingsError(
            "nothing is archived yet",
            hint=as_called("run: cost_tracker.py sync (from cron, every day)"),
            code="not_archived",
        )
    if wanted and wanted not in names:
        raise SettingsError(
            f"no account {named(wanted)} is archived", hint=f"there is: {_listed(names)}", code="not_archived"
        )
    if not wanted and len(names) > 1:
        raise SettingsError(
            f"{len(names)} accounts are archived, and they are never added up",
            hint=f"choose one with --account: {_listed(names)}",
            code="ambiguous",
        )
    return wanted or names[0]


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(named, names[:_MOST_NAMED])) + rest


# -- What one run of `sync` came to: the days that were written, and what the archive knows since.


class Synced(NamedTuple):
    """The outcome for one account; `asked` are the days that /activity was asked about for certain.

    Of the `untold` days the analytics API could not tell everything; `damaged` and `foreign` lines of the archive
    are kept and not counted, and `first_damaged` is the byte at which the first damaged one begins.
    """

    account: str
    file: str
    asked: Stretch
    written: tuple[Change, ...]
    known: Days
    untold: tuple[Stretch, ...] = ()
    damaged: int = 0
    foreign: int = 0
    first_damaged: int | None = None

    @property
    def new(self) -> list[Change]:
        """The days that were not archived before."""
        return [change for change in self.written if change.before is None]

    @property
    def changed(self) -> list[Change]:
        """The days of which something else was archived before."""
        return [change for change in self.written if change.before is not None]

    @property
    def empty(self) -> int:
        """How many of the known days are without spend."""
        return sum(1 for day in self.known.values() if not day.rows)

    @property
    def gaps(self) -> list[Stretch]:
        """The days between the first known one and the last that are not known."""
        return missing(whole_span(self.known), self.known)
