"""Asks OpenRouter what a span of UTC days cost, by day and model: for all keys, and for this one alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from openrouter_usage.answers.account import ActivityRow
from openrouter_usage.answers.analytics import MOST_DAYS, Analytics, Spend
from openrouter_usage.answers.key import KeyInfo
from openrouter_usage.answers.keys import KeyRecord
from openrouter_usage.answers.left_out import left_out_of
from openrouter_usage.answers.parts import Gap
from openrouter_usage.client.management import Management
from openrouter_usage.client.openrouter import OpenRouter
from openrouter_usage.collect import at_once
from openrouter_usage.errors import BadAnswer
from openrouter_usage.keyring.listing import Listing, list_keys
from openrouter_usage.period import DAY, Period, days, midnight, today
from openrouter_usage.reconcile.calls import Billed, Listed
from openrouter_usage.usage import Usage

KEPT_DAYS = 30
# OpenRouter answers 64 of these a minute.
_AT_ONCE = 6
OLDER, ACTIVITY, TODAY = "/analytics/query (older days)", "/activity", "/analytics/query (today)"
UNKNOWN_KEY = "which of the account's keys this one is could not be told"


class Bill(NamedTuple):
    """What the account, and this key alone, spent by day and model; `own` is None where that could not be told.

    `days` are those that could be read whole; `by_key` is what each key spent in the span, by its name, and
    `same_names` how many keys have this one's name; `gaps` are the parts that are missing; `cached_at` is when the
    figures of today were made, if they are kept ones; `clock_ahead_s` is how far this computer's clock is ahead.
    """

    days: frozenset[date]
    rows: tuple[ActivityRow, ...]
    own: tuple[ActivityRow, ...] | None
    own_name: str
    by_key: tuple[tuple[str, Usage], ...]
    gaps: tuple[Gap, ...]
    sources: tuple[str, ...]
    same_names: int = 1
    cached_at: datetime | None = None
    clock_ahead_s: float | None = None


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

    The day before is asked for as well, for calls around midnight, and leaves no Gap. `own_key` asks /key with the key
    whose calls the ledger keeps; None when there is no such key.
    """
    deadline = time.monotonic() + timeout_s
    running = today(now).first_day
    earliest = max(first - DAY, running - MOST_DAYS * DAY)
    asked = _Span(earliest, min(last, running), running - KEPT_DAYS * DAY, running).parts
    tasks = {f"account {name}": task for name, task in _tasks(account, asked, now).items()}
    whole = Period(midnight(first), min(midnight(last + DAY), now), "span")
    tasks["keys"] = lambda: account.analytics(whole, "api_key_id")
    if own_key:
        tasks |= {"key": own_key, "list": lambda: list_keys(keys)}
    found = at_once(tasks, timeout_s=timeout_s)
    answered = {name: found[f"account {name}"] for name in asked}
    own_record, same_names, problem = _identify(found.get("key"), found.get("list"))
    own = None
    if own_record:
        alone = at_once(_tasks(account, asked, now, own_record.hash), timeout_s=left_s(deadline))
        problem = next((gap for name, part in alone.items() if (gap := _gap(name, part))), None)
        own = None if problem else tuple(_rows(alone, asked))
    gaps = [_gap(name, answered[name]) for name, period in asked.items() if period.last_day >= first]
    read = {name: period for name, period in asked.items() if _gap(name, answered[name]) is None}
    running_answer = answered.get(TODAY)
    return Bill(
        frozenset(day for period in read.values() for day in period.utc_days),
        tuple(_rows(answered, read)),
        own,
        own_record.name if own_record else "",
        _by_key(found["keys"]),
        _once(gap for gap in (*gaps, _gap("keys", found["keys"]), problem) if gap),
        tuple(read),
        same_names,
        running_answer.cached_at if isinstance(running_answer, Analytics) else None,
        account.clock_ahead_s,
    )


def left_s(deadline: float) -> float:
    """Give the seconds that are left, and at least a moment, so that what fails does so by its own rules."""
    return max(0.1, deadline - time.monotonic())


