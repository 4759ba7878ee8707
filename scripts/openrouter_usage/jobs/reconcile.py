"""Compares the ledger with the account: asks for the bill, sums the ledger, and puts single calls beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from openrouter_usage.entry import NOTHING, Entry, Usage
from openrouter_usage.errors import BadAnswer, OpenRouterUsageError
from openrouter_usage.figures.pricing import PriceList
from openrouter_usage.figures.reconcile import (
    Cause,
    Circumstances,
    Comparison,
    Names,
    across_midnight,
    borders,
    causes,
    compare,
    joined_names,
)
from openrouter_usage.figures.reconcile_calls import Billed, Listed, match_calls
from openrouter_usage.figures.seen_in_logs import Seen
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.home.settings import ledger_file
from openrouter_usage.jobs.keys import Listing, list_keys
from openrouter_usage.jobs.price_list import load_price_list
from openrouter_usage.jobs.seen_in_logs import seen_in_logs
from openrouter_usage.jobs.snapshot import error_of
from openrouter_usage.jobs.summary import at_once
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.money import ZERO, total
from openrouter_usage.openrouter.answers.account import ActivityRow, Gap
from openrouter_usage.openrouter.answers.analytics import LISTED_DAYS, MOST_DAYS, Analytics, Spend
from openrouter_usage.openrouter.answers.fields import left_out_of
from openrouter_usage.openrouter.answers.key import KeyInfo, KeyRecord
from openrouter_usage.openrouter.endpoints import OpenRouter
from openrouter_usage.openrouter.management import Management
from openrouter_usage.openrouter.transport import Transport
from openrouter_usage.period import DAY, Period, days, midnight, stretches, today

# -- Asks OpenRouter what a span of UTC days cost, by day and model: for all keys, and for this one alone.

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
        """Return what of the span lies between two days."""
        first, last = max(first, self.first), min(last, self.last)
        return days(first, last, "part") if first <= last else None

    @property
    def parts(self) -> dict[str, Period]:
        """Return the days that each endpoint is asked about."""
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
    """Return the seconds that are left, and at least a moment, so that what fails does so by its own rules."""
    return max(0.1, deadline - time.monotonic())


def _once(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """Return each gap once, even if it was asked for twice."""
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
    """Return an answer; BadAnswer when it has rows of days that nobody asked about, or of none."""
    strange = next((row for row in answer.rows if row.day is None or row.day not in asked.utc_days), None)
    if strange is not None:
        told = f"a row of {strange.day}" if strange.day else "a row without a day"
        raise BadAnswer(f"OpenRouter's answer to /analytics/query is not understood: {told} was not asked for")
    return answer


def _rows(answers: dict[str, Any], asked: dict[str, Period]) -> Iterator[ActivityRow]:
    """Return the rows of the days that each endpoint was asked about: what it says of others would count twice."""
    for name, period in asked.items():
        answer = answers[name]
        rows = (_row(spend, period) for spend in answer.rows) if isinstance(answer, Analytics) else answer
        yield from (row for row in rows if period.first_day <= row.day <= period.last_day)


def _row(spend: Spend, asked: Period) -> ActivityRow:
    return ActivityRow(spend.day or asked.first_day, spend.names[0], "", spend.usage, spend.names[0])


def _gap(name: str, part: object) -> Gap | None:
    """Return what is missing of an answer; one that was cut short is known in no part."""
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
    """Return every call of some days by its id, and the Gap of each day that cannot be listed in full.

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


# -- Compares the ledger with the account: asks for the bill, sums the ledger, and compares single calls.

# A call that runs over midnight may be on either day, and clocks differ: so long before and after is near.
_NEAR = timedelta(minutes=15)
_MOST_TRIES = 20
Booked = dict[date, dict[str, Usage]]


class Account(NamedTuple):
    """How the account is asked: with a management key, and with the key whose calls the ledger keeps, if any."""

    transport: Transport
    managing: ApiKey
    own: ApiKey | None


class Reconciliation(NamedTuple):
    """The comparison, the bill it is about, why the two differ, and names that were billed as others.

    `booked` is what the ledger has of the whole span, `missing` the days of it that could not be read from the account,
    and `gaps` all that is missing; `seen` is what other programs logged without an id, by estimate.
    """

    comparison: Comparison
    bill: Bill
    booked: Usage
    missing: tuple[date, ...]
    gaps: tuple[Gap, ...]
    causes: list[Cause]
    renamed: tuple[tuple[str, str], ...]
    seen: tuple[Seen, ...] = ()


