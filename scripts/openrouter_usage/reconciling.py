"""Compares the ledger with the account: asks for the bill, sums the books, and puts single calls beside each other."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.answers.analytics import LISTED_DAYS
from openrouter_usage.answers.parts import Gap
from openrouter_usage.bill import Bill, ask_bill, ask_generations, left_s
from openrouter_usage.client.management import Management
from openrouter_usage.client.openrouter import OpenRouter
from openrouter_usage.client.transport import Transport
from openrouter_usage.credentials import ApiKey
from openrouter_usage.entry import Entry
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.latest import error_of
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.money import ZERO, total
from openrouter_usage.period import DAY, Period, days, midnight, today
from openrouter_usage.pricing import PriceList
from openrouter_usage.reconcile.calls import match_calls
from openrouter_usage.reconcile.causes import Cause, Circumstances, causes
from openrouter_usage.reconcile.compare import Comparison, across_midnight, borders, compare
from openrouter_usage.reconcile.names import Names, joined_names
from openrouter_usage.stretch import stretches
from openrouter_usage.tracker.estimate import load_price_list
from openrouter_usage.usage import NOTHING, Usage

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
    and `gaps` all that is missing.
    """

    comparison: Comparison
    bill: Bill
    booked: Usage
    missing: tuple[date, ...]
    gaps: tuple[Gap, ...]
    causes: list[Cause]
    renamed: tuple[tuple[str, str], ...]


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
    names = joined_names(bill.rows, _names(booked), _prices(bill, booked))
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
    known = Circumstances(today(now).first_day, holds, billed, by_call.unknown, others, bill.by_key)
    told_by_ids = {name for name, _ in by_call.renamed}
    joined = {(name, line.model) for line in found.lines if line.is_proven for name in line.ledger_names}
    renamed = {pair for pair in joined if pair[0] not in (pair[1], *told_by_ids)} | by_call.renamed
    whole = sum((usage for day in span.utc_days for usage in booked.get(day, {}).values()), NOTHING)
    missing = tuple(day for day in span.utc_days if day not in bill.days)
    gaps = (*bill.gaps, *unlisted)
    return Reconciliation(found, bill, whole, missing, gaps, causes(found, known), tuple(sorted(renamed)))


def _worth_listing(found: Comparison, bill: Bill, now: datetime) -> list[date]:
    """Give the days whose calls are to be compared one by one, with the days beside them."""
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


def _prices(bill: Bill, booked: Booked) -> PriceList | None:
    """Give the price list, which knows more names, where the account's own names are not enough."""
    known = {name for row in bill.rows for name in (row.model, row.slug)}
    if _names(booked) <= known:
        return None
    try:
        return load_price_list()
    except OpenRouterUsageError:
        return None


def _entries(ledger: Ledger, listed: Iterable[date]) -> Iterator[Entry]:
    """Give the ledger's calls of some days."""
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