def _once(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """Tell each thing that is missing once, though it was asked for twice."""
    return tuple({(gap.code, gap.message): gap for gap in gaps}.values())


def _tasks(
    account: OpenRouter, asked: dict[str, Period], now: datetime, key_hash: str = ""
) -> dict[str, Callable[[], Any]]:
    def ask(name: str, period: Period) -> Callable[[], Any]:
        if name == ACTIVITY:
            return lambda: account.activity(key_hash)
        until_now = period._replace(end=min(period.end, now))
        return lambda: _within(account.analytics(until_now, "model", by_day=True, key_hash=key_hash), period)

    return {name: ask(name, period) for name, period in asked.items()}


def _within(answer: Analytics, asked: Period) -> Analytics:
    """Give an answer back; BadAnswer when it has rows of days that nobody asked about, or of none."""
    strange = next((row for row in answer.rows if row.day is None or row.day not in asked.utc_days), None)
    if strange is not None:
        told = f"a row of {strange.day}" if strange.day else "a row without a day"
        raise BadAnswer(f"OpenRouter's answer to /analytics/query is not understood: {told} was not asked for")
    return answer


def _rows(answers: dict[str, Any], asked: dict[str, Period]) -> Iterator[ActivityRow]:
    """Give the rows of the days that each endpoint was asked about: what it says of others would count twice."""
    for name, period in asked.items():
        answer = answers[name]
        rows = (_row(spend, period) for spend in answer.rows) if isinstance(answer, Analytics) else answer
        yield from (row for row in rows if period.first_day <= row.day <= period.last_day)


def _row(spend: Spend, asked: Period) -> ActivityRow:
    return ActivityRow(spend.day or asked.first_day, spend.names[0], "", spend.usage, spend.names[0])


def _gap(name: str, part: object) -> Gap | None:
    """Give what is missing of an answer; one that was cut short is known in no part."""
    if isinstance(part, Analytics) and part.truncated:
        return Gap(name, "truncated", f"{name}: OpenRouter cut its answer short after {len(part.rows):,} rows", "", 5)
    if left_out_of(part):
        # Days that are compared have to be whole, and single calls all there.
        gap = Gap.of_left_out(name, left_out_of(part), "row")
        return gap._replace(message=f"{name}: {gap.message}")
    return part if isinstance(part, Gap) else None


def ask_generations(
    account: OpenRouter, days_asked: Sequence[date], *, now: datetime, timeout_s: float
) -> tuple[Listed, tuple[Gap, ...]]:
    """Give every call of some days by its id, and the Gap of each day that cannot be listed in full.

    Only the last 31 days are kept call by call.
    """
    deadline = time.monotonic() + timeout_s
    found: dict[str, tuple[Billed, ...]] = {}
    whole: set[date] = set()
    gaps: list[Gap] = []
    for begin in range(0, len(days_asked), _AT_ONCE):
        some = days_asked[begin : begin + _AT_ONCE]
        asked = {day.isoformat(): _calls_of(account, day, now) for day in some}
        answers = at_once(asked, timeout_s=left_s(deadline))
        for day in some:
            gap = _gap(f"single calls of {day}", answers[day.isoformat()])
            if gap:
                gaps.append(gap._replace(message=f"single calls of {day} could not be listed: {gap.message}"))
                continue
            whole.add(day)
            for spend in answers[day.isoformat()].rows:
                known = found.get(spend.names[0], ())
                found[spend.names[0]] = (*known, Billed(day, spend.names[1], spend.usage))
    return Listed(found, frozenset(whole)), tuple(gaps)


def _calls_of(account: OpenRouter, day: date, now: datetime) -> Callable[[], Analytics]:
    whole = days(day, day, "day")
    return lambda: account.analytics(whole._replace(end=min(whole.end, now)), "generation_id", "model")


def _identify(key: object, listing: object) -> tuple[KeyRecord | None, int, Gap | None]:
    """Find a key by its masked label, which is all that /key tells of it, and how many keys have its name."""
    if not isinstance(key, KeyInfo) or not isinstance(listing, Listing):
        return None, 1, next((part for part in (key, listing) if isinstance(part, Gap)), None)
    if key.is_management_key:
        return None, 1, None
    same = [record for record in listing.keys if record.label == key.label]
    if len(same) != 1 or not same[0].hash:
        return None, 1, Gap("keys", "unknown_key", UNKNOWN_KEY, "", 5)
    return same[0], sum(record.name == same[0].name for record in listing.keys), None


def _by_key(found: object) -> tuple[tuple[str, Usage], ...]:
    if not isinstance(found, Analytics):
        return ()
    sums: dict[str, Usage] = {}
    for spend in found.rows:
        name = spend.names[0]
        sums[name] = sums[name] + spend.usage if name in sums else spend.usage
    return tuple(sorted(sums.items(), key=lambda item: (-item[1].cost, item[0])))
