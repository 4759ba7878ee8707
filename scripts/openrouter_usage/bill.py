"""Asks OpenRouter what a span of UTC days cost, by day and model: for all keys, and for this one alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from openrouter_usage.answers.account import ActivityRow
from openrouter_usage.answers.analytics import Analytics, Spend
from openrouter_usage.answers.key import KeyInfo
from openrouter_usage.answers.parts import Gap
from openrouter_usage.client.management import Management
from openrouter_usage.client.openrouter import OpenRouter
from openrouter_usage.collect import at_once
from openrouter_usage.keyring.listing import Listing, list_keys
from openrouter_usage.period import DAY, Period, days, midnight, today
from openrouter_usage.reconcile.calls import Billed
from openrouter_usage.usage import Usage

KEPT_DAYS = 30
# So many days back /analytics/query lists single calls.
LISTED_DAYS = 31
# OpenRouter answers 64 of these a minute.
_AT_ONCE = 6
OLDER, ACTIVITY, TODAY = "/analytics/query (older days)", "/activity", "/analytics/query (today)"
UNKNOWN_KEY = "which of the account's keys this one is could not be told"


class Bill(NamedTuple):
    """What the account, and this key alone, spent by day and model; `own` is None where that could not be told.

    `days` are those that could be read; `by_key` is what each key spent in the span, by its name; `gaps` are the
    parts that are missing.
    """

    days: frozenset[date]
    rows: tuple[ActivityRow, ...]
    own: tuple[ActivityRow, ...] | None
    own_name: str
    by_key: tuple[tuple[str, Usage], ...]
    gaps: tuple[Gap, ...]
    sources: tuple[str, ...]


class _Span(NamedTuple):
    """A span of days, cut where another endpoint has to be asked: before /activity's days, in them, and today."""

    first: date
    last: date
    kept: date
    today: date

    def part(self, first: date, last: date) -> Period | None:
        """Give what of the span lies between two days."""
        first, last = max(first, self.first), min(last, self.last)
        return days(first, last, "part") if first <= last else None

    @property
    def parts(self) -> dict[str, Period]:
        """Give the days that each endpoint is asked about."""
        found = {
            OLDER: self.part(date.min + DAY, self.kept - DAY),
            ACTIVITY: self.part(self.kept, self.today - DAY),
            TODAY: self.part(self.today, self.today),
        }
        return {name: period for name, period in found.items() if period}


def ask_bill(
    account: OpenRouter,
    keys: Management,
    own_key: Callable[[], KeyInfo] | None,
    *,
    first: date,
    last: date,
    now: datetime,
    timeout_s: float,
) -> Bill:
    """Ask for the days from `first` to `last`; a part that fails becomes a Gap and leaves the others alone.

    `own_key` asks /key with the key whose calls the ledger keeps; None when there is no such key.
    """
    running = today(now).first_day
    span = _Span(first, min(last, running), running - KEPT_DAYS * DAY, running)
    asked = span.parts
    tasks = {f"account {name}": task for name, task in _tasks(account, asked, now).items()}
    whole = Period(midnight(first), min(midnight(span.last + DAY), now), "span")
    tasks["keys"] = lambda: account.analytics(whole, "api_key_id")
    if own_key:
        tasks |= {"key": own_key, "list": lambda: list_keys(keys)}
    found = at_once(tasks, timeout_s=timeout_s)
    answered = {name: found[f"account {name}"] for name in asked}
    hashed, own_name, problem = _identify(found.get("key"), found.get("list"))
    own = None
    if hashed:
        alone = at_once(_tasks(account, asked, now, hashed), timeout_s=timeout_s)
        problem = next((part for part in alone.values() if isinstance(part, Gap)), None)
        own = None if problem else tuple(_rows(alone, asked))
    gaps = [part for part in (*answered.values(), found["keys"], problem) if isinstance(part, Gap)]
    gaps += [_cut_short(part) for part in answered.values() if isinstance(part, Analytics) and part.truncated]
    read = {name: period for name, period in asked.items() if not isinstance(answered[name], Gap)}
    return Bill(
        frozenset(day for period in read.values() for day in period.utc_days),
        tuple(_rows(answered, read)),
        own,
        own_name,
        _by_key(found["keys"]),
        tuple(gaps),
        tuple(read),
    )


def _tasks(
    account: OpenRouter, asked: dict[str, Period], now: datetime, key_hash: str = ""
) -> dict[str, Callable[[], Any]]:
    def ask(name: str, period: Period) -> Callable[[], Any]:
        if name == ACTIVITY:
            return lambda: account.activity(key_hash)
        until_now = period._replace(end=min(period.end, now))
        return lambda: account.analytics(until_now, "model", by_day=True, key_hash=key_hash)

    return {name: ask(name, period) for name, period in asked.items()}


def _rows(answers: dict[str, Any], asked: dict[str, Period]) -> Iterator[ActivityRow]:
    """Give the rows of the days that each endpoint was asked about: what it says of others would count twice."""
    for name, period in asked.items():
        answer = answers[name]
        rows = (_row(spend, period) for spend in answer.rows) if isinstance(answer, Analytics) else answer
        yield from (row for row in rows if period.first_day <= row.day <= period.last_day)


def _row(spend: Spend, asked: Period) -> ActivityRow:
    return ActivityRow(spend.day or asked.first_day, spend.names[0], "", spend.usage, spend.names[0])


def ask_generations(
    account: OpenRouter, days_asked: Sequence[date], *, now: datetime, timeout_s: float
) -> dict[str, Billed]:
    """Give every call of some days by its id; a day that cannot be listed in full is left out.

    Only the last 31 days are kept call by call.
    """
    found: dict[str, Billed] = {}
    for begin in range(0, len(days_asked), _AT_ONCE):
        some = days_asked[begin : begin + _AT_ONCE]
        answers = at_once({day.isoformat(): _calls_of(account, day, now) for day in some}, timeout_s=timeout_s)
        for day in some:
            answer = answers[day.isoformat()]
            if isinstance(answer, Analytics) and not answer.truncated:
                found |= {spend.names[0]: Billed(day, spend.names[1], spend.usage) for spend in answer.rows}
    return found


def _calls_of(account: OpenRouter, day: date, now: datetime) -> Callable[[], Analytics]:
    whole = days(day, day, "day")
    return lambda: account.analytics(whole._replace(end=min(whole.end, now)), "generation_id", "model")


def _cut_short(part: Analytics) -> Gap:
    return Gap("analytics", "truncated", f"OpenRouter cut its answer short after {len(part.rows):,} rows", "", 5)


def _identify(key: object, listing: object) -> tuple[str, str, Gap | None]:
    """Find the hash and the name of a key by its masked label, which is all that /key tells of it."""
    if not isinstance(key, KeyInfo) or not isinstance(listing, Listing):
        return "", "", next((part for part in (key, listing) if isinstance(part, Gap)), None)
    if key.is_management_key:
        return "", "", None
    same = [record for record in listing.keys if record.label == key.label]
    if len(same) != 1 or not same[0].hash:
        return "", "", Gap("keys", "unknown_key", UNKNOWN_KEY, "", 5)
    return same[0].hash, same[0].name, None


def _by_key(found: object) -> tuple[tuple[str, Usage], ...]:
    if not isinstance(found, Analytics):
        return ()
    sums: dict[str, Usage] = {}
    for spend in found.rows:
        name = spend.names[0]
        sums[name] = sums[name] + spend.usage if name in sums else spend.usage
    return tuple(sorted(sums.items(), key=lambda item: (-item[1].cost, item[0])))