def reconcile(
    ledger: Ledger, account: Account, span: Period, *, now: datetime, timeout_s: float = 30.0
) -> Reconciliation:
    """Compare whole UTC days; raises Denied or Unreachable when nothing of the account can be read.

    Where the sums of a day differ, its single calls are compared, as far back as OpenRouter lists them.
    """
    deadline = time.monotonic() + timeout_s
    first, last = span.first_day, span.last_day
    bill = _ask(account, first, last, now=now, timeout_s=timeout_s)
    booked = _booked(ledger, first - DAY, last)
    names = joined_names(bill.rows, _names(booked), _prices(bill, booked, now))
    found = compare(bill.rows, booked, names, own=bill.own)
    asked = OpenRouter(account.transport, account.managing)
    days_listed = _worth_listing(found, bill, now)
    listed, unlisted = ask_generations(asked, days_listed, now=now, timeout_s=left_s(deadline))
    by_call = match_calls(found, listed, _entries(ledger, days_listed), names, running=today(now).first_day)
    found = by_call.comparison
    near = {border: _near_midnight(ledger, names, by_call.ids, border) for border in borders(found)}
    found = across_midnight(found, near).of(bill.days, first, last)
    holds = [hold for hold in ledger.health().holds if span.start <= hold.ts < span.end]
    held = {hold.generation for hold in holds if hold.generation in listed.calls}
    billed = total(part.usage.cost for generation in held for part in listed.calls[generation])
    others = bill.own_name if bill.same_names == 1 else ""
    seen = seen_in_logs(ledger_file(), span)
    known = Circumstances(today(now).first_day, holds, billed, by_call.unknown, others, bill.by_key, seen)
    told_by_ids = {name for name, _ in by_call.renamed}
    joined = {(name, line.model) for line in found.lines if line.is_proven for name in line.ledger_names}
    renamed = {pair for pair in joined if pair[0] not in (pair[1], *told_by_ids)} | by_call.renamed
    whole = sum((usage for day in span.utc_days for usage in booked.get(day, {}).values()), NOTHING)
    missing = tuple(day for day in span.utc_days if day not in bill.days)
    gaps = (*bill.gaps, *unlisted)
    return Reconciliation(found, bill, whole, missing, gaps, causes(found, known), tuple(sorted(renamed)), seen)


def _worth_listing(found: Comparison, bill: Bill, now: datetime) -> list[date]:
    """Return the days whose calls are to be compared one by one, with the days beside them."""
    running = today(now).first_day
    doubtful = {line.day for line in found.differing}
    # More in the ledger than this key spent: sums may agree by the calls of somebody else.
    doubtful |= {line.day for line in found.lines if line.own is not None and line.known > line.own}
    beside = {day + number * DAY for day in doubtful & bill.days for number in (-1, 0, 1)}
    return sorted(day for day in beside if running - LISTED_DAYS * DAY <= day <= running)


def _ask(account: Account, first: date, last: date, *, now: datetime, timeout_s: float) -> Bill:
    """Ask for the bill, with the day before: a call of its last minutes may be on the first day."""
    transport, managing, own = account
    bill = ask_bill(
        OpenRouter(transport, managing),
        Management(transport, managing),
        OpenRouter(transport, own).key if own else None,
        first=first,
        last=last,
        now=now,
        timeout_s=timeout_s,
    )
    if not bill.days.intersection(days(first, last, "").utc_days) and bill.gaps:
        raise error_of(bill.gaps[0])
    return bill


def _booked(ledger: Ledger, first: date, last: date) -> Booked:
    """Sum the ledger by day and model: of one moment, so again when somebody appended in between."""
    whole = days(first, last, "")
    for _ in range(_MOST_TRIES):
        before = ledger.totals(whole).total
        found = {day: ledger.totals(days(day, day, "")).groups for day in whole.utc_days}
        if sum((usage for groups in found.values() for usage in groups.values()), NOTHING) == before:
            break
    return found


def _names(booked: Booked) -> set[str]:
    return {name for groups in booked.values() for name in groups}


def _prices(bill: Bill, booked: Booked, now: datetime) -> PriceList | None:
    """Return the price list, which knows more names, where the account's own names are not enough."""
    known = {name for row in bill.rows for name in (row.model, row.slug)}
    if _names(booked) <= known:
        return None
    try:
        return load_price_list(now)
    except OpenRouterUsageError:
        return None


def _entries(ledger: Ledger, listed: Iterable[date]) -> Iterator[Entry]:
    """Return the ledger's calls of some days."""
    # Days in a row are read at once: where lines stand in no order, each reading goes through all of them.
    for stretch in stretches(listed):
        yield from ledger.entries(stretch.period)


def _near_midnight(
    ledger: Ledger, names: Names, known: Container[str], border: tuple[date, str]
) -> tuple[Decimal, Decimal]:
    """Sum a model's calls shortly before, and shortly after, the midnight that ends a day.

    Those whose ids the account knows have their right day already.
    """
    at = midnight(border[0] + DAY)

    def near(period: Period) -> Decimal:
        found = (entry for entry in ledger.entries(period) if entry.cost is not None and entry.id not in known)
        return total(entry.cost or ZERO for entry in found if names.group(entry.model) == border[1])

    return near(Period(at - _NEAR, at, "before")), near(Period(at, at + _NEAR, "after"))
